package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

// Agent is the program on one target.
type Agent struct {
	root    string
	cfg     Config
	id      pin.Identity
	work    *execution.Workspace
	version string
	log     *slog.Logger
	ready   func(address string)
}

const (
	pingAfter   = 20 * time.Second // of silence on a connection
	pingTimeout = 10 * time.Second
	longestPoll = 30 * time.Second // between two attempts to reach the server

	keepParts = 7 * 24 * time.Hour  // unfinished transfers that nobody continued
	keepWork  = 30 * 24 * time.Hour // ended work that the server did not ask to be forgotten

	// Buffers and frames of what the server sends, in bytes: packages of gigabytes over
	// long lines.
	connBuffer, streamBuffer, frame = 16 << 20, 4 << 20, 256 << 10
)

// PollProtocol is what is agreed upon in the handshake of a polling agent (ALPN,
// RFC 7301). The server is the HTTP client on such a connection.
const PollProtocol = "octopuses-poll/1"

// Pin is the agent's thumbprint.
func (a *Agent) Pin() string { return a.id.Pin }

// Name is the target's name.
func (a *Agent) Name() string { return a.cfg.Name }

// Run serves the server until ctx ends. Work that was accepted before is begun first;
// work that runs when ctx ends runs on. The error is [errs.Busy] when another agent
// runs in the folder, [errs.Unavailable] when the port cannot be listened on.
func (a *Agent) Run(ctx context.Context) error {
	lock, err := claim(a.root)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := a.work.Resume(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() { a.sweep(ctx) })
	if a.cfg.Poll != "" {
		return a.poll(ctx)
	}
	return a.listen(ctx)
}

// sweep removes what nobody will ask for, every hour.
func (a *Agent) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if _, err := a.work.Packages().Sweep(time.Now().Add(-keepParts)); err != nil {
			a.log.Warn("sweep packages", "err", err)
		}
		if _, err := a.work.Sweep(time.Now().Add(-keepWork)); err != nil {
			a.log.Warn("sweep work", "err", err)
		}
		a.makeRoom()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *Agent) makeRoom() {
	removed, err := a.work.MakeRoom()
	if err != nil {
		a.log.Warn("make room", "err", err)
	}
	if removed > 0 {
		a.log.Info("removed package files to make room", "bytes", removed)
	}
}

func (a *Agent) listen(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Listen)
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "The agent cannot listen on %s: %v.", a.cfg.Listen, err).WithHint("Choose another port with --listen, or stop the program that uses it.")
	}
	srv := &http.Server{
		Handler: a.handler(), TLSConfig: pin.ServerConfig(a.id, func(p string) bool { return p == a.cfg.Server }),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10,
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerConnection: connBuffer, MaxReceiveBufferPerStream: streamBuffer, MaxReadFrameSize: frame, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ErrorLog:    slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }, // waiting requests are answered when we stop
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(short) != nil {
			srv.Close()
		}
	})
	a.log.Info("agent listens", "address", l.Addr().String(), "thumbprint", a.id.Pin)
	a.ready(l.Addr().String())
	err = srv.ServeTLS(l, "", "")
	if !stop() {
		<-stopped
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve agent: %w", err)
	}
	return nil
}

// poll dials the server and serves it on the connection, again and again.
func (a *Agent) poll(ctx context.Context) error {
	wait := time.Second
	for ctx.Err() == nil {
		taken, err := a.serveOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		if taken {
			wait = time.Second
		}
		a.log.Warn("no connection to the server", "server", a.cfg.Poll, "err", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)): // jitter: a thousand agents must not come back at once
		}
		wait = min(2*wait, longestPoll)
	}
	return nil
}

// serveOnce serves one connection to its end. taken tells whether the server had
// accepted it.
func (a *Agent) serveOnce(ctx context.Context) (taken bool, err error) {
	cfg := pin.ClientConfig(a.id, a.cfg.Server)
	cfg.NextProtos = []string{PollProtocol}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}, Config: cfg}
	raw, err := d.DialContext(ctx, "tcp", a.cfg.Poll)
	if err != nil {
		return false, err
	}
	conn := &polled{Conn: raw.(*tls.Conn)}
	conn.taken = func() {
		a.log.Info("agent is connected", "server", a.cfg.Poll, "thumbprint", a.id.Pin)
		a.ready(a.cfg.Poll)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// The server is the HTTP client on this connection; it pings, and so do we.
	//lint:ignore SA1019 net/http has no way yet to serve HTTP/2 on a connection that this side dialled
	srv := &http2.Server{ReadIdleTimeout: pingAfter, PingTimeout: pingTimeout, MaxUploadBufferPerConnection: connBuffer, MaxUploadBufferPerStream: streamBuffer, MaxReadFrameSize: frame}
	//lint:ignore SA1019 see above
	srv.ServeConn(conn, &http2.ServeConnOpts{Context: ctx, Handler: a.handler(), BaseConfig: &http.Server{ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}})
	return conn.result()
}

// polled is a connection that notices what becomes of it. In TLS 1.3 the client's
// handshake is over before the server has looked at its key: only the first byte from
// the server tells that it took us, and only the first read that it did not.
type polled struct {
	*tls.Conn
	taken func()

	mu    sync.Mutex
	began bool
	err   error // of the first failed read
}

func (c *polled) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	first := n > 0 && !c.began
	c.began = c.began || n > 0
	if err != nil && c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	if first {
		c.taken()
	}
	return n, err
}

func (c *polled) result() (taken bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err == nil:
		return c.began, errors.New("the connection was closed")
	case !c.began && strings.Contains(c.err.Error(), "bad certificate"):
		// crypto/tls has no type for an alert of the other end.
		return false, errs.New(errs.Denied, "The server does not know this agent's key.").WithHint("The target was removed there, or has another thumbprint. Register it again.")
	}
	return c.began, c.err
}
