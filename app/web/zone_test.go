package web

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/pin"
)

// withZones gives a server its keys and its door for other zones.
func (d *door) withZones() {
	d.t.Helper()
	id, err := pin.New()
	if err != nil {
		d.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	d.s.Zones = &zones.Service{Identity: id, Address: func() string { return l.Addr().String() }, Log: quiet}
	machines := &zones.Door{Service: d.s.Zones, Resolve: func(ctx context.Context, ulid string) (*spaces.Space, error) {
		about, err := d.s.Instance.SpaceBy(ctx, "payments")
		if err != nil {
			return nil, err
		}
		s, err := d.s.Spaces.Acquire(ctx, ref(about))
		if err != nil {
			return nil, err
		}
		if s.ULID() != ulid {
			s.Release()
			return nil, errs.Missing("space", ulid)
		}
		return s, nil
	}}
	srv := &http.Server{Handler: machines.Handler(), TLSConfig: pin.ServerConfig(id, func(string) bool { return true }), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go srv.ServeTLS(l, "", "")
	d.t.Cleanup(func() { srv.Close() })
}

// download is the body of what a page offers as a file.
func (d *door) download(path string) ([]byte, http.Header) {
	d.t.Helper()
	req := httptest.NewRequest("GET", path, nil)
	for n, v := range d.cookies {
		req.AddCookie(&http.Cookie{Name: n, Value: v})
	}
	res, err := d.app.Test(req, -1)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		d.t.Fatalf("GET %s: %d %v %.300s", path, res.StatusCode, err, b)
	}
	return b, res.Header
}

// give sends a file with the form of a page that posts to action.
func (d *door) give(from, action, field string, content []byte) page {
	d.t.Helper()
	form := d.get(from).Find(`form[action="` + action + `"]`)
	if form.Find("input[type=file]").AttrOr("name", "") != field {
		d.t.Fatalf("no form on %s takes %s to %s", from, field, action)
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("csrf", form.Find("input[name=csrf]").AttrOr("value", ""))
	part, err := w.CreateFormFile(field, "file")
	if err != nil {
		d.t.Fatal(err)
	}
	_, _ = part.Write(content)
	_ = w.Close()
	req := httptest.NewRequest("POST", action, &b)
	req.Header.Set("Content-Type", w.FormDataContentType())
	return d.send(req)
}

// words are those that the wizard shows of this space.
func (d *door) words() []string {
	d.t.Helper()
	var out []string
	d.get("/spaces/payments/zones/link").Find(".words").First().Find("li").Each(func(_ int, s *goquery.Selection) { out = append(out, s.Text()) })
	if len(out) != 12 {
		d.t.Fatalf("%d words", len(out))
	}
	return out
}

// finish deploys a release in an environment, as the runner would.
func (d *door) finish(release spaces.ReleaseID, environment string) {
	d.t.Helper()
	d.inSpace(func(tx *spaces.Tx) error {
		e, err := tx.EnvironmentBy(environment)
		if err != nil {
			return err
		}
		x, err := tx.CreateDeployment(spaces.DeploymentInput{Release: release, Environment: e.ID})
		if err != nil {
			return err
		}
		if _, err := tx.PlanWork(x.TaskID); err != nil {
			return err
		}
		if _, _, err := tx.StartTask(x.TaskID); err != nil {
			return err
		}
		return tx.FinishTask(x.TaskID, spaces.TaskSuccess, "", false)
	})
}

// shop makes a project with a script, a template of each sort, and a lifecycle from Test
// to the linked space.
func (d *door) shop(link string) {
	d.t.Helper()
	const p = "/spaces/payments/projects/shop"
	d.want(d.submit("/spaces/payments/projects/new", "/spaces/payments/projects", map[string]string{"name": "Shop"}), 303, p)
	step := p + "/process/new?type=Octopus.Script"
	d.want(d.submit(step, step, map[string]string{"name": "Install", "Octopus.Action.TargetRoles": "web", "Octopus.Action.Script.ScriptBody": "set -e\necho one"}), 303, "")
	d.want(d.submit(p+"/settings", p+"/settings/templates", map[string]string{"templateName": "Url"}), 303, "")
	d.want(d.submit(p+"/settings", p+"/settings/templates", map[string]string{"templateName": "ApiKey", "sensitive": "true"}), 303, "")
	d.inSpace(func(tx *spaces.Tx) error {
		l, err := tx.LinkBy(link)
		if err != nil {
			return err
		}
		e, err := tx.EnvironmentBy("Test")
		if err != nil {
			return err
		}
		all, err := tx.Lifecycles(spaces.All)
		if err != nil {
			return err
		}
		lc := all.Items[0].Lifecycle
		lc.Phases = []deploy.Phase{{Name: "Test", OptionalDeploymentTargets: []string{e.ID.String()}}, {Name: "Production", RemoteSpaces: []deploy.RemoteSpace{{ID: l.ID.String(), MinimumEnvironmentsBeforePromotion: 1}}}}
		if _, err = tx.UpdateLifecycle(all.Items[0].ID, lc); err != nil {
			return err
		}
		p, err := tx.ProjectBy("shop")
		if err != nil {
			return err
		}
		return tx.SetTemplateValues(p.ID, e.ID, p.Settings.Templates, map[string]string{"Url": "http://dev", "ApiKey": "dev-key"})
	})
}

const secretOfProd = "prod-secret-4711"

// A release goes from one zone to another by pages and files alone.
func TestPromotionByPages(t *testing.T) {
	dev, prod := open(t), open(t)
	for _, d := range []*door{dev, prod} {
		d.withZones()
		d.setUp()
		d.machines()
		d.want(d.get("/spaces/payments/zones"), 200, "")
		d.want(d.get("/spaces/payments/promotions"), 200, "")
	}
	const zonesPage, wizard = "/spaces/payments/zones", "/spaces/payments/zones/link"

	// Cards, and words that somebody read out.
	for _, x := range []struct {
		from, to         *door
		name, role, text string
	}{{dev, prod, "Dev", "target", "releases come from there"}, {prod, dev, "Prod", "source", "releases go there"}} {
		card, head := x.from.download(zonesPage + "/card")
		if !strings.Contains(head.Get("Content-Disposition"), "payments.octid") {
			t.Error("the card has no name")
		}
		form := map[string]string{"card": string(card), "name": x.name, "role": x.role, "words": "not these words"}
		wrong := x.to.submit(wizard, zonesPage+"/trust", form)
		x.to.want(wrong, 422, "")
		if wrong.Find("[name=words]").AttrOr("aria-invalid", "") != "true" || wrong.Find(".words").Length() != 2 {
			t.Errorf("wrong words: %s", wrong.Find(".errors").Text())
		}
		form["words"] = strings.Join(x.from.words()[9:], " ")
		x.to.want(x.to.submit(wizard, zonesPage+"/trust", form), 303, zonesPage+"/links/Links-1")
		if text := x.to.get(zonesPage).Find("#zones").Text(); !strings.Contains(text, x.name) || !strings.Contains(text, x.text) {
			t.Errorf("the list of links: %s", text)
		}
	}

	dev.shop("Prod")
	const p = "/spaces/payments/projects/shop"
	dev.want(dev.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.0.0", "notes": "The first one."}), 303, "")
	if row := dev.get(p + "/releases/1.0.0").Find("#places"); row.Find("form").Length() != 0 {
		t.Errorf("it may be promoted before it was tested: %s", row.Text())
	}
	dev.finish(1, "Test")
	promote := dev.get(p+"/releases/1.0.0").Find("#places form").AttrOr("action", "")
	dev.want(dev.submit(p+"/releases/1.0.0", promote, nil), 303, "")
	out := dev.get("/spaces/payments/promotions/outbox").Find("#outbox")
	if !strings.Contains(out.Text(), "Handed over as a file") {
		t.Fatalf("the outbox: %s", out.Text())
	}
	own := out.Find("tbody a").AttrOr("href", "")
	bundle, _ := dev.download(own + "/bundle")
	for _, x := range []struct{ do, says string }{{"held", "Held"}, {"queued", "Handed over as a file"}} { // its message can be kept back until it is taken
		dev.want(dev.submit(own, own+"/do", map[string]string{"do": x.do}), 303, own)
		if text := dev.get(own).Find("#promotion").Text(); !strings.Contains(text, x.says) {
			t.Errorf("%s it says: %s", x.do, text)
		}
	}
	dev.want(dev.submit(own, own+"/do", map[string]string{"do": "acked"}), 422, "")

	// Into the other zone: what was changed on the way is refused with the reason.
	const inbox, take = "/spaces/payments/promotions", "/spaces/payments/promotions/import"
	bad := bytes.Clone(bundle)
	bad[len(bad)/2] ^= 1
	for what, file := range map[string][]byte{"changed": bad, "cut off": bundle[:len(bundle)-600], "something else": []byte("hello")} {
		refused := prod.give(inbox, take, "bundle", file)
		prod.want(refused, 422, "")
		if refused.Find(".errors li").Text() == "" {
			t.Errorf("%s: no reason is given", what)
		}
	}
	if prod.get(inbox).Find("#inbox tbody tr").Length() != 0 {
		t.Error("a refused file is in the inbox")
	}
	taken := prod.give(inbox, take, "bundle", bundle)
	prod.want(taken, 303, inbox+"/inbox/Inbound-1")
	review := prod.get(taken.location)
	text := review.Find("main").Text()
	for _, want := range []string{"The signature holds", "The first one.", "Test", "Succeeded", "first release of this project", "Values of Test", "Url"} {
		if !strings.Contains(text, want) {
			t.Errorf("the review does not tell %q", want)
		}
	}
	if got := strings.Join(strings.Fields(review.Find("aside .words").Text()), ""); got != strings.Join(dev.words(), "") {
		t.Errorf("the words of the sender: %s", got)
	}
	secret := review.Find("input[type=password]").First().AttrOr("name", "")
	if review.Find("input[type=password]").Length() != 2 || !strings.HasSuffix(secret, ".ApiKey") {
		t.Fatalf("the form asks for %s", secret)
	}
	environment := strings.Split(secret, ".")[1]
	accept := map[string]string{"value." + environment + ".Url": "https://shop.example", secret: secretOfProd}
	accept["lifecycle"] = "Lifecycles-99"
	again := prod.submit(taken.location, taken.location+"/accept", accept)
	prod.want(again, 422, "")
	if html, _ := again.Html(); strings.Contains(html, secretOfProd) || !strings.Contains(html, "https://shop.example") {
		t.Error("what was typed is lost, or a secret comes back")
	}
	delete(accept, "lifecycle")
	accepted := prod.submit(taken.location, taken.location+"/accept", accept)
	prod.want(accepted, 303, "")
	release := prod.get(accepted.location)
	prod.want(release, 200, "")
	if !strings.Contains(release.Find("h1").Text(), "Dev: Shop") {
		t.Errorf("accepting leads to %s", release.Find("h1").Text())
	}
	if link := prod.get(taken.location).Find("main > header a").AttrOr("href", ""); link != accepted.location {
		t.Errorf("the review leads to %s", link)
	}
	for _, path := range []string{accepted.location, taken.location, "/spaces/payments/audit", "/spaces/payments/projects/dev-shop/variables"} {
		if html, _ := prod.get(path).Html(); strings.Contains(html, secretOfProd) {
			t.Errorf("the secret is on %s", path)
		}
	}
	prod.finish(1, environmentName(prod, environment))

	// The receipts go back.
	receipts, _ := prod.download(zonesPage + "/links/Links-1/receipts")
	const outbox, read = "/spaces/payments/promotions/outbox", "/spaces/payments/promotions/outbox/receipts"
	dev.want(dev.give(outbox, read, "receipts", bundle), 422, "")
	back := dev.give(outbox, read, "receipts", receipts)
	if back.status != 303 || strings.HasSuffix(back.location, "new=0") {
		t.Fatalf("receipts: %d %s %s", back.status, back.location, back.Find(".errors").Text())
	}
	dev.want(dev.give(outbox, read, "receipts", receipts), 303, outbox+"?new=0")
	if text := dev.get(own).Find("#promotion").Text(); !strings.Contains(text, "Deployed") || !strings.Contains(text, "Deployment succeeded") {
		t.Errorf("the promotion: %s", text)
	}
	if text := dev.get(p + "/releases/1.0.0").Find("#places").Text(); !strings.Contains(text, "in Prod") || !strings.Contains(text, "receipt by file") {
		t.Errorf("the release page of Dev: %s", text)
	}

	cell := strings.Join(strings.Fields(dev.get("/spaces/payments").Find("td.remote").Text()), " ")
	if !strings.Contains(cell, "1.0.0") || !strings.Contains(cell, "Succeeded") || !strings.Contains(cell, "as of") || !strings.Contains(cell, "by file") {
		t.Errorf("the dashboard of Dev says of Prod: %s", cell)
	}
	if head := dev.get("/spaces/payments").Find("th.env a.link").Text(); !strings.Contains(head, "Active, by hand") {
		t.Errorf("the dashboard of Dev says of the link: %s", head)
	}

	// The next one differs, is compared, and is rejected.
	edit := dev.get(p+"/process").Find("tbody th a").AttrOr("href", "")
	dev.want(dev.submit(edit, edit, map[string]string{"Octopus.Action.Script.ScriptBody": "set -e\necho two"}), 303, "")
	dev.want(dev.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.1.0"}), 303, "")
	dev.finish(2, "Test")
	promote = dev.get(p+"/releases/1.1.0").Find("#places form").AttrOr("action", "")
	dev.want(dev.submit(p+"/releases/1.1.0", promote, nil), 303, "")
	second := dev.get(outbox).Find("#outbox tbody a").First().AttrOr("href", "")
	bundle, _ = dev.download(second + "/bundle?packages=none")
	taken = prod.give(inbox, take, "bundle", bundle)
	review = prod.get(taken.location)
	if text := review.Find("main").Text(); !strings.Contains(text, "What is new since 1.0.0") || review.Find(".diff .add").Length() != 1 || !strings.Contains(review.Find(".diff .add").Text(), "echo two") {
		t.Errorf("the comparison: %s", text)
	}
	if bases := review.Find(`nav[aria-label="Compare with"] a`); bases.Length() > 1 {
		t.Errorf("there is nothing else to compare with: %s", bases.Text())
	}
	prod.want(prod.get(taken.location+"?with=1.0.0"), 200, "")
	prod.want(prod.get(taken.location+"?with=7.7.7"), 404, "")
	if f := review.Find(`input[name="` + secret + `"]`); f.AttrOr("placeholder", "") != "set; type to change it" || f.AttrOr("value", "") != "" {
		t.Error("the form does not say that the value is set")
	}
	prod.want(prod.submit(taken.location, taken.location+"/reject", map[string]string{"reason": " "}), 422, "")
	prod.want(prod.submit(taken.location, taken.location+"/reject", map[string]string{"reason": "Not before Christmas."}), 303, taken.location)
	receipts, _ = prod.download(zonesPage + "/links/Links-1/receipts")
	dev.want(dev.give(outbox, read, "receipts", receipts), 303, "")
	if text := dev.get(second).Find("#promotion").Text(); !strings.Contains(text, "Rejected") || !strings.Contains(text, "Not before Christmas.") {
		t.Errorf("the rejected promotion: %s", text)
	}

	// The link is made to ask for approvals; whoever approves does not accept.
	const settings = zonesPage + "/links/Links-1"
	prod.want(prod.submit(settings, settings+"/settings", map[string]string{"approvals": "many"}), 422, "")
	prod.want(prod.submit(settings, settings+"/settings", map[string]string{"approvals": "1"}), 303, settings)
	if v := prod.get(settings).Find("[name=approvals]").AttrOr("value", ""); v != "1" {
		t.Errorf("approvals: %s", v)
	}
	promote = dev.get(p+"/releases/1.1.0").Find("#places form").AttrOr("action", "")
	dev.want(dev.submit(p+"/releases/1.1.0", promote, nil), 303, "")
	third := dev.get(outbox).Find("#outbox tbody a").First().AttrOr("href", "")
	bundle, _ = dev.download(third + "/bundle")
	prod.want(prod.give(inbox, take, "bundle", bundle), 303, taken.location)
	review = prod.get(taken.location)
	if text := review.Find("main").Text(); !strings.Contains(text, "Waits for approval") || !strings.Contains(text, "0 of 1") {
		t.Errorf("the review says: %s", text)
	}
	refused := prod.submit(taken.location, taken.location+"/approve", map[string]string{"comment": "me"})
	prod.want(refused, 422, "")
	if text := refused.Find(".errors").Text(); !strings.Contains(text, "others must approve") {
		t.Errorf("approved by whoever brought it: %s", text)
	}
	prod.inSpaceAs(spacetest.With(access.BundleApprove), func(tx *spaces.Tx) error {
		id, err := spaces.ParseInboundID(strings.TrimPrefix(taken.location, inbox+"/inbox/"))
		if err != nil {
			return err
		}
		_, err = tx.ApproveInbound(id, "Looked at the script.")
		return err
	})
	if text := prod.get(taken.location).Find("main").Text(); !strings.Contains(text, "Looked at the script.") || !strings.Contains(text, "1 of 1") {
		t.Errorf("the review says: %s", text)
	}
	accepted = prod.submit(taken.location, taken.location+"/accept", nil)
	prod.want(accepted, 303, "")

	// It is withdrawn, by file; then allowed here all the same.
	dev.want(dev.submit(third, third+"/recall", map[string]string{"reason": ""}), 422, "")
	dev.want(dev.submit(third, third+"/recall", map[string]string{"reason": "It loses orders."}), 303, third)
	recall, head := dev.download(third + "/recall")
	if !strings.Contains(head.Get("Content-Disposition"), ".octrecall") {
		t.Error("the recall has no name")
	}
	prod.want(prod.give(inbox, take, "bundle", recall), 303, taken.location)
	if text := prod.get(taken.location).Find("main").Text(); !strings.Contains(text, "Dev recalled this release: It loses orders.") {
		t.Errorf("the recalled release says: %s", text)
	}
	prod.want(prod.submit(taken.location, taken.location+"/allow", map[string]string{"reason": "We roll back to it."}), 303, taken.location)
	if text := prod.get(taken.location).Find("main").Text(); !strings.Contains(text, "We roll back to it.") {
		t.Errorf("the allowed release says: %s", text)
	}
	receipts, _ = prod.download(zonesPage + "/links/Links-1/receipts")
	dev.want(dev.give(outbox, read, "receipts", receipts), 303, "")
	if text := dev.get(third).Find("#promotion").Text(); !strings.Contains(text, "It is deployed nowhere.") {
		t.Errorf("the recalled promotion: %s", text)
	}
}

func environmentName(d *door, id string) (name string) {
	d.t.Helper()
	d.inSpace(func(tx *spaces.Tx) error {
		e, err := tx.EnvironmentBy(id)
		name = e.Name
		return err
	})
	return name
}

// Two spaces are linked over the network by the wizard, and each state has its way out.
func TestLinkByWizard(t *testing.T) {
	dev, prod := open(t), open(t)
	for _, d := range []*door{dev, prod} {
		d.withZones()
		d.setUp()
	}
	const wizard, at = "/spaces/payments/zones/link", "/spaces/payments/zones/links/Links-1"
	dev.want(dev.submit(wizard, "/spaces/payments/zones/invite", map[string]string{"name": " ", "role": "source"}), 422, "")
	invited := dev.submit(wizard, "/spaces/payments/zones/invite", map[string]string{"name": "Prod", "role": "source", "confirm": "true"})
	dev.want(invited, 200, "")
	token := invited.Find(".secret pre").First().Text()
	joins := map[string]string{"invitation": "octopuses-link:nonsense", "name": "Dev", "role": "target"}
	prod.want(prod.submit(wizard, "/spaces/payments/zones/join", joins), 422, "")
	told := make(chan spaces.Ref, 1)
	prod.s.Linked = func(r spaces.Ref) { told <- r }
	joins["invitation"] = token
	prod.want(prod.submit(wizard, "/spaces/payments/zones/join", joins), 303, at)
	if r := <-told; r.Slug != "payments" {
		t.Errorf("the links of %s are kept", r.Slug)
	}
	used := prod.submit(wizard, "/spaces/payments/zones/join", joins)
	if prod.want(used, 422, ""); !strings.Contains(used.Find(".errors").Text(), "already") {
		t.Errorf("an invitation used twice: %s", used.Find(".errors").Text())
	}

	waits := dev.get(at)
	if !strings.Contains(waits.Find("main").Text(), "Compare the words") {
		t.Fatalf("the link does not wait: %s", waits.Find("main").Text())
	}
	dev.want(dev.submit(at, at+"/confirm", map[string]string{"words": "one two three"}), 422, "")
	dev.want(dev.submit(at, at+"/confirm", map[string]string{"words": strings.Join(prod.words()[9:], " ")}), 303, at)
	state := func() string { return strings.TrimSpace(dev.get(at).Find("main .status").First().Text()) }
	if state() != "Active" {
		t.Errorf("confirmed it is %s", state())
	}
	picture := dev.get("/spaces/payments/zones").Find("svg")
	if picture.Find("path.link").Length() != 1 || picture.Find("path.link[marker-end]").Length() != 1 || picture.Find("path.link[marker-start]").Length() != 0 {
		t.Error("the picture does not show where releases go")
	}
	dev.want(dev.get("/spaces/payments/zones?wall=true"), 200, "")
	dev.want(dev.submit(at, at+"/state", map[string]string{"state": "paused"}), 303, at)
	if state() != "Paused" {
		t.Errorf("paused it is %s", state())
	}
	dev.want(dev.submit(at, at+"/state", map[string]string{"state": "active"}), 303, at)
	csrf := dev.get(at).Find("input[name=csrf]").First().AttrOr("value", "")
	dev.want(dev.send(post_(at+"/state", map[string][]string{"csrf": {csrf}, "state": {"revoked"}, "name": {"Prd"}})), 422, "")
	dev.want(dev.send(post_(at+"/state", map[string][]string{"csrf": {csrf}, "state": {"revoked"}, "name": {"Prod"}})), 303, at)
	dev.want(dev.send(post_(at+"/state", map[string][]string{"csrf": {csrf}, "state": {"active"}})), 422, "")
	if state() != "Ended" || strings.Contains(dev.get("/spaces/payments/zones").Find("#zones").Text(), "Prod") {
		t.Errorf("ended it is %s", state())
	}
}
