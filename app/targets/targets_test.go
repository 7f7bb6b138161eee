package targets_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/app/targets/targettest"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

func TestMain(m *testing.M) {
	if execution.MaybeShim(os.Args) {
		return
	}
	if root := os.Getenv(agentProcess); root != "" {
		beAgent(root)
		return
	}
	os.Exit(m.Run())
}

var quiet = slog.New(slog.DiscardHandler)

// register registers an agent in a fresh folder with a stand-in for the server's door.
func register(t testing.TB, server pin.Identity, listen, poll string) (root string, reg agent.Registration) {
	t.Helper()
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(&reg)
		json.NewEncoder(w).Encode(agent.Registered{MachineID: "Machines-1"})
	}))
	defer door.Close()
	root = filepath.Join(t.TempDir(), "agent")
	token := agent.Token{URL: door.URL, Secret: "s", Server: server.Pin, Poll: poll, Space: "Spaces-1"}
	if _, err := agent.Register(context.Background(), agent.RegisterOptions{Root: root, Token: token.String(), Name: "t", Listen: listen}); err != nil {
		t.Fatal(err)
	}
	return root, reg
}

func run(t testing.TB, root string) (address string) {
	t.Helper()
	ready := make(chan string, 8)
	a, err := agent.Open(agent.Options{Root: root, Version: "test", Logger: quiet, Ready: func(addr string) { ready <- addr }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case address = <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("the agent is not ready")
	}
	return address
}

func TestListening(t *testing.T) {
	server, _ := pin.New()
	root, reg := register(t, server, "127.0.0.1:0", "")
	address := run(t, root)
	d := targets.NewDirectory(server, nil)
	tr, err := d.Transport(targets.Machine{Style: "TentaclePassive", URI: "https://" + address + "/", Thumbprint: reg.Thumbprint})
	if err != nil {
		t.Fatal(err)
	}
	targettest.Run(t, tr)

	stranger, _ := pin.New()
	tr, _ = targets.NewDirectory(stranger, nil).Transport(targets.Machine{Style: "TentaclePassive", URI: "https://" + address + "/", Thumbprint: reg.Thumbprint})
	if _, err := tr.Hello(context.Background()); !errors.Is(err, errs.Unavailable) {
		t.Errorf("a stranger was served: %v", err)
	}
	tr, _ = d.Transport(targets.Machine{Style: "TentaclePassive", URI: "https://" + address + "/", Thumbprint: strings.Repeat("0", 64)})
	if _, err := tr.Hello(context.Background()); !errors.Is(err, pin.ErrPin) {
		t.Errorf("another agent was trusted: %v", err)
	}
}

func TestPolling(t *testing.T) {
	server, _ := pin.New()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	root, reg := register(t, server, "", l.Addr().String())
	came := make(chan bool, 8)
	hub := targets.NewHub(server, func(p string) bool { return p == reg.Thumbprint }, func(_ string, connected bool) { came <- connected }, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go hub.Serve(ctx, l)
	d := targets.NewDirectory(server, hub)
	m := targets.Machine{Style: "TentacleActive", Thumbprint: reg.Thumbprint}
	if _, err := d.Transport(m); !errors.Is(err, errs.Unavailable) {
		t.Errorf("before it connected: %v", err)
	}
	run(t, root)
	<-came
	tr, err := d.Transport(m)
	if err != nil {
		t.Fatal(err)
	}
	targettest.Run(t, tr)
}

func TestLocal(t *testing.T) {
	w, err := execution.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.Version = "test"
	targettest.Run(t, targets.Local{Work: w})
}

func TestHubRefusesAndDrops(t *testing.T) {
	server, _ := pin.New()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	root, reg := register(t, server, "", l.Addr().String())
	hub := targets.NewHub(server, func(string) bool { return false }, nil, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- hub.Serve(ctx, l) }()

	var log syncBuffer
	a, err := agent.Open(agent.Options{Root: root, Version: "test", Logger: slog.New(slog.NewTextHandler(&log, nil)), Ready: func(string) { t.Error("a refused agent says that it is connected") }})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	for range 500 {
		if strings.Contains(log.String(), "does not know this agent's key") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(log.String(), "does not know this agent's key") {
		t.Errorf("the agent does not say why: %s", log.String())
	}
	if _, err := hub.Transport(reg.Thumbprint); !errors.Is(err, errs.Unavailable) {
		t.Errorf("a refused agent is reached: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the hub does not stop")
	}
}

func TestTwoAgentsInOneFolder(t *testing.T) {
	server, _ := pin.New()
	root, _ := register(t, server, "127.0.0.1:0", "")
	run(t, root)
	second, err := agent.Open(agent.Options{Root: root, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(context.Background()); !errors.Is(err, errs.Busy) {
		t.Errorf("%v", err)
	}
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
