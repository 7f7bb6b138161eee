package bundle

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// Predicate types of statements.
const (
	PredicateBundle  = "https://octopuses.dev/zone/release-bundle/v1"
	PredicateReceipt = "https://octopuses.dev/zone/receipt/v1"

	statementType = "https://in-toto.io/Statement/v1"
)

// Header stands in every statement: its place in the sequence of one direction of a
// link.
type Header struct {
	From        string   `json:"from"` // ULID of the sending space
	To          string   `json:"to"`
	Incarnation string   `json:"incarnation"`
	Seq         int64    `json:"seq"`
	Prev        string   `json:"prev"` // digest of the sender's message before, "" for the first
	Seen        Seen     `json:"seen"`
	Issued      string   `json:"issued"` // RFC 3339
	Schema      string   `json:"schema"`
	Critical    []string `json:"critical"` // features that a reader must know
}

// Seen acknowledges the other direction.
type Seen struct {
	Incarnation string `json:"incarnation"`
	UpTo        int64  `json:"upTo"`
}

// Subject is what a statement is about, so that general tools can match files to it.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Release is the release in a bundle.
type Release struct {
	ID      string `json:"id"` // ULID
	Version string `json:"version"`
	Notes   string `json:"notes"`
	Created string `json:"created"`
	By      string `json:"by"`
	Channel string `json:"channel"` // name, for people
}

// Project is the project in a bundle.
type Project struct {
	ID          string `json:"id"` // ULID
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Blob names bytes that travel beside the statement.
type Blob struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	MediaType string `json:"mediaType"`
}

