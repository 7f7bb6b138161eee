package bundle

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

var at = time.Date(2026, 11, 23, 14, 2, 11, 0, time.UTC)

const (
	devSpace    = "01HDEV00000000000000000000"
	prodSpace   = "01HPRD00000000000000000000"
	otherSpace  = "01HXTH00000000000000000000"
	incarnation = "01JC0000000000000000000000"
	releaseID   = "01JD0000000000000000000000"
	projectID   = "01HP0000000000000000000000"
	promotionID = "01JP0000000000000000000000"

	canary = "canary-secret-value"
)

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
	return partyOf(t, id, name)
}

func partyOf(t testing.TB, id *Identity, name string) party {
	t.Helper()
	file, err := id.Card(name, "localhost:8443", strings.Repeat("a", 64), incarnation, 1, at)
	if err != nil {
		t.Fatal(err)
	}
	card, err := ParseCard(file)
	if err != nil {
		t.Fatal(err)
	}
	return party{id, card, file}
}

func secret(key, value string) Secret {
	return Secret{key, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)), value}
}

// content is a release with one package and one sensitive value.
func content(pkg []byte) Content {
	s := secret("variable/Password", canary)
	commitment, _ := Commitment(s)
	return Content{
		Promotion: promotionID,
		Release:   Release{ID: releaseID, Version: "1.4.2", Notes: "faster", Created: at.Format(time.RFC3339), By: "ada", Channel: "Default"},
		Project:   Project{ID: projectID, Name: "Shop"}, Path: []string{devSpace},
		Process:   json.RawMessage(`{"Steps":[{"Name":"Install","Actions":[{"Name":"Install","ActionType":"Octopus.TentaclePackage"}]}]}`),
		Variables: []Variable{{Name: "Colour", Value: "green"}, {Name: "Password", Sensitive: true, Commitment: commitment}},
		Templates: []Template{{Name: "Url", Label: "Public address"}},
		Evidence:  []Evidence{{Space: devSpace, SpaceName: "Dev", Environment: "Test", State: "Success", Ended: at.Format(time.RFC3339)}},
		Secrets:   []Secret{s},
		Packages:  []Package{{Action: "Install", ID: "Shop", Version: "1.4.2", Extension: ".zip", Digest: Digest(pkg), Size: int64(len(pkg))}},
		Requires:  []string{"Octopus.TentaclePackage"},
	}
}

func header1(to string) Header {
	return Header{To: to, Incarnation: incarnation, Seq: 1, Issued: at.Format(time.RFC3339)}
}

func message(t testing.TB, c Content, from, to party) *Message {
	t.Helper()
	p, err := from.Prepare(c, to.card)
	if err != nil {
		t.Fatal(err)
	}
	m, err := from.Sign(p, header1(to.Space))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// file packs a small bundle with one package.
func file(t testing.TB, from, to party, pkg []byte) ([]byte, *Message) {
	t.Helper()
	m := message(t, content(pkg), from, to)
	return pack(t, m, pkg), m
}

func pack(t testing.TB, m *Message, packages ...[]byte) []byte {
	t.Helper()
	byDigest := map[string][]byte{}
	for _, p := range packages {
		byDigest[Digest(p)] = p
	}
	var b bytes.Buffer
	err := Write(context.Background(), &b, m, func(d string) bool { return byDigest[d] != nil },
		func(d string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(byDigest[d])), nil })
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte, from *Card, to string) (*Verified, error) {
	v, _, _, err := Read(context.Background(), bytes.NewReader(b), func(m *Message) (*Verified, error) { return m.Verify(from, to) }, nil)
	return v, err
}

// receipt signs a receipt of prod for dev.
func receipt(t testing.TB, from party, to string, seq int64, r Receipt) []byte {
	t.Helper()
	if r.Release == "" {
		r.Release, r.Core, r.Promotion = releaseID, strings.Repeat("c", 64), promotionID
	}
	if isDeployment(r.Kind) && r.Environment == nil {
		r.Environment, r.Deployment = &Environment{Ref: "01HE0000000000000000000000", Shown: "Production"}, "01JE0000000000000000000000"
	}
	h := header1(to)
	if h.Seq = seq; seq > 1 {
		h.Prev = strings.Repeat("d", 64)
	}
	e, err := from.SignReceipt(r, h)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// forged signs any payload with a party's key, as a hostile peer would.
func forged(t testing.TB, p party, payload []byte) []byte {
	t.Helper()
	b, err := sign(p.sign, TypeStatement, payload)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refused requires an error for people that tells why.
func refused(t testing.TB, what string, err error, why string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: accepted", what)
	case errs.KindOf(err) == errs.Internal:
		t.Errorf("%s: refused without a word for people: %v", what, err)
	case !strings.Contains(errs.TextOf(err), why):
		t.Errorf("%s: %q does not tell %q", what, errs.TextOf(err), why)
	}
}
