package web

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
)

// An administrator adds a person, changes everything about her, and deletes her.
func TestUsers(t *testing.T) {
	d := open(t)
	d.setUp()
	const list = "/admin/users"
	bad := d.submit(list+"/new", list, map[string]string{"username": "bo lind", "password": "short"})
	d.want(bad, 422, "")
	if bad.Find("[name=username]").AttrOr("value", "") != "bo lind" || bad.Find("[name=password]").AttrOr("value", "") != "" || bad.Find("[aria-invalid=true]").Length() != 2 {
		t.Errorf("a bad form: %s", bad.Find(".errors").Text())
	}
	d.want(d.submit(list+"/new", list, map[string]string{"username": "ada", "password": password}), 422, "")
	bo := d.submit(list+"/new", list, map[string]string{"username": "bo", "displayName": "Bo Lind", "email": "bo@example.com", "password": password}).location
	if !strings.HasPrefix(bo, list+"/Users-") {
		t.Fatalf("adding leads to %s", bo)
	}
	if text := d.get(list + "?q=LIND").Find("main table").Text(); !strings.Contains(text, "Bo Lind") || strings.Contains(text, "Administrator") {
		t.Errorf("found: %s", text)
	}
	if text := d.get(list).Find("tr[data-row*=ada]").Text(); !strings.Contains(text, "Administrator") {
		t.Errorf("ada in the list: %s", text)
	}
	d.want(d.submit(bo, bo+"/profile", map[string]string{"username": "ada"}), 422, "")
	d.want(d.submit(bo, bo+"/profile", map[string]string{"username": "bob", "displayName": "Bob"}), 303, bo)
	if title := d.get(bo).Find("h1").Text(); !strings.Contains(title, "Bob") {
		t.Errorf("renamed: %s", title)
	}

	// Signed in elsewhere: what an administrator does takes effect there at once.
	there := &door{t: t, s: d.s, app: d.app, cookies: map[string]string{}}
	signIn := func(with string) page {
		return there.submit("/signin", "/signin", map[string]string{"username": "bob", "password": with})
	}
	there.want(signIn(password), 303, "/")
	end := d.get(bo).Find(`form[action*="/sessions/"]`).AttrOr("action", "")
	d.want(d.submit(bo, end, nil), 303, bo)
	if p := there.get("/account"); p.status != 303 {
		t.Errorf("the session that was ended answers %d", p.status)
	}
	there.want(signIn(password), 303, "/")
	d.want(d.submit(bo, bo+"/password", map[string]string{"password": "short"}), 422, "")
	d.want(d.submit(bo, bo+"/password", map[string]string{"password": "another long password"}), 303, bo)
	there.want(signIn(password), 422, "")
	there.want(signIn("another long password"), 303, "/")
	d.want(d.submit(bo, bo+"/active", map[string]string{"active": "false"}), 303, bo)
	there.want(signIn("another long password"), 422, "")
	d.want(d.submit(bo, bo+"/active", map[string]string{"active": "true"}), 303, bo)
	there.want(signIn("another long password"), 303, "/")

	// Who may edit people does not act for an administrator.
	ctx := context.Background()
	role := d.submit("/admin/roles/new", "/admin/roles", map[string]string{"name": "Help desk"})
	d.want(role, 422, "")
	made, err := d.s.Instance.CreateRole(ctx, instance.System(), instance.RoleInput{Name: "Help desk", System: []access.Permission{"UserView", "UserEdit"}})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := d.s.Instance.UserBy(ctx, "bob")
	team, err := d.s.Instance.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Help desk", Members: []int64{u.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.s.Instance.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: team.ID, Role: made.ID}); err != nil {
		t.Fatal(err)
	}
	admin := there.get(list + "/Users-1")
	there.want(admin, 200, "")
	if text := admin.Find("main").Text(); !strings.Contains(text, "which you have not") || admin.Find("main form").Length() != 0 {
		t.Errorf("the help desk looks at an administrator: %s", text)
	}

	// One's own password is not changed here, by whoever finds the browser open.
	own := d.send(post_(list+"/Users-1/password", url.Values{"csrf": {d.get("/account").Find("input[name=csrf]").First().AttrOr("value", "")}, "password": {"a password of a thief"}}))
	d.want(own, 422, "")
	if text := own.Find(".errors").Text(); !strings.Contains(text, "your own account") {
		t.Errorf("one's own password: %s", text)
	}

	// A service account has keys, shown once, and no password.
	robot := d.submit(list+"/new", list, map[string]string{"username": "ci", "kind": "service"}).location
	shown := d.submit(robot, robot+"/keys", map[string]string{"purpose": "Builds", "days": "30"})
	d.want(shown, 200, "")
	key := strings.TrimSpace(shown.Find(".secret pre").First().Text())
	if !strings.HasPrefix(key, "API-") {
		t.Fatalf("the key is %q", key)
	}
	if _, _, err := d.s.Instance.UserByAPIKey(ctx, key); err != nil {
		t.Error(err)
	}
	if html, _ := d.get(robot).Html(); strings.Contains(html, key) {
		t.Error("the key is shown twice")
	}
	revoke := d.get(robot).Find(`form[action*="/keys/"][action$="/delete"]`).AttrOr("action", "")
	d.want(d.submit(robot, revoke, nil), 303, robot)
	if _, _, err := d.s.Instance.UserByAPIKey(ctx, key); err == nil {
		t.Error("the revoked key is taken")
	}
	d.want(d.submit(robot, robot+"/delete", map[string]string{"name": "other"}), 422, "")
	d.want(d.submit(robot, robot+"/delete", map[string]string{"name": "ci"}), 303, list)
	d.want(d.get(robot), 404, "")
	if d.get(list+"/Users-1").Find(`form[action$="/delete"], form[action$="/active"]`).Length() != 0 {
		t.Error("an administrator is offered to delete herself")
	}
}

