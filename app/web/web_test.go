package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/secrets"
)

const password = "correct horse battery"

// door is a server with a browser in front of it.
type door struct {
	t       testing.TB
	app     *fiber.App
	s       *Server
	cookies map[string]string
}

func open(t testing.TB) *door {
	t.Helper()
	return openWith(t, nil)
}

// openWith is open with the client that asks identity providers.
func openWith(t testing.TB, client *http.Client) *door {
	t.Helper()
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	masters := secrets.NewMasters(secrets.Master{Key: secrets.NewKey()})
	inst, err := instance.Open(ctx, filepath.Join(dir, "instance.db"), masters, instance.Options{Logger: quiet, HTTP: client})
	if err != nil {
		t.Fatal(err)
	}
	reg, err := spaces.NewRegistry(spaces.Config{Root: filepath.Join(dir, "spaces"), Masters: masters, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close(ctx); inst.Close() })
	d := &door{t: t, s: &Server{Instance: inst, Spaces: reg, Keys: apptest.Keys{Masters: masters, Instance: inst, Spaces: reg}, Feeds: feeds.New(outbound.Guard{}, nil), PublicURL: "https://example.com", Log: quiet}, cookies: map[string]string{}}
	d.app = fiber.New(fiber.Config{Immutable: true, StreamRequestBody: true, DisablePreParseMultipartForm: true, BodyLimit: 64 << 20})
	d.s.Routes(d.app)
	return d
}

// page is an answer.
type page struct {
	*goquery.Document
	status   int
	location string
	header   http.Header
}

