package web

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"

	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/spaces"
)

// parameters are all names that some page reads from the query.
var parameters = strings.Fields("before category channel code contents environment error format from health lifecycle log new next packages project q role since skip state step tag target token topics type until uploaded wall with")

// attacked is a server with a thing of each sort, and what its pages offer.
type attacked struct {
	*door
	rows  []route
	forms map[string][]form // by the path of the row that takes it
	seen  map[string][]string
	names *strings.Replacer // for rows that no page links to
	token string            // against forgery
	times int               // somebody signed in
}

// form is a form of a page with what a browser would send.
type form struct {
	action string
	values url.Values
}

// refusing lets nobody out: an identity provider is not to be asked for.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("tests go nowhere")
}

// offered is a server on which each row of the table has something to show or change,
// with a link to a second one, and all forms that its pages have.
func offered(t testing.TB) *attacked {
	dev, prod := openWith(t, &http.Client{Transport: refusing{}}), open(t)
	for _, d := range []*door{dev, prod} {
		d.withZones()
		d.setUp()
		d.machines()
	}
	const zonesPage, wizard, inbox = "/spaces/payments/zones", "/spaces/payments/zones/link", "/spaces/payments/promotions"
	for _, x := range []struct {
		from, to   *door
		name, role string
	}{{dev, prod, "Dev", "source"}, {prod, dev, "Prod", "both"}} {
		card, _ := x.from.download(zonesPage + "/card")
		x.to.want(x.to.submit(wizard, zonesPage+"/trust", map[string]string{"card": string(card), "name": x.name, "role": x.role, "words": strings.Join(x.from.words()[9:], " ")}), 303, "")
	}
	for _, x := range []struct {
		d    *door
		link string
	}{{dev, "Prod"}, {prod, "Dev"}} {
		d := x.d
		d.shop(x.link)
		const p = "/spaces/payments/projects/shop"
		d.want(d.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.0.0", "notes": "The first one."}), 303, "")
		d.want(d.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.1.0"}), 303, "")
		d.finish(1, "Test")
		release := d.get(p + "/releases/1.0.0")
		d.want(d.submit(p+"/releases/1.0.0", release.Find("#places form").AttrOr("action", ""), nil), 303, "")
	}
	out := prod.get(inbox+"/outbox").Find("#outbox tbody a").AttrOr("href", "")
	bundle, _ := prod.download(out + "/bundle")
	dev.want(dev.give(inbox, inbox+"/import", "bundle", bundle), 303, "")
	d := dev
	d.s.AgentToken = func(secret, space string) AgentToken { return AgentToken{Text: secret} }
	const p = "/spaces/payments/projects/shop"
	d.want(d.submit(p+"/variables", p+"/variables", map[string]string{"name": "Greeting", "value": "hello", "scope-environment": "Environments-1"}), 303, "")
	d.want(d.upload(file{"web.1.0.0.zip", zipOf(t, "a", "one")}, file{"web.1.1.0.zip", zipOf(t, "a", "two")}), 303, "")
	d.want(d.submit("/account/keys", "/account/keys", map[string]string{"purpose": "tests"}), 200, "")
	d.inSpace(func(tx *spaces.Tx) error {
		x, err := tx.CreateDeployment(spaces.DeploymentInput{Release: 2, Environment: 1})
		if err != nil {
			return err
		}
		if _, _, err := tx.StartTask(x.TaskID); err != nil {
			return err
		}
		return tx.OpenInterruption(spaces.Interruption{TaskID: x.TaskID, Kind: "GuidedFailure", Reference: "step-1", Title: "It failed", Message: "What now?", Choices: []spaces.Choice{{Value: "Retry", Label: "Try again"}, {Value: "Fail", Label: "Fail"}}})
	})
	d.want(d.submit("/admin/users/new", "/admin/users", map[string]string{"username": "zoe", "password": password}), 303, "")
	d.want(d.submit("/admin/users/new", "/admin/users", map[string]string{"username": "robot", "kind": "service"}), 303, "")
	d.want(d.submitAll("/admin/roles/new", "/admin/roles", map[string][]string{"name": {"Night shift"}, "space": {"ProjectView"}}), 303, "")
	const teams = "/spaces/payments/teams"
	team := d.submit(teams+"/new", teams, map[string]string{"name": "Deployers"}).location
	d.want(d.submit(team, team+"/members", map[string]string{"user": "ada"}), 303, "")
	d.want(d.submit(team, team+"/roles", map[string]string{"role": "userroles-projectdeployer"}), 303, "")
	d.want(d.submit(team, team+"/groups", map[string]string{"group": "g-1", "groupName": "People"}), 303, "")
	a := &attacked{door: d, rows: d.s.table(), forms: map[string][]form{}, seen: map[string][]string{}, names: strings.NewReplacer(":space", "payments", ":project", "shop", ":version", "1.0.0", ":step", "Install", ":variable", "Greeting", ":task", "ServerTasks-1", ":deployment", "Deployments-1", ":link", "Links-1", ":with", "1.1.0", ":package", "web", ":environment", "test", ":target", "Machines-1", ":registration", "Registrations-1", ":lifecycle", "Lifecycles-1", ":team", "Teams-2", ":provider", "IdentityProviders-1", ":user", "Users-2", ":role", "UserRoles-1", ":day", "2026-11-20", ":key", "1", ":session", "x", ":inbound", "Inbound-1", ":promotion", "Promotions-1")}
	// What ends things comes after what changes them.
	slices.SortStableFunc(a.rows, func(x, y route) int { return ends(x) - ends(y) })
	a.renew()
	a.walk()
	return a
}

func ends(r route) int {
	for _, word := range []string{"delete", "remove", "/end", "signout", "/password", "reject", "revoke"} {
		if strings.Contains(r.path, word) {
			return 1
		}
	}
	return 0
}

// renew signs in, as from elsewhere each time: failed attempts of the tests are counted.
func (a *attacked) renew() {
	a.t.Helper()
	a.times++
	ctx := context.Background()
	ada, err := a.s.Instance.User(ctx, 1) // whatever she is called by now
	if err != nil {
		a.t.Fatal(err)
	}
	token, _, err := a.s.Instance.SignIn(ctx, ada.Username, password, fmt.Sprintf("192.0.2.%d", a.times%250), "test")
	if err != nil {
		a.t.Fatal(err)
	}
	s, err := a.s.Instance.SessionByToken(ctx, token)
	if err != nil {
		a.t.Fatal(err)
	}
	a.cookies, a.token = map[string]string{sessionCookie: token}, s.CSRF
}

// rowOf is the row that takes a path.
func (a *attacked) rowOf(method, path string) (route, bool) {
	parts := strings.Split(path, "/")
	for _, row := range a.s.table() { // in the order in which they are tried
		if row.method != method || strings.Count(row.path, "/") != len(parts)-1 {
			continue
		}
		fits := true
		for i, p := range strings.Split(row.path, "/") {
			fits = fits && (strings.HasPrefix(p, ":") || strings.EqualFold(p, parts[i]))
		}
		if fits {
			return row, true
		}
	}
	return route{}, false
}

// walk follows the links of all pages, three pages of each sort, and collects the forms.
func (a *attacked) walk() {
	a.t.Helper()
	queue := []string{"/", "/account", "/admin/users/Users-2", "/admin/users/Users-3", "/admin/roles/UserRoles-1", "/admin/users", "/admin/signin/new", "/admin/signin", "/admin/teams", "/admin/audit", "/spaces"}
	for len(queue) > 0 {
		to := queue[0]
		queue = queue[1:]
		path, _, _ := strings.Cut(to, "?")
		row, ok := a.rowOf("GET", path)
		if !ok && path != "/" || strings.HasSuffix(path, "/events") || len(a.seen[row.path]) > 8 || slices.Contains(a.seen[row.path], to) || !strings.Contains(to, "?") && len(a.seen[row.path]) > 3 {
			continue
		}
		a.seen[row.path] = append(a.seen[row.path], to)
		p := a.get(to)
		if p.location != "" {
			queue = append(queue, p.location)
		}
		p.Find("a[href]").Each(func(_ int, s *goquery.Selection) {
			if u, err := url.Parse(s.AttrOr("href", "")); err == nil && u.Host == "" && strings.HasPrefix(u.Path, "/") {
				u.Fragment = ""
				queue = append(queue, u.String())
			}
		})
		p.Find("form[method=post]").Each(func(_ int, s *goquery.Selection) {
			for _, action := range []string{s.AttrOr("action", ""), s.AttrOr("data-passkey", "")} {
				path, _, _ := strings.Cut(action, "?")
				if row, ok := a.rowOf("POST", path); ok && len(a.forms[row.path]) < 4 {
					a.forms[row.path] = append(a.forms[row.path], form{action, filled(s)})
				} else if !ok && action != "" {
					a.t.Errorf("a form of %s goes to %s, which is no row", to, action)
				}
			}
		})
	}
}

// filled is what a browser would send of a form where somebody typed something into each
// empty field.
func filled(s *goquery.Selection) url.Values {
	v := url.Values{}
	s.Find("input, textarea").Each(func(_ int, s *goquery.Selection) {
		name, value := s.AttrOr("name", ""), s.AttrOr("value", s.Text())
		if s.AttrOr("type", "") == "file" || name == "" {
			return
		}
		if value == "" && s.AttrOr("type", "") != "password" && name != "confirm" {
			value = "1"
		}
		v.Add(name, value)
	})
	s.Find("select").Each(func(_ int, s *goquery.Selection) {
		s.Find("option:not([disabled])").Each(func(i int, o *goquery.Selection) {
			if _, selected := o.Attr("selected"); selected || i == 0 {
				v.Set(s.AttrOr("name", ""), o.AttrOr("value", o.Text()))
			}
		})
	})
	s.Find("button[name]").Each(func(_ int, s *goquery.Selection) { v.Set(s.AttrOr("name", ""), s.AttrOr("value", "")) })
	v.Del("csrf")
	return v
}

// answers checks that an answer is none of a server that lost its way, and a page, a file
// or a way to a page of ours.
func (a *attacked) answers(t *testing.T, what string, p page) {
	t.Helper()
	if len(what) > 400 {
		what = what[:400] + "…"
	}
	switch kind := p.header.Get("Content-Type"); {
	case p.status >= 500:
		t.Errorf("%s: %d %.400s", what, p.status, p.Find("main").Text())
	case p.status >= 300 && p.status < 400:
		if !strings.HasPrefix(p.location, "/") || strings.HasPrefix(p.location, "//") || strings.HasPrefix(p.location, "/\\") {
			t.Errorf("%s leads to %q", what, p.location)
		}
	case p.status >= 400 && (!strings.HasPrefix(kind, "text/html") || strings.TrimSpace(p.Find("main").Text()) == ""):
		t.Errorf("%s: %d is no page: %q %.300s", what, p.status, kind, p.Text())
	case kind == "":
		t.Errorf("%s: %d without a type", what, p.status)
	}
}

// post sends a form as our own page would, and signs in again if that ended the session.
func (a *attacked) post(t *testing.T, row route, action string, values url.Values) page {
	t.Helper()
	req := post_(action, values)
	req.Header.Set("X-Csrf-Token", a.token)
	if row.parts || row.raw {
		req = a.withParts(action, values)
	}
	p := a.send(req)
	a.answers(t, "POST "+action+" with "+values.Encode(), p)
	if a.cookies[sessionCookie] == "" || strings.HasPrefix(p.location, "/signin") || row.path == "/account/sessions/:session/end" || row.path == "/account/password" {
		a.renew()
	}
	return p
}

// withParts is a form with files, whose names and bytes are the values.
func (a *attacked) withParts(action string, values url.Values) *http.Request {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("csrf", a.token)
	for name, all := range values {
		for _, v := range all {
			if part, err := w.CreateFormFile(name, strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(v)); err == nil {
				_, _ = part.Write([]byte(v))
			}
		}
	}
	_ = w.Close()
	req := httptest.NewRequest("POST", action, &b)
	req.Header.Set("Content-Type", w.FormDataContentType())
	req.Header.Set("X-Csrf-Token", a.token)
	return req
}

// rare are the forms of pages that are there only before the set-up, for who is not signed
// in, or after something else.
var rare = map[string]url.Values{
	"/setup": {"token": {"x"}, "username": {"bob"}, "displayName": {"Bob"}, "password": {password}, "space": {"More"}}, "/signin": {"username": {"ada"}, "password": {"x"}, "next": {"/spaces"}}, "/signin/code": {"code": {"123456"}, "next": {"/"}},
	"/signin/passkey": {"credential": {answerOfNobody}, "next": {"/"}}, "/signin/code/passkey": {"credential": {answerOfNobody}, "next": {"/"}}, "/account/passkeys/:passkey": {"name": {"Phone"}}, "/account/passkeys/:passkey/remove": {"passkey-password": {"x"}},
	"/account/authenticator/confirm": {"code": {"123456"}, "secret": {"ABCDEFGH"}}, "/account/recovery-codes": {"codes-password": {"x"}}, "/account/authenticator/remove": {"app-password": {"x"}},
	"/spaces/:space/promotions/inbox/:inbound/approve": {"comment": {"seen"}}, "/spaces/:space/promotions/inbox/:inbound/allow": {"reason": {"why"}},
	"/spaces/:space/zones/links/:link/confirm": {"words": {"a b c"}, "compared": {"by voice"}},
	"/admin/signin/providers/:provider":        {"name": {"P"}, "issuer": {"https://id.example"}, "clientId": {"x"}, "clientSecret": {"x"}, "scopes": {"openid"}, "groupsClaim": {"g"}, "matchEmail": {"true"}, "createUsers": {"true"}, "enabled": {"true"}},
	"/spaces/:space/packages":                  {"files": {"web.2.0.0.zip"}}, "/spaces/:space/promotions/import": {"bundle": {"x"}}, "/spaces/:space/promotions/inbox/:inbound/packages": {"package": {"x"}}, "/spaces/:space/promotions/inbox/:inbound/packages/fetch": {"feed": {"Feeds-1"}},
	"/spaces/:space/projects/:project/settings/logo": {"logo": {"x"}}, "/spaces/:space/projects/:project/settings/logo/remove": {}, "/spaces/:space/feeds/:feed": {"name": {"F"}, "uri": {"https://feed.example/index.json"}, "username": {"u"}, "password": {"x"}}, "/spaces/:space/feeds/:feed/fetch": {"packageID": {"Acme"}, "version": {"1.0.0"}}, "/spaces/:space/feeds/:feed/delete": {}, "/spaces/:space/promotions/outbox/receipts": {"receipts": {"x"}},
}

const answerOfNobody = `{"id":"AQ","rawId":"AQ","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","userHandle":"AA"},"clientExtensionResults":{}}`

// formsOf are the forms that go to a row; where no page has one now, an empty one.
func (a *attacked) formsOf(row route) []form {
	if f := a.forms[row.path]; len(f) > 0 {
		return f
	}
	return []form{{a.names.Replace(row.path), rare[row.path]}}
}

// TestHostileForms sends to each row that takes a form what is near to a form of a page,
// and to each page odd queries and names, as somebody who may do everything.
func TestHostileForms(t *testing.T) {
	const forms, queries = 14, 4 // of each row
	a := offered(t)
	r := rand.New(rand.NewPCG(20261123, 2))
	taken, bare := 0, []string{}
	for _, row := range a.rows {
		if row.method == "GET" && strings.HasSuffix(row.path, "/events") {
			continue // does not end
		}
		if row.method == "POST" {
			if len(a.forms[row.path]) == 0 && rare[row.path] == nil {
				bare = append(bare, row.path)
			}
			all := a.formsOf(row)
			for _, f := range all {
				for _, v := range apptest.HostileForms(r, f.values, forms/len(all)+2) {
					if p := a.post(t, row, f.action, v); p.status < 400 {
						taken++
					}
				}
			}
		}
		for i := range queries {
			to := a.names.Replace(row.path)
			if seen := a.seen[row.path]; len(seen) > 0 {
				to, _, _ = strings.Cut(seen[r.IntN(len(seen))], "?")
			}
			if i%2 == 1 && strings.Contains(row.path, ":") {
				to = oddNames(r, row.path)
			}
			to += "?" + apptest.HostileQuery(r, parameters)
			if row.method == "POST" {
				a.post(t, row, to, url.Values{})
				continue
			}
			a.answers(t, "GET "+to, a.get(to))
		}
	}
	if taken < 100 || len(bare) > 18 {
		t.Errorf("%d forms were taken, and of %d rows no page has a form for %v: what is sent is too far from what is good", taken, len(bare), bare)
	}
}

// oddNames fills the parameters of a path, but that of the space for once in a while, with
// what is no name.
func oddNames(r *rand.Rand, path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if p == ":space" && r.IntN(4) > 0 {
			parts[i] = "payments"
		} else if strings.HasPrefix(p, ":") {
			text := apptest.HostileText(r)
			parts[i] = url.PathEscape(text[:min(len(text), 100)])
			if parts[i] == "." || parts[i] == ".." || parts[i] == "" {
				parts[i] = "%2e%2e%2f"
			}
		}
	}
	return strings.Join(parts, "/")
}

// FuzzForms is TestHostileForms for as long as one likes:
//
//	go test ./app/web -fuzz FuzzForms
func FuzzForms(f *testing.F) {
	a := offered(f)
	r := rand.New(rand.NewPCG(1, 2))
	for n, row := range a.rows {
		body := ""
		if row.method == "POST" {
			body = a.formsOf(row)[0].values.Encode()
		}
		f.Add(uint16(n), body, apptest.HostileQuery(r, parameters))
	}
	f.Fuzz(func(t *testing.T, n uint16, body, query string) {
		a.t = t
		row := a.rows[int(n)%len(a.rows)]
		if strings.HasSuffix(row.path, "/events") || ends(row) > 0 || strings.ContainsFunc(query, func(c rune) bool { return c <= ' ' || c == '#' || c == 0x7f }) {
			t.Skip()
		}
		to := a.names.Replace(row.path)
		if seen := a.seen[row.path]; len(seen) > 0 {
			to = seen[0]
		}
		if row.method == "GET" {
			to, _, _ = strings.Cut(to, "?")
			to += "?" + query
			a.answers(t, "GET "+to, a.get(to))
			return
		}
		values, err := url.ParseQuery(body)
		if err != nil {
			t.Skip()
		}
		a.post(t, row, a.formsOf(row)[0].action, values)
	})
}
