package instance_test

import (
	"context"
	"slices"
	"testing"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
)

func TestMarks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	i, _ := open(t)
	ada := user(t, i, "ada")
	var made []instance.Space
	for _, name := range []string{"One", "Two"} {
		s, err := i.CreateSpace(ctx, instance.System(), instance.SpaceInput{Name: name, Managers: []int64{ada.ID}}, folder)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, s)
	}
	marked := func(mark string) (names []string) {
		t.Helper()
		all, err := i.Marked(ctx, mark)
		has, herr := i.HasMark(ctx, mark)
		if err != nil || herr != nil || has != (len(all) > 0) {
			t.Fatalf("%v, %v, %v", err, herr, has)
		}
		for _, s := range all {
			names = append(names, s.Name)
		}
		return names
	}
	if got := marked("work"); got != nil {
		t.Errorf("new spaces are marked: %v", got)
	}
	for range 2 { // twice is no error
		for _, s := range made {
			if err := i.Mark(ctx, s.Number, []string{"work", "agent/1"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := i.Mark(ctx, made[0].Number, nil, []string{"work"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := marked("work"); !slices.Equal(got, []string{"Two"}) {
		t.Errorf("%v have work", got)
	}
	if got := marked("agent/1"); !slices.Equal(got, []string{"One", "Two"}) {
		t.Errorf("%v have the agent", got)
	}
	if got, err := i.Marks(ctx, made[1].Number); err != nil || !slices.Equal(got, []string{"agent/1", "work"}) {
		t.Errorf("%v, %v", got, err)
	}
	if err := i.Mark(ctx, 99, []string{"work"}, nil); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a space that does not exist was marked: %v", err)
	}
	// What is deleted has nothing to do.
	s, err := i.UpdateSpace(ctx, instance.System(), made[1], instance.SpaceInput{Name: "Two", TaskQueueStopped: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.DeleteSpace(ctx, instance.System(), s, "Two"); err != nil {
		t.Fatal(err)
	}
	if got := marked("work"); got != nil {
		t.Errorf("%v have work", got)
	}
}
