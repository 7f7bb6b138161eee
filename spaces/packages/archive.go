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
	Name string // cleaned, with slashes
	Size int64
	Mode fs.FileMode // with the bits of directories and symbolic links
	Link string      // target of a symbolic link
}

func hostile(name, format string, args ...any) error {
	return errs.New(errs.Invalid, "The archive is refused: entry %.200q %s.", name, fmt.Sprintf(format, args...)).WithHint("Make the package anew with an ordinary archiver.")
}

// walk calls f for each entry of an archive, in order, with its content.
func walk(ctx context.Context, file, extension string, l Limits, f func(Entry, io.Reader) error) error {
	l = l.withDefaults()
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	g := &guard{ctx: ctx, limits: l, packed: info.Size(), names: map[string]string{}}
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
		return g.tar(z, f)
	case ".tar.bz2", ".tbz":
		return g.tar(bzip2.NewReader(in), f)
	}
	return errs.New(errs.Invalid, "Archives of type '%s' cannot be read here.", extension)
}

func damaged(err error) error {
	return errs.Wrap(errs.Invalid, err, "The archive is damaged: %v.", err).WithHint("Make the package anew and push it again.")
}

// guard keeps the limits and the rules about names over one archive.
type guard struct {
	ctx     context.Context
	limits  Limits
	packed  int64
	total   int64
	entries int
	names   map[string]string // folded name → name
}

func (g *guard) zip(in *os.File, f func(Entry, io.Reader) error) error {
	r, err := zip.NewReader(in, g.packed)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return damaged(err)
	}
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

// entry checks a name and cleans it.
func (g *guard) entry(e *Entry) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	if g.entries++; g.entries > g.limits.Entries {
		return errs.New(errs.TooLarge, "The archive has more than %d entries.", g.limits.Entries)
	}
	name := e.Name
	if strings.ContainsRune(name, 0) || strings.Contains(name, `\`) && strings.Contains(name, `..`) {
		return hostile(name, "has a name that is no file name")
	}
	name = strings.ReplaceAll(name, `\`, "/") // as archivers on Windows write
	if strings.HasPrefix(name, "/") || len(name) > 1 && name[1] == ':' {
		return hostile(e.Name, "has an absolute name")
	}
	if len(name) > 4096 {
		return hostile(e.Name, "has a name longer than 4096 bytes")
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return hostile(e.Name, "leads out of the folder")
		}
		for _, r := range part {
			if r < 0x20 || r == 0x7f {
				return hostile(e.Name, "has a control character in its name")
			}
		}
	}
	e.Name = path.Clean(strings.TrimSuffix(name, "/"))
	if e.Mode&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeIrregular) != 0 {
		return hostile(e.Name, "is a device, pipe or socket")
	}
	// Names that a file system or a person takes for the same are an attack on
	// whoever looked at only one of them.
	folded := strings.ToLower(norm.NFC.String(e.Name))
	if other, twice := g.names[folded]; twice && !(e.Mode.IsDir() && other == e.Name) {
		return hostile(e.Name, "stands twice (%.200q)", other)
	}
	g.names[folded] = e.Name
	return nil
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
	n, err := b.r.Read(p)
	b.g.total += int64(n)
	if b.g.total > b.g.limits.Bytes {
		return n, errs.New(errs.TooLarge, "The archive unfolds to more than %s.", Bytes(b.g.limits.Bytes))
	}
	if b.g.total > 10<<20 && b.g.total > b.g.packed*b.g.limits.Ratio {
		return n, errs.New(errs.TooLarge, "The archive unfolds to more than %d times its size; it looks like a bomb.", b.g.limits.Ratio)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, damaged(err)
	}
	return n, err
}

// Inspect lists the entries of an archive, having read all of it.
func Inspect(ctx context.Context, file, extension string, l Limits) ([]Entry, error) {
	var out []Entry
	err := walk(ctx, file, extension, l, func(e Entry, r io.Reader) error {
		if e.Mode.IsRegular() {
			n, err := io.Copy(io.Discard, r)
			if err != nil {
				return err
			}
			e.Size = n
		}
		out = append(out, e)
		return nil
	})
	return out, err
}

// Check reads an archive to its end. The error says why it is refused.
func Check(ctx context.Context, file, extension string, l Limits) error {
	_, err := Inspect(ctx, file, extension, l)
	return err
}

// Extract unfolds an archive into a folder that must not exist. After an error the
// folder is gone. Errors: [errs.Invalid] for a damaged or hostile archive,
// [errs.TooLarge] for a bomb, [errs.Unavailable] for a full disk.
func Extract(ctx context.Context, file, extension, dest string, l Limits) (files int, err error) {
	if err := os.Mkdir(dest, 0o755); err != nil {
		return 0, fmt.Errorf("extract: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dest)
		}
	}()
	root, err := os.OpenRoot(dest)
	if err != nil {
		return 0, fmt.Errorf("extract: %w", err)
	}
	defer root.Close()
	err = walk(ctx, file, extension, l, func(e Entry, r io.Reader) error {
		if e.Mode.IsDir() {
			return diskError(root.MkdirAll(e.Name, 0o755))
		}
		if dir := path.Dir(e.Name); dir != "." {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return diskError(err)
			}
		}
		if e.Mode&fs.ModeSymlink != 0 {
			return diskError(root.Symlink(e.Link, e.Name))
		}
		files++
		return extractFile(root, e, r)
	})
	return files, err
}

func extractFile(root *os.Root, e Entry, r io.Reader) error {
	mode := fs.FileMode(0o644)
	if e.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := root.OpenFile(e.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return diskError(err)
	}
	_, err = io.Copy(f, r)
	return diskError(errors.Join(err, f.Close()))
}
