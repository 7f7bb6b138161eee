package zones_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/pin"
)

// wired links dev as source with prod as target and keeps the link running from the side
// that dials. It returns the link at dev.
func wired(t testing.TB, dev, prod *zone, prodDials bool) spaces.Link {
	t.Helper()
	manager := spacetest.Manager()
	host, guest, hostRole, guestRole := dev, prod, "source", "target"
	if !prodDials {
		host, guest, hostRole, guestRole = prod, dev, "target", "source"
	}
	names := map[*zone]string{dev: "Dev", prod: "Prod"}
	invite, err := host.service.Invite(ctx, host.space, manager, names[guest], hostRole, false, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guest.service.Join(ctx, guest.space, manager, invite.String(), names[host], guestRole); err != nil {
		t.Fatal(err)
	}
	guest.dial(t)
	return view(dev, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Prod") })
}

// dial keeps the links of a zone running until the test, or stop, ends them.
func (z *zone) dial(t testing.TB) (stop func()) {
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- z.service.RunLinks(run, z.space) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// fetch gets something over a connection with a key of one's own.
func fetch(t testing.TB, id pin.Identity, server, address string) (body string, status int) {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: pin.ClientConfig(id, server), ForceAttemptHTTP2: true}}
	res, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), res.StatusCode
}

// inbox waits until a version is in the inbox, whole.
func (z *zone) inbox(t testing.TB, version string) spaces.Inbound {
	t.Helper()
	var in spaces.Inbound
	eventually(t, version+" is in the inbox", func() bool {
		for _, x := range view(z, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10, spaces.Undecided...) }) {
			if x.Version == version {
				in = x
				return true
			}
		}
		return false
	})
	return in
}

func (z *zone) promotion(id spaces.PromotionID) spaces.Promotion {
	z.t.Helper()
	return view(z, func(tx *spaces.ReadTx) (spaces.Promotion, error) { return tx.Promotion(id) })
}

var values = map[string]string{"Url": "https://shop.example", "ApiKey": "prod-secret-key"}

func (z *zone) accept(t testing.TB, in spaces.Inbound) spaces.Release {
	t.Helper()
	r, err := z.service.Accept(ctx, z.space, spacetest.Manager(), in.ID, zones.AcceptInput{Values: map[spaces.EnvironmentID]map[string]string{z.env.ID: values}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// promote makes a release, tests it and promotes it.
func (z *zone) promote(t testing.TB, p spaces.Project, l spaces.Link, version string, content []byte, byHand bool) spaces.Promotion {
	t.Helper()
	r := z.release(p, version, content)
	z.deployed(r, spaces.TaskSuccess)
	pr, err := z.service.Promote(ctx, z.space, spacetest.Manager(), r.ID, l.ID, byHand)
	if err != nil {
		t.Fatal(err)
	}
	return pr
}

// Who dials has nothing to do with who sends: with either side's ports closed a promotion
// and its receipts work.
func TestEitherSideDials(t *testing.T) {
	for _, prodDials := range []bool{true, false} {
		t.Run(fmt.Sprintf("prod dials %v", prodDials), func(t *testing.T) {
			t.Parallel()
			dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
			l := wired(t, dev, prod, prodDials)
			closed := prod // whoever dials is never called
			if !prodDials {
				closed = dev
			}
			closed.around(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("called: %s %s", r.Method, r.URL) })
			})
			dev.lifecycle(l)
			p := dev.shop()
			pr := dev.promote(t, p, l, "1.0.0", []byte("package one"), false)
			prod.deployed(prod.accept(t, prod.inbox(t, "1.0.0")), spaces.TaskSuccess)
			eventually(t, "the receipt is at Dev", func() bool { return dev.promotion(pr.ID).State == "deployed" })
			// The same package in another release is not sent again.
			r := update(dev, func(tx *spaces.Tx) (spaces.Release, error) {
				return tx.CreateRelease(spaces.ReleaseInput{Project: p.ID, Version: "1.0.1"})
			})
			dev.deployed(r, spaces.TaskSuccess)
			again, err := dev.service.Promote(ctx, dev.space, spacetest.Manager(), r.ID, l.ID, false)
			if err != nil {
				t.Fatal(err)
			}
			prod.inbox(t, "1.0.1")
			if sent := dev.promotion(again.ID).BytesSent; sent != 0 {
				t.Errorf("%d bytes of a package that was there already", sent)
			}
		})
	}
}

// lossy lets each request through to the server and drops the first answer to it.
type lossy struct {
	mu      sync.Mutex
	seen    map[[32]byte]bool
	dropped atomic.Int64
}

func (l *lossy) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	key := sha256.Sum256(append([]byte(r.Method+r.URL.String()+r.Header.Get("Upload-Offset")), body...))
	l.mu.Lock()
	first := !l.seen[key]
	l.seen[key] = true
	l.mu.Unlock()
	if first && !strings.Contains(r.URL.Path, "peerings") && r.Method != http.MethodGet {
		next.ServeHTTP(&nowhere{header: http.Header{}}, r)
		l.dropped.Add(1)
		panic(http.ErrAbortHandler)
	}
	next.ServeHTTP(w, r)
}

