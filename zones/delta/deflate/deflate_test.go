package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// take parses a stream.
func take(stream []byte) (*Notes, []byte, error) {
	var content bytes.Buffer
	n, err := Parse(bytes.NewReader(stream), 1<<26, 0, &content)
	return n, content.Bytes(), err
}

// build makes a stream out of notes, with content in pieces of some size.
func build(n *Notes, content []byte, piece int) ([]byte, error) {
	var out bytes.Buffer
	b, err := NewBuilder(n.Model, n.Length, &out)
	if err != nil {
		return nil, err
	}
	defer b.Abort()
	for _, s := range n.Segments {
		b.Note(s)
	}
	for at := 0; at < len(content); at += piece {
		if _, err := b.Write(content[at:min(at+piece, len(content))]); err != nil {
			return nil, err
		}
	}
	err = b.Close()
	return out.Bytes(), err
}

func rebuilds(t *testing.T, name string, stream []byte, piece int) *Notes {
	t.Helper()
	n, content, err := take(stream)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	want, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream)))
	if err != nil || !bytes.Equal(want, content) {
		t.Errorf("%s: another content (%v)", name, err)
	}
	out, err := build(n, content, piece)
	if err != nil || !bytes.Equal(out, stream[:n.Packed]) {
		t.Errorf("%s: not the same stream (%v), model %x, %d wrong, %d bytes of notes", name, err, n.Model, n.Wrong, n.Size())
	}
	return n
}

// The files are one text compressed by the programs that they are named after, at the
// level of the name (and memLevel, for zlib): zlib 1.2.13 of Python 3.11, GNU gzip 1.12,
// Info-ZIP 3.0, the zlib of Node 20, Go 1.26.
func TestCompressors(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil || len(files) < 11 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		at := 10
		if filepath.Ext(f) == ".zip" {
			at = 30 + int(b[26]) + int(b[28])
		} else if b[3]&8 != 0 {
			at += bytes.IndexByte(b[at:], 0) + 1
		}
		n := rebuilds(t, f, b[at:], 1000)
		if n == nil {
			continue
		}
		byGo := filepath.Base(f)[:2] == "go"
		if n.Wrong > n.Tokens/1000 || n.Wrong > 0 && !byGo {
			t.Errorf("%s: %d of %d tokens are not predicted (model %x)", f, n.Wrong, n.Tokens, n.Model)
		}
		if limit := map[bool]int64{false: 32, true: 200 + n.Packed/100}[byGo]; int64(n.Size()) > limit {
			t.Errorf("%s: %d bytes of notes for %d", f, n.Size(), n.Packed)
		}
	}
}

// samples are contents that lead to all kinds of blocks.
func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var text []byte
	for len(text) < 400_000 {
		if r.IntN(3) > 0 && len(text) > 100 {
			at := r.IntN(len(text) - 50)
			text = append(text, text[at:at+r.IntN(50)]...)
		}
		text = fmt.Appendf(text, "step %d of %x\n", r.IntN(50), r.IntN(1<<20))
	}
	return map[string][]byte{
		"one": {7}, "few": []byte("abcabcabd"), "text": text, "noise": noise, "zeros": make([]byte, 600_000),
		"mixed": append(append(bytes.Clone(text[:100_000]), noise[:150_000]...), text[:200_000]...),
	}
}

func TestKindsOfBlocks(t *testing.T) {
	for name, content := range samples() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 2, 6, 9} {
			for _, every := range []int{len(content), 70_000} { // with and without flushes
				var z bytes.Buffer
				w, err := flate.NewWriter(&z, level)
				if err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(content); at += every {
					w.Write(content[at:min(at+every, len(content))])
					w.Flush()
				}
				w.Close()
				id := fmt.Sprint(name, level, every)
				z.WriteString("what follows")
				if n, _, err := take(z.Bytes()); errors.Is(err, ErrOdd) && (level == 1 || level == flate.HuffmanOnly) {
					continue // of another family: is left as it is
				} else if err != nil {
					t.Errorf("%s: %v", id, err)
				} else if n.Packed != int64(z.Len()-12) {
					t.Errorf("%s: %d of %d bytes", id, n.Packed, z.Len()-12)
				} else {
					rebuilds(t, id, z.Bytes(), 12345)
				}
			}
		}
	}
}

