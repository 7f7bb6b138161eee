package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"testing"
)

var ctx = context.Background()

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func recipe(t testing.TB, file, basis []byte) ([]byte, Stats) {
	var out bytes.Buffer
	st, err := Make(ctx, bytes.NewReader(file), int64(len(file)), bytes.NewReader(basis), int64(len(basis)), digest(basis), Version, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), st
}

func apply(r []byte, size int, basis []byte) ([]byte, error) {
	var out bytes.Buffer
	err := Apply(ctx, bytes.NewReader(r), int64(size), func(d string) (io.ReaderAt, int64, error) { return bytes.NewReader(basis), int64(len(basis)), nil }, &out)
	return out.Bytes(), err
}

func TestRebuilds(t *testing.T) {
	basis := random(3 << 20)
	changed := bytes.Clone(basis)
	copy(changed[1<<20:], "a few bytes differ here")
	shifted := append([]byte("something new in front of it all"), basis...)
	shuffled := append(bytes.Clone(basis[2<<20:]), basis[:2<<20]...)
	for name, file := range map[string][]byte{"changed": changed, "shifted": shifted, "shuffled": shuffled, "same": basis, "empty": {}, "tiny": []byte("x"), "other": random(1<<20 + 7)[7:]} {
		r, st := recipe(t, file, basis)
		out, err := apply(r, len(file), basis)
		if err != nil || !bytes.Equal(out, file) {
			t.Errorf("%s: %v", name, err)
		}
		if name != "other" && name != "tiny" && len(r) > len(file)/20+200 {
			t.Errorf("%s: %d bytes for %d (%+v)", name, len(r), len(file), st)
		}
	}
}

func TestHostileRecipes(t *testing.T) {
	basis := random(1 << 20)
	file := append([]byte("new"), basis...)
	r, _ := recipe(t, file, basis)
	for i := 0; i < len(r); i++ {
		c := bytes.Clone(r)
		c[i] ^= 0x55
		if out, err := apply(c, len(file), basis); err == nil && bytes.Equal(out, file) && i < len(magic2) {
			t.Errorf("byte %d does not matter", i)
		} else if len(out) > len(file) {
			t.Errorf("byte %d: %d bytes came out", i, len(out))
		}
	}
	for n := range len(r) {
		if _, err := apply(r[:n], len(file), basis); err == nil {
			t.Errorf("cut off at %d is accepted", n)
		}
	}
	if _, err := apply(r, len(file)-1, basis); err == nil {
		t.Error("a recipe for another size is accepted")
	}
}

func FuzzApply(f *testing.F) {
	basis := random(1 << 16)
	r, _ := recipe(f, append([]byte("new"), basis...), basis)
	f.Add(r)
	f.Fuzz(func(t *testing.T, r []byte) {
		if out, _ := apply(r, 1<<16+3, basis); len(out) > 1<<16+3 {
			t.Error("more came out than was declared")
		}
	})
}
