package bundle

import (
	"bytes"
	"context"
	"io"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
)

// Fuzz targets: nothing panics; what is accepted is written back as the same bytes; what
// is refused is refused with a word for people.

func said(t *testing.T, err error) {
	if errs.KindOf(err) == errs.Internal {
		t.Errorf("no word for people: %v", err)
	}
}

func FuzzCard(f *testing.F) {
	f.Add(readGolden(f, "dev.octid"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ParseCard(b); err != nil {
			said(t, err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add(bytes.TrimSpace(readGolden(f, "dev.octid")))
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, e, err := peek(b, MaxEnvelope, "message")
		if err != nil {
			said(t, err)
			return
		}
		again, err := canonical(e)
		if err != nil || len(again) != len(b) || len(payload) > len(b) {
			t.Errorf("two texts for one envelope: %q", b)
		}
	})
}

// The statement is fuzzed behind the signature, as a hostile peer would.
func FuzzStatement(f *testing.F) {
	dev, prod := goldenParty(f, "Dev", devSpace), goldenParty(f, "Prod", prodSpace)
	var blobs map[string][]byte
	_, m, _, err := Read(context.Background(), bytes.NewReader(readGolden(f, "shop-1.4.2.octb")), (*Message).Own, nil)
	if err != nil {
		f.Fatal(err)
	}
	blobs = m.Blobs
	payload, _, _ := peek(m.Envelope, MaxEnvelope, "bundle")
	f.Add(payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := (&Message{forged(t, dev, b), blobs}).Verify(dev.card, prodSpace)
		if err != nil {
			said(t, err)
			return
		}
		if _, err := v.Open(prod.Identity); err != nil {
			said(t, err)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	prod := goldenParty(f, "Prod", prodSpace)
	payload, _, err := peek(receipt(f, prod, devSpace, 1, Receipt{Kind: DeploymentStarted}), MaxReceipt, "receipt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := VerifyReceipt(forged(t, prod, b), prod.card, devSpace)
		if err != nil {
			said(t, err)
			return
		}
		Fold([]Receipt{r, r})
	})
}

func FuzzRecall(f *testing.F) {
	dev := goldenParty(f, "Dev", devSpace)
	payload, _, err := peek(aRecall(f, dev, prodSpace), MaxReceipt, "recall")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := VerifyRecall(forged(t, dev, b), dev.card, prodSpace); err != nil {
			said(t, err)
		}
	})
}

func FuzzReceipts(f *testing.F) {
	f.Add(readGolden(f, "prod.octr"))
	f.Fuzz(func(t *testing.T, b []byte) {
		from, to, envelopes, err := ReadReceipts(bytes.NewReader(b))
		if err != nil {
			said(t, err)
			return
		}
		var again bytes.Buffer
		if err := WriteReceipts(&again, from, to, envelopes); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("two texts for one file: %v", err)
		}
	})
}

func FuzzTar(f *testing.F) {
	f.Add(readGolden(f, "shop-1.4.2.octb"))
	f.Add(readGolden(f, "shop-1.5.0.octb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		packages := map[string]*bytes.Buffer{}
		_, m, _, err := Read(context.Background(), bytes.NewReader(b), (*Message).Own, func(p Package) (io.WriteCloser, error) {
			packages[p.Digest] = &bytes.Buffer{}
			return nopCloser{packages[p.Digest]}, nil
		})
		if err != nil {
			said(t, err)
			return
		}
		var again bytes.Buffer
		err = Write(context.Background(), &again, m, func(d string) bool { return packages[d] != nil }, func(d string) (io.ReadCloser, error) { return io.NopCloser(packages[d]), nil })
		if err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("two files for one bundle: %v", err)
		}
	})
}

func FuzzDiff(f *testing.F) {
	f.Add([]byte(shop().Process), []byte(nextShop().Process))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		before, err := stepPairs(a)
		if err != nil {
			return
		}
		after, err := stepPairs(b)
		if err != nil {
			return
		}
		if changes := compareSteps(before, before); len(changes) > 0 {
			t.Errorf("it differs from itself: %+v", changes)
		}
		compareSteps(before, after)
	})
}
