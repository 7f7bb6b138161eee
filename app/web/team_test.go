package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

// A person gets rights in the browser alone: a team is made, gets a member and a role for
// one environment, and loses them again.
func TestTeams(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	ctx := context.Background()
	d.inSpace(func(tx *spaces.Tx) error {
		_, err := tx.CreateProject(spaces.ProjectInput{Name: "Shop"})
		return err
	})
	bob, err := d.s.Instance.CreateUser(ctx, instance.System(), instance.UserInput{Username: "bob", DisplayName: "Bob Builder", Password: password, IsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	may := func(project, environment string) bool {
		p, err := d.s.Instance.Permissions(ctx, bob.ID, 1)
		if err != nil {
			t.Fatal(err)
		}
		return p.Allows(access.DeploymentCreate, access.Scope{Project: project, Environment: environment})
	}
	const p = "/spaces/payments/teams"
	if list := d.get(p).Find("main").Text(); !strings.Contains(list, "Everyone") || !strings.Contains(list, "Space manager") {
		t.Errorf("the list: %s", list)
	}
	bad := d.submit(p+"/new", p, map[string]string{"name": " ", "description": "who deploys"})
	d.want(bad, 422, "")
	if bad.Find("#f-name[aria-invalid=true]").Length() != 1 || bad.Find("#f-description").AttrOr("value", "") != "who deploys" {
		t.Errorf("a team without a name: %s", bad.Find(".errors").Text())
	}
	made := d.submit(p+"/new", p, map[string]string{"name": "Deployers"})
	if made.status != 303 || !strings.HasPrefix(made.location, p+"/Teams-") {
		t.Fatalf("%d %s", made.status, made.location)
	}
	team := made.location
	again := d.submit(p+"/new", p, map[string]string{"name": "deployers"})
	if d.want(again, 422, ""); !strings.Contains(again.Find("#f-name-error").Text(), "already a team") {
		t.Errorf("a second team of the name: %s", again.Find(".errors").Text())
	}

	unknown := d.submit(team, team+"/members", map[string]string{"user": "bobby"})
	if d.want(unknown, 422, ""); !strings.Contains(unknown.Find("#f-user-error").Text(), "There is no user 'bobby'") {
		t.Errorf("an unknown member: %s", unknown.Find(".errors").Text())
	}
	d.want(d.submit(team, team+"/members", map[string]string{"user": "bob"}), 303, team)
	if may("Projects-1", "Environments-2") {
		t.Fatal("a team without roles gives something")
	}
	d.want(d.submit(team, team+"/roles", map[string]string{"role": "userroles-projectdeployer", "projects": "Projects-1", "environments": "Environments-2"}), 303, team)
	if !may("Projects-1", "Environments-2") || may("Projects-1", "Environments-1") {
		t.Error("the role does not reach what was chosen, or more")
	}
	text := d.get(team).Find("main").Text()
	for _, want := range []string{"Bob Builder", "Project Shop", "Environment Production"} {
		if !strings.Contains(text, want) {
			t.Errorf("the team does not tell of %s", want)
		}
	}
	none := d.submit(team, team+"/roles", map[string]string{"role": "userroles-none"})
	if d.want(none, 422, ""); !strings.Contains(none.Find("#f-role-error").Text(), "There is no role") {
		t.Errorf("an unknown role: %s", none.Find(".errors").Text())
	}
	if blank := d.submit(team, team+"/roles", map[string]string{"role": ""}); blank.status != 422 || d.get(team).Find("#f-role option[selected]").AttrOr("value", "none") != "" {
		t.Error("a role is given that nobody chose")
	}
	d.want(d.submit(team, team+"/roles/remove", nil), 303, team)
	if may("Projects-1", "Environments-2") {
		t.Error("the role stays")
	}
	d.want(d.submit(team, team+"/members/remove", nil), 303, team)
	if strings.Contains(d.get(team).Find("table").Text(), "Bob Builder") {
		t.Error("the member stays")
	}
	d.want(d.submit(team, team+"/groups", map[string]string{"group": "g-1", "groupName": "Shop people"}), 303, team)
	d.want(d.submit(team, team+"/groups/remove", nil), 303, team)
	d.want(d.submit(team, team, map[string]string{"name": "Releasers", "description": "x"}), 303, team)
	wrong := d.submit(team, team+"/delete", map[string]string{"name": "releasers"})
	if d.want(wrong, 422, ""); wrong.Find("#f-delete-name[aria-invalid=true]").Length() != 1 {
		t.Error("deleting without the name")
	}
	d.want(d.submit(team, team+"/delete", map[string]string{"name": "Releasers"}), 303, p)
	d.want(d.get(team), 404, "")

	audit := d.get("/admin/audit").Find("main").Text()
	for _, want := range []string{"Team Deployers was made", "was given the role", "was taken from team", "Team Releasers was deleted"} {
		if !strings.Contains(audit, want) {
			t.Errorf("the audit does not tell: %s", want)
		}
	}
}

// Teams of the system are theirs who run it. Built-in ones keep what makes them.
func TestTeamsOfTheSystem(t *testing.T) {
	d := open(t)
	d.setUp()
	const p = "/admin/teams"
	made := d.submit(p+"/new", p, map[string]string{"name": "Operators"})
	d.want(made, 303, "")
	d.want(d.submit(made.location, made.location+"/roles", map[string]string{"role": "userroles-systemmanager"}), 303, made.location)
	here := strings.Replace(made.location, "/admin", "/spaces/payments", 1)
	d.want(d.submit(here, here+"/roles", map[string]string{"role": "userroles-projectviewer"}), 303, here)
	if roles := d.get(made.location); roles.Find(`a[href="`+here+`"]`).Length() != 1 || !strings.Contains(roles.Find("main").Text(), "the system") {
		t.Errorf("the roles of the team: %s", roles.Find("main").Text())
	}
	last := d.submit(p+"/teams-administrators", p+"/teams-administrators/members/remove", nil)
	if d.want(last, 422, ""); !strings.Contains(last.Find(".errors").Text(), "last administrator") {
		t.Errorf("the last administrator: %s", last.Find(".errors").Text())
	}
	managers := "/spaces/payments/teams/teams-spacemanagers-Spaces-1"
	d.want(d.submit(managers, managers+"/members/remove", nil), 422, "")
	d.want(d.get("/admin/teams/teams-spacemanagers-Spaces-1"), 404, "")

	if _, err := d.s.Instance.CreateUser(context.Background(), instance.System(), instance.UserInput{Username: "bob", Password: password, IsActive: true}); err != nil {
		t.Fatal(err)
	}
	d.cookies = map[string]string{}
	d.want(d.submit("/signin", "/signin", map[string]string{"username": "bob", "password": password}), 303, "/")
	token := d.get("/account").Find("input[name=csrf]").First().AttrOr("value", "")
	rows := 0
	for _, row := range d.s.table() {
		if !strings.HasPrefix(row.path, p) {
			continue
		}
		rows++
		path := strings.Replace(row.path, ":team", "teams-everyone", 1)
		req := httptest.NewRequest("GET", path, nil)
		if row.method == http.MethodPost {
			req = post_(path, url.Values{"csrf": {token}})
		}
		if got := d.send(req); got.status != http.StatusForbidden || !strings.Contains(got.Text(), string(row.need)) {
			t.Errorf("%s %s: %d", row.method, path, got.status)
		}
	}
	if rows != 12 {
		t.Errorf("%d rows", rows)
	}
}
