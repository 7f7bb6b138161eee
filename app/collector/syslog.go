package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"octopuses.dev/octopuses/spaces/audit"
)

// syslogSender writes messages of RFC 5424 in the frames of RFC 5425. Syslog has no word
// for "received". So a batch has a connection of its own, and counts when the collector has
// answered our end of it (close_notify) with its own: it read what stands before. A
// collector that is killed with something unread resets the connection.
type syslogSender struct {
	config Config
	tls    *tls.Config
	dialer *net.Dialer
}

// maxMessage is how long a message may be, in bytes: what RFC 5425 asks of every receiver
// that can. Longer ones lose the values of their changes.
const maxMessage = 8192

const (
	facility = 13 // log audit
	notice   = 5
	warning  = 4
)

func (s *syslogSender) Send(ctx context.Context, batch []audit.Line) (err error) {
	var b bytes.Buffer
	for _, line := range batch {
		text, err := message(line, s.config.Host)
		if err != nil {
			return err
		}
		b.WriteString(strconv.Itoa(len(text)))
		b.WriteByte(' ')
		b.WriteString(text)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	raw, err := s.dialer.DialContext(ctx, "tcp", s.config.Address)
	if err != nil {
		return err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	config := s.tls.Clone()
	if config.ServerName, _, err = net.SplitHostPort(s.config.Address); err != nil {
		return err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	switch _, err := io.Copy(io.Discard, conn); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the collector did not end the connection within %s, so nobody knows what it received", patience)
	case err != nil:
		return fmt.Errorf("the collector broke off: %w", err)
	}
	return nil
}

func (s *syslogSender) Close() {}

// message is an entry as RFC 5424 has it: facility "log audit", the category as message id,
// the line of JSON as text.
func message(line audit.Line, host string) (string, error) {
	severity := notice
	if line.Category == "Denied" {
		severity = warning
	}
	head := fmt.Sprintf("<%d>1 %s %s octopuses - %s - ", facility*8+severity, line.Occurred.UTC().Format("2006-01-02T15:04:05.000Z"), word(host, 255), word(line.Category, 32))
	text, err := asciiJSON(line)
	if err != nil {
		return "", err
	}
	if len(head)+len(text) > maxMessage && line.ChangeDetails != nil {
		cut := &audit.Details{}
		for _, d := range line.ChangeDetails.Differences {
			cut.Differences = append(cut.Differences, audit.Difference{Op: d.Op, Path: d.Path, Secret: d.Secret, Cut: !d.Secret})
		}
		line.ChangeDetails = cut
		if text, err = asciiJSON(line); err == nil && len(head)+len(text) > maxMessage {
			cut.Differences = []audit.Difference{{Op: "replace", Path: "/", Cut: true}}
			text, err = asciiJSON(line)
		}
	}
	return head + text, err
}

// word is a text as a field of the header: printable ASCII, no blanks; "-" for none.
func word(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

// asciiJSON writes JSON in ASCII alone: a message in UTF-8 would have to begin with a byte
// order mark, over which readers of JSON stumble.
func asciiJSON(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range string(raw) {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String(), nil
}
