package delta

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"octopuses.dev/octopuses/zones/delta/deflate"
)

// Version is the newest version of recipes that this package makes; it reads all from 1
// to this. Whoever asks for a recipe says which version it reads.
const Version = 2

// Stats are the figures of a recipe, in bytes of what was compared: archives unpacked
// where that helps.
type Stats struct{ Copied, Literal int64 }

// Make writes a recipe for a file of size bytes out of a basis, in a version that the
// reader knows. Memory does not grow with the files (some 50 MiB at most); what is
// unpacked lies in temporary files.
func Make(ctx context.Context, file io.ReaderAt, size int64, basis io.ReaderAt, basisSize int64, basisDigest string, version int, w io.Writer) (Stats, error) {
	var st Stats
	digest, err := hex.DecodeString(basisDigest)
	if err != nil || len(digest) != 32 {
		return st, fmt.Errorf("make recipe: %q is no digest", basisDigest)
	}
	was, err := newView(basis, basisSize)
	if err != nil {
		return st, err
	}
	defer was.Close()
	now, err := newView(file, size)
	if err != nil {
		return st, err
	}
	defer now.Close()
	var list []stream
	var unpacked []stream
	if version >= 2 {
		if list, unpacked, err = was.compare(ctx, now); err != nil {
			return st, fmt.Errorf("make recipe: %w", err)
		}
	}
	if err := was.finish(); err != nil {
		return st, err
	}
	m, err := newMatcher(ctx, was, was.total)
	if err != nil {
		return st, fmt.Errorf("make recipe: %w", err)
	}
	var packs []pack
	if len(list) > 0 {
		if !m.promising(now, list) {
			return st, ErrUseless
		}
		if packs, err = now.take(ctx, list); err != nil {
			return st, fmt.Errorf("make recipe: %w", err)
		}
	}
	if err := now.finish(); err != nil {
		return st, err
	}
	magic := magic1
	if version >= 2 {
		magic = magic2
	}
	out, err := newWriter(w, magic, size, digest)
	if err != nil {
		return st, err
	}
	count := func(emit func([]byte, int64, int64) error) func([]byte, int64, int64) error {
		return func(literal []byte, from, n int64) error {
			st.Literal += int64(len(literal))
			st.Copied += n
			return emit(literal, from, n)
		}
	}
	if version >= 2 {
		e := &edits{writer: out, packs: packs}
		end := int64(0)
		for _, s := range unpacked {
			out.w.WriteByte(opUnpack)
			out.numbers(uint64(s.offset-end), uint64(s.content))
			end = s.offset + s.packed
		}
		err = m.diff(ctx, now, now.total, count(e.emit))
		e.flush()
	} else {
		c := &copies{writer: out}
		err = m.diff(ctx, now, now.total, count(c.emit))
		c.flush()
	}
	return st, errors.Join(err, out.close())
}

// compare finds the streams of a new file that are worth to be unpacked: those that the
// old one has not as they are. It unpacks those of the old one that are gone.
func (v *view) compare(ctx context.Context, now *view) (list, unpacked []stream, err error) {
	list, _ = streams(now.file, now.size)
	old, gz := streams(v.file, v.size)
	list, old = without(list, old), without(old, list)
	if len(list) == 0 || len(old) == 0 {
		return nil, nil, nil
	}
	d := deflate.NewDecoder(nil)
	limit := unpackable(v.size)
	for i := 0; i < len(old); i++ {
		at := old[i].offset
		packed, content, err := v.unpack(ctx, d, at, limit)
		if cerr := ctx.Err(); cerr != nil {
			return nil, nil, cerr
		}
		if err != nil {
			continue // stays packed
		}
		limit -= content
		unpacked = append(unpacked, stream{offset: at, packed: packed, content: content})
		if gz {
			old = v.another(old)
		}
	}
	if len(unpacked) == 0 {
		return nil, nil, nil
	}
	return list, unpacked, nil
}

// another adds the member of a gzip file that follows what was unpacked, if there is one.
func (v *view) another(list []stream) []stream {
	if at, ok := member(v.file, v.size, v.packed+8); ok && len(list) < maxEntries {
		return append(list, stream{offset: at})
	}
	return list
}

// take unpacks the streams of a new file that can be packed again.
func (v *view) take(ctx context.Context, list []stream) ([]pack, error) {
	var packs []pack
	var hint deflate.Model
	limit := unpackable(v.size)
	for i := 0; i < len(list); i++ {
		s := list[i]
		n, err := deflate.Parse(io.NewSectionReader(v.file, s.offset, v.size-s.offset), limit, hint, v.w)
		if cerr := ctx.Err(); cerr != nil {
			return nil, cerr
		}
		if errors.Is(err, deflate.ErrOdd) {
			if err := v.rewind(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		start := v.total + s.offset - v.packed
		v.tell(s.offset, n.Packed, n.Length)
		limit -= n.Length
		hint = n.Model
		packs = append(packs, pack{start: start, notes: n})
		if s.packed == 0 {
			list = v.another(list)
		}
	}
	return packs, nil
}

// ErrUseless is for a basis that has little in common with a file: no recipe is made.
var ErrUseless = errors.New("the basis has little in common with the file")

const (
	samples    = 16 << 20 // bytes of new streams of which samples are taken
	sampleStep = 1 << 12
)

// promising looks whether the basis has some of a new file, before that is taken apart
// with much more effort: a twentieth of the samples, or a quarter of the file as it is.
func (m *matcher) promising(now *view, list []stream) bool {
	same := now.size
	found, all := 0, 0
	d := deflate.NewDecoder(nil)
	var b deflate.Block
	for i, s := range list {
		if same -= s.packed; s.packed == 0 {
			same = 0
		}
		if i%(1+len(list)/256) != 0 {
			continue
		}
		d.Reset(io.NewSectionReader(now.file, s.offset, now.size-s.offset))
		for left := samples / min(len(list), 256); left > 0 && d.Next(&b) == nil; left -= len(b.Content) {
			for at := 0; at+longSize+int(m.step) <= len(b.Content); at += sampleStep {
				all++
				for k := range m.step {
					if rest := b.Content[at+int(k):]; m.has(rest) {
						found++
						break
					}
				}
			}
		}
	}
	return same > now.size/4 || all < 8 || found > all/20
}

// without drops the streams that another list has, too: as they are compressed they are
// found as they are. Those of gzip files are not known before they are read, and stay.
func without(list, other []stream) []stream {
	type key struct {
		packed, content int64
		crc             uint32
	}
	have := map[key]bool{}
	for _, s := range other {
		have[key{s.packed, s.content, s.crc}] = true
	}
	var out []stream
	for _, s := range list {
		if s.packed == 0 || !have[key{s.packed, s.content, s.crc}] {
			out = append(out, s)
		}
	}
	return out
}
