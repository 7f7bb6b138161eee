package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
)

// asked is a line of testdata/permissions.txt.
type asked struct {
	method, path string
	need         access.Permission
	by           string // what a scope limits it by
}

func permissionTable(t *testing.T) (table []asked) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "permissions.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if w := strings.Fields(lines.Text()); len(w) == 4 && w[0] != "#" {
			table = append(table, asked{w[0], strings.TrimSuffix(w[1], "/"), access.Permission(w[2]), w[3]})
		} else if len(w) > 0 && !strings.HasPrefix(w[0], "#") {
			t.Fatalf("permissions.txt: %q is no row", lines.Text())
		}
	}
	return table
}

// guarded is a space with a thing of each sort in project Alpha and environment One, and
// the paths to them.
type guarded struct {
	*apptest.Server
	paths  *strings.Replacer
	bodies map[string]any // of writes that make something of project Alpha or environment One, by method and path
}

func guard(t testing.TB) guarded {
	s := apptest.Start(t)
	one := s.Must("POST", "/api/environments", map[string]any{"Name": "One"})["Id"]
	s.Must("POST", "/api/environments", map[string]any{"Name": "Two"})
	s.Must("POST", "/api/machines", map[string]any{"Name": "web-1", "EnvironmentIds": []any{one}, "Roles": []string{"web"}, "Endpoint": map[string]any{"CommunicationStyle": "TentaclePassive", "Uri": "https://web-1:10933/", "Thumbprint": pin}})
	alpha := s.Must("POST", "/api/projects", map[string]any{"Name": "Alpha"})["Id"].(string)
	s.Must("POST", "/api/projects", map[string]any{"Name": "Beta"})
	channel := s.Must("POST", "/api/channels", map[string]any{"Name": "Alphas", "ProjectId": alpha})["Id"].(string)
	s.Must("PUT", "/api/deploymentprocesses/deploymentprocess-"+alpha, map[string]any{"Version": 0, "Steps": []any{map[string]any{"Name": "Say", "Properties": map[string]any{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{map[string]any{"ActionType": "Octopus.Script", "Properties": map[string]any{"Octopus.Action.Script.ScriptBody": "true"}}}}}})
	if a := upload(t, s, s.Key, "file", "web.1.0.0.zip", zipOf(t, "a", "b"), ""); a.Status != http.StatusCreated {
		t.Fatalf("upload: %d %s", a.Status, a.Body)
	}
	release := s.Must("POST", "/api/releases", map[string]any{"ProjectId": alpha, "Version": "1.0.0"})["Id"].(string)
	deployment := s.Must("POST", "/api/deployments", map[string]any{"ReleaseId": release, "EnvironmentId": one})
	task := deployment["TaskId"].(string)
	id := func(area, id string) []string { return []string{"/" + area + "/:id", "/" + area + "/" + id} }
	return guarded{s, strings.NewReplacer(slices.Concat(
		id("projects", alpha), id("channels", channel), id("releases", release), id("deployments", deployment["Id"].(string)), id("tasks", task), id("environments", one.(string)), id("machines", "Machines-1"),
		id("deploymentprocesses", "deploymentprocess-"+alpha), id("variables", "variableset-"+alpha), id("packages", "packages-web.1.0.0"), id("feeds", "feeds-builtin"), id("lifecycles", "Lifecycles-1"), id("projectgroups", "ProjectGroups-1"), id("events", "Events-1"),
		[]string{":project", alpha, ":channel", channel, ":environment", one.(string), ":version", "1.0.0", ":package", "web", ":id", "Nothing-99"})...),
		map[string]any{
			"POST /releases":                          map[string]any{"ProjectId": alpha, "Version": "2.0.0"},
			"POST /releases/create/v1":                map[string]any{"projectName": alpha, "releaseVersion": "2.0.0", "spaceIdOrName": "Spaces-1", "spaceId": "Spaces-1"},
			"POST /deployments":                       map[string]any{"ReleaseId": release, "EnvironmentId": one},
			"POST /deployments/create/untenanted/v1":  map[string]any{"spaceId": "Spaces-1", "projectName": alpha, "releaseVersion": "1.0.0", "environmentNames": []any{one}},
			"POST /deployments/create/tenanted/v1":    map[string]any{"spaceId": "Spaces-1", "projectName": alpha, "releaseVersion": "1.0.0", "environmentName": one, "tenants": []string{}},
			"POST /releases/:id/deployments/previews": map[string]any{"DeploymentPreviews": []any{map[string]any{"EnvironmentId": one}}},
			"POST /channels":                          map[string]any{"Name": "More", "ProjectId": alpha},
			"POST /projects/:id/channels":             map[string]any{"Name": "More", "ProjectId": alpha},
			"POST /machines":                          map[string]any{"Name": "web-2", "EnvironmentIds": []any{one}, "Roles": []string{"web"}, "Endpoint": map[string]any{"CommunicationStyle": "TentaclePassive", "Uri": "https://web-2:10933/", "Thumbprint": pin}},
			"POST /zones/promotions":                  map[string]any{"ReleaseId": release, "LinkId": "Links-1"},
		}}
}

// body is what a write sends: what is there, or something new.
func (g guarded) body(row asked, path string) any {
	if row.method == http.MethodGet || row.method == http.MethodDelete {
		return nil
	}
	if b, ok := g.bodies[row.method+" "+row.path]; ok {
		return b
	}
	var now any
	if a := g.Do(g.Key, http.MethodGet, path, nil); row.method == http.MethodPut && a.Status == http.StatusOK && json.Unmarshal(a.Body, &now) == nil {
		return now
	}
	return map[string]any{}
}

// TestEveryRoleAtEveryRoute asks each route of a space as each built-in role, given
// without a limit and limited to the project, to the environment, or to another one.
// Who lacks the permission is refused with its name; who has it for something else does
// not come at this; who has it is not refused.
func TestEveryRoleAtEveryRoute(t *testing.T) {
	g := guard(t)
	table := permissionTable(t)
	var known, rows []string
	for _, row := range table {
		known = append(known, row.method+" "+row.path)
	}
	for _, row := range g.API.Table() {
		if row.Who == api.InSpace {
			rows = append(rows, row.Method+" "+row.Path)
		}
	}
	for _, r := range rows {
		if !slices.Contains(known, r) {
			t.Errorf("%s has no line in testdata/permissions.txt", r)
		}
	}
	for _, k := range known {
		if !slices.Contains(rows, k) {
			t.Errorf("%s of testdata/permissions.txt is no route", k)
		}
	}
	ctx := context.Background()
	person, key := g.NewUser("person")
	team, err := g.Instance.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Persons", Space: g.Default.Number, Members: []int64{person.ID}})
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]any{}
	for _, row := range table {
		bodies[row.method+row.path] = g.body(row, "/api/Spaces-1"+g.paths.Replace(row.path))
	}
	scopes := map[string]instance.ScopedRole{"anywhere": {}, "in project Alpha": {Projects: []string{"Projects-1"}}, "in project Beta": {Projects: []string{"Projects-2"}}, "in environment One": {Environments: []string{"Environments-1"}}, "in environment Two": {Environments: []string{"Environments-2"}}}
	hidden := map[string][]string{
		"in project Beta":    {`"Alpha"`, `"Projects-1"`, `"Releases-1"`, `"Deployments-1"`, `"Alphas"`},
		"in environment Two": {`"One"`, `"Environments-1"`, `"web-1"`, `"Machines-1"`, `"Deployments-1"`},
	}
	for _, role := range access.Roles() {
		for name, given := range scopes {
			given.TeamID, given.Role, given.Space = team.ID, role.ID, g.Default.Number
			made, err := g.Instance.CreateScopedRole(ctx, instance.System(), given)
			if err != nil {
				if len(role.Space) > 0 {
					t.Fatal(role.Name, name, err)
				}
				continue // a role of the system is not for spaces
			}
			for _, row := range table {
				if row.need == "member" {
					continue
				}
				has := slices.Contains(role.Space, row.need)
				by := map[string][]string{"in project Beta": {"project", "deployment"}, "in environment Two": {"environment", "deployment"}}[name]
				elsewhere := slices.Contains(by, row.by) || row.by == "whole" && name != "anywhere"
				path, body := "/api/Spaces-1"+g.paths.Replace(row.path), bodies[row.method+row.path]
				if has && !elsewhere && row.method != http.MethodGet {
					path, body = "/api/Spaces-1"+concrete(row.path), []byte("{") // nothing is to be changed
				}
				what := fmt.Sprintf("%s %s %s: %s %s", role.Name, name, row.need, row.method, path)
				a := g.Do(key, row.method, path, body)
				switch {
				case a.Status >= 500 || a.Status == http.StatusUnauthorized:
					t.Errorf("%s: %d %.200s", what, a.Status, a.Body)
				case !has:
					if a.Status != http.StatusForbidden || !strings.Contains(string(a.Body), string(row.need)) {
						t.Errorf("%s was not refused: %d %.200s", what, a.Status, a.Body)
					}
				case row.method == http.MethodGet && a.Status == http.StatusOK:
					for _, secret := range hidden[name] {
						if strings.Contains(string(a.Body), secret) && (elsewhere || !strings.Contains(path, strings.Trim(secret, `"`))) {
							t.Errorf("%s tells of %s: %.2000s", what, secret, a.Body)
						}
					}
				case elsewhere:
					if a.Status != http.StatusForbidden && a.Status != http.StatusNotFound && !(a.Status == http.StatusBadRequest && strings.Contains(string(a.Body), "There is no ")) {
						t.Errorf("%s came at what is elsewhere: %d %.200s", what, a.Status, a.Body)
					}
				case a.Status == http.StatusForbidden:
					t.Errorf("%s was refused: %.200s", what, a.Body)
				}
			}
			if err := g.Instance.DeleteScopedRole(ctx, instance.System(), made); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// atServer are the routes outside of spaces and the permission of the system that each
// asks for, beside that to see what it is about; "" is for everybody who has signed in,
// about himself or what he is a member of.
var atServer = map[string]access.Permission{
	"GET /serverstatus": "", "GET /tasks/taskTypes": "", "GET /users/me": "",
	"GET /tasks": "", "POST /tasks": "", "GET /tasks/:id": "", "GET /tasks/:id/details": "", "GET /tasks/:id/raw": "", "POST /tasks/:id/cancel": "", // ask in the spaces
	"GET /server/keys": access.AdministerSystem, "POST /server/keys/rotate": access.AdministerSystem, "GET /spaces/:id/key": access.AdministerSystem, "POST /spaces/:id/key/rotate": access.AdministerSystem,
	"GET /spaces": "", "GET /spaces/all": "", "GET /spaces/:id": access.SpaceView, "POST /spaces": access.SpaceCreate, "PUT /spaces/:id": access.SpaceEdit, "DELETE /spaces/:id": access.SpaceDelete,
	"GET /users": "", "GET /users/all": "", "GET /users/:id": access.UserView, "POST /users": access.UserInvite, "PUT /users/:id": access.UserEdit, "DELETE /users/:id": access.UserEdit,
	"GET /users/:id/spaces": access.UserView, "GET /users/:id/teams": access.UserView, "GET /users/:id/permissions": access.UserView,
	"GET /users/:id/apikeys": access.UserEdit, "POST /users/:id/apikeys": access.UserEdit, "GET /users/:id/apikeys/:key": access.UserEdit, "DELETE /users/:id/apikeys/:key": access.UserEdit,
	"GET /teams": "", "GET /teams/all": "", "GET /teams/:id": access.TeamView, "POST /teams": access.TeamCreate, "PUT /teams/:id": access.TeamEdit, "DELETE /teams/:id": access.TeamDelete, "GET /teams/:id/scopeduserroles": access.TeamView,
	"GET /configuration/event-retention/values": access.ConfigureServer, "PUT /configuration/event-retention/values": access.ConfigureServer,
	"GET /configuration/audit-stream/values": access.AdministerSystem, "PUT /configuration/audit-stream/values": access.AdministerSystem, "DELETE /configuration/audit-stream/values": access.AdministerSystem,
	"GET /userroles": "", "GET /userroles/all": "", "GET /userroles/:id": "", "POST /userroles": access.UserRoleEdit, "PUT /userroles/:id": access.UserRoleEdit, "DELETE /userroles/:id": access.UserRoleEdit, // what roles there are is no secret
	"GET /scopeduserroles": "", "GET /scopeduserroles/:id": access.TeamView, "POST /scopeduserroles": access.TeamEdit, "PUT /scopeduserroles/:id": access.TeamEdit, "DELETE /scopeduserroles/:id": access.TeamEdit,
}

// TestEveryPermissionAtTheServer asks each route outside of spaces as somebody without any
// permission, who reads of no other person, team or space there; and as somebody who sees
// all that and has one permission more: nothing but that is open to him.
func TestEveryPermissionAtTheServer(t *testing.T) {
	s := apptest.Start(t)
	ctx := context.Background()
	zorro, _ := s.NewUser("zorro")
	team, err := s.Instance.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Zorros", Members: []int64{zorro.ID}})
	if err != nil {
		t.Fatal(err)
	}
	role := s.Must("POST", "/api/userroles", map[string]any{"Name": "Of zorros", "GrantedSystemPermissions": []string{"SpaceView"}})
	given, err := s.Instance.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: team.ID, Role: role["Id"].(string)})
	if err != nil {
		t.Fatal(err)
	}
	person, key := s.NewUser("person")
	his, err := s.Instance.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Persons", Members: []int64{person.ID}})
	if err != nil {
		t.Fatal(err)
	}
	path := strings.NewReplacer("/users/:id", "/users/"+zorro.APIID(), "/spaces/:id", "/spaces/Spaces-1", "/teams/:id", "/teams/"+team.APIID(), "/scopeduserroles/:id", "/scopeduserroles/"+given.APIID(), "/userroles/:id", "/userroles/"+role["Id"].(string), "/tasks/:id", "/tasks/ServerTasks-1", ":key", "apikeys-1")
	bodies := map[string]any{
		"POST /teams": map[string]any{"Name": "More"}, "POST /scopeduserroles": map[string]any{"TeamId": team.APIID(), "UserRoleId": role["Id"]},
		"PUT /scopeduserroles/:id": map[string]any{"Id": given.APIID(), "TeamId": team.APIID(), "UserRoleId": role["Id"]},
	}
	ask := func(row api.Row) apptest.Answer {
		var body any
		if writes(row) {
			if body = bodies[row.Method+" "+row.Path]; body == nil {
				body = map[string]any{}
			}
		}
		return s.Do(key, row.Method, "/api"+path.Replace(row.Path), body)
	}
	var rows []api.Row
	for _, row := range s.API.Table() {
		if row.Who == api.SignedIn {
			if _, known := atServer[row.Method+" "+row.Path]; !known {
				t.Errorf("%s %s has no line in atServer", row.Method, row.Path)
			}
			rows = append(rows, row)
		}
	}
	if len(rows) != len(atServer) {
		t.Errorf("%d routes, %d lines in atServer", len(rows), len(atServer))
	}
	shut := func(a apptest.Answer) bool {
		return a.Status == http.StatusForbidden || a.Status == http.StatusNotFound
	}
	for _, row := range rows {
		what, a := row.Method+" "+row.Path, ask(row)
		if atServer[what] != "" && !shut(a) && !(a.Status == http.StatusBadRequest && strings.Contains(string(a.Body), "There is no ")) {
			t.Errorf("%s is open to somebody without any permission: %d %.300s", what, a.Status, a.Body)
		}
		if strings.HasPrefix(row.Path, "/userroles") {
			continue
		}
		for _, secret := range []string{"zorro", "Zorros", `"Default"`, `"admin"`, "Administrators"} {
			if strings.Contains(string(a.Body), secret) {
				t.Errorf("%s tells somebody without any permission of %s: %.600s", what, secret, a.Body)
			}
		}
	}
	see := []access.Permission{access.SpaceView, access.UserView, access.UserRoleView, access.TeamView}
	for _, p := range access.SystemPermissions() {
		names := []string{string(p)}
		for _, v := range see {
			names = append(names, string(v))
		}
		made := s.Must("POST", "/api/userroles", map[string]any{"Name": "Only " + string(p), "GrantedSystemPermissions": names})
		held, err := s.Instance.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: his.ID, Role: made["Id"].(string)})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			what := row.Method + " " + row.Path
			need := atServer[what]
			if need == "" || slices.Contains(see, need) || need == p {
				continue
			}
			if a := ask(row); a.Status != http.StatusForbidden {
				t.Errorf("%s is open to who has %s: %d %.300s", what, p, a.Status, a.Body)
			}
		}
		if err := s.Instance.DeleteScopedRole(ctx, instance.System(), held); err != nil {
			t.Fatal(err)
		}
	}
}
