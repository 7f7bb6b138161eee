package bundle

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	b, m := file(t, dev, prod, []byte("the package"))
	v, err := read(b, dev.card, prodSpace)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := v.Open(prod.Identity)
	if err != nil || len(secrets) != 1 || secrets["variable/Password"] != canary {
		t.Errorf("%v, %v", secrets, err)
	}
	if _, err := v.Open(dev.Identity); err == nil {
		t.Error("the sender opens what it sealed to another")
	}
	wire, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	w, again, err := ParseMessage(wire, func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) })
	if err != nil || !bytes.Equal(again.Envelope, m.Envelope) || w.Promotion.Core != v.Promotion.Core {
		t.Errorf("wire and file differ: %v", err)
	}
	if _, _, err := ParseMessage(b, func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) }); err == nil {
		t.Error("a package came in by a message")
	}
}

// Nothing of a sensitive value is readable in a file, in a wire message, or in what is
// printed of the types that hold it.
func TestSecretsStaySealed(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	c := content([]byte("p"))
	b, m := file(t, dev, prod, []byte("p"))
	wire, _ := m.Marshal()
	var utf16 []byte
	for _, r := range canary {
		utf16 = append(utf16, byte(r), 0)
	}
	printed := fmt.Sprintf("%v %+v %#v %s", c, c, c, c.Secrets[0])
	for name, enc := range map[string]string{"raw": canary, "base64": base64.StdEncoding.EncodeToString([]byte(canary))[:20], "hex": fmt.Sprintf("%x", canary), "UTF-16": string(utf16)} {
		for place, text := range map[string]string{"file": string(b), "wire": string(wire), "print": printed} {
			if strings.Contains(text, enc) {
				t.Errorf("the value is readable in the %s (%s)", place, name)
			}
		}
	}
	// The envelope's payload is base64, which the search above would miss.
	payload, _, err := peek(m.Envelope, MaxEnvelope, "bundle")
	if err != nil || bytes.Contains(payload, []byte(canary)) {
		t.Errorf("the value is in the statement (%v)", err)
	}
}

func TestIdentityTellsNothing(t *testing.T) {
	t.Parallel()
	id := newParty(t, devSpace, "Dev").Identity
	private, err := id.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseIdentity(private)
	if err != nil || !again.sign.Equal(id.sign) || again.seal.String() != id.seal.String() {
		t.Fatalf("not the same keys: %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{id, *id} {
			text := fmt.Sprintf(verb, v)
			if text != "identity of space "+devSpace {
				t.Errorf("%s prints %q", verb, text)
			}
		}
	}
	if j, _ := json.Marshal(id); string(j) != `{"Space":"`+devSpace+`"}` {
		t.Errorf("JSON of it: %s", j)
	}
	for _, bad := range []string{"", "{}", `{"space":"x","sign":"AAAA","seal":"AGE-SECRET-KEY-PQ-1XYZ"}`, string(private[:len(private)-40])} {
		if _, err := ParseIdentity([]byte(bad)); err == nil || strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("%v", err)
		}
	}
}

func TestWrongParties(t *testing.T) {
	t.Parallel()
	dev, prod, other := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod"), newParty(t, otherSpace, "Other")
	b, _ := file(t, dev, prod, []byte("the package"))
	_, err := read(b, dev.card, other.Space)
	refused(t, "another recipient", err, "for another space")
	_, err = read(b, other.card, prodSpace)
	refused(t, "another sender", err, "another key")
	_, err = read(b, newParty(t, devSpace, "Dev").card, prodSpace)
	refused(t, "another key of the same space", err, "another key")
	// A peer signs with its own key what says to be of another.
	m := message(t, content([]byte("p")), dev, prod)
	payload, _, _ := peek(m.Envelope, MaxEnvelope, "bundle")
	_, err = (&Message{forged(t, other, payload), m.Blobs}).Verify(other.card, prodSpace)
	refused(t, "a peer speaks for another", err, "another space")
	// A receipt is no bundle, and a card is no receipt.
	r := receipt(t, prod, devSpace, 1, Receipt{Kind: Accepted})
	_, err = (&Message{r, nil}).Verify(prod.card, devSpace)
	refused(t, "a receipt as bundle", err, "no bundle")
	_, err = VerifyReceipt(bytes.TrimSuffix(dev.file, []byte("\n")), dev.card, prodSpace)
	refused(t, "a card as receipt", err, "something else")
}

