package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/execution"
)

// audience is a collector with TLS that goes down and comes back at its address.
type audience struct {
	t       *testing.T
	kind    string
	config  *tls.Config
	roots   string
	address string // host:port
	down    func()

	mu   sync.Mutex
	seen map[string]string // message of an entry by SpaceId and Id
}

func newAudience(t *testing.T, kind string) *audience {
	s := httptest.NewTLSServer(nil) // for its certificate
	defer s.Close()
	a := &audience{t: t, kind: kind, config: &tls.Config{Certificates: s.TLS.Certificates}, seen: map[string]string{}, address: "127.0.0.1:0",
		roots: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}
	a.up()
	return a
}

func (a *audience) up() {
	var l net.Listener
	var err error
	for range 100 {
		if l, err = tls.Listen("tcp", a.address, a.config); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.address = l.Addr().String()
	if a.kind == "https" {
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+streamToken {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			a.hear(r.Body)
		})}
		go s.Serve(l)
		a.down = func() { s.Close() }
		return
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					var n int
					if _, err := fmt.Fscanf(in, "%d ", &n); err != nil {
						return
					}
					b := make([]byte, n)
					if _, err := io.ReadFull(in, b); err != nil {
						return
					}
					a.hear(bytes.NewReader(b[bytes.IndexByte(b, '{'):]))
				}
			}()
		}
	}()
	a.down = func() { l.Close() }
}

func (a *audience) hear(r io.Reader) {
	in := json.NewDecoder(r)
	for {
		var line audit.Line
		if err := in.Decode(&line); err != nil {
			return
		}
		a.mu.Lock()
		a.seen[line.SpaceID+" "+line.ID] = line.Message
		a.mu.Unlock()
	}
}

func (a *audience) collector() instance.Collector {
	c := instance.Collector{Kind: a.kind, Address: a.address, Roots: a.roots, IsEnabled: true}
	if a.kind == "https" {
		c.Address, c.Token = "https://"+a.address+"/audit", streamToken
	}
	return c
}

const streamToken = "canary-of-the-collector-4711"

// missing lists what happened on the server from a time on that was not heard.
func (a *audience) missing(s *server, since time.Time) (out []string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	own, err := s.instance.Events(a.t.Context(), instance.EventFilter{From: since, Take: 1000})
	if err != nil {
		a.t.Fatal(err)
	}
	want := 0
	for _, e := range own {
		want++
		if a.seen[" "+e.APIID()] != e.Message {
			out = append(out, e.Message)
		}
	}
	all, err := s.instance.Spaces(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	for _, x := range all {
		err := s.within(a.t.Context(), refOf(x), func(space *spaces.Space) error {
			list, err := spaces.View(a.t.Context(), space, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Event, error) {
				return tx.Events(spaces.EventFilter{From: since, Take: 1000})
			})
			for _, e := range list {
				want++
				if a.seen[x.ID()+" "+e.ID.String()] != e.Message {
					out = append(out, x.ID()+" "+e.Message)
				}
			}
			return err
		})
		if err != nil {
			a.t.Fatal(err)
		}
	}
	if want == 0 {
		a.t.Fatal("nothing happened")
	}
	return out
}