func TestCutStreams(t *testing.T) {
	stream, err := os.ReadFile("testdata/zlib-6-8.gz")
	if err != nil {
		t.Fatal(err)
	}
	stream = stream[10 : len(stream)-8]
	for n := 0; n < len(stream); n += 97 {
		if _, _, err := take(stream[:n]); !errors.Is(err, ErrOdd) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
	if _, err := Parse(bytes.NewReader(stream), 1000, 0, io.Discard); !errors.Is(err, ErrOdd) {
		t.Errorf("more content than the limit: %v", err)
	}
}

func TestNotesThatDoNotFit(t *testing.T) {
	var z bytes.Buffer
	w, err := flate.NewWriter(&z, 6)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(samples()["text"])
	w.Close()
	stream := z.Bytes()
	n, content, err := take(stream)
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Segments) != 1 || len(n.Segments[0].Fixes) == 0 {
		t.Fatal("the sample has no fixes")
	}
	for _, c := range []struct {
		name string
		with func(n *Notes, s *Segment)
	}{
		{"no blocks", func(n *Notes, s *Segment) { s.Blocks = nil }},
		{"a block too few", func(n *Notes, s *Segment) { s.Blocks = s.Blocks[:len(s.Blocks)/2] }},
		{"a segment too short", func(n *Notes, s *Segment) { s.Length-- }},
		{"a segment too long", func(n *Notes, s *Segment) { s.Length++ }},
		{"no segments", func(n *Notes, s *Segment) { n.Segments = nil }},
		{"a segment too many", func(n *Notes, s *Segment) { n.Segments = append(n.Segments, Segment{Blocks: []byte{4, 0}}) }},
		{"an unknown model", func(n *Notes, s *Segment) { n.Model = 0xff }},
		{"a kind that is not", func(n *Notes, s *Segment) { s.Blocks[0] |= 3 }},
		{"a distance from before the beginning", func(n *Notes, s *Segment) { s.Fixes = []byte{0, 3, 9} }},
		{"fixes that are left", func(n *Notes, s *Segment) { s.Fixes = append(s.Fixes, 0xff, 0xff, 0x7f, 0) }},
		{"blocks without end", func(n *Notes, s *Segment) { s.Blocks = bytes.Repeat([]byte{Fixed, 0}, maxBlocks+1) }},
		{"fixes without end", func(n *Notes, s *Segment) { s.Fixes = make([]byte, 1<<20) }},
	} {
		x, y := *n, n.Segments[0]
		y.Blocks, y.Fixes = bytes.Clone(y.Blocks), bytes.Clone(y.Fixes)
		x.Segments = []Segment{y}
		c.with(&x, &x.Segments[0])
		if _, err := build(&x, content, len(content)); !errors.Is(err, ErrNotes) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := build(n, content[:len(content)-1], len(content)); !errors.Is(err, ErrNotes) {
		t.Errorf("content that is too short: %v", err)
	}
	if _, err := build(n, append(content, 0), len(content)); !errors.Is(err, ErrNotes) {
		t.Errorf("content that is too long: %v", err)
	}
}

// Whatever is parsed is built again; whatever is built does not fail otherwise than by an
// error.
func FuzzStream(f *testing.F) {
	for _, level := range []int{0, 2, 6} {
		var z bytes.Buffer
		w, err := flate.NewWriter(&z, level)
		if err != nil {
			f.Fatal(err)
		}
		w.Write(samples()["text"][:2000])
		w.Close()
		f.Add(z.Bytes(), uint16(100))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		n, content, err := take(stream)
		if err != nil {
			return
		}
		out, err := build(n, content, int(piece)+1)
		if err != nil || !bytes.Equal(out, stream[:len(out)]) || int64(len(out)) != n.Packed {
			t.Errorf("not the same stream: %v", err)
		}
	})
}

func FuzzNotes(f *testing.F) {
	b, err := os.ReadFile("testdata/go-6.gz")
	if err != nil {
		f.Fatal(err)
	}
	n, content, err := take(b[10 : len(b)-8])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(n.Model), n.Segments[0].Blocks, n.Segments[0].Fixes)
	f.Fuzz(func(t *testing.T, model uint8, blocks, fixes []byte) {
		b, err := NewBuilder(Model(model), n.Length, io.Discard)
		if err != nil {
			return
		}
		b.Note(Segment{int(n.Length), blocks, fixes})
		for at := 0; at < len(content); at += 10_000 {
			if _, err := b.Write(content[at:min(at+10_000, len(content))]); err != nil {
				return
			}
		}
		if err := b.Close(); err == nil && len(blocks) == 0 {
			t.Error("a stream without blocks")
		}
	})
}

// Budget: 1.5 times what compress/flate needs to make the stream (reported as a ratio).
func BenchmarkParse(b *testing.B) {
	text := samples()["text"]
	var z bytes.Buffer
	w, _ := flate.NewWriter(&z, 6)
	start := time.Now()
	w.Write(text)
	w.Close()
	reference := time.Since(start)
	b.SetBytes(int64(len(text)))
	defer func() { b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(reference), "x-flate") }()
	for b.Loop() {
		if _, err := Parse(bytes.NewReader(z.Bytes()), 1<<26, goModel|6, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// Streams of several segments come out as they were.
func TestSegments(t *testing.T) {
	text := samples()["mixed"]
	for len(text) < 5<<20 {
		text = append(text, text[len(text)/3:]...)
	}
	for _, level := range []int{3, 6} {
		var z bytes.Buffer
		w, err := flate.NewWriter(&z, level)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(text)
		w.Close()
		if n := rebuilds(t, fmt.Sprint(level), z.Bytes(), 777); n != nil && len(n.Segments) < 4 {
			t.Errorf("level %d: %d segments", level, len(n.Segments))
		}
	}
}
