package delta

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// contrast is a pair of files that is hard in some way for whoever looks for copies.
type contrast struct {
	name      string
	old, file []byte
	most      int // bytes of a recipe
}

// contrasts are pairs of n bytes, n a multiple of six.
func contrasts(n int) []contrast {
	r := rand.NewChaCha8([32]byte{3})
	noise := func(n int) []byte {
		b := make([]byte, n)
		r.Read(b)
		return b
	}
	repeat := func(p string, n int) []byte { return bytes.Repeat([]byte(p), n/len(p)) }
	marked := func(every int) []byte { // zeros, with something else now and then
		b := make([]byte, n)
		for i := every; i < n; i += every {
			b[i] = byte(i) | 1
		}
		return b
	}
	a, b := noise(n), noise(n)
	edited, shifted, quoted := bytes.Clone(a), []byte(nil), bytes.Clone(b)
	for i := 0; i < n; i += 4096 {
		r.Read(edited[i:min(i+7, n)])
		shifted = append(append(shifted, a[i:min(i+4096, n)]...), noise(3)...)
	}
	quotes := 0
	for i := 200_000; i+2000 < n; i += 200_000 { // where strides are at their longest
		copy(quoted[i:], a[n-i-2000:n-i])
		quotes++
	}
	zeros := make([]byte, n)
	return []contrast{
		{"random, other random", a, b, n + n/1000 + 1000},
		{"random, edited", a, edited, n / 4096 * 24},
		{"random, shifted", a, shifted, n / 4096 * 16},
		{"random, quoted", a, quoted, n - quotes*1900},
		{"zeros", zeros, zeros, 200},
		{"zeros, of few", make([]byte, 300), zeros, 1000},
		{"zeros, of random", a, zeros, n / 1000},
		{"random, of zeros", zeros, a, n + n/1000 + 1000},
		{"period 2", repeat("ab", n), repeat("ba", n), 200},
		{"period 2, of few", repeat("ab", 3000), repeat("ba", n), 1000},
		{"period 3, of period 2", repeat("ab", n), repeat("abc", n), n / 1000},
		{"marked zeros", marked(1000), marked(777), n / 500},
	}
}

// What repeats itself has as many places to be copied from as there are bytes, and what
// is random has none: both rebuild, and nothing worth a copy is missed.
func TestContrasts(t *testing.T) {
	for _, c := range contrasts(3 << 20) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, st := recipe(t, c.file, c.old)
			out, err := apply(r, len(c.file), c.old)
			if err != nil || !bytes.Equal(out, c.file) {
				t.Fatalf("it is not rebuilt: %v", err)
			}
			if len(r) > c.most {
				t.Errorf("%d bytes for %d, at most %d (%+v)", len(r), len(c.file), c.most, st)
			}
		})
	}
}

// Budget: 60 MB/s whatever is in the files. Random of other random went at 9 MB/s while
// each of its bytes was looked up in a table that lies in main memory; now at 85 (both on
// two busy cores).
func BenchmarkContrasts(b *testing.B) {
	for _, c := range contrasts(24 << 20) {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.file)))
			for b.Loop() {
				recipe(b, c.file, c.old)
			}
		})
	}
}
