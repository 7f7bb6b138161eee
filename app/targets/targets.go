// Package targets is how work reaches a machine. One [Transport], several ways: a
// listening agent is dialled, a polling agent has dialled the [Hub], and the machine of
// this process needs no agent at all ([Local]). Whatever implements Transport passes the
// suite in targettest.
package targets

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

// Transport reaches one machine. Every call may be repeated: putting a package that is
// there, starting work that was started and cancelling work that has ended change
// nothing. It is safe for concurrent use.
//
// Errors are [errs.Unavailable] when the machine cannot be reached now, or when it is
// not known whether it got the call; any other kind is the machine's own refusal, after
// which it has done nothing.
type Transport interface {
	// Hello asks what the machine is and has.
	Hello(ctx context.Context) (agent.Hello, error)
	// Has asks what the machine has of a package file.
	Has(ctx context.Context, digest string) (agent.PackageState, error)
	// Put brings a package file, from where an earlier attempt broke off, and returns
	// how many bytes that took. [errs.Invalid]: the bytes do not hash to digest;
	// [errs.Busy]: the file is arriving already, from another call.
	Put(ctx context.Context, digest string, size int64, file io.ReadSeeker) (sent int64, err error)
	// Start starts work once, however often it is called. [errs.Invalid]: the machine
	// does not understand it; [errs.NotFound]: the package file is not there.
	Start(ctx context.Context, spec execution.Spec) (execution.Status, error)
	// Watch returns the state of work and its log from an offset on, 0 or one that an
	// earlier call returned. It waits up to wait, at most 30 s, for something new.
	// Work that is not there is [execution.Absent], no error.
	Watch(ctx context.Context, id string, offset int64, wait time.Duration) (execution.Update, error)
	// Cancel asks work to stop. [errs.NotFound]: it is not there.
	Cancel(ctx context.Context, id string) error
	// Forget lets the machine remove what it kept of ended work.
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
		if d.hub == nil {
			return nil, errs.New(errs.Unavailable, "This server takes no polling agents.")
		}
		return d.hub.Transport(m.Thumbprint)
	}
	return nil, errs.New(errs.Invalid, "Targets of style '%s' cannot be reached by this version.", m.Style)
}

// Discover asks whoever listens at an address for the pin of its key, by a TLS handshake
// in which nothing else is said, not even who asks. It takes 10 seconds at most. The error
// is [errs.Unavailable] when nobody answers there, and when who answers is no agent.
func (d *Directory) Discover(ctx context.Context, host string, port int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	address := net.JoinHostPort(host, strconv.Itoa(port))
	// Whether the key is trusted is for the person who compares it with the agent's own word.
	dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", errs.Wrap(errs.Unavailable, err, "No agent answers at %s.", address).WithHint("Look whether the agent runs and whether a firewall lets this server through to it.")
	}
	defer conn.Close()
	certificate := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	if _, ok := certificate.PublicKey.(ed25519.PublicKey); !ok {
		return "", errs.New(errs.Unavailable, "What answers at %s is no agent.", address).WithHint("Look at the port: an agent listens at 10933 if nothing else was said.")
	}
	return pin.Of(certificate), nil
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