// Package is a package that the release needs.
type Package struct {
	Action    string `json:"action"`
	Reference string `json:"reference"`
	ID        string `json:"id"`
	Version   string `json:"version"`
	Extension string `json:"extension"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// Promotion is the predicate of a bundle.
type Promotion struct {
	Link      Header    `json:"link"`
	Promotion string    `json:"promotion"` // ULID
	Release   Release   `json:"release"`
	Project   Project   `json:"project"`
	Path      []string  `json:"path"` // spaces that it went through, the origin first
	Core      string    `json:"core"`
	Process   Blob      `json:"process"`
	Variables Blob      `json:"variables"`
	Templates Blob      `json:"templates"`
	Evidence  Blob      `json:"evidence"`
	Sealed    Blob      `json:"sealed"`
	Packages  []Package `json:"packages"`
	Requires  []string  `json:"requires"` // step types and script languages
}

// Variable is a value in a bundle. A sensitive one stands outside of the seal as a
// commitment only.
type Variable struct {
	Name        string              `json:"name"`
	Value       string              `json:"value,omitempty"`
	Description string              `json:"description,omitempty"`
	Scope       map[string][]string `json:"scope,omitempty"` // roles, step names
	Sensitive   bool                `json:"sensitive,omitempty"`
	Commitment  string              `json:"commitment,omitempty"` // hex
	Origin      string              `json:"origin,omitempty"`
	Overridable bool                `json:"overridable,omitempty"`
}

// Template asks the target for a value.
type Template struct {
	Name      string `json:"name"`
	Label     string `json:"label,omitempty"`
	Help      string `json:"help,omitempty"`
	Default   string `json:"default,omitempty"`
	Sensitive bool   `json:"sensitive,omitempty"`
	Control   string `json:"control,omitempty"`
}

// Evidence is a deployment that the sender tells of: where the release was before.
type Evidence struct {
	Space       string `json:"space"` // ULID of who says it
	SpaceName   string `json:"spaceName"`
	Environment string `json:"environment"`
	State       string `json:"state"`
	Ended       string `json:"ended"`
}

// Secret is a sensitive value inside of the seal. Key says which variable or property
// it is of.
type Secret struct {
	Key   string `json:"key"`
	Salt  string `json:"salt"` // 32 bytes, base64
	Value string `json:"value"`
}

type sealed struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Release string   `json:"release"`
	Secrets []Secret `json:"secrets"`
}

type statement[T any] struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     T         `json:"predicate"`
}

// Commitment binds a secret without telling it: SHA-256 over the format's name, the salt,
// and length-prefixed key and value.
func Commitment(s Secret) (string, error) {
	salt, err := base64.StdEncoding.Strict().DecodeString(s.Salt)
	if err != nil || len(salt) != 32 {
		return "", refuse("The salt of a sealed value is not 32 bytes.")
	}
	h := sha256.New()
	h.Write([]byte("octopuses-commitment-v1"))
	h.Write(salt)
	for _, part := range []string{s.Key, s.Value} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Content is what a release consists of, before it is packed.
type Content struct {
	Promotion string
	Release   Release
	Project   Project
	Path      []string
	Process   json.RawMessage // sensitive properties stand as {"sealed": key}
	Variables []Variable
	Templates []Template
	Evidence  []Evidence
	Secrets   []Secret
	Packages  []Package
	Requires  []string
}

// Core is the digest of what the release is, equal in every zone: over the canonical form
// of release, project, process, variables with their commitments, templates and packages.
// Evidence, path and addresses are not part of it.
func (c *Content) Core() (string, error) {
	b, err := canonical(map[string]any{
		"format": "octopuses-core-v1", "release": map[string]string{"id": c.Release.ID, "version": c.Release.Version}, "project": c.Project.ID,
		"process": c.Process, "variables": c.Variables, "templates": c.Templates, "packages": c.Packages, "commitments": c.commitments(),
	})
	if err != nil {
		return "", err
	}
	return Digest(b), nil
}

func (c *Content) commitments() []string {
	out := []string{}
	for _, s := range c.Secrets {
		if d, err := Commitment(s); err == nil {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// Message is a bundle without its package files: what is signed, exactly as it goes over
// the wire and into a file.
type Message struct {
	Envelope []byte
	Blobs    map[string][]byte // metadata by digest
}

// Media types of the metadata.
const (
	mediaProcess   = "application/vnd.octopuses.process.v1+json"
	mediaVariables = "application/vnd.octopuses.variables.v1+json"
	mediaTemplates = "application/vnd.octopuses.templates.v1+json"
	mediaEvidence  = "application/vnd.octopuses.evidence.v1+json"
	mediaSealed    = "application/vnd.octopuses.sealed.v1+age"
)

// Prepared is content that is sealed to its recipient and only lacks its place in the
// sequence. It is made once and stored, so that the same promotion always gives the same
// bytes.
type Prepared struct {
	Promotion Promotion         `json:"promotion"`
	Subject   []Subject         `json:"subject"`
	Blobs     map[string][]byte `json:"blobs"`
}

// Prepare seals content to the space of a card.
func (id *Identity) Prepare(c Content, to *Card) (*Prepared, error) {
	for i := range c.Variables {
		v := &c.Variables[i]
		if !v.Sensitive {
			continue
		}
		if v.Value != "" {
			return nil, fmt.Errorf("variable %s is sensitive and in clear", v.Name)
		}
	}
	core, err := c.Core()
	if err != nil {
		return nil, err
	}
	p := &Prepared{Blobs: map[string][]byte{}}
	p.Promotion = Promotion{Promotion: c.Promotion, Release: c.Release, Project: c.Project, Path: c.Path, Core: core, Packages: orEmpty(c.Packages), Requires: orEmpty(c.Requires)}
	secrets, err := canonical(sealed{id.Space, to.Space, c.Release.ID, orEmpty(c.Secrets)})
	if err != nil {
		return nil, err
	}
	box, err := to.SealTo(secrets)
	if err != nil {
		return nil, err
	}
	p.Promotion.Sealed = p.blob(box, mediaSealed)
	for _, x := range []struct {
		to    *Blob
		v     any
		media string
	}{{&p.Promotion.Process, c.Process, mediaProcess}, {&p.Promotion.Variables, orEmpty(c.Variables), mediaVariables}, {&p.Promotion.Templates, orEmpty(c.Templates), mediaTemplates}, {&p.Promotion.Evidence, orEmpty(c.Evidence), mediaEvidence}} {
		b, err := canonical(x.v)
		if err != nil {
			return nil, err
		}
		*x.to = p.blob(b, x.media)
	}
	p.Subject = []Subject{{"release/" + c.Release.ID, map[string]string{"sha256": core}}}
	for _, pkg := range c.Packages {
		p.Subject = append(p.Subject, Subject{pkg.ID + "@" + pkg.Version, map[string]string{"sha256": pkg.Digest}})
	}
	return p, nil
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (p *Prepared) blob(b []byte, media string) Blob {
	d := Digest(b)
	p.Blobs[d] = b
	return Blob{d, int64(len(b)), media}
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
	sealed    []byte
}

// From reads who claims to have sent an envelope and to whom, before anything is checked:
// only for choosing the card against which it is then checked.
func From(envelope []byte) (from, to string, err error) {
	payload, _, err := peek(envelope, MaxEnvelope, "message")
	if err != nil {
		return "", "", err
	}
	var st statement[struct {
		Link struct {
			From string `json:"from"`
			To   string `json:"to"`
		} `json:"link"`
	}]
	if err := json.Unmarshal(payload, &st); err != nil {
		return "", "", refuse("The message is no statement.")
	}
	return st.Predicate.Link.From, st.Predicate.Link.To, nil
}

// Verify checks a message against the card of its sender and against who we are. to is
// our space, "" for an offline look.
func (m *Message) Verify(from *Card, to string) (*Verified, error) {
	const what = "bundle"
	payload, err := open(m.Envelope, MaxEnvelope, from.key, TypeStatement, what)
	if err != nil {
		return nil, err
	}
	var st statement[Promotion]
	if err := decodeCanonical(payload, MaxEnvelope, what, &st); err != nil {
		return nil, err
	}
	p := st.Predicate
	if st.Type != statementType || st.PredicateType != PredicateBundle {
		return nil, refuse("The file is no bundle but a %s.", clip(st.PredicateType))
	}
	if err := checkHeader(p.Link, from, to, what); err != nil {
		return nil, err
	}
	if err := p.check(st.Subject); err != nil {
		return nil, err
	}
	v := &Verified{Digest: m.Digest(), Promotion: p}
	for _, x := range []struct {
		b     Blob
		v     any
		media string
		name  string
	}{{p.Process, &v.Process, mediaProcess, "process"}, {p.Variables, &v.Variables, mediaVariables, "variables"}, {p.Templates, &v.Templates, mediaTemplates, "templates"}, {p.Evidence, &v.Evidence, mediaEvidence, "evidence"}, {p.Sealed, nil, mediaSealed, "sealed values"}} {
		b, ok := m.Blobs[x.b.Digest]
		if !ok || Digest(b) != x.b.Digest || int64(len(b)) != x.b.Size || x.b.MediaType != x.media {
			return nil, refuse("The %s of the bundle are missing or not those that were signed.", x.name)
		}
		if x.v == nil {
			v.sealed = b
			continue
		}
		if err := decodeCanonical(b, MaxBlob, x.name, x.v); err != nil {
			return nil, err
		}
	}
	if len(m.Blobs) != len(uniqueDigests(p)) {
		return nil, refuse("The bundle carries something that was not signed.")
	}
	return v, nil
}

func uniqueDigests(p Promotion) map[string]bool {
	return map[string]bool{p.Process.Digest: true, p.Variables.Digest: true, p.Templates.Digest: true, p.Evidence.Digest: true, p.Sealed.Digest: true}
}

func checkHeader(h Header, from *Card, to, what string) error {
	switch {
	case h.From != from.Space:
		return refuse("The %s says that it is of another space than the one whose key signed it.", what)
	case to != "" && h.To != to:
		return refuse("The %s is for another space.", what).WithHint("It was made for the space with the id %s; import it there.", clip(h.To))
	case !supports([]string{h.Schema}):
		return refuse("The %s is of format %s; this program reads %s.", what, clip(h.Schema), Schema).WithHint("Upgrade this server.")
	case len(h.Critical) > 0:
		return refuse("The %s needs '%s', which this program does not know.", what, clip(h.Critical[0])).WithHint("Upgrade this server.")
	case h.Seq < 1 || h.Incarnation == "" || h.Prev != "" && !isDigest(h.Prev):
		return refuse("The %s has no place in its sequence.", what)
	}
	if _, err := time.Parse(time.RFC3339, h.Issued); err != nil {
		return refuse("The %s has no date.", what)
	}
	return nil
}

func isDigest(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

func (p *Promotion) check(subject []Subject) error {
	if p.Release.ID == "" || p.Release.Version == "" || p.Project.ID == "" || p.Project.Name == "" || !isDigest(p.Core) {
		return refuse("The bundle is incomplete.")
	}
	for _, s := range []string{p.Release.Version, p.Project.Name, p.Release.By, p.Release.Channel} {
		if len(s) > 400 || strings.ContainsFunc(s, func(r rune) bool {
			return r < 0x20 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x7f
		}) {
			return refuse("The bundle holds a name with invisible characters, or one that is too long.")
		}
	}
	if len(p.Path) == 0 || len(p.Path) > 8 {
		return refuse("The bundle came through %d spaces; at most 8 are allowed.", len(p.Path))
	}
	if slices.Contains(p.Path, p.Link.To) {
		return refuse("The release has been in this space already: its path is a circle.")
	}
	if len(p.Packages) > MaxBlobs {
		return errs.New(errs.TooLarge, "The bundle names more than %d packages.", MaxBlobs)
	}
	if len(subject) != len(p.Packages)+1 || subject[0].Name != "release/"+p.Release.ID || subject[0].Digest["sha256"] != p.Core {
		return refuse("The subject of the bundle is not its release.")
	}
	for i, pkg := range p.Packages {
		if !isDigest(pkg.Digest) || pkg.Size < 0 || pkg.Size > MaxPackage || pkg.ID == "" || pkg.Version == "" {
			return refuse("The bundle names a package that cannot be.")
		}
		if subject[i+1].Name != pkg.ID+"@"+pkg.Version || subject[i+1].Digest["sha256"] != pkg.Digest {
			return refuse("The subject of the bundle is not its packages.")
		}
	}
	return nil
}

// Open opens the sealed values and checks each against its commitment, and the core
// digest against everything. The result is by key.
func (v *Verified) Open(id *Identity) (map[string]string, error) {
	plain, err := id.unseal(v.sealed)
	if err != nil {
		return nil, err
	}
	var s sealed
	if err := decodeCanonical(plain, MaxBlob, "sealed values", &s); err != nil {
		return nil, err
	}
	p := v.Promotion
	if s.From != p.Link.From || s.To != id.Space || s.Release != p.Release.ID {
		return nil, refuse("The sealed values belong to another bundle.")
	}
	out := map[string]string{}
	commitments := map[string]bool{}
	for _, x := range s.Secrets {
		d, err := Commitment(x)
		if err != nil {
			return nil, err
		}
		commitments[d] = true
		out[x.Key] = x.Value
	}
	for _, x := range v.Variables {
		if x.Sensitive && !commitments[x.Commitment] {
			return nil, refuse("The sealed value of '%s' is not the one that was committed to.", x.Name)
		}
	}
	c := Content{Release: p.Release, Project: p.Project, Process: v.Process, Variables: v.Variables, Templates: v.Templates, Packages: p.Packages, Secrets: s.Secrets}
	core, err := c.Core()
	if err != nil {
		return nil, err
	}
	if core != p.Core {
		return nil, refuse("The release in the bundle is not the one that its core digest names.")
	}
	return out, nil
}

// Own reads a message that this program itself made and stored, without checking whose
// signature it is.
func (m *Message) Own() (*Verified, error) {
	payload, _, err := peek(m.Envelope, MaxEnvelope, "bundle")
	if err != nil {
		return nil, err
	}
	var st statement[Promotion]
	if err := decodeCanonical(payload, MaxEnvelope, "bundle", &st); err != nil {
		return nil, err
	}
	return &Verified{Digest: m.Digest(), Promotion: st.Predicate}, nil
}
