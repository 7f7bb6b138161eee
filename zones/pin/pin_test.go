package pin

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// shake does a handshake and a byte each way.
//
//lint:ignore ST1008 two errors, one of each end
func shake(client, server *tls.Config) (clientErr, serverErr error, state tls.ConnectionState) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err, err, state
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		b, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		s := tls.Server(b, server)
		err = s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		b.Close()
		done <- err
	}()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err, err, state
	}
	c := tls.Client(a, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1))
	}
	state = c.ConnectionState()
	a.Close()
	return clientErr, <-done, state
}

func TestPins(t *testing.T) {
	a, _ := New()
	b, _ := New()
	stranger, _ := New()
	only := func(pin string) func(string) bool { return func(p string) bool { return p == pin } }
	c, s, state := shake(ClientConfig(a, b.Pin), ServerConfig(b, only(a.Pin)))
	if c != nil || s != nil {
		t.Fatal(c, s)
	}
	if state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 || PeerPin(state) != b.Pin {
		t.Errorf("%x %v", state.Version, state.CurveID)
	}
	if c, _, _ := shake(ClientConfig(a, stranger.Pin), ServerConfig(b, only(a.Pin))); !errors.Is(c, ErrPin) {
		t.Errorf("a wrong server was accepted: %v", c)
	}
	if c, s, _ := shake(ClientConfig(stranger, b.Pin), ServerConfig(b, only(a.Pin))); !errors.Is(s, ErrPin) || c == nil {
		t.Errorf("a stranger was let in: %v, %v", c, s)
	}
	old := ClientConfig(a, b.Pin)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, s, _ := shake(old, ServerConfig(b, only(a.Pin))); s == nil {
		t.Error("TLS 1.2 was accepted")
	}
	none := ClientConfig(a, b.Pin)
	none.Certificates = nil
	if _, s, _ := shake(none, ServerConfig(b, only(a.Pin))); s == nil {
		t.Error("no certificate was accepted")
	}
}

func TestMarshal(t *testing.T) {
	a, _ := New()
	text, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(text)
	if err != nil || a.Pin != b.Pin {
		t.Errorf("%v", err)
	}
	if _, err := Parse(text[:len(text)/2]); err == nil {
		t.Error("half an identity was read")
	}
	other, _ := New()
	foreign, _ := other.Marshal()
	if _, err := Parse(append(text[:bytes.Index(text, []byte("-----BEGIN PRIVATE"))], foreign[bytes.Index(foreign, []byte("-----BEGIN PRIVATE")):]...)); err == nil {
		t.Error("a certificate was taken with the key of another")
	}
}
