package web

import (
	"context"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"

	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/zones"
)

// linked trusts two spaces by hand, dev as the source and prod as the target.
func linked(t *testing.T, dev, prod *door) {
	t.Helper()
	for _, x := range []struct {
		from, to   *door
		name, role string
	}{{prod, dev, "Prod", "source"}, {dev, prod, "Dev", "target"}} {
		card, _ := x.from.download("/spaces/payments/zones/card")
		x.to.withSpace(func(s *spaces.Space) error {
			_, _, err := x.to.s.Zones.Trust(context.Background(), s, spaces.Server(), zones.TrustInput{Card: card, Name: x.name, Role: x.role, Compared: "in the test"})
			return err
		})
	}
}

// withSpace runs f with the first space.
func (d *door) withSpace(f func(s *spaces.Space) error) {
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
	if err := f(s); err != nil {
		d.t.Fatal(err)
	}
}

// packaged makes a project of two packages whose releases go to the linked space at once.
func (d *door) packaged() {
	d.t.Helper()
	d.want(d.upload(file{"Shop.1.0.0.zip", zipOf(d.t, "shop.txt", "the shop")}, file{"Mail.2.0.0.zip", zipOf(d.t, "mail.txt", "the mail")}), 303, "")
	d.want(d.submit("/spaces/payments/projects/new", "/spaces/payments/projects", map[string]string{"name": "Shop"}), 303, "")
	d.inSpace(func(tx *spaces.Tx) error {
		l, err := tx.LinkBy("Prod")
		if err != nil {
			return err
		}
		all, err := tx.Lifecycles(spaces.All)
		if err != nil {
			return err
		}
		lc := all.Items[0].Lifecycle
		lc.Phases = []deploy.Phase{{Name: "Production", RemoteSpaces: []deploy.RemoteSpace{{ID: l.ID.String(), MinimumEnvironmentsBeforePromotion: 1}}}}
		if _, err = tx.UpdateLifecycle(all.Items[0].ID, lc); err != nil {
			return err
		}
		p, err := tx.ProjectBy("shop")
		if err != nil {
			return err
		}
		var process steps.Process
		for _, id := range []string{"Shop", "Mail"} {
			kind, _ := steps.Lookup("Octopus.TentaclePackage")
			st := kind.New("Install " + id)
			st.Properties.Set(steps.TargetRolesProperty, "web")
			st.Actions[0].Packages = []steps.PackageReference{{PackageID: id, FeedID: spaces.BuiltInFeed}}
			process.Steps = append(process.Steps, st)
		}
		_, err = tx.SaveProcess(p.ID, 0, process)
		return err
	})
}

