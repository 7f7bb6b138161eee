package bundle

import (
	"encoding/json"
	"slices"
)

// Message is a bundle without its package files: what is signed, exactly as it goes over
// the wire and into a file.
type Message struct {
	Envelope []byte
	Blobs    map[string][]byte // metadata by digest
}

// Digest names a message: the SHA-256 of its envelope.
func (m *Message) Digest() string { return Digest(m.Envelope) }

// Verified is a bundle whose signature holds and whose metadata is whole. Only what is
// here may be acted on.
type Verified struct {
	Digest    string // of the envelope
	Promotion Promotion
	Process   json.RawMessage
	Variables []Variable
	Templates []Template
	Evidence  []Evidence
	sealed    map[string][]byte // by recipient
}

// Verify checks a message against the card of its sender and against who we are. to is
// our space, "" for an offline look.
func (m *Message) Verify(from *Card, to string) (*Verified, error) {
	payload, err := open(m.Envelope, MaxEnvelope, from.key, TypeStatement, "bundle")
	if err != nil {
		return nil, err
	}
	return m.decode(payload, from, to)
}

// Own reads a message that this program itself made and stored, or one that a person
// wants to look at: all is checked but whose signature it is. A stranger's message that
// was read so may be shown and never acted on.
func (m *Message) Own() (*Verified, error) {
	payload, _, err := peek(m.Envelope, MaxEnvelope, "bundle")
	if err != nil {
		return nil, err
	}
	return m.decode(payload, nil, "")
}

// decode checks everything but the signature, cheap things first.
func (m *Message) decode(payload []byte, from *Card, to string) (*Verified, error) {
	const what = "bundle"
	st, err := decodeStatement[Promotion](payload, MaxEnvelope, PredicateBundle, what)
	if err != nil {
		return nil, err
	}
	p := st.Predicate
	if err := checkHeader(p.Link, from, to, what); err != nil {
		return nil, err
	}
	if err := p.check(st.Subject); err != nil {
		return nil, err
	}
	v := &Verified{Digest: m.Digest(), Promotion: p, sealed: map[string][]byte{}}
	return v, m.blobs(v)
}

// blobs takes the metadata over, each part by its digest, and nothing that is not named.
func (m *Message) blobs(v *Verified) error {
	p := &v.Promotion
	used := map[string]bool{}
	take := func(b Blob, media, name string) ([]byte, error) {
		got, ok := m.Blobs[b.Digest]
		if !ok || int64(len(got)) != b.Size || b.MediaType != media || !used[b.Digest] && Digest(got) != b.Digest {
			return nil, refuse("The %s of the bundle are missing or not those that were signed.", name)
		}
		used[b.Digest] = true
		return got, nil
	}
	for _, x := range []struct {
		b     Blob
		v     any
		media string
		name  string
	}{{p.Process, &v.Process, mediaProcess, "process"}, {p.Variables, &v.Variables, mediaVariables, "variables"}, {p.Templates, &v.Templates, mediaTemplates, "templates"}, {p.Evidence, &v.Evidence, mediaEvidence, "evidence"}} {
		b, err := take(x.b, x.media, x.name)
		if err != nil {
			return err
		}
		if err := decodeCanonical(b, MaxBlob, x.name, x.v); err != nil {
			return err
		}
	}
	for _, s := range p.Sealed {
		b, err := take(s.Blob, mediaSealed, "sealed values")
		if err != nil {
			return err
		}
		v.sealed[s.To] = b
	}
	if len(m.Blobs) != len(used) {
		return refuse("The bundle carries something that was not signed.")
	}
	return v.check()
}

// check checks what the metadata says.
func (v *Verified) check() error {
	if !isObject(v.Process) {
		return refuse("The bundle has no process.")
	}
	for i := range v.Variables {
		if err := v.Variables[i].check(v.Promotion.Commitments); err != nil {
			return err
		}
	}
	t := texts{what: "bundle"}
	for _, x := range v.Templates {
		t.required("template's name", x.Name)
		t.name("template's label", x.Label)
		t.name("template's control", x.Control)
	}
	for _, e := range v.Evidence {
		t.ulid("evidence's space", e.Space)
		t.name("evidence's space", e.SpaceName)
		t.name("evidence's environment", e.Environment)
		t.name("evidence's state", e.State)
		if e.Ended != "" {
			t.time("evidence's date", e.Ended)
		}
	}
	return t.err
}

// Open opens the values that are sealed to this space and checks each against its
// commitment. The result is by key.
func (v *Verified) Open(id *Identity) (map[string]string, error) {
	p := &v.Promotion
	box, ok := v.sealed[id.Space]
	if !ok {
		return nil, refuse("The sealed values cannot be opened: they were sealed to another space.")
	}
	plain, err := id.unseal(box)
	if err != nil {
		return nil, err
	}
	var s sealed
	if err := decodeCanonical(plain, MaxBlob, "sealed values", &s); err != nil {
		return nil, err
	}
	// Who could take a sealed part out of one bundle and sign it into another would have
	// the recipient decrypt for him.
	if s.From != p.Link.From || s.To != id.Space || s.Release != p.Release.ID {
		return nil, refuse("The sealed values belong to another bundle.")
	}
	got, err := commitments(s.Secrets)
	if err != nil {
		return nil, err
	}
	// A part for one of several recipients may hold only some of the values.
	if len(p.Sealed) == 1 && !slices.Equal(got, p.Commitments) || slices.ContainsFunc(got, func(d string) bool { return !slices.Contains(p.Commitments, d) }) {
		return nil, refuse("The sealed values are not those that were committed to.")
	}
	out := make(map[string]string, len(s.Secrets))
	for _, x := range s.Secrets {
		out[x.Key] = x.Value
	}
	return out, nil
}
