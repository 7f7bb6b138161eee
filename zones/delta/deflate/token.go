package deflate

import "math/bits"

// A Token is one choice: a literal byte (below 256), or length<<16 | distance.
type Token uint32

func match(length, distance int) Token { return Token(length<<16 | distance) }

// Len is the number of bytes of content that the token stands for.
func (t Token) Len() int {
	if t < 256 {
		return 1
	}
	return int(t >> 16)
}

func (t Token) dist() int { return int(t & 0xffff) }

// Kinds of blocks, as in RFC 1951 3.2.3.
const (
	Stored  = 0
	Fixed   = 1
	Dynamic = 2
)

const (
	minMatch = 3
	maxMatch = 258
	window   = 1 << 15
	endBlock = 256
	litCodes = 286
	// MaxTokens is what one block may have; compressors of zlib's family stop at 2^15.
	MaxTokens = 1 << 18
	// MaxContent is what a stream may unpack to, in bytes.
	MaxContent = 1 << 30
	// MaxBlock is what the content of one block may have, in bytes.
	MaxBlock = 1 << 23
)

// lengthCode and distCode find the symbol of a length or distance, RFC 1951 3.2.5.
var (
	lengthCode [maxMatch + 1]uint16
	lengthBase [29]int
	lengthBits = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase   [30]int
	distBits   [30]uint8
	fixedLit   [288]uint8
	fixedDist  [30]uint8
	// order is that in which lengths of the code of code lengths are sent.
	order = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

func init() {
	n := minMatch
	for i, b := range lengthBits {
		lengthBase[i] = n
		n += 1 << b
	}
	lengthBase[28] = maxMatch
	for i := range lengthBase {
		for l := lengthBase[i]; l <= maxMatch && l < lengthBase[i]+1<<lengthBits[i]; l++ {
			lengthCode[l] = uint16(i)
		}
	}
	n = 1
	for i := range distBase {
		if i >= 4 {
			distBits[i] = uint8(i/2 - 1)
		}
		distBase[i] = n
		n += 1 << distBits[i]
	}
	for i := range fixedLit {
		switch {
		case i < 144:
			fixedLit[i] = 8
		case i < 256:
			fixedLit[i] = 9
		case i < 280:
			fixedLit[i] = 7
		default:
			fixedLit[i] = 8
		}
	}
	for i := range fixedDist {
		fixedDist[i] = 5
	}
}

func distCode(d int) int {
	if d <= 4 {
		return d - 1
	}
	d--
	b := bits.Len(uint(d)) - 1
	return 2*b + d>>(b-1)&1
}

// codes gives the canonical codes for lengths, bits reversed for writing.
func codes(lengths []uint8, out []uint16) {
	var count, next [16]int
	for _, l := range lengths {
		count[l]++
	}
	count[0] = 0
	for l, code := 1, 0; l < 16; l++ {
		code = (code + count[l-1]) << 1
		next[l] = code
	}
	for i, l := range lengths {
		if l > 0 {
			out[i] = bits.Reverse16(uint16(next[l])) >> (16 - l)
			next[l]++
		}
	}
}
