package zones_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/pin"
)

var ctx = context.Background()

// zone is a server with one space and a door.
type zone struct {
	t       testing.TB
	space   *spaces.Space
	service *zones.Service
	env     spaces.Environment
	master  secrets.Master

	mu   sync.Mutex
	wrap func(http.Handler) http.Handler // around the door, nil: nothing
}

// around puts something between the door and whoever comes.
func (z *zone) around(wrap func(http.Handler) http.Handler) {
	z.mu.Lock()
	z.wrap = wrap
	z.mu.Unlock()
}

// export is the file of a promotion, with its packages.
func (z *zone) export(t testing.TB, p spaces.Promotion) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := z.service.ExportBundle(ctx, z.space, spacetest.Manager(), p.ID, true, &file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// bundleOf makes a shop and a release of it, tests it, and exports it by hand.
func (z *zone) bundleOf(t testing.TB, l spaces.Link, version string, content []byte) []byte {
	t.Helper()
	z.lifecycle(l)
	return z.export(t, z.promote(t, z.shop(), l, version, content, true))
}

func newZone(t testing.TB, name, env string) *zone {
	t.Helper()
	master := secrets.Master{Key: secrets.NewKey()}
	_, s := spacetest.Open(t, t.TempDir(), master, name)
	id, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	quick := func(int) time.Duration { return 20 * time.Millisecond }
	z := &zone{t: t, space: s, master: master, service: &zones.Service{Identity: id, Log: slog.New(slog.DiscardHandler), BackOff: quick}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z.service.Address = func() string { return l.Addr().String() }
	door := &zones.Door{Service: z.service, Resolve: func(_ context.Context, ulid string) (*spaces.Space, error) {
		if ulid != s.ULID() {
			return nil, errs.Missing("space", ulid)
		}
		return s.Hold(), nil
	}}
	inner := door.Handler()
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z.mu.Lock()
		h := inner
		if z.wrap != nil {
			h = z.wrap(inner)
		}
		z.mu.Unlock()
		h.ServeHTTP(w, r)
	})
	srv := &http.Server{Handler: outer, TLSConfig: pin.ServerConfig(id, func(string) bool { return true }), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go srv.ServeTLS(l, "", "")
	t.Cleanup(func() { srv.Close() })
	z.env = update(z, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: env})
	})
	update(z, func(tx *spaces.Tx) (spaces.Target, error) {
		return tx.CreateTarget(spaces.TargetInput{Name: "web", Style: spaces.StyleListening, URI: "https://localhost:1/", Thumbprint: strings.Repeat("a", 64), Environments: []spaces.EnvironmentID{z.env.ID}, Tags: []string{"web"}})
	})
	return z
}

func update[T any](z *zone, f func(tx *spaces.Tx) (T, error)) T {
	z.t.Helper()
	v, err := spaces.Update(ctx, z.space, spacetest.Manager(), f)
	if err != nil {
		z.t.Fatal(err)
	}
	return v
}

const canary = "canary-of-dev-4711"

// shop makes a project with a package, a secret, a template and a release of a version.
func (z *zone) shop() spaces.Project {
	p := update(z, func(tx *spaces.Tx) (spaces.Project, error) {
		in := spaces.ProjectInput{Name: "Shop"}
		in.Settings.Templates = []spaces.VariableTemplate{{Name: "Url", Label: "Public address"}, {Name: "ApiKey", DisplaySettings: map[string]string{"Octopus.ControlType": "Sensitive"}}}
		return tx.CreateProject(in)
	})
	kind, _ := steps.Lookup("Octopus.TentaclePackage")
	st := kind.New("Install")
	st.Properties.Set(steps.TargetRolesProperty, "web")
	st.Actions[0].Packages = []steps.PackageReference{{PackageID: "Shop", FeedID: spaces.BuiltInFeed}}
	st.Actions[0].Properties["Own.Secret"] = steps.Sensitive("secret-of-the-step")
	update(z, func(tx *spaces.Tx) (spaces.Process, error) {
		return tx.SaveProcess(p.ID, 0, steps.Process{Steps: []steps.Step{st}})
	})
	colour, secret, local := "green", canary, "dev-only-value"
	update(z, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(p.ID, 0, variables.Set{Variables: []variables.Variable{{Name: "Colour", Value: &colour}, {Name: "Password", Value: &secret, IsSensitive: true},
			{Name: "Url", Value: &local, Scope: variables.Scope{variables.Environment: {z.env.ID.String()}}}, {Name: "ApiKey", Value: &local, IsSensitive: true, Scope: variables.Scope{variables.Environment: {z.env.ID.String()}}}}})
	})
	return p
}

