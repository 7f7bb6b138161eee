package bundle

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
)

// Parts come in any order, and more than once; what is missing, damaged or of another file
// is named, and leaves nothing.
func TestParts(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	write := func(name string, size int, seed byte) string {
		b := make([]byte, size)
		rand.NewChaCha8([32]byte{seed}).Read(b)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	split := func(path string, limit int64) []string {
		t.Helper()
		parts, err := Split(ctx, path, dir, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if info, err := os.Stat(p); err != nil || info.Size() > limit {
				t.Errorf("%s: %v, %v", p, info, err)
			}
		}
		return parts
	}
	shop, other := write("shop.octb", 300_000, 1), write("other.octb", 200_000, 2)
	parts, others := split(shop, 100_000), split(other, 100_000)
	if len(parts) != 4 || filepath.Base(parts[3]) != "shop.octb.004" {
		t.Fatalf("%v", parts)
	}
	same := func(to string) {
		t.Helper()
		a, _ := os.ReadFile(shop)
		b, err := os.ReadFile(to)
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("another file came out: %v", err)
		}
	}
	shuffled := []string{parts[2], parts[0], parts[3], parts[1], parts[0]}
	whole := filepath.Join(dir, "whole")
	if p, err := Join(ctx, shuffled, whole); err != nil || p.Name != "shop.octb" || p.Count != 4 {
		t.Fatalf("%+v, %v", p, err)
	}
	same(whole)

	damaged := filepath.Join(dir, "damaged")
	b, _ := os.ReadFile(parts[1])
	b[len(b)-1] ^= 1
	_ = os.WriteFile(damaged, b, 0o600)
	long := filepath.Join(dir, "long")
	_ = os.WriteFile(long, append(b[:len(b)-1:len(b)-1], b[len(b)-1]^1, 0), 0o600)
	short := filepath.Join(dir, "short")
	_ = os.WriteFile(short, b[:len(b)-10], 0o600)
	for name, c := range map[string]struct {
		parts []string
		why   string
	}{
		"nothing":        {nil, "No part"},
		"two missing":    {[]string{parts[0], parts[2]}, "of shop.octb these are missing: 2, 4"},
		"another file":   {[]string{parts[0], parts[1], parts[2], others[0]}, "other.octb.001 is a part of another file (other.octb)"},
		"a whole file":   {[]string{shop}, "is no part"},
		"a damaged one":  {[]string{parts[0], damaged, parts[2], parts[3]}, "damaged is damaged"},
		"one that grew":  {[]string{parts[0], long, parts[2], parts[3]}, "long is damaged"},
		"one cut off":    {[]string{parts[0], short, parts[2], parts[3]}, "short is damaged"},
		"one not there":  {[]string{filepath.Join(dir, "none")}, "no such file"},
		"another's head": {[]string{parts[0], swapped(t, dir, parts[1], parts[2]), parts[2], parts[3]}, "is damaged"},
	} {
		to := filepath.Join(dir, "out")
		if _, err := Join(ctx, c.parts, to); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(to); err == nil {
			t.Errorf("%s: something is left", name)
		}
	}
	if _, err := Join(ctx, parts, whole); errs.KindOf(err) != errs.Exists {
		t.Errorf("over another file: %v", err)
	}
	if _, err := Split(ctx, shop, dir, 100_000); err == nil {
		t.Error("over other parts")
	}
	same(whole)
	if _, err := Split(ctx, shop, dir, 10); errs.KindOf(err) != errs.Invalid {
		t.Errorf("parts of 10 bytes: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".join") }) {
		t.Error("a temporary file is left")
	}
}

// swapped is a part with the first line of one and the bytes of another.
func swapped(t *testing.T, dir, head, body string) string {
	t.Helper()
	a, _ := os.ReadFile(head)
	b, _ := os.ReadFile(body)
	path := filepath.Join(dir, "swapped")
	if err := os.WriteFile(path, append(a[:bytes.IndexByte(a, '\n')+1], b[bytes.IndexByte(b, '\n')+1:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