type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// Every answer is lost once: what was said twice counts once.
func TestLostAnswers(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	lost := &lossy{seen: map[[32]byte]bool{}}
	for _, z := range []*zone{dev, prod} {
		z.around(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { lost.serve(h, w, r) })
		})
	}
	l := wired(t, dev, prod, false) // Dev dials, so that bundle, file and acknowledgements are requests
	dev.lifecycle(l)
	pr := dev.promote(t, dev.shop(), l, "1.0.0", []byte("package one"), false)
	prod.deployed(prod.accept(t, prod.inbox(t, "1.0.0")), spaces.TaskSuccess)
	eventually(t, "the receipt is at Dev", func() bool { return dev.promotion(pr.ID).State == "deployed" })
	if lost.dropped.Load() < 3 {
		t.Errorf("only %d answers were lost", lost.dropped.Load())
	}
	if n := view(prod, func(tx *spaces.ReadTx) (int, error) {
		p, err := tx.Releases(spaces.ReleaseFilter{Take: 10})
		return p.Total, err
	}); n != 1 {
		t.Errorf("%d releases at Prod", n)
	}
	received := view(prod, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
		return tx.Events(spaces.EventFilter{Category: "BundleReceived"})
	})
	if len(received) != 1 {
		t.Errorf("received %d times", len(received))
	}
}

// cutter is a proxy that breaks a connection after so many bytes towards the server.
type cutter struct {
	net.Listener
	to    string
	every int64
	cuts  atomic.Int64
	most  int64
	bytes atomic.Int64 // that the dialling side sent
	open  sync.Map     // connections
}

// shut ends the way and what goes over it.
func (c *cutter) shut() {
	c.Close()
	c.open.Range(func(in, _ any) bool { in.(net.Conn).Close(); return true })
}

func (c *cutter) run() {
	for {
		in, err := c.Accept()
		if err != nil {
			return
		}
		c.open.Store(in, true)
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp", c.to)
			if err != nil {
				return
			}
			defer out.Close()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
			limit := int64(1 << 62)
			if c.cuts.Load() < c.most {
				limit = c.every
			}
			n, err := io.CopyN(out, in, limit)
			c.bytes.Add(n)
			if err == nil {
				c.cuts.Add(1)
			}
		}()
	}
}

// A package whose transfer breaks again and again goes on where it was.
func TestTransfersGoOn(t *testing.T) {
	const size, cuts, slice = 16 << 20, 6, 2 << 20
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: front, to: prod.service.Address(), every: slice, most: cuts}
	go c.run()
	t.Cleanup(func() { front.Close() })
	prod.service.Address = func() string { return front.Addr().String() }
	l := wired(t, dev, prod, false)
	dev.lifecycle(l)
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(content)
	dev.promote(t, dev.shop(), l, "1.0.0", content, false)
	prod.inbox(t, "1.0.0")
	if c.cuts.Load() != cuts {
		t.Errorf("%d cuts", c.cuts.Load())
	}
	if limit := int64(size + cuts*(4<<20)); c.bytes.Load() > limit {
		t.Errorf("%d bytes for a package of %d cut %d times, at most %d", c.bytes.Load(), int64(size), cuts, limit)
	}
}

// Two messages in one place are a fork: the link stops for a person to look.
func TestForksBreakTheLink(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	manager := spacetest.Manager()
	toProd, _ := trust(t, dev, prod)
	dev.lifecycle(toProd)
	p := dev.shop()
	copied := dev.copied(t) // goes its own way, and signs another message with the same number
	first := dev.export(t, dev.promote(t, p, toProd, "1.0.0", []byte("one"), true))
	second := copied.export(t, copied.promote(t, p, toProd, "2.0.0", []byte("two"), true))
	if _, err := prod.service.Import(ctx, prod.space, manager, bytes.NewReader(first)); err != nil {
		t.Fatal(err)
	}
	if _, err := prod.service.Import(ctx, prod.space, manager, bytes.NewReader(second)); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "two messages with the number 1") {
		t.Fatalf("a fork was taken: %v", err)
	}
	l := view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Dev") })
	if l.State != spaces.LinkBroken {
		t.Errorf("the link is %s", l.State)
	}
	if n := len(view(prod, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10) })); n != 1 {
		t.Errorf("%d entries in the inbox", n)
	}
}

// copied is a second life of a zone's space, from a backup.
func (z *zone) copied(t testing.TB) *zone {
	t.Helper()
	root := t.TempDir()
	folder := filepath.Base(z.space.Dir())
	if _, err := z.space.Backup(ctx, filepath.Join(root, folder)); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	r, err := spaces.NewRegistry(spaces.Config{Root: root, Master: z.master, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Acquire(ctx, spaces.Ref{ID: "Spaces-1", Folder: folder, Name: z.space.Name(), Slug: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Release(); r.Close(ctx) })
	return &zone{t: t, space: s, env: z.env, master: z.master, service: &zones.Service{Identity: z.service.Identity, Log: quiet, Address: z.service.Address}}
}

// A promotion is exported as the same bytes from a restored space.
func TestRestoredSpaceExportsTheSame(t *testing.T) {
	dev, _, toProd, _, shop := byHand(t)
	pr := dev.promote(t, shop, toProd, "1.0.0", []byte("package one"), true)
	want := dev.export(t, pr)
	copied := dev.copied(t)
	if got := copied.export(t, pr); !bytes.Equal(got, want) || len(got) == 0 {
		t.Errorf("%d bytes, before %d", len(got), len(want))
	}
}
