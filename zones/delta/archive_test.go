package delta

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"octopuses.dev/octopuses/spaces/errs"
)

// contents are the files of two versions of a package: what they share compresses well,
// and a few lines differ.
func contents(version int) map[string][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	files := map[string][]byte{}
	for i := range 12 {
		var b []byte
		for len(b) < 60_000 {
			if r.IntN(2) > 0 && len(b) > 200 {
				at := r.IntN(len(b) - 100)
				b = append(b, b[at:at+r.IntN(60)]...)
			}
			b = fmt.Appendf(b, "func step%d(a int) { call(%x) }\n", r.IntN(100), r.IntN(1<<24))
		}
		if version > 1 && i%3 == 0 {
			b = bytes.Replace(b, []byte("func step7("), fmt.Appendf(nil, "// in version %d of file %d this was added\nfunc step7(", version, i), 5)
		}
		files[fmt.Sprintf("lib/file%02d.txt", i)] = b
	}
	return files
}

// written puts the files of a version into a new folder.
func written(t testing.TB, version int) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lib"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range contents(version) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func goZip(t testing.TB, version int) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	files := contents(version)
	for i := range len(files) {
		name := fmt.Sprintf("lib/file%02d.txt", i)
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(files[name])
	}
	z.Close()
	return out.Bytes()
}

func goTar(t testing.TB, version int) []byte {
	var out bytes.Buffer
	g := gzip.NewWriter(&out)
	g.Name = "package.tar"
	z := tar.NewWriter(g)
	files := contents(version)
	for i := range len(files) {
		name := fmt.Sprintf("lib/file%02d.txt", i)
		if err := z.WriteHeader(&tar.Header{Name: name, Size: int64(len(files[name])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		z.Write(files[name])
	}
	z.Close()
	g.Close()
	return out.Bytes()
}

// producers are programs that make archives; all write to standard output or to "out".
var producers = []struct {
	name string
	argv []string
}{
	{"Info-ZIP", []string{"zip", "-q", "-r", "-X", "out", "lib"}},
	{"Info-ZIP, best", []string{"zip", "-q", "-9", "-r", "out", "lib"}},
	{"Python's zipfile", []string{"python3", "-c", `
import zipfile, os
with zipfile.ZipFile("out", "w", zipfile.ZIP_DEFLATED) as z:
    for n in sorted(os.listdir("lib")): z.write("lib/" + n)`}},
	{"GNU tar and gzip", []string{"tar", "czf", "out", "--sort=name", "lib"}},
	{"Node's zlib", []string{"node", "-e", `
const fs = require("fs"), zlib = require("zlib");
fs.writeFileSync("out", zlib.gzipSync(Buffer.concat(fs.readdirSync("lib").sort().map(n => fs.readFileSync("lib/" + n))), {level: 9}))`}},
	{"jar", []string{"jar", "cf", "out", "lib"}},
}

func TestArchivesOfPrograms(t *testing.T) {
	one, two := written(t, 1), written(t, 2)
	for _, p := range producers {
		t.Run(p.name, func(t *testing.T) {
			if _, err := exec.LookPath(p.argv[0]); err != nil {
				t.Skip(p.argv[0], "is not here")
			}
			var made [2][]byte
			for i, dir := range []string{one, two} {
				os.Remove(filepath.Join(dir, "out"))
				cmd := exec.CommandContext(t.Context(), p.argv[0], p.argv[1:]...)
				cmd.Dir = dir
				if text, err := cmd.CombinedOutput(); err != nil {
					t.Skipf("%s: %v: %s", p.name, err, text)
				}
				for _, name := range []string{"out", "out.zip"} {
					if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
						made[i] = b
						os.Remove(filepath.Join(dir, name))
					}
				}
			}
			small(t, made[1], made[0])
		})
	}
}

// small checks that a recipe rebuilds a file, and costs less than 2 % of it.
func small(t *testing.T, file, basis []byte) {
	t.Helper()
	r, st := recipe(t, file, basis)
	out, err := apply(r, len(file), basis)
	if err != nil || !bytes.Equal(out, file) {
		t.Errorf("not the same file: %v", err)
	}
	if len(r) > len(file)/50 {
		t.Errorf("%d bytes for %d (%+v)", len(r), len(file), st)
	}
}

func TestArchivesOfGo(t *testing.T) {
	small(t, goZip(t, 2), goZip(t, 1))
	small(t, goTar(t, 2), goTar(t, 1))
	small(t, append(goTar(t, 2), goTar(t, 1)...), append(goTar(t, 1), goTar(t, 1)...)) // members of one gzip file
}

// fewEntries is a zip of 48 MB and 352 entries, of which six differ between versions.
func fewEntries(t testing.TB, version int) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	texts := []map[string][]byte{1: contents(1), 2: contents(2)}
	for i := range 352 {
		w, err := z.Create(fmt.Sprintf("lib%d.dll", i))
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 124_000)
		rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(noise)
		v := 1
		if i%60 == 7 {
			v = version
		}
		w.Write(noise)
		w.Write(texts[v]["lib/file00.txt"])
	}
	z.Close()
	return out.Bytes()
}

