// Package delta moves the next version of a package cheaply: a recipe rebuilds a file out
// of ranges of a file that the other side has and of literals for the rest.
//
// Ranges are found by content-defined chunks (a gear hash over the bytes as they are), so
// the unchanged entries of an archive are found wherever they stand. What a recipe gives
// must hash to the file's digest; a recipe is therefore never trusted, only cheap.
//
//	recipe  := magic output-size basis-digest frame
//	frame   := zstd( op* )
//	op      := 0x01 uvarint(offset) uvarint(length)     copy from the basis
//	         | 0x02 uvarint(length) bytes                literal
//
// docs/formats/recipe.md is normative. The package knows no database and no network.
package delta

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/klauspost/compress/zstd"

	"octopuses.dev/octopuses/spaces/errs"
)

const (
	magic    = "octopuses-recipe-1\n"
	opCopy   = 1
	opData   = 2
	minChunk = 2 << 10
	avgBits  = 13 // 8 KiB on average
	maxChunk = 64 << 10
	maxData  = 1 << 20 // bytes of one literal
)

// gear is a fixed table of pseudo-random numbers: both sides need not agree on it, since
// only the maker of a recipe cuts.
var gear = func() (t [256]uint64) {
	x := uint64(0x9e3779b97f4a7c15)
	for i := range t {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		t[i] = x * 0x2545f4914f6cdd1d
	}
	return t
}()

// chunks cuts what r gives and calls f for each chunk with its offset. The bytes are
// valid until f returns.
func chunks(ctx context.Context, r io.Reader, f func(offset int64, chunk []byte) error) error {
	in := bufio.NewReaderSize(r, 1<<20)
	buf := make([]byte, 0, maxChunk)
	var offset int64
	var h uint64
	for n := 0; ; n++ {
		b, err := in.ReadByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err == nil {
			buf = append(buf, b)
			h = h<<1 + gear[b]
		}
		if err != nil || len(buf) == maxChunk || len(buf) >= minChunk && h>>(64-avgBits) == 0 {
			if len(buf) > 0 {
				if ferr := f(offset, buf); ferr != nil {
					return ferr
				}
				offset += int64(len(buf))
				buf, h = buf[:0], 0
			}
			if err != nil {
				return nil
			}
			if cerr := ctx.Err(); cerr != nil {
				return cerr
			}
		}
	}
}

// Stats are the figures of a recipe, in bytes.
type Stats struct{ Copied, Literal int64 }

// Make writes a recipe for a file of size bytes out of a basis. It reads both twice at
// most and holds some 40 bytes in memory for each 8 KiB of the basis.
func Make(ctx context.Context, file io.Reader, size int64, basis io.ReaderAt, basisSize int64, basisDigest string, w io.Writer) (Stats, error) {
	var st Stats
	digest, err := hex.DecodeString(basisDigest)
	if err != nil || len(digest) != 32 {
		return st, fmt.Errorf("make recipe: %q is no digest", basisDigest)
	}
	seed := maphash.MakeSeed()
	type place struct {
		offset int64
		length int32
	}
	known := make(map[uint64]place, basisSize>>avgBits)
	err = chunks(ctx, io.NewSectionReader(basis, 0, basisSize), func(offset int64, c []byte) error {
		known[maphash.Bytes(seed, c)] = place{offset, int32(len(c))}
		return nil
	})
	if err != nil {
		return st, fmt.Errorf("make recipe: %w", err)
	}
	head := append([]byte(magic), binary.AppendUvarint(nil, uint64(size))...)
	if _, err := w.Write(append(head, digest...)); err != nil {
		return st, err
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return st, err
	}
	e := &encoder{w: bufio.NewWriter(z)}
	same := make([]byte, maxChunk)
	err = chunks(ctx, file, func(_ int64, c []byte) error {
		p, ok := known[maphash.Bytes(seed, c)]
		if ok && int(p.length) == len(c) {
			if _, err := basis.ReadAt(same[:len(c)], p.offset); err == nil && bytes.Equal(same[:len(c)], c) {
				st.Copied += int64(len(c))
				return e.copy(p.offset, int64(len(c)))
			}
		}
		st.Literal += int64(len(c))
		return e.data(c)
	})
	if err == nil {
		err = e.flush()
	}
	if err == nil {
		err = e.w.Flush()
	}
	return st, errors.Join(err, z.Close())
}

// encoder joins neighbouring copies and literals.
type encoder struct {
	w       *bufio.Writer
	from, n int64 // pending copy
	pending []byte
}

func (e *encoder) copy(offset, n int64) error {
	if len(e.pending) == 0 && e.n > 0 && e.from+e.n == offset {
		e.n += n
		return nil
	}
	if err := e.flush(); err != nil {
		return err
	}
	e.from, e.n = offset, n
	return nil
}

func (e *encoder) data(b []byte) error {
	if e.n > 0 || len(e.pending)+len(b) > maxData {
		if err := e.flush(); err != nil {
			return err
		}
	}
	e.pending = append(e.pending, b...)
	return nil
}

func (e *encoder) flush() error {
	var head []byte
	switch {
	case e.n > 0:
		head = binary.AppendUvarint(binary.AppendUvarint([]byte{opCopy}, uint64(e.from)), uint64(e.n))
	case len(e.pending) > 0:
		head = binary.AppendUvarint([]byte{opData}, uint64(len(e.pending)))
	}
	_, err := e.w.Write(head)
	if err == nil {
		_, err = e.w.Write(e.pending)
	}
	e.n, e.pending = 0, e.pending[:0]
	return err
}

func hostile(why string) error {
	return errs.New(errs.Invalid, "The recipe for a package is refused: %s.", why)
}

// Apply rebuilds a file of size bytes. basis opens the file with a digest, and refuses
// one that may not be used. It never writes more than size bytes; whoever takes what is
// written checks its digest.
func Apply(ctx context.Context, recipe io.Reader, size int64, basis func(digest string) (io.ReaderAt, int64, error), w io.Writer) error {
	in := bufio.NewReader(recipe)
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != magic {
		return hostile("it is none")
	}
	claimed, err := binary.ReadUvarint(in)
	if err != nil || claimed != uint64(size) {
		return hostile("it is for a file of another size")
	}
	digest := make([]byte, 32)
	if _, err := io.ReadFull(in, digest); err != nil {
		return hostile("it is cut off")
	}
	base, baseSize, err := basis(hex.EncodeToString(digest))
	if err != nil {
		return err
	}
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	ops := bufio.NewReader(z)
	left := size
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		op, err := ops.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return hostile("it is damaged")
		}
		var offset uint64
		if op == opCopy {
			if offset, err = binary.ReadUvarint(ops); err != nil {
				return hostile("it is damaged")
			}
		}
		n, err := binary.ReadUvarint(ops)
		if err != nil || n == 0 || n > uint64(left) {
			return hostile("it gives more than the file has")
		}
		switch op {
		case opCopy:
			if offset > uint64(baseSize) || n > uint64(baseSize)-offset {
				return hostile("it copies from behind the end of the basis")
			}
			if _, err := io.Copy(w, io.NewSectionReader(base, int64(offset), int64(n))); err != nil {
				return err
			}
		case opData:
			if n > maxData {
				return hostile("a literal is too long")
			}
			if m, err := io.CopyN(w, ops, int64(n)); err != nil {
				if m < int64(n) && errors.Is(err, io.EOF) {
					return hostile("it is cut off")
				}
				return err
			}
		default:
			return hostile("it holds an unknown instruction")
		}
		left -= int64(n)
	}
	if left != 0 {
		return hostile("it gives less than the file has")
	}
	return nil
}