// A bundle that came without its packages says on the page which of them are missing, and
// cannot be accepted; each that comes is marked, and with the last one it goes on.
func TestMissingPackagesOnThePage(t *testing.T) {
	dev, prod := open(t), open(t)
	for _, d := range []*door{dev, prod} {
		d.withZones()
		d.setUp()
		d.machines()
	}
	linked(t, dev, prod)
	dev.packaged()
	const p, inbox = "/spaces/payments/projects/shop", "/spaces/payments/promotions"
	dev.want(dev.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.0.0"}), 303, "")
	dev.want(dev.submit(p+"/releases/1.0.0", dev.get(p+"/releases/1.0.0").Find("#places form").AttrOr("action", ""), nil), 303, "")
	own := dev.get(inbox+"/outbox").Find("#outbox tbody a").AttrOr("href", "")
	bundle, _ := dev.download(own + "/bundle?packages=none")
	taken := prod.give(inbox, inbox+"/import", "bundle", bundle)
	prod.want(taken, 303, "")

	// state is what the page says of each package, and of accepting.
	state := func() (of map[string]string, all page) {
		t.Helper()
		of = map[string]string{}
		all = prod.get(taken.location)
		rows := all.Find("main section").FilterFunction(func(_ int, s *goquery.Selection) bool { return s.Find("h2").Text() == "Packages" }).Find("tbody tr")
		rows.Each(func(_ int, row *goquery.Selection) {
			of[strings.Fields(row.Find("th").Text())[0]] = strings.TrimSpace(row.Find("td").Last().Text())
		})
		return of, all
	}
	says := func(what string, shop, mail string) page {
		t.Helper()
		of, all := state()
		if of["Shop"] != shop || of["Mail"] != mail || len(of) != 2 {
			t.Errorf("%s: the page marks %q", what, of)
		}
		return all
	}
	const missing, here = "Not here yet", "Here, as signed"
	all := says("at first", missing, missing)
	button := all.Find(`form[action="` + taken.location + `/accept"] button`)
	if text := all.Find("main").Text(); !strings.Contains(text, "2 of 2 package files are not here yet") || button.AttrOr("aria-disabled", button.AttrOr("disabled", "no")) == "no" {
		t.Errorf("it can be accepted: %s", text)
	}
	if row := prod.get(inbox).Find("#inbox tbody tr").Text(); !strings.Contains(row, "Packages are missing") {
		t.Errorf("the inbox says %s", row)
	}
	prod.want(prod.submit(taken.location, taken.location+"/accept", nil), 422, "")

	// Other bytes under the right name are not it; the right ones under another name are.
	prod.want(prod.upload(file{"Shop.1.0.0.zip", zipOf(t, "shop.txt", "another shop")}), 303, "")
	says("after other bytes", missing, missing)
	bytesOf := func(id, version string) []byte {
		b, _ := dev.download("/spaces/payments/packages/" + id + "/" + version + "/download")
		return b
	}
	refused := prod.give(taken.location, taken.location+"/packages", "package", []byte("something else"))
	if prod.want(refused, 422, ""); !strings.Contains(refused.Find("main").Text(), "has the digest") {
		t.Errorf("of other bytes it says %s", refused.Find("main").Text())
	}
	prod.want(prod.give(taken.location, taken.location+"/packages", "package", bytesOf("Mail", "2.0.0")), 303, taken.location)
	if text := says("after one of them", missing, here).Find("main").Text(); !strings.Contains(text, "1 of 2 package files are not here yet") {
		t.Errorf("the page says %s", text)
	}
	// A feed that serves other bytes under the same version is refused with both digests.
	prod.s.Feeds = feeds.New(outbound.Guard{Local: true}, nil)
	prod.want(prod.submit("/spaces/payments/feeds/new", "/spaces/payments/feeds/new", map[string]string{"name": "Liar", "uri": aFeed(t, "Shop", "1.0.0", []byte("other bytes"))}), 303, "")
	lied := prod.submit(taken.location, taken.location+"/packages/fetch", map[string]string{"feed": "Feeds-1"})
	if prod.want(lied, 422, ""); !strings.Contains(lied.Find("main").Text(), "Shop 1.0.0 has the digest") {
		t.Errorf("of a feed that lies it says %s", lied.Find("main").Text())
	}
	says("after a feed that lies", missing, here)
	// The rest comes in the bundle as it is with all.
	full, _ := dev.download(own + "/bundle")
	prod.want(prod.give(inbox, inbox+"/import", "bundle", full), 303, taken.location)
	all = says("in the end", here, here)
	if text := all.Find("main").Text(); !strings.Contains(text, "Waits for a decision") {
		t.Errorf("the page says %s", text)
	}
	accepted := prod.submit(taken.location, taken.location+"/accept", nil)
	prod.want(accepted, 303, "")
	prod.want(prod.get(accepted.location), 200, "")

	// Of the next one the page lists the files that differ.
	dev.want(dev.upload(file{"Shop.1.1.0.zip", zipOf(t, "shop.txt", "the new shop", "new.txt", "new")}), 303, "")
	dev.want(dev.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.1.0"}), 303, "")
	dev.want(dev.submit(p+"/releases/1.1.0", dev.get(p+"/releases/1.1.0").Find("#places form").AttrOr("action", ""), nil), 303, "")
	full, _ = dev.download(dev.get(inbox+"/outbox").Find("#outbox tbody a").First().AttrOr("href", "") + "/bundle")
	next := prod.give(inbox, inbox+"/import", "bundle", full)
	prod.want(next, 303, "")
	files := prod.get(next.location).Find("details").FilterFunction(func(_ int, s *goquery.Selection) bool { return strings.Contains(s.Text(), "Files of Shop") })
	text := strings.Join(strings.Fields(files.First().Text()), " ")
	for _, want := range []string{"differ between 1.0.0 and 1.1.0", "1 file added, 0 removed, 1 changed", "new.txt", "shop.txt", "the new shop"} {
		if !strings.Contains(text, want) {
			t.Errorf("the files of Shop do not tell %q: %s", want, text)
		}
	}
	if strings.Contains(prod.get(next.location).Find("main").Text(), "Files of Mail") {
		t.Error("a package that did not change is compared")
	}
}
