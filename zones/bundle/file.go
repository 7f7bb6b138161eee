package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// The file .octb is an uncompressed tar of an OCI image layout with exactly one
// encoding: USTAR headers with fixed fields, entries in a fixed order, zero padding, two
// zero blocks at the end.

const (
	ociLayout      = `{"imageLayoutVersion":"1.0.0"}`
	mediaManifest  = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex     = "application/vnd.oci.image.index.v1+json"
	artifactBundle = "application/vnd.octopuses.bundle.v1"
	mediaEnvelope  = "application/vnd.dsse.envelope.v1+json"
	mediaPackage   = "application/octet-stream"
	blobPrefix     = "blobs/sha256/"
	maxManifest    = 4 << 20
	emptyConfig    = "{}"
	mediaEmptyJSON = "application/vnd.oci.empty.v1+json"
	tarBlock       = 512
	largestUstar   = 1<<33 - 1 // sizes beyond are refused: one encoding, no PAX
	trailerSize    = 2 * tarBlock
	ociSchema      = 2
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

func describe(media string, b []byte) descriptor {
	return descriptor{media, "sha256:" + Digest(b), int64(len(b))}
}

// layout is everything about a file that follows from the message and the set of
// packages that are present.
func layout(m *Message, p Promotion, present []Package) (idx, man []byte, layers []descriptor, err error) {
	layers = append(layers, describe(mediaEnvelope, m.Envelope))
	seen := map[string]bool{}
	for _, b := range []Blob{p.Process, p.Variables, p.Templates, p.Evidence, p.Sealed} {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			layers = append(layers, descriptor{b.MediaType, "sha256:" + b.Digest, b.Size})
		}
	}
	// Small ones first, so that a reader knows most as early as possible.
	sorted := slices.Clone(present)
	slices.SortFunc(sorted, func(a, b Package) int {
		if a.Size != b.Size {
			if a.Size < b.Size {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	for _, pkg := range sorted {
		if !seen[pkg.Digest] {
			seen[pkg.Digest] = true
			layers = append(layers, descriptor{mediaPackage, "sha256:" + pkg.Digest, pkg.Size})
		}
	}
	if man, err = json.Marshal(manifest{ociSchema, mediaManifest, artifactBundle, describe(mediaEmptyJSON, []byte(emptyConfig)), layers}); err != nil {
		return nil, nil, nil, err
	}
	idx, err = json.Marshal(index{ociSchema, mediaIndex, []descriptor{describe(mediaManifest, man)}})
	return idx, man, layers, err
}

// Write writes a bundle file. open gives the content of a package; a package for which
// have is false is left out.
func Write(ctx context.Context, w io.Writer, m *Message, have func(digest string) bool, open func(digest string) (io.ReadCloser, error)) error {
	payload, _, err := peek(m.Envelope, MaxEnvelope, "bundle")
	if err != nil {
		return err
	}
	var st statement[Promotion]
	if err := json.Unmarshal(payload, &st); err != nil {
		return err
	}
	var present []Package
	for _, p := range st.Predicate.Packages {
		if have(p.Digest) {
			if p.Size > largestUstar {
				return errs.New(errs.TooLarge, "Package %s %s is larger than a bundle file can hold (8 GiB).", p.ID, p.Version).WithHint("Export without packages and carry the package by itself.")
			}
			present = append(present, p)
		}
	}
	idx, man, layers, err := layout(m, st.Predicate, present)
	if err != nil {
		return err
	}
	t := &tarWriter{w: w}
	t.bytes("oci-layout", []byte(ociLayout))
	t.bytes("index.json", idx)
	t.bytes(blobPrefix+Digest(man), man)
	t.bytes(blobPrefix+Digest([]byte(emptyConfig)), []byte(emptyConfig))
	for _, l := range layers {
		d := strings.TrimPrefix(l.Digest, "sha256:")
		switch {
		case l.MediaType == mediaEnvelope:
			t.bytes(blobPrefix+d, m.Envelope)
		case l.MediaType == mediaPackage:
			t.stream(ctx, blobPrefix+d, l.Size, func() (io.ReadCloser, error) { return open(d) })
		default:
			t.bytes(blobPrefix+d, m.Blobs[d])
		}
	}
	t.end()
	return t.err
}

type tarWriter struct {
	w   io.Writer
	err error
}

// header is the one header of an entry with this name and size.
func header(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatUSTAR})
	if err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return b.Bytes(), nil
}

func padding(size int64) []byte { return make([]byte, (tarBlock-size%tarBlock)%tarBlock) }

func (t *tarWriter) put(b []byte) {
	if t.err == nil {
		_, t.err = t.w.Write(b)
	}
}

func (t *tarWriter) head(name string, size int64) {
	h, err := header(name, size)
	if t.err == nil {
		t.err = err
	}
	t.put(h)
}

func (t *tarWriter) bytes(name string, b []byte) {
	t.head(name, int64(len(b)))
	t.put(b)
	t.put(padding(int64(len(b))))
}

func (t *tarWriter) stream(ctx context.Context, name string, size int64, open func() (io.ReadCloser, error)) {
	t.head(name, size)
	if t.err != nil {
		return
	}
	r, err := open()
	if err != nil {
		t.err = err
		return
	}
	defer r.Close()
	n, err := io.Copy(t.w, io.LimitReader(ctxReader{ctx, r}, size))
	if err == nil && n != size {
		err = fmt.Errorf("package has %d bytes instead of %d", n, size)
	}
	t.err = err
	t.put(padding(size))
}

func (t *tarWriter) end() { t.put(make([]byte, trailerSize)) }

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

// Read reads a bundle file in one pass. choose is called with the message before any
// package is read: it verifies it, by which the caller decides whether to go on. sink
// takes a package whose digest and size the verified statement names; it must check the
// digest itself or leave that to Read, which fails at the end of a package with other
// bytes. sink may return nil to skip a package. Nothing may be acted on before Read
// returns without an error.
func Read(ctx context.Context, r io.Reader, choose func(m *Message) (*Verified, error), sink func(p Package) (io.WriteCloser, error)) (*Verified, *Message, []Package, error) {
	t := &tarReader{r: ctxReader{ctx, r}}
	lay, err := t.bytes("oci-layout", 64)
	if err != nil {
		return nil, nil, nil, err
	}
	if string(lay) != ociLayout {
		return nil, nil, nil, notCanonical("bundle file")
	}
	idx, err := t.bytes("index.json", 4096)
	if err != nil {
		return nil, nil, nil, err
	}
	var in index
	if err := exact(idx, &in); err != nil || len(in.Manifests) != 1 {
		return nil, nil, nil, notCanonical("bundle file")
	}
	man, err := t.blob(in.Manifests[0], maxManifest)
	if err != nil {
		return nil, nil, nil, err
	}
	var mf manifest
	if err := exact(man, &mf); err != nil || len(mf.Layers) < 6 || len(mf.Layers) > MaxBlobs {
		return nil, nil, nil, notCanonical("bundle file")
	}
	if _, err := t.blob(describe(mediaEmptyJSON, []byte(emptyConfig)), 16); err != nil {
		return nil, nil, nil, err
	}
	if mf.Layers[0].MediaType != mediaEnvelope {
		return nil, nil, nil, notCanonical("bundle file")
	}
	m := &Message{Blobs: map[string][]byte{}}
	if m.Envelope, err = t.blob(mf.Layers[0], MaxEnvelope); err != nil {
		return nil, nil, nil, err
	}
	rest := mf.Layers[1:]
	for len(rest) > 0 && rest[0].MediaType != mediaPackage {
		b, err := t.blob(rest[0], MaxBlob)
		if err != nil {
			return nil, nil, nil, err
		}
		m.Blobs[Digest(b)] = b
		rest = rest[1:]
		if len(m.Blobs) > 8 {
			return nil, nil, nil, notCanonical("bundle file")
		}
	}
	v, err := choose(m)
	if err != nil {
		return nil, nil, nil, err
	}
	present, err := packagesOf(v, rest)
	if err != nil {
		return nil, nil, nil, err
	}
	wantIdx, wantMan, _, err := layout(m, v.Promotion, present)
	if err != nil || !bytes.Equal(wantIdx, idx) || !bytes.Equal(wantMan, man) {
		return nil, nil, nil, notCanonical("bundle file")
	}
	for i, l := range rest {
		if err := t.pkg(l, present[i], sink); err != nil {
			return nil, nil, nil, err
		}
	}
	return v, m, present, t.end()
}

// packagesOf matches the layers of packages to the signed manifest.
func packagesOf(v *Verified, layers []descriptor) ([]Package, error) {
	byDigest := map[string]Package{}
	for _, p := range v.Promotion.Packages {
		byDigest[p.Digest] = p
	}
	out := make([]Package, 0, len(layers))
	for _, l := range layers {
		p, ok := byDigest[strings.TrimPrefix(l.Digest, "sha256:")]
		if !ok || p.Size != l.Size {
			return nil, refuse("The bundle carries a file that was not signed.")
		}
		out = append(out, p)
	}
	return out, nil
}

// exact reads JSON that must be exactly what we would write.
func exact(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	again, err := json.Marshal(v)
	if err != nil || !bytes.Equal(again, b) {
		return notCanonical("bundle file")
	}
	return nil
}

type tarReader struct{ r io.Reader }

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse("The bundle file is cut off.").WithHint("Copy or download it again.")
	}
	return err
}

