package instance_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

func space(t testing.TB, i *instance.Instance, name string, managers ...int64) instance.Space {
	t.Helper()
	s, err := i.CreateSpace(context.Background(), instance.System(), instance.SpaceInput{Name: name, Managers: managers}, folder)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRightsFollowTeamsAtOnce(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada, bob := user(t, i, "ada"), user(t, i, "bob")
	s, other := space(t, i, "Payments", ada.ID), space(t, i, "Other", ada.ID)
	allows := func(at instance.Space, scope access.Scope) bool {
		t.Helper()
		p, err := i.Permissions(ctx, bob.ID, at.Number)
		if err != nil {
			t.Fatal(err)
		}
		return p.Allows(access.DeploymentCreate, scope)
	}
	web := access.Scope{Project: "Projects-1", Environment: "Environments-1"}
	if allows(s, web) {
		t.Error("bob deploys without a team")
	}

	// A manager of the space makes a team in it and gives it a role.
	manager := as(t, i, ada)
	team, err := i.CreateTeam(ctx, manager, instance.TeamInput{Name: "Deployers", Space: s.Number, Members: []int64{bob.ID}})
	if err != nil {
		t.Fatal(err)
	}
	role, err := i.CreateScopedRole(ctx, manager, instance.ScopedRole{TeamID: team.ID, Role: "userroles-projectdeployer", Space: s.Number, Environments: []string{"Environments-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if !allows(s, web) || allows(s, access.Scope{Project: "Projects-1", Environment: "Environments-2"}) || allows(other, web) {
		t.Error("the role is not what was given")
	}
	if l, err := i.SpacesOf(ctx, bob.ID); err != nil || len(l) != 1 || l[0].Number != s.Number {
		t.Errorf("bob sees %v, %v", l, err)
	}
	if l, err := i.TeamsOf(ctx, bob.ID); err != nil || len(l) != 2 {
		t.Errorf("bob is in %v, %v", l, err)
	}

	role.Environments = []string{"Environments-2"}
	if _, err := i.UpdateScopedRole(ctx, manager, role, role); err != nil {
		t.Fatal(err)
	}
	if allows(s, web) {
		t.Error("a role that was narrowed still counts")
	}
	if _, err := i.UpdateTeam(ctx, manager, team, instance.TeamInput{Name: "Deployers"}); err != nil {
		t.Fatal(err)
	}
	if p, err := i.Permissions(ctx, bob.ID, s.Number); err != nil || !p.Empty() {
		t.Errorf("bob left the team and may still %v, %v", p.Permissions(), err)
	}
	if err := i.DeleteScopedRole(ctx, manager, role); err != nil {
		t.Error(err)
	}
	if err := i.DeleteTeam(ctx, manager, team); err != nil {
		t.Error(err)
	}
}

// The wall between spaces holds for teams as well.
func TestTeamsOfASpaceStayInIt(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	admin, _, err := i.EnsureAdministrator(ctx, "admin", password, "")
	if err != nil {
		t.Fatal(err)
	}
	ada := user(t, i, "ada")
	s, other := space(t, i, "Payments", ada.ID), space(t, i, "Other", admin.ID)
	manager := as(t, i, ada)
	team, err := i.CreateTeam(ctx, manager, instance.TeamInput{Name: "Mine", Space: s.Number})
	if err != nil {
		t.Fatal(err)
	}
	everyone, err := i.TeamBy(ctx, "teams-everyone")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		as   instance.Actor
		role instance.ScopedRole
		want errs.Kind
	}{
		{"in another space", manager, instance.ScopedRole{TeamID: team.ID, Role: "userroles-projectviewer", Space: other.Number}, errs.Denied},
		{"in another space, by an administrator", as(t, i, admin), instance.ScopedRole{TeamID: team.ID, Role: "userroles-projectviewer", Space: other.Number}, errs.Invalid},
		{"in the system", manager, instance.ScopedRole{TeamID: team.ID, Role: "userroles-systemmanager"}, errs.Denied},
		{"to a team of the system", manager, instance.ScopedRole{TeamID: everyone.ID, Role: "userroles-projectviewer", Space: s.Number}, errs.Denied},
		{"a role that is none", manager, instance.ScopedRole{TeamID: team.ID, Role: "userroles-king", Space: s.Number}, errs.Invalid},
		{"a role of a space, in none", as(t, i, admin), instance.ScopedRole{TeamID: everyone.ID, Role: "userroles-projectviewer"}, errs.Invalid},
		{"a role of the system, in a space", as(t, i, admin), instance.ScopedRole{TeamID: everyone.ID, Role: "userroles-systemmanager", Space: s.Number}, errs.Invalid},
	} {
		if _, err := i.CreateScopedRole(ctx, c.as, c.role); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// An administrator of the server sees nothing inside a space that he is not in.
	if p, err := i.Permissions(ctx, admin.ID, s.Number); err != nil || !p.Empty() {
		t.Errorf("the administrator may %v, %v", p.Permissions(), err)
	}
}

func TestBuiltInTeams(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada := user(t, i, "ada")
	s := space(t, i, "Payments", ada.ID)
	for _, id := range []string{"teams-everyone", "teams-administrators", "teams-managers", "teams-spacemanagers-" + s.ID()} {
		team, err := i.TeamBy(ctx, id)
		if err != nil || team.APIID() != id {
			t.Errorf("%s: %+v, %v", id, team, err)
			continue
		}
		if err := i.DeleteTeam(ctx, instance.System(), team); !errors.Is(err, errs.Blocked) {
			t.Errorf("%s is deleted: %v", id, err)
		}
		roles, err := i.ScopedRolesOf(ctx, team.ID)
		if err != nil || len(roles) != 1 && id != "teams-everyone" {
			t.Errorf("%s: %v, %v", id, roles, err)
		}
		for _, r := range roles {
			if err := i.DeleteScopedRole(ctx, instance.System(), r); !errors.Is(err, errs.Blocked) {
				t.Errorf("%s loses its role: %v", id, err)
			}
		}
	}
	managers, err := i.TeamBy(ctx, "teams-spacemanagers-"+s.ID())
	if err != nil || !slices.Equal(managers.Members, []int64{ada.ID}) {
		t.Fatalf("%+v, %v", managers, err)
	}
	if _, err := i.UpdateTeam(ctx, instance.System(), managers, instance.TeamInput{}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a space without managers: %v", err)
	}
	if _, err := i.UpdateTeam(ctx, instance.System(), managers, instance.TeamInput{Members: []int64{4711}}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a member who does not exist: %v", err)
	}
	for range 2 {
		_, err = i.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Support"})
	}
	if !errors.Is(err, errs.Exists) {
		t.Errorf("two teams of the system with one name: %v", err)
	}
	if _, err := i.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "support", Space: s.Number}); err != nil {
		t.Errorf("the same name in a space: %v", err)
	}
}

func TestSpaces(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada, bob := user(t, i, "ada"), user(t, i, "bob")
	s := space(t, i, "Zahlungen & Co", ada.ID)
	if !s.IsDefault || s.ID() != "Spaces-1" || s.Slug != "zahlungen-co" {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		name string
		in   instance.SpaceInput
		want errs.Kind
	}{
		{"no name", instance.SpaceInput{Name: " ", Managers: []int64{ada.ID}}, errs.Invalid},
		{"51 characters", instance.SpaceInput{Name: fmt.Sprintf("%051d", 1), Managers: []int64{ada.ID}}, errs.Invalid},
		{"a name that looks like another", instance.SpaceInput{Name: "Pay\u200bments", Managers: []int64{ada.ID}}, errs.Invalid},
		{"taken, in other case", instance.SpaceInput{Name: "zahlungen & CO", Managers: []int64{ada.ID}}, errs.Exists},
		{"no managers", instance.SpaceInput{Name: "New"}, errs.Invalid},
		{"an unknown manager", instance.SpaceInput{Name: "New", Managers: []int64{99}}, errs.Invalid},
	} {
		made := false
		_, err := i.CreateSpace(ctx, instance.System(), c.in, func(_, slug string) (string, error) { made = true; return slug, nil })
		if !errors.Is(err, c.want) || made {
			t.Errorf("%s: %v; a folder was made: %v", c.name, err, made)
		}
	}
	second := space(t, i, "Zahlungen-Co", ada.ID)
	if second.Slug != "zahlungen-co-2" || second.IsDefault {
		t.Errorf("%+v", second)
	}
	for _, text := range []string{"Spaces-1", "spaces-1", "ZAHLUNGEN & CO", "zahlungen-co"} {
		if got, err := i.SpaceBy(ctx, text); err != nil || got.Number != 1 && text != "zahlungen-co" {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if d, err := i.DefaultSpace(ctx); err != nil || d.Number != s.Number {
		t.Errorf("default: %+v, %v", d, err)
	}

	// A manager renames and hands over; the default is not hers to move.
	if _, err := i.UpdateSpace(ctx, as(t, i, ada), second, instance.SpaceInput{Name: "Second", IsDefault: true}); !errors.Is(err, errs.Denied) {
		t.Errorf("a manager moves the default: %v", err)
	}
	if _, err := i.UpdateSpace(ctx, as(t, i, bob), second, instance.SpaceInput{Name: "Bob's"}); !errors.Is(err, errs.Denied) {
		t.Errorf("a stranger renames: %v", err)
	}
	second, err := i.UpdateSpace(ctx, as(t, i, ada), second, instance.SpaceInput{Name: "Second", Managers: []int64{bob.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := i.Managers(ctx, second); err != nil || !slices.Equal(m, []int64{bob.ID}) {
		t.Errorf("managers are %v, %v", m, err)
	}
	if p, err := i.Permissions(ctx, ada.ID, second.Number); err != nil || !p.Empty() {
		t.Errorf("who handed over may still %v, %v", p.Permissions(), err)
	}
	if _, err := i.UpdateSpace(ctx, instance.System(), second, instance.SpaceInput{Name: "Second", IsDefault: true}); err != nil {
		t.Fatal(err)
	}
	if d, err := i.DefaultSpace(ctx); err != nil || d.Number != second.Number {
		t.Errorf("default: %+v, %v", d, err)
	}

	// Deletion: the queue stopped, the name typed; the id is never used again.
	if err := i.DeleteSpace(ctx, instance.System(), second, "Second"); !errors.Is(err, errs.Blocked) {
		t.Errorf("with a running queue: %v", err)
	}
	second, err = i.UpdateSpace(ctx, instance.System(), second, instance.SpaceInput{Name: "Second", TaskQueueStopped: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.DeleteSpace(ctx, instance.System(), second, "second"); !errors.Is(err, errs.Invalid) {
		t.Errorf("with a name mistyped: %v", err)
	}
	if err := i.DeleteSpace(ctx, instance.System(), second, "Second"); err != nil {
		t.Fatal(err)
	}
	if _, err := i.DefaultSpace(ctx); !errors.Is(err, errs.NotFound) {
		t.Errorf("there is no default now: %v", err)
	}
	if third := space(t, i, "Second", ada.ID); third.ID() != "Spaces-3" {
		t.Errorf("%s", third.ID())
	}
}

// Two programs on one file (a server and a command at its console) both get through.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "instance.db")
	master := secrets.Master{Key: secrets.NewKey()}
	var all []*instance.Instance
	for range 2 {
		i, err := instance.Open(ctx, path, secrets.NewMasters(master), instance.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		all = append(all, i)
	}
	var wg sync.WaitGroup
	for n, i := range all {
		for k := range 20 {
			wg.Go(func() {
				if _, err := i.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: fmt.Sprintf("Team %d-%d", n, k)}); err != nil {
					t.Error(err)
				}
				if _, err := i.Teams(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if teams, err := all[0].Teams(ctx); err != nil || len(teams) != 43 {
		t.Errorf("%d teams, %v", len(teams), err)
	}
}

// Reads race with revocations; what is revoked must not stay in memory.
func TestRevokedRightsAreNotKept(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada, bob := user(t, i, "ada"), user(t, i, "bob")
	s := space(t, i, "Payments", ada.ID, bob.ID)
	for round := range 40 {
		managers := []int64{ada.ID}
		if round%2 == 1 {
			managers = append(managers, bob.ID)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					if _, err := i.Permissions(ctx, bob.ID, s.Number); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if _, err := i.UpdateSpace(ctx, instance.System(), s, instance.SpaceInput{Name: s.Name, IsDefault: true, Managers: managers}); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		p, err := i.Permissions(ctx, bob.ID, s.Number)
		if err != nil || p.Any(access.ProjectEdit) != (round%2 == 1) {
			t.Fatalf("round %d: bob edits: %v, %v", round, p.Any(access.ProjectEdit), err)
		}
	}
}

func crowd(b *testing.B) (*instance.Instance, instance.User, instance.Space) {
	i, _ := open(b)
	ctx := context.Background()
	u := user(b, i, "ada")
	s := space(b, i, "Payments", u.ID)
	for n := range 50 {
		team, err := i.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: fmt.Sprint("Team ", n), Space: s.Number, Members: []int64{u.ID}})
		if err != nil {
			b.Fatal(err)
		}
		for k := range 10 {
			_, err := i.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: team.ID, Role: "userroles-projectlead", Space: s.Number, Projects: []string{fmt.Sprintf("Projects-%d", n*10+k)}})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	return i, u, s
}

// Budget: 200 ns from memory; it stands before every request inside a space.
func BenchmarkPermissions(b *testing.B) {
	i, u, s := crowd(b)
	for b.Loop() {
		if _, err := i.Permissions(context.Background(), u.ID, s.Number); err != nil {
			b.Fatal(err)
		}
	}
}
