// Package errs is the one error type of Octopuses and its closed list of kinds.
//
// An [Error] tells a person what is wrong, where, and what to do. Its [Kind] is
// itself an error, so that errors.Is(err, errs.NotFound) works through any
// number of wrappings. Doors (web, API, zone link) map kinds to statuses in one
// table each; an error without a kind is [Internal], whose text is never shown.
//
// The package imports nothing of ours and does no I/O.
package errs

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an error is. The list is closed.
type Kind string

const (
	Invalid         Kind = "invalid"         // the input breaks a rule; Fields say where
	NotFound        Kind = "not found"       // no such thing, or none that the caller may know of
	Exists          Kind = "exists"          // a unique name or identifier is taken
	Stale           Kind = "stale"           // somebody else saved a newer version first
	Denied          Kind = "denied"          // the caller lacks a permission, which the message names
	Unauthenticated Kind = "unauthenticated" // nobody is signed in, or the credentials are wrong
	Blocked         Kind = "blocked"         // allowed in general, not in the present state
	TooLarge        Kind = "too large"       // a stated limit is exceeded
	Busy            Kind = "busy"            // too many at once; try again
	Unavailable     Kind = "unavailable"     // something needed cannot be reached now
	Internal        Kind = "internal"        // a fault of ours; details go to the log only
)

func (k Kind) Error() string { return string(k) }

// Field is a complaint about one input: the name as the form and the API spell
// it, and a sentence for people.
type Field struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

// Error is what rules and stores return. Message is a sentence for people;
// Hint, where it helps, says what to do next. Err is the cause and is logged,
// never shown.
type Error struct {
	Kind    Kind
	Entity  string // the noun, as "project"
	ID      string // which one, as the caller named it
	Message string
	Hint    string
	Fields  []Field
	Err     error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Text())
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Text is what a person may see: message, fields and hint, without the cause.
func (e *Error) Text() string {
	parts := make([]string, 0, 2+len(e.Fields))
	if e.Message != "" {
		parts = append(parts, e.Message)
	} else if len(e.Fields) == 0 {
		parts = append(parts, string(e.Kind))
	}
	for _, f := range e.Fields {
		parts = append(parts, f.Message)
	}
	if e.Hint != "" {
		parts = append(parts, e.Hint)
	}
	return strings.Join(parts, " ")
}

func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is this error's kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// New makes an error of a kind with a sentence for people.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error of a kind around a cause; the sentence is for people, the
// cause for the log.
func Wrap(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: cause}
}

// Missing is the NotFound of an entity, in the words of Octopus's own API.
func Missing(entity, id string) *Error {
	return &Error{Kind: NotFound, Entity: entity, ID: id, Message: fmt.Sprintf("The %s '%s' was not found.", entity, id)}
}

// WithHint adds what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// KindOf returns the kind of the first of our errors in the chain, and
// [Internal] for any other error.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}

// FieldsOf returns the field complaints of the first of our errors in the chain.
func FieldsOf(err error) []Field {
	var e *Error
	if errors.As(err, &e) {
		return e.Fields
	}
	return nil
}

// TextOf returns what a person may see of err; nothing of an internal one.
func TextOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Kind != Internal {
		return e.Text()
	}
	return "Something went wrong on the server."
}

// Check collects field complaints. The zero value is ready; Err is nil when
// nothing was found.
type Check struct{ fields []Field }

// Require adds a complaint unless ok.
func (c *Check) Require(ok bool, field, format string, args ...any) {
	if !ok {
		c.fields = append(c.fields, Field{Name: field, Message: fmt.Sprintf(format, args...)})
	}
}

// Err is an [Invalid] error with all complaints, or nil.
func (c *Check) Err() error {
	if len(c.fields) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Fields: c.fields}
}
