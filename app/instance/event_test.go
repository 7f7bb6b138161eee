package instance_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
)

// TestServerAuditTellsWhatChanged edits people, teams and roles, and finds the entries by
// what is asked for.
func TestServerAuditTellsWhatChanged(t *testing.T) {
	ctx := context.Background()
	i, clock := open(t)
	ada, bob := user(t, i, "ada"), user(t, i, "bob")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	clock.Move(24 * time.Hour)
	must(i.UpdateUser(ctx, instance.System(), bob.ID, instance.UserInput{Username: "bob", DisplayName: "Bob", Email: "bob@example.com", Password: "another long password", IsActive: true}))
	team, err := i.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Crew", Members: []int64{ada.ID}})
	must(nil, err)
	must(i.UpdateTeam(ctx, instance.System(), team, instance.TeamInput{Name: "Crew 2", Members: []int64{bob.ID, ada.ID}, Groups: []instance.ExternalGroup{{ID: "ops", Name: "Ops"}}}))
	role, err := i.CreateRole(ctx, instance.System(), instance.RoleInput{Name: "Seer", System: []access.Permission{access.UserView}})
	must(nil, err)
	must(i.UpdateRole(ctx, instance.System(), role, instance.RoleInput{Name: "Seer", System: []access.Permission{access.UserView, access.TeamView}}))
	given, err := i.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: team.ID, Role: role.ID})
	must(nil, err)
	must(nil, i.DeleteScopedRole(ctx, instance.System(), given))

	all, err := i.Events(ctx, instance.EventFilter{From: clock.Now()})
	must(nil, err)
	var got []string
	for n := len(all) - 1; n >= 0; n-- {
		for _, c := range all[n].Changes {
			got = append(got, strings.TrimSpace(all[n].Category+" "+all[n].Entity+" "+c.Field+": "+c.Before+" -> "+c.After))
		}
	}
	want := `Modified user DisplayName: bob -> Bob
Modified user EmailAddress:  -> bob@example.com
Modified user Password:  ->
Created team MemberUserIds:  -> Users-1
Created team Name:  -> Crew
Modified team ExternalSecurityGroups:  -> ops
Modified team MemberUserIds: Users-1 -> Users-1, Users-2
Modified team Name: Crew -> Crew 2
Created user role GrantedSystemPermissions:  -> UserView
Created user role Name:  -> Seer
Modified user role GrantedSystemPermissions: UserView -> TeamView, UserView
Created scoped user role UserRoleId:  -> UserRoles-1
Deleted scoped user role UserRoleId: UserRoles-1 ->`
	if strings.Join(got, "\n") != want {
		t.Errorf("the audit tells\n%s", strings.Join(got, "\n"))
	}
	if b, err := json.Marshal(all); err != nil || strings.Contains(string(b), "another long") {
		t.Errorf("a password is in the audit, %v", err)
	}
	for _, x := range []struct {
		filter instance.EventFilter
		want   int
	}{
		{instance.EventFilter{Until: clock.Now(), Category: "Created"}, 2}, {instance.EventFilter{Text: "cREW"}, 2}, {instance.EventFilter{Text: "%"}, 0},
		{instance.EventFilter{Category: "Deleted"}, 1}, {instance.EventFilter{Before: all[0].ID, Take: 3}, 3},
	} {
		if found, err := i.Events(ctx, x.filter); err != nil || len(found) != x.want {
			t.Errorf("%+v finds %d, %v", x.filter, len(found), err)
		}
	}
}
