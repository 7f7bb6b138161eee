package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http2"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

// Agent is the program on one target.
type Agent struct {
	cfg     Config
	id      pin.Identity
	work    *execution.Workspace
	version string
	log     *slog.Logger
	ready   func(address string)
}

// Config is what stands in agent.json in the agent's folder.
type Config struct {
	Name   string `json:"name"`
	Server string `json:"server"`           // pin of the server's machine key
	Listen string `json:"listen,omitempty"` // host:port of a listening agent
	Poll   string `json:"poll,omitempty"`   // host:port that a polling agent dials
}

// Options are the surroundings of an agent.
type Options struct {
	Root    string // folder of configuration, key and work
	Version string
	Logger  *slog.Logger
	Ready   func(address string) // called when a listening agent listens, or a polling one is connected
}

// Open reads the configuration that [Register] wrote.
func Open(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	b, err := os.ReadFile(filepath.Join(o.Root, "agent.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "There is no agent in %s.", o.Root).WithHint("Register one first: octopuses agent register TOKEN --root %s", o.Root)
	}
	if err != nil {
		return nil, fmt.Errorf("open agent: %w", err)
	}
	a := &Agent{version: o.Version, log: o.Logger, ready: o.Ready}
	if err := json.Unmarshal(b, &a.cfg); err != nil {
		return nil, fmt.Errorf("read agent.json: %w", err)
	}
	if a.id, err = loadIdentity(o.Root, false); err != nil {
		return nil, err
	}
	if a.work, err = execution.Open(o.Root); err != nil {
		return nil, err
	}
	return a, nil
}

func loadIdentity(root string, create bool) (pin.Identity, error) {
	path := filepath.Join(root, "agent.key")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		id, err := pin.New()
		if err != nil {
			return id, err
		}
		text, err := id.Marshal()
		if err != nil {
			return id, err
		}
		return id, os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return pin.Identity{}, fmt.Errorf("read key of agent: %w", err)
	}
	return pin.Parse(b)
}

// Pin is the agent's thumbprint.
func (a *Agent) Pin() string { return a.id.Pin }

// Name is the target's name.
func (a *Agent) Name() string { return a.cfg.Name }

// Run serves the server until ctx ends. Work that was accepted before is begun first.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.work.Resume(); err != nil {
		return err
	}
	go a.sweep(ctx)
	if a.cfg.Poll != "" {
		return a.poll(ctx)
	}
	return a.listen(ctx)
}

// sweep removes unfinished transfers that nobody continued for a week.
func (a *Agent) sweep(ctx context.Context) {
	for {
		if _, err := a.work.Packages().Sweep(time.Now().Add(-7 * 24 * time.Hour)); err != nil {
			a.log.Warn("sweep packages", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Hour):
		}
	}
}

func (a *Agent) listen(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Listen)
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "The agent cannot listen on %s: %v.", a.cfg.Listen, err).WithHint("Choose another port with --listen, or stop the program that uses it.")
	}
	srv := &http.Server{Handler: a.handler(), TLSConfig: pin.ServerConfig(a.id, func(p string) bool { return p == a.cfg.Server }),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug), MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(short) != nil {
			srv.Close()
		}
	})
	defer stop()
	a.log.Info("agent listens", "address", l.Addr().String(), "thumbprint", a.id.Pin)
	if a.ready != nil {
		a.ready(l.Addr().String())
	}
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// poll dials the server and serves it on the connection, again and again.
func (a *Agent) poll(ctx context.Context) error {
	wait := time.Second
	for ctx.Err() == nil {
		began := time.Now()
		err := a.serveOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > time.Minute {
			wait = time.Second
		}
		a.log.Warn("connection to the server ended", "server", a.cfg.Poll, "err", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)): // jitter: a thousand agents must not come back at once
		}
		wait = min(2*wait, 30*time.Second)
	}
	return nil
}

