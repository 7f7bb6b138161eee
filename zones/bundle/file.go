package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	ociSchema      = 2
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"` // sha256:…
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

func newHash() hash.Hash     { return sha256.New() }
func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// layout is everything about a file that follows from the message and the set of
// packages that are present. files is present without repetitions, in the file's order.
func layout(m *Message, p *Promotion, present []Package) (idx, man []byte, files []Package, err error) {
	layers := []descriptor{describe(mediaEnvelope, m.Envelope)}
	seen := map[string]bool{}
	for _, b := range p.blobs() {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			layers = append(layers, descriptor{b.MediaType, "sha256:" + b.Digest, b.Size})
		}
	}
	// Small ones first, so that a reader knows most as early as possible.
	sorted := slices.Clone(present)
	slices.SortStableFunc(sorted, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), strings.Compare(a.Digest, b.Digest))
	})
	for _, pkg := range sorted {
		if !seen[pkg.Digest] {
			seen[pkg.Digest] = true
			layers = append(layers, descriptor{mediaPackage, "sha256:" + pkg.Digest, pkg.Size})
			files = append(files, pkg)
		}
	}
	if man, err = json.Marshal(manifest{ociSchema, mediaManifest, artifactBundle, describe(mediaEmptyJSON, []byte(emptyConfig)), layers}); err != nil {
		return nil, nil, nil, err
	}
	idx, err = json.Marshal(index{ociSchema, mediaIndex, []descriptor{describe(mediaManifest, man)}})
	return idx, man, files, err
}

// Write writes a bundle file. open gives the content of a package, once for each; a
// package for which have is false is left out. It fails when a package is not what the
// statement says of it; what was written then is no bundle.
func Write(ctx context.Context, w io.Writer, m *Message, have func(digest string) bool, open func(digest string) (io.ReadCloser, error)) error {
	v, err := m.Own()
	if err != nil {
		return err
	}
	var present []Package
	for _, p := range v.Promotion.Packages {
		if have(p.Digest) {
			present = append(present, p)
		}
	}
	idx, man, files, err := layout(m, &v.Promotion, present)
	if err != nil {
		return err
	}
	t := &tarWriter{w: w}
	t.bytes("oci-layout", []byte(ociLayout))
	t.bytes("index.json", idx)
	t.bytes(blobPrefix+Digest(man), man)
	t.bytes(blobPrefix+Digest([]byte(emptyConfig)), []byte(emptyConfig))
	t.bytes(blobPrefix+m.Digest(), m.Envelope)
	written := map[string]bool{}
	for _, b := range v.Promotion.blobs() {
		if !written[b.Digest] {
			written[b.Digest] = true
			t.bytes(blobPrefix+b.Digest, m.Blobs[b.Digest])
		}
	}
	for _, p := range files {
		t.stream(ctx, p.Digest, p.Size, open)
	}
	t.end()
	return t.err
}

// Read reads a bundle file in one pass, in memory that does not depend on its packages.
// choose is called with the message before any package is read: it verifies it, by which
// the caller decides whether to go on. sink takes a package whose digest and size the
// verified statement names; it must check the digest itself or leave that to Read, which
// fails at the end of a package with other bytes. sink may be nil, or return nil, to skip
// packages, which are checked all the same. present is the packages that the file holds,
// each once. Nothing may be acted on before Read returns without an error.
func Read(ctx context.Context, r io.Reader, choose func(m *Message) (*Verified, error), sink func(p Package) (io.WriteCloser, error)) (v *Verified, m *Message, present []Package, err error) {
	t := &tarReader{r: ctxReader{ctx, r}}
	idx, man, layers, err := t.front()
	if err != nil {
		return nil, nil, nil, err
	}
	m = &Message{Blobs: map[string][]byte{}}
	if m.Envelope, err = t.blob(layers[0], MaxEnvelope); err != nil {
		return nil, nil, nil, err
	}
	layers = layers[1:]
	total := int64(0)
	for len(layers) > 0 && layers[0].MediaType != mediaPackage {
		// Nobody's signature covers this yet, so it must not fill the memory.
		if total += layers[0].Size; total > MaxMetadata || layers[0].Size < 0 {
			return nil, nil, nil, errs.New(errs.TooLarge, "The parts of the bundle file before its packages are larger than %d bytes.", MaxMetadata)
		}
		b, err := t.blob(layers[0], MaxBlob)
		if err != nil {
			return nil, nil, nil, err
		}
		m.Blobs[Digest(b)] = b
		layers = layers[1:]
	}
	if v, err = choose(m); err != nil {
		return nil, nil, nil, err
	}
	if present, err = packagesOf(v, layers); err != nil {
		return nil, nil, nil, err
	}
	// Index and manifest are a function of the statement and of what is present. They are
	// compared and never trusted.
	wantIdx, wantMan, files, err := layout(m, &v.Promotion, present)
	if err != nil || !bytes.Equal(wantIdx, idx) || !bytes.Equal(wantMan, man) {
		return nil, nil, nil, notCanonical("bundle file")
	}
	if sink == nil {
		sink = func(Package) (io.WriteCloser, error) { return nil, nil }
	}
	for _, p := range files {
		if err := t.pkg(p, sink); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := t.end(); err != nil {
		return nil, nil, nil, err
	}
	return v, m, present, nil
}

// front reads what stands before the envelope.
func (t *tarReader) front() (idx, man []byte, layers []descriptor, err error) {
	const what = "bundle file"
	lay, err := t.small("oci-layout", 64)
	if err != nil {
		return nil, nil, nil, err
	}
	if string(lay) != ociLayout {
		return nil, nil, nil, notCanonical(what)
	}
	if idx, err = t.small("index.json", 4096); err != nil {
		return nil, nil, nil, err
	}
	var in index
	if err := exact(idx, what, &in); err != nil || len(in.Manifests) != 1 {
		return nil, nil, nil, notCanonical(what)
	}
	if man, err = t.blob(in.Manifests[0], maxManifest); err != nil {
		return nil, nil, nil, err
	}
	var mf manifest
	if err := exact(man, what, &mf); err != nil || len(mf.Layers) < 2 || mf.Layers[0].MediaType != mediaEnvelope {
		return nil, nil, nil, notCanonical(what)
	}
	if len(mf.Layers) > MaxBlobs {
		return nil, nil, nil, tooMany("blobs in a bundle file", MaxBlobs)
	}
	_, err = t.blob(describe(mediaEmptyJSON, []byte(emptyConfig)), tarBlock)
	return idx, man, mf.Layers, err
}

// packagesOf matches the layers of packages to the signed manifest.
func packagesOf(v *Verified, layers []descriptor) ([]Package, error) {
	byDigest := map[string]Package{}
	for _, p := range v.Promotion.Packages {
		if _, twice := byDigest[p.Digest]; !twice {
			byDigest[p.Digest] = p
		}
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

// Marshal renders a message as one text of bytes: a bundle file without packages, as the
// wire carries it.
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
