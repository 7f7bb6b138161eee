package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/execution"
)

const (
	sitePassword = "correct horse battery"
	siteKey      = "API-SITESITESITESITESITESITE1"
)

// site is a whole server in this process, with an administrator called ada who manages
// the space "shop". It can be stopped and started again.
type site struct {
	t       testing.TB
	config  Config
	url     string
	server  *server
	about   instance.Space
	stopped func()
	log     *slog.Logger
}

// testLog shows what a server logs in a test that fails.
type testLog struct {
	mu   sync.Mutex
	said bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

func newSite(t testing.TB) *site {
	t.Helper()
	settings := newSettings()
	config, err := settings.load(func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	config.Data, config.Listen, config.Agents, config.Zones = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", "off", "off"
	config.AdminUsername, config.AdminPassword, config.AdminAPIKey = "ada", sitePassword, siteKey
	said := new(testLog)
	s := &site{t: t, config: config, log: slog.New(slog.NewTextHandler(said, nil))}
	s.start()
	t.Cleanup(func() {
		if s.stop(); t.Failed() {
			t.Log(said.said.String())
		}
	})
	ctx := context.Background()
	people, err := s.server.instance.Users(ctx)
	if err != nil || len(people) != 1 {
		t.Fatalf("people: %v, %v", people, err)
	}
	s.about, err = s.server.instance.CreateSpace(ctx, instance.System(), instance.SpaceInput{Name: "Shop", Managers: []int64{people[0].ID}}, func(name, slug string) (string, error) { return s.server.spaces.Create(ctx, name, slug) })
	if err != nil {
		t.Fatal(err)
	}
	s.within(func(space *spaces.Space) error { return spaces.Initialise(ctx, space) })
	return s
}

// start serves; a second time at the address of the first.
func (s *site) start() {
	s.t.Helper()
	server, err := openServer(context.Background(), s.config, s.log, new(execution.Masker))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := server.run(ctx, Stdio{In: strings.NewReader(""), Out: out, Err: io.Discard})
		_ = out.Close()
		ended <- err
	}()
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if found := serving.FindStringSubmatch(lines.Text()); found != nil {
			s.url = found[1]
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	s.server = server
	s.stopped = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the server ended with %v", err)
		}
		if err := server.close(); err != nil {
			s.t.Errorf("the server closed with %v", err)
		}
	}
	if s.url == "" {
		s.stop()
		s.t.Fatal("the server does not serve")
	}
	s.config.Listen = strings.TrimPrefix(s.url, "http://")
}

func (s *site) stop() {
	if s.stopped != nil {
		s.stopped()
		s.stopped = nil
	}
}

func (s *site) within(f func(*spaces.Space) error) {
	s.t.Helper()
	if err := s.server.within(context.Background(), refOf(s.about), f); err != nil {
		s.t.Fatal(err)
	}
}

// fill changes the space as the server itself.
func (s *site) fill(f func(tx *spaces.Tx) error) {
	s.t.Helper()
	s.within(func(space *spaces.Space) error { return spaces.Do(context.Background(), space, spaces.Server(), f) })
}

// agent runs a listening agent and registers it as a target of an environment.
func (s *site) agent(name string, in spaces.EnvironmentID) {
	s.t.Helper()
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(agent.Registered{})
	}))
	defer door.Close()
	root := filepath.Join(s.t.TempDir(), name)
	token := agent.Token{URL: door.URL, Secret: "s", Server: s.server.identity.Pin}
	if _, err := agent.Register(context.Background(), agent.RegisterOptions{Root: root, Token: token.String(), Name: name, Listen: "127.0.0.1:0"}); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan string, 1)
	a, err := agent.Open(agent.Options{Root: root, Version: "test", Logger: slog.New(slog.DiscardHandler), Ready: func(at string) { ready <- at }})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	s.t.Cleanup(func() { cancel(); <-done })
	at := <-ready
	s.fill(func(tx *spaces.Tx) error {
		_, err := tx.CreateTarget(spaces.TargetInput{Name: name, Style: spaces.StyleListening, URI: "https://" + at + "/", Thumbprint: a.Pin(), Environments: []spaces.EnvironmentID{in}, Tags: []string{"web"}})
		return err
	})
}

// A form with files is refused for who sends it after a few megabytes: nobody fills
// memory or disk who may not, however long the form says it is.
func TestUploadIsRefusedUnread(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, path := range []string{"/api/Spaces-1/packages/raw", "/spaces/shop/packages", "/signin", "/nowhere"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		begin := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"web.1.0.0.zip\"\r\n\r\n" + strings.Repeat("x", 6<<20)
		// What the server does not read may come back as a broken pipe.
		go io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000000\r\n\r\n"+begin)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: no answer while the form goes on: %v", path, err)
		} else if res.StatusCode < 300 || res.StatusCode >= 500 {
			t.Errorf("%s answers %d", path, res.StatusCode)
		}
		conn.Close()
	}
}
