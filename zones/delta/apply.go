package delta

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/delta/deflate"
)

func hostile(why string) error {
	return errs.New(errs.Invalid, "The recipe for a package is refused: %s.", why)
}

// Apply rebuilds a file of size bytes. basis opens the file with a digest, and refuses
// one that may not be used. It never writes more than size bytes; whoever takes what is
// written checks its digest.
func Apply(ctx context.Context, recipe io.Reader, size int64, basis func(digest string) (io.ReaderAt, int64, error), w io.Writer) error {
	in := bufio.NewReader(recipe)
	head := make([]byte, len(magic1))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != magic1 && string(head) != magic2 {
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
	out := &limited{w: bufio.NewWriterSize(w, 1<<16), left: size}
	r := reader{ctx: ctx, ops: bufio.NewReaderSize(z, 1<<16), size: size}
	if string(head) == magic1 {
		err = r.copies(base, baseSize, out)
	} else {
		err = r.edits(base, baseSize, out)
	}
	if err != nil {
		return err
	}
	if out.left != 0 {
		return hostile("it gives less than the file has")
	}
	return out.w.Flush()
}

// limited refuses to write more than was declared.
type limited struct {
	w    *bufio.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, hostile("it gives more than the file has")
	}
	l.left -= int64(len(p))
	return l.w.Write(p)
}

// reader reads instructions.
type reader struct {
	ctx  context.Context
	ops  *bufio.Reader
	size int64
}

// next reads the byte of an instruction; 0 at the end.
func (r *reader) next() (byte, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	op, err := r.ops.ReadByte()
	if errors.Is(err, io.EOF) {
		return 0, nil
	}
	if err != nil {
		return 0, hostile("it is damaged")
	}
	if op == 0 {
		return 0, hostile("it holds an unknown instruction")
	}
	return op, nil
}

// number reads a number up to a limit.
func (r *reader) number(limit int64, why string) (int64, error) {
	n, err := binary.ReadUvarint(r.ops)
	if err != nil {
		return 0, hostile("it is damaged")
	}
	if n > uint64(max(limit, 0)) {
		return 0, hostile(why)
	}
	return int64(n), nil
}

func (r *reader) bytes(into []byte) error {
	if _, err := io.ReadFull(r.ops, into); err != nil {
		return hostile("it is cut off")
	}
	return nil
}

const (
	tooMuch = "it gives more than the file has"
	outside = "it copies from behind the end of the basis"
	tooLong = "an instruction is too long"
)

// copies follows the instructions of version 1.
func (r *reader) copies(base io.ReaderAt, baseSize int64, out *limited) error {
	buf := make([]byte, maxData)
	for {
		op, err := r.next()
		if op == 0 {
			return err
		}
		switch op {
		case opCopy:
			from, err := r.number(baseSize, outside)
			if err != nil {
				return err
			}
			n, err := r.number(baseSize-from, outside)
			if err != nil {
				return err
			}
			if n == 0 || n > out.left {
				return hostile(tooMuch)
			}
			if _, err := io.Copy(out, io.NewSectionReader(base, from, n)); err != nil {
				return err
			}
		case opData:
			n, err := r.number(min(maxData, out.left), tooMuch)
			if err != nil {
				return err
			}
			if n == 0 {
				return hostile("it is damaged")
			}
			if err := r.bytes(buf[:n]); err != nil {
				return err
			}
			if _, err := out.Write(buf[:n]); err != nil {
				return err
			}
		default:
			return hostile("it holds an unknown instruction")
		}
	}
}

// packer takes content and writes a file: some of it packed into streams, the rest as it
// is.
type packer struct {
	out     *limited
	made    int64 // content so far
	limit   int64 // of content
	told    int64 // end of the last stream that was announced
	pending int   // bytes of notes of streams that have not begun
	packs   []*packing
}

type packing struct {
	start, end int64
	b          *deflate.Builder
}

// announce tells that a stream begins gap bytes behind the last one.
func (p *packer) announce(gap int64, model deflate.Model, n int64) error {
	start := p.told + gap
	if start < p.made || n == 0 || n > deflate.MaxContent || len(p.packs) >= maxPacks {
		return hostile("a stream is not where it can be")
	}
	b, err := deflate.NewBuilder(model, n, p.out)
	if err != nil {
		return damaged(err)
	}
	p.told = start + n
	p.packs = append(p.packs, &packing{start, start + n, b})
	return nil
}

func (p *packer) note(s deflate.Segment) error {
	if len(p.packs) == 0 {
		return hostile("notes are for no stream")
	}
	b := p.packs[len(p.packs)-1].b
	before := b.Pending()
	b.Note(s)
	if p.pending += b.Pending() - before; p.pending > maxPending {
		return hostile("there are too many notes")
	}
	return nil
}

// abort ends the work on streams that have begun.
func (p *packer) abort() {
	if len(p.packs) > 0 {
		p.packs[0].b.Abort()
	}
}

func (p *packer) Write(b []byte) (int, error) {
	n := len(b)
	if int64(n) > p.limit-p.made {
		return 0, hostile("it unpacks to too much")
	}
	for len(b) > 0 {
		raw := int64(len(b))
		if len(p.packs) > 0 {
			k := p.packs[0]
			if p.made >= k.start {
				m := min(raw, k.end-p.made)
				if err := p.fill(k, b[:m]); err != nil {
					return 0, err
				}
				b = b[m:]
				continue
			}
			raw = min(raw, k.start-p.made)
		}
		if _, err := p.out.Write(b[:raw]); err != nil {
			return 0, err
		}
		p.made += raw
		b = b[raw:]
	}
	return n, nil
}

