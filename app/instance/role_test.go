package instance_test

import (
	"context"
	"errors"
	"testing"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// member puts a person into a new team of the space with a role.
func member(t *testing.T, i *instance.Instance, s instance.Space, u instance.User, role string) instance.Team {
	t.Helper()
	ctx := context.Background()
	team, err := i.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Team of " + u.Username, Space: s.Number, Members: []int64{u.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: team.ID, Role: role, Space: s.Number}); err != nil {
		t.Fatal(err)
	}
	return team
}

func TestOwnRoles(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada, bob := user(t, i, "ada"), user(t, i, "bob")
	s := space(t, i, "Payments", ada.ID)
	role, err := i.CreateRole(ctx, instance.System(), instance.RoleInput{Name: "Watcher", Space: []access.Permission{access.TaskView, access.ProjectView, access.TaskView}})
	if err != nil || role.ID != "UserRoles-1" || len(role.Space) != 2 {
		t.Fatalf("%+v, %v", role, err)
	}
	member(t, i, s, bob, role.ID)
	can := func(p access.Permission) bool {
		t.Helper()
		set, err := i.Permissions(ctx, bob.ID, s.Number)
		if err != nil {
			t.Fatal(err)
		}
		return set.Any(p)
	}
	if !can(access.ProjectView) || can(access.DeploymentCreate) {
		t.Error("bob has another role than was made")
	}
	if role, err = i.UpdateRole(ctx, instance.System(), role, instance.RoleInput{Name: "Watcher", Space: []access.Permission{access.TaskView}}); err != nil {
		t.Fatal(err)
	}
	if can(access.ProjectView) || !can(access.TaskView) {
		t.Error("a change of the role does not count at once")
	}
	if err := i.DeleteRole(ctx, instance.System(), role); !errors.Is(err, errs.Blocked) {
		t.Errorf("a role in use was deleted: %v", err)
	}
	all, err := i.Roles(ctx)
	if err != nil || len(all) != len(access.Roles())+1 {
		t.Errorf("%d roles, %v", len(all), err)
	}

	for _, c := range []struct {
		name string
		in   instance.RoleInput
		kind error
	}{
		{"no name", instance.RoleInput{Space: []access.Permission{access.TaskView}}, errs.Invalid},
		{"nothing", instance.RoleInput{Name: "x"}, errs.Invalid},
		{"unknown", instance.RoleInput{Name: "x", Space: []access.Permission{"Fly"}}, errs.Invalid},
		{"of the system in a space", instance.RoleInput{Name: "x", Space: []access.Permission{access.AdministerSystem}}, errs.Invalid},
		{"of a space in the system", instance.RoleInput{Name: "x", System: []access.Permission{access.ProjectView}}, errs.Invalid},
		{"taken", instance.RoleInput{Name: "watcher", Space: []access.Permission{access.TaskView}}, errs.Exists},
		{"taken by a built-in one", instance.RoleInput{Name: "space Manager", Space: []access.Permission{access.TaskView}}, errs.Exists},
	} {
		if _, err := i.CreateRole(ctx, instance.System(), c.in); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	builtIn, err := i.RoleBy(ctx, "UserRoles-SpaceManager")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.UpdateRole(ctx, instance.System(), builtIn, instance.RoleInput{Name: "Mine", Space: []access.Permission{access.TaskView}}); !errors.Is(err, errs.Blocked) {
		t.Errorf("a built-in role was changed: %v", err)
	}
}

// Whoever may edit roles must not be able to give himself what he does not have.
func TestRolesAreNoLadder(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada, eve, clerk := user(t, i, "ada"), user(t, i, "eve"), user(t, i, "clerk")
	s := space(t, i, "Payments", ada.ID)

	// Eve edits roles on the server and watches one space.
	editor, err := i.CreateRole(ctx, instance.System(), instance.RoleInput{Name: "Role editor", System: []access.Permission{access.UserRoleView, access.UserRoleEdit}})
	if err != nil {
		t.Fatal(err)
	}
	editors, err := i.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Editors", Members: []int64{eve.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: editors.ID, Role: editor.ID}); err != nil {
		t.Fatal(err)
	}
	watcher, err := i.CreateRole(ctx, as(t, i, eve), instance.RoleInput{Name: "Watcher", Space: []access.Permission{access.ProjectView}})
	if err != nil {
		t.Fatal(err)
	}
	member(t, i, s, eve, watcher.ID)
	if _, err := i.UpdateRole(ctx, as(t, i, eve), watcher, instance.RoleInput{Name: "Watcher", Space: []access.Permission{access.ProjectView, access.DeploymentCreate}}); !errors.Is(err, errs.Denied) {
		t.Errorf("eve gave herself deployments: %v", err)
	}
	if _, err := i.UpdateRole(ctx, as(t, i, eve), editor, instance.RoleInput{Name: "Role editor", System: []access.Permission{access.UserRoleView, access.UserRoleEdit, access.AdministerSystem}}); !errors.Is(err, errs.Denied) {
		t.Errorf("eve gave herself the server: %v", err)
	}
	if _, err := i.UpdateRole(ctx, as(t, i, clerk), watcher, instance.RoleInput{Name: "x", Space: watcher.Space}); !errors.Is(err, errs.Denied) {
		t.Errorf("a person without UserRoleEdit changed a role: %v", err)
	}
	// What eve has herself she may take out again.
	if _, err := i.UpdateRole(ctx, as(t, i, eve), watcher, instance.RoleInput{Name: "Watcher of projects", Space: watcher.Space}); err != nil {
		t.Errorf("rename: %v", err)
	}
}

func TestExternalGroupsOfTeams(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada := user(t, i, "ada")
	s := space(t, i, "Payments", ada.ID)
	groups := []instance.ExternalGroup{{ID: "ops@example.com", Name: "Operations"}, {ID: "dev"}}
	team, err := i.CreateTeam(ctx, as(t, i, ada), instance.TeamInput{Name: "Ops", Space: s.Number, Groups: groups})
	if err != nil || len(team.Groups) != 2 || team.Groups[0].Name != "dev" || team.Groups[1].Name != "Operations" {
		t.Fatalf("%+v, %v", team, err)
	}
	if team, err = i.UpdateTeam(ctx, as(t, i, ada), team, instance.TeamInput{Name: "Ops"}); err != nil || len(team.Groups) != 0 {
		t.Errorf("%+v, %v", team, err)
	}
}