// Parts of two genuine bundles do not make a third (F11).
func TestMixedParts(t *testing.T) {
	t.Parallel()
	dev, prod, other := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod"), newParty(t, otherSpace, "Other")
	a := message(t, content([]byte("p")), dev, prod)
	c := content([]byte("p"))
	c.Variables[0].Value = "red"
	b := message(t, c, dev, prod)
	_, err := (&Message{a.Envelope, b.Blobs}).Verify(dev.card, prodSpace)
	refused(t, "metadata of another bundle", err, "not those that were signed")
	more := map[string][]byte{Digest([]byte("x")): []byte("x")}
	for d, x := range a.Blobs {
		more[d] = x
	}
	_, err = (&Message{a.Envelope, more}).Verify(dev.card, prodSpace)
	refused(t, "something more", err, "not signed")
	_, err = read(pack(t, a, []byte("q")), dev.card, prodSpace) // q is in neither, so it is left out
	if err != nil {
		t.Error(err)
	}
	// A sender that takes what was sealed by somebody else into a bundle of its own.
	for d, x := range a.Blobs {
		if bytes.HasPrefix(x, []byte("age-encryption.org")) {
			p, err := other.Prepare(func() Content { c := content([]byte("p")); c.Path = []string{otherSpace}; return c }(), prod.card)
			if err != nil {
				t.Fatal(err)
			}
			delete(p.Blobs, p.Promotion.Sealed[0].Digest)
			p.Blobs[d], p.Promotion.Sealed[0].Blob = x, Blob{d, int64(len(x)), mediaSealed}
			m, err := other.Sign(p, header1(prodSpace))
			if err != nil {
				t.Fatal(err)
			}
			v, err := m.Verify(other.card, prodSpace)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Open(prod.Identity)
			refused(t, "a stolen sealed part", err, "another bundle")
		}
	}
}

// A sender that is not honest: what it signs is refused for what it says.
func TestHostileStatements(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	for _, c := range []struct {
		name string
		do   func(p *Promotion)
		why  string
	}{
		{"a circle", func(p *Promotion) { p.Path = []string{prodSpace, devSpace} }, "circle"},
		{"another end of the path", func(p *Promotion) { p.Path = []string{otherSpace} }, "does not end with its sender"},
		{"no path", func(p *Promotion) { p.Path = nil }, "came through 0 spaces"},
		{"nine hops", func(p *Promotion) { p.Path = slices.Repeat([]string{devSpace}, 9) }, "at most 8|to 8"},
		{"another core", func(p *Promotion) { p.Core = strings.Repeat("0", 64) }, "subject"},
		{"another version under the same core", func(p *Promotion) { p.Release.Version = "9" }, "core digest"},
		{"another package under the same core", func(p *Promotion) { p.Packages[0].Digest = strings.Repeat("1", 64) }, "subject"},
		{"another commitment", func(p *Promotion) { p.Commitments = []string{strings.Repeat("1", 64)} }, "core digest"},
		{"a future major version", func(p *Promotion) { p.Link.Schema = "2.0" }, "format 2.0"},
		{"no version", func(p *Promotion) { p.Link.Schema = "1" }, "format 1"},
		{"a critical feature", func(p *Promotion) { p.Link.Critical = []string{"time-travel"} }, "time-travel"},
		{"no number", func(p *Promotion) { p.Link.Seq = 0 }, "sequence"},
		{"no predecessor", func(p *Promotion) { p.Link.Seq = 2 }, "sequence"},
		{"no incarnation", func(p *Promotion) { p.Link.Incarnation = "x" }, "ULID"},
		{"a date of another form", func(p *Promotion) { p.Link.Issued = "2026-11-23T15:02:11+01:00" }, "time"},
		{"an endless package", func(p *Promotion) { p.Packages[0].Size = 10 << 40 }, "larger"},
		{"an endless part", func(p *Promotion) { p.Process.Size = MaxBlob + 1 }, "larger"},
		{"too many parts' bytes", func(p *Promotion) { p.Process.Size, p.Variables.Size, p.Templates.Size = MaxBlob, MaxBlob, MaxBlob }, "together"},
		{"a negative package", func(p *Promotion) { p.Packages[0].Size = -1 }, "cannot be"},
		{"a package that is the process", func(p *Promotion) { p.Packages[0].Digest, p.Packages[0].Size = p.Process.Digest, p.Process.Size }, "cannot be"},
		{"a name with a direction mark", func(p *Promotion) { p.Project.Name = "Shop\u202egnp.exe" }, "invisible"},
		{"a name of two lines", func(p *Promotion) { p.Release.By = "ada\n2026-11-23 root logged in" }, "invisible"},
		{"a long name", func(p *Promotion) { p.Project.Name = strings.Repeat("x", maxName+1) }, "longer"},
		{"no name", func(p *Promotion) { p.Project.Name = " " }, "no project's name"},
		{"sealed to nobody here", func(p *Promotion) { p.Sealed[0].To = otherSpace }, "not sealed to its recipient"},
		{"another type of a part", func(p *Promotion) { p.Process.MediaType = "text/html" }, "not those that were signed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := dev.Prepare(content([]byte("p")), prod.card)
			if err != nil {
				t.Fatal(err)
			}
			h := header1(prodSpace)
			h.From, h.Schema, h.Critical = devSpace, Schema, []string{}
			p.Promotion.Link = h
			c.do(&p.Promotion)
			payload, err := canonical(statement[Promotion]{statementType, p.Subject, PredicateBundle, p.Promotion})
			if err != nil {
				t.Fatal(err)
			}
			_, err = (&Message{forged(t, dev, payload), p.Blobs}).Verify(dev.card, prodSpace)
			why, _, _ := strings.Cut(c.why, "|")
			if _, or, ok := strings.Cut(c.why, "|"); ok && err != nil && strings.Contains(err.Error(), or) {
				why = or
			}
			refused(t, c.name, err, why)
		})
	}
}

