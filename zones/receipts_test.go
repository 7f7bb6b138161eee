package zones_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones/bundle"
)

// what is shown of a release elsewhere.
type shown struct {
	Cells      []spaces.RemoteCell
	Promotions []string
}

func shows(tx *spaces.ReadTx) (shown, error) {
	d, err := tx.Dashboard(spaces.DashboardFilter{})
	if err != nil {
		return shown{}, err
	}
	s := shown{Cells: d.RemoteCells}
	for i := range s.Cells {
		s.Cells[i].AsOf, s.Cells[i].RemoteEnvironmentID = s.Cells[i].At, 0 // depend on when, and on what came first
	}
	all, err := tx.Promotions(spaces.PromotionFilter{})
	for _, p := range all {
		s.Promotions = append(s.Promotions, fmt.Sprint(p.Version, " ", p.State, " ", p.Reason))
	}
	return s, err
}

var errUndone = errors.New("undone")

// The dashboard is a function of the set of receipts: orders and repetitions change
// nothing.
func TestReceiptsInAnyOrder(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	r := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true))))
	prod.deployed(r, spaces.TaskFailed)
	prod.deployed(r, spaces.TaskSuccess)
	next := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.1.0", []byte("two"), true))))
	prod.deployed(next, spaces.TaskSuccess)
	prod.deployed(r, spaces.TaskSuccess) // rolled back
	var file bytes.Buffer
	if n, err := prod.service.ExportReceipts(ctx, prod.space, spacetest.Manager(), toDev.ID, &file); err != nil || n < 10 {
		t.Fatalf("%d receipts, %v", n, err)
	}
	_, _, envelopes, err := bundle.ReadReceipts(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	link := view(dev, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(toProd.ID) })
	_, card := prod.card()
	play := func(order []int) shown {
		t.Helper()
		var got shown
		err := spaces.Do(ctx, dev.space, spacetest.Manager(), func(tx *spaces.Tx) error {
			for _, n := range order {
				if err := receive(tx, link, card, dev.space.ULID(), envelopes[n]); err != nil {
					return err
				}
			}
			var err error
			if got, err = shows(tx.ReadTx); err != nil {
				return err
			}
			return errUndone
		})
		if !errors.Is(err, errUndone) {
			t.Fatal(err)
		}
		return got
	}
	inOrder := make([]int, len(envelopes))
	for i := range inOrder {
		inOrder[i] = i
	}
	want := play(inOrder)
	if len(want.Cells) != 1 || want.Cells[0].Version != "1.0.0" || want.Cells[0].State != spaces.TaskSuccess || !strings.HasPrefix(want.Promotions[0], "1.1.0 deployed") {
		t.Fatalf("%+v", want)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		order := append(random.Perm(len(envelopes)), random.IntN(len(envelopes)), random.IntN(len(envelopes)))
		if got := play(order); !reflect.DeepEqual(got, want) {
			t.Fatalf("in the order %v: %+v, want %+v", order, got, want)
		}
	}
}

// told is what the statements in a file of receipts say.
func told(t testing.TB, file []byte) (all string, n int) {
	t.Helper()
	_, _, envelopes, err := bundle.ReadReceipts(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range envelopes {
		var envelope struct{ Payload []byte }
		if err := json.Unmarshal(e, &envelope); err != nil {
			t.Fatal(err)
		}
		all += string(envelope.Payload) + "\n"
	}
	return all, len(envelopes)
}

// What a receipt tells is as much as its link allows: nothing, the state, or the steps as
// well; and never a machine, a person, a value or an error's text.
func TestReceiptLevels(t *testing.T) {
	for level, want := range map[string]struct {
		told    bool
		present []string
		absent  []string
	}{
		"none":    {},
		"state":   {true, []string{`"deployment-failed"`, `"Production"`, `"attempt":1`, `"started"`, `"ended"`}, []string{`"steps"`, "Install"}},
		"summary": {true, []string{`"deployment-failed"`, `"Production"`, `"attempt":1`, `"steps":[{"name":"Install"`, `"targets":2`, `"seconds"`}, nil},
	} {
		dev, prod, toProd, toDev, shop := byHand(t)
		update(prod, func(tx *spaces.Tx) (spaces.Target, error) {
			return tx.CreateTarget(spaces.TargetInput{Name: "machine-of-prod", Style: spaces.StyleListening, URI: "https://host-of-prod:1/", Thumbprint: strings.Repeat("b", 64), Environments: []spaces.EnvironmentID{prod.env.ID}, Tags: []string{"web", "tag-of-prod"}})
		})
		update(prod, func(tx *spaces.Tx) (spaces.Link, error) {
			return tx.UpdateLink(toDev.ID, spaces.LinkFlows{LocalName: "Dev", AcceptBundles: true, SendReceipts: level})
		})
		r := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true))))
		d := update(prod, func(tx *spaces.Tx) (spaces.Deployment, error) {
			return tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: prod.env.ID, Comments: "comment-of-prod"})
		})
		err := spaces.Do(ctx, prod.space, spaces.Server(), func(tx *spaces.Tx) error {
			if _, err := tx.PlanWork(d.TaskID); err != nil {
				return err
			}
			if _, _, err := tx.StartTask(d.TaskID); err != nil {
				return err
			}
			return tx.FinishTask(d.TaskID, spaces.TaskFailed, "error-of-prod", false)
		})
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if _, err := prod.service.ExportReceipts(ctx, prod.space, spacetest.Manager(), toDev.ID, &file); err != nil {
			t.Fatal(err)
		}
		all, n := told(t, file.Bytes())
		if (n > 0) != want.told {
			t.Errorf("%s: %d receipts", level, n)
		}
		for _, x := range want.present {
			if !strings.Contains(all, x) {
				t.Errorf("%s: %s is not told in\n%s", level, x, all)
			}
		}
		for _, x := range append([]string{"of-prod", "shop.example", "prod-secret-key", `"` + spacetest.Manager().Name + `"`, "Users-", "Machines-"}, want.absent...) {
			if strings.Contains(all, x) { // a name in quotes: digests have letters too
				t.Errorf("%s: %s is told in\n%s", level, x, all)
			}
		}
	}
}

