package bundle

import (
	"encoding/json"
	"fmt"
	"slices"

	"octopuses.dev/octopuses/spaces/errs"
)

// Promotion is the predicate of a bundle.
type Promotion struct {
	Link        Header       `json:"link"`
	Promotion   string       `json:"promotion"` // ULID
	Release     Release      `json:"release"`
	Project     Project      `json:"project"`
	Path        []string     `json:"path"` // spaces that it went through, the origin first, the sender last
	Core        string       `json:"core"`
	Process     Blob         `json:"process"`
	Variables   Blob         `json:"variables"`
	Templates   Blob         `json:"templates"`
	Evidence    Blob         `json:"evidence"`
	Sealed      []SealedPart `json:"sealed"`      // sorted by recipient
	Commitments []string     `json:"commitments"` // of all sealed values, sorted
	Packages    []Package    `json:"packages"`
	Requires    []string     `json:"requires"` // step types and script languages
}

// SealedPart is values that only one space can read.
type SealedPart struct {
	To string `json:"to"` // ULID
	Blob
}

// sealed is what stands inside of the seal. Naming the parties here binds it to them.
type sealed struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Release string   `json:"release"`
	Secrets []Secret `json:"secrets"`
}

// Media types of the metadata.
const (
	mediaProcess   = "application/vnd.octopuses.process.v1+json"
	mediaVariables = "application/vnd.octopuses.variables.v1+json"
	mediaTemplates = "application/vnd.octopuses.templates.v1+json"
	mediaEvidence  = "application/vnd.octopuses.evidence.v1+json"
	mediaSealed    = "application/vnd.octopuses.sealed.v1+age"
)

const (
	maxPath     = 8     // spaces that a release may go through
	maxSealed   = 8     // recipients in one bundle
	maxRequires = 1_000 // names
)

// blobs are the metadata in the order in which a file holds them.
func (p *Promotion) blobs() []Blob {
	out := []Blob{p.Process, p.Variables, p.Templates, p.Evidence}
	for _, s := range p.Sealed {
		out = append(out, s.Blob)
	}
	return out
}

// Prepared is content that is sealed to its recipient and only lacks its place in the
// sequence. It is made once and stored, so that the same promotion always gives the same
// bytes.
type Prepared struct {
	Promotion Promotion         `json:"promotion"`
	Subject   []Subject         `json:"subject"`
	Blobs     map[string][]byte `json:"blobs"`
}

// Prepare seals content to the space of a card. It refuses what the other side would
// refuse, so that a person hears of it here and now.
func (id *Identity) Prepare(c Content, to *Card) (*Prepared, error) {
	p := &Prepared{Blobs: map[string][]byte{}, Promotion: Promotion{Promotion: c.Promotion, Release: c.Release, Project: c.Project, Path: c.Path, Packages: orEmpty(c.Packages), Requires: orEmpty(c.Requires)}}
	m := &p.Promotion
	var err error
	if m.Commitments, err = commitments(c.Secrets); err != nil {
		return nil, err
	}
	for _, x := range []struct {
		to    *Blob
		v     any
		media string
	}{{&m.Process, c.Process, mediaProcess}, {&m.Variables, orEmpty(c.Variables), mediaVariables}, {&m.Templates, orEmpty(c.Templates), mediaTemplates}, {&m.Evidence, orEmpty(c.Evidence), mediaEvidence}} {
		b, err := canonical(x.v)
		if err != nil {
			return nil, err
		}
		*x.to = p.blob(b, x.media)
	}
	secrets, err := canonical(sealed{id.Space, to.Space, c.Release.ID, orEmpty(c.Secrets)})
	if err != nil {
		return nil, err
	}
	box, err := to.SealTo(secrets)
	if err != nil {
		return nil, err
	}
	m.Sealed = []SealedPart{{to.Space, p.blob(box, mediaSealed)}}
	if m.Core, err = m.CoreDigest(); err != nil {
		return nil, err
	}
	p.Subject = m.subject()
	// A header as long as one can be shows whether all of it fits and is as it must be.
	long := Header{To: to.Space, Incarnation: to.Incarnation, Seq: 1 << 50, Prev: m.Core, Seen: Seen{to.Incarnation, 1 << 50}, Issued: "2006-01-02T15:04:05Z"}
	trial, err := id.Sign(p, long)
	if err != nil {
		return nil, err
	}
	if _, err := trial.Own(); err != nil {
		return nil, fmt.Errorf("prepare bundle: %w", err)
	}
	return p, nil
}

func (p *Prepared) blob(b []byte, media string) Blob {
	d := Digest(b)
	p.Blobs[d] = b
	return Blob{d, int64(len(b)), media}
}

// subject is the release and each of its package files.
func (p *Promotion) subject() []Subject {
	out := []Subject{subject("release/"+p.Release.ID, p.Core)}
	for _, pkg := range p.Packages {
		out = append(out, subject(pkg.ID+"@"+pkg.Version, pkg.Digest))
	}
	return out
}

// Sign gives prepared content its place in the sequence and signs it.
func (id *Identity) Sign(p *Prepared, h Header) (*Message, error) {
	h.From, h.Schema, h.Critical = id.Space, Schema, orEmpty(h.Critical)
	promotion := p.Promotion
	promotion.Link = h
	payload, err := canonical(statement[Promotion]{statementType, p.Subject, PredicateBundle, promotion})
	if err != nil {
		return nil, err
	}
	env, err := sign(id.sign, TypeStatement, payload)
	if err != nil {
		return nil, err
	}
	if len(env) > MaxEnvelope {
		return nil, errs.New(errs.TooLarge, "The promotion's statement is larger than %d bytes.", MaxEnvelope)
	}
	return &Message{env, p.Blobs}, nil
}

