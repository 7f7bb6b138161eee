package bundle

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Extract writes what is in a bundle file into a new folder, once all of it is verified:
// the envelope, each part of the metadata, and the packages under packages/ by their
// names. The sealed values stay sealed. A file that is refused leaves nothing behind.
func Extract(ctx context.Context, r io.Reader, folder string, cards ...*Card) (*Report, error) {
	if _, err := os.Lstat(folder); err == nil {
		return nil, errs.New(errs.Exists, "There is already something at %s.", folder)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(folder)), ".extract-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	// Names come from the bundle. They are made harmless by name, and the root would
	// refuse to leave the folder for any that were not.
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.Mkdir("packages", 0o755); err != nil {
		return nil, err
	}
	v, m, from, present, err := readWith(ctx, r, func(space string) (*Card, error) { return among(cards, space) }, func(p Package) (io.WriteCloser, error) {
		return root.OpenFile("packages/"+fileName(p), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	})
	if err != nil {
		return nil, err
	}
	s := &v.Promotion
	parts := map[string][]byte{"envelope.json": m.Envelope}
	for name, b := range map[string]Blob{"process.json": s.Process, "variables.json": s.Variables, "templates.json": s.Templates, "evidence.json": s.Evidence} {
		parts[name] = m.Blobs[b.Digest]
	}
	for _, x := range s.Sealed {
		parts["sealed-"+x.To+".age"] = m.Blobs[x.Digest]
	}
	if parts["statement.json"], _, err = peek(m.Envelope, MaxEnvelope, "bundle"); err != nil {
		return nil, err
	}
	for name, b := range parts {
		if err := root.WriteFile(name, b, 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, folder); err != nil {
		return nil, fmt.Errorf("extract: %w", err)
	}
	return report(v, from, present), nil
}

// fileName is a name for a package's file that no system takes for something else. The
// digest makes it unique where two packages would have the same one.
func fileName(p Package) string {
	safe := func(r rune) rune {
		if hidden(r) || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}
	name := strings.TrimLeft(strings.Map(safe, cut(p.ID+"."+p.Version, 150)), ".") + "-" + p.Digest[:12] + strings.Map(safe, cut(p.Extension, 20))
	return strings.TrimRight(name, ". ")
}
