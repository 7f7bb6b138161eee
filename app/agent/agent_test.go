package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

func TestMain(m *testing.M) {
	if execution.MaybeShim(os.Args) {
		return
	}
	os.Exit(m.Run())
}

const workID = "01KB00000000000000000000AA"

// start runs a listening agent of a server and returns its address and pin.
func start(t *testing.T, server pin.Identity) (base, thumbprint, root string) {
	t.Helper()
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"MachineId":"Machines-1"}`) }))
	defer door.Close()
	root = filepath.Join(t.TempDir(), "agent")
	token := agent.Token{URL: door.URL, Secret: "s", Server: server.Pin}
	if _, err := agent.Register(context.Background(), agent.RegisterOptions{Root: root, Token: token.String(), Name: "t", Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	a, err := agent.Open(agent.Options{Root: root, Version: "test", Logger: slog.New(slog.DiscardHandler), Ready: func(s string) { ready <- s }})
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
	return "https://" + <-ready, a.Pin(), root
}

func client(id pin.Identity, pins ...string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: pin.ClientConfig(id, pins...), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
}

// watched tells whether it was read.
type watched struct {
	io.Reader
	read bool
}

func (w *watched) Read(p []byte) (int, error) {
	w.read = true
	return w.Reader.Read(p)
}

func TestOnlyTheServerIsServed(t *testing.T) {
	server, _ := pin.New()
	stranger, _ := pin.New()
	base, thumbprint, root := start(t, server)
	spec := `{"format":1,"id":"` + workID + `","task":"","kind":"health","files":{}}`
	for name, c := range map[string]*http.Client{"a stranger": client(stranger, thumbprint), "nobody": client(pin.Identity{}, thumbprint)} {
		if name == "nobody" {
			c.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
		}
		req, _ := http.NewRequest(http.MethodPut, base+"/agent/v1/executions/"+workID, strings.NewReader(spec))
		if res, err := c.Do(req); err == nil {
			t.Errorf("%s got status %d", name, res.StatusCode)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(root, "work", "*")); len(names) > 0 {
		t.Errorf("a stranger's work was accepted: %v", names)
	}
	// The server, where another agent answers than it expects, says nothing at all.
	body := &watched{Reader: strings.NewReader(spec)}
	req, _ := http.NewRequest(http.MethodPut, base+"/agent/v1/executions/"+workID, body)
	if _, err := client(server, stranger.Pin).Do(req); !errors.Is(err, pin.ErrPin) || body.read {
		t.Errorf("%v; the work was sent: %v", err, body.read)
	}
	req, _ = http.NewRequest(http.MethodPut, base+"/agent/v1/executions/"+workID, strings.NewReader(spec))
	if res, err := client(server, thumbprint).Do(req); err != nil || res.StatusCode != 200 {
		t.Errorf("the server itself: %v, %v", res, err)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	server, _ := pin.New()
	base, thumbprint, _ := start(t, server)
	c := client(server, thumbprint)
	work, blob := "/agent/v1/executions/"+workID, "/agent/v1/packages/"+strings.Repeat("a", 64)
	tests := []struct {
		name, method, path, body string
		header                   http.Header
		status                   int
		says                     string
	}{
		{"a field of the future", "PUT", work, `{"format":1,"id":"` + workID + `","kind":"health","files":{},"sudo":true}`, nil, 400, "not understood"},
		{"a format of the future", "PUT", work, `{"format":2,"id":"` + workID + `","kind":"health","files":{}}`, nil, 400, "format 1, not 2"},
		{"another id", "PUT", work, `{"format":1,"id":"01KB00000000000000000000BB","kind":"health","files":{}}`, nil, 400, "not that of the path"},
		{"too large", "PUT", work, strings.Repeat(" ", 16<<20+1), nil, 413, "larger than 16 MB"},
		{"no JSON", "PUT", work, "hello", nil, 400, "not understood"},
		{"a path", "GET", "/agent/v1/executions/..%2F..%2Fagent.key", "", nil, 400, "no id"},
		{"no number", "GET", work + "?offset=-1", "", nil, 400, "offset"},
		{"no offset", "PATCH", blob, "x", http.Header{"Upload-Length": {"1"}}, 400, "Upload-Offset"},
		{"a digest that is a path", "PATCH", "/agent/v1/packages/..%2Fx", "x", http.Header{"Upload-Offset": {"0"}, "Upload-Length": {"1"}}, 400, "digest"},
		{"a gap", "PATCH", blob, "x", http.Header{"Upload-Offset": {"5"}, "Upload-Length": {"9"}}, 409, "0 bytes are here"},
		{"more than said", "PATCH", blob, "xyz", http.Header{"Upload-Offset": {"0"}, "Upload-Length": {"1"}}, 413, "More than"},
		{"other bytes", "PATCH", blob, "xyz", http.Header{"Upload-Offset": {"0"}, "Upload-Length": {"3"}}, 400, "hash to"},
		{"nothing there", "POST", work + "/cancel", "", nil, 404, ""},
		{"no such page", "GET", "/", "", nil, 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, base+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range tt.header {
				req.Header[k] = v
			}
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, _ := io.ReadAll(res.Body)
			if res.StatusCode != tt.status || !strings.Contains(string(b), tt.says) {
				t.Errorf("%d %s", res.StatusCode, b)
			}
		})
	}
}

// A transfer that broke off goes on from where it was.
func TestPutGoesOnAfterACut(t *testing.T) {
	server, _ := pin.New()
	base, thumbprint, _ := start(t, server)
	c := &agent.Client{HTTP: client(server, thumbprint), Base: base}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	cut := errors.New("cut")
	half := struct {
		io.Reader
		io.Seeker
	}{io.MultiReader(bytes.NewReader(content[:len(content)/2]), failing{cut}), bytes.NewReader(content)}
	if _, err := c.Put(context.Background(), digest, int64(len(content)), half); err == nil {
		t.Fatal("half a file was enough")
	}
	var s agent.PackageState
	for range 200 { // the agent notices the cut a moment later
		var err error
		if s, err = c.Has(context.Background(), digest); err != nil {
			t.Fatal(err)
		}
		if s.Partial > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if s.Have || s.Partial == 0 || s.Partial > int64(len(content)/2) {
		t.Fatalf("%+v", s)
	}
	var sent int64
	var err error
	for range 200 { // Busy until the first transfer has let go of the file
		if sent, err = c.Put(context.Background(), digest, int64(len(content)), bytes.NewReader(content)); !errors.Is(err, errs.Busy) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil || sent == 0 || sent >= int64(len(content)) {
		t.Errorf("sent %d of %d, %v", sent, len(content), err)
	}
	if s, err := c.Has(context.Background(), digest); err != nil || !s.Have {
		t.Errorf("%+v, %v", s, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// An answer that was cut off must not look like a refusal: the work may run.
func TestCutAnswerIsUnavailable(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"id":"`)
	}))
	defer srv.Close()
	c := &agent.Client{HTTP: srv.Client(), Base: srv.URL}
	if _, err := c.Start(context.Background(), execution.Spec{ID: workID}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestRegister(t *testing.T) {
	asked := 0
	door := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		var reg agent.Registration
		if err := json.NewDecoder(r.Body).Decode(&reg); err != nil || reg.Secret != "used-once" || r.URL.Path != "/api/agents/register" {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"ErrorMessage":"There was a problem.","Errors":["The token was used already."]}`)
			return
		}
		json.NewEncoder(w).Encode(agent.Registered{MachineID: "Machines-7", Name: "named-by-the-server", Space: "Default"})
	}))
	defer door.Close()
	server, _ := pin.New()
	good := agent.Token{URL: door.URL, Pin: pin.Of(door.Certificate()), Secret: "used-once", Server: server.Pin, Poll: "127.0.0.1:1"}
	change := func(f func(*agent.Token)) string {
		t := good
		f(&t)
		return t.String()
	}
	tests := []struct {
		name, token string
		kind        error
		asks        int
	}{
		{"no token", "hello", errs.Invalid, 0},
		{"half a token", good.String()[:40], errs.Invalid, 0},
		{"another server", change(func(t *agent.Token) { t.Pin = strings.Repeat("0", 64) }), errs.Unavailable, 0},
		{"unknown authority", change(func(t *agent.Token) { t.Pin = "" }), errs.Unavailable, 0},
		{"no TLS", change(func(t *agent.Token) { t.URL = "http://octopuses.example" }), errs.Blocked, 0},
		{"no polling", change(func(t *agent.Token) { t.Poll = "" }), errs.Blocked, 0},
		{"refused", change(func(t *agent.Token) { t.Secret = "used" }), errs.Invalid, 1},
		{"good", "  " + good.String() + "\n", nil, 1},
	}
	root := filepath.Join(t.TempDir(), "agent")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked = 0
			out, err := agent.Register(context.Background(), agent.RegisterOptions{Root: root, Token: tt.token, Name: "mine"})
			if tt.kind == nil && err != nil || tt.kind != nil && !errors.Is(err, tt.kind) || asked != tt.asks {
				t.Errorf("%v, the server was asked %d times", err, asked)
			}
			_, serr := os.Stat(filepath.Join(root, "agent.json"))
			if (serr == nil) != (err == nil) {
				t.Errorf("agent.json: %v", serr)
			}
			if err == nil && out.MachineID != "Machines-7" {
				t.Errorf("%+v", out)
			}
		})
	}
	for _, name := range []string{"agent.json", "agent.key"} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := agent.Register(context.Background(), agent.RegisterOptions{Root: root, Token: good.String()}); !errors.Is(err, errs.Exists) {
		t.Errorf("twice: %v", err)
	}
	if a, err := agent.Open(agent.Options{Root: root}); err != nil || a.Name() != "named-by-the-server" {
		t.Errorf("%v", err)
	}
	if _, err := agent.Open(agent.Options{Root: t.TempDir()}); !errors.Is(err, errs.NotFound) {
		t.Errorf("an empty folder: %v", err)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(agent.Token{URL: "https://x", Secret: "s", Server: strings.Repeat("a", 64)}.String())
	f.Add("octopuses-agent:e30")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := agent.ParseToken(text)
		if err != nil {
			return
		}
		if again, err := agent.ParseToken(tok.String()); err != nil || again != tok {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