func (a *audience) hearsAll(s *server, since time.Time) {
	a.t.Helper()
	for range 400 {
		if len(a.missing(s, since)) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	a.t.Fatalf("not streamed: %q", a.missing(s, since))
}

// Nothing is lost while the collector is down, nor when the server is stopped meanwhile and
// starts again; what nobody changed is not opened, and the token is nowhere to be read.
func TestAuditIsStreamed(t *testing.T) {
	for _, kind := range []string{"https", "syslog"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			a := newAudience(t, kind)
			defer func() { a.down() }()
			log := &lockedBuffer{}
			c := Config{Data: dataWith(t, 3), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute, OutboundLocal: true}
			open := func() (*server, func()) {
				t.Helper()
				s, err := openServer(ctx, c, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), new(execution.Masker))
				if err != nil {
					t.Fatal(err)
				}
				_, stop := s.start(t)
				return s, stop
			}
			change := func(s *server, space int64, name string) {
				t.Helper()
				x, err := s.instance.SpaceBy(ctx, fmt.Sprintf("Spaces-%d", space))
				if err != nil {
					t.Fatal(err)
				}
				err = s.within(ctx, refOf(x), func(sp *spaces.Space) error {
					return spaces.Do(ctx, sp, spaces.Server(), func(tx *spaces.Tx) error {
						_, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: name})
						return err
					})
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			s, stop := open()
			change(s, 1, "Before anybody listened")
			if marked, err := s.marked(ctx, spaces.MarkAudit); err != nil || len(marked) != 0 {
				t.Errorf("without a collector %v are marked, %v", marked, err)
			}
			made, err := s.instance.SetCollector(ctx, instance.System(), a.collector())
			if err != nil {
				t.Fatal(err)
			}
			for n := range 5 {
				change(s, 1, fmt.Sprintf("First %d", n))
				change(s, 2, fmt.Sprintf("Second %d", n))
			}
			a.hearsAll(s, made.Since)

			a.down()
			change(s, 1, "While it is down")
			for range 400 {
				if s.gauge.Status().Failing != "" {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			status, err := s.auditStatus(ctx)
			if err != nil || status.Failing == "" || status.Waiting != 1 || status.Sent == 0 {
				t.Errorf("with the collector down: %+v, %v", status, err)
			}
			change(s, 2, "And in another space")
			stop()
			if s, stop = open(); len(a.missing(s, made.Since)) == 0 {
				t.Fatal("a collector that is down has heard all")
			}
			change(s, 1, "After the restart")
			stop()
			a.up()
			s, stop = open()
			defer func() { stop() }()
			a.hearsAll(s, made.Since)
			for range 200 {
				if marked, err := s.marked(ctx, spaces.MarkAudit); err == nil && len(marked) == 0 {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			if marked, err := s.marked(ctx, spaces.MarkAudit); err != nil || len(marked) != 0 {
				t.Errorf("with all streamed %v are marked, %v", marked, err)
			}
			for key, message := range a.seen {
				if strings.HasPrefix(key, "Spaces-3 ") || strings.Contains(message, "Before anybody") {
					t.Errorf("it heard %s: %s", key, message)
				}
			}
			for _, name := range []string{"instance.db", "instance.db-wal"} {
				if b, err := os.ReadFile(filepath.Join(c.Data, name)); err == nil && bytes.Contains(b, []byte(streamToken)) {
					t.Errorf("the token is in %s", name)
				}
			}
			if strings.Contains(log.String(), streamToken) {
				t.Error("the token is in the log")
			}
		})
	}
}

// A collector that is down keeps no space open, and one that is up opens only spaces in
// which something happened: the files of others are no databases here.
func TestStreamingOpensNoIdleSpace(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a := newAudience(t, "https")
	defer func() { a.down() }()
	c := Config{Data: dataWith(t, 3), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute, OutboundLocal: true}
	files, err := filepath.Glob(filepath.Join(c.Data, "spaces", "*", spaces.FileName))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("this is no database"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := &lockedBuffer{}
	s, err := openServer(ctx, c, slog.New(slog.NewTextHandler(log, nil)), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.instance.Mark(ctx, 2, []string{spaces.MarkAudit}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.instance.SetCollector(ctx, instance.System(), a.collector()); err != nil {
		t.Fatal(err)
	}
	_, stop := s.start(t)
	for i := 0; i < 500 && !strings.Contains(log.String(), "stream the audit of a space"); i++ {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if text := log.String(); !strings.Contains(text, "space=Spaces-2") || strings.Contains(text, "space=Spaces-1") || strings.Contains(text, "space=Spaces-3") {
		t.Errorf("the log says\n%s", text)
	}
}
