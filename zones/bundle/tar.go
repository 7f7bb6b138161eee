package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

const (
	tarBlock     = 512
	largestUstar = 1<<33 - 1 // bytes that eleven octal digits can tell
	trailerSize  = 2 * tarBlock
	copyBuffer   = 256 << 10
)

// header is the one header of an entry with this name and size: USTAR with fixed fields,
// and before it a PAX record of the size where eleven octal digits do not hold it. They
// are the bytes that archive/tar writes, which a test compares, but they do not depend on
// what its next version does. len(name) <= 90.
func header(name string, size int64) []byte {
	if size <= largestUstar {
		return ustar(name, size, '0')
	}
	// A PAX record counts its own length; for sizes of 10 to 19 digits that has two.
	record := fmt.Sprintf(" size=%d\n", size)
	record = fmt.Sprintf("%d%s", len(record)+2, record)
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i+1], name[i+1:]
	}
	out := ustar(dir+"PaxHeaders.0/"+base, int64(len(record)), 'x')
	out = append(out, record...)
	out = append(out, padding(int64(len(record)))...)
	return append(out, ustar(name, 0, '0')...) // the size in the record counts
}

func ustar(name string, size int64, kind byte) []byte {
	h := make([]byte, tarBlock)
	copy(h[0:100], name)
	if kind == '0' {
		copy(h[100:], "0000644")
		copy(h[329:], "0000000") // device, major and minor
		copy(h[337:], "0000000")
	} else {
		copy(h[100:], "0000000")
	}
	copy(h[108:], "0000000") // owner
	copy(h[116:], "0000000") // group
	copy(h[124:], fmt.Sprintf("%011o", size))
	copy(h[136:], "00000000000") // time
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func padding(size int64) []byte { return make([]byte, (tarBlock-size%tarBlock)%tarBlock) }

// tarWriter writes entries until the first error, which it keeps.
type tarWriter struct {
	w   io.Writer
	err error
}

func (t *tarWriter) put(b []byte) {
	if t.err == nil {
		_, t.err = t.w.Write(b)
	}
}

func (t *tarWriter) bytes(name string, b []byte) {
	t.put(header(name, int64(len(b))))
	t.put(b)
	t.put(padding(int64(len(b))))
}

// stream writes the content of a package and fails if it is not the one that the
// statement names: a reader would refuse all of the file for it.
func (t *tarWriter) stream(ctx context.Context, digest string, size int64, open func(digest string) (io.ReadCloser, error)) {
	t.put(header(blobPrefix+digest, size))
	if t.err != nil {
		return
	}
	r, err := open(digest)
	if err != nil {
		t.err = err
		return
	}
	defer r.Close()
	h := newHash()
	n, err := io.CopyBuffer(io.MultiWriter(t.w, h), io.LimitReader(ctxReader{ctx, r}, size), make([]byte, copyBuffer))
	if err == nil {
		var more [1]byte
		if m, _ := r.Read(more[:]); n != size || m != 0 || sum(h) != digest {
			err = errs.New(errs.Blocked, "The stored package %s is not what its digest says.", digest).WithHint("Upload it again; the file is damaged.")
		}
	}
	t.err = err
	t.put(padding(size))
}

func (t *tarWriter) end() { t.put(make([]byte, trailerSize)) }

// ctxReader ends a long copy when nobody waits for it any more.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// tarReader reads what tarWriter writes and nothing else.
type tarReader struct{ r io.Reader }

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse("The bundle file is cut off.").WithHint("Copy or download it again.")
	}
	return err
}

// expect reads exactly these bytes.
func (t *tarReader) expect(want []byte) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(t.r, got); err != nil {
		return truncated(err)
	}
	if !bytes.Equal(got, want) {
		return notCanonical("bundle file")
	}
	return nil
}

// small reads an entry of this name whose size nothing before has told.
func (t *tarReader) small(name string, limit int64) ([]byte, error) {
	h := make([]byte, tarBlock)
	if _, err := io.ReadFull(t.r, h); err != nil {
		return nil, truncated(err)
	}
	var size int64
	for _, c := range h[124:135] {
		if c < '0' || c > '7' {
			return nil, notCanonical("bundle file")
		}
		size = size<<3 | int64(c-'0')
	}
	if !bytes.Equal(h, header(name, min(size, largestUstar))) {
		return nil, notCanonical("bundle file")
	}
	return t.content(size, limit)
}

func (t *tarReader) content(size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, errs.New(errs.TooLarge, "A part of the bundle file has %d bytes; the limit is %d.", size, limit)
	}
	b, err := io.ReadAll(io.LimitReader(t.r, size)) // grows with what arrives, not with what is claimed
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != size {
		return nil, truncated(io.EOF)
	}
	return b, t.expect(padding(size))
}

// blob reads an entry that a descriptor announces.
func (t *tarReader) blob(d descriptor, limit int64) ([]byte, error) {
	digest, ok := strings.CutPrefix(d.Digest, "sha256:")
	if !ok || !isDigest(digest) || d.Size < 0 {
		return nil, notCanonical("bundle file")
	}
	if d.Size > limit {
		return nil, errs.New(errs.TooLarge, "A part of the bundle file has %d bytes; the limit is %d.", d.Size, limit)
	}
	if err := t.expect(header(blobPrefix+digest, d.Size)); err != nil {
		return nil, err
	}
	b, err := t.content(d.Size, limit)
	if err != nil {
		return nil, err
	}
	if Digest(b) != digest {
		return nil, refuse("A part of the bundle file is not what its name says.").WithHint("It was changed on the way. Ask for it again.")
	}
	return b, nil
}

// pkg reads a package into the sink while hashing it.
func (t *tarReader) pkg(p Package, sink func(Package) (io.WriteCloser, error)) error {
	if err := t.expect(header(blobPrefix+p.Digest, p.Size)); err != nil {
		return err
	}
	w, err := sink(p)
	if err != nil {
		return err
	}
	h := newHash()
	out := io.Writer(h)
	if w != nil {
		out = io.MultiWriter(h, w)
	}
	n, err := io.CopyBuffer(out, io.LimitReader(t.r, p.Size), make([]byte, copyBuffer))
	if err == nil && n != p.Size {
		err = truncated(io.EOF)
	}
	if err == nil && sum(h) != p.Digest {
		err = refuse("Package %s %s in the bundle has other bytes than those that were signed (sha256 %s).", p.ID, p.Version, p.Digest).WithHint("It was changed on the way. Ask for it again.")
	}
	if w != nil {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return err
	}
	return t.expect(padding(p.Size))
}

// end refuses whatever stands behind the two zero blocks.
func (t *tarReader) end() error {
	if err := t.expect(make([]byte, trailerSize)); err != nil {
		return err
	}
	switch n, err := io.ReadFull(t.r, make([]byte, 1)); {
	case n > 0:
		return notCanonical("bundle file")
	case err != io.EOF:
		return err
	}
	return nil
}
