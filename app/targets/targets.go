// Package targets is how work reaches a machine. One [Transport], several ways: a
// listening agent is dialled, a polling agent has dialled the [Hub]. Whatever implements
// Transport passes the suite in targettest.
package targets

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

// Transport reaches one machine. Every call may be repeated: putting a package that is
// there, starting work that was started and cancelling work that has ended change
// nothing. Errors are [errs.Unavailable] when the machine cannot be reached now.
type Transport interface {
	Hello(ctx context.Context) (agent.Hello, error)
	Put(ctx context.Context, digest string, size int64, file io.ReadSeeker) (sent int64, err error)
	Start(ctx context.Context, spec execution.Spec) (execution.Status, error)
	Watch(ctx context.Context, id string, offset int64, wait time.Duration) (execution.Update, error)
	Cancel(ctx context.Context, id string) error
	Forget(ctx context.Context, id string) error
}

// Machine is where a target is: the fields of its row.
type Machine struct {
	Style      string // TentaclePassive, TentacleActive
	URI        string
	Thumbprint string
}

// Directory gives transports, and keeps connections between calls. It is safe for
// concurrent use.
type Directory struct {
	id  pin.Identity
	hub *Hub

	mu      sync.Mutex
	dialled map[Machine]*agent.Client
}

// NewDirectory makes a directory for a server's machine key.
func NewDirectory(id pin.Identity, hub *Hub) *Directory {
	return &Directory{id: id, hub: hub, dialled: map[Machine]*agent.Client{}}
}

// Transport gives the way to a machine. The error is [errs.Unavailable] for a polling
// agent that is not connected.
func (d *Directory) Transport(m Machine) (Transport, error) {
	switch m.Style {
	case "TentaclePassive":
		return d.listening(m)
	case "TentacleActive":
		return d.hub.Transport(m.Thumbprint)
	}
	return nil, errs.New(errs.Invalid, "Targets of style '%s' cannot be reached by this version.", m.Style)
}

func (d *Directory) listening(m Machine) (Transport, error) {
	u, err := url.Parse(m.URI)
	if err != nil || u.Scheme != "https" {
		return nil, errs.New(errs.Invalid, "'%s' is no address of a listening agent.", m.URI)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.dialled[m]; ok {
		return c, nil
	}
	t := &http.Transport{TLSClientConfig: pin.ClientConfig(d.id, m.Thumbprint), ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 5 * time.Minute,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext, DisableCompression: true, Proxy: nil}
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 10 * time.Second}
	c := &agent.Client{HTTP: &http.Client{Transport: t}, Base: "https://" + u.Host}
	d.dialled[m] = c
	return c, nil
}

// Hub is where polling agents connect. It is safe for concurrent use.
type Hub struct {
	id      pin.Identity
	allowed func(pin string) bool
	log     *slog.Logger
	changed func(pin string, connected bool)

	mu    sync.Mutex
	conns map[string]*polled
}

type polled struct {
	//lint:ignore SA1019 it is what speaks HTTP/2 as a client on a connection that the other side dialled
	conn   *http2.ClientConn
	client *agent.Client
}

// NewHub makes a hub. allowed is asked at each handshake whether a pin is that of a
// registered agent; changed, if not nil, is told who came and went.
func NewHub(id pin.Identity, allowed func(pin string) bool, changed func(pin string, connected bool), log *slog.Logger) *Hub {
	if changed == nil {
		changed = func(string, bool) {}
	}
	return &Hub{id: id, allowed: allowed, changed: changed, log: log, conns: map[string]*polled{}}
}

// Serve accepts agents until ctx ends or the listener fails.
func (h *Hub) Serve(ctx context.Context, l net.Listener) error {
	cfg := pin.ServerConfig(h.id, h.allowed)
	cfg.NextProtos = []string{"octopuses-poll/1"}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go h.take(ctx, tls.Server(conn, cfg))
	}
}

func (h *Hub) take(ctx context.Context, conn *tls.Conn) {
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	err := conn.HandshakeContext(short)
	cancel()
	if err != nil {
		h.log.Debug("agent refused", "address", conn.RemoteAddr().String(), "err", err)
		conn.Close()
		return
	}
	p := pin.PeerPin(conn.ConnectionState())
	//lint:ignore SA1019 see polled
	t := &http2.Transport{ReadIdleTimeout: 20 * time.Second, PingTimeout: 10 * time.Second, DisableCompression: true}
	//lint:ignore SA1019 see polled
	cc, err := t.NewClientConn(conn)
	if err != nil {
		h.log.Warn("agent refused", "thumbprint", p, "err", err)
		conn.Close()
		return
	}
	me := &polled{cc, &agent.Client{HTTP: &http.Client{Transport: cc}, Base: "https://agent"}}
	h.mu.Lock()
	old := h.conns[p]
	h.conns[p] = me
	h.mu.Unlock()
	if old != nil {
		old.conn.Close() // the agent dialled again: its old connection is dead
	}
	h.log.Info("agent connected", "thumbprint", p, "address", conn.RemoteAddr().String())
	h.changed(p, true)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			cc.Close()
			return
		case <-tick.C:
		}
		if s := cc.State(); s.Closed || s.Closing {
			h.mu.Lock()
			mine := h.conns[p] == me
			if mine {
				delete(h.conns, p)
			}
			h.mu.Unlock()
			if mine {
				h.log.Info("agent disconnected", "thumbprint", p)
				h.changed(p, false)
			}
			return
		}
	}
}

// Transport gives the way to a connected agent.
func (h *Hub) Transport(p string) (Transport, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.conns[strings.ToLower(p)]
	if !ok {
		return nil, errs.New(errs.Unavailable, "The polling agent is not connected.").WithHint("Start it on the target: octopuses agent run")
	}
	return c.client, nil
}
