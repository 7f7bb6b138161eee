package deflate

import (
	"encoding/binary"
	"errors"
	"io"
)

// ErrNotes is for notes that do not fit the content: a damaged or hostile recipe.
var ErrNotes = errors.New("the notes of a deflate stream do not fit its content")

// Builder makes a stream out of notes and content. Notes come before the content that
// they are needed for.
type Builder struct {
	p      *predictor
	w      io.Writer
	out    bitWriter
	blocks []byte
	fixes  []byte
	fix    int  // tokens until the next fix, -1 when it is not known
	since  int  // tokens since the last fix
	open   bool // a block is being gathered
	over   bool // the last block was written
	flags  int
	count  int
	tokens []Token
	left   int // tokens or bytes of the block
	header []byte
	bits   int
	trees  trees
	lit    [288]uint16
	dst    [30]uint16
}

// NewBuilder begins a stream.
func NewBuilder(m Model, w io.Writer) (*Builder, error) {
	if !m.valid() {
		return nil, ErrNotes
	}
	return &Builder{p: newPredictor(m), w: w, fix: -1}, nil
}

// Note adds notes, in the order of [Notes.Take].
func (b *Builder) Note(blocks, fixes []byte) {
	b.blocks, b.fixes = append(b.blocks, blocks...), append(b.fixes, fixes...)
}

// Pending is the memory of notes that were not used yet, in bytes.
func (b *Builder) Pending() int { return len(b.blocks) + len(b.fixes) }