func (a *Agent) serveOnce(ctx context.Context) error {
	cfg := pin.ClientConfig(a.id, a.cfg.Server)
	cfg.NextProtos = []string{"octopuses-poll/1"}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}, Config: cfg}
	conn, err := d.DialContext(ctx, "tcp", a.cfg.Poll)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a.log.Info("agent is connected", "server", a.cfg.Poll, "thumbprint", a.id.Pin)
	if a.ready != nil {
		a.ready(a.cfg.Poll)
	}
	// The server is the HTTP client on this connection; it pings, and so do we.
	//lint:ignore SA1019 net/http has no way yet to serve HTTP/2 on a connection that this side dialled
	(&http2.Server{ReadIdleTimeout: 20 * time.Second, PingTimeout: 10 * time.Second}).ServeConn(conn, &http2.ServeConnOpts{Context: ctx, Handler: a.handler()})
	return errors.New("the connection was closed")
}

func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathHello, func(w http.ResponseWriter, r *http.Request) { answer(w, a.hello(), nil) })
	mux.HandleFunc("GET "+pathPackages+"{digest}", a.getPackage)
	mux.HandleFunc("PATCH "+pathPackages+"{digest}", a.patchPackage)
	mux.HandleFunc("PUT "+pathWork+"{id}", a.putWork)
	mux.HandleFunc("GET "+pathWork+"{id}", a.getWork)
	mux.HandleFunc("POST "+pathWork+"{id}/cancel", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, a.work.Cancel(r.PathValue("id")))
	})
	mux.HandleFunc("DELETE "+pathWork+"{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, a.work.Forget(r.PathValue("id")))
	})
	return mux
}

func (a *Agent) hello() Hello {
	h := Hello{Version: a.version, OperatingSystem: runtime.GOOS + "/" + runtime.GOARCH, Formats: []int{execution.Format}}
	h.Hostname, _ = os.Hostname()
	_, err := exec.LookPath("bash")
	h.Bash = err == nil
	var disk syscall.Statfs_t
	if syscall.Statfs(a.work.Packages().Path(strings.Repeat("0", 64))[:1], &disk) == nil {
		h.DiskFree = int64(disk.Bavail) * int64(disk.Bsize)
	}
	return h
}

// answer sends a value, or the refusal that an error is.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := map[errs.Kind]int{errs.Invalid: 400, errs.NotFound: 404, errs.Stale: 409, errs.TooLarge: 413, errs.Busy: 429, errs.Unavailable: 503, errs.Blocked: 409}[errs.KindOf(err)]
		text := errs.TextOf(err)
		if status == 0 {
			status, text = 500, err.Error() // the server is the only reader, and it is trusted
		}
		w.WriteHeader(status)
		v = Problem{string(errs.KindOf(err)), text}
	}
	json.NewEncoder(w).Encode(v)
}

func (a *Agent) getPackage(w http.ResponseWriter, r *http.Request) {
	d := r.PathValue("digest")
	answer(w, PackageState{a.work.Packages().Has(d), a.work.Packages().Partial(d)}, nil)
}

// patchPackage appends to a package file: Upload-Offset says where, Upload-Length how
// long the whole is.
func (a *Agent) patchPackage(w http.ResponseWriter, r *http.Request) {
	var offset, size int64
	if _, err := fmt.Sscan(r.Header.Get("Upload-Offset"), &offset); err != nil || offset < 0 {
		answer(w, nil, errs.New(errs.Invalid, "Upload-Offset is missing."))
		return
	}
	if _, err := fmt.Sscan(r.Header.Get("Upload-Length"), &size); err != nil || size < 0 {
		answer(w, nil, errs.New(errs.Invalid, "Upload-Length is missing."))
		return
	}
	digest, store := r.PathValue("digest"), a.work.Packages()
	if store.Has(digest) {
		answer(w, PackageState{Have: true}, nil)
		return
	}
	total, err := store.Append(r.Context(), digest, offset, size, r.Body)
	if err == nil && total == size {
		err = store.Finish(r.Context(), digest, size)
	}
	answer(w, PackageState{Have: err == nil && total == size, Partial: total}, err)
}

// maxSpec is the largest spec that is read, in bytes.
const maxSpec = 16 << 20

func (a *Agent) putWork(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxSpec+1))
	if err != nil || len(b) > maxSpec {
		answer(w, nil, errs.New(errs.TooLarge, "The work is larger than %d MB.", maxSpec>>20))
		return
	}
	var spec execution.Spec
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields() // what is not understood must not be half done
	if err := dec.Decode(&spec); err != nil {
		answer(w, nil, errs.New(errs.Invalid, "The work is not understood: %v.", err).WithHint("Upgrade the agent to the version of the server."))
		return
	}
	if spec.ID != r.PathValue("id") {
		answer(w, nil, errs.New(errs.Invalid, "The id of the work is not that of the path."))
		return
	}
	st, err := a.work.Start(spec)
	answer(w, st, err)
}

