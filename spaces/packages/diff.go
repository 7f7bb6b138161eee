package packages

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"io/fs"
	"sort"
	"unicode/utf8"

	"github.com/pmezard/go-difflib/difflib"
)

// Change is one entry in which two archives differ.
type Change struct {
	Name string
	Kind ChangeKind
	Old  *Entry // nil when added
	New  *Entry // nil when removed
	Text string // unified difference of small text files that changed; "" otherwise
}

// ChangeKind says how an entry differs.
type ChangeKind string

const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed" // content, link, or whether it may be executed
)

// What a text difference may be about. Two thousand lines against two thousand
// others take the differ 0.1 s; the total keeps a page of a large package readable.
const (
	diffFileBytes  = 128 << 10
	diffFileLines  = 2000
	diffTotalBytes = 1 << 20
)

// DiffContents compares the files and links of two archives, sorted by name.
// Folders do not count. Errors are those of [Extract].
func DiffContents(ctx context.Context, oldFile, newFile, extension string, l Limits) ([]Change, error) {
	before, err := Inspect(ctx, oldFile, extension, l)
	if err != nil {
		return nil, err
	}
	after, err := Inspect(ctx, newFile, extension, l)
	if err != nil {
		return nil, err
	}
	old := map[string]*Entry{}
	for i, e := range before {
		if !e.Mode.IsDir() {
			old[e.Name] = &before[i]
		}
	}
	var out []Change
	for i, e := range after {
		if e.Mode.IsDir() {
			continue
		}
		was, there := old[e.Name]
		delete(old, e.Name)
		switch {
		case !there:
			out = append(out, Change{Name: e.Name, Kind: Added, New: &after[i]})
		case !same(*was, e):
			out = append(out, Change{Name: e.Name, Kind: Changed, Old: was, New: &after[i]})
		}
	}
	for name, e := range old {
		out = append(out, Change{Name: name, Kind: Removed, Old: e})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, addText(ctx, out, oldFile, newFile, extension, l)
}

// same tells whether two entries would be unfolded alike, but for their times.
func same(a, b Entry) bool {
	return a.Digest == b.Digest && a.Link == b.Link && a.Mode.Type() == b.Mode.Type() && (a.Mode&0o111 == 0) == (b.Mode&0o111 == 0)
}

// addText renders the difference of small text files, reading both archives again:
// which files matter is known only after the first reading.
func addText(ctx context.Context, changes []Change, oldFile, newFile, extension string, l Limits) error {
	wanted, total := map[string]bool{}, int64(0)
	for _, c := range changes {
		if c.Kind != Changed || !small(c.Old) || !small(c.New) || c.Old.Digest == c.New.Digest {
			continue
		}
		if total += c.Old.Size + c.New.Size; total > diffTotalBytes {
			break
		}
		wanted[c.Name] = true
	}
	if len(wanted) == 0 {
		return nil
	}
	before, err := contents(ctx, oldFile, extension, l, wanted)
	if err != nil {
		return err
	}
	after, err := contents(ctx, newFile, extension, l, wanted)
	if err != nil {
		return err
	}
	for i, c := range changes {
		if wanted[c.Name] {
			changes[i].Text = unified(before[c.Name], after[c.Name])
		}
	}
	return nil
}

func small(e *Entry) bool { return e.Mode&fs.ModeType == 0 && e.Size <= diffFileBytes }

func contents(ctx context.Context, file, extension string, l Limits, wanted map[string]bool) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := walk(ctx, file, extension, l, func(e Entry, r io.Reader) error {
		if !wanted[e.Name] {
			return nil
		}
		b, err := io.ReadAll(io.LimitReader(r, diffFileBytes))
		out[e.Name] = b
		return err
	})
	return out, err
}

// unified is "" unless both are text.
func unified(a, b []byte) string {
	if !isText(a) || !isText(b) || bytes.Count(a, []byte("\n")) > diffFileLines || bytes.Count(b, []byte("\n")) > diffFileLines {
		return ""
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: difflib.SplitLines(string(a)), B: difflib.SplitLines(string(b)), Context: 3})
	if err != nil {
		return "" // of writing into memory: does not happen
	}
	return text
}

func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// ContentDigest is the digest of a list of entries: of what the archive unfolds to,
// whatever its compression, order and times.
func ContentDigest(entries []Entry) string {
	sorted := make([]Entry, 0, len(entries))
	for _, e := range entries {
		if !e.Mode.IsDir() {
			sorted = append(sorted, e)
		}
	}
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	h := NewHash()
	for _, e := range sorted {
		executable := "-"
		if e.Mode&0o111 != 0 {
			executable = "x"
		}
		io.WriteString(h, e.Name+"\x00"+executable+"\x00"+e.Digest+"\x00"+e.Link+"\x00")
	}
	return hex.EncodeToString(h.Sum(nil))
}
