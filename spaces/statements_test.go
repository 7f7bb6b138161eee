package spaces

import (
	"context"
	"log/slog"
	"testing"

	"octopuses.dev/octopuses/spaces/secrets"
)

// A dashboard costs at most six statements, however many projects and environments.
func TestDashboardStatements(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, err := NewRegistry(Config{Root: t.TempDir(), Master: secrets.Master{Key: secrets.NewKey()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := r.Create(ctx, "One", "one")
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Acquire(ctx, Ref{ID: "Spaces-1", Folder: folder, Name: "One"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		s.Release()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	if err := Initialise(ctx, s); err != nil {
		t.Fatal(err)
	}
	s.read.SetMaxOpenConns(1)
	// ask returns the number of statements between begin and the end.
	ask := func(projects int) int {
		t.Helper()
		count := func() (n uint64) {
			t.Helper()
			conn, err := s.read.Conn(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.Raw(func(c any) error { n = c.(interface{ Statements() uint64 }).Statements(); return nil }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := count()
		d, err := View(ctx, s, Server(), func(tx *ReadTx) (Dashboard, error) { return tx.Dashboard(DashboardFilter{Take: 100}) })
		if err != nil || len(d.Projects) != projects {
			t.Fatalf("%d projects, %v", len(d.Projects), err)
		}
		return int(count()-before) - 2
	}
	if n := ask(0); n > 6 {
		t.Errorf("%d statements for an empty dashboard", n)
	}
	err = Do(ctx, s, Server(), func(tx *Tx) error {
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			if _, err := tx.CreateEnvironment(EnvironmentInput{Name: name}); err != nil {
				return err
			}
			if _, err := tx.CreateProject(ProjectInput{Name: name}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := ask(7); n > 6 || n < 4 {
		t.Errorf("%d statements for seven projects", n)
	}
}
