package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
)

// Any tar can read the file, and as an image layout it is right: each blob is what its
// name says, and the manifest names them all.
func TestFileIsAnImageLayout(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	b, m := file(t, dev, prod, []byte("the package"))
	files := map[string][]byte{}
	var order []string
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o644 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 || h.Typeflag != tar.TypeReg {
			t.Errorf("%+v", h)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		order = append(order, h.Name)
	}
	for name, content := range files {
		if digest, ok := strings.CutPrefix(name, blobPrefix); ok && Digest(content) != digest {
			t.Errorf("%s has other bytes", name)
		}
	}
	var idx index
	var man manifest
	if err := json.Unmarshal(files["index.json"], &idx); err != nil {
		t.Fatal(err)
	}
	blob := func(d descriptor) []byte { return files[blobPrefix+strings.TrimPrefix(d.Digest, "sha256:")] }
	if err := json.Unmarshal(blob(idx.Manifests[0]), &man); err != nil {
		t.Fatal(err)
	}
	if len(man.Layers) != 7 || len(files) != 2+2+7 || order[0] != "oci-layout" || order[1] != "index.json" {
		t.Errorf("%d layers, files %v", len(man.Layers), order)
	}
	if !bytes.Equal(blob(man.Layers[0]), m.Envelope) || string(blob(man.Layers[6])) != "the package" {
		t.Error("the envelope is not first or the package not last")
	}
}

// Our headers are those of archive/tar, also beyond what eleven octal digits can tell.
func TestHeaders(t *testing.T) {
	t.Parallel()
	name := blobPrefix + strings.Repeat("0f", 32)
	for _, size := range []int64{0, 1, 511, 512, 1 << 20, largestUstar, largestUstar + 1, 9_999_999_999, 10_000_000_000, MaxPackage} {
		var want bytes.Buffer
		w := tar.NewWriter(&want)
		format := tar.FormatUSTAR
		if size > largestUstar {
			format = tar.FormatPAX
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: format}); err != nil {
			t.Fatal(err)
		}
		if got := header(name, size); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("size %d: other bytes than archive/tar writes", size)
		}
		h, err := tar.NewReader(bytes.NewReader(header(name, size))).Next()
		if err != nil || h.Size != size || h.Name != name {
			t.Errorf("size %d is read as %+v, %v", size, h, err)
		}
	}
}

// A bundle may travel with all, none or some of its packages, each once.
func TestPartialBundles(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	one, two := []byte("package one"), bytes.Repeat([]byte("two"), 1000)
	c := content(one)
	c.Packages = append(c.Packages, Package{Action: "Again", ID: "Shop", Version: "1.4.2", Extension: ".zip", Digest: Digest(one), Size: int64(len(one))},
		Package{Action: "Install", Reference: "tool", ID: "Tool", Version: "2", Extension: ".tar.gz", Digest: Digest(two), Size: int64(len(two))})
	m := message(t, c, dev, prod)
	for _, have := range [][][]byte{{}, {one}, {two}, {one, two}} {
		b := pack(t, m, have...)
		got := map[string]*bytes.Buffer{}
		v, again, present, err := Read(context.Background(), bytes.NewReader(b), func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) }, func(p Package) (io.WriteCloser, error) {
			if got[p.Digest] != nil {
				t.Errorf("package %s came twice", p.ID)
			}
			got[p.Digest] = &bytes.Buffer{}
			return nopCloser{got[p.Digest]}, nil
		})
		if err != nil || len(present) != len(have) || len(got) != len(have) || v.Digest != m.Digest() || !bytes.Equal(again.Envelope, m.Envelope) {
			t.Fatalf("%d packages: %v, %d present", len(have), err, len(present))
		}
		for _, p := range have {
			if !bytes.Equal(got[Digest(p)].Bytes(), p) {
				t.Error("other bytes came out")
			}
		}
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// A package that is damaged where it is stored stops the export.
func TestWriteChecksPackages(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	m := message(t, content([]byte("the package")), dev, prod)
	for name, stored := range map[string]string{"another byte": "The package", "shorter": "the packag", "longer": "the packages", "empty": ""} {
		err := Write(context.Background(), io.Discard, m, func(string) bool { return true }, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(stored)), nil })
		if !errors.Is(err, errs.Blocked) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := Write(context.Background(), io.Discard, m, func(string) bool { return true }, func(string) (io.ReadCloser, error) { return nil, errDisk })
	if !errors.Is(err, errDisk) {
		t.Errorf("%v", err)
	}
	broken := &Message{m.Envelope, map[string][]byte{}}
	if err := Write(context.Background(), io.Discard, broken, func(string) bool { return false }, nil); err == nil {
		t.Error("a message without its parts was written")
	}
}

