package collector_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/collector"
	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// keys is a certificate for 127.0.0.1 and its PEM.
func keys(t *testing.T) (*tls.Config, string) {
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	return &tls.Config{Certificates: s.TLS.Certificates}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func sender(t *testing.T, c collector.Config) collector.Sender {
	t.Helper()
	s, err := collector.New(c, outbound.Guard{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

var batch = []audit.Line{
	{ID: "Events-1", SpaceID: "Spaces-1", Occurred: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Category: "Created", Message: "Grüße 🐙\n2 lines"},
	{ID: "Events-2", Occurred: time.Date(2026, 3, 1, 12, 0, 1, 0, time.UTC), Category: "Denied", Message: "no", ChangeDetails: &audit.Details{Differences: []audit.Difference{{Op: "replace", Path: "/Script", Value: strings.Repeat("x", 20000)}, {Op: "replace", Path: "/Key", Secret: true}}}},
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	config, roots := keys(t)
	status, got := http.StatusServiceUnavailable, ""
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.Header.Get("Authorization") + " " + r.Header.Get("Content-Type") + "\n" + string(b)
		w.WriteHeader(status)
	}))
	s.TLS = config
	s.StartTLS()
	defer s.Close()
	to := sender(t, collector.Config{Kind: collector.HTTPS, Address: s.URL + "/in", Token: "t0ken", Roots: roots})
	if err := to.Send(t.Context(), batch); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("an answer of 503: %v", err)
	}
	status = http.StatusAccepted
	if err := to.Send(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")
	var line audit.Line
	if len(lines) != 3 || lines[0] != "Bearer t0ken application/jsonl" || json.Unmarshal([]byte(lines[1]), &line) != nil || line.Message != batch[0].Message {
		t.Errorf("%.300s", got)
	}
	// An authority that nobody named is not believed, and no loopback without leave.
	if err := sender(t, collector.Config{Kind: collector.HTTPS, Address: s.URL}).Send(t.Context(), batch); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	guarded, err := collector.New(collector.Config{Kind: collector.HTTPS, Address: s.URL, Roots: roots}, outbound.Guard{})
	if err != nil {
		t.Fatal(err)
	}
	if err := guarded.Send(t.Context(), batch); !errors.Is(err, errs.Denied) {
		t.Errorf("this machine: %v", err)
	}
}

// frames reads messages of RFC 5425 until the sender ends them.
func frames(r io.Reader) (out []string, err error) {
	in := bufio.NewReader(r)
	for {
		size, err := in.ReadString(' ')
		if err == io.EOF && size == "" {
			return out, nil
		}
		n, nerr := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err = errors.Join(err, nerr); err != nil {
			return out, err
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return out, err
		}
		out = append(out, string(b))
	}
}

func TestSyslog(t *testing.T) {
	t.Parallel()
	config, roots := keys(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := sender(t, collector.Config{Kind: collector.Syslog, Address: l.Addr().String(), Roots: roots, Host: "ser ver\x00é"})
	got := make(chan []string, 1)
	serve := func(f func(net.Conn)) {
		go func() {
			if c, err := l.Accept(); err == nil {
				f(c)
			}
		}()
	}
	serve(func(c net.Conn) {
		all, err := frames(c)
		if err != nil {
			t.Error(err)
		}
		c.Close()
		got <- all
	})
	if err := to.Send(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	all := <-got
	// RFC 5424, 6: PRI 13*8+severity, version, time, host, app, process, message id, no data.
	form := regexp.MustCompile(`^<(\d+)>1 (\S+) server octopuses - (\S+) - (\{[ -~]+\})$`)
	if len(all) != 2 {
		t.Fatalf("%d messages", len(all))
	}
	for i, want := range []string{"109 2026-03-01T12:00:00.000Z Created", "108 2026-03-01T12:00:01.000Z Denied"} {
		m := form.FindStringSubmatch(all[i])
		if m == nil || strings.Join(m[1:4], " ") != want {
			t.Fatalf("%.200s", all[i])
		}
		var line audit.Line
		if err := json.Unmarshal([]byte(m[4]), &line); err != nil || line.Message != batch[i].Message || len(all[i]) > 8192 {
			t.Errorf("%v: %.300s", err, m[4])
		}
		if i == 1 && (len(line.ChangeDetails.Differences) != 2 || !line.ChangeDetails.Differences[0].Cut || line.ChangeDetails.Differences[1].Cut) {
			t.Errorf("%+v", line.ChangeDetails)
		}
	}
	// A collector that dies with something unread has not received the batch.
	serve(func(c net.Conn) {
		one := make([]byte, 10)
		io.ReadFull(c, one)
		raw := c.(*tls.Conn).NetConn().(*net.TCPConn)
		raw.SetLinger(0)
		raw.Close()
	})
	if err := to.Send(t.Context(), batch); err == nil {
		t.Error("a batch that was not read counts as received")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []collector.Config{{}, {Kind: "udp", Address: "x:1"}, {Kind: "https", Address: "http://x"}, {Kind: "https", Address: "https://"}, {Kind: "https", Address: "https://u:p@x"}, {Kind: "https", Address: "https://x", Token: "a b"}, {Kind: "https", Address: "https://x", Token: "a\r\nB: c"},
		{Kind: "https", Address: "https://x", Roots: "x"}, {Kind: "syslog", Address: "x"}, {Kind: "syslog", Address: ":1"}, {Kind: "syslog", Address: "x:70000"}, {Kind: "syslog", Address: "x:1", Token: "t"}} {
		if err := c.Check(); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
