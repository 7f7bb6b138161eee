package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Life of a certificate of our own. Apple's systems refuse more than 825 days.
const (
	ownCertificateLife  = 800 * 24 * time.Hour
	ownCertificateRenew = 30 * 24 * time.Hour // before its end
)

// ownCertificate loads the certificate that the server made for itself, or makes it:
// ECDSA P-256, for localhost, the host's name and its addresses, and the host of
// extra ("" or a host name). It is renewed at a start when it ends soon or lacks a name;
// the key stays, since agents know the server by it.
func ownCertificate(folder, extra string, now time.Time) (tls.Certificate, error) {
	keyFile, certFile := filepath.Join(folder, "web.key"), filepath.Join(folder, "web.crt")
	key, err := loadKey(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			err = storeKey(keyFile, key)
		}
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the key of the server's certificate: %w", err)
	}
	names, addresses := ownNames(extra)
	if c, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && stillGood(c.Leaf, names, now) {
		return c, nil
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Octopuses on " + names[len(names)-1]},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(ownCertificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     names,
		IPAddresses:  addresses,
		// Not a certificate authority: whoever trusts it trusts this server alone.
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the server's certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := writeFile(certFile, text, 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return tls.LoadX509KeyPair(certFile, keyFile)
}

// stillGood reports whether a certificate lasts and has all names. Addresses may change
// from one network to the next; they are no reason to make another.
func stillGood(c *x509.Certificate, names []string, now time.Time) bool {
	if c == nil || now.Before(c.NotBefore) || now.Add(ownCertificateRenew).After(c.NotAfter) {
		return false
	}
	for _, n := range names {
		if !slices.Contains(c.DNSNames, n) {
			return false
		}
	}
	return true
}

// ownNames are what the machine is called; the last name is for people.
func ownNames(extra string) ([]string, []net.IP) {
	names := []string{"localhost"}
	if extra != "" && net.ParseIP(extra) == nil && extra != "localhost" {
		names = append(names, extra)
	}
	if host, err := os.Hostname(); err == nil && host != "" && !slices.Contains(names, host) && !strings.ContainsAny(host, " _") {
		names = append(names, host)
	}
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	found, err := net.InterfaceAddrs()
	if err != nil {
		return names, addresses
	}
	for _, a := range found {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			addresses = append(addresses, n.IP)
		}
	}
	return names, addresses
}

func loadKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key", path)
	}
	return ec, nil
}

func storeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// writeFile replaces a file as a whole, so that a crash leaves the old or the new one.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err = f.Chmod(mode); err == nil {
		if _, err = f.Write(content); err == nil {
			err = f.Sync()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// fileCertificate serves a certificate from files and reads them anew when they change,
// so that whoever renews it need not restart the server.
type fileCertificate struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	stamp   [2]time.Time
	looked  time.Time
	between time.Duration // the files are looked at no more often
}

func openFileCertificate(cert, key string, log *slog.Logger) (*fileCertificate, error) {
	f := &fileCertificate{cert: cert, key: key, log: log, between: 10 * time.Second}
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate of --tls-cert and --tls-key cannot be used: %w", err)
	}
	f.loaded, f.looked = &loaded, time.Now()
	f.stamp, err = f.stamps()
	return f, err
}

func (f *fileCertificate) stamps() (s [2]time.Time, err error) {
	for i, path := range []string{f.cert, f.key} {
		info, err := os.Stat(path)
		if err != nil {
			return s, err
		}
		s[i] = info.ModTime()
	}
	return s, nil
}

func (f *fileCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < f.between {
		return f.loaded, nil
	}
	f.looked = time.Now()
	stamp, err := f.stamps()
	if err == nil && stamp == f.stamp {
		return f.loaded, nil
	}
	if err == nil {
		var loaded tls.Certificate
		if loaded, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.loaded, f.stamp = &loaded, stamp
			f.log.Info("certificate read anew", "file", f.cert, "until", loaded.Leaf.NotAfter)
			return f.loaded, nil
		}
	}
	f.log.Warn("the new certificate cannot be used; the old one stays", "file", f.cert, "err", err)
	return f.loaded, nil
}

// webTLS makes the TLS configuration of the door for people and API clients, and the
// certificate by which agents pin it. Both are nil when TLS is off.
func webTLS(c *Config, keys string, log *slog.Logger, now time.Time) (*tls.Config, *x509.Certificate, error) {
	if !c.secure() {
		return nil, nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if c.TLSCert != "" {
		f, err := openFileCertificate(c.TLSCert, c.TLSKey, log)
		if err != nil {
			return nil, nil, err
		}
		out.GetCertificate = f.get
		return out, f.loaded.Leaf, nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, nil, err
	}
	own, err := ownCertificate(keys, host, now)
	if err != nil {
		return nil, nil, err
	}
	out.Certificates = []tls.Certificate{own}
	return out, own.Leaf, nil
}