func (d *door) send(req *http.Request) page {
	d.t.Helper()
	for n, v := range d.cookies {
		req.AddCookie(&http.Cookie{Name: n, Value: v})
	}
	res, err := d.app.Test(req, -1)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	for _, c := range res.Cookies() {
		if d.cookies[c.Name] = c.Value; c.Value == "" {
			delete(d.cookies, c.Name)
		}
	}
	doc, err := goquery.NewDocumentFromReader(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return page{doc, res.StatusCode, res.Header.Get("Location"), res.Header}
}

func (d *door) get(path string) page {
	d.t.Helper()
	return d.send(httptest.NewRequest("GET", path, nil))
}

func post_(path string, v url.Values) *http.Request {
	req := httptest.NewRequest("POST", path, strings.NewReader(v.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

// submit fills in the form of a page that posts to action, as a browser without scripts
// does, and follows the redirect.
func (d *door) submit(from, action string, fill map[string]string) page {
	d.t.Helper()
	all := map[string][]string{}
	for n, x := range fill {
		all[n] = []string{x}
	}
	return d.submitAll(from, action, all)
}

// submitAll is submit for fields with several values.
func (d *door) submitAll(from, action string, fill map[string][]string) page {
	d.t.Helper()
	p := d.get(from)
	form := p.Find(`form[method=post]`).FilterFunction(func(_ int, s *goquery.Selection) bool { return s.AttrOr("action", "") == action })
	if form.Length() == 0 {
		d.t.Fatalf("GET %s: %d, no form to %s:\n%.600s", from, p.status, action, p.Text())
	}
	v := url.Values{}
	form = form.First()
	form.Find("input, textarea").Each(func(_ int, s *goquery.Selection) {
		_, checked := s.Attr("checked")
		if t := s.AttrOr("type", ""); t == "checkbox" && !checked {
			return
		}
		v.Set(s.AttrOr("name", ""), s.AttrOr("value", s.Text()))
	})
	form.Find("select").Each(func(_ int, s *goquery.Selection) {
		if o := s.Find("option[selected]"); o.Length() > 0 {
			v.Set(s.AttrOr("name", ""), o.First().AttrOr("value", ""))
		} else if _, multiple := s.Attr("multiple"); !multiple {
			v.Set(s.AttrOr("name", ""), s.Find("option:not([disabled])").First().AttrOr("value", ""))
		}
	})
	for n, x := range fill {
		v[n] = x
	}
	return d.send(post_(action, v))
}

func (d *door) want(p page, status int, location string) {
	d.t.Helper()
	if p.status != status || location != "" && p.location != location {
		d.t.Fatalf("got %d %s, want %d %s: %.800s", p.status, p.location, status, location, p.Find("main").Text())
	}
}

func (d *door) setUp() {
	d.t.Helper()
	token, err := d.s.Instance.SetupToken(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	d.want(d.get("/"), 303, "/setup")
	d.want(d.submit("/setup", "/setup", map[string]string{"token": token, "username": "ada", "password": password, "space": "Payments"}), 303, "/spaces/payments")
}

// space runs f in the first space.
func (d *door) inSpace(f func(tx *spaces.Tx) error) {
	d.t.Helper()
	d.inSpaceAs(spaces.Server(), f)
}

func (d *door) inSpaceAs(actor spaces.Actor, f func(tx *spaces.Tx) error) {
	d.t.Helper()
	ctx := context.Background()
	about, err := d.s.Instance.SpaceBy(ctx, "payments")
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := d.s.Spaces.Acquire(ctx, ref(about))
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Release()
	if err := spaces.Do(ctx, s, actor, f); err != nil {
		d.t.Fatal(err)
	}
}

func (d *door) machines() {
	d.t.Helper()
	d.inSpace(func(tx *spaces.Tx) error {
		e, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Test"})
		if err != nil {
			return err
		}
		if _, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Production"}); err != nil {
			return err
		}
		_, err = tx.CreateTarget(spaces.TargetInput{Name: "web-01", Style: spaces.StyleListening, URI: "https://web-01:10933/", Thumbprint: strings.Repeat("ab", 32), Environments: []spaces.EnvironmentID{e.ID}, Tags: []string{"web"}})
		return err
	})
}

// A person gets from an empty server to a queued deployment with nothing but forms.
func TestFromSetUpToDeployment(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const p = "/spaces/payments/projects/web-shop"
	d.want(d.submit("/spaces/payments/projects/new", "/spaces/payments/projects", map[string]string{"name": "Web shop"}), 303, p)
	d.want(d.get(p), 200, "")
	newStep := p + "/process/new?type=Octopus.Script"
	bad := d.submit(newStep, newStep, map[string]string{"name": "Hello", "Octopus.Action.TargetRoles": "web"})
	d.want(bad, 422, "")
	if bad.Find("[aria-invalid=true]").AttrOr("name", "") != "Octopus.Action.Script.ScriptBody" || bad.Find("#f-name").AttrOr("value", "") != "Hello" {
		t.Errorf("a step without its script must come back marked and whole: %s", bad.Find(".errors").Text())
	}
	d.want(d.submit(newStep, newStep, map[string]string{"name": "Hello", "Octopus.Action.TargetRoles": "web", "Octopus.Action.Script.ScriptBody": "echo #{Greeting}"}), 303, p+"/process")
	stale := post_(newStep, url.Values{"csrf": {d.get(newStep).Find("input[name=csrf]").First().AttrOr("value", "")}, "version": {"0"}, "name": {"Mine"}, "Octopus.Action.TargetRoles": {"web"}, "Octopus.Action.Script.ScriptBody": {"true"}})
	if s := d.send(stale); s.status != 422 || s.Find("#f-name").AttrOr("value", "") != "Mine" || !strings.Contains(s.Text(), "ada") {
		t.Errorf("a stale save shows both: %d %s", s.status, s.Find("main").Text())
	}
	d.want(d.submit(p+"/variables", p+"/variables", map[string]string{"name": "Greeting", "value": "hello", "scope-environment": "Environments-1"}), 303, p+"/variables")
	d.want(d.submit(p+"/variables", p+"/variables", map[string]string{"name": "Password", "value": "s3cret-value", "sensitive": "true"}), 303, p+"/variables")
	vars := d.get(p + "/variables")
	if body := vars.Text(); strings.Contains(body, "s3cret-value") || !strings.Contains(body, "Greeting") || vars.Find(".chip").First().Text() != "Test" {
		t.Errorf("the grid shows names and scopes and no secret: %.600s", body)
	}
	if got := d.get(p + "/preview?environment=Environments-1"); !strings.Contains(got.Find("table").Text(), "hello") {
		t.Errorf("the preview tells the value: %s", got.Find("main").Text())
	}
	d.want(d.submit(p+"/settings", p+"/settings/templates", map[string]string{"templateName": "Url", "default": "x"}), 303, p+"/settings")
	d.want(d.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.4.2"}), 303, p+"/releases/1.4.2")
	twice := d.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.4.2"})
	d.want(twice, 422, "")
	if twice.Find("#f-version-error").Length() != 1 {
		t.Error("a taken version is marked at its field")
	}
	rel := d.get(p + "/releases/1.4.2")
	if rows := rel.Find("#places tbody tr"); rows.Length() != 2 || rows.Eq(1).Find("a.button").Length() != 0 || rows.Eq(1).Find("td").Last().Text() == "" {
		t.Errorf("production is closed with a reason: %s", rows.Text())
	}
	deploy := p + "/releases/1.4.2/deploy"
	plan := d.submit(deploy+"?environment=Environments-1", deploy, map[string]string{"preview": "true"})
	d.want(plan, 200, "")
	if !strings.Contains(plan.Find("table").Text(), "web-01") {
		t.Errorf("the plan names the target: %s", plan.Find("main").Text())
	}
	done := d.submit(deploy+"?environment=Environments-1", deploy, map[string]string{"comments": "first"})
	d.want(done, 303, p+"/releases/1.4.2/deployments/Deployments-1")
	dep := d.get(done.location)
	if !strings.Contains(dep.Text(), "Queued") || !strings.Contains(dep.Text(), "first") {
		t.Errorf("the deployment says how it is and why: %s", dep.Find("main").Text())
	}
	if cell := d.get("/spaces/payments").Find("#matrix a.cell"); !strings.Contains(cell.Text(), "1.4.2") || cell.AttrOr("href", "") != done.location {
		t.Errorf("the dashboard leads there: %s", cell.Text())
	}
	d.want(d.submit(done.location, "/spaces/payments/tasks/ServerTasks-1/cancel", nil), 303, done.location)
	if s := d.get("/spaces/payments/tasks").Find("#tasks").Text(); !strings.Contains(s, "Canceled") {
		t.Errorf("tasks: %s", s)
	}
	d.want(d.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.5.0"}), 303, "")
	d.want(d.get(p+"/releases/1.5.0/compare/1.4.2"), 200, "")
	for _, path := range []string{p + "/releases", p + "/process", p + "/settings", "/spaces", "/account", "/account/keys", "/admin/users", "/admin/audit", "/spaces/payments/settings", "/spaces/payments/audit", "/spaces/payments/projects"} {
		if g := d.get(path); g.status != 200 || g.Find("h1").Length() != 1 {
			t.Errorf("GET %s: %d %s", path, g.status, g.Find("main").Text())
		}
	}
}

func TestSigningIn(t *testing.T) {
	d := open(t)
	d.setUp()
	d.want(d.submit("/account", "/signout", nil), 303, "/signin")
	d.want(d.get("/spaces/payments"), 303, "/signin?next=%2Fspaces%2Fpayments")
	wrong := d.submit("/signin", "/signin", map[string]string{"username": "ada", "password": "not this one"})
	d.want(wrong, 422, "")
	if wrong.Find("#f-username").AttrOr("value", "") != "ada" || wrong.Find(".errors").Length() != 1 {
		t.Error("the name is kept and the failure is told")
	}
	d.want(d.submit("/signin?next=//evil.example/", "/signin", map[string]string{"username": "ada", "password": password}), 303, "/")
	d.want(d.send(post_("/signout", nil)), 403, "")
	foreign := post_("/signout", url.Values{"csrf": {d.get("/account").Find("input[name=csrf]").AttrOr("value", "")}})
	foreign.Header.Set("Origin", "https://evil.example")
	d.want(d.send(foreign), 403, "")
	h := d.get("/account").header
	if !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", h)
	}
}

// While the server stops, and after the time of a request, people get a page and no bare
// error.
func TestStopping(t *testing.T) {
	d := open(t)
	d.setUp()
	base, stop := context.WithCancel(context.Background())
	d.s.Base = base
	stop()
	p := d.get("/spaces/payments")
	if p.status != 503 || p.Find("h1").Text() != "Not available" || !strings.Contains(p.Find("main").Text(), "The server is stopping") {
		t.Errorf("a server that stops answers %d: %s", p.status, p.Find("main").Text())
	}
}

// Every row of the table turns away who may not come.
func TestRoutes(t *testing.T) {
	d := open(t)
	d.setUp()
	ctx := context.Background()
	if _, err := d.s.Instance.CreateUser(ctx, instance.System(), instance.UserInput{Username: "bob", Password: password, IsActive: true}); err != nil {
		t.Fatal(err)
	}
	ada := d.cookies
	d.cookies = map[string]string{}
	d.want(d.submit("/signin", "/signin", map[string]string{"username": "bob", "password": password}), 303, "/")
	bob, token := d.cookies, d.get("/account").Find("input[name=csrf]").First().AttrOr("value", "")
	d.cookies = ada
	adaToken := d.get("/account").Find("input[name=csrf]").First().AttrOr("value", "")
	path := strings.NewReplacer(":space", "payments", ":project", "x", ":version", "1", ":step", "s", ":variable", "v", ":task", "ServerTasks-1", ":deployment", "Deployments-1", ":key", "1", ":link", "Links-1", ":with", "2", ":package", "web", ":environment", "Environments-1", ":target", "Machines-1", ":registration", "Registrations-1", ":lifecycle", "Lifecycles-1", ":provider", "IdentityProviders-1")
	for _, row := range d.s.table() {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			d.t = t
			to := path.Replace(row.path)
			request := func(token string) *http.Request {
				if row.method == "POST" {
					return post_(to, url.Values{"csrf": {token}})
				}
				return httptest.NewRequest("GET", to, nil)
			}
			if row.who != public {
				d.cookies = map[string]string{}
				if p := d.send(request("")); p.status != 303 || !strings.HasPrefix(p.location, "/signin") {
					t.Errorf("a stranger gets %d %s", p.status, p.location)
				}
			}
			if row.who == inSpace {
				d.cookies = bob
				if p := d.send(request(token)); p.status != 404 {
					t.Errorf("somebody else gets %d", p.status)
				}
			}
			if row.method == "POST" && !row.raw && !row.parts {
				d.cookies = ada
				req := httptest.NewRequest("POST", to, io.LimitReader(neverEnding('x'), maxForm+2))
				req.ContentLength = maxForm + 2
				req.Header.Set("X-Csrf-Token", adaToken)
				if p := d.send(req); p.status != 413 && p.status != 404 && p.status != 403 {
					t.Errorf("an oversized body gets %d", p.status)
				}
			}
		})
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}
