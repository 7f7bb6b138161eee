package secrets_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/secrets"
)

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := secrets.NewKey()
	const purpose = "space/01J/secret/17"
	for _, plain := range []string{"", "hunter2", strings.Repeat("long ", 10000)} {
		sealed := k.Seal([]byte(plain), purpose)
		if got, err := k.Open(sealed, purpose); err != nil || string(got) != plain {
			t.Errorf("%d bytes came back as %d: %v", len(plain), len(got), err)
		}
		if plain != "" && bytes.Contains(sealed, []byte(plain)) {
			t.Error("the sealed value shows the plain one")
		}
		if bytes.Equal(sealed, k.Seal([]byte(plain), purpose)) {
			t.Error("the same value sealed twice looks the same")
		}
	}
}

// A value opens with its key, for its purpose, unchanged, and not otherwise.
func TestWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	k := secrets.NewKey()
	sealed := k.Seal([]byte("hunter2"), "row 1")
	refused := func(name string, k *secrets.Key, b []byte, purpose string) {
		t.Helper()
		if got, err := k.Open(b, purpose); !errors.Is(err, secrets.ErrOpen) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	refused("another key", secrets.NewKey(), sealed, "row 1")
	refused("another row", k, sealed, "row 2")
	for n := range sealed {
		changed := bytes.Clone(sealed)
		changed[n] ^= 1
		refused("a changed byte", k, changed, "row 1")
		refused("cut short", k, sealed[:n], "row 1")
	}
	refused("bytes at the end", k, append(bytes.Clone(sealed), 0), "row 1")
}

func TestMasterWrapsKeys(t *testing.T) {
	t.Parallel()
	m, other := secrets.Master{Key: secrets.NewKey()}, secrets.Master{Key: secrets.NewKey()}
	k := secrets.NewKey()
	sealed := k.Seal([]byte("hunter2"), "x")
	back, err := m.Unwrap(m.Wrap(k, "space/1"), "space/1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := back.Open(sealed, "x"); err != nil || string(got) != "hunter2" {
		t.Errorf("%q, %v", got, err)
	}
	for name, f := range map[string]func() error{
		"another master": func() error { _, err := other.Unwrap(m.Wrap(k, "space/1"), "space/1"); return err },
		"another space":  func() error { _, err := m.Unwrap(m.Wrap(k, "space/1"), "space/2"); return err },
		"a sealed value passed off as a key": func() error {
			_, err := m.Unwrap(m.Seal(make([]byte, secrets.KeySize), "space/1"), "space/1")
			return err
		},
	} {
		if err := f(); !errors.Is(err, secrets.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m.ID() == other.ID() || len(m.ID()) != 16 {
		t.Errorf("names of keys: %s, %s", m.ID(), other.ID())
	}
}

func TestParseMaster(t *testing.T) {
	t.Parallel()
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	a, err := secrets.ParseMaster(good)
	if err != nil {
		t.Fatal(err)
	}
	b, err := secrets.ParseMaster("  " + good + "\r\n")
	if err != nil || a.ID() != b.ID() {
		t.Errorf("white space makes another key: %v", err)
	}
	for name, text := range map[string]string{"empty": "", "31 bytes": base64.StdEncoding.EncodeToString(make([]byte, 31)), "33 bytes": base64.StdEncoding.EncodeToString(make([]byte, 33)), "no base64": "my secret passphrase!"} {
		_, err := secrets.ParseMaster(text)
		if err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadMaster(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys", "master.key")
	if _, err := secrets.LoadMaster(path, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing key: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking for a key made its folder: %v", err)
	}
	made, err := secrets.LoadMaster(path, true)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %v, %v", info.Mode(), err)
	}
	again, err := secrets.LoadMaster(path, true)
	if err != nil || again.ID() != made.ID() {
		t.Errorf("the second start has another key: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.LoadMaster(path, true); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	// A damaged key is never replaced by a new one: everything sealed would be lost.
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.LoadMaster(path, true); err == nil {
		t.Error("an empty key file was replaced")
	}
}