// Six of 352 entries: far less than them moves, and the file is the same.
func TestFewEntries(t *testing.T) {
	t.Parallel()
	file, basis := fewEntries(t, 2), fewEntries(t, 1)
	if len(file) < 48_000_000 {
		t.Fatalf("the file has %d bytes", len(file))
	}
	r, st := recipe(t, file, basis)
	if out, err := apply(r, len(file), basis); err != nil || !bytes.Equal(out, file) {
		t.Errorf("not the same file: %v", err)
	}
	if len(r) > 2<<20 || len(r) > len(file)/20 {
		t.Errorf("%d bytes for %d (%+v)", len(r), len(file), st)
	}
	t.Logf("%d bytes for %d", len(r), len(file))
}

// An archive by another compressor than before, and one that cannot be repeated, are
// rebuilt all the same.
func TestUnlikeArchives(t *testing.T) {
	file := goZip(t, 2)
	var foreign bytes.Buffer
	z := zip.NewWriter(&foreign)
	for name, b := range contents(1) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		w.Write(b)
	}
	z.Close()
	broken := bytes.Clone(file)
	for i := 100; i < len(broken)/2; i += 1000 {
		broken[i] ^= 0x55
	}
	for name, pair := range map[string][2][]byte{
		"zip from tar": {file, goTar(t, 1)}, "tar from zip": {goTar(t, 2), goZip(t, 1)}, "from a stored zip": {file, foreign.Bytes()},
		"a damaged zip": {broken, goZip(t, 1)}, "from a damaged zip": {file, broken}, "a cut zip": {file[:len(file)/2], file}, "only its head": {file, file[:40]},
		"a cut tar": {goTar(t, 2)[:50_000], goTar(t, 1)}, "from a cut tar": {goTar(t, 2), goTar(t, 1)[:50_000]}, "the head of a gzip file": {[]byte("\x1f\x8b\x08\x08abc"), goTar(t, 1)},
	} {
		r, _ := recipe(t, pair[0], pair[1])
		out, err := apply(r, len(pair[0]), pair[1])
		if err != nil || !bytes.Equal(out, pair[0]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A basis that has nothing of a file is found out early.
func TestUselessBasis(t *testing.T) {
	pack := func(seed byte) []byte {
		noise := make([]byte, 200_000)
		rand.NewChaCha8([32]byte{seed}).Read(noise)
		var out bytes.Buffer
		g := gzip.NewWriter(&out)
		g.Write([]byte(hex.EncodeToString(noise)))
		g.Close()
		return out.Bytes()
	}
	file, basis := pack(1), pack(2)
	_, err := Make(ctx, bytes.NewReader(file), int64(len(file)), bytes.NewReader(basis), int64(len(basis)), digest(basis), Version, io.Discard)
	if !errors.Is(err, ErrUseless) {
		t.Error(err)
	}
}

func TestOlderReader(t *testing.T) {
	file, basis := goZip(t, 2), goZip(t, 1)
	for _, version := range []int{0, 1} {
		var r bytes.Buffer
		if _, err := Make(ctx, bytes.NewReader(file), int64(len(file)), bytes.NewReader(basis), int64(len(basis)), digest(basis), version, &r); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(r.String(), magic1) {
			t.Errorf("version %d gives %q", version, r.Bytes()[:20])
		}
		if out, err := apply(r.Bytes(), len(file), basis); err != nil || !bytes.Equal(out, file) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestDamagedArchiveRecipes(t *testing.T) {
	file, basis := goTar(t, 2), goTar(t, 1)
	r, _ := recipe(t, file, basis)
	for n := 0; n < len(r); n += 1 + len(r)/300 {
		if _, err := apply(r[:n], len(file), basis); !errors.Is(err, errs.Invalid) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
	other := bytes.Clone(basis) // of the same size, but another file
	for i := 2000; i < len(other); i += 5000 {
		other[i]++
	}
	if out, err := apply(r, len(file), other); err == nil && bytes.Equal(out, file) || len(out) > len(file) {
		t.Errorf("a wrong basis gives %d bytes and %v", len(out), err)
	}
}

// instructions makes a recipe of version 2 out of raw instructions.
func instructions(t testing.TB, size int, basis []byte, f func(w *writer)) []byte {
	var out bytes.Buffer
	d := [32]byte{}
	w, err := newWriter(&out, magic2, int64(size), d[:])
	if err != nil {
		t.Fatal(err)
	}
	f(w)
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestHostileInstructions(t *testing.T) {
	var zeros bytes.Buffer // 20 MB of zeros in 20 KB
	g := gzip.NewWriter(&zeros)
	io.CopyN(g, zero{}, 20<<20)
	g.Close()
	bomb := zeros.Bytes()
	const size = 1000
	for _, c := range []struct {
		name, why string
		f         func(w *writer)
	}{
		{"nothing", "less", func(w *writer) {}},
		{"an unknown one", "unknown", func(w *writer) { w.w.WriteByte(9) }},
		{"a bomb in the basis", "unpacks too much", func(w *writer) { w.w.WriteByte(opUnpack); w.numbers(10, 20<<20) }},
		{"a stream that is longer than said", "damaged or unusual", func(w *writer) { w.w.WriteByte(opUnpack); w.numbers(10, 1<<20) }},
		{"a stream that is none", "damaged or unusual", func(w *writer) { w.w.WriteByte(opUnpack); w.numbers(0, 1<<20) }},
		{"a stream behind the end", "behind the end", func(w *writer) { w.w.WriteByte(opUnpack); w.numbers(1<<40, 1) }},
		{"a copy of nothing", "damaged", func(w *writer) { w.w.WriteByte(opEdit); w.numbers(1, 0, 0, 0) }},
		{"no edits", "damaged", func(w *writer) { w.w.WriteByte(opEdit); w.numbers(0) }},
		{"many edits", "too long", func(w *writer) { w.w.WriteByte(opEdit); w.numbers(1 << 40) }},
		{"a copy from before the beginning", "behind the end", func(w *writer) { w.w.WriteByte(opEdit); w.numbers(1, 0, 1, 5) }},
		{"a copy from behind the end", "behind the end", func(w *writer) { w.w.WriteByte(opEdit); w.numbers(1, 0, 1<<40, 5) }},
		{"too large a copy", "more", func(w *writer) { w.w.WriteByte(opEdit); w.numbers(1, 0, 0, 2000) }},
		{"a long literal", "too long", func(w *writer) { w.w.WriteByte(opEdit); w.numbers(1, 1<<30, 0, 0) }},
		{"unpacking after a copy", "after it copied", func(w *writer) {
			w.w.WriteByte(opEdit)
			w.numbers(1, 0, 0, 5)
			w.w.WriteByte(opUnpack)
			w.numbers(1, 1)
		}},
		{"notes for nothing", "no stream", func(w *writer) { w.w.WriteByte(opNotes); w.numbers(5, 1, 0, 0) }},
		{"many notes", "too long", func(w *writer) { w.w.WriteByte(opNotes); w.numbers(5, 1<<40, 0) }},
		{"a long segment", "too long", func(w *writer) { w.w.WriteByte(opNotes); w.numbers(1<<40, 0, 0) }},
		{"notes that never are used", "too many notes", func(w *writer) {
			w.w.WriteByte(opPack)
			w.numbers(10, 6, 10)
			for range 5 {
				w.w.WriteByte(opNotes)
				w.numbers(5, maxNotes, 0)
				io.CopyN(w.w, zero{}, maxNotes)
			}
		}},
		{"a stream of nothing", "not where", func(w *writer) { w.w.WriteByte(opPack); w.numbers(0, 6, 0) }},
		{"streams without end", "not where", func(w *writer) {
			for range maxPacks + 1 {
				w.w.WriteByte(opPack)
				w.numbers(0, 6, 1)
			}
		}},
		{"an unknown model", "do not fit", func(w *writer) {
			w.w.WriteByte(opPack)
			w.numbers(0, 255, 5)
			w.w.WriteByte(opEdit)
			w.numbers(1, 0, 0, 5)
		}},
		{"a stream with no end", "no end", func(w *writer) {
			w.w.WriteByte(opEdit)
			w.numbers(1, 0, 0, size)
			w.w.WriteByte(opPack)
			w.numbers(size, 6, 5)
		}},
		{"content that packs to nearly nothing", "unpacks to too much", func(w *writer) {
			w.w.WriteByte(opUnpack)
			w.numbers(10, uint64(unpackable(int64(len(bomb)))))
			w.w.WriteByte(opPack)
			w.numbers(0, 6, uint64(unpackable(size)))
			w.w.WriteByte(opEdit)
			w.numbers(2, 0, 0, 0, 0, 1<<24, 1<<24)
		}},
	} {
		r := instructions(t, size, bomb, c.f)
		out, err := apply(r, size, bomb)
		if !errors.Is(err, errs.Invalid) || len(out) > size {
			t.Errorf("%s: %d bytes and %v", c.name, len(out), err)
		} else if !strings.Contains(err.Error(), c.why) && c.why != "unpacks to too much" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzApplyArchive(f *testing.F) {
	text := contents(1)["lib/file00.txt"][:3000]
	pack := func(b []byte) []byte {
		var out bytes.Buffer
		g := gzip.NewWriter(&out)
		g.Write(b)
		g.Close()
		return out.Bytes()
	}
	basis, file := pack(text), pack(append([]byte("new"), text...))
	r, _ := recipe(f, file, basis)
	z, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := z.DecodeAll(r[len(binary.AppendUvarint([]byte(magic2), uint64(len(file))))+32:], nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := instructions(t, len(file), basis, func(w *writer) { w.w.Write(raw) })
		if out, _ := apply(r, len(file), basis); len(out) > len(file) {
			t.Error("more came out than was declared")
		}
	})
}
