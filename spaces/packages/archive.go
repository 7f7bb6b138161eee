package packages

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/text/unicode/norm"

	"octopuses.dev/octopuses/spaces/errs"
)

// Limits bound what an archive may unfold to. Zero values are the defaults.
type Limits struct {
	Bytes   int64 // of all files together; 0: 20 GiB
	Entries int   // 0: 200,000
	Ratio   int64 // unfolded to packed, beyond the first 10 MiB; 0: 200
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 20 << 30
	}
	if l.Entries == 0 {
		l.Entries = 200_000
	}
	if l.Ratio == 0 {
		l.Ratio = 200
	}
	return l
}

// Entry is a file, folder or link in an archive.
type Entry struct {
	Name   string // cleaned, with slashes
	Size   int64
	Mode   fs.FileMode // with the bits of directories and symbolic links
	Link   string      // target of a symbolic link
	Digest string      // lower-case hex SHA-256 of a regular file's content; set by [Inspect]
}

// hostile is the refusal of an archive for one of its entries.
func hostile(name, format string, args ...any) error {
	return errs.New(errs.Invalid, "The archive is refused: entry %.200q %s.", name, fmt.Sprintf(format, args...)).WithHint("Make the package anew with an ordinary archiver.")
}

// walk calls f for each entry of an archive, in order, with its content.
func walk(ctx context.Context, file, extension string, l Limits, f func(Entry, io.Reader) error) error {
	l = l.withDefaults()
	in, err := os.Open(file)
	if err != nil {
		return err // the caller names the file
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	g := &guard{ctx: ctx, limits: l, packed: info.Size(), names: map[string]named{}}
	switch strings.ToLower(extension) {
	case ".zip", ".nupkg", ".jar", ".war", ".ear":
		return g.zip(in, f)
	case ".tar":
		return g.tar(in, f)
	case ".tar.gz", ".tgz":
		z, err := gzip.NewReader(in)
		if err != nil {
			return damaged(err)
		}
		return g.tar(&unfolded{g: g, r: z}, f)
	case ".tar.bz2", ".tbz":
		return g.tar(&unfolded{g: g, r: bzip2.NewReader(in)}, f)
	}
	return errs.New(errs.Invalid, "Archives of type '%s' cannot be read here.", extension)
}

// damaged is the refusal of an archive that cannot be read to its end.
func damaged(err error) error {
	if k := errs.KindOf(err); k != errs.Internal || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // says already what it is
	}
	return errs.Wrap(errs.Invalid, err, "The archive is damaged: %v.", err).WithHint("Make the package anew and push it again.")
}

// guard keeps the limits and the rules about names over one archive.
type guard struct {
	ctx     context.Context
	limits  Limits
	packed  int64
	total   int64
	entries int
	names   map[string]named // folded name → what it is
}

// named is a name that an archive has taken.
type named struct {
	name string
	kind fs.FileMode // its type bits: 0, fs.ModeDir or fs.ModeSymlink
}

// directoryBudget bounds what the directory of a zip may take of memory before the
// first entry is looked at: archive/zip reads all of it at once, and a gigabyte of
// empty records would become many gigabytes of structures.
func (g *guard) directoryBudget() int64 { return 1<<20 + int64(g.limits.Entries)*200 }

// metered stops reading at a budget.
type metered struct {
	r    io.ReaderAt
	left int64 // below zero: unlimited
}

var errDirectory = errors.New("the directory is too large")

func (m *metered) ReadAt(p []byte, off int64) (int, error) {
	if m.left >= 0 {
		if m.left < int64(len(p)) {
			return 0, errDirectory
		}
		m.left -= int64(len(p))
	}
	return m.r.ReadAt(p, off)
}

func (g *guard) zip(in *os.File, f func(Entry, io.Reader) error) error {
	m := &metered{r: in, left: g.directoryBudget()}
	r, err := zip.NewReader(m, g.packed)
	if errors.Is(err, errDirectory) || err == nil && len(r.File) > g.limits.Entries {
		return g.tooMany()
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return damaged(err)
	}
	m.left = -1
	r.RegisterDecompressor(zip.Deflate, flate.NewReader) // half again as fast as the standard library's
	for _, z := range r.File {
		e := Entry{Name: z.Name, Mode: z.Mode(), Size: int64(z.UncompressedSize64)}
		if strings.HasSuffix(z.Name, "/") {
			e.Mode |= fs.ModeDir
		}
		if err := g.entry(&e); err != nil {
			return err
		}
		if e.Name == "." {
			continue
		}
		if err := g.zipEntry(z, e, f); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) zipEntry(z *zip.File, e Entry, f func(Entry, io.Reader) error) error {
	content, err := z.Open()
	if err != nil {
		return damaged(err)
	}
	defer content.Close()
	if e.Mode&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(io.LimitReader(content, 4097))
		if err != nil {
			return damaged(err)
		}
		e.Link = string(target)
		if err := checkLink(e); err != nil {
			return err
		}
	}
	return f(e, g.content(e.Name, content))
}

