package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// Release is the release in a bundle.
type Release struct {
	ID      string `json:"id"` // ULID
	Version string `json:"version"`
	Notes   string `json:"notes"`
	Created string `json:"created"` // RFC 3339, UTC
	By      string `json:"by"`
	Channel string `json:"channel"` // name, for people
}

// Project is the project in a bundle.
type Project struct {
	ID          string `json:"id"` // ULID
	Name        string `json:"name"`
	Description string `json:"description"`
	Logo        []byte `json:"logo,omitempty"` // PNG or JPEG
}

// logoDigest tells one logo from another; "" is none.
func (p Project) logoDigest() string {
	if len(p.Logo) == 0 {
		return ""
	}
	return Digest(p.Logo)
}

// MaxLogo is the limit of a project's logo, in bytes.
const MaxLogo = 64 << 10

// Blob names bytes that travel beside the statement.
type Blob struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	MediaType string `json:"mediaType"`
}

// Package is a package file that the release needs, as a step refers to it.
type Package struct {
	Action    string `json:"action"`    // name of the action
	Reference string `json:"reference"` // name of the reference in the action, "" for the main one
	ID        string `json:"id"`
	Version   string `json:"version"`
	Extension string `json:"extension"` // as ".zip"
	Digest    string `json:"digest"`
	Size      int64  `json:"size"` // bytes
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
	Origin      string              `json:"origin,omitempty"`     // label of the library set that it came from
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
	Ended       string `json:"ended"` // RFC 3339, UTC, or ""
}

// Secret is a sensitive value inside of the seal. Key says which variable or property
// it is of. However it is printed, it tells nothing of the value.
type Secret struct {
	Key   string `json:"key"`
	Salt  string `json:"salt"` // 32 bytes, base64
	Value string `json:"value"`
}

// String tells which value it is, and not the value.
func (s Secret) String() string { return "sealed value of " + s.Key }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Content is what a release consists of, before it is packed.
type Content struct {
	Promotion string // ULID
	Release   Release
	Project   Project
	Path      []string        // spaces that it went through, the origin first, the sender last
	Process   json.RawMessage // an object; sensitive properties stand as {"sealed": key}
	Variables []Variable
	Templates []Template
	Evidence  []Evidence
	Secrets   []Secret // each with a key of its own
	Packages  []Package
	Requires  []string // step types and script languages
}

// Commitment binds a secret without telling it: SHA-256 over the format's name, the salt,
// and length-prefixed key and value.
func Commitment(s Secret) (string, error) {
	salt, err := decodeBase64(s.Salt)
	if err != nil || len(salt) != 32 {
		return "", refuse("The salt of a sealed value is not 32 bytes.")
	}
	h := sha256.New()
	h.Write([]byte("octopuses-commitment-v1"))
	h.Write(salt)
	for _, part := range []string{s.Key, s.Value} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// commitments are those of all secrets, sorted, which hides whose they are.
func commitments(secrets []Secret) ([]string, error) {
	out := make([]string, 0, len(secrets))
	keys := map[string]bool{}
	for _, s := range secrets {
		if keys[s.Key] {
			return nil, refuse("Two sealed values are named '%s'.", clip(s.Key))
		}
		keys[s.Key] = true
		d, err := Commitment(s)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	slices.Sort(out)
	return out, nil
}

// core is what a core digest is taken over, in canonical form. It names the big parts by
// digest, so that a person can check it with jq and sha256sum.
type core struct {
	Format  string `json:"format"`
	Release struct {
		ID      string `json:"id"`
		Version string `json:"version"`
	} `json:"release"`
	Project     string    `json:"project"`
	Process     string    `json:"process"`
	Variables   string    `json:"variables"`
	Templates   string    `json:"templates"`
	Packages    []Package `json:"packages"`
	Commitments []string  `json:"commitments"`
}

const coreFormat = "octopuses-core-v1"

// CoreDigest is the digest of what the release is, equal in every zone and on every hop.
// Notes, evidence, path and addresses are not part of it. Anybody can work it out from
// the statement alone, without opening what is sealed.
func (p *Promotion) CoreDigest() (string, error) {
	c := core{Format: coreFormat, Project: p.Project.ID, Process: p.Process.Digest, Variables: p.Variables.Digest, Templates: p.Templates.Digest,
		Packages: orEmpty(p.Packages), Commitments: orEmpty(p.Commitments)}
	c.Release.ID, c.Release.Version = p.Release.ID, p.Release.Version
	b, err := canonical(c)
	if err != nil {
		return "", err
	}
	return Digest(b), nil
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