// head reads a header that must be the one of this name; it returns the size.
func (t *tarReader) head(name string, limit int64) (int64, error) {
	h := make([]byte, tarBlock)
	if _, err := io.ReadFull(t.r, h); err != nil {
		return 0, truncated(err)
	}
	var size int64
	for _, c := range h[124:135] {
		if c < '0' || c > '7' {
			return 0, notCanonical("bundle file")
		}
		size = size<<3 | int64(c-'0')
	}
	if size > limit {
		return 0, errs.New(errs.TooLarge, "An entry of the bundle file has %d bytes; the limit is %d.", size, limit)
	}
	want, err := header(name, size)
	if err != nil || !bytes.Equal(want, h) {
		return 0, notCanonical("bundle file")
	}
	return size, nil
}

func (t *tarReader) pad(size int64) error {
	p := padding(size)
	if _, err := io.ReadFull(t.r, p); err != nil {
		return truncated(err)
	}
	if !bytes.Equal(p, make([]byte, len(p))) {
		return notCanonical("bundle file")
	}
	return nil
}

func (t *tarReader) bytes(name string, limit int64) ([]byte, error) {
	size, err := t.head(name, limit)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(t.r, size)) // grows with what arrives, not with what is claimed
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != size {
		return nil, truncated(io.EOF)
	}
	return b, t.pad(size)
}

