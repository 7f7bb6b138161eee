package deflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Notes are what a model does not tell of a stream. Together with the content they give
// the stream again.
type Notes struct {
	Model    Model
	Length   int64 // of the content
	Packed   int64 // of the stream, in bytes
	Wrong    int   // tokens that were not predicted
	Tokens   int
	Segments []Segment
}

// Size is about what the notes cost, in bytes.
func (n *Notes) Size() (size int) {
	for _, s := range n.Segments {
		size += len(s.Blocks) + len(s.Fixes) + 4
	}
	return size
}

// Flags of a block record, beside the kind: the last block, as many tokens as the block
// before, header as predicted.
const (
	flagFinal = 4
	flagCount = 8
	flagTree  = 16
)

// sample is how much content decides about the model, in bytes.
const sample = 1 << 17

// Parse reads one stream, which must end before limit bytes of content, writes its
// content and gives the notes to build it again. The model hint is tried first. A stream
// that is not predicted well, so that notes would cost an eighth of it, is [ErrOdd].
func Parse(r io.Reader, limit int64, hint Model, w io.Writer) (*Notes, error) {
	limit = min(limit, MaxContent)
	d := decoders.Get().(*Decoder)
	d.Reset(r)
	defer func() { // after all segments are done
		d.Reset(nil)
		decoders.Put(d)
	}()
	n := &Notes{}
	at := &rows{work: analyse}
	cost := 256
	at.take = func(s *segment) error {
		if s.wrong > maxFixes(s.length) || len(s.blocks) > maxBlocks {
			return ErrOdd
		}
		n.Segments = append(n.Segments, s.notes)
		for _, b := range s.blocks {
			n.Tokens += len(b.Tokens)
		}
		n.Wrong += s.wrong
		if cost += len(s.notes.Blocks) + len(s.notes.Fixes); int64(cost) > 1024+d.Consumed()/8 {
			return ErrOdd
		}
		return nil
	}
	defer at.wait()
	s := &segment{begins: true, buf: room(0)}
	for end := false; !end; {
		b := blocks.Get().(*Block)
		switch err := d.Next(b); {
		case err == io.EOF:
			end = true
			blocks.Put(b)
		case err != nil:
			return nil, errors.Join(ErrOdd, err)
		default:
			if n.Length += int64(b.length); n.Length > limit {
				return nil, ErrOdd
			}
			if _, err := w.Write(b.Content); err != nil {
				return nil, err
			}
			s.buf = append(s.buf, b.Content...)
			if s.blocks = append(s.blocks, b); len(s.blocks) > 2*maxBlocks {
				return nil, ErrOdd
			}
		}
		if !n.Model.valid() && (end || n.Length >= sample) {
			var ok bool
			if n.Model, ok = choose(s, end, hint); !ok {
				return nil, ErrOdd
			}
			at.model = n.Model
		}
		// A segment is cut before the block from which on enough follows.
		if cut := s.cut(); end || cut > 0 {
			next := s.split(cut, end)
			if err := at.add(s); err != nil {
				return nil, err
			}
			s = next
		}
	}
	n.Packed = d.Consumed()
	if int64(cost) > 512+n.Packed/8 {
		return nil, ErrOdd
	}
	return n, nil
}

// cut is the number of blocks that make a segment with what is there; 0 when more must be
// read.
func (s *segment) cut() int {
	size, left := 0, len(s.buf)-s.before
	for i, b := range s.blocks {
		size += b.length
		left -= b.length
		if size >= segmentSize {
			if left >= ahead {
				return i + 1
			}
			return 0
		}
	}
	return 0
}

