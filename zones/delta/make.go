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
	var looked opened
	if version >= 2 {
		if looked, err = open(ctx, now, was); err != nil {
			return st, fmt.Errorf("make recipe: %w", err)
		}
	}
	if err := errors.Join(was.finish(), now.finish()); err != nil {
		return st, err
	}
	m, err := newMatcher(ctx, was, was.total)
	if err != nil {
		return st, fmt.Errorf("make recipe: %w", err)
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
		e := &edits{writer: out, packs: looked.packs}
		end := int64(0)
		for _, s := range looked.unpacked {
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

// opened tells what was unpacked of the basis, and what is packed in the new file.
type opened struct {
	unpacked []stream
	packs    []pack
}

// open unpacks what differs between two archives: the streams of the new one that are not
// in the old one as they are and that can be made again, and those of the old one that
// are gone. Nothing is unpacked when that does not help.
func open(ctx context.Context, now, was *view) (opened, error) {
	var o opened
	list, gz := streams(now.file, now.size)
	old, oldGz := streams(was.file, was.size)
	if len(list) == 0 || len(old) == 0 {
		return o, nil
	}
	list, old = without(list, old), without(old, list)
	var hint deflate.Model
	limit := unpackable(now.size)
	for i := 0; i < len(list); i++ {
		s := list[i]
		n, err := deflate.Parse(io.NewSectionReader(now.file, s.offset, now.size-s.offset), limit, hint, now.w)
		if cerr := ctx.Err(); cerr != nil {
			return o, cerr
		}
		if errors.Is(err, deflate.ErrOdd) {
			if err := now.rewind(); err != nil {
				return o, err
			}
			continue
		}
		if err != nil {
			return o, err
		}
		start := now.total + s.offset - now.packed
		now.tell(s.offset, n.Packed, n.Length)
		limit -= n.Length
		hint = n.Model
		o.packs = append(o.packs, pack{start: start, notes: n})
		if gz {
			if at, ok := member(now.file, now.size, now.packed+8); ok && len(list) < maxEntries {
				list = append(list, stream{offset: at})
			}
		}
	}
	if len(o.packs) == 0 {
		return o, nil
	}
	d := deflate.NewDecoder(nil)
	limit = unpackable(was.size)
	for i := 0; i < len(old); i++ {
		s := old[i]
		packed, content, err := was.unpack(ctx, d, s.offset, limit)
		if cerr := ctx.Err(); cerr != nil {
			return o, cerr
		}
		if err != nil {
			continue
		}
		limit -= content
		o.unpacked = append(o.unpacked, stream{offset: s.offset, packed: packed, content: content})
		if oldGz {
			if at, ok := member(was.file, was.size, was.packed+8); ok && len(old) < maxEntries {
				old = append(old, stream{offset: at})
			}
		}
	}
	return o, nil
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