// Metadata that the signature covers and that is still nonsense.
func TestHostileMetadata(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	for name, c := range map[string]struct {
		do  func(c *Content)
		why string
	}{
		"a sensitive variable in clear":       {func(c *Content) { c.Variables[1].Value = canary }, "in clear"},
		"a sensitive variable without a seal": {func(c *Content) { c.Secrets = nil }, "no sealed value"},
		"a sealed variable that is not":       {func(c *Content) { c.Variables[1].Sensitive = false }, "in clear and sealed"},
		"two sealed values of one name":       {func(c *Content) { c.Secrets = append(c.Secrets, c.Secrets[0]) }, "Two sealed values"},
		"a short salt":                        {func(c *Content) { c.Secrets[0].Salt = "AAAA" }, "32 bytes"},
		"no process":                          {func(c *Content) { c.Process = json.RawMessage(`{}`) }, "no process"},
		"a process that is a list":            {func(c *Content) { c.Process = json.RawMessage(`[1,2,3]`) }, "no process"},
		"a process with twins":                {func(c *Content) { c.Process = json.RawMessage(`{"Name":1,"name":2}`) }, `"name" beside "Name"`},
		"a deep process": {func(c *Content) {
			c.Process = json.RawMessage(`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`)
		}, "deeper"},
		"many small values":   {func(c *Content) { c.Process = json.RawMessage(`{"a":[` + strings.Repeat("1,", maxValues) + `1]}`) }, "more than"},
		"a hidden name":       {func(c *Content) { c.Variables[0].Name = "Col\u200bour" }, "invisible"},
		"evidence of nobody":  {func(c *Content) { c.Evidence[0].Space = "Dev" }, "ULID"},
		"evidence at no time": {func(c *Content) { c.Evidence[0].Ended = "yesterday" }, "time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := content([]byte("p"))
			c.do(&x)
			_, err := dev.Prepare(x, prod.card)
			refused(t, name, err, c.why)
		})
	}
}