// Roles are looked at, made, changed and deleted, and a page says what somebody may do and
// through what.
func TestRolesAndPermissions(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const roles = "/admin/roles"
	lead := d.get(roles + "/userroles-projectlead")
	d.want(lead, 200, "")
	if text := lead.Find("main").Text(); !strings.Contains(text, "built in") || strings.Contains(text, "Deployment create") || lead.Find("main form").Length() != 0 {
		t.Errorf("a built-in role: %s", text)
	}
	made := d.submitAll(roles+"/new", roles, map[string][]string{"name": {"Night shift"}, "description": {"Deploys at night."}, "space": {"DeploymentCreate", "DeploymentView", "ProjectView"}})
	d.want(made, 303, "")
	own := d.get(made.location)
	if own.Find("input[name=space][checked]").Length() != 3 || own.Find("[name=name]").AttrOr("value", "") != "Night shift" {
		t.Errorf("the role: %d permissions", own.Find("input[name=space][checked]").Length())
	}
	d.want(d.submitAll(made.location, made.location, map[string][]string{"name": {""}, "space": {"ProjectView"}}), 422, "")
	d.want(d.submitAll(made.location, made.location, map[string][]string{"name": {"Night shift"}, "space": {"DeploymentCreate", "ProjectView"}}), 303, made.location)

	bo := d.submit("/admin/users/new", "/admin/users", map[string]string{"username": "bo", "password": password}).location
	if text := d.get(bo + "/permissions").Find("main").Text(); !strings.Contains(text, "nothing that they may do") {
		t.Errorf("without a team: %s", text)
	}
	const teams = "/spaces/payments/teams"
	team := d.submit(teams+"/new", teams, map[string]string{"name": "Night"}).location
	d.want(d.submit(team, team+"/members", map[string]string{"user": "bo"}), 303, "")
	id := strings.TrimPrefix(made.location, roles+"/")
	d.want(d.submitAll(team, team+"/roles", map[string][]string{"role": {id}, "environments": {"Environments-1"}}), 303, "")
	d.want(d.submit(made.location, made.location+"/delete", nil), 422, "")

	text := d.get(bo + "/permissions").Find("main").Text()
	for _, want := range []string{"Payments", "Night shift", "Night", "Environment Environments-1"} {
		if !strings.Contains(text, want) {
			t.Errorf("what bo may do does not say %q: %s", want, text)
		}
	}
	who := func(query string) string {
		p := d.get("/spaces/payments/who" + query)
		d.want(p, 200, "")
		return p.Find("main table").Text()
	}
	if text := who("?environment=Environments-1"); !strings.Contains(text, "bo") || !strings.Contains(text, "Night shift") || !strings.Contains(text, "ada") {
		t.Errorf("who may deploy to the first environment: %s", text)
	}
	if text := who("?environment=Environments-2"); strings.Contains(text, "bo") || !strings.Contains(text, "ada") {
		t.Errorf("who may deploy to the second environment: %s", text)
	}
	if text := who("?permission=ProjectDelete"); strings.Contains(text, "Night shift") {
		t.Errorf("who may delete projects: %s", text)
	}
	d.want(d.get("/spaces/payments/who?permission=Everything"), 422, "")
	d.want(d.get("/spaces/payments/who?environment=Environments-99"), 404, "")
	d.want(d.get("/account/permissions"), 200, "")

	grant := d.get(team).Find(`form[action$="/roles/remove"]`)
	d.want(d.submit(team, grant.AttrOr("action", ""), map[string]string{"id": grant.Find("[name=id]").AttrOr("value", "")}), 303, "")
	d.want(d.submit(made.location, made.location+"/delete", nil), 303, roles)
}

// The menu has the pages that somebody may open, and no other.
func TestServerMenu(t *testing.T) {
	d := open(t)
	d.setUp()
	ctx := context.Background()
	bo, err := d.s.Instance.CreateUser(ctx, instance.System(), instance.UserInput{Username: "bo", Password: password, IsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	role, err := d.s.Instance.CreateRole(ctx, instance.System(), instance.RoleInput{Name: "Help desk", System: []access.Permission{"UserView", "EventView"}})
	if err != nil {
		t.Fatal(err)
	}
	team, err := d.s.Instance.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Help desk", Members: []int64{bo.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.s.Instance.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: team.ID, Role: role.ID}); err != nil {
		t.Fatal(err)
	}
	there := &door{t: t, s: d.s, app: d.app, cookies: map[string]string{}}
	there.want(there.submit("/signin", "/signin", map[string]string{"username": "bo", "password": password}), 303, "/")
	for who, x := range map[string]struct {
		d    *door
		want string
	}{"the administrator": {d, "/admin/users /admin/teams /admin/roles /admin/signin /admin/keys /admin/audit"}, "the help desk": {there, "/admin/users /admin/audit"}} {
		var got []string
		x.d.get("/account").Find(`.menu a[href^="/admin"]`).Each(func(_ int, s *goquery.Selection) {
			got = append(got, s.AttrOr("href", ""))
			if p := x.d.get(s.AttrOr("href", "")); p.status != 200 {
				t.Errorf("%s is offered %s: %d", who, s.AttrOr("href", ""), p.status)
			}
		})
		if strings.Join(got, " ") != x.want {
			t.Errorf("the menu of %s: %v", who, got)
		}
	}
}
