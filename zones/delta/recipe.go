package delta

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"

	"octopuses.dev/octopuses/zones/delta/deflate"
)

// The parts of a recipe; docs/formats/recipe.md is normative.
const (
	magic1 = "octopuses-recipe-1\n"
	magic2 = "octopuses-recipe-2\n"

	// Instructions of version 1.
	opCopy = 1
	opData = 2
	// Instructions of version 2.
	opUnpack = 1
	opPack   = 2
	opNotes  = 3
	opEdit   = 4

	maxData    = 1 << 20 // bytes of literals in one instruction
	maxEdits   = 1 << 15 // edits in one instruction
	maxNotes   = 1 << 22 // bytes of notes of a segment, of each kind
	maxPending = 1 << 24 // bytes of notes that wait for their content
	maxPacks   = 1 << 16 // streams that wait for their content
	zstdWindow = 4 << 20
)

// writer writes the instructions of a recipe.
type writer struct {
	z *zstd.Encoder
	w *bufio.Writer
}

func newWriter(w io.Writer, magic string, size int64, basis []byte) (*writer, error) {
	head := binary.AppendUvarint([]byte(magic), uint64(size))
	if _, err := w.Write(append(head, basis...)); err != nil {
		return nil, err
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	if err != nil {
		return nil, err
	}
	return &writer{z, bufio.NewWriterSize(z, 1<<16)}, nil
}

func (w *writer) numbers(n ...uint64) {
	var b []byte
	for _, x := range n {
		b = binary.AppendUvarint(b, x)
	}
	w.w.Write(b) // the writer keeps its first error
}

func (w *writer) close() error {
	err := w.w.Flush()
	if cerr := w.z.Close(); err == nil {
		err = cerr
	}
	return err
}

// copies writes a recipe of version 1, joining neighbouring copies and literals.
type copies struct {
	*writer
	from, n int64 // pending copy
	pending []byte
}

func (c *copies) emit(literal []byte, from, n int64) error {
	for len(literal) > 0 {
		if c.n > 0 || len(c.pending) == maxData {
			c.flush()
		}
		k := min(len(literal), maxData-len(c.pending))
		c.pending = append(c.pending, literal[:k]...)
		literal = literal[k:]
	}
	if n > 0 {
		if len(c.pending) > 0 || c.n > 0 && c.from+c.n != from {
			c.flush()
		}
		if c.n == 0 {
			c.from = from
		}
		c.n += n
	}
	return nil
}

func (c *copies) flush() {
	if len(c.pending) > 0 {
		c.w.WriteByte(opData)
		c.numbers(uint64(len(c.pending)))
		c.w.Write(c.pending)
	}
	if c.n > 0 {
		c.w.WriteByte(opCopy)
		c.numbers(uint64(c.from), uint64(c.n))
	}
	c.n, c.pending = 0, c.pending[:0]
}

// pack is a stream of the new file that is made out of content.
type pack struct {
	start int64 // in the view
	notes *deflate.Notes
	told  bool
	noted int64 // content whose notes are written
}

// edits writes a recipe of version 2.
type edits struct {
	*writer
	packs   []pack
	told    int64 // end of the last stream that was announced
	made    int64 // content so far, with the edits that wait
	next    int64 // where in the basis the last copy ended
	literal []byte
	columns [3][]byte // of the edits that wait: literals, jumps, copies
	count   int
	open    edit // the last one
}

type edit struct{ literal, jump, n int64 }

func (e *edits) emit(literal []byte, from, n int64) error {
	for len(literal) > 0 {
		if e.open.n > 0 {
			e.shut()
		}
		if len(e.literal) >= maxData/4 {
			e.flush()
		}
		k := min(len(literal), maxData/4)
		e.literal = append(e.literal, literal[:k]...)
		e.open.literal += int64(k)
		e.made += int64(k)
		literal = literal[k:]
	}
	if n == 0 {
		return nil
	}
	jump := from - e.next - e.open.literal
	if e.open.n > 0 {
		if from != e.next {
			e.shut()
			jump = from - e.next
		}
	}
	if e.open.n == 0 {
		e.open.jump = jump
	}
	e.open.n += n
	e.made += n
	e.next = from + n
	return nil
}

// shut ends the open edit.
func (e *edits) shut() {
	if e.open == (edit{}) {
		return
	}
	e.columns[0] = binary.AppendUvarint(e.columns[0], uint64(e.open.literal))
	e.columns[1] = binary.AppendVarint(e.columns[1], e.open.jump)
	e.columns[2] = binary.AppendUvarint(e.columns[2], uint64(e.open.n))
	if e.open.n == 0 {
		e.next += e.open.literal
	}
	e.open = edit{}
	if e.count++; e.count == maxEdits {
		e.flush()
	}
}

// flush writes the edits that wait, and before them what is needed to pack what they make.
func (e *edits) flush() {
	e.shut()
	if e.count == 0 {
		return
	}
	for len(e.packs) > 0 && e.packs[0].start < e.made {
		p := &e.packs[0]
		n := p.notes
		if !p.told {
			p.told = true
			e.w.WriteByte(opPack)
			e.numbers(uint64(p.start-e.told), uint64(n.Model), uint64(n.Length))
			e.told = p.start + n.Length
		}
		for len(n.Segments) > 0 && p.start+p.noted < e.made {
			s := n.Segments[0]
			n.Segments = n.Segments[1:]
			p.noted += int64(s.Length)
			e.w.WriteByte(opNotes)
			e.numbers(uint64(s.Length), uint64(len(s.Blocks)), uint64(len(s.Fixes)))
			e.w.Write(s.Blocks)
			e.w.Write(s.Fixes)
		}
		if e.made < p.start+n.Length {
			break
		}
		e.packs = e.packs[1:]
	}
	e.w.WriteByte(opEdit)
	e.numbers(uint64(e.count))
	for i, c := range e.columns {
		e.w.Write(c)
		e.columns[i] = c[:0]
	}
	e.w.Write(e.literal)
	e.literal, e.count = e.literal[:0], 0
}