func (z *zone) release(p spaces.Project, version string, content []byte) spaces.Release {
	z.t.Helper()
	b, err := z.space.Packages().Put(ctx, bytes.NewReader(content), 1<<30)
	if err != nil {
		z.t.Fatal(err)
	}
	update(z, func(tx *spaces.Tx) (spaces.Package, error) {
		x, _, err := tx.AddPackage("Shop", version, ".zip", b, spaces.FailIfExists)
		return x, err
	})
	r := update(z, func(tx *spaces.Tx) (spaces.Release, error) {
		return tx.CreateRelease(spaces.ReleaseInput{Project: p.ID, Version: version})
	})
	return r
}

// deployed makes a deployment and ends it, as the runner would.
func (z *zone) deployed(r spaces.Release, state spaces.TaskState) {
	z.t.Helper()
	d := update(z, func(tx *spaces.Tx) (spaces.Deployment, error) {
		return tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: z.env.ID})
	})
	z.ends(d.TaskID, state)
}

// ends runs a task to its end, as the runner would.
func (z *zone) ends(task spaces.TaskID, state spaces.TaskState) {
	z.t.Helper()
	err := spaces.Do(ctx, z.space, spaces.Server(), func(tx *spaces.Tx) error {
		if _, err := tx.PlanWork(task); err != nil {
			return err
		}
		if _, _, err := tx.StartTask(task); err != nil {
			return err
		}
		return tx.FinishTask(task, state, "", false)
	})
	if err != nil {
		z.t.Fatal(err)
	}
}

// lifecycle lets a release go to the link after the environment.
func (z *zone) lifecycle(l spaces.Link) {
	all := update(z, func(tx *spaces.Tx) (spaces.Page[spaces.Lifecycle], error) { return tx.Lifecycles(spaces.All) })
	lc := all.Items[0]
	lc.Lifecycle.Phases = append(lc.Lifecycle.Phases, phase("Test", z.env.ID.String(), ""), phase("Production", "", l.ID.String()))
	update(z, func(tx *spaces.Tx) (spaces.Lifecycle, error) { return tx.UpdateLifecycle(lc.ID, lc.Lifecycle) })
}

func files(t testing.TB, dir string) []byte {
	var all []byte
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, _ := os.ReadFile(path)
			all = append(all, b...)
		}
		return nil
	})
	return all
}

// trust links by cards in both directions.
func trust(t testing.TB, dev, prod *zone) (toProd, toDev spaces.Link) {
	t.Helper()
	for _, x := range []struct {
		from, to *zone
		role     string
		out      *spaces.Link
	}{{prod, dev, "source", &toProd}, {dev, prod, "target", &toDev}} {
		file, card, err := x.from.service.Card(ctx, x.from.space)
		if err != nil {
			t.Fatal(err)
		}
		again, _, _ := x.from.service.Card(ctx, x.from.space)
		if !bytes.Equal(file, again) {
			t.Error("the card changes when it is shown twice")
		}
		if _, _, err := x.to.service.Trust(ctx, x.to.space, spacetest.Manager(), zones.TrustInput{Card: file, Words: "not the words", Role: x.role}); !errors.Is(err, errs.Invalid) {
			t.Errorf("wrong words: %v", err)
		}
		*x.out, _, err = x.to.service.Trust(ctx, x.to.space, spacetest.Manager(), zones.TrustInput{Card: file, Words: strings.Join(card.Words()[9:], " "), Role: x.role})
		if err != nil {
			t.Fatal(err)
		}
	}
	return toProd, toDev
}

