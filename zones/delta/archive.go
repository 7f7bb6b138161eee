package delta

import (
	"archive/zip"
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"sort"

	"octopuses.dev/octopuses/zones/delta/deflate"
)

// stream is a deflate stream in a file.
type stream struct {
	offset, packed int64 // in the file; packed is 0 when only reading it tells
	content        int64 // bytes unpacked, as the archive says; 0 when it does not
	crc            uint32
}

const (
	// minPacked is the smallest stream that is worth looking into, in bytes.
	minPacked = 64
	// maxEntries bounds the list of an archive.
	maxEntries = 1 << 18
	// maxUnpacked is the most that a side unpacks into its temporary folder, in bytes.
	maxUnpacked = 4 << 30
)

// unpackable is the limit of what the streams of a file may unpack to: deflate can make a
// thousand bytes of one, and real packages do not. Both sides hold to it.
func unpackable(size int64) int64 {
	if size > maxUnpacked/64 {
		return maxUnpacked
	}
	return 64*size + 16<<20
}

// streams lists the deflate streams of a zip (nupkg, jar, ...) or the first one of a gzip
// file, by offset. A file that is neither has none; nor has one whose list is damaged.
func streams(file io.ReaderAt, size int64) (list []stream, gz bool) {
	var head [4]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return nil, false
	}
	switch {
	case head[0] == 0x1f && head[1] == 0x8b:
		if at, ok := member(file, size, 0); ok {
			return []stream{{offset: at}}, true
		}
	case head == [4]byte{'P', 'K', 3, 4}:
		z, err := zip.NewReader(file, size)
		if err != nil && !errors.Is(err, zip.ErrInsecurePath) || len(z.File) > maxEntries {
			return nil, false
		}
		for _, f := range z.File {
			packed, content := f.CompressedSize64, f.UncompressedSize64
			if f.Method != zip.Deflate || packed < minPacked || packed > uint64(size) || content == 0 || content > math.MaxInt32 {
				continue
			}
			at, err := f.DataOffset()
			if err != nil || at+int64(packed) > size {
				continue
			}
			list = append(list, stream{at, int64(packed), int64(content), f.CRC32})
		}
	}
	slices.SortFunc(list, func(a, b stream) int { return cmp.Compare(a.offset, b.offset) })
	end := int64(0)
	return slices.DeleteFunc(list, func(s stream) bool { // entries may overlap in a hostile zip
		if s.offset < end {
			return true
		}
		end = s.offset + s.packed
		return false
	}), false
}

// member finds the stream of a gzip member (RFC 1952) that begins at an offset.
func member(file io.ReaderAt, size, at int64) (int64, bool) {
	in := bufio.NewReader(io.NewSectionReader(file, at, min(size-at, 1<<17)))
	var head [10]byte
	if _, err := io.ReadFull(in, head[:]); err != nil || head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 || head[3] > 31 {
		return 0, false
	}
	at += 10
	flags := head[3]
	if flags&4 != 0 {
		var n [2]byte
		if _, err := io.ReadFull(in, n[:]); err != nil {
			return 0, false
		}
		k, err := in.Discard(int(n[0]) | int(n[1])<<8)
		if err != nil {
			return 0, false
		}
		at += 2 + int64(k)
	}
	for _, text := range []byte{8, 16} { // name, comment
		if flags&text == 0 {
			continue
		}
		for b := byte(1); b != 0; at++ {
			var err error
			if b, err = in.ReadByte(); err != nil {
				return 0, false
			}
		}
	}
	if flags&2 != 0 {
		at += 2
	}
	return at, at < size
}

// view is a file with some of its streams unpacked: what recipes copy from, and what they
// make. Close removes what was unpacked.
type view struct {
	file   io.ReaderAt
	size   int64 // of the file
	temp   *os.File
	w      *bufio.Writer
	packed int64 // end of the last stream in the file
	stored int64 // bytes in temp
	total  int64 // bytes of the view before the rest of the file
	pieces []piece
	block  deflate.Block // memory for unpacking
}

// piece is a part of a view, out of the file or out of what was unpacked.
type piece struct {
	start, length int64 // in the view
	from          io.ReaderAt
	offset        int64
}

func newView(file io.ReaderAt, size int64) (*view, error) {
	temp, err := os.CreateTemp("", "unpacked-")
	if err != nil {
		return nil, err
	}
	os.Remove(temp.Name()) // gone as soon as it is closed, where the system lets us
	return &view{file: file, size: size, temp: temp, w: bufio.NewWriterSize(temp, 1<<18)}, nil
}

func (v *view) Close() error { return errors.Join(v.temp.Close(), removed(v.temp.Name())) }

func removed(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// tell adds a stream that add filled with n bytes.
func (v *view) tell(offset, packed, n int64) {
	v.raw(offset)
	v.pieces = append(v.pieces, piece{v.total, n, v.temp, v.stored})
	v.total += n
	v.stored += n
	v.packed = offset + packed
}

func (v *view) raw(until int64) {
	if gap := until - v.packed; gap > 0 {
		v.pieces = append(v.pieces, piece{v.total, gap, v.file, v.packed})
		v.total += gap
		v.packed = until
	}
}

// finish adds the rest of the file; the view can be read from then on.
func (v *view) finish() error {
	v.raw(v.size)
	return v.w.Flush()
}

// rewind forgets what was unpacked since the last stream that was told.
func (v *view) rewind() error {
	if err := v.w.Flush(); err != nil {
		return err
	}
	_, err := v.temp.Seek(v.stored, io.SeekStart)
	return err
}

// ReadAt reads the view.
func (v *view) ReadAt(p []byte, off int64) (int, error) {
	i := sort.Search(len(v.pieces), func(i int) bool { return v.pieces[i].start+v.pieces[i].length > off })
	n := 0
	for ; i < len(v.pieces) && n < len(p); i++ {
		c := v.pieces[i]
		skip := off + int64(n) - c.start
		k := int(min(int64(len(p)-n), c.length-skip))
		if m, err := c.from.ReadAt(p[n:n+k], c.offset+skip); m < k {
			return n + m, errors.Join(io.ErrUnexpectedEOF, err)
		}
		n += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// unpack adds the stream at an offset, of at most limit bytes of content; it gives the
// sizes of stream and content. What it cannot read is an error and leaves the view as it
// was.
func (v *view) unpack(ctx context.Context, d *deflate.Decoder, offset, limit int64) (packed, content int64, err error) {
	d.Reset(io.NewSectionReader(v.file, offset, v.size-offset))
	for err == nil {
		if err = d.Next(&v.block); err == nil {
			if content += int64(len(v.block.Content)); content > limit {
				err = deflate.ErrOdd
			} else if _, err = v.w.Write(v.block.Content); err == nil {
				err = ctx.Err()
			}
		}
	}
	if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, 0, errors.Join(err, v.rewind())
	}
	v.tell(offset, d.Consumed(), content)
	return d.Consumed(), content, nil
}