// Write adds content.
func (b *Builder) Write(content []byte) (int, error) {
	n := len(content)
	for len(content) > 0 {
		k := min(len(content), 1<<16)
		b.p.push(content[:k])
		content = content[k:]
		if err := b.run(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Close writes what is left. All notes must have been used.
func (b *Builder) Close() error {
	b.p.final = true
	if err := b.run(); err != nil {
		return err
	}
	for !b.over {
		if err := b.begin(); err != nil {
			return err
		}
		if b.left > 0 {
			return ErrNotes
		}
		if err := b.finish(); err != nil {
			return err
		}
	}
	if len(b.blocks)+len(b.fixes) > 0 || b.fix >= 0 || b.p.pos != b.p.end {
		return ErrNotes
	}
	return b.flush(true)
}

func (b *Builder) flush(end bool) error {
	if end {
		b.out.flush()
	}
	_, err := b.w.Write(b.out.out)
	b.out.out = b.out.out[:0]
	return err
}

func uvarint(p *[]byte) (int, error) {
	v, n := binary.Uvarint(*p)
	if n <= 0 || v > 1<<30 {
		return 0, ErrNotes
	}
	*p = (*p)[n:]
	return int(v), nil
}

// begin reads a block's record, if none is open.
func (b *Builder) begin() error {
	if b.open {
		return nil
	}
	if b.over || len(b.blocks) == 0 {
		return ErrNotes
	}
	b.flags = int(b.blocks[0])
	b.blocks = b.blocks[1:]
	var err error
	if b.flags&flagCount == 0 {
		if b.count, err = uvarint(&b.blocks); err != nil {
			return err
		}
	}
	kind := b.flags & 3
	if b.flags > 31 || kind == 3 || b.count > MaxTokens || kind == Stored && b.count > 0xffff {
		return ErrNotes
	}
	if kind == Dynamic && b.flags&flagTree == 0 {
		if b.bits, err = uvarint(&b.blocks); err != nil {
			return err
		}
		n := (b.bits + 7) / 8
		if n > len(b.blocks) || n > 1<<10 {
			return ErrNotes
		}
		b.header = append(b.header[:0], b.blocks[:n]...)
		b.blocks = b.blocks[n:]
	}
	b.left, b.open, b.tokens = b.count, true, b.tokens[:0]
	b.out.put(uint64(b.flags>>2&1), 1)
	b.out.put(uint64(kind), 2)
	if kind == Stored {
		b.out.flush()
		b.out.put(uint64(b.count), 16)
		b.out.put(uint64(b.count)^0xffff, 16)
	}
	return nil
}

// run goes as far as the content allows.
func (b *Builder) run() error {
	for b.p.ready() {
		if err := b.begin(); err != nil {
			return err
		}
		if b.flags&3 == Stored {
			if err := b.stored(); err != nil {
				return err
			}
		} else {
			for b.left > 0 && b.p.ready() {
				if err := b.token(); err != nil {
					return err
				}
			}
		}
		if b.left == 0 {
			if err := b.finish(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Builder) stored() error {
	n := min(b.left, b.p.end-b.p.pos)
	from := b.p.pos - b.p.base
	b.out.flush()
	b.out.out = append(b.out.out, b.p.buf[from:from+n]...)
	b.p.skip(n)
	b.left -= n
	return nil
}

func (b *Builder) token() error {
	t := b.p.next()
	predicted := t
	if b.fix < 0 && len(b.fixes) > 0 {
		gap, err := uvarint(&b.fixes)
		if err != nil {
			return err
		}
		b.fix = gap
		// The gap counts from the fix before, and tokens may have passed since.
		if b.fix -= b.since; b.fix < 0 {
			return ErrNotes
		}
	}
	if b.fix == 0 {
		code, err := uvarint(&b.fixes)
		if err != nil {
			return err
		}
		switch {
		case code == 0:
			t = Token(b.p.buf[b.p.pos-b.p.base])
		default:
			d, err := uvarint(&b.fixes)
			if err != nil {
				return err
			}
			if code == 1 {
				if !predicted.isMatch() {
					return ErrNotes
				}
				code = predicted.Len()
			}
			if code < minMatch || code > maxMatch || d < 1 || d > window || d > b.p.pos || code > b.p.end-b.p.pos {
				return ErrNotes
			}
			at := b.p.pos - b.p.base
			for i := range code {
				if b.p.buf[at+i] != b.p.buf[at+i-d] {
					return ErrNotes
				}
			}
			t = match(code, d)
		}
		b.fix = -1
		b.since = -1
	} else if b.fix > 0 {
		b.fix--
	}
	b.since++
	t &^= carry
	b.p.accept(t, predicted)
	b.tokens = append(b.tokens, t)
	b.left--
	return nil
}

// finish writes a block whose tokens are there.
func (b *Builder) finish() error {
	b.open = false
	b.over = b.flags&flagFinal != 0
	if b.flags&3 != Stored {
		if err := b.block(); err != nil {
			return err
		}
	}
	if len(b.out.out) > 1<<16 || b.over {
		return b.flush(false)
	}
	return nil
}

func (b *Builder) block() error {
	lit, dst := fixedLit[:], fixedDist[:]
	if b.flags&3 == Dynamic {
		if b.flags&flagTree != 0 {
			b.trees.count(b.tokens)
			b.trees.header(&b.out)
			lit, dst = b.trees.lit.len[:b.trees.lit.last+1], b.trees.dist.len[:b.trees.dist.last+1]
		} else {
			for i, left := 0, b.bits; left > 0; i, left = i+1, left-8 {
				b.out.put(uint64(b.header[i])&(1<<min(left, 8)-1), uint(min(left, 8)))
			}
			var err error
			if lit, dst, err = readHeader(b.header, b.bits); err != nil {
				return ErrNotes
			}
		}
	}
	clear(b.lit[:])
	clear(b.dst[:])
	codes(lit, b.lit[:])
	codes(dst, b.dst[:])
	var ll [288]uint8
	var dl [30]uint8
	copy(ll[:], lit)
	copy(dl[:], dst)
	for _, t := range b.tokens {
		if t < 256 {
			if ll[t] == 0 {
				return ErrNotes
			}
			b.out.put(uint64(b.lit[t]), uint(ll[t]))
			continue
		}
		c := lengthCode[t.Len()]
		s := 257 + c
		dc := distCode(t.dist())
		if ll[s] == 0 || dl[dc] == 0 {
			return ErrNotes
		}
		b.out.put(uint64(b.lit[s]), uint(ll[s]))
		b.out.put(uint64(t.Len()-lengthBase[c]), uint(lengthBits[c]))
		b.out.put(uint64(b.dst[dc]), uint(dl[dc]))
		b.out.put(uint64(t.dist()-distBase[dc]), uint(distBits[dc]))
	}
	b.out.put(uint64(b.lit[endBlock]), uint(ll[endBlock]))
	return nil
}
