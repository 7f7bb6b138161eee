// Package outbound calls addresses that people typed: collectors of the audit, web hooks,
// mail servers. What somebody typed must not make the server talk to itself, to what else
// listens on its machine, or to the metadata service of its cloud (server-side request
// forgery): such addresses are refused after the name was looked up, for each connection,
// so that no name that changes its mind gets through. Redirects are not followed and no
// proxy is used.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// Guard decides which addresses may be called. The zero value refuses those of this machine,
// link-local ones and known metadata services; networks of the house are fine.
type Guard struct {
	Local bool // the operator allows those too
}

// Metadata services of clouds that are at no link-local address: AWS by IPv6, Alibaba.
var metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

// Allows reports whether an address may be called.
func (g Guard) Allows(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsMulticast() || !a.IsValid() {
		return false
	}
	if g.Local {
		return true
	}
	if a.Is4() && a.As4()[0] == 0 { // 0.0.0.0/8 is this machine on Linux
		return false
	}
	for _, m := range metadata {
		if a == m {
			return false
		}
	}
	return !a.IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast()
}

// Dialer connects to what the guard allows, within timeout.
func (g Guard) Dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !g.Allows(at.Addr()) {
			return errs.New(errs.Denied, "%s is an address of this machine or of its link, which is not called.", address).
				WithHint("If it shall be, whoever runs this server starts it with --outbound-local.")
		}
		return nil
	}}
}

// Cause is an error of a client without the URL, which can hold a secret of its own and is
// not for logs.
func Cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// TLS verifies servers by the certificates of the system, or by those of roots alone (PEM).
func TLS(roots string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if roots != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(roots)) {
			return nil, fmt.Errorf("there is no certificate in the PEM text")
		}
	}
	return c, nil
}

// Client calls over HTTP what the guard allows; each call takes at most timeout. The caller
// closes its idle connections when it is not needed any more.
func (g Guard) Client(timeout time.Duration, config *tls.Config) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return g.Dialer(timeout).DialContext(ctx, network, address)
			},
			TLSClientConfig:     config,
			TLSHandshakeTimeout: timeout,
			IdleConnTimeout:     time.Minute,
			MaxIdleConns:        16,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