func (a *Agent) getWork(w http.ResponseWriter, r *http.Request) {
	var offset, wait int64
	fmt.Sscan(r.URL.Query().Get("offset"), &offset)
	fmt.Sscan(r.URL.Query().Get("wait"), &wait)
	u, err := a.work.Watch(r.Context(), r.PathValue("id"), max(offset, 0), time.Duration(min(max(wait, 0), 30_000))*time.Millisecond)
	answer(w, u, err)
}

// RegisterOptions say how an agent is registered.
type RegisterOptions struct {
	Root    string
	Token   string
	Name    string // "": the host's name
	Listen  string // host:port to listen on; "" makes a polling agent
	Address string // host:port under which the server reaches a listening agent; "": the host's name and the port
	Version string
}

// Register makes the agent's key, tells the server of it and writes agent.json.
// Registering a folder that has an agent already is refused.
func Register(ctx context.Context, o RegisterOptions) (Registered, error) {
	t, err := ParseToken(o.Token)
	if err != nil {
		return Registered{}, err
	}
	if _, err := os.Stat(filepath.Join(o.Root, "agent.json")); err == nil {
		return Registered{}, errs.New(errs.Exists, "There is already an agent in %s.", o.Root).WithHint("Use another folder with --root, or remove this one.")
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return Registered{}, fmt.Errorf("register agent: %w", err)
	}
	id, err := loadIdentity(o.Root, true)
	if err != nil {
		return Registered{}, err
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	reg := Registration{Secret: t.Secret, Name: o.Name, Thumbprint: id.Pin, Mode: "polling", Version: o.Version, OperatingSystem: runtime.GOOS + "/" + runtime.GOARCH}
	cfg := Config{Name: o.Name, Server: t.Server}
	if o.Listen != "" {
		_, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return Registered{}, errs.New(errs.Invalid, "'%s' is no address to listen on; write :10933 or host:port.", o.Listen)
		}
		if o.Address == "" {
			host, _ := os.Hostname()
			o.Address = net.JoinHostPort(host, port)
		}
		reg.Mode, reg.Address, cfg.Listen = "listening", "https://"+o.Address+"/", o.Listen
	} else {
		if t.Poll == "" {
			return Registered{}, errs.New(errs.Blocked, "This server takes no polling agents.").WithHint("Register a listening agent with --listen :10933.")
		}
		cfg.Poll = t.Poll
	}
	out, err := post(ctx, t, reg)
	if err != nil {
		return out, err
	}
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return out, err
	}
	return out, os.WriteFile(filepath.Join(o.Root, "agent.json"), append(b, '\n'), 0o600)
}

func post(ctx context.Context, t Token, reg Registration) (Registered, error) {
	var out Registered
	u, err := url.Parse(t.URL)
	if err != nil {
		return out, errs.New(errs.Invalid, "The token names no address.")
	}
	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	switch {
	case u.Scheme == "https" && t.Pin != "":
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			if pin.PeerPin(s) != t.Pin {
				return pin.ErrPin
			}
			return nil
		}}}
	case u.Scheme == "https":
		roots, err := x509.SystemCertPool()
		if err != nil {
			return out, err
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	case u.Scheme == "http" && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()):
	default:
		return out, errs.New(errs.Blocked, "The server at %s has no TLS.", t.URL).WithHint("The secret of the token would be readable on the network. Start the server with TLS.")
	}
	body, err := json.Marshal(reg)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(t.URL, "/")+"/api/agents/register", bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return out, errs.Wrap(errs.Unavailable, err, "The server at %s cannot be reached: %v.", t.URL, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return out, err
	}
	if res.StatusCode >= 300 {
		var e struct {
			ErrorMessage string
			Errors       []string
		}
		if json.Unmarshal(b, &e) == nil && (e.ErrorMessage != "" || len(e.Errors) > 0) {
			return out, errs.New(errs.Invalid, "The server refused: %s", strings.Join(append(e.Errors, e.ErrorMessage), " "))
		}
		return out, errs.New(errs.Unavailable, "The server answered with status %d.", res.StatusCode)
	}
	return out, json.Unmarshal(b, &out)
}
