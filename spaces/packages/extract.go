package packages

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Inspect lists the entries of an archive with their digests, in the archive's
// order, having read all of it. Errors are those of [Extract].
func Inspect(ctx context.Context, file, extension string, l Limits) ([]Entry, error) {
	var out []Entry
	err := walk(ctx, file, extension, l, func(e Entry, r io.Reader) error {
		if e.Mode.IsRegular() {
			h := NewHash()
			n, err := io.Copy(h, r)
			if err != nil {
				return err
			}
			e.Size, e.Digest = n, hex.EncodeToString(h.Sum(nil))
		}
		out = append(out, e)
		return nil
	})
	return out, err
}

// List is [Inspect] without digests: of a zip it reads the directory only, so that a
// page can show what a large package holds.
func List(ctx context.Context, file, extension string, l Limits) ([]Entry, error) {
	var out []Entry
	err := walk(ctx, file, extension, l, func(e Entry, _ io.Reader) error {
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
	var links []Entry
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
			links = append(links, e)
			return diskError(root.Symlink(e.Link, e.Name))
		}
		files++
		return extractFile(root, e, r)
	})
	if err != nil {
		return files, err
	}
	return files, checkLinks(root, links)
}

// checkLinks follows every link once all of them are there. Each may be harmless by
// itself and lead out in a row: "d" to ".." of its folder, then "e" to "d/../..".
// One that leads nowhere is let be, as in an ordinary archive of half a tree.
func checkLinks(root *os.Root, links []Entry) error {
	for _, e := range links {
		if _, err := root.Stat(e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return hostile(e.Name, "is a link to %.200q, outside of the folder", e.Link)
		}
	}
	return nil
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