func (g *guard) tar(in io.Reader, f func(Entry, io.Reader) error) error {
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			// A tar ends before its stream does; the checksum stands behind it.
			if _, err := io.Copy(io.Discard, in); err != nil {
				return damaged(err)
			}
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return damaged(err)
		}
		e := Entry{Name: h.Name, Mode: h.FileInfo().Mode(), Size: h.Size, Link: h.Linkname}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
		case tar.TypeXGlobalHeader:
			continue
		default:
			return hostile(h.Name, "is neither a file, a folder nor a symbolic link")
		}
		if err := g.entry(&e); err != nil {
			return err
		}
		if e.Name == "." {
			continue
		}
		if e.Mode&fs.ModeSymlink != 0 {
			if err := checkLink(e); err != nil {
				return err
			}
		}
		if err := f(e, g.content(e.Name, r)); err != nil {
			return err
		}
	}
}

func (g *guard) tooMany() error {
	return errs.New(errs.TooLarge, "The archive has more than %d entries.", g.limits.Entries)
}

// entry checks a name and cleans it.
func (g *guard) entry(e *Entry) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	if g.entries++; g.entries > g.limits.Entries {
		return g.tooMany()
	}
	name := e.Name
	switch {
	case name == "":
		return hostile(name, "has no name")
	case len(name) > 4096:
		return hostile(name, "has a name longer than 4096 bytes")
	case strings.Contains(name, `\`):
		// A separator for some readers and a letter for others: what one checks the
		// other unpacks elsewhere.
		return hostile(name, "has a backslash in its name")
	case strings.HasPrefix(name, "/") || len(name) > 1 && name[1] == ':':
		return hostile(name, "has an absolute name")
	}
	for _, r := range name {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return hostile(name, "has a control character in its name")
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return hostile(name, "leads out of the folder")
		}
		if len(part) > 255 {
			return hostile(name, "has a part longer than 255 bytes")
		}
	}
	e.Name = path.Clean(strings.TrimSuffix(name, "/"))
	if e.Mode&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeIrregular) != 0 {
		return hostile(e.Name, "is a device, pipe or socket")
	}
	if e.Name == "." {
		if !e.Mode.IsDir() {
			return hostile(name, "takes the place of the folder itself")
		}
		return nil
	}
	return g.take(e)
}

// take reserves the name of an entry and of the folders it lies in. Names that a
// file system or a person takes for the same are an attack on whoever looked at only
// one of them. Nothing lies behind a link either: where it would land depends on the
// link and no longer on the name.
func (g *guard) take(e *Entry) error {
	for i := range len(e.Name) {
		if e.Name[i] != '/' {
			continue
		}
		dir := e.Name[:i]
		other, taken := g.names[fold(dir)]
		switch {
		case !taken:
			g.names[fold(dir)] = named{dir, fs.ModeDir}
		case other.name != dir:
			return hostile(e.Name, "lies in a folder that stands twice (%.200q)", other.name)
		case other.kind == fs.ModeSymlink:
			return hostile(e.Name, "lies behind the link %.200q", dir)
		case other.kind != fs.ModeDir:
			return hostile(e.Name, "lies inside of the file %.200q", dir)
		}
	}
	folded, kind := fold(e.Name), e.Mode.Type()
	if other, taken := g.names[folded]; taken && !(kind == fs.ModeDir && other == named{e.Name, fs.ModeDir}) {
		return hostile(e.Name, "stands twice (%.200q)", other.name)
	}
	g.names[folded] = named{e.Name, kind}
	return nil
}

// fold maps names that a file system may not tell apart to the same text.
func fold(name string) string {
	if !utf8.ValidString(name) {
		return name // an old code page; lowering would make all of its letters the same
	}
	return strings.ToLower(norm.NFC.String(name))
}

// checkLink lets a symbolic link point only to something inside the archive.
func checkLink(e Entry) error {
	target := strings.ReplaceAll(e.Link, `\`, "/")
	if target == "" || len(target) > 4096 || strings.HasPrefix(target, "/") || len(target) > 1 && target[1] == ':' || strings.ContainsRune(target, 0) {
		return hostile(e.Name, "is a link to %.200q, outside of the folder", e.Link)
	}
	if at := path.Join(path.Dir(e.Name), target); at == ".." || strings.HasPrefix(at, "../") {
		return hostile(e.Name, "is a link to %.200q, outside of the folder", e.Link)
	}
	return nil
}

func (g *guard) content(name string, r io.Reader) io.Reader { return &bounded{g, name, r} }

// bounded counts what an archive unfolds to and stops a bomb.
type bounded struct {
	g    *guard
	name string
	r    io.Reader
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.g.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.g.total += int64(n)
	if err := b.g.bomb(b.g.total, b.g.limits.Bytes); err != nil {
		return n, err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, damaged(err)
	}
	return n, err
}

// bomb tells whether n bytes are more than an honest archive of this size holds.
func (g *guard) bomb(n, limit int64) error {
	if n > limit {
		return errs.New(errs.TooLarge, "The archive unfolds to more than %s.", Bytes(limit))
	}
	if n > 10<<20 && n > g.packed*g.limits.Ratio {
		return errs.New(errs.TooLarge, "The archive unfolds to more than %d times its size; it looks like a bomb.", g.limits.Ratio)
	}
	return nil
}

// unfolded bounds a tar within a compressed stream as a whole: headers without end
// and what lies between files are never counted as content.
type unfolded struct {
	g *guard
	r io.Reader
	n int64
}

func (u *unfolded) Read(p []byte) (int, error) {
	if err := u.g.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := u.r.Read(p)
	u.n += int64(n)
	if err := u.g.bomb(u.n, u.g.limits.Bytes+int64(u.g.limits.Entries)*4096); err != nil {
		return n, err
	}
	return n, err
}
