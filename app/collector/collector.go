// Package collector sends entries of the audit to an outside collector: as JSON lines over
// HTTPS, or as syslog over TLS. A batch was received when Send returns no error; otherwise it
// is sent again, whole: a collector may get an entry twice and tells that by SpaceId and Id.
// docs/formats/audit.md has both formats.
package collector

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Ways to send.
const (
	HTTPS  = "https"
	Syslog = "syslog"
)

// patience is how long sending a batch may take.
const patience = 30 * time.Second

// Config says where to send. Token may be empty.
type Config struct {
	Kind    string // HTTPS or Syslog
	Address string // https://host/path, or host:port
	Token   string // sent as "Authorization: Bearer", over HTTPS only
	Roots   string // PEM of the authorities to trust instead of the system's; "": the system's
	Host    string // of this server, as it stands in syslog; "": "-"
}

// Sender sends batches of at most some hundred entries. Send is called by one goroutine at a
// time.
type Sender interface {
	Send(ctx context.Context, batch []audit.Line) error
	Close()
}

// Check finds what is wrong with a configuration. Its error is [errs.Invalid] with fields.
func (c Config) Check() error {
	var check errs.Check
	switch c.Kind {
	case HTTPS:
		u, err := url.Parse(c.Address)
		check.Require(err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.Fragment == "", "Address", "The address of a collector is a URL such as https://logs.example.com/audit, without a name and password.")
	case Syslog:
		host, port, err := net.SplitHostPort(c.Address)
		n, perr := strconv.Atoi(port)
		check.Require(err == nil && perr == nil && host != "" && n > 0 && n < 65536, "Address", "The address of a collector of syslog is host:port, as logs.example.com:6514.")
		check.Require(c.Token == "", "Token", "Syslog has no token.")
	default:
		check.Require(false, "Kind", "Entries are sent by https or by syslog.")
	}
	check.Require(len(c.Address) <= 2000, "Address", "The address is longer than 2,000 characters.")
	check.Require(len(c.Token) <= 4000 && !strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }), "Token", "A token has up to 4,000 printable ASCII characters, none a blank.")
	_, err := outbound.TLS(c.Roots)
	check.Require(err == nil && len(c.Roots) <= 100_000, "Roots", "These are no certificates in PEM.")
	return check.Err()
}

// New makes a sender; it connects when there is something to send.
func New(c Config, guard outbound.Guard) (Sender, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	config, err := outbound.TLS(c.Roots)
	if err != nil {
		return nil, err
	}
	if c.Kind == HTTPS {
		return &httpsSender{config: c, client: guard.Client(patience, config)}, nil
	}
	return &syslogSender{config: c, tls: config, dialer: guard.Dialer(patience)}, nil
}
