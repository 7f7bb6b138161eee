package web

import (
	"bytes"
	"context"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/steps"
)

// forMembers are the pages of a space that need no permission of their own: what they
// show is limited row by row, and what they do asks for more inside.
var forMembers = []string{
	"GET /spaces/:space", "GET /spaces/:space/settings", "POST /spaces/:space/settings", "POST /spaces/:space/settings/delete",
	"GET /spaces/:space/events", "GET /spaces/:space/search",
}

// TestEveryRoleAtEveryPage opens each page of a space as each built-in role, given
// without a limit or limited to what is elsewhere. Who lacks the permission is told its
// name; nobody reads of a project or an environment that his role does not reach, and no
// form does anything to them.
func TestEveryRoleAtEveryPage(t *testing.T) {
	d := open(t)
	d.withZones()
	d.setUp()
	ctx := context.Background()
	d.inSpace(func(tx *spaces.Tx) error {
		one, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Quagga"})
		if err != nil {
			return err
		}
		if _, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Two"}); err != nil {
			return err
		}
		if _, err := tx.CreateTarget(spaces.TargetInput{Name: "zorilla", Style: spaces.StyleListening, URI: "https://zorilla:10933/", Thumbprint: strings.Repeat("ab", 32), Environments: []spaces.EnvironmentID{one.ID}, Tags: []string{"web"}}); err != nil {
			return err
		}
		alpha, err := tx.CreateProject(spaces.ProjectInput{Name: "Zebra"})
		if err != nil {
			return err
		}
		if _, err := tx.CreateProject(spaces.ProjectInput{Name: "Beta"}); err != nil {
			return err
		}
		kind, _ := steps.Lookup("Octopus.Script")
		say := kind.New("Say")
		say.Properties.Set(steps.TargetRolesProperty, "web")
		say.Actions[0].Properties.Set("Octopus.Action.Script.ScriptBody", "true")
		if _, err := tx.SaveProcess(alpha.ID, 0, steps.Process{Steps: []steps.Step{say}}); err != nil {
			return err
		}
		release, err := tx.CreateRelease(spaces.ReleaseInput{Project: alpha.ID, Version: "8.1.2"})
		if err != nil {
			return err
		}
		_, err = tx.CreateDeployment(spaces.DeploymentInput{Release: release.ID, Environment: one.ID})
		return err
	})
	bob, err := d.s.Instance.CreateUser(ctx, instance.System(), instance.UserInput{Username: "bob", Password: password, IsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	team, err := d.s.Instance.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Bobs", Space: 1, Members: []int64{bob.ID}})
	if err != nil {
		t.Fatal(err)
	}
	d.cookies = map[string]string{}
	d.want(d.submit("/signin", "/signin", map[string]string{"username": "bob", "password": password}), 303, "/")
	token := d.get("/account").Find("input[name=csrf]").First().AttrOr("value", "")
	path := strings.NewReplacer(":space", "payments", ":project", "zebra", ":version", "8.1.2", ":step", "Say", ":variable", "v", ":task", "ServerTasks-1", ":deployment", "Deployments-1", ":link", "Links-1", ":with", "8.1.2", ":package", "web", ":environment", "Environments-1", ":target", "Machines-1", ":registration", "Registrations-1", ":lifecycle", "Lifecycles-1", ":subscription", "Subscriptions-1", ":team", "teams-spacemanagers-Spaces-1")
	request := func(row route) *http.Request {
		if strings.HasSuffix(row.path, "/audit/export") {
			row.path += "?format=csv"
		}
		if row.parts {
			var b bytes.Buffer
			w := multipart.NewWriter(&b)
			_ = w.WriteField("csrf", token)
			if part, err := w.CreateFormFile("file", "file"); err == nil {
				_, _ = part.Write([]byte("x"))
			}
			_ = w.Close()
			r := httptest.NewRequest("POST", path.Replace(row.path), &b)
			r.Header.Set("Content-Type", w.FormDataContentType())
			return r
		}
		if row.method == "POST" {
			return post_(path.Replace(row.path)+"?csrf="+token, url.Values{"csrf": {token}})
		}
		return httptest.NewRequest("GET", path.Replace(row.path), nil)
	}
	scopes := []struct {
		name  string
		given instance.ScopedRole
		words []string // of what it does not reach
		paths []string
	}{
		{"anywhere", instance.ScopedRole{}, nil, nil},
		{"in project Beta", instance.ScopedRole{Projects: []string{"Projects-2"}}, []string{"Zebra", "8.1.2"}, []string{":project", ":deployment", ":task"}},
		{"in environment Two", instance.ScopedRole{Environments: []string{"Environments-2"}}, []string{"Quagga", "zorilla"}, []string{":environment", ":target", ":deployment", ":task"}},
	}
	for _, role := range access.Roles() {
		for _, scope := range scopes {
			given := scope.given
			given.TeamID, given.Role, given.Space = team.ID, role.ID, 1
			made, err := d.s.Instance.CreateScopedRole(ctx, instance.System(), given)
			if err != nil {
				if len(role.Space) > 0 {
					t.Fatal(role.Name, scope.name, err)
				}
				continue
			}
			for _, row := range d.s.table() {
				if row.who != inSpace {
					continue
				}
				id := row.method + " " + row.path
				if row.need == "" && !slices.Contains(forMembers, id) {
					t.Errorf("%s asks for no permission", id)
				}
				if id == "GET /spaces/:space/events" {
					continue // does not end; browser tests follow it
				}
				has := row.need == "" || slices.Contains(role.Space, row.need)
				elsewhere := slices.ContainsFunc(scope.paths, func(p string) bool { return strings.Contains(row.path, p) }) ||
					scope.name != "anywhere" && strings.Contains(row.path, "/audit/archives") // an archive has everything
				if row.method == "POST" && has && !elsewhere {
					continue // it may do what it is for
				}
				p := d.send(request(row))
				// Why a release is held is told to whoever sees it, with what it waits for.
				text := strings.ReplaceAll(p.Text(), "Phase 'Quagga' is not complete: it needs a successful deployment to 'Quagga'.", "")
				what := role.Name + " " + scope.name + ": " + id
				switch {
				case p.status >= 500:
					t.Errorf("%s: %d %.300s", what, p.status, text)
				case !has:
					if p.status != http.StatusForbidden || !strings.Contains(text, string(row.need)) {
						t.Errorf("%s was not refused: %d %s %.300s", what, p.status, p.location, text)
					}
				case row.method == "POST":
					if p.status != http.StatusForbidden && p.status != http.StatusNotFound {
						t.Errorf("%s came at what is elsewhere: %d %s %.300s", what, p.status, p.location, text)
					}
				default:
					if p.status == http.StatusForbidden && !elsewhere && !slices.ContainsFunc(access.SpacePermissions(), func(n access.Permission) bool {
						return !slices.Contains(role.Space, n) && strings.Contains(text, " "+string(n)+" ") // the page shows more than what it is for
					}) {
						t.Errorf("%s was refused: %.300s", what, p.Find("main").Text())
					}
					for _, w := range scope.words {
						if i := strings.Index(text, w); i >= 0 {
							t.Errorf("%s tells of %s: %.200s", what, w, text[max(0, i-100):])
						}
					}
				}
			}
			if err := d.s.Instance.DeleteScopedRole(ctx, instance.System(), made); err != nil {
				t.Fatal(err)
			}
		}
	}
}
