package deflate

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
)

// ErrNotes is for notes that do not fit the content: a damaged or hostile recipe.
var ErrNotes = errors.New("the notes of a deflate stream do not fit its content")

// Builder makes a stream out of notes and content. The notes of a segment come before its
// content.
type Builder struct {
	rows    rows
	w       io.Writer
	out     bitWriter
	left    int64 // content that did not come yet
	waiting []Segment
	cur     *segment // being filled
	want    int      // bytes of cur with what must follow
	memory  int
	over    bool // the last block was written
	coder   *coder
}

// coder is what a block's codes are worked out in; a stream has one from its first block
// on.
type coder struct {
	trees trees
	lit   [288]uint16
	dst   [30]uint16
}

var coders = sync.Pool{New: func() any { return new(coder) }}

// NewBuilder begins a stream of length bytes of content.
func NewBuilder(m Model, length int64, w io.Writer) (*Builder, error) {
	if !m.valid() || length < 0 || length > MaxContent {
		return nil, ErrNotes
	}
	b := &Builder{w: w, left: length}
	b.rows = rows{model: m, work: rebuild, take: b.write}
	return b, nil
}

// Note adds the notes of the next segment.
func (b *Builder) Note(s Segment) {
	b.waiting = append(b.waiting, s)
	b.memory += len(s.Blocks) + len(s.Fixes) + 64
}

// Pending is the memory of notes whose content did not come yet, in bytes.
func (b *Builder) Pending() int { return b.memory }

// begin takes the notes of the next segment.
func (b *Builder) begin() error {
	if len(b.waiting) == 0 {
		return ErrNotes
	}
	n := b.waiting[0]
	b.waiting = b.waiting[1:]
	b.memory -= len(n.Blocks) + len(n.Fixes) + 64
	s, rest := &segment{begins: true}, b.left
	var came []byte // of the new segment
	if b.cur != nil {
		came = b.cur.buf[b.cur.before+b.cur.length:]
		rest += int64(len(came))
	}
	if n.Length < 0 || n.Length > MaxSegment || int64(n.Length) > rest {
		return ErrNotes
	}
	if b.cur != nil {
		s = b.cur.follow(min(n.Length, segmentSize+segmentSize/4))
		s.buf = append(s.buf, came...)
	}
	s.notes, s.length = n, n.Length
	follows := min(rest-int64(n.Length), ahead)
	b.cur, b.want = s, s.before+s.length+int(follows)
	return nil
}

