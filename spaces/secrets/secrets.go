// Package secrets seals values at rest.
//
// Two layers of keys (envelope encryption): a [Master] belongs to the server
// and lives outside every space folder; each space has a [Key] of its own, kept
// in the space's file wrapped by the master. A sensitive value is sealed with
// the space's key. A copied space folder therefore tells nothing without the
// master key, and moving it to another server re-wraps 32 bytes.
//
// The cipher is AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D) in
// front of the ciphertext. The purpose of a value is bound as additional data:
// a sealed value moved to another row does not open there.
package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeySize is the length of every key, in bytes.
const KeySize = 32

// ErrOpen says that a sealed value cannot be opened: another key, another
// purpose, or changed bytes. GCM cannot tell which.
var ErrOpen = errors.New("sealed value does not open with this key")

// Key seals and opens values. It is safe for concurrent use.
type Key struct {
	raw  [KeySize]byte
	aead cipher.AEAD
}

// NewKey makes a random key.
func NewKey() *Key {
	var raw [KeySize]byte
	rand.Read(raw[:])
	k, _ := KeyFromBytes(raw[:])
	return k
}

// KeyFromBytes makes a key of KeySize bytes.
func KeyFromBytes(b []byte) (*Key, error) {
	if len(b) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(b))
	}
	k := &Key{}
	copy(k.raw[:], b)
	block, err := aes.NewCipher(k.raw[:])
	if err != nil {
		return nil, err
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

// Seal encrypts plain for a purpose, such as "space/01J…/secret/17".
func (k *Key) Seal(plain []byte, purpose string) []byte {
	return k.aead.Seal(nil, nil, plain, []byte(purpose))
}

// Open decrypts what Seal made for the same purpose. The error is [ErrOpen].
func (k *Key) Open(sealed []byte, purpose string) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Master wraps the keys of spaces and seals what belongs to the server.
type Master struct{ *Key }

// ID names the master key without telling it: the first 8 bytes of a hash, in
// hex. It is stored beside everything the key wraps, so that a missing key can
// be named.
func (m Master) ID() string {
	sum := sha256.Sum256(append([]byte("octopuses-master-key-id-v1"), m.raw[:]...))
	return hex.EncodeToString(sum[:8])
}

// Wrap seals a space's key for storage.
func (m Master) Wrap(k *Key, purpose string) []byte { return m.Seal(k.raw[:], "wrap/"+purpose) }

// Unwrap opens what Wrap made. The error is [ErrOpen] for another master key.
func (m Master) Unwrap(wrapped []byte, purpose string) (*Key, error) {
	raw, err := m.Open(wrapped, "wrap/"+purpose)
	if err != nil {
		return nil, err
	}
	return KeyFromBytes(raw)
}

// ParseMaster reads a master key as it is written in a file or an environment
// variable: 32 bytes in standard base64, white space around it ignored.
func ParseMaster(text string) (Master, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return Master{}, errors.New("a master key is 32 bytes in base64 (44 characters); this text is not base64")
	}
	k, err := KeyFromBytes(raw)
	if err != nil {
		return Master{}, fmt.Errorf("a master key is 32 bytes in base64 (44 characters): %w", err)
	}
	return Master{k}, nil
}

// LoadMaster reads the master key file at path. Where there is none and create
// is true, a new key is written there, readable by its owner alone. It refuses
// a file that others can read.
func LoadMaster(path string, create bool) (Master, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		return createMaster(path)
	}
	if err != nil {
		return Master{}, fmt.Errorf("read master key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Master{}, fmt.Errorf("read master key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Master{}, fmt.Errorf("the master key file %s can be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return ParseMaster(string(b))
}

func createMaster(path string) (Master, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Master{}, fmt.Errorf("create master key: %w", err)
	}
	m := Master{NewKey()}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Master{}, fmt.Errorf("create master key: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(m.raw[:]) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Master{}, fmt.Errorf("create master key: %w", err)
	}
	return m, nil
}

// Derive makes 32 bytes for a purpose that cannot be computed without the key and do not
// tell it (HKDF-SHA256, RFC 5869).
func (k *Key) Derive(purpose string) []byte {
	b, err := hkdf.Key(sha256.New, k.raw[:], nil, "octopuses-derive-v1/"+purpose, 32)
	if err != nil {
		panic(err) // only for a length that SHA-256 cannot give
	}
	return b
}