func (p *packer) fill(k *packing, b []byte) error {
	before := k.b.Pending()
	_, err := k.b.Write(b)
	p.made += int64(len(b))
	if err == nil && p.made == k.end {
		err = k.b.Close()
	}
	if err != nil {
		return damaged(err)
	}
	p.pending -= before - k.b.Pending()
	if p.made == k.end {
		p.packs = p.packs[1:]
	}
	return nil
}

// damaged makes a refusal out of notes or a basis that do not fit.
func damaged(err error) error {
	if errors.Is(err, deflate.ErrNotes) || errors.Is(err, deflate.ErrOdd) {
		return hostile(err.Error())
	}
	return err
}

// edits follows the instructions of version 2.
func (r *reader) edits(base io.ReaderAt, baseSize int64, out *limited) error {
	was, err := newView(base, baseSize)
	if err != nil {
		return err
	}
	defer was.Close()
	p := &packer{out: out, limit: unpackable(r.size)}
	defer p.abort()
	d := deflate.NewDecoder(nil)
	left := unpackable(baseSize)
	var e editor
	for {
		op, err := r.next()
		if err != nil {
			return err
		}
		switch op {
		case 0:
			if len(p.packs) > 0 {
				return hostile("a stream has no end")
			}
			return nil
		case opUnpack:
			if e.old != nil {
				return hostile("it unpacks after it copied")
			}
			err = r.unpack(was, d, &left)
		case opPack:
			err = r.pack(p)
		case opNotes:
			err = r.notes(p)
		case opEdit:
			if e.old == nil {
				if err := was.finish(); err != nil {
					return err
				}
				e.old = newPages(was, was.total)
			}
			err = r.edit(&e, p)
		default:
			err = hostile("it holds an unknown instruction")
		}
		if err != nil {
			return err
		}
	}
}

func (r *reader) unpack(was *view, d *deflate.Decoder, left *int64) error {
	gap, err := r.number(was.size-was.packed, outside)
	if err != nil {
		return err
	}
	content, err := r.number(*left, "it unpacks too much of the basis")
	if err != nil {
		return err
	}
	_, n, err := was.unpack(r.ctx, d, was.packed+gap, content)
	if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && n != content {
		err = deflate.ErrOdd
	}
	*left -= n
	return damaged(err)
}

func (r *reader) pack(p *packer) error {
	gap, err := r.number(p.limit-p.told, tooMuch)
	if err != nil {
		return err
	}
	model, err := r.number(255, "it needs a model that is not known here")
	if err != nil {
		return err
	}
	n, err := r.number(p.limit-p.told-gap, tooMuch)
	if err != nil {
		return err
	}
	return p.announce(gap, deflate.Model(model), n)
}

func (r *reader) notes(p *packer) error {
	var n [3]int64 // content, blocks, fixes
	for i, limit := range []int64{deflate.MaxSegment, maxNotes, maxNotes} {
		var err error
		if n[i], err = r.number(limit, tooLong); err != nil {
			return err
		}
	}
	buf := make([]byte, n[1]+n[2])
	if err := r.bytes(buf); err != nil {
		return err
	}
	return p.note(deflate.Segment{Length: int(n[0]), Blocks: buf[:n[1]], Fixes: buf[n[1]:]})
}

// editor is what edits need from one instruction to the next.
type editor struct {
	old     *pages
	next    int64 // where in the basis the last copy ended
	list    []edit
	literal []byte
}

func (r *reader) edit(e *editor, p *packer) error {
	n, err := r.number(maxEdits, tooLong)
	if err != nil {
		return err
	}
	if n == 0 {
		return hostile("it is damaged")
	}
	if int(n) > len(e.list) {
		e.list = make([]edit, n)
	}
	list := e.list[:n]
	total := int64(0)
	for i := range list {
		if list[i].literal, err = r.number(maxData-total, tooLong); err != nil {
			return err
		}
		total += list[i].literal
	}
	for i := range list {
		if list[i].jump, err = binary.ReadVarint(r.ops); err != nil {
			return hostile("it is damaged")
		}
	}
	for i := range list {
		if list[i].n, err = r.number(e.old.size, outside); err != nil {
			return err
		}
	}
	if int(total) > len(e.literal) {
		e.literal = make([]byte, total)
	}
	literal := e.literal[:total]
	if err := r.bytes(literal); err != nil {
		return err
	}
	for _, x := range list {
		if _, err := p.Write(literal[:x.literal]); err != nil {
			return err
		}
		literal = literal[x.literal:]
		if x.literal == 0 && x.n == 0 || x.jump > 1<<62 || x.jump < -1<<62 {
			return hostile("it is damaged")
		}
		from := e.next + x.literal + x.jump
		if from < 0 || x.n > 0 && from > e.old.size-x.n {
			return hostile(outside)
		}
		for left := x.n; left > 0; {
			b := e.old.at(from)
			if err := r.ctx.Err(); err != nil {
				return err
			}
			if e.old.err != nil {
				return e.old.err
			}
			b = b[:min(int64(len(b)), left)]
			if _, err := p.Write(b); err != nil {
				return err
			}
			left -= int64(len(b))
			from += int64(len(b))
		}
		e.next = min(from, 1<<62)
	}
	return r.ctx.Err()
}
