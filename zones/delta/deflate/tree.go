package deflate

// The Huffman codes of a block as zlib's trees.c makes them, with its ways to break ties
// and to shorten codes that are too long (zlib licence; gzip and Info-ZIP do the same).

const heapSize = 2*litCodes + 1

type tree struct {
	freq  [heapSize]uint32
	len   [heapSize]uint8
	dad   [heapSize]uint16
	depth [heapSize]uint8
	heap  [heapSize + 1]int
	n     int // in the heap
	last  int // largest symbol that is used
}

func (t *tree) smaller(a, b int) bool {
	return t.freq[a] < t.freq[b] || t.freq[a] == t.freq[b] && t.depth[a] <= t.depth[b]
}

func (t *tree) down(k int) {
	v := t.heap[k]
	for j := k << 1; j <= t.n; j <<= 1 {
		if j < t.n && t.smaller(t.heap[j+1], t.heap[j]) {
			j++
		}
		if t.smaller(v, t.heap[j]) {
			break
		}
		t.heap[k] = t.heap[j]
		k = j
	}
	t.heap[k] = v
}

// build sets the lengths of symbols from their frequencies; max is the longest code.
func (t *tree) build(symbols, max int) {
	t.n, t.last = 0, -1
	clear(t.depth[:])
	for i := range symbols {
		t.len[i] = 0
		if t.freq[i] != 0 {
			t.n++
			t.heap[t.n] = i
			t.last = i
		}
	}
	for t.n < 2 { // a code has at least two symbols
		node := 0
		if t.last < 2 {
			t.last++
			node = t.last
		}
		t.n++
		t.heap[t.n] = node
		t.freq[node] = 1
	}
	for k := t.n / 2; k >= 1; k-- {
		t.down(k)
	}
	top, node := heapSize, symbols
	for {
		a := t.heap[1]
		t.heap[1] = t.heap[t.n]
		t.n--
		t.down(1)
		b := t.heap[1]
		top--
		t.heap[top] = a
		top--
		t.heap[top] = b
		t.freq[node] = t.freq[a] + t.freq[b]
		t.depth[node] = t.depth[a] + 1
		if t.depth[b] >= t.depth[a] {
			t.depth[node] = t.depth[b] + 1
		}
		t.dad[a], t.dad[b] = uint16(node), uint16(node)
		t.heap[1] = node
		node++
		t.down(1)
		if t.n < 2 {
			break
		}
	}
	top--
	t.heap[top] = t.heap[1]
	t.lengths(top, max)
}

func (t *tree) lengths(top, max int) {
	var count [16]int
	overflow := 0
	t.len[t.heap[top]] = 0
	for h := top + 1; h < heapSize; h++ {
		n := t.heap[h]
		l := int(t.len[t.dad[n]]) + 1
		if l > max {
			l = max
			overflow++
		}
		t.len[n] = uint8(l)
		if n <= t.last {
			count[l]++
		}
	}
	if overflow == 0 {
		return
	}
	for ; overflow > 0; overflow -= 2 {
		l := max - 1
		for count[l] == 0 {
			l--
		}
		count[l]--
		count[l+1] += 2
		count[max]--
	}
	h := heapSize
	for l := max; l != 0; l-- {
		for n := count[l]; n > 0; {
			h--
			if m := t.heap[h]; m <= t.last {
				t.len[m] = uint8(l)
				n--
			}
		}
	}
}

// runs calls f for each symbol of the code of code lengths that tells the lengths.
func (t *tree) runs(f func(symbol, extra int, bits uint)) {
	prev, next := -1, int(t.len[0])
	count := 0
	most, least := 7, 4
	if next == 0 {
		most, least = 138, 3
	}
	for n := 0; n <= t.last; n++ {
		cur := next
		next = 0xffff
		if n < t.last {
			next = int(t.len[n+1])
		}
		count++
		if count < most && cur == next {
			continue
		}
		switch {
		case count < least:
			for ; count > 0; count-- {
				f(cur, 0, 0)
			}
		case cur != 0:
			if cur != prev {
				f(cur, 0, 0)
				count--
			}
			f(16, count-3, 2)
		case count <= 10:
			f(17, count-3, 3)
		default:
			f(18, count-11, 7)
		}
		count, prev = 0, cur
		switch {
		case next == 0:
			most, least = 138, 3
		case cur == next:
			most, least = 6, 3
		default:
			most, least = 7, 4
		}
	}
}

// trees are the three codes of a dynamic block.
type trees struct{ lit, dist, code tree }

// count sets the frequencies from the tokens of a block.
func (t *trees) count(tokens []Token) {
	clear(t.lit.freq[:litCodes])
	clear(t.dist.freq[:30])
	t.lit.freq[endBlock] = 1
	for _, k := range tokens {
		if k < 256 {
			t.lit.freq[k]++
		} else {
			t.lit.freq[257+int(lengthCode[k.Len()])]++
			t.dist.freq[distCode(k.dist())]++
		}
	}
}

// header predicts the bits that tell the codes of a block, for frequencies that count set.
func (t *trees) header(w *bitWriter) {
	t.lit.build(litCodes, 15)
	t.dist.build(30, 15)
	clear(t.code.freq[:19])
	tally := func(s, _ int, _ uint) { t.code.freq[s]++ }
	t.lit.runs(tally)
	t.dist.runs(tally)
	t.code.build(19, 7)
	last := 18
	for last >= 3 && t.code.len[order[last]] == 0 {
		last--
	}
	w.put(uint64(t.lit.last+1-257), 5)
	w.put(uint64(t.dist.last), 5)
	w.put(uint64(last+1-4), 4)
	for _, o := range order[:last+1] {
		w.put(uint64(t.code.len[o]), 3)
	}
	var c [19]uint16
	codes(t.code.len[:19], c[:])
	send := func(s, extra int, bits uint) {
		w.put(uint64(c[s]), uint(t.code.len[s]))
		w.put(uint64(extra), bits)
	}
	t.lit.runs(send)
	t.dist.runs(send)
}