// split ends a segment behind some of its blocks, at the end of the stream behind all, and
// gives the next one.
func (s *segment) split(cut int, end bool) *segment {
	if end {
		cut = len(s.blocks)
	}
	for _, b := range s.blocks[:cut] {
		s.length += b.length
	}
	if s.final = end; end {
		return nil
	}
	next := s.follow(segmentSize + segmentSize/4)
	next.buf = append(next.buf, s.buf[s.before+s.length:]...)
	next.blocks = append(next.blocks, s.blocks[cut:]...)
	s.blocks = s.blocks[:cut]
	s.buf = s.buf[:min(len(s.buf), s.before+s.length+ahead)]
	return next
}

// choose finds the model that predicts the first blocks best; none that is of any use is
// not ok.
func choose(s *segment, end bool, hint Model) (best Model, ok bool) {
	wrong := 16 // that are still of use
	for _, b := range s.blocks {
		wrong += len(b.Tokens) / 16
	}
	// try counts the wrong tokens, and stops where they are too many or the content is
	// not known.
	try := func(m Model) int {
		x := &segment{buf: s.buf, begins: true, final: end}
		at := &rows{model: m, work: func(p *predictor, x *segment) {
			a := analyst{p: p, s: x}
			for _, b := range s.blocks {
				for _, t := range b.Tokens {
					if !end && len(p.buf)-p.pos < ahead || x.wrong >= wrong {
						return
					}
					a.token(t)
				}
				if b.Kind == Stored {
					p.skip(b.length)
				}
			}
		}}
		at.run(x)
		return x.wrong
	}
	consider := func(m Model) bool {
		if n := try(m); n < wrong {
			best, wrong, ok = m, n, true
		}
		return ok && wrong == 0
	}
	if hint.valid() && consider(hint) {
		return best, ok
	}
	for _, level := range []Model{6, 9, 5, 7, 8, 4, 1, 2, 3} {
		for family := range Model(families) {
			if m := family<<4 | level; m != hint && consider(m) {
				return best, ok
			}
		}
	}
	return best, ok
}

// analyst compares the tokens of a segment with predictions.
type analyst struct {
	p     *predictor
	s     *segment
	since int // tokens since the last fix
	count int // tokens of the block before
	trees trees
}

func analyse(p *predictor, s *segment) {
	a := analyst{p: p, s: s}
	s.notes.Length = s.length
	for _, b := range s.blocks {
		a.block(b)
	}
}

func (a *analyst) block(b *Block) {
	flags := b.Kind
	if b.Final {
		flags |= flagFinal
	}
	count := len(b.Tokens)
	if b.Kind == Stored {
		count = b.length
	}
	if count == a.count {
		flags |= flagCount
	}
	if b.Kind == Dynamic && a.trees.predict(b) {
		flags |= flagTree
	}
	out := append(a.s.notes.Blocks, byte(flags))
	if flags&flagCount == 0 {
		out = binary.AppendUvarint(out, uint64(count))
	}
	if b.Kind == Dynamic && flags&flagTree == 0 {
		out = append(binary.AppendUvarint(out, uint64(b.bits)), b.header...)
	}
	a.s.notes.Blocks = out
	a.count = count
	if b.Kind == Stored {
		a.p.skip(count)
	}
	for _, t := range b.Tokens {
		a.token(t)
	}
}

func (t *trees) predict(b *Block) bool {
	var w bitWriter
	t.count(b.Tokens)
	t.header(&w)
	n := len(w.out)*8 + int(w.n)
	return n == b.bits && bytes.Equal(w.flush(), b.header)
}

func (a *analyst) token(t Token) {
	predicted := a.p.next()
	if predicted&^carry != t {
		out := binary.AppendUvarint(a.s.notes.Fixes, uint64(a.since))
		a.since = -1
		a.s.wrong++
		switch {
		case t < 256:
			out = append(out, 0)
		case predicted.isMatch() && t.Len() == predicted.Len():
			out = binary.AppendUvarint(append(out, 1), uint64(t.dist()))
		default:
			out = binary.AppendUvarint(binary.AppendUvarint(out, uint64(t.Len())), uint64(t.dist()))
		}
		a.s.notes.Fixes = out
	}
	a.since++
	a.p.accept(t, predicted)
}
