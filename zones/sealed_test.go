package zones_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/spacetest"
)

// recorder keeps whatever is written to it; it is safe for several goroutines.
type recorder struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(b)
}

func (r *recorder) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.all.Bytes())
}

// overhear records what is said at a zone's door, in both directions, as it is inside of
// TLS.
func (z *zone) overhear(r *recorder) {
	z.around(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			fmt.Fprintln(r, q.Method, q.URL, q.Header)
			q.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(q.Body, r), q.Body}
			next.ServeHTTP(&overheard{w, r}, q)
		})
	})
}

type overheard struct {
	http.ResponseWriter
	r *recorder
}

func (o *overheard) Write(b []byte) (int, error) {
	_, _ = o.r.Write(b)
	return o.ResponseWriter.Write(b)
}

// The search finds what it is to find.
func TestSpellings(t *testing.T) {
	for i := range 3 {
		hidden := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 9+i) + canary + "yyyy"))
		found := false
		for _, form := range spacetest.Spellings(canary) {
			found = found || strings.Contains(hidden, string(form))
		}
		if !found {
			t.Errorf("not found at place %d", i)
		}
	}
}

// A sensitive value is open nowhere between its source and the step that uses it: not on
// the wire inside of TLS, in a file that is carried, on a disk, in a log, or before the
// eyes of whoever reviews, promotes or reads the audit.
func TestSecretsAreOpenNowhere(t *testing.T) {
	for _, prodDials := range []bool{true, false} {
		var wire, log recorder
		dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
		for _, z := range []*zone{dev, prod} {
			z.service.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			z.overhear(&wire)
		}
		l := wired(t, dev, prod, prodDials)
		dev.lifecycle(l)
		pr := dev.promote(t, dev.shop(), l, "1.0.0", []byte("package one"), false)
		in := prod.inbox(t, "1.0.0")
		seen := func(z *zone, what any, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%s %+v", z.space.Name(), what)
		}
		review, err := prod.service.Review(ctx, prod.space, spacetest.Manager(), in.ID, "")
		shown := seen(prod, review, err)
		prod.deployed(prod.accept(t, in), spaces.TaskSuccess)
		eventually(t, "the receipt is at Dev", func() bool { return dev.promotion(pr.ID).State == "deployed" })
		if again, err := prod.service.Review(ctx, prod.space, spacetest.Manager(), in.ID, ""); true {
			shown += seen(prod, again, err)
		}
		for _, z := range []*zone{dev, prod} {
			shown += seen(z, view(z, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
				return tx.Events(spaces.EventFilter{Take: 1000})
			}), nil)
		}
		places := map[string][]byte{"wire": wire.bytes(), "log": log.bytes(), "file": dev.export(t, pr), "disk of Dev": files(t, dev.space.Dir()), "disk of Prod": files(t, prod.space.Dir()), "review, promotion or audit": []byte(shown + fmt.Sprintf("%+v", dev.promotion(pr.ID)))}
		if !bytes.Contains(places["wire"], []byte("package one")) || !bytes.Contains(places["disk of Prod"], []byte("green")) {
			t.Error("the search sees nothing, so it proves nothing")
		}
		for _, secret := range []string{canary, "secret-of-the-step", values["ApiKey"]} {
			for form, bytesOf := range spacetest.Spellings(secret) {
				for place, all := range places {
					if bytes.Contains(all, bytesOf) {
						t.Errorf("%s is open in the %s (%s)", secret, place, form)
					}
				}
			}
		}
		// The envelope says everything else in base64, which is looked into as well.
		for form, bytesOf := range spacetest.Spellings(canary) {
			if strings.Contains(opened(t, prod, dev, places["file"], false), string(bytesOf)) {
				t.Errorf("open in the bundle without its key (%s)", form)
			}
		}
	}
}
