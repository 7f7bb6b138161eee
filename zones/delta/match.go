package delta

import (
	"context"
	"encoding/binary"
	"io"
	"math/bits"
)

// pages reads a file at random places through a small cache. It is for one goroutine.
type pages struct {
	r    io.ReaderAt
	size int64
	slot [pageSlots]page
	err  error
}

type page struct {
	number int64
	data   []byte
}

const (
	pageBits  = 13
	pageSize  = 1 << pageBits
	pageSlots = 1024 // 8 MiB
)

func newPages(r io.ReaderAt, size int64) *pages {
	p := &pages{r: r, size: size}
	for i := range p.slot {
		p.slot[i].number = -1
	}
	return p
}

// at gives the bytes from an offset to the end of its page; none outside of the file.
func (p *pages) at(off int64) []byte {
	if off < 0 || off >= p.size {
		return nil
	}
	n := off >> pageBits
	s := &p.slot[n&(pageSlots-1)]
	if s.number != n {
		if s.data == nil {
			s.data = make([]byte, pageSize)
		}
		s.data = s.data[:min(pageSize, p.size-n<<pageBits)]
		s.number = n
		if _, err := p.r.ReadAt(s.data, n<<pageBits); err != nil && err != io.EOF {
			p.err = err
		}
	}
	return s.data[off&(pageSize-1):]
}

// same counts the bytes from an offset on that are those of b.
func (p *pages) same(off int64, b []byte) int {
	n := 0
	for n < len(b) {
		a := p.at(off + int64(n))
		k := common(a, b[n:])
		n += k
		if k < len(a) || k == 0 {
			break
		}
	}
	return n
}

// before counts the bytes that stand before an offset and at the end of b.
func (p *pages) before(off int64, b []byte) int {
	n := 0
	for n < len(b) && off-int64(n) > 0 {
		if a := p.at(off - int64(n) - 1); a[0] != b[len(b)-1-n] {
			break
		}
		n++
	}
	return n
}

func common(a, b []byte) int {
	n := 0
	for ; n+8 <= len(a) && n+8 <= len(b); n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
	}
	for ; n < len(a) && n < len(b) && a[n] == b[n]; n++ {
	}
	return n
}

const (
	longSize  = 24      // bytes of a string in the table of the whole basis
	longSlots = 1 << 21 // 8 MiB
	longBits  = 21      // of an entry of that table are a place; the others are of the string's hash
	nearSize  = 8       // bytes of a string in the table of what is near
	nearSlots = 1 << 17
	nearBack  = 1 << 12 // how much of the basis is looked at around the place that is expected
	nearAhead = 1 << 13
	segment   = 1 << 20 // of the new file at a time

	strideRun = 1 << 12 // bytes in vain that make the stride one longer,
	maxStride = 15      // up to this

	leastHere = 6  // bytes of a match worth to go on in the same place,
	leastNext = 10 // or up to shift bytes from it,
	leastNear = 20 // near it,
	leastFar  = 32 // anywhere else
	shift     = 64
)

func hash8(b []byte) uint64 { return binary.LittleEndian.Uint64(b) * 0x9e3779b97f4a7c15 }

func hashLong(b []byte) uint64 {
	h := hash8(b)
	h = (h>>29 ^ h ^ binary.LittleEndian.Uint64(b[8:])) * 0xbf58476d1ce4e5b9
	return (h>>32 ^ h ^ binary.LittleEndian.Uint64(b[16:])) * 0x94d049bb133111eb
}

// matcher finds what a file has from a basis. It knows the basis by strings at regular
// distances (of the whole) and by all short strings near the place where the basis is
// expected to go on; its memory does not grow with the files.
type matcher struct {
	old    *pages
	step   int64
	long   []uint32 // offset/step+1 of a string in the lower longBits, above them more of its hash
	near   []int64  // offset+1 of a string
	known  [8]span  // what of the basis is in near
	oldest int      // of known
	places [4]int64 // where the last copies were from, less where they went to
}

type span struct{ lo, hi int64 }

func newMatcher(ctx context.Context, old io.ReaderAt, size int64) (*matcher, error) {
	m := &matcher{old: newPages(old, size), step: 16, near: make([]int64, nearSlots)}
	for size/m.step > longSlots/2 {
		m.step *= 2
	}
	m.long = make([]uint32, min(longSlots, 1<<bits.Len64(uint64(size/m.step*2))))
	buf := make([]byte, segment+longSize)
	for at := int64(0); at+longSize <= size; at += segment {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := old.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return nil, err
		}
		for i := int64(0); i < segment && i+longSize <= int64(n); i += m.step {
			if h, tag := m.slot(buf[i:]); m.long[h] == 0 { // the first of many: runs go on from there
				m.long[h] = tag | uint32((at+i)/m.step) + 1
			}
		}
	}
	return m, nil
}

// slot is where the table has the string that b begins with, and what of its hash the
// entry there has: a look at the basis costs the reading of a page, and half of the slots
// have some other string.
func (m *matcher) slot(b []byte) (slot uint64, tag uint32) {
	h := hashLong(b)
	return h >> 20 & uint64(len(m.long)-1), uint32(h>>20>>longBits) << longBits
}

// far is where the basis perhaps has the string that b begins with.
func (m *matcher) far(b []byte) (off int64, ok bool) {
	slot, tag := m.slot(b)
	e := m.long[slot]
	return int64(e&(1<<longBits-1)-1) * m.step, e != 0 && e>>longBits<<longBits == tag
}