// A phase with another space opens the next one with the receipt that completes it, and
// not with one before.
func TestReceiptsOpenTheNextPhase(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	archive := update(dev, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Archive"})
	})
	eu := update(prod, func(tx *spaces.Tx) (spaces.Environment, error) {
		e, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Europe"})
		if err != nil {
			return e, err
		}
		_, err = tx.CreateTarget(spaces.TargetInput{Name: "eu", Style: spaces.StyleListening, URI: "https://localhost:2/", Thumbprint: strings.Repeat("c", 64), Environments: []spaces.EnvironmentID{e.ID}, Tags: []string{"web"}})
		return e, err
	})
	update(dev, func(tx *spaces.Tx) (spaces.Target, error) {
		return tx.CreateTarget(spaces.TargetInput{Name: "archive", Style: spaces.StyleListening, URI: "https://localhost:3/", Thumbprint: strings.Repeat("d", 64), Environments: []spaces.EnvironmentID{archive.ID}, Tags: []string{"web"}})
	})
	lc := view(dev, func(tx *spaces.ReadTx) (spaces.Page[spaces.Lifecycle], error) { return tx.Lifecycles(spaces.All) }).Items[0]
	phases := lc.Lifecycle.Phases
	phases[len(phases)-1].RemoteSpaces[0].MinimumEnvironmentsBeforePromotion = 2
	lc.Lifecycle.Phases = append(phases, phase("Archive", archive.ID.String(), ""))
	update(dev, func(tx *spaces.Tx) (spaces.Lifecycle, error) { return tx.UpdateLifecycle(lc.ID, lc.Lifecycle) })
	update(dev, func(tx *spaces.Tx) (spaces.Project, error) { // it asks for nothing in Archive
		in := spaces.ProjectInput{Name: shop.Name, Settings: shop.Settings}
		in.Settings.Templates = nil
		return tx.UpdateProject(shop.ID, in)
	})
	pr := dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true)
	r := prod.accept(t, prod.take(t, dev.export(t, pr)))
	open := func() bool {
		t.Helper()
		err := spaces.Do(ctx, dev.space, spacetest.Manager(), func(tx *spaces.Tx) error {
			if _, err := tx.CreateDeployment(spaces.DeploymentInput{Release: pr.ReleaseID, Environment: archive.ID}); err != nil {
				return err
			}
			return errUndone
		})
		if !errors.Is(err, errUndone) && (!errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "Phase 'Production' is not complete")) {
			t.Fatal(err)
		}
		return errors.Is(err, errUndone)
	}
	for _, step := range []struct {
		what  string
		do    func()
		opens bool
	}{
		{"accepted", func() {}, false},
		{"failed in one of two", func() { prod.deployed(r, spaces.TaskFailed) }, false},
		{"in one of two", func() { prod.deployed(r, spaces.TaskSuccess) }, false},
		{"in the same again", func() { prod.deployed(r, spaces.TaskSuccess) }, false},
		{"failed in the other", func() { prod.env = eu; prod.deployed(r, spaces.TaskFailed) }, false},
		{"in both", func() { prod.deployed(r, spaces.TaskSuccess) }, true},
	} {
		step.do()
		if step.opens && open() {
			t.Errorf("%s: open before the receipt is here", step.what)
		}
		back(t, prod, toDev.ID, dev)
		if open() != step.opens {
			t.Errorf("%s: the next phase is open: %v", step.what, !step.opens)
		}
	}
}

