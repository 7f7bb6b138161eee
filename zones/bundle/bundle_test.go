package bundle

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

var at = time.Date(2026, 11, 23, 14, 2, 11, 0, time.UTC)

type party struct {
	*Identity
	card *Card
	file []byte
}

func newParty(t testing.TB, space, name string) party {
	t.Helper()
	id, err := NewIdentity(space)
	if err != nil {
		t.Fatal(err)
	}
	file, err := id.Card(name, "localhost:8443", strings.Repeat("a", 64), "01JC0000000000000000000000", 1, at)
	if err != nil {
		t.Fatal(err)
	}
	card, err := ParseCard(file)
	if err != nil {
		t.Fatal(err)
	}
	return party{id, card, file}
}

const devSpace, prodSpace = "01HDEV00000000000000000000", "01HPRD00000000000000000000"

func salted(key, value string) Secret {
	return Secret{key, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)), value}
}

const canary = "canary-secret-value"

func content(pkg []byte) Content {
	s := salted("Password", canary)
	commitment, _ := Commitment(s)
	return Content{
		Promotion: "01JP0000000000000000000000", Release: Release{ID: "01JD0000000000000000000000", Version: "1.4.2", Created: at.Format(time.RFC3339), By: "ada", Channel: "Default"},
		Project: Project{ID: "01HP0000000000000000000000", Name: "Shop"}, Path: []string{devSpace}, Process: json.RawMessage(`{"Steps":[]}`),
		Variables: []Variable{{Name: "Colour", Value: "green"}, {Name: "Password", Sensitive: true, Commitment: commitment}}, Templates: []Template{{Name: "Url"}},
		Secrets: []Secret{s}, Packages: []Package{{Action: "Install", ID: "Shop", Version: "1.4.2", Extension: ".zip", Digest: Digest(pkg), Size: int64(len(pkg))}}, Requires: []string{"Octopus.Script"},
	}
}

func header1() Header {
	return Header{To: prodSpace, Incarnation: "01JC0000000000000000000000", Seq: 1, Issued: at.Format(time.RFC3339)}
}

// file packs a small bundle with one package.
func file(t testing.TB, dev, prod party, pkg []byte) ([]byte, *Message) {
	t.Helper()
	p, err := dev.Prepare(content(pkg), prod.card)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dev.Sign(p, header1())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = Write(context.Background(), &b, m, func(string) bool { return true }, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(pkg)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

func read(b []byte, from *Card, to string) (*Verified, error) {
	v, _, _, err := Read(context.Background(), bytes.NewReader(b), func(m *Message) (*Verified, error) { return m.Verify(from, to) },
		func(Package) (io.WriteCloser, error) { return discard{io.Discard}, nil })
	return v, err
}

func TestRoundTrip(t *testing.T) {
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	b, m := file(t, dev, prod, []byte("the package"))
	v, err := read(b, dev.card, prodSpace)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := v.Open(prod.Identity)
	if err != nil || secrets["Password"] != canary {
		t.Errorf("%v, %v", secrets, err)
	}
	for name, enc := range map[string][]byte{"raw": []byte(canary), "base64": []byte(base64.StdEncoding.EncodeToString([]byte(canary)))[:20]} {
		if bytes.Contains(b, enc) {
			t.Errorf("the secret is readable (%s)", name)
		}
	}
	if _, err := v.Open(dev.Identity); err == nil {
		t.Error("the sender opens what it sealed to another")
	}
	wire, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	w, again, err := ParseMessage(wire, func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) })
	if err != nil || again.Digest() != m.Digest() || w.Promotion.Core != v.Promotion.Core {
		t.Errorf("wire and file differ: %v", err)
	}
}

func TestEveryBitMatters(t *testing.T) {
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	b, _ := file(t, dev, prod, []byte("the package"))
	if testing.Short() {
		b = b[:4096]
	}
	flip := func(name string, b []byte, accept func([]byte) error) {
		step := 1
		if len(b) > 8192 {
			step = 3 // every third bit of a long file; all bits are covered over the cases' mix of offsets
		}
		c := bytes.Clone(b)
		for i := 0; i < len(c)*8; i += step {
			c[i/8] ^= 1 << (i % 8)
			if accept(c) == nil {
				t.Fatalf("%s: bit %d of byte %d does not matter", name, i%8, i/8)
			}
			c[i/8] ^= 1 << (i % 8)
		}
		for _, n := range []int{0, 1, len(b) / 2, len(b) - 1, max(0, len(b)-512), max(0, len(b)-1024)} {
			if accept(b[:n]) == nil {
				t.Errorf("%s: cut off at %d is accepted", name, n)
			}
		}
		for _, more := range []string{"\x00", "x", strings.Repeat("\x00", 512)} {
			if accept(append(bytes.Clone(b), more...)) == nil {
				t.Errorf("%s: %d bytes behind the end are accepted", name, len(more))
			}
		}
	}
	flip("bundle", b, func(b []byte) error { _, err := read(b, dev.card, prodSpace); return err })
	flip("card", dev.file, func(b []byte) error { _, err := ParseCard(b); return err })
	r, err := prod.SignReceipt(Receipt{Kind: Accepted, Promotion: "01JP0000000000000000000000", Release: "01JD0000000000000000000000", Core: strings.Repeat("b", 64)}, Header{To: devSpace, Incarnation: "01JC0000000000000000000000", Seq: 1, Issued: at.Format(time.RFC3339)})
	if err != nil {
		t.Fatal(err)
	}
	flip("receipt", r, func(b []byte) error { _, err := VerifyReceipt(b, prod.card, devSpace); return err })
}

