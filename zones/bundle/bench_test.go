package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// repeated is n bytes that no one has to keep.
type repeated struct{ left int64 }

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), r.left))
	for i := range p[:n] {
		p[i] = byte(i)
	}
	r.left -= int64(n)
	return n, nil
}

// Budget: 800 MB/s, and less than 32 MiB allocated for a bundle of 256 MiB, so that one
// of 1 GiB takes no more.
func BenchmarkVerify256MiB(b *testing.B) {
	const size = 256 << 20
	dev, prod := newParty(b, devSpace, "Dev"), newParty(b, prodSpace, "Prod")
	path := filepath.Join(b.TempDir(), "large")
	pkg, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	h := newHash()
	if _, err := io.Copy(io.MultiWriter(pkg, h), &repeated{size}); err != nil {
		b.Fatal(err)
	}
	pkg.Close()
	c := content(nil)
	c.Packages[0].Digest, c.Packages[0].Size = sum(h), size
	f, err := os.Create(path + ".octb")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	err = Write(context.Background(), f, message(b, c, dev, prod), func(string) bool { return true }, func(string) (io.ReadCloser, error) { return os.Open(path) })
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		_, _, _, err := Read(context.Background(), f, func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) }, nil)
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Budget: 20 ms for a release of 200 steps and 1 000 variables, a tenth of the time to
// the first byte of its review.
func BenchmarkVerifyLargeRelease(b *testing.B) {
	dev, prod := newParty(b, devSpace, "Dev"), newParty(b, prodSpace, "Prod")
	c := content([]byte("p"))
	for i := range 1000 {
		c.Variables = append(c.Variables, Variable{Name: fmt.Sprintf("Variable%d", i), Value: "value of the variable"})
	}
	var steps bytes.Buffer
	for i := range 200 {
		fmt.Fprintf(&steps, `,{"Name":"Step %d","Actions":[{"Name":"Step %d","ActionType":"Octopus.Script","Properties":{"Octopus.Action.Script.ScriptBody":"set -e\necho %d\n"}}]}`, i, i, i)
	}
	c.Process = fmt.Appendf(nil, `{"Steps":[%s]}`, steps.Bytes()[1:])
	m := message(b, c, dev, prod)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Verify(dev.card, prodSpace); err != nil {
			b.Fatal(err)
		}
	}
}

// Budget: 0.3 ms, of which a space that receives 500 receipts a second spends 15 %.
func BenchmarkVerifyReceipt(b *testing.B) {
	prod := newParty(b, prodSpace, "Prod")
	e := receipt(b, prod, devSpace, 1, Receipt{Kind: DeploymentSucceeded, Steps: []Step{{"Install", "succeeded", 4, 61}}})
	for b.Loop() {
		if _, err := VerifyReceipt(e, prod.card, devSpace); err != nil {
			b.Fatal(err)
		}
	}
}

// Budget: 2 ms to seal and prepare a small release.
func BenchmarkPrepare(b *testing.B) {
	dev, prod := newParty(b, devSpace, "Dev"), newParty(b, prodSpace, "Prod")
	c := content([]byte("p"))
	for b.Loop() {
		if _, err := dev.Prepare(c, prod.card); err != nil {
			b.Fatal(err)
		}
	}
}

// Budget: 20 ms for what a file of 2 000 receipts tells.
func BenchmarkFold(b *testing.B) {
	var all []Receipt
	for i := range MaxReceipts {
		r := history()[i%10]
		r.Link.Seq, r.Link.Issued = int64(i), at.Add(time.Duration(i)*time.Second).Format(time.RFC3339)
		all = append(all, r)
	}
	for b.Loop() {
		Fold(all)
	}
}