// Where a sink fails, the reader fails, and with other bytes in a package it names it.
func TestSinks(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	b, _ := file(t, dev, prod, []byte("the package"))
	choose := func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) }
	for name, sink := range map[string]func(Package) (io.WriteCloser, error){
		"opening": func(Package) (io.WriteCloser, error) { return nil, errDisk },
		"writing": func(Package) (io.WriteCloser, error) { return full{errDisk, nil}, nil },
		"closing": func(Package) (io.WriteCloser, error) { return full{nil, errDisk}, nil },
	} {
		v, _, _, err := Read(context.Background(), bytes.NewReader(b), choose, sink)
		if !errors.Is(err, errDisk) || v != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
	i := bytes.Index(b, []byte("the package"))
	b[i] ^= 1
	_, err := read(b, dev.card, prodSpace)
	refused(t, "other bytes", err, "Package Shop 1.4.2 in the bundle has other bytes")
}

type full struct{ write, close error }

func (f full) Write(p []byte) (int, error) { return len(p), f.write }
func (f full) Close() error                { return f.close }

// What claims to be huge is refused by the name of the limit, in little memory (Z39).
func TestLimits(t *testing.T) {
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	_, m := file(t, dev, prod, []byte("p"))
	front := func(layers []descriptor) io.Reader {
		man, _ := json.Marshal(manifest{ociSchema, mediaManifest, artifactBundle, describe(mediaEmptyJSON, []byte(emptyConfig)), layers})
		idx, _ := json.Marshal(index{ociSchema, mediaIndex, []descriptor{describe(mediaManifest, man)}})
		var b bytes.Buffer
		w := &tarWriter{w: &b}
		w.bytes("oci-layout", []byte(ociLayout))
		w.bytes("index.json", idx)
		w.bytes(blobPrefix+Digest(man), man)
		w.bytes(blobPrefix+Digest([]byte(emptyConfig)), []byte(emptyConfig))
		w.bytes(blobPrefix+m.Digest(), m.Envelope)
		return io.MultiReader(&b, endless{})
	}
	env := describe(mediaEnvelope, m.Envelope)
	with := func(d descriptor) []descriptor { return []descriptor{env, d} }
	part := func(media string, size int64) descriptor {
		return descriptor{media, "sha256:" + strings.Repeat("0", 64), size}
	}
	many := make([]descriptor, MaxBlobs+1)
	for i := range many {
		many[i] = part(mediaPackage, 1)
	}
	many[0] = env
	receipts := func(count int, then io.Reader) io.Reader {
		return io.MultiReader(strings.NewReader(fmt.Sprintf(`{"format":"%s","from":"%s","to":"%s","count":%d}`+"\n", receiptsFormat, devSpace, prodSpace, count)), then)
	}
	for name, c := range map[string]struct {
		r    io.Reader
		kind errs.Kind
	}{
		"zeros":           {endless{}, errs.Invalid},
		"a large index":   {io.MultiReader(bytes.NewReader(append(append(header("oci-layout", int64(len(ociLayout))), ociLayout...), padding(int64(len(ociLayout)))...)), bytes.NewReader(header("index.json", 1<<33-1)), endless{}), errs.TooLarge},
		"a large part":    {front(with(part(mediaProcess, MaxMetadata+1))), errs.TooLarge},
		"no parts":        {front(nil), errs.Invalid},
		"negative":        {front(with(part(mediaProcess, -1))), errs.TooLarge},
		"large envelope":  {front([]descriptor{part(mediaEnvelope, MaxEnvelope+1), part(mediaProcess, 1)}), errs.TooLarge},
		"many blobs":      {front(many), errs.TooLarge},
		"many receipts":   {receipts(MaxReceipts+1, endless{}), errs.TooLarge},
		"a large receipt": {receipts(1, endless{}), errs.TooLarge},
		"a large card":    {io.MultiReader(strings.NewReader(`{"payloadType":"`), endless{}), errs.TooLarge},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Inspect(context.Background(), c.r)
		if name == "zeros" {
			_, err = read2(c.r)
		}
		runtime.ReadMemStats(&after)
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s: took %d MiB to refuse", name, used>>20)
		}
	}
}

func read2(r io.Reader) (*Verified, error) {
	v, _, _, err := Read(context.Background(), r, (*Message).Own, nil)
	return v, err
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }
