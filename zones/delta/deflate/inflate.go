package deflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Block is one block of a stream, with what it stands for.
type Block struct {
	Kind    int
	Final   bool
	Tokens  []Token
	Content []byte // what the tokens stand for; valid until the next block
	header  []byte // the bits that tell a dynamic block's codes, as they were
	bits    int    // of header
	length  int    // of the content

	predicted bool // the header is what tokens tell
}

// ErrOdd is for a stream that can be valid, but is not one that this package repeats.
var ErrOdd = errors.New("the deflate stream is damaged or unusual")

// Decoder reads the blocks of a stream.
type Decoder struct {
	r        io.Reader
	in       []byte // unread bytes
	space    []byte
	err      error
	read     int64 // bytes taken from r
	acc      uint64
	n        uint
	hist     []byte // window and the content of the block
	lit, dst table
	done     bool
	record   *bitWriter
	lengths  []uint8 // of the codes of the last dynamic block
	nlit     int
}

// NewDecoder begins to read a stream. It reads ahead of its end.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{r: r, space: make([]byte, 1<<16), hist: make([]byte, 0, 1<<18)}
}

// Reset begins to read another stream with the same memory.
func (d *Decoder) Reset(r io.Reader) {
	d.r, d.in, d.err, d.read, d.acc, d.n, d.hist, d.done = r, nil, nil, 0, 0, 0, d.hist[:0], false
	d.record = nil // of a header that ended in the middle
}

// Consumed is the number of bytes that the stream took, once its last block was read.
func (d *Decoder) Consumed() int64 { return d.read - int64(len(d.in)) - int64(d.n/8) }

func (d *Decoder) fill() {
	for d.n <= 56 {
		if len(d.in) >= 8 {
			d.acc |= binary.LittleEndian.Uint64(d.in) << d.n
			k := (63 - d.n) / 8
			d.in = d.in[k:]
			d.n += k * 8
			d.acc &= 1<<d.n - 1
			return
		}
		if len(d.in) == 0 {
			if d.err != nil {
				return
			}
			var k int
			k, d.err = d.r.Read(d.space)
			d.read += int64(k)
			d.in = d.space[:k]
			continue
		}
		d.acc |= uint64(d.in[0]) << d.n
		d.in = d.in[1:]
		d.n += 8
	}
}

// take reads up to 16 bits.
func (d *Decoder) take(k uint) (uint, error) {
	if d.n < k {
		if d.fill(); d.n < k {
			return 0, io.ErrUnexpectedEOF
		}
	}
	v := uint(d.acc & (1<<k - 1))
	d.acc >>= k
	d.n -= k
	if d.record != nil {
		d.record.put(uint64(v), k)
	}
	return v, nil
}

const tableBits = 10

// table finds a symbol by its code: the lowest bits lead to symbol<<4 | length; longer
// codes are looked up one bit after another.
type table struct {
	fast          [1 << tableBits]uint16
	count, offset [16]int
	symbols       []uint16
}

// set prepares the table. Codes that are not complete are refused, but for a single one,
// as zlib does.
func (t *table) set(lengths []uint8) error {
	t.count = [16]int{}
	for _, l := range lengths {
		t.count[l]++
	}
	used := len(lengths) - t.count[0]
	t.count[0] = 0
	left := 1
	for l := 1; l < 16; l++ {
		left = left<<1 - t.count[l]
		if left < 0 {
			return ErrOdd
		}
		t.offset[l] = t.offset[l-1] + t.count[l-1]
	}
	if left > 0 && used > 1 {
		return ErrOdd
	}
	t.symbols = append(t.symbols[:0], make([]uint16, used)...)
	at := t.offset
	var code [288]uint16
	codes(lengths, code[:])
	t.fast = [1 << tableBits]uint16{}
	for s, l := range lengths {
		if l == 0 {
			continue
		}
		t.symbols[at[l]] = uint16(s)
		at[l]++
		if l <= tableBits {
			for i := int(code[s]); i < 1<<tableBits; i += 1 << l {
				t.fast[i] = uint16(s)<<4 | uint16(l)
			}
		}
	}
	return nil
}

// symbol reads one symbol. At least 15 bits are there unless the input ends.
func (d *Decoder) symbol(t *table) (int, error) {
	if d.n < 15 {
		d.fill()
	}
	if e := t.fast[d.acc&(1<<tableBits-1)]; e != 0 {
		l := uint(e & 15)
		if l > d.n {
			return 0, io.ErrUnexpectedEOF
		}
		if d.record != nil {
			d.record.put(d.acc&(1<<l-1), l)
		}
		d.acc >>= l
		d.n -= l
		return int(e >> 4), nil
	}
	code, first := 0, 0
	for l := 1; l < 16; l++ {
		if uint(l) > d.n {
			return 0, io.ErrUnexpectedEOF
		}
		code |= int(d.acc>>(l-1)) & 1
		if code-first < t.count[l] {
			d.acc >>= l
			d.n -= uint(l)
			return int(t.symbols[t.offset[l]+code-first]), nil
		}
		first = (first + t.count[l]) << 1
		code <<= 1
	}
	return 0, ErrOdd
}

// Next reads one block; [io.EOF] after the last. Bits that are left over between the end
// and the next byte must be zero.
func (d *Decoder) Next(b *Block) error {
	if d.done {
		return io.EOF
	}
	if len(d.hist) > window {
		d.hist = d.hist[:copy(d.hist, d.hist[len(d.hist)-window:])]
	}
	start := len(d.hist)
	b.Tokens, b.bits = b.Tokens[:0], 0
	v, err := d.take(3)
	if err != nil {
		return err
	}
	b.Final, b.Kind = v&1 != 0, int(v>>1)
	switch b.Kind {
	case Stored:
		err = d.stored()
	case Fixed:
		err = errors.Join(d.lit.set(fixedLit[:]), d.dst.set(append(fixedDist[:], 5, 5)))
	case Dynamic:
		w := bitWriter{out: b.header[:0]}
		d.record = &w
		err = d.header()
		d.record = nil
		b.bits = len(w.out)*8 + int(w.n)
		b.header = w.flush()
	default:
		err = ErrOdd
	}
	if err == nil && b.Kind != Stored {
		err = d.tokens(b)
	}
	if err != nil {
		return err
	}
	b.Content = d.hist[start:]
	b.length = len(b.Content)
	if b.Final {
		d.done = true
		return d.align()
	}
	return nil
}

func (d *Decoder) align() error {
	if v, _ := d.take(d.n % 8); v != 0 {
		return ErrOdd
	}
	return nil
}

func (d *Decoder) stored() error {
	if err := d.align(); err != nil {
		return err
	}
	n, err := d.take(16)
	if err != nil {
		return err
	}
	inv, err := d.take(16)
	if err != nil {
		return err
	}
	if n^inv != 0xffff {
		return ErrOdd
	}
	for range n {
		v, err := d.take(8)
		if err != nil {
			return err
		}
		d.hist = append(d.hist, byte(v))
	}
	return nil
}

func (d *Decoder) header() error {
	v, err := d.take(14)
	if err != nil {
		return err
	}
	nlit, ndist, ncode := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if nlit > litCodes || ndist > 30 {
		return ErrOdd
	}
	var cl [19]uint8
	for _, o := range order[:ncode] {
		v, err := d.take(3)
		if err != nil {
			return err
		}
		cl[o] = uint8(v)
	}
	if err := d.lit.set(cl[:]); err != nil {
		return err
	}
	var lengths [litCodes + 30]uint8
	for i := 0; i < nlit+ndist; {
		s, err := d.symbol(&d.lit)
		if err != nil {
			return err
		}
		if s < 16 {
			lengths[i] = uint8(s)
			i++
			continue
		}
		extra, base, value := uint(2), 3, uint8(0)
		switch {
		case s == 16 && i > 0:
			value = lengths[i-1]
		case s == 17:
			extra = 3
		case s == 18:
			extra, base = 7, 11
		default:
			return ErrOdd
		}
		v, err := d.take(extra)
		if err != nil {
			return err
		}
		n := base + int(v)
		if i+n > nlit+ndist {
			return ErrOdd
		}
		for ; n > 0; n-- {
			lengths[i] = value
			i++
		}
	}
	if lengths[endBlock] == 0 {
		return ErrOdd
	}
	d.lengths = append(d.lengths[:0], lengths[:nlit+ndist]...)
	d.nlit = nlit
	return errors.Join(d.lit.set(lengths[:nlit]), d.dst.set(lengths[nlit:nlit+ndist]))
}

// readHeader reads the bits of a dynamic block's header: the lengths of its codes.
func readHeader(header []byte, bits int) (lit, dist []uint8, err error) {
	d := &Decoder{r: bytes.NewReader(header), space: make([]byte, 1<<10)}
	if err := d.header(); err != nil {
		return nil, nil, err
	}
	if used := int(d.read)*8 - len(d.in)*8 - int(d.n); used != bits {
		return nil, nil, ErrOdd
	}
	return d.lengths[:d.nlit], d.lengths[d.nlit:], nil
}

func (d *Decoder) tokens(b *Block) error {
	start := len(d.hist)
	for {
		s, err := d.symbol(&d.lit)
		if err != nil {
			return err
		}
		if s < 256 {
			d.hist = append(d.hist, byte(s))
			b.Tokens = append(b.Tokens, Token(s))
			continue
		}
		if s == endBlock {
			return nil
		}
		s -= 257
		if s > 28 || len(b.Tokens) >= MaxTokens || len(d.hist)-start >= MaxBlock {
			return ErrOdd
		}
		x, err := d.take(uint(lengthBits[s]))
		if err != nil {
			return err
		}
		l := lengthBase[s] + int(x)
		if s == 27 && l == maxMatch {
			return ErrOdd // the long way to say 258
		}
		c, err := d.symbol(&d.dst)
		if err != nil {
			return err
		}
		if c > 29 {
			return ErrOdd
		}
		if x, err = d.take(uint(distBits[c])); err != nil {
			return err
		}
		dist := distBase[c] + int(x)
		from := len(d.hist) - dist
		if from < 0 {
			return ErrOdd
		}
		if dist >= l {
			d.hist = append(d.hist, d.hist[from:from+l]...)
		} else {
			for i := range l {
				d.hist = append(d.hist, d.hist[from+i])
			}
		}
		b.Tokens = append(b.Tokens, match(l, dist))
	}
}

// bitWriter collects bits, the lowest first.
type bitWriter struct {
	out []byte
	acc uint64
	n   uint
}

// put adds up to 32 bits.
func (w *bitWriter) put(v uint64, k uint) {
	w.acc |= v << w.n
	w.n += k
	if w.n >= 32 {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(w.acc))
		w.acc >>= 32
		w.n -= 32
	}
}

// flush pads to a byte with zeros.
func (w *bitWriter) flush() []byte {
	for i := 0; i < int(w.n); i += 8 {
		w.out = append(w.out, byte(w.acc>>i))
	}
	w.acc, w.n = 0, 0
	return w.out
}
