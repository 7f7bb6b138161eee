package packages_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

// item is one entry of an archive made by a test.
type item struct {
	name, body string
	mode       fs.FileMode
	link       string // symbolic link
	hard       string // hard link, in a tar
	device     bool   // in a tar
}

func zipOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, i := range items {
		h := &zip.FileHeader{Name: i.name, Method: zip.Deflate}
		if i.mode != 0 {
			h.SetMode(i.mode)
		}
		body := i.body
		if i.link != "" {
			h.SetMode(fs.ModeSymlink | 0o777)
			body = i.link
		}
		f, err := w.CreateHeader(h)
		if err == nil && body != "" {
			_, err = f.Write([]byte(body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Mode: 0o644, Size: int64(len(i.body)), Typeflag: tar.TypeReg}
		if i.mode != 0 {
			h.Mode = int64(i.mode.Perm())
		}
		switch {
		case strings.HasSuffix(i.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case i.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, i.link
		case i.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, i.hard
		case i.device:
			h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 1, 3
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func stored(t testing.TB, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// tree lists a folder as "name mode content", folders and links marked.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			out = append(out, rel+"/")
		case d.Type() == fs.ModeSymlink:
			to, _ := os.Readlink(p)
			out = append(out, rel+" -> "+to)
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			info, _ := d.Info()
			out = append(out, fmt.Sprintf("%s %v %s", rel, info.Mode()&0o111 != 0, b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}

func TestExtract(t *testing.T) {
	t.Parallel()
	items := []item{
		{name: "bin/"}, {name: "bin/run", body: "#!/bin/sh\n", mode: 0o4755}, {name: "etc/deep/app.json", body: "{}", mode: 0o600},
		{name: "latest", link: "bin/run"}, {name: "etc/up", link: "../bin/run"}, {name: "dangling", link: "later/made"}, {name: "empty"},
	}
	want := []string{"bin/", "bin/run true #!/bin/sh\n", "dangling -> later/made", "empty false ", "etc/", "etc/deep/", "etc/deep/app.json false {}", "etc/up -> ../bin/run", "latest -> bin/run"}
	for ext, b := range map[string][]byte{".zip": zipOf(t, items...), ".nupkg": zipOf(t, items...), ".tar": tarOf(t, items...), ".tar.gz": gzipOf(t, tarOf(t, items...)), ".TGZ": gzipOf(t, tarOf(t, items...))} {
		dest := filepath.Join(t.TempDir(), "out")
		n, err := packages.Extract(t.Context(), stored(t, b), ext, dest, packages.Limits{})
		if err != nil || n != 3 {
			t.Fatalf("%s: %d files, %v", ext, n, err)
		}
		if got := tree(t, dest); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", ext, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if info, err := os.Stat(filepath.Join(dest, "bin/run")); err != nil || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s: set-uid survived: %v %v", ext, info.Mode(), err)
		}
	}
}

// Each archive is refused with a reason, leaves no folder, and touches nothing beside
// the folder.
func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	file := func(name string) item { return item{name: name, body: "x"} }
	cases := []struct {
		name  string
		items []item
		text  string // of the refusal
		tar   bool   // what only a tar can hold
	}{
		{name: "traversal", items: []item{file("a/../../evil")}, text: "leads out of the folder"},
		{name: "traversal at the end", items: []item{file("..")}, text: "leads out of the folder"},
		{name: "harmless dots are dots", items: []item{file("a/../b")}, text: "leads out of the folder"},
		{name: "absolute", items: []item{file("/etc/passwd")}, text: "has an absolute name"},
		{name: "drive", items: []item{file("c:/windows")}, text: "has an absolute name"},
		{name: "backslash", items: []item{file(`..\evil`)}, text: "has a backslash"},
		{name: "control character", items: []item{file("a\x1b[2J")}, text: "has a control character"},
		{name: "right to left", items: []item{file("exe.\u202Etxt")}, text: "has a control character"},
		{name: "the folder itself", items: []item{file("./.")}, text: "takes the place"},
		{name: "too long", items: []item{file(strings.Repeat("n", 256))}, text: "longer than 255 bytes"},
		{name: "twice", items: []item{file("a"), file("a")}, text: "stands twice"},
		{name: "twice by case", items: []item{file("Web.config"), file("web.CONFIG")}, text: "stands twice"},
		{name: "twice by Unicode", items: []item{file("caf\u00e9"), file("cafe\u0301")}, text: "stands twice"},
		{name: "folders by case", items: []item{file("Lib/a"), file("lib/b")}, text: "in a folder that stands twice"},
		{name: "file as folder", items: []item{file("a"), file("a/b")}, text: "inside of the file"},
		{name: "folder as file", items: []item{file("a/b"), file("a")}, text: "stands twice"},
		{name: "link out", items: []item{{name: "a", link: "../../etc"}}, text: "outside of the folder"},
		{name: "link out from below", items: []item{{name: "a/b", link: "../../etc"}}, text: "outside of the folder"},
		{name: "absolute link", items: []item{{name: "a", link: "/etc/passwd"}}, text: "outside of the folder"},
		{name: "behind a link", items: []item{{name: "d", link: "e"}, file("d/f")}, text: "lies behind the link"},
		{name: "link replaced by file", items: []item{{name: "d", link: "e"}, file("d")}, text: "stands twice"},
		// Lexically "escape" points to "a/x"; in truth a/b/d is the root, so it points above it.
		{name: "two links out in a row", items: []item{{name: "a/b/"}, {name: "a/b/d", link: "../.."}, {name: "escape", link: "a/b/d/../../etc"}}, text: "outside of the folder"},
		{name: "links in a circle", items: []item{{name: "a", link: "b"}, {name: "b", link: "a"}}, text: "outside of the folder"},
		{name: "hard link", items: []item{file("a"), {name: "b", hard: "a"}}, text: "neither a file", tar: true},
		{name: "device", items: []item{{name: "null", device: true}}, text: "neither a file", tar: true},
	}
	for _, c := range cases {
		for _, ext := range []string{".zip", ".tar.gz"} {
			if c.tar && ext == ".zip" {
				continue
			}
			t.Run(c.name+ext, func(t *testing.T) {
				t.Parallel()
				b := gzipOf(t, tarOf(t, c.items...))
				if ext == ".zip" {
					b = zipOf(t, c.items...)
				}
				refused(t, b, ext, packages.Limits{}, errs.Invalid, c.text)
			})
		}
	}
	t.Run("zip with NUL", func(t *testing.T) {
		t.Parallel()
		refused(t, bytes.ReplaceAll(zipOf(t, file("aaaa")), []byte("aaaa"), []byte("a\x00/b")), ".zip", packages.Limits{}, errs.Invalid, "control character")
	})
	t.Run("zip with a pipe", func(t *testing.T) {
		t.Parallel()
		refused(t, zipOf(t, item{name: "p", mode: fs.ModeNamedPipe | 0o644}), ".zip", packages.Limits{}, errs.Invalid, "pipe")
	})
}

func refused(t *testing.T, b []byte, ext string, l packages.Limits, kind errs.Kind, text string) {
	t.Helper()
	around := t.TempDir()
	dest := filepath.Join(around, "in", "out")
	if err := os.Mkdir(filepath.Dir(dest), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := packages.Extract(t.Context(), stored(t, b), ext, dest, l)
	if !errors.Is(err, kind) || !strings.Contains(errs.TextOf(err), text) {
		t.Errorf("error %v (%s), want %s with %q", err, errs.KindOf(err), kind, text)
	}
	if got := tree(t, around); len(got) != 1 || got[0] != "in/" {
		t.Errorf("left behind: %q", got)
	}
}

func TestExtractBounds(t *testing.T) {
	t.Parallel()
	bomb := item{name: "zeros", body: strings.Repeat("\x00", 24<<20)}
	many := make([]item, 50)
	for i := range many {
		many[i].name = fmt.Sprint("f", i)
	}
	// Headers without end hold no content, so that only the stream as a whole can be counted.
	var global bytes.Buffer
	w := tar.NewWriter(&global)
	if err := w.WriteHeader(&tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "x"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil { // pads to a block
		t.Fatal(err)
	}
	headers := gzipOf(t, bytes.Repeat(global.Bytes(), 20_000))
	cases := []struct {
		name  string
		bytes []byte
		ext   string
		l     packages.Limits
		text  string
	}{
		{"ratio zip", zipOf(t, bomb), ".zip", packages.Limits{}, "looks like a bomb"},
		{"ratio tgz", gzipOf(t, tarOf(t, bomb)), ".tgz", packages.Limits{}, "looks like a bomb"},
		{"ratio of headers", headers, ".tgz", packages.Limits{}, "looks like a bomb"},
		{"bytes zip", zipOf(t, bomb), ".zip", packages.Limits{Bytes: 1 << 20}, "more than 1 MB"},
		{"bytes tar", tarOf(t, bomb), ".tar", packages.Limits{Bytes: 1 << 20}, "more than 1 MB"},
		{"entries zip", zipOf(t, many...), ".zip", packages.Limits{Entries: 49}, "more than 49 entries"},
		{"entries tar", tarOf(t, many...), ".tar", packages.Limits{Entries: 49}, "more than 49 entries"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			refused(t, c.bytes, c.ext, c.l, errs.TooLarge, c.text)
		})
	}
}

// An archive cut anywhere, or of another kind than its name says, is refused.
func TestExtractDamaged(t *testing.T) {
	t.Parallel()
	body := item{name: "a.txt", body: strings.Repeat("one line\n", 1000)}
	for ext, whole := range map[string][]byte{".zip": zipOf(t, body), ".tgz": gzipOf(t, tarOf(t, body))} {
		for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
			t.Run(fmt.Sprint(ext, n), func(t *testing.T) { refused(t, whole[:n], ext, packages.Limits{}, errs.Invalid, "damaged") })
		}
	}
	t.Run("flipped", func(t *testing.T) {
		b := zipOf(t, body)
		b[40] ^= 0xff
		refused(t, b, ".zip", packages.Limits{}, errs.Invalid, "damaged")
	})
	t.Run("other kind", func(t *testing.T) {
		refused(t, []byte("plain text"), ".zip", packages.Limits{}, errs.Invalid, "damaged")
		refused(t, []byte("plain text"), ".tar.bz2", packages.Limits{}, errs.Invalid, "damaged")
		refused(t, []byte("plain text"), ".rar", packages.Limits{}, errs.Invalid, "cannot be read")
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := packages.Check(ctx, stored(t, zipOf(t, body)), ".zip", packages.Limits{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestExtractKeepsExistingFolder(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	if err := os.WriteFile(filepath.Join(dest, "mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := packages.Extract(t.Context(), stored(t, zipOf(t, item{name: "a"})), ".zip", dest, packages.Limits{}); err == nil {
		t.Error("unfolded over an existing folder")
	}
	if got := tree(t, dest); len(got) != 1 {
		t.Errorf("now there: %q", got)
	}
}

func TestDiffContents(t *testing.T) {
	t.Parallel()
	before := stored(t, zipOf(t, item{name: "a/"}, item{name: "a/same", body: "1"}, item{name: "conf.json", body: "{\n \"port\": 80\n}\n"}, item{name: "gone", body: "x"},
		item{name: "logo", body: "\x00\x01"}, item{name: "run", body: "sh", mode: 0o644}, item{name: "to", link: "conf.json"}))
	after := stored(t, zipOf(t, item{name: "run", body: "sh", mode: 0o755}, item{name: "conf.json", body: "{\n \"port\": 8080\n}\n"}, item{name: "a/same", body: "1"},
		item{name: "logo", body: "\x00\x02"}, item{name: "to", link: "run"}, item{name: "new", body: "y"}))
	changes, err := packages.DiffContents(t.Context(), before, after, ".zip", packages.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, string(c.Kind)+" "+c.Name)
		if (c.Text != "") != (c.Name == "conf.json") {
			t.Errorf("%s: text %q", c.Name, c.Text)
		}
		if c.Name == "conf.json" && (!strings.Contains(c.Text, "- \"port\": 80\n") || !strings.Contains(c.Text, "+ \"port\": 8080\n")) {
			t.Error(c.Text)
		}
	}
	if want := "changed conf.json, removed gone, changed logo, added new, changed run, changed to"; strings.Join(got, ", ") != want {
		t.Errorf("got %q", got)
	}
	if same, err := packages.DiffContents(t.Context(), before, before, ".zip", packages.Limits{}); err != nil || len(same) != 0 {
		t.Errorf("with itself: %v %v", same, err)
	}
}

// The digest of the contents is that of what gets unfolded, not of how it was packed.
func TestContentDigest(t *testing.T) {
	t.Parallel()
	digest := func(b []byte, ext string) string {
		entries, err := packages.Inspect(t.Context(), stored(t, b), ext, packages.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return packages.ContentDigest(entries)
	}
	a, b := item{name: "a", body: "1"}, item{name: "b/c", body: "2"}
	first := digest(zipOf(t, a, b), ".zip")
	for _, same := range []string{digest(zipOf(t, b, a), ".zip"), digest(gzipOf(t, tarOf(t, item{name: "b/"}, a, b)), ".tgz")} {
		if same != first {
			t.Error("differs by packing")
		}
	}
	for _, other := range []item{{name: "a", body: "2"}, {name: "A", body: "1"}, {name: "a", body: "1", mode: 0o755}, {name: "a", link: "b/c"}} {
		if digest(zipOf(t, other, b), ".zip") == first {
			t.Errorf("the same for %+v", other)
		}
	}
}

// FuzzExtract: whatever the bytes, nothing appears beside the folder, no link in it
// leads out, and a refusal leaves nothing.
func FuzzExtract(f *testing.F) {
	ok := []item{{name: "a/b", body: "x"}, {name: "l", link: "a/b"}}
	f.Add(zipOf(f, ok...), ".zip")
	f.Add(tarOf(f, ok...), ".tar")
	f.Add(gzipOf(f, tarOf(f, ok...)), ".tgz")
	f.Add(zipOf(f, item{name: "../x", body: "x"}), ".zip")
	f.Add(tarOf(f, item{name: "d", link: "."}, item{name: "d/e", link: "../x"}), ".tar")
	f.Fuzz(func(t *testing.T, b []byte, ext string) {
		around := t.TempDir()
		file, dest := filepath.Join(around, "file"), filepath.Join(around, "out")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := packages.Extract(t.Context(), file, ext, dest, packages.Limits{Bytes: 1 << 20, Entries: 100})
		names, _ := os.ReadDir(around)
		if want := 2; err != nil && len(names) != 1 || err == nil && len(names) != want {
			t.Fatalf("%v: %v", err, names)
		}
		if err != nil {
			return
		}
		root, err := os.OpenRoot(dest)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type() == fs.ModeSymlink {
				if _, err := root.Stat(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s leads out: %v", p, err)
				}
			}
			return err
		})
	})
}

// Budgets, for 200 files of 100 KB of text on one core, in bytes unfolded: Extract
// at least 0.4 of Bare, which only inflates the same zip with the standard library
// and throws the bytes away; creating the files takes the other half. A ratio, since
// machines drift.
func BenchmarkExtract(b *testing.B) {
	items, total := make([]item, 200), 0
	for i := range items {
		var s strings.Builder
		for n := 0; s.Len() < 100<<10; n++ {
			fmt.Fprintf(&s, "line %d of file %d: %x\n", n, i, n*n*7919)
		}
		items[i] = item{name: fmt.Sprintf("dir%d/file%d", i%20, i), body: s.String()}
		total += s.Len()
	}
	file, dir := stored(b, zipOf(b, items...)), b.TempDir()
	b.Run("Extract", func(b *testing.B) {
		b.SetBytes(int64(total))
		for b.Loop() {
			dest := filepath.Join(dir, "out")
			if _, err := packages.Extract(b.Context(), file, ".zip", dest, packages.Limits{}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			os.RemoveAll(dest)
			b.StartTimer()
		}
	})
	b.Run("Bare", func(b *testing.B) {
		b.SetBytes(int64(total))
		for b.Loop() {
			z, err := zip.OpenReader(file)
			if err != nil {
				b.Fatal(err)
			}
			for _, f := range z.File {
				r, err := f.Open()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
			z.Close()
		}
	})
}
