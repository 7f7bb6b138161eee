package bundle

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Predicate types of statements.
const (
	PredicateBundle  = "https://octopuses.dev/zone/release-bundle/v1"
	PredicateReceipt = "https://octopuses.dev/zone/receipt/v1"

	statementType = "https://in-toto.io/Statement/v1"
)

// Schema is the version of the formats that this program writes. It reads every minor
// version of the same major one: members that it does not know are kept and ignored,
// unless the statement calls them critical.
const Schema = "1.0"

// Header stands in every statement: its place in the sequence of one direction of a
// link.
type Header struct {
	From        string   `json:"from"`        // ULID of the sending space
	To          string   `json:"to"`          // ULID of the receiving space
	Incarnation string   `json:"incarnation"` // ULID of this life of the sending space; new after a restore
	Seq         int64    `json:"seq"`         // from 1, without holes
	Prev        string   `json:"prev"`        // digest of the sender's message before, "" for the first
	Seen        Seen     `json:"seen"`
	Issued      string   `json:"issued"`   // RFC 3339, UTC, by the sender's clock
	Schema      string   `json:"schema"`   // major.minor
	Critical    []string `json:"critical"` // features that a reader must know
}

// Seen acknowledges the other direction.
type Seen struct {
	Incarnation string `json:"incarnation"`
	UpTo        int64  `json:"upTo"`
}

// IssuedAt is when a statement was made, by its maker's clock.
func (h Header) IssuedAt() time.Time {
	t, _ := time.Parse(time.RFC3339, h.Issued)
	return t
}

// Subject is what a statement is about, so that general tools can match files to it.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

func subject(name, digest string) Subject { return Subject{name, map[string]string{"sha256": digest}} }

func (s Subject) is(name, digest string) bool {
	return s.Name == name && len(s.Digest) == 1 && s.Digest["sha256"] == digest
}

// statement is an in-toto Statement v1.
type statement[T any] struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     T         `json:"predicate"`
}

// predicateOf is what a payload claims to be, "" for no statement.
func predicateOf(payload []byte) string {
	var head statement[json.RawMessage]
	if json.Unmarshal(payload, &head) != nil || head.Type != statementType {
		return ""
	}
	return head.PredicateType
}

// decodeStatement reads a signed payload that must be a statement of this predicate type.
func decodeStatement[T any](payload []byte, limit int, predicateType, what string) (statement[T], error) {
	var st statement[T]
	var head statement[json.RawMessage]
	if err := json.Unmarshal(payload, &head); err != nil {
		return st, refuse("The %s is no statement.", what)
	}
	if head.Type != statementType || head.PredicateType != predicateType {
		return st, refuse("This is no %s but a %s.", what, clip(head.PredicateType))
	}
	return st, decodeCanonical(payload, limit, what, &st)
}

// From reads who claims to have sent an envelope and to whom, before anything is checked:
// only for choosing the card against which it is then checked.
func From(envelope []byte) (from, to string, err error) {
	h, err := claimed(envelope)
	return h.From, h.To, err
}

// claimed is the header of an envelope whose signature nobody has checked.
func claimed(envelope []byte) (Header, error) {
	payload, _, err := peek(envelope, MaxEnvelope, "message")
	if err != nil {
		return Header{}, err
	}
	var st statement[struct {
		Link Header `json:"link"`
	}]
	if err := json.Unmarshal(payload, &st); err != nil {
		return Header{}, refuse("The message is no statement.")
	}
	return st.Predicate.Link, nil
}

// checkHeader checks whose the statement is and for whom. from is nil and to "" where
// nobody can say.
func checkHeader(h Header, from *Card, to, what string) error {
	switch {
	case from != nil && h.From != from.Space:
		return refuse("The %s says that it is of another space than the one whose key signed it.", what)
	case to != "" && h.To != to:
		return refuse("The %s is for another space.", what).WithHint("It was made for the space with the id %s; import it there.", clip(h.To))
	case !supports([]string{h.Schema}):
		return refuse("The %s is of format %s; this program reads %s.", what, clip(h.Schema), Schema).WithHint("Upgrade this server.")
	}
	if err := checkCritical(h.Critical, what); err != nil {
		return err
	}
	t := texts{what: what}
	t.ulid("sender", h.From)
	t.ulid("recipient", h.To)
	t.ulid("incarnation", h.Incarnation)
	t.time("date", h.Issued)
	switch {
	case t.err != nil:
		return t.err
	case h.From == h.To:
		return refuse("The %s is from and for the same space.", what)
	case h.Seq < 1 || h.Prev != "" && !isDigest(h.Prev) || h.Seq > 1 && h.Prev == "" || h.Seen.UpTo < 0:
		return refuse("The %s has no place in its sequence.", what)
	case h.Seen.Incarnation != "" && !isULID(h.Seen.Incarnation):
		return refuse("The %s acknowledges nothing that can be.", what)
	}
	return nil
}

// checkCritical refuses what cannot be understood rightly without a feature that this
// program lacks. It knows none yet.
func checkCritical(critical []string, what string) error {
	if len(critical) > 0 {
		return refuse("The %s needs '%s', which this program does not know.", what, clip(critical[0])).WithHint("Upgrade this server.")
	}
	return nil
}

// supports reports whether one of the versions is of our major one.
func supports(schemas []string) bool {
	return slices.ContainsFunc(schemas, func(s string) bool {
		major, minor, ok := strings.Cut(s, ".")
		n, err := strconv.ParseUint(minor, 10, 16)
		return ok && major == "1" && err == nil && strconv.FormatUint(n, 10) == minor
	})
}
