// Package pin is mutual TLS by pinned keys: no certificate authority, no dates, no
// names. Both ends show a self-signed certificate and know the other's key by its pin,
// the SHA-256 of the subject public key info (RFC 7469, section 2.4).
//
// TLS 1.3 only; session tickets are off, so that every connection proves the key anew;
// the key exchange is hybrid (X25519MLKEM768) where the other end has it.
package pin

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ErrPin says that the other end has another key than the pinned one.
var ErrPin = errors.New("the other end has another key than expected")

// Identity is a key with its certificate. Pin is 64 lower-case hex digits.
type Identity struct {
	Certificate tls.Certificate
	Pin         string
}

// New makes an identity with a fresh Ed25519 key.
func New() (Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("make identity: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Octopuses"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: no end
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Identity{}, fmt.Errorf("make identity: %w", err)
	}
	return identity(der, key)
}

func identity(der []byte, key ed25519.PrivateKey) (Identity, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	return Identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, Of(leaf)}, nil
}

// Of is the pin of a certificate's key.
func Of(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// Marshal renders an identity with its private key as PEM.
func (id Identity) Marshal() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(id.Certificate.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("write identity: %w", err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Certificate.Certificate[0]})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

// Parse reads what Marshal wrote.
func Parse(text []byte) (Identity, error) {
	cert, rest := pem.Decode(text)
	if cert == nil || cert.Type != "CERTIFICATE" {
		return Identity{}, errors.New("read identity: no certificate")
	}
	block, _ := pem.Decode(rest)
	if block == nil || block.Type != "PRIVATE KEY" {
		return Identity{}, errors.New("read identity: no private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Identity{}, errors.New("read identity: the key is not Ed25519")
	}
	id, err := identity(cert.Bytes, key)
	if err == nil && !key.Public().(ed25519.PublicKey).Equal(id.Certificate.Leaf.PublicKey) {
		return Identity{}, errors.New("read identity: the certificate is of another key")
	}
	return id, err
}

// ClientConfig is for dialling an end with one of the pins.
func ClientConfig(id Identity, pins ...string) *tls.Config {
	return config(id, func(pin string) bool { return contains(pins, pin) })
}

// ServerConfig is for accepting ends whose pin is allowed; allowed is asked in each
// handshake.
func ServerConfig(id Identity, allowed func(pin string) bool) *tls.Config {
	c := config(id, allowed)
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

func config(id Identity, allowed func(pin string) bool) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{id.Certificate}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: []string{"h2", "http/1.1"},
		// The chain and the name mean nothing here; VerifyConnection checks the key.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if pin := PeerPin(s); pin == "" || !allowed(pin) {
				return ErrPin
			}
			return nil
		},
	}
}

func contains(pins []string, pin string) bool {
	found := 0
	for _, p := range pins {
		found |= subtle.ConstantTimeCompare([]byte(p), []byte(pin))
	}
	return found == 1
}

// PeerPin is the pin of the other end's key, or "".
func PeerPin(s tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	return Of(s.PeerCertificates[0])
}