// around puts the basis near an offset into the near table.
func (m *matcher) around(off int64) {
	for i := range m.known {
		k := &m.known[i]
		if off >= k.lo && off < k.hi {
			if off+nearAhead/2 > k.hi {
				m.learn(k.hi, k.hi+nearAhead)
				k.hi += nearAhead
			}
			return
		}
	}
	k := &m.known[m.oldest]
	m.oldest = (m.oldest + 1) % len(m.known)
	*k = span{max(off-nearBack, 0), off + nearAhead}
	m.learn(k.lo, k.hi)
}

func (m *matcher) learn(lo, hi int64) {
	hi = min(hi, m.old.size-nearSize)
	for at := lo; at < hi; {
		b := m.old.at(at)
		n := min(len(b)-nearSize+1, int(hi-at))
		for i := range max(n, 0) {
			m.near[hash8(b[i:])>>47] = at + int64(i) + 1
		}
		at += int64(max(n, 1))
	}
}

// diff tells how to make a file: for each call, literal bytes and then n bytes of the
// basis. The literals are valid until emit returns; n may be 0.
func (m *matcher) diff(ctx context.Context, file io.ReaderAt, size int64, emit func(literal []byte, from, n int64) error) error {
	buf := make([]byte, segment)
	expect := int64(0) // where in the basis the file seems to go on
	for at := int64(0); at < size; at += segment {
		if err := ctx.Err(); err != nil {
			return err
		}
		seg := buf[:min(segment, size-at)]
		if _, err := file.ReadAt(seg, at); err != nil && err != io.EOF {
			return err
		}
		done := 0 // of the segment
		copied := func(i int, from int64, n int) error {
			err := emit(seg[done:i], from, int64(n))
			done, expect = i+n, from+int64(n)
			if n > 0 {
				m.place(from - at - int64(i))
			}
			return err
		}
		for i := 0; i < len(seg); {
			from, n := m.find(seg, at, i, done, expect)
			if n == 0 {
				i += stride(i - done)
				continue
			}
			if back := m.old.before(from, seg[done:i]); back > 0 {
				i, from, n = i-back, from-int64(back), n+back
			}
			if err := copied(i, from, n); err != nil {
				return err
			}
			i = done
		}
		if done < len(seg) {
			left := int64(len(seg) - done)
			if err := copied(len(seg), expect+left, 0); err != nil {
				return err
			}
		}
		if m.old.err != nil {
			return m.old.err
		}
	}
	return nil
}

// stride is how far to go on after so many bytes that were looked up in vain. A look in the
// table of the whole basis waits for main memory, so what is encrypted or new is gone
// through in bigger steps, the longer it is. That loses no copy which is longer than the
// stride times the step of the table: strides are odd and steps powers of two, so some look
// hits a place that is in the table, and the copy then grows backwards over what was left
// out. Shorter ones are lost in long literals only, where they are rare.
func stride(run int) int {
	return min(run/strideRun, maxStride) | 1
}

// has reports whether the basis has the string that b begins with, at a place that is in
// the table.
func (m *matcher) has(b []byte) bool {
	p, ok := m.far(b)
	return ok && m.old.same(p, b[:longSize]) == longSize
}

// place remembers where a copy was from, the newest first.
func (m *matcher) place(d int64) {
	prev := d
	for i, p := range m.places {
		m.places[i] = prev
		if p == d {
			break
		}
		prev = p
	}
}

// find looks for the bytes of a segment from i on; literals began at done, the segment at
// at.
func (m *matcher) find(seg []byte, at int64, i, done int, expect int64) (from int64, n int) {
	rest := seg[i:]
	run := int64(i - done)
	if run < 32 { // as if bytes were only replaced
		for k, d := range m.places {
			p := at + int64(i) + d
			if l := m.old.same(p, rest); l > n && (l >= leastNear || k == 0 && l >= leastHere) {
				from, n = p, l
				if k == 0 {
					break
				}
			}
		}
		if n > 0 {
			return from, n
		}
	}
	if len(rest) < nearSize {
		return 0, 0
	}
	if run < 256 {
		if from, n = m.shifted(expect+run, rest); n > 0 {
			return from, n
		}
	}
	m.around(expect + run)
	if p := m.near[hash8(rest)>>47] - 1; p >= 0 {
		if k := m.old.same(p, rest); k >= leastNear {
			return p, k
		}
	}
	if len(rest) >= longSize {
		if q, ok := m.far(rest); ok {
			if k := m.old.same(q, rest); k >= longSize && k+m.old.before(q, seg[done:i]) >= leastFar {
				return q, k
			}
		}
	}
	return 0, 0
}

// shifted looks for bytes a little before and behind where they are expected: something
// was inserted or left out.
func (m *matcher) shifted(expect int64, rest []byte) (from int64, n int) {
	lo := max(expect-shift, 0)
	var space [2*shift + nearSize]byte
	b := m.old.at(lo)
	if len(b) < len(space) { // it may go on in the next page
		k := copy(space[:], b)
		b = space[:k+copy(space[k:], m.old.at(lo+int64(k)))]
	}
	b = b[:min(len(b), len(space))]
	want := binary.LittleEndian.Uint64(rest)
	for i := 0; i+nearSize <= len(b); i++ {
		if binary.LittleEndian.Uint64(b[i:]) == want {
			if k := m.old.same(lo+int64(i), rest); k > n && k >= leastNext {
				from, n = lo+int64(i), k
			}
		}
	}
	return from, n
}