// Write adds content. Its end must not be behind that of the stream.
func (b *Builder) Write(content []byte) (int, error) {
	n := len(content)
	if int64(n) > b.left {
		return 0, ErrNotes
	}
	for len(content) > 0 {
		if b.cur == nil {
			if err := b.begin(); err != nil {
				return 0, err
			}
		}
		k := min(len(content), b.want-len(b.cur.buf))
		b.cur.buf = append(b.cur.buf, content[:k]...)
		b.left -= int64(k)
		content = content[k:]
		if err := b.full(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// full hands on the segments that have all they need. The last one waits for Close.
func (b *Builder) full() error {
	for len(b.cur.buf) >= b.want && !(b.left == 0 && len(b.waiting) == 0) {
		s := b.cur
		if err := b.begin(); err != nil {
			return err
		}
		s.buf = s.buf[:min(len(s.buf), s.before+s.length+ahead)]
		if err := b.rows.add(s); err != nil {
			return err
		}
	}
	return nil
}

// Abort ends the work on a stream that will not be finished.
func (b *Builder) Abort() {
	b.rows.wait()
	if b.coder != nil {
		coders.Put(b.coder)
		b.coder = nil
	}
}

// Close writes what is left. All notes must have been used.
func (b *Builder) Close() error {
	defer b.Abort()
	if b.left > 0 {
		return ErrNotes
	}
	if b.cur == nil {
		if err := b.begin(); err != nil {
			return err
		}
	}
	for len(b.waiting) > 0 {
		if err := b.full(); err != nil {
			return err
		}
	}
	if len(b.cur.buf) != b.cur.before+b.cur.length {
		return ErrNotes
	}
	b.cur.final = true
	if err := b.rows.add(b.cur); err != nil {
		return err
	}
	if !b.over {
		return ErrNotes
	}
	b.out.flush()
	_, err := b.w.Write(b.out.out)
	return err
}

// rebuild finds the tokens of a segment's blocks.
func rebuild(p *predictor, s *segment) {
	r := restorer{p: p, s: s, blocks: s.notes.Blocks, fixes: s.notes.Fixes, fix: -1}
	for s.err == nil && len(r.blocks) > 0 {
		s.err = r.block()
	}
	if s.err == nil && (len(r.fixes) > 0 || p.pos != s.before+s.length) {
		s.err = ErrNotes
	}
}

// restorer reads the notes of a segment.
type restorer struct {
	p             *predictor
	s             *segment
	blocks, fixes []byte
	fix           int // tokens until the next fix, -1 when there is none
	fixed         int // fixes so far
	count         int // tokens of the block before
}

func uvarint(p *[]byte) (int, error) {
	v, n := binary.Uvarint(*p)
	if n <= 0 || v > 1<<30 {
		return 0, ErrNotes
	}
	*p = (*p)[n:]
	return int(v), nil
}

func (r *restorer) block() error {
	flags := int(r.blocks[0])
	r.blocks = r.blocks[1:]
	b := blocks.Get().(*Block)
	b.Kind, b.Final, b.predicted = flags&3, flags&flagFinal != 0, flags&flagTree != 0
	var err error
	if flags&flagCount == 0 {
		if r.count, err = uvarint(&r.blocks); err != nil {
			return err
		}
	}
	left := r.s.before + r.s.length - r.p.pos
	if flags > 31 || b.Kind == 3 || r.count > left || b.Kind != Stored && r.count > MaxTokens || len(r.s.blocks) >= maxBlocks || b.Kind == Stored && r.count > 0xffff {
		return ErrNotes
	}
	if b.Kind == Dynamic && !b.predicted {
		if b.bits, err = uvarint(&r.blocks); err != nil {
			return err
		}
		n := (b.bits + 7) / 8
		if n > len(r.blocks) || n > 1<<10 {
			return ErrNotes
		}
		b.header, r.blocks = r.blocks[:n], r.blocks[n:]
	}
	r.s.blocks = append(r.s.blocks, b)
	if b.Kind == Stored {
		b.Content = r.p.buf[r.p.pos : r.p.pos+r.count]
		r.p.skip(r.count)
		return nil
	}
	b.Tokens = slices.Grow(b.Tokens[:0], r.count)[:r.count]
	for i := range b.Tokens {
		if r.p.pos >= r.s.before+r.s.length {
			return ErrNotes
		}
		if b.Tokens[i], err = r.token(); err != nil {
			return err
		}
	}
	return nil
}

func (r *restorer) token() (Token, error) {
	p := r.p
	t := p.next()
	predicted := t
	if r.fix < 0 && len(r.fixes) > 0 {
		var err error
		if r.fix, err = uvarint(&r.fixes); err != nil {
			return 0, err
		}
	}
	if r.fix == 0 {
		if r.fixed++; r.fixed > maxFixes(r.s.length) {
			return 0, ErrNotes
		}
		code, err := uvarint(&r.fixes)
		if err != nil {
			return 0, err
		}
		if t = Token(p.buf[p.pos]); code != 0 {
			if t, err = r.match(code, predicted); err != nil {
				return 0, err
			}
		}
	}
	if r.fix >= 0 {
		r.fix--
	}
	t &^= carry
	if t.Len() > r.s.before+r.s.length-p.pos {
		return 0, ErrNotes
	}
	p.accept(t, predicted)
	return t, nil
}

// match reads a match, and checks that it is one.
func (r *restorer) match(code int, predicted Token) (Token, error) {
	d, err := uvarint(&r.fixes)
	if err != nil {
		return 0, err
	}
	if code == 1 {
		if !predicted.isMatch() {
			return 0, ErrNotes
		}
		code = predicted.Len()
	}
	buf, at := r.p.buf, r.p.pos
	if code < minMatch || code > maxMatch || d < 1 || d > window || d > at || code > len(buf)-at {
		return 0, ErrNotes
	}
	for i := range code {
		if buf[at+i] != buf[at+i-d] {
			return 0, ErrNotes
		}
	}
	return match(code, d), nil
}

// write writes the blocks of a segment.
func (b *Builder) write(s *segment) error {
	if s.err != nil {
		return s.err
	}
	for _, k := range s.blocks {
		if b.over {
			return ErrNotes
		}
		b.over = k.Final
		b.out.put(map[bool]uint64{true: 1}[k.Final], 1)
		b.out.put(uint64(k.Kind), 2)
		if k.Kind == Stored {
			b.out.flush()
			b.out.put(uint64(len(k.Content)), 16)
			b.out.put(uint64(len(k.Content))^0xffff, 16)
			b.out.out = append(b.out.out, k.Content...)
		} else if err := b.block(k); err != nil {
			return err
		}
		if len(b.out.out) > 1<<16 {
			if _, err := b.w.Write(b.out.out); err != nil {
				return err
			}
			b.out.out = b.out.out[:0]
		}
	}
	return nil
}

// block writes a block with codes.
func (b *Builder) block(k *Block) error {
	if b.coder == nil {
		b.coder = coders.Get().(*coder)
	}
	c := b.coder
	lit, dst := fixedLit[:], fixedDist[:]
	if k.Kind == Dynamic {
		if k.predicted {
			c.trees.count(k.Tokens)
			c.trees.header(&b.out)
			lit, dst = c.trees.lit.len[:c.trees.lit.last+1], c.trees.dist.len[:c.trees.dist.last+1]
		} else {
			for i, left := 0, k.bits; left > 0; i, left = i+1, left-8 {
				b.out.put(uint64(k.header[i])&(1<<min(left, 8)-1), uint(min(left, 8)))
			}
			var err error
			if lit, dst, err = readHeader(k.header, k.bits); err != nil {
				return ErrNotes
			}
		}
	}
	clear(c.lit[:])
	clear(c.dst[:])
	codes(lit, c.lit[:])
	codes(dst, c.dst[:])
	var ll [288]uint8
	var dl [30]uint8
	copy(ll[:], lit)
	copy(dl[:], dst)
	for _, t := range k.Tokens {
		if t < 256 {
			if ll[t] == 0 {
				return ErrNotes
			}
			b.out.put(uint64(c.lit[t]), uint(ll[t]))
			continue
		}
		lc := lengthCode[t.Len()]
		s := 257 + lc
		dc := distCode(t.dist())
		if ll[s] == 0 || dl[dc] == 0 {
			return ErrNotes
		}
		b.out.put(uint64(c.lit[s]), uint(ll[s]))
		b.out.put(uint64(t.Len()-lengthBase[lc]), uint(lengthBits[lc]))
		b.out.put(uint64(c.dst[dc]), uint(dl[dc]))
		b.out.put(uint64(t.dist()-distBase[dc]), uint(distBits[dc]))
	}
	b.out.put(uint64(c.lit[endBlock]), uint(ll[endBlock]))
	return nil
}
