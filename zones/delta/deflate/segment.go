package deflate

import (
	"runtime"
	"sync"
)

// A stream is worked on in segments: whole blocks of a MiB of content or more together.
// The search of a segment begins anew, with what came before it in the window, so that
// segments are independent and all cores work. What a beginning predicts wrongly is fixed
// like all else.
type segment struct {
	buf    []byte // window before it, its content, ahead bytes that follow
	before int    // bytes before it
	length int    // bytes of content
	begins bool   // it is the first of its stream
	final  bool   // it is the last
	blocks []*Block
	notes  Segment
	wrong  int // tokens that were not predicted
	err    error
	done   chan struct{}
}

// Segment are the notes of a segment: its blocks, and the tokens that differ from what is
// predicted.
type Segment struct {
	Length int // bytes of content
	Blocks []byte
	Fixes  []byte
}

const (
	// segmentSize is the content of a segment that is made here, but for what the last
	// block has more.
	segmentSize = 1 << 20
	// MaxSegment is the most that a segment may have, in bytes.
	MaxSegment = segmentSize + MaxBlock
	// maxBlocks is the most blocks of a segment. Each may be empty.
	maxBlocks = 1 << 15
	// ahead is the content behind a segment that is looked at.
	ahead = maxMatch + 8
)

// maxFixes is the most fixes of a segment: a search costs most where its result is not
// taken, so a hostile recipe would be one of fixes.
func maxFixes(length int) int { return 1024 + length/32 }

// rows works on segments in their order, some at a time.
type rows struct {
	model Model
	work  func(p *predictor, s *segment)
	take  func(s *segment) error // in order
	queue []*segment
}

// What is large is kept from stream to stream: the tables of predictors, decoders, tokens,
// content. An archive of thousands of small files would leave gigabytes to be collected.
var (
	pools    [families * 16]sync.Pool
	decoders = sync.Pool{New: func() any { return NewDecoder(nil) }}
	blocks   = sync.Pool{New: func() any { return new(Block) }}
	buffers  = sync.Pool{New: func() any { return new([]byte) }}
)

// release gives back what a segment had that is done.
func (s *segment) release() {
	for _, b := range s.blocks {
		*b = Block{Tokens: b.Tokens[:0]}
		blocks.Put(b)
	}
	buf := s.buf[:0]
	s.blocks, s.buf = nil, nil
	buffers.Put(&buf)
}

// room gives an empty slice that holds n bytes.
func room(n int) []byte {
	b := *buffers.Get().(*[]byte)
	if cap(b) < n {
		b = make([]byte, 0, n)
	}
	return b[:0]
}

func (r *rows) run(s *segment) {
	p, ok := pools[r.model].Get().(*predictor)
	if !ok {
		p = newPredictor(r.model)
	}
	p.begin(s)
	r.work(p, s)
	p.buf = nil
	pools[r.model].Put(p)
}

// add begins to work on a segment that has all it needs.
func (r *rows) add(s *segment) error {
	if s.final && len(r.queue) == 0 { // nothing to do meanwhile
		r.run(s)
		defer s.release()
		return r.take(s)
	}
	s.done = make(chan struct{})
	if s.length > 2*segmentSize { // one large segment at a time, for the memory
		for len(r.queue) > 0 {
			if err := r.next(); err != nil {
				return err
			}
		}
		r.run(s)
		close(s.done)
	} else {
		go func() {
			defer close(s.done)
			r.run(s)
		}()
	}
	r.queue = append(r.queue, s)
	for len(r.queue) > min(runtime.GOMAXPROCS(0), 4) || s.final && len(r.queue) > 0 {
		if err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rows) next() error {
	s := r.queue[0]
	r.queue = r.queue[1:]
	<-s.done
	defer s.release()
	return r.take(s)
}

// wait lets no work behind when something went wrong.
func (r *rows) wait() {
	for _, s := range r.queue {
		<-s.done
	}
	r.queue = nil
}

// follow makes the segment that comes behind s, with room for n bytes of content.
func (s *segment) follow(n int) *segment {
	end := s.before + s.length
	from := max(0, end-window)
	next := &segment{buf: room(window + n + ahead), before: end - from}
	next.buf = append(next.buf, s.buf[from:end]...)
	return next
}