func TestWrongPartiesAndMixes(t *testing.T) {
	dev, prod, other := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod"), newParty(t, "01HXTH00000000000000000000", "Other")
	b, m := file(t, dev, prod, []byte("the package"))
	if _, err := read(b, dev.card, other.Space); err == nil || !strings.Contains(errs.TextOf(err), "for another space") {
		t.Errorf("another recipient: %v", err)
	}
	if _, err := read(b, other.card, prodSpace); err == nil {
		t.Error("another sender's key was accepted")
	}
	twin := newParty(t, devSpace, "Dev")
	if _, err := read(b, twin.card, prodSpace); err == nil {
		t.Error("another key of the same space was accepted")
	}
	c := content([]byte("the package"))
	c.Variables[0].Value = "red"
	p2, _ := dev.Prepare(c, prod.card)
	m2, _ := dev.Sign(p2, header1())
	mixed := &Message{m.Envelope, m2.Blobs}
	if _, err := mixed.Verify(dev.card, prodSpace); err == nil {
		t.Error("parts of two bundles were accepted as one")
	}
	// A sender that seals another value than the one it committed to is noticed.
	c = content([]byte("the package"))
	c.Secrets = []Secret{salted("Password", "something else")}
	p3, _ := dev.Prepare(c, prod.card)
	m3, _ := dev.Sign(p3, header1())
	v, err := m3.Verify(dev.card, prodSpace)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Open(prod.Identity); err == nil {
		t.Error("an exchanged secret was not noticed")
	}
	c = content([]byte("x"))
	c.Path = []string{prodSpace, devSpace}
	p4, _ := dev.Prepare(c, prod.card)
	m4, _ := dev.Sign(p4, header1())
	if _, err := m4.Verify(dev.card, prodSpace); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("a circle: %v", err)
	}
}

func TestStrictJSON(t *testing.T) {
	dev := newParty(t, devSpace, "Dev")
	payload := []byte(fmt.Sprintf(`{"_type":"%s","predicate":{},"predicateType":"%s","subject":[]}`, statementType, PredicateBundle))
	for name, bad := range map[string][]byte{
		"space": append([]byte(" "), payload...), "duplicate": bytes.Replace(payload, []byte(`"subject":[]`), []byte(`"subject":[],"subject":[]`), 1),
		"case": bytes.Replace(payload, []byte(`"_type"`), []byte(`"_TYPE":"x","_type"`), 1), "deep": []byte(strings.Repeat("[", 100) + strings.Repeat("]", 100)),
	} {
		env, _ := sign(dev.sign, TypeStatement, bad)
		if _, err := (&Message{Envelope: env}).Verify(dev.card, ""); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestWordsAndPrivacy(t *testing.T) {
	dev := newParty(t, devSpace, "Dev")
	private, _ := dev.Marshal()
	again, err := ParseIdentity(private)
	if err != nil {
		t.Fatal(err)
	}
	renamed, _ := again.Card("Renamed", "", "", "01JC0000000000000000000000", 2, at)
	c, err := ParseCard(renamed)
	if err != nil || strings.Join(c.Words(), " ") != strings.Join(dev.card.Words(), " ") || len(c.Words()) != 12 {
		t.Errorf("the words changed: %v", err)
	}
	if !c.CheckWords("  "+strings.ToUpper(strings.Join(c.Words()[9:], "  "))) || c.CheckWords("wrong wrong wrong") {
		t.Error("comparison of words")
	}
	if strings.Contains(fmt.Sprintf("%v %+v", dev.Identity.String(), dev.Identity), "AGE-SECRET") {
		t.Error("a printed identity tells its key")
	}
}

func TestReceiptsFile(t *testing.T) {
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	var all [][]byte
	for i, kind := range []string{Received, Accepted, DeploymentStarted, DeploymentSucceeded} {
		r := Receipt{Kind: kind, Promotion: "p", Release: "01JD0000000000000000000000", Core: strings.Repeat("c", 64)}
		if i > 1 {
			r.Environment, r.Deployment = &Environment{Ref: "01HE", Shown: "Production"}, "01JE"
		}
		e, err := prod.SignReceipt(r, Header{To: dev.Space, Incarnation: "i", Seq: int64(i + 1), Issued: at.Format(time.RFC3339)})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	var b bytes.Buffer
	if err := WriteReceipts(&b, prod.Space, dev.Space, all); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(b.Bytes())
	_, _, back, err := ReadReceipts(&b)
	if err != nil || len(back) != 4 {
		t.Fatal(err)
	}
	for _, e := range back {
		if _, err := VerifyReceipt(e, prod.card, dev.Space); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []int{10, len(whole) / 2, len(whole) - 1} {
		if _, _, _, err := ReadReceipts(bytes.NewReader(whole[:n])); !errors.Is(err, errs.Invalid) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	dev, prod := newParty(f, devSpace, "Dev"), newParty(f, prodSpace, "Prod")
	b, _ := file(f, dev, prod, []byte("p"))
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := read(b, dev.card, prodSpace); err == nil && v == nil {
			t.Error("neither a bundle nor an error")
		}
	})
}

func FuzzCard(f *testing.F) {
	f.Add(newParty(f, devSpace, "Dev").file)
	f.Fuzz(func(t *testing.T, b []byte) { ParseCard(b) })
}

// Budget: 800 MB/s for a bundle with a large package, streaming.
func BenchmarkRead(b *testing.B) {
	dev, prod := newParty(b, devSpace, "Dev"), newParty(b, prodSpace, "Prod")
	whole, _ := file(b, dev, prod, bytes.Repeat([]byte("0123456789abcdef"), 4<<20))
	b.SetBytes(int64(len(whole)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(whole, dev.card, prodSpace); err != nil {
			b.Fatal(err)
		}
	}
}