func (t *tarReader) blob(d descriptor, limit int64) ([]byte, error) {
	digest, ok := strings.CutPrefix(d.Digest, "sha256:")
	if !ok || !isDigest(digest) || d.Size > limit {
		return nil, notCanonical("bundle file")
	}
	b, err := t.bytes(blobPrefix+digest, limit)
	if err != nil {
		return nil, err
	}
	if Digest(b) != digest || int64(len(b)) != d.Size {
		return nil, refuse("A part of the bundle file is not what its name says.").WithHint("It was changed on the way. Ask for it again.")
	}
	return b, nil
}

func (t *tarReader) pkg(d descriptor, p Package, sink func(Package) (io.WriteCloser, error)) error {
	size, err := t.head(blobPrefix+p.Digest, largestUstar)
	if err != nil {
		return err
	}
	if size != p.Size {
		return notCanonical("bundle file")
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
	n, err := io.Copy(out, io.LimitReader(t.r, size))
	if err == nil && n != size {
		err = truncated(io.EOF)
	}
	if err == nil && fmt.Sprintf("%x", h.Sum(nil)) != p.Digest {
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
	return t.pad(size)
}

func (t *tarReader) end() error {
	b := make([]byte, trailerSize+1)
	n, err := io.ReadFull(t.r, b)
	if !errors.Is(err, io.ErrUnexpectedEOF) || n != trailerSize || !bytes.Equal(b[:n], make([]byte, n)) {
		if n < trailerSize {
			return truncated(io.EOF)
		}
		return notCanonical("bundle file")
	}
	return nil
}

// Marshal renders a message as one text of bytes: a bundle file without packages.
func (m *Message) Marshal() ([]byte, error) {
	var b bytes.Buffer
	err := Write(context.Background(), &b, m, func(string) bool { return false }, nil)
	return b.Bytes(), err
}

// ParseMessage reads a bundle file without packages and verifies it with choose.
func ParseMessage(b []byte, choose func(m *Message) (*Verified, error)) (*Verified, *Message, error) {
	v, m, _, err := Read(context.Background(), bytes.NewReader(b), choose, func(Package) (io.WriteCloser, error) {
		return nil, refuse("A message carries no packages.")
	})
	return v, m, err
}

func newHash() hash.Hash { return sha256.New() }
