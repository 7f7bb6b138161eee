package bundle

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// A file that is too large for a medium travels in parts; docs/formats/parts.md is
// normative. Parts are nobody's statement: what counts is the file that they make, which
// is verified as any other.

// Part is the first line of a part.
type Part struct {
	Format string `json:"format"`
	Name   string `json:"name"`   // of the whole file, for people
	SHA256 string `json:"sha256"` // of the whole file
	Size   int64  `json:"size"`   // of the whole file, bytes
	Number int    `json:"number"` // from 1
	Count  int    `json:"count"`
	Offset int64  `json:"offset"` // of this part's bytes in the whole file
	Length int64  `json:"length"`
	Digest string `json:"digest"` // SHA-256 of this part's bytes
}

const (
	partFormat  = "octopuses-part/1"
	partHead    = 1 << 10 // more than the first line is
	minPart     = 4 << 10
	maxParts    = 9999
	maxPartName = 255
)

// PartBegins is how each part begins, and no other file of these formats.
const PartBegins = `{"count":`

// IsPart reports whether the file at path is a part; one that cannot be read is not.
func IsPart(path string) bool {
	_, _, err := partOf(path)
	return err == nil
}

// Split writes a file in parts of at most limit bytes each into a folder, as
// NAME.001 and so on, and returns their paths. Nothing is left there when it fails.
func Split(ctx context.Context, path, folder string, limit int64) (paths []string, err error) {
	if limit < minPart {
		return nil, errs.New(errs.Invalid, "A part has at least %d bytes.", minPart)
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	body := limit - partHead
	p := Part{Format: partFormat, Name: visible(filepath.Base(path)), Size: info.Size(), Count: int((info.Size() + body - 1) / body)}
	if len(p.Name) > maxPartName {
		p.Name = cut(p.Name, maxPartName)
	}
	switch {
	case p.Size == 0:
		return nil, errs.New(errs.Invalid, "%s is empty.", path)
	case p.Count > maxParts:
		return nil, errs.New(errs.Invalid, "That would be %d parts; there can be %d.", p.Count, maxParts).WithHint("Choose larger parts.")
	}
	if p.SHA256, err = digestOf(ctx, in, p.Size); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, made := range paths {
				os.Remove(made)
			}
			paths = nil
		}
	}()
	for p.Number = 1; p.Number <= p.Count; p.Number++ {
		p.Offset = int64(p.Number-1) * body
		p.Length = min(body, p.Size-p.Offset)
		if p.Digest, err = digestOf(ctx, io.NewSectionReader(in, p.Offset, p.Length), p.Length); err != nil {
			return paths, err
		}
		head, err := canonical(p)
		if err != nil {
			return paths, err
		}
		to := filepath.Join(folder, fmt.Sprintf("%s.%03d", filepath.Base(path), p.Number))
		out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return paths, err
		}
		paths = append(paths, to)
		_, err = io.Copy(out, io.MultiReader(strings.NewReader(string(head)+"\n"), ctxReader{ctx, io.NewSectionReader(in, p.Offset, p.Length)}))
		if err == nil {
			err = out.Sync()
		}
		if err = cmp.Or(err, out.Close()); err != nil {
			return paths, err
		}
	}
	return paths, nil
}

// Join makes the whole file out of its parts, given in any order, and returns its name at
// the time it was split. The file stands there only when its digest is the announced one.
// Errors: [errs.Invalid] for a part that is missing, damaged or of another file.
func Join(ctx context.Context, parts []string, to string) (Part, error) {
	if _, err := os.Lstat(to); err == nil {
		return Part{}, errs.New(errs.Exists, "There is already something at %s.", to)
	}
	type source struct {
		Part
		path string
		skip int64
	}
	var all []source
	for _, path := range parts {
		p, skip, err := partOf(path)
		if err != nil {
			return p, err
		}
		all = append(all, source{p, path, skip})
	}
	if len(all) == 0 {
		return Part{}, errs.New(errs.Invalid, "No part was given.")
	}
	first := all[0]
	slices.SortStableFunc(all, func(a, b source) int { return a.Number - b.Number })
	var missing []string
	next, at, i := 1, int64(0), 0
	for ; next <= first.Count; next++ {
		for i < len(all) && all[i].Number < next { // the same part twice
			i++
		}
		if i == len(all) || all[i].Number != next {
			missing = append(missing, fmt.Sprint(next))
			continue
		}
	}
	for _, s := range all {
		if s.SHA256 != first.SHA256 || s.Size != first.Size || s.Count != first.Count {
			return s.Part, errs.New(errs.Invalid, "%s is a part of another file (%s) than %s (%s).", s.path, s.Name, first.path, first.Name).WithHint("Leave it out.")
		}
	}
	if len(missing) > 0 {
		return first.Part, errs.New(errs.Invalid, "Of the %d parts of %s these are missing: %s.", first.Count, first.Name, strings.Join(missing, ", "))
	}
	out, err := os.CreateTemp(filepath.Dir(to), ".join-*")
	if err != nil {
		return first.Part, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	whole := sha256.New()
	done := 0
	for _, s := range all {
		if s.Number == done {
			continue
		}
		if s.Offset != at {
			return s.Part, errs.New(errs.Invalid, "%s does not begin where the part before it ends.", s.path)
		}
		done, at = s.Number, at+s.Length
		if err := copyPart(ctx, io.MultiWriter(out, whole), s.path, s.skip, s.Part); err != nil {
			return s.Part, err
		}
	}
	if at != first.Size || hex.EncodeToString(whole.Sum(nil)) != first.SHA256 {
		return first.Part, errs.New(errs.Invalid, "The parts do not make the file that they announce.")
	}
	if err := cmp.Or(out.Chmod(0o600), out.Sync(), out.Close()); err != nil {
		return first.Part, err
	}
	if err := os.Link(out.Name(), to); err != nil { // unlike a renaming, never over another file
		return first.Part, os.Rename(out.Name(), to)
	}
	return first.Part, nil
}

func copyPart(ctx context.Context, w io.Writer, path string, skip int64, p Part) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), ctxReader{ctx, io.NewSectionReader(in, skip, p.Length+1)})
	if err != nil {
		return err
	}
	if n != p.Length || hex.EncodeToString(sum.Sum(nil)) != p.Digest {
		return errs.New(errs.Invalid, "%s is damaged.", path).WithHint("Copy this part again.")
	}
	return nil
}

// partOf reads the first line of a part; skip is where its bytes begin.
func partOf(path string) (p Part, skip int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, 0, err
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(io.LimitReader(f, partHead), partHead).ReadBytes('\n')
	text, ok := strings.CutSuffix(string(line), "\n")
	if err != nil && err != io.EOF {
		return p, 0, err
	}
	if !ok || json.Unmarshal([]byte(text), &p) != nil || p.Format != partFormat || !isDigest(p.SHA256) || !isDigest(p.Digest) ||
		p.Count < 1 || p.Count > maxParts || p.Number < 1 || p.Number > p.Count || p.Offset < 0 || p.Length < 1 || p.Size < 1 || p.Length > p.Size-p.Offset {
		return p, 0, errs.New(errs.Invalid, "%s is no part of a file.", path)
	}
	p.Name = printable(p.Name)
	return p, int64(len(line)), nil
}

func digestOf(ctx context.Context, r io.Reader, size int64) (string, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, ctxReader{ctx, r})
	if err == nil && n != size {
		err = errs.New(errs.Invalid, "The file changed while it was read.")
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}
