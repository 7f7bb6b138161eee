package deflate

import (
	"encoding/binary"
	"math/bits"
)

// Model names how a compressor chooses, so that its choices can be predicted: family and
// level. The numbers are part of the recipe's format.
type Model uint8

// Families of models; a model is a family and a level from 1 to 9.
const (
	zlibModel  = 0 << 4 // zlib with memLevel 8, gzip, Info-ZIP
	zlib9Model = 1 << 4 // zlib with memLevel 9
	nodeModel  = 2 << 4 // Chromium's zlib
	goModel    = 3 << 4 // compress/flate
	families   = 4
)

func (m Model) valid() bool { return m>>4 < families && m&15 >= 1 && m&15 <= 9 }

// limits of a search, by level: as in zlib's configuration table, which others took over.
type limits struct {
	good, lazy, nice, chain int
	greedy                  bool
}

var levels = [10]limits{
	1: {4, 4, 8, 4, true}, 2: {4, 5, 16, 8, true}, 3: {4, 6, 32, 32, true},
	4: {4, 4, 16, 16, false}, 5: {8, 16, 32, 32, false}, 6: {8, 16, 128, 128, false},
	7: {8, 32, 128, 256, false}, 8: {32, 128, 258, 1024, false}, 9: {32, 258, 258, 4096, false},
}

const tooFar = 4096 // a shortest match farther away is worse than literals

// predictor tells the next token of a compressor. Positions are offsets in buf.
type predictor struct {
	limits
	hash     func(b []byte) uint32
	min      int // shortest match
	far      int // farthest first candidate
	behind   int // farthest later candidate
	isGo     bool
	buf      []byte // content: what came before the segment, the segment, and what follows
	first    int    // first position that may be a candidate
	pos      int    // where the next token begins
	inserted int    // first position that is not in the chains
	final    bool   // nothing follows buf
	carried  bool   // a search for pos was made before
	length   int    // its result
	dist     int
	head     []int32        // position+1 of the newest string with a hash
	prev     [window]uint16 // how far before a string the one with the same hash is, 0 for none
}

func newPredictor(m Model) *predictor {
	p := &predictor{limits: levels[m&15], min: 3, far: window - 262, behind: window - 263}
	hashBits := 15
	switch m &^ 15 {
	case zlibModel:
		p.hash = func(b []byte) uint32 { return (uint32(b[0])<<10 ^ uint32(b[1])<<5 ^ uint32(b[2])) & 0x7fff }
	case zlib9Model:
		hashBits = 16
		p.hash = func(b []byte) uint32 { return (uint32(b[0])<<12 ^ uint32(b[1])<<6 ^ uint32(b[2])) & 0xffff }
	case nodeModel:
		p.hash = func(b []byte) uint32 {
			return (binary.LittleEndian.Uint32(b)*66521 + 66521) >> 16 & 0x7fff
		}
	case goModel:
		hashBits = 17
		p.isGo, p.min, p.far, p.behind = true, 4, window, window
		p.hash = func(b []byte) uint32 { return binary.BigEndian.Uint32(b) * 0x1e35a7bd >> 15 }
		if p.greedy { // levels 2 and 3
			p.lazy = int(m&15) + 3
		}
	}
	p.head = make([]int32, 1<<hashBits)
	return p
}

// begin starts with a segment. All of what came before it is in the chains.
func (p *predictor) begin(s *segment) {
	clear(p.head)
	p.buf, p.pos, p.inserted, p.final, p.carried = s.buf, s.before, 0, s.final, false
	p.first = 0
	if !p.isGo && s.begins {
		p.first = 1 // for zlib the first position of all means none
	}
}

// insert puts the strings up to and with position at into the chains.
func (p *predictor) insert(at int) {
	at = min(at, len(p.buf)-4) // a hash looks at four bytes
	for q := p.inserted; q <= at; q++ {
		h := p.hash(p.buf[q : q+4])
		far := q + 1 - int(p.head[h])
		if far > window || far > q {
			far = 0
		}
		p.prev[q&(window-1)] = uint16(far)
		if q >= p.first {
			p.head[h] = int32(q + 1)
		}
	}
	p.inserted = max(p.inserted, at+1)
}

// search finds the longest match at a position that is longer than best.
func (p *predictor) search(at, best int) (length, dist int) {
	if at > len(p.buf)-4 {
		return 0, 0
	}
	look := min(maxMatch, len(p.buf)-at)
	far := int(p.prev[at&(window-1)])
	if far == 0 || far > p.far || best >= look {
		return 0, 0
	}
	cand := at - far
	chain, nice := p.chain, min(p.nice, look)
	if best >= p.good {
		chain >>= 2
	}
	buf := p.buf
	scan := buf[at : at+look]
	last, tail := buf[at+best], buf[at+best-1]
	lowest := max(at-p.behind, p.first)
	for {
		if buf[cand+best] == last && buf[cand+best-1] == tail {
			c := buf[cand : cand+look]
			n := same(c, scan)
			if n > best && !(p.isGo && n == 4 && at-cand > tooFar) {
				best, length, dist = n, n, at-cand
				if n >= nice {
					break
				}
				last, tail = scan[n], scan[n-1]
			}
		}
		if chain--; chain <= 0 {
			break
		}
		next := int(p.prev[cand&(window-1)])
		if cand -= next; next == 0 || cand < lowest {
			break
		}
	}
	if length == minMatch && dist > tooFar && !p.greedy {
		return 0, 0
	}
	return length, dist
}

// same counts the bytes that two slices of one length have in common.
func same(a, b []byte) int {
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

// next predicts the token at pos.
func (p *predictor) next() Token {
	lit := Token(p.buf[p.pos])
	if !p.carried {
		p.insert(p.pos)
		p.length, p.dist = p.search(p.pos, p.min-1)
		p.carried = true
	}
	if p.length < p.min {
		return lit
	}
	if p.greedy || p.length >= p.lazy {
		return match(p.length, p.dist)
	}
	p.insert(p.pos + 1)
	best := p.length
	if p.isGo {
		best = p.min - 1
	}
	if l, d := p.search(p.pos+1, best); l > p.length {
		p.length, p.dist = l, d
		return lit | carry
	}
	return match(p.length, p.dist)
}

func (t Token) isMatch() bool { return t >= 256 && t&carry == 0 }

// carry marks a literal that stands before a better match.
const carry Token = 1 << 31

// accept moves behind the token that really follows.
func (p *predictor) accept(t, predicted Token) {
	if t < 256 && predicted&carry != 0 {
		p.pos++
		return // what was found for the next position holds
	}
	n := t.Len()
	if p.greedy && n > 1 {
		if n <= p.lazy {
			p.insert(p.pos + n - 1)
		}
		p.inserted = max(p.inserted, p.pos+n)
	}
	p.pos += n
	p.carried = false
}

// skip moves over bytes of a stored block.
func (p *predictor) skip(n int) {
	p.pos += n
	p.carried = false
}