// check checks what the statement says by itself, before any blob is looked at.
func (p *Promotion) check(subjects []Subject) error {
	t := texts{what: "bundle"}
	t.ulid("promotion", p.Promotion)
	t.ulid("release", p.Release.ID)
	t.required("version", p.Release.Version)
	t.time("date of the release", p.Release.Created)
	t.name("author", p.Release.By)
	t.name("channel", p.Release.Channel)
	t.ulid("project", p.Project.ID)
	t.required("project's name", p.Project.Name)
	for _, s := range p.Requires {
		t.required("requirement", s)
	}
	switch {
	case t.err != nil:
		return t.err
	case len(p.Project.Logo) > MaxLogo:
		return tooMany("bytes in the logo of the project", MaxLogo)
	case len(p.Requires) > maxRequires:
		return tooMany("requirements in the bundle", maxRequires)
	case len(p.Packages) > MaxBlobs:
		return tooMany("packages in the bundle", MaxBlobs)
	}
	for _, f := range []func() error{p.checkPath, p.checkSealed, p.checkPackages} {
		if err := f(); err != nil {
			return err
		}
	}
	want := p.subject()
	if !slices.EqualFunc(subjects, want, func(a, b Subject) bool { return a.is(b.Name, b.Digest["sha256"]) }) {
		return refuse("The subject of the bundle is not its release and packages.")
	}
	core, err := p.CoreDigest()
	if err != nil {
		return err
	}
	if core != p.Core {
		return refuse("The release in the bundle is not the one that its core digest names.")
	}
	return nil
}

func (p *Promotion) checkPath() error {
	if len(p.Path) == 0 || len(p.Path) > maxPath {
		return refuse("The bundle came through %d spaces; from 1 to %d are allowed.", len(p.Path), maxPath)
	}
	seen := map[string]bool{p.Link.To: true}
	for _, s := range p.Path {
		if !isULID(s) {
			return refuse("The path of the bundle names a space that cannot be.")
		}
		if seen[s] {
			return refuse("The release has been in this space already: its path is a circle.")
		}
		seen[s] = true
	}
	if p.Path[len(p.Path)-1] != p.Link.From {
		return refuse("The path of the bundle does not end with its sender.")
	}
	return nil
}

func (p *Promotion) checkSealed() error {
	if len(p.Sealed) > maxSealed {
		return tooMany("spaces to which the bundle is sealed", maxSealed)
	}
	for i, s := range p.Sealed {
		if !isULID(s.To) || i > 0 && s.To <= p.Sealed[i-1].To {
			return refuse("The bundle is sealed to spaces that cannot be, or not in their order.")
		}
	}
	if !slices.ContainsFunc(p.Sealed, func(s SealedPart) bool { return s.To == p.Link.To }) {
		return refuse("The bundle is not sealed to its recipient.")
	}
	for i, c := range p.Commitments {
		if !isDigest(c) || i > 0 && c <= p.Commitments[i-1] {
			return refuse("The commitments of the bundle are not digests in their order.")
		}
	}
	total := int64(0)
	for _, b := range p.blobs() {
		if !isDigest(b.Digest) || b.Size < 0 {
			return refuse("The bundle names a part that cannot be.")
		}
		if b.Size > MaxBlob {
			return errs.New(errs.TooLarge, "A part of the bundle is larger than %d bytes.", MaxBlob)
		}
		total += b.Size
	}
	if total > MaxMetadata {
		return errs.New(errs.TooLarge, "The parts of the bundle together are larger than %d bytes.", MaxMetadata)
	}
	return nil
}

func (p *Promotion) checkPackages() error {
	// The name of a file's bytes is unique in an image layout.
	taken := map[string]bool{Digest([]byte(emptyConfig)): true}
	for _, b := range p.blobs() {
		taken[b.Digest] = true
	}
	sizes := map[string]int64{}
	t := texts{what: "bundle"}
	for _, pkg := range p.Packages {
		t.required("package", pkg.ID)
		t.required("package's version", pkg.Version)
		t.name("package's action", pkg.Action)
		t.name("package's reference", pkg.Reference)
		t.name("package's extension", pkg.Extension)
		switch size, twice := sizes[pkg.Digest]; {
		case t.err != nil:
			return t.err
		case pkg.Size > MaxPackage:
			return errs.New(errs.TooLarge, "Package %s %s is larger than %d bytes.", clip(pkg.ID), clip(pkg.Version), int64(MaxPackage))
		case !isDigest(pkg.Digest), pkg.Size < 0, twice && size != pkg.Size, taken[pkg.Digest]:
			return refuse("The bundle names package %s %s, which cannot be.", clip(pkg.ID), clip(pkg.Version))
		}
		sizes[pkg.Digest] = pkg.Size
	}
	return nil
}

// check checks a variable against the commitments of the statement.
func (v *Variable) check(commitments []string) error {
	t := texts{what: "bundle"}
	t.required("variable's name", v.Name)
	t.name("variable's origin", v.Origin)
	if t.err != nil {
		return t.err
	}
	if !v.Sensitive {
		if v.Commitment != "" {
			return refuse("The variable '%s' is in clear and sealed.", clip(v.Name))
		}
		return nil
	}
	if v.Value != "" {
		return refuse("The variable '%s' is sensitive and in clear.", clip(v.Name))
	}
	if _, ok := slices.BinarySearch(commitments, v.Commitment); !ok {
		return refuse("The sensitive variable '%s' has no sealed value.", clip(v.Name))
	}
	return nil
}

func isObject(b json.RawMessage) bool { return len(b) > len(emptyConfig) && b[0] == '{' }