func TestByHand(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	toProd, _ := trust(t, dev, prod)
	dev.lifecycle(toProd)
	p := dev.shop()
	r := dev.release(p, "1.0.0", []byte("package one"))
	manager := spacetest.Manager()
	if _, err := dev.service.Promote(ctx, dev.space, manager, r.ID, toProd.ID, true); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "Test") {
		t.Errorf("promoted before it was tested: %v", err)
	}
	dev.deployed(r, spaces.TaskSuccess)
	pr, err := dev.service.Promote(ctx, dev.space, manager, r.ID, toProd.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	var file, twice bytes.Buffer
	for _, w := range []io.Writer{&file, &twice} {
		if err := dev.service.ExportBundle(ctx, dev.space, manager, pr.ID, true, w); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(file.Bytes(), twice.Bytes()) {
		t.Error("two exports differ")
	}
	for _, secret := range []string{canary, "dev-only-value", "secret-of-the-step"} {
		if bytes.Contains(file.Bytes(), []byte(secret)) {
			t.Errorf("%s is readable in the bundle", secret)
		}
	}
	stranger := spacetest.With(access.ReleaseView)
	if _, err := prod.service.Import(ctx, prod.space, stranger, bytes.NewReader(file.Bytes())); !errors.Is(err, errs.Denied) {
		t.Errorf("imported without permission: %v", err)
	}
	bad := bytes.Clone(file.Bytes())
	bad[len(bad)-1500] ^= 1
	if _, err := prod.service.Import(ctx, prod.space, manager, bytes.NewReader(bad)); !errors.Is(err, errs.Invalid) {
		t.Errorf("a changed file: %v", err)
	}
	if _, err := dev.service.Import(ctx, dev.space, manager, bytes.NewReader(file.Bytes())); err == nil {
		t.Error("the sender imported its own bundle")
	}
	var in spaces.Inbound
	for range 2 {
		if in, err = prod.service.Import(ctx, prod.space, manager, bytes.NewReader(file.Bytes())); err != nil || in.State != "needs input" {
			t.Fatalf("%+v, %v", in, err)
		}
	}
	review, err := prod.service.Review(ctx, prod.space, manager, in.ID, "")
	if err != nil || len(review.Evidence) != 1 || review.Evidence[0].State != "Success" || len(review.Templates) != 2 {
		t.Errorf("%+v, %v", review, err)
	}
	remote, err := prod.service.Accept(ctx, prod.space, manager, in.ID, zones.AcceptInput{})
	if err != nil {
		t.Fatal(err)
	}
	if remote.ULID != r.ULID || remote.CoreDigest != review.Promotion.Core {
		t.Error("the release is another one there")
	}
	if n, _ := spaces.View(ctx, prod.space, manager, func(tx *spaces.ReadTx) (int, error) { pg, err := tx.Tasks(spaces.TaskFilter{}); return pg.Total, err }); n != 0 {
		t.Error("an import made a task")
	}
	_, err = spaces.Update(ctx, prod.space, manager, func(tx *spaces.Tx) (spaces.Deployment, error) {
		return tx.CreateDeployment(spaces.DeploymentInput{Release: remote.ID, Environment: prod.env.ID})
	})
	if !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "Public address") {
		t.Errorf("deployed without mandatory values: %v", err)
	}
	err = spaces.Do(ctx, prod.space, manager, func(tx *spaces.Tx) error {
		return tx.SetTemplateValues(remote.ProjectID, prod.env.ID, remote.Templates, map[string]string{"Url": "https://shop.example", "ApiKey": "prod-secret-key"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := spaces.Do(ctx, prod.space, manager, func(tx *spaces.Tx) error {
		_, err := tx.SaveProcess(remote.ProjectID, 0, steps.Process{})
		return err
	}); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "owned by Dev") {
		t.Errorf("the process of a remote project was edited: %v", err)
	}
	prod.deployed(remote, spaces.TaskSuccess)
	var receipts bytes.Buffer
	if n, err := prod.service.ExportReceipts(ctx, prod.space, manager, 1, &receipts); err != nil || n < 4 {
		t.Fatalf("%d receipts, %v", n, err)
	}
	for i := range 2 {
		n, err := dev.service.ImportReceipts(ctx, dev.space, manager, bytes.NewReader(receipts.Bytes()))
		if err != nil || (n > 0) != (i == 0) {
			t.Errorf("import %d: %d new, %v", i, n, err)
		}
	}
	dash, err := spaces.View(ctx, dev.space, manager, func(tx *spaces.ReadTx) (spaces.Dashboard, error) { return tx.Dashboard(spaces.DashboardFilter{}) })
	if err != nil || len(dash.RemoteCells) != 1 || dash.RemoteCells[0].State != spaces.TaskSuccess || dash.RemoteCells[0].Via != "file" || dash.Remote[0].Name != "Production" {
		t.Errorf("%+v %+v, %v", dash.Remote, dash.RemoteCells, err)
	}
	ps, _ := spaces.View(ctx, dev.space, manager, func(tx *spaces.ReadTx) ([]spaces.Promotion, error) { return tx.Promotions(spaces.PromotionFilter{}) })
	if ps[0].State != "deployed" {
		t.Errorf("the promotion is %s", ps[0].State)
	}
	all := files(t, prod.space.Dir())
	for _, secret := range []string{canary, "prod-secret-key", "secret-of-the-step"} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%s is readable in the files of Prod", secret)
		}
	}
	if bytes.Contains(files(t, dev.space.Dir()), []byte("prod-secret-key")) || bytes.Contains(receipts.Bytes(), []byte("shop.example")) {
		t.Error("Dev learnt a value of Prod")
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 400 {
		if ok() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("never: " + what)
}

func TestByWire(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	manager := spacetest.Manager()
	invite, err := dev.service.Invite(ctx, dev.space, manager, "Prod", "source", false, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	wrong := invite
	wrong.Secret = bytes.Repeat([]byte{1}, 32)
	if _, err := prod.service.Join(ctx, prod.space, manager, wrong.String(), "Dev", "target"); !errors.Is(err, errs.Blocked) {
		t.Errorf("joined with a wrong secret: %v", err)
	}
	if _, err := prod.service.Join(ctx, prod.space, manager, invite.String(), "Dev", "target"); err != nil {
		t.Fatal(err)
	}
	other := newZone(t, "Other", "X")
	if _, err := other.service.Join(ctx, other.space, manager, invite.String(), "Dev", "target"); err == nil {
		t.Error("an invitation was used twice")
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- prod.service.RunLinks(run, prod.space) }()
	defer func() { stop(); <-done }()

	links, _ := spaces.View(ctx, dev.space, manager, func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
	dev.lifecycle(links[0])
	p := dev.shop()
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{7}).Read(noise)
	// A zip with one entry, of text that a change near its beginning makes another stream.
	text := []byte(hex.EncodeToString(noise))
	archive := func(version string) []byte {
		var out bytes.Buffer
		z := zip.NewWriter(&out)
		w, err := z.Create("app.txt")
		if err != nil {
			t.Fatal(err)
		}
		copy(text[1000:], version)
		w.Write(text)
		z.Close()
		return out.Bytes()
	}
	var sent, sizes []int64
	for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		content := archive(version)
		sizes = append(sizes, int64(len(content)))
		if version == "1.2.0" {
			// The basis is not what it was there: what a recipe makes of it has another digest.
			damage(t, prod.space.Packages())
		}
		r := dev.release(p, version, content)
		dev.deployed(r, spaces.TaskSuccess)
		if _, err := dev.service.Promote(ctx, dev.space, manager, r.ID, links[0].ID, false); err != nil {
			t.Fatal(err)
		}
		var in spaces.Inbound
		eventually(t, version+" is in the inbox", func() bool {
			list, err := spaces.View(ctx, prod.space, manager, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10, spaces.Undecided...) })
			if err == nil && len(list) == 1 {
				in = list[0]
			}
			return in.Version == version
		})
		in2 := zones.AcceptInput{Values: map[spaces.EnvironmentID]map[string]string{prod.env.ID: {"Url": "https://shop.example", "ApiKey": "prod-secret-key"}}}
		remote, err := prod.service.Accept(ctx, prod.space, manager, in.ID, in2)
		if err != nil {
			t.Fatal(err)
		}
		prod.deployed(remote, spaces.TaskSuccess)
		eventually(t, "the receipt of "+version+" is at Dev", func() bool {
			ps, err := spaces.View(ctx, dev.space, manager, func(tx *spaces.ReadTx) ([]spaces.Promotion, error) {
				return tx.Promotions(spaces.PromotionFilter{Release: r.ID})
			})
			if err == nil && ps[0].State == "deployed" {
				sent = append(sent, ps[0].BytesSent)
				return true
			}
			return false
		})
	}
	if sent[0] != sizes[0] || sent[1] == 0 || sent[1] > sizes[1]/50 {
		t.Errorf("bytes over the link: %v of %v", sent, sizes)
	}
	if sent[2] <= sizes[2] { // recipe and file
		t.Errorf("a recipe that failed was not made good: %v of %v", sent, sizes)
	}
}

// damage changes all files of a store, but not their sizes.
func damage(t *testing.T, store *packages.Store) {
	t.Helper()
	digests, err := store.Digests()
	if err != nil || len(digests) == 0 {
		t.Fatal(digests, err)
	}
	for _, d := range digests {
		b, err := os.ReadFile(store.Path(d))
		if err == nil {
			b[len(b)/2] ^= 0x55
			err = os.WriteFile(store.Path(d), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