// When the link is cut, what the dashboard shows of the other side stays, with the time
// and the way it was learnt; it does not turn to failed.
func TestDashboardKeepsWhatItKnew(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	l := wired(t, dev, prod, true)
	dev.lifecycle(l)
	pr := dev.promote(t, dev.shop(), l, "1.0.0", []byte("one"), false)
	r := prod.accept(t, prod.inbox(t, "1.0.0"))
	prod.deployed(r, spaces.TaskSuccess)
	eventually(t, "the receipt is at Dev", func() bool { return dev.promotion(pr.ID).State == "deployed" })
	dashboard := func() spaces.RemoteCell {
		t.Helper()
		d := view(dev, func(tx *spaces.ReadTx) (spaces.Dashboard, error) { return tx.Dashboard(spaces.DashboardFilter{}) })
		if len(d.RemoteCells) != 1 {
			t.Fatalf("%+v", d.RemoteCells)
		}
		return d.RemoteCells[0]
	}
	before := dashboard()
	if before.State != spaces.TaskSuccess || before.Version != "1.0.0" || before.AsOf.IsZero() || before.Via != "link" {
		t.Errorf("%+v", before)
	}
	dev.around(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	})
	there := view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Dev") })
	prod.deployed(r, spaces.TaskFailed)
	eventually(t, "Prod notices that the link is cut", func() bool {
		return view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(there.ID) }).LastError != ""
	})
	if after := dashboard(); after != before {
		t.Errorf("with the link cut: %+v, before %+v", after, before)
	}
	// The side that is dialled knows it by the silence.
	health := view(dev, func(tx *spaces.ReadTx) (spaces.Dashboard, error) { return tx.Dashboard(spaces.DashboardFilter{}) }).Remote[0].Link
	if health.LastContactAt == nil || health.Cut(*health.LastContactAt) || !health.Cut(health.LastContactAt.Add(spaces.Silence+time.Second)) {
		t.Errorf("the link of the column: %+v", health)
	}
	if there := view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(there.ID) }); !there.Health().Cut(time.Now()) {
		t.Errorf("the link at Prod: %+v", there.Health())
	}
	dev.around(nil)
	eventually(t, "the news is at Dev", func() bool { return dashboard().State == spaces.TaskFailed })
	if after := dashboard(); !after.AsOf.After(before.AsOf) {
		t.Errorf("known as of %s, before %s", after.AsOf, before.AsOf)
	}
}

// Columns stand where releases go: those of a space behind what its phase comes after, in
// whichever lifecycle.
func TestDashboardIsInTheOrderOfLifecycles(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	archive := dev.place("Archive")
	dev.phases(phase("Test", dev.env.ID.String(), ""), phase("Production", "", toProd.ID.String()), phase("Archive", archive.ID.String(), ""))
	r := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true))))
	prod.deployed(r, spaces.TaskSuccess)
	back(t, prod, toDev.ID, dev)
	order := func() string {
		t.Helper()
		d := view(dev, func(tx *spaces.ReadTx) (spaces.Dashboard, error) { return tx.Dashboard(spaces.DashboardFilter{}) })
		var names []string
		for _, c := range d.Columns {
			for _, e := range d.Environments {
				if e.ID == c.Environment {
					names = append(names, e.Name)
				}
			}
			for _, e := range d.Remote {
				if e.ID == c.Remote {
					names = append(names, e.LinkName+" "+e.Name)
				}
			}
		}
		return strings.Join(names, ", ")
	}
	if got := order(); got != "Test, Prod Production, Archive" {
		t.Errorf("between: %s", got)
	}
	dev.phases(phase("Test", dev.env.ID.String(), ""), phase("Archive", archive.ID.String(), ""), phase("Production", "", toProd.ID.String()))
	if got := order(); got != "Test, Archive, Prod Production" {
		t.Errorf("behind: %s", got)
	}
	dev.phases(phase("Production", "", toProd.ID.String()), phase("Test", dev.env.ID.String(), ""))
	if got := order(); got != "Prod Production, Test, Archive" {
		t.Errorf("before: %s", got)
	}
	dev.phases(phase("Test", dev.env.ID.String(), ""))
	if got := order(); got != "Test, Archive, Prod Production" {
		t.Errorf("in no lifecycle: %s", got)
	}
}

