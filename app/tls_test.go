package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"octopuses.dev/octopuses/zones/pin"
)

func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	first, err := ownCertificate(folder, "deploy.example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(first.Leaf)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "deploy.example.com", host, "127.0.0.1", "::1"} {
		if _, err := first.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			t.Errorf("the certificate does not hold for %s: %v", name, err)
		}
	}
	if key, ok := first.PrivateKey.(*ecdsa.PrivateKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("the key is %T", first.PrivateKey)
	}
	info, err := os.Stat(filepath.Join(folder, "web.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("web.key: mode %v, %v", info.Mode(), err)
	}

	cases := []struct {
		name  string
		host  string
		later time.Duration
		fresh bool
	}{
		{"a month later", "deploy.example.com", 30 * 24 * time.Hour, false},
		{"near its end", "deploy.example.com", ownCertificateLife - ownCertificateRenew + time.Hour, true},
		{"another name", "other.example.com", 0, true},
	}
	for _, c := range cases {
		again, err := ownCertificate(folder, c.host, now.Add(c.later))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if fresh := !again.Leaf.Equal(first.Leaf); fresh != c.fresh {
			t.Errorf("%s: a new certificate: %v, want %v", c.name, fresh, c.fresh)
		}
		if pin.Of(again.Leaf) != pin.Of(first.Leaf) {
			t.Errorf("%s: another key; agents would not know the server any more", c.name)
		}
		first = again
	}
}

// A renewed file is served without a restart, and a broken one does not end the service.
func TestFileCertificateIsReadAnew(t *testing.T) {
	t.Parallel()
	now := time.Now()
	folder := t.TempDir()
	one, two := t.TempDir(), t.TempDir()
	for _, f := range []string{one, two} {
		if _, err := ownCertificate(f, "", now); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := filepath.Join(folder, "c.pem"), filepath.Join(folder, "k.pem")
	put := func(from string, at time.Time) {
		t.Helper()
		for src, dst := range map[string]string{"web.crt": cert, "web.key": key} {
			b, err := os.ReadFile(filepath.Join(from, src))
			if err != nil {
				t.Fatal(err)
			}
			if err := writeFile(dst, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(dst, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(one, now.Add(-time.Hour))
	f, err := openFileCertificate(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.between = 0
	pinNow := func() string {
		t.Helper()
		c, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pin.Of(c.Leaf)
	}
	before := pinNow()
	put(two, now)
	renewed := pinNow()
	if renewed == before {
		t.Error("the renewed certificate is not served")
	}
	if err := os.WriteFile(cert, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(cert, now.Add(time.Hour), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if pinNow() != renewed {
		t.Error("a broken file took the certificate away")
	}
	if _, err := openFileCertificate(cert, key, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a start with a broken certificate")
	}
}
