package bundle

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// everyBit changes each bit of b, cuts it off everywhere, and puts things behind its end
// (F9). No such text may be accepted.
func everyBit(t *testing.T, b []byte, accept func([]byte) error) {
	t.Helper()
	var wg sync.WaitGroup
	workers, step := runtime.GOMAXPROCS(0), 1
	if testing.Short() {
		step = 13
	}
	for w := range workers {
		wg.Go(func() {
			c := bytes.Clone(b)
			for i := w * step; i < len(c)*8; i += workers * step {
				c[i/8] ^= 1 << (i % 8)
				if accept(c) == nil {
					t.Errorf("bit %d of byte %d (%q) does not matter", i%8, i/8, b[max(0, i/8-10):min(len(b), i/8+10)])
				}
				c[i/8] ^= 1 << (i % 8)
			}
			for n := w; n < len(b); n += workers {
				if accept(b[:n]) == nil {
					t.Errorf("cut off at %d of %d is accepted", n, len(b))
				}
			}
		})
	}
	wg.Wait()
	for _, more := range []string{"\x00", "\n", " ", "x", strings.Repeat("\x00", 512), strings.Repeat("\x00", 1024), string(b)} {
		if accept(append(bytes.Clone(b), more...)) == nil {
			t.Errorf("%d bytes behind the end are accepted", len(more))
		}
	}
	if err := accept(b); err != nil {
		t.Errorf("the original is refused: %v", err)
	}
}

func TestEveryBitMatters(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	pkg := []byte("the package")
	b, m := file(t, dev, prod, pkg)
	r := receipt(t, prod, devSpace, 1, Receipt{Kind: Accepted})
	var octr bytes.Buffer
	if err := WriteReceipts(&octr, prodSpace, devSpace, [][]byte{r, receipt(t, prod, devSpace, 2, Receipt{Kind: DeploymentStarted})}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b      []byte
		accept func([]byte) error
	}{
		"bundle": {b, func(b []byte) error { _, err := read(b, dev.card, prodSpace); return err }},
		"envelope": {m.Envelope, func(b []byte) error {
			_, err := (&Message{b, m.Blobs}).Verify(dev.card, prodSpace)
			return err
		}},
		"card":    {dev.file, func(b []byte) error { _, err := ParseCard(b); return err }},
		"receipt": {r, func(b []byte) error { _, err := VerifyReceipt(b, prod.card, devSpace); return err }},
		"recall":  {aRecall(t, dev, prodSpace), func(b []byte) error { _, err := VerifyRecall(b, dev.card, prodSpace); return err }},
		"receipts": {octr.Bytes(), func(b []byte) error {
			_, to, all, err := ReadReceipts(bytes.NewReader(b))
			for _, e := range all {
				if _, verr := VerifyReceipt(e, prod.card, to); err == nil {
					err = verr
				}
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyBit(t, c.b, c.accept)
		})
	}
}

// Blocks of a file that are exchanged, doubled, left out or filled otherwise.
func TestEveryBlockMatters(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	b, _ := file(t, dev, prod, bytes.Repeat([]byte("package "), 300))
	blocks := len(b) / tarBlock
	block := func(i int) []byte { return b[i*tarBlock : (i+1)*tarBlock] }
	try := func(what string, c []byte) {
		if bytes.Equal(c, b) {
			return
		}
		if _, err := read(c, dev.card, prodSpace); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for i := range blocks {
		try(fmt.Sprintf("block %d left out", i), append(bytes.Clone(b[:i*tarBlock]), b[(i+1)*tarBlock:]...))
		try(fmt.Sprintf("block %d doubled", i), append(bytes.Clone(b[:(i+1)*tarBlock]), b[i*tarBlock:]...))
		zero := bytes.Clone(b)
		clear(zero[i*tarBlock : (i+1)*tarBlock])
		try(fmt.Sprintf("block %d zeroed", i), zero)
		for j := range i {
			c := bytes.Clone(b)
			copy(c[i*tarBlock:], block(j))
			copy(c[j*tarBlock:], block(i))
			try(fmt.Sprintf("blocks %d and %d exchanged", j, i), c)
		}
	}
}