// receive takes one receipt inside of a transaction, as the service does.
func receive(tx *spaces.Tx, l spaces.Link, card *bundle.Card, to string, envelope []byte) error {
	r, err := bundle.VerifyReceipt(envelope, card, to)
	if err != nil {
		return err
	}
	id, duplicate, err := tx.Receive(spaces.Arrived{Link: l.ID, Incarnation: r.Link.Incarnation, Seq: r.Link.Seq, Digest: bundle.Digest(envelope), Kind: spaces.MessageReceipt, Message: envelope, Via: "link"})
	if err != nil || duplicate {
		return err
	}
	in := spaces.ReceiptInput{Link: l.ID, Inbox: id, Kind: r.Kind, PromotionULID: r.Promotion, ReleaseULID: r.Release, CoreDigest: r.Core, Deployment: r.Deployment, Attempt: r.Attempt, Seq: r.Link.Seq, Issued: r.Link.IssuedAt(), Via: "link", Body: "{}"}
	if r.Environment != nil {
		in.EnvRef, in.EnvShown, in.EnvOrder = r.Environment.Ref, r.Environment.Shown, r.Environment.Order
	}
	return tx.AddReceipt(in)
}

// A file of receipts may be carried late or twice; a changed or foreign one changes no row.
func TestReceiptsByFile(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	r := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true))))
	var older bytes.Buffer
	if _, err := prod.service.ExportReceipts(ctx, prod.space, spacetest.Manager(), toDev.ID, &older); err != nil {
		t.Fatal(err)
	}
	prod.deployed(r, spaces.TaskSuccess)
	newer := back(t, prod, toDev.ID, dev)
	want := view(dev, shows)
	if n, err := dev.service.ImportReceipts(ctx, dev.space, spacetest.Manager(), bytes.NewReader(older.Bytes())); err != nil || n != 0 {
		t.Errorf("an older file: %d new, %v", n, err)
	}
	rows := view(dev, allRows)
	for at := 0; at < len(newer); at += 37 {
		bad := bytes.Clone(newer)
		bad[at] ^= 1
		if _, err := dev.service.ImportReceipts(ctx, dev.space, spacetest.Manager(), bytes.NewReader(bad)); err == nil {
			t.Fatalf("taken with byte %d changed", at)
		}
	}
	if _, err := prod.service.ImportReceipts(ctx, prod.space, spacetest.Manager(), bytes.NewReader(newer)); !errors.Is(err, errs.Invalid) {
		t.Errorf("receipts for somebody else: %v", err)
	}
	if got := view(dev, allRows); got != rows {
		t.Errorf("refused receipts left something: %s, before %s", got, rows)
	}
	if got := view(dev, shows); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A changed bundle changes no row either, wherever the bit is.
func TestChangedBundlesChangeNothing(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	file := dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true))
	rows := view(prod, allRows)
	for at := 0; at < len(file); at += 211 {
		bad := bytes.Clone(file)
		bad[at] ^= 0x20
		if _, err := prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(bad)); err == nil {
			t.Fatalf("taken with byte %d changed", at)
		}
	}
	if got := view(prod, allRows); got != rows {
		t.Errorf("refused bundles left something: %s, before %s", got, rows)
	}
}

// allRows counts what promotion leaves in a space, refusals in the audit aside.
func allRows(tx *spaces.ReadTx) (string, error) {
	links, err := tx.Links()
	if err != nil {
		return "", err
	}
	inbox, err := tx.Inbox(1000)
	if err != nil {
		return "", err
	}
	promotions, err := tx.Promotions(spaces.PromotionFilter{Take: 1000})
	if err != nil {
		return "", err
	}
	s, err := shows(tx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d in the inbox, %d promotions, link %s up to %d, %+v", len(inbox), len(promotions), links[0].State, links[0].TheirUpTo, s), nil
}

// The audits of both sides, joined by the promotion, tell the whole story.
func TestAuditOfBothSides(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	pr := dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true)
	r := prod.accept(t, prod.take(t, dev.export(t, pr)))
	prod.deployed(r, spaces.TaskSuccess)
	back(t, prod, toDev.ID, dev)
	var story []string
	for _, z := range []*zone{dev, prod} {
		for _, e := range view(z, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
			return tx.Events(spaces.EventFilter{Reference: pr.ULID, Take: 100})
		}) {
			story = append(story, z.space.Name()+" "+e.Category)
		}
	}
	told := strings.Join(story, "\n")
	for _, want := range []string{"Dev ReleasePromoted", "Dev PromotionSigned", "Dev BundleExported", "Prod BundleReceived", "Prod BundleAccepted", "Prod ReceiptSigned", "Dev ReceiptReceived", "Dev PromotionState"} {
		if !strings.Contains(told, want) {
			t.Errorf("nobody tells: %s\n%s", want, told)
		}
	}
	for _, z := range []*zone{dev, prod} {
		if all := view(z, func(tx *spaces.ReadTx) ([]spaces.Event, error) { return tx.Events(spaces.EventFilter{Take: 1000}) }); strings.Contains(fmt.Sprintf("%+v", all), "prod-secret-key") || strings.Contains(fmt.Sprintf("%+v", all), canary) {
			t.Error("a secret is in the audit of " + z.space.Name())
		}
	}
}
