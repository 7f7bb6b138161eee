package deflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Notes are what a model does not tell of a stream: its blocks, and the tokens that
// differ from what is predicted. Together with the content they give the stream again.
type Notes struct {
	Model  Model
	Length int64 // of the content
	Packed int64 // of the stream, in bytes
	Tokens int
	Wrong  int // tokens that were not predicted
	blocks []byte
	fixes  []byte
	marks  []mark
}

// mark tells how much of the notes is needed for the content up to an offset.
type mark struct {
	content       int64
	blocks, fixes int
}

// Size is about what the notes cost, in bytes.
func (n *Notes) Size() int { return len(n.blocks) + len(n.fixes) }

// Take gives the notes that are needed before the content up to an offset is written,
// and forgets them.
func (n *Notes) Take(content int64) (blocks, fixes []byte) {
	var m mark
	for len(n.marks) > 0 && n.marks[0].content < content {
		m = n.marks[0]
		n.marks = n.marks[1:]
	}
	blocks, fixes = n.blocks[:m.blocks], n.fixes[:m.fixes]
	n.blocks, n.fixes = n.blocks[m.blocks:], n.fixes[m.fixes:]
	for i := range n.marks {
		n.marks[i].blocks -= m.blocks
		n.marks[i].fixes -= m.fixes
	}
	return blocks, fixes
}

// Flags of a block record, beside the kind: the last block, as many tokens as the block
// before, header as predicted.
const (
	flagFinal = 4
	flagCount = 8
	flagTree  = 16
)

// analyst compares tokens with predictions.
type analyst struct {
	p     *predictor
	n     Notes
	since int // tokens since the last fix
	count int // tokens of the block before
	trees trees
}

// sample is how much content decides about the model, in bytes.
const sample = 1 << 17

// Parse reads one stream, which must end before limit bytes of content, writes its
// content and gives the notes to build it again. The model hint is tried first. A stream
// that is not predicted well, so that notes would cost an eighth of it, is [ErrOdd].
func Parse(r io.Reader, limit int64, hint Model, w io.Writer) (*Notes, error) {
	limit = min(limit, MaxContent)
	d := NewDecoder(r)
	var a *analyst
	var waiting, spare []*Block // blocks whose tokens are not noted yet
	var content, behind int64   // content read; of that, behind the first waiting block
	for {
		b := &Block{}
		if len(spare) > 0 {
			b, spare = spare[len(spare)-1], spare[:len(spare)-1]
		}
		err := d.Next(b)
		if err != nil && err != io.EOF {
			return nil, errors.Join(ErrOdd, err)
		}
		end := err == io.EOF
		if !end {
			n := int64(len(b.Content))
			if content += n; content > limit {
				return nil, ErrOdd
			}
			if _, err := w.Write(b.Content); err != nil {
				return nil, err
			}
			if a == nil {
				b.Content = bytes.Clone(b.Content)
			} else {
				a.p.push(b.Content)
			}
			if len(waiting) > 0 {
				behind += n
			}
			waiting = append(waiting, b)
		}
		if a == nil && (end || content >= sample) {
			m, ok := choose(waiting, hint)
			if !ok {
				return nil, ErrOdd
			}
			a = &analyst{p: newPredictor(m), n: Notes{Model: m}}
			for _, b := range waiting {
				a.p.push(b.Content)
			}
		}
		if a == nil {
			continue
		}
		a.p.final = end
		for len(waiting) > 0 && (end || behind >= ahead) {
			b := waiting[0]
			a.block(b)
			spare, waiting = append(spare, b), waiting[1:]
			if len(waiting) > 0 {
				behind -= int64(waiting[0].length)
			}
		}
		if cost := int64(a.n.Size()); cost > 512 && cost > d.Consumed()/8 {
			return nil, ErrOdd
		}
		if end {
			break
		}
	}
	a.n.Length, a.n.Packed = content, d.Consumed()
	if int64(a.n.Size()) > 256+a.n.Packed/8 {
		return nil, ErrOdd
	}
	return &a.n, nil
}

// choose finds the model that predicts the first blocks best; none that is of any use is
// not ok.
func choose(blocks []*Block, hint Model) (best Model, ok bool) {
	try := func(m Model, stop int) int {
		p := newPredictor(m)
		a := &analyst{p: p}
		for _, b := range blocks {
			p.push(b.Content)
		}
		p.final = blocks[len(blocks)-1].Final
		for _, b := range blocks {
			for _, t := range b.Tokens {
				if !p.ready() || a.n.Wrong > stop {
					return a.n.Wrong
				}
				a.token(t)
			}
			if b.Kind == Stored {
				p.skip(b.length)
			}
		}
		return a.n.Wrong
	}
	wrong := 16 // that are still of use
	for _, b := range blocks {
		wrong += len(b.Tokens) / 16
	}
	if hint.valid() {
		if n := try(hint, wrong); n == 0 {
			return hint, true
		} else if n < wrong {
			best, wrong, ok = hint, n, true
		}
	}
	for _, level := range []Model{6, 9, 5, 7, 8, 4, 1, 2, 3} {
		for family := range Model(families) {
			m := family<<4 | level
			if m == hint {
				continue
			}
			if n := try(m, wrong); n < wrong {
				if best, wrong, ok = m, n, true; n == 0 {
					return best, true
				}
			}
		}
	}
	return best, ok
}

// block notes one block; what follows it is known up to [ahead] bytes, or it is the last.
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
	start := int64(a.p.pos) - 1 // so that an empty block at the end is noted before the end
	a.n.blocks = append(a.n.blocks, byte(flags))
	if flags&flagCount == 0 {
		a.n.blocks = binary.AppendUvarint(a.n.blocks, uint64(count))
	}
	if b.Kind == Dynamic && flags&flagTree == 0 {
		a.n.blocks = append(binary.AppendUvarint(a.n.blocks, uint64(b.bits)), b.header...)
	}
	a.count = count
	if b.Kind == Stored {
		a.p.skip(count)
	}
	for _, t := range b.Tokens {
		a.token(t)
	}
	a.n.Tokens += len(b.Tokens)
	a.n.marks = append(a.n.marks, mark{start, len(a.n.blocks), len(a.n.fixes)})
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
		a.n.fixes = binary.AppendUvarint(a.n.fixes, uint64(a.since))
		a.since = -1
		a.n.Wrong++
		switch {
		case t < 256:
			a.n.fixes = append(a.n.fixes, 0)
		case predicted.isMatch() && t.Len() == predicted.Len():
			a.n.fixes = binary.AppendUvarint(append(a.n.fixes, 1), uint64(t.dist()))
		default:
			a.n.fixes = binary.AppendUvarint(binary.AppendUvarint(a.n.fixes, uint64(t.Len())), uint64(t.dist()))
		}
	}
	a.since++
	a.p.accept(t, predicted)
}
