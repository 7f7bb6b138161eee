//lint:file-ignore SA1019 as in client_test.go

package api_test

import (
	"net/http"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/core"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/teams"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/userroles"

	"octopuses.dev/octopuses/app/apptest"
)

// TestTeamsByClient makes a role, a team and what joins them with Octopus's Go client,
// and sees that it counts.
func TestTeamsByClient(t *testing.T) {
	s := apptest.Start(t)
	_, key := s.NewUser("bob")
	c := connect(t, s, s.Key, "")
	if a := s.Do(key, http.MethodGet, "/api/Spaces-1/projects", nil); a.Status != http.StatusNotFound {
		t.Fatalf("bob enters the space without a team: %d", a.Status)
	}

	role := userroles.NewUserRole("Watcher")
	role.GrantedSpacePermissions = []string{"ProjectView", "TaskView"}
	role = must[*userroles.UserRole](t)(c.UserRoles.Add(role))
	if role.ID == "" || !role.CanBeDeleted || len(role.GrantedSpacePermissions) != 2 {
		t.Errorf("role: %+v", role)
	}
	team := teams.NewTeam("Watchers")
	team.SpaceID = "Spaces-1"
	team.MemberUserIDs = []string{"Users-2"}
	team.ExternalSecurityGroups = []core.NamedReferenceItem{{ID: "watch", DisplayName: "Those who watch"}}
	team = must[*teams.Team](t)(c.Teams.Add(team))
	if team.SpaceID != "Spaces-1" || len(team.MemberUserIDs) != 1 || len(team.ExternalSecurityGroups) != 1 {
		t.Errorf("team: %+v", team)
	}
	scoped := userroles.NewScopedUserRole(role.ID)
	scoped.TeamID, scoped.SpaceID, scoped.ProjectIDs = team.ID, "Spaces-1", []string{"Projects-9"}
	scoped = must[*userroles.ScopedUserRole](t)(c.ScopedUserRoles.Add(scoped))
	if a := s.Do(key, http.MethodGet, "/api/Spaces-1/projects", nil); a.Status != http.StatusOK {
		t.Errorf("bob with the role: %d", a.Status)
	}
	if a := s.Do(key, http.MethodGet, "/api/Spaces-1/environments", nil); a.Status != http.StatusForbidden {
		t.Errorf("bob beyond the role: %d", a.Status)
	}
	if got := must[*userroles.ScopedUserRole](t)(c.ScopedUserRoles.GetByID(scoped.ID)); got.UserRoleID != role.ID || len(got.ProjectIDs) != 1 {
		t.Errorf("scoped role: %+v", got)
	}

	role.GrantedSpacePermissions = []string{"EnvironmentView"}
	must[*userroles.UserRole](t)(c.UserRoles.Update(role))
	if a := s.Do(key, http.MethodGet, "/api/Spaces-1/environments", nil); a.Status != http.StatusOK {
		t.Errorf("bob with the changed role: %d", a.Status)
	}
	if a := s.Do(s.Key, http.MethodDelete, "/api/userroles/"+role.ID, nil); a.Status != http.StatusConflict && a.Status != http.StatusBadRequest {
		t.Errorf("a role in use was deleted: %d", a.Status)
	}
	team.MemberUserIDs = nil
	must[*teams.Team](t)(c.Teams.Update(team))
	if err := c.Teams.Delete(team); err != nil {
		t.Error(err)
	}
	if a := s.Do(key, http.MethodGet, "/api/Spaces-1/environments", nil); a.Status != http.StatusNotFound {
		t.Errorf("bob after the team: %d", a.Status)
	}

	// What somebody may not give he may not give in any way.
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{http.MethodPost, "/api/userroles", map[string]any{"Name": "All", "GrantedSystemPermissions": []string{"AdministerSystem"}}, http.StatusForbidden},
		{http.MethodPost, "/api/teams", map[string]any{"Name": "Mine", "MemberUserIds": []string{"Users-2"}}, http.StatusForbidden},
		{http.MethodPost, "/api/scopeduserroles", map[string]any{"TeamId": "teams-everyone", "UserRoleId": "userroles-systemadministrator"}, http.StatusForbidden},
		{http.MethodPut, "/api/teams/teams-administrators", map[string]any{"MemberUserIds": []string{"Users-2"}}, http.StatusNotFound}, // he does not see it either
	} {
		if a := s.Do(key, c.method, c.path, c.body); a.Status != c.status {
			t.Errorf("%s %s by bob: %d %s", c.method, c.path, a.Status, a.Body)
		}
	}
}
