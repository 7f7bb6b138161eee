package targets

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/pin"
)

const (
	shakeTimeout = 10 * time.Second // for the handshake of an agent
	mostShaking  = 256              // connections at once whose key is not known yet
	askAgain     = 30 * time.Second // whether a connected agent is still allowed
	pingAfter    = 20 * time.Second // of silence on a connection
	pingTimeout  = 10 * time.Second
)

// Hub is where polling agents connect. It is safe for concurrent use.
type Hub struct {
	id      pin.Identity
	allowed func(pin string) bool
	log     *slog.Logger
	changed func(pin string, connected bool)

	mu    sync.Mutex
	conns map[string]*polled // by pin; one for each agent, its newest
}

type polled struct {
	//lint:ignore SA1019 it is what speaks HTTP/2 as a client on a connection that the other side dialled
	conn   *http2.ClientConn
	client *agent.Client
}

// NewHub makes a hub. allowed is asked at each handshake, and every half minute for
// those who are connected, whether a pin is that of a registered agent; changed, if not
// nil, is told who came and went. Both are called in many goroutines.
func NewHub(id pin.Identity, allowed func(pin string) bool, changed func(pin string, connected bool), log *slog.Logger) *Hub {
	if changed == nil {
		changed = func(string, bool) {}
	}
	return &Hub{id: id, allowed: allowed, changed: changed, log: log, conns: map[string]*polled{}}
}

// Serve accepts agents until ctx ends or the listener fails, and returns when all
// connections are closed.
func (h *Hub) Serve(ctx context.Context, l net.Listener) error {
	cfg := pin.ServerConfig(h.id, h.allowed)
	cfg.NextProtos = []string{agent.PollProtocol}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	shaking := make(chan struct{}, mostShaking)
	for pause := time.Duration(0); ; {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			// Too many open files, mostly: it passes, and the door must not stay shut.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			h.log.Warn("accept agent", "err", err, "again_in", pause)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		select {
		case shaking <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return nil
		}
		group.Go(func() {
			client := h.shake(ctx, tls.Server(conn, cfg))
			<-shaking
			if client != nil {
				client()
			}
		})
	}
}

// shake lets an agent prove its key, and returns what serves it from then on.
func (h *Hub) shake(ctx context.Context, conn *tls.Conn) (keep func()) {
	short, cancel := context.WithTimeout(ctx, shakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(short); err != nil {
		h.log.Debug("agent refused", "address", conn.RemoteAddr().String(), "err", err)
		conn.Close()
		return nil
	}
	p := pin.PeerPin(conn.ConnectionState())
	if conn.ConnectionState().NegotiatedProtocol != agent.PollProtocol {
		h.log.Warn("agent refused", "thumbprint", p, "err", "it speaks another protocol")
		conn.Close()
		return nil
	}
	//lint:ignore SA1019 see polled
	t := &http2.Transport{ReadIdleTimeout: pingAfter, PingTimeout: pingTimeout, DisableCompression: true}
	//lint:ignore SA1019 see polled
	cc, err := t.NewClientConn(conn)
	if err != nil {
		h.log.Warn("agent refused", "thumbprint", p, "err", err)
		conn.Close()
		return nil
	}
	return func() { h.keep(ctx, p, conn.RemoteAddr().String(), cc) }
}

// keep offers a connection to the server until it ends.
//
//lint:ignore SA1019 see polled
func (h *Hub) keep(ctx context.Context, p, address string, cc *http2.ClientConn) {
	defer cc.Close()
	me := &polled{cc, &agent.Client{HTTP: &http.Client{Transport: cc}, Base: "https://agent"}}
	h.mu.Lock()
	old := h.conns[p]
	h.conns[p] = me
	h.mu.Unlock()
	if old != nil {
		old.conn.Close() // the agent dialled again: its old connection is dead
	}
	h.log.Info("agent connected", "thumbprint", p, "address", address)
	h.changed(p, true)
	h.wait(ctx, p, cc)
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
}

// wait returns when a connection has ended or its agent is allowed no more.
//
//lint:ignore SA1019 see polled
func (h *Hub) wait(ctx context.Context, p string, cc *http2.ClientConn) {
	// http2 has no channel for the end of a connection, but looking is cheap.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	asked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s := cc.State(); s.Closed || s.Closing {
			return
		}
		if time.Since(asked) >= askAgain {
			if asked = time.Now(); !h.allowed(p) {
				h.log.Info("agent is allowed no more", "thumbprint", p)
				return
			}
		}
	}
}

// Transport gives the way to a connected agent. The error is [errs.Unavailable] when
// it is not connected.
func (h *Hub) Transport(p string) (Transport, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.conns[strings.ToLower(p)]
	if !ok {
		return nil, errs.New(errs.Unavailable, "The polling agent is not connected.").WithHint("Start it on the target: octopuses agent run")
	}
	return c.client, nil
}