// A sender that seals another value than the one that it committed to.
func TestExchangedSecret(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	for name, secrets := range map[string][]Secret{
		"another value": {secret("variable/Password", "something else")}, "another name": {secret("variable/Other", canary)}, "nothing": {},
		"one more": {secret("variable/Password", canary), secret("more", "x")},
	} {
		p, err := dev.Prepare(content([]byte("p")), prod.card)
		if err != nil {
			t.Fatal(err)
		}
		plain, _ := canonical(sealed{devSpace, prodSpace, releaseID, secrets})
		box, _ := prod.card.SealTo(plain)
		delete(p.Blobs, p.Promotion.Sealed[0].Digest)
		p.Promotion.Sealed[0].Blob = p.blob(box, mediaSealed)
		m, _ := dev.Sign(p, header1(prodSpace))
		v, err := m.Verify(dev.card, prodSpace)
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Open(prod.Identity)
		refused(t, name, err, "committed")
	}
}

// The same statement has one text, although Go's decoders would read many.
func TestStrictEnvelope(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	m := message(t, content([]byte("p")), dev, prod)
	env := string(m.Envelope)
	for name, bad := range map[string]string{
		"a space":                       strings.Replace(env, ":", ": ", 1),
		"a line end in the payload":     strings.Replace(env, `"payload":"`, `"payload":"\n`, 1), // base64 in Go skips it, also the strict one
		"a line end in the signature":   strings.Replace(env, `"sig":"`, `"sig":"\r\n`, 1),
		"another spelling of a name":    strings.Replace(env, `"payload"`, `"Payload"`, 1),
		"a name twice":                  strings.Replace(env, `{"payloadType"`, `{"payloadType":"x","payloadType"`, 1),
		"a member more":                 strings.Replace(env, `{"payloadType"`, `{"more":1,"payloadType"`, 1),
		"another order":                 strings.Replace(env, `{"payloadType":"application/vnd.in-toto+json",`, `{`, 1),
		"an escaped letter":             strings.Replace(env, `"keyid"`, `"\u006beyid"`, 1),
		"no signature":                  env[:strings.Index(env, `"signatures"`)] + `"signatures":[]}`,
		"a signature more":              strings.Replace(env, `"signatures":[`, `"signatures":[{"keyid":"`+strings.Repeat("0", 64)+`","sig":"`+strings.Repeat("A", 86)+`=="},`, 1),
		"another type":                  strings.Replace(env, "in-toto", "in-tato", 1),
		"base64 for URLs":               strings.NewReplacer("+", "-", "/", "_").Replace(env),
		"null":                          "null",
		"an array":                      "[" + env + "]",
		"a text larger than its limit":  env + strings.Repeat(" ", MaxEnvelope),
		"a name that Go folds to keyid": strings.Replace(env, `"keyid"`, `"\u212aeyid"`, 1),
	} {
		if _, err := (&Message{[]byte(bad), m.Blobs}).Verify(dev.card, prodSpace); err == nil || errs.KindOf(err) == errs.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStrictJSON(t *testing.T) {
	t.Parallel()
	type doc struct {
		To   string `json:"to"`
		N    int64  `json:"n"`
		Kind string `json:"kind"`
	}
	for name, bad := range map[string]string{
		"a space": `{"to": "a"}`, "another order": `{"to":"a","n":1}`, "a name twice": `{"to":"a","to":"a"}`, "a twin": `{"TO":"b","to":"a"}`, "a twin alone": `{"TO":"b"}`,
		"a Kelvin sign": "{\"\u212aind\":\"x\"}", "a long number": `{"n":9007199254740993}`, "an exponent": `{"n":1e2}`, "a fraction": `{"n":1.0}`, "minus zero": `{"n":-0}`,
		"an escape": `{"to":"\u0061"}`, "half a pair": `{"to":"\ud800"}`, "not UTF-8": "{\"to\":\"\xff\"}", "more behind": `{}{}`, "empty": ``, "no JSON": `{`, "depth": strings.Repeat("[", 70) + strings.Repeat("]", 70),
		"unknown twins": `{"A":1,"a":2}`,
	} {
		var d doc
		if err := decodeCanonical([]byte(bad), 1000, "text", &d); err == nil {
			t.Errorf("%s: accepted as %+v", name, d)
		}
	}
	var d doc
	if err := decodeCanonical([]byte(`{"n":9007199254740991,"to":"\n<é>","unknown":[{}]}`), 1000, "text", &d); err != nil || d.To != "\n<é>" || d.N != 1<<53-1 {
		t.Errorf("%v, %+v", err, d)
	}
	err := decodeCanonical([]byte(`{}`), 1, "text", &d)
	if !errors.Is(err, errs.TooLarge) {
		t.Errorf("limit: %v", err)
	}
}

// The core digest is the same for every recipient and sender, and moves with each thing
// that the release is.
func TestCoreDigest(t *testing.T) {
	t.Parallel()
	dev, prod, other := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod"), newParty(t, otherSpace, "Other")
	core := func(c Content, from, to party) string {
		c.Path = []string{from.Space}
		return func() string { v, _ := message(t, c, from, to).Own(); return v.Promotion.Core }()
	}
	base := core(content([]byte("p")), dev, prod)
	if again := core(content([]byte("p")), other, prod); again != base {
		t.Error("it depends on the sender")
	}
	if again := core(content([]byte("p")), dev, other); again != base {
		t.Error("it depends on the recipient")
	}
	for name, c := range map[string]struct {
		do   func(c *Content)
		same bool
	}{
		"notes":    {func(c *Content) { c.Release.Notes = "x" }, true},
		"evidence": {func(c *Content) { c.Evidence = nil }, true},
		"version":  {func(c *Content) { c.Release.Version = "1.4.3" }, false},
		"process":  {func(c *Content) { c.Process = json.RawMessage(`{"Steps":[]}`) }, false},
		"value":    {func(c *Content) { c.Variables[0].Value = "red" }, false},
		"secret": {func(c *Content) {
			c.Secrets[0].Value = "x"
			c.Variables[1].Commitment, _ = Commitment(c.Secrets[0])
		}, false},
		"template":    {func(c *Content) { c.Templates[0].Label = "x" }, false},
		"no template": {func(c *Content) { c.Templates = nil }, false},
		"package":     {func(c *Content) { c.Packages[0].Digest = strings.Repeat("1", 64) }, false},
		"no package":  {func(c *Content) { c.Packages = nil }, false},
	} {
		x := content([]byte("p"))
		c.do(&x)
		if got := core(x, dev, prod); (got == base) != c.same {
			t.Errorf("%s: same core is %t", name, got == base)
		}
	}
}

// A higher minor version says more than we know; we keep it and understand the rest.
func TestUnknownMembersAreKept(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	m := message(t, content([]byte("p")), dev, prod)
	payload, _, _ := peek(m.Envelope, MaxEnvelope, "bundle")
	newer := bytes.Replace(payload, []byte(`"schema":"1.0"`), []byte(`"schema":"1.7"`), 1)
	newer = bytes.Replace(newer, []byte(`"requires":`), []byte(`"later":{"x":[1]},"requires":`), 1)
	newer, err := canonical(json.RawMessage(newer))
	if err != nil {
		t.Fatal(err)
	}
	env := forged(t, dev, newer)
	n := &Message{env, m.Blobs}
	if _, err := n.Verify(dev.card, prodSpace); err != nil {
		t.Fatal(err)
	}
	again, _, err := ParseMessage(pack(t, n), func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) })
	if err != nil || again.Digest != Digest(env) {
		t.Errorf("not kept as it was: %v", err)
	}
}

// What a sender has stored goes out as the same bytes each time.
func TestReproducible(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	p, err := dev.Prepare(content([]byte("p")), prod.card)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var files [2][]byte
	for i := range files {
		var p Prepared
		if err := json.Unmarshal(stored, &p); err != nil {
			t.Fatal(err)
		}
		m, err := dev.Sign(&p, header1(prodSpace))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = pack(t, m, []byte("p"))
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two exports differ")
	}
}

// Speed and time of a release must not hang on a reader that is gone.
func TestReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	b, _ := file(t, dev, prod, []byte("p"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, _, err := Read(ctx, bytes.NewReader(b), func(m *Message) (*Verified, error) { return m.Own() }, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_, _, _, err = Read(context.Background(), io.MultiReader(bytes.NewReader(b[:2000]), failing{}), func(m *Message) (*Verified, error) { return m.Own() }, nil)
	if !errors.Is(err, errDisk) {
		t.Errorf("the reader's own fault became %v", err)
	}
}

var errDisk = errors.New("disk on fire")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errDisk }

func TestIssuedAt(t *testing.T) {
	t.Parallel()
	if got := header1(prodSpace).IssuedAt(); !got.Equal(at) || got.Location() != time.UTC {
		t.Errorf("%v", got)
	}
}
