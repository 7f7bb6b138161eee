package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gowebpki/jcs"

	"octopuses.dev/octopuses/spaces/errs"
)

// Limits are checked before anything is allocated.
const (
	MaxEnvelope = 1 << 20  // bytes of an envelope
	MaxBlob     = 16 << 20 // bytes of one metadata blob
	MaxMetadata = 32 << 20 // bytes of all metadata blobs of a bundle
	MaxBlobs    = 10_000   // blobs in one bundle, and packages that one names
	MaxPackage  = 20 << 30 // bytes of one package
	MaxReceipts = 2_000    // receipts in one file
	MaxReceipt  = 64 << 10 // bytes of one receipt, and of one card

	maxDepth  = 64      // levels of nesting in JSON
	maxValues = 500_000 // values in one JSON text: many small ones cost more memory than bytes
)

// Digest is the lower-case hex SHA-256 of bytes.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func isDigest(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

func refuse(format string, args ...any) *errs.Error {
	return errs.New(errs.Invalid, format, args...)
}

func notCanonical(what string) *errs.Error {
	return refuse("The %s is not in its one canonical form.", what).WithHint("It was changed on the way, or written by a faulty program.")
}

func tooMany(what string, limit int) *errs.Error {
	return errs.New(errs.TooLarge, "There are more than %d %s.", limit, what)
}

// canonical is the RFC 8785 form of a value.
func canonical(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	out, err := jcs.Transform(b)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return out, nil
}

// decodeCanonical reads JSON that must be in its RFC 8785 form, and in which no two
// members of an object differ only in case. Unknown members are allowed: the bytes are
// kept as they are.
func decodeCanonical(b []byte, limit int, what string, v any) error {
	if len(b) > limit {
		return errs.New(errs.TooLarge, "The %s is larger than %d bytes.", what, limit)
	}
	if !utf8.Valid(b) { // neither JCS nor Go's decoder refuses it, and they read it differently
		return notCanonical(what)
	}
	c := checker{dec: json.NewDecoder(bytes.NewReader(b)), what: what, shapes: map[reflect.Type]map[string]member{}}
	if err := c.value(reflect.TypeOf(v).Elem(), 0); err != nil {
		return err
	}
	if _, err := c.dec.Token(); err != io.EOF {
		return notCanonical(what)
	}
	again, err := jcs.Transform(b)
	if err != nil || !bytes.Equal(again, b) {
		return notCanonical(what)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return refuse("The %s is not understood: %v.", what, err)
	}
	return nil
}

// checker walks JSON token by token, in constant memory, before anything else reads it.
// Go's decoder takes {"to":"a","TO":"b"} as b where another program takes a; so names
// that are equal but for case are refused, among themselves and beside a known name.
type checker struct {
	dec    *json.Decoder
	what   string
	values int
	shapes map[reflect.Type]map[string]member // by folded name
}

type member struct {
	name string
	typ  reflect.Type
}

func (c *checker) token() (json.Token, error) {
	t, err := c.dec.Token()
	if err != nil {
		return nil, refuse("The %s is no JSON.", c.what)
	}
	return t, nil
}

func (c *checker) value(t reflect.Type, depth int) error {
	if depth > maxDepth {
		return refuse("The %s is nested deeper than %d levels.", c.what, maxDepth)
	}
	if c.values++; c.values > maxValues {
		return errs.New(errs.TooLarge, "The %s holds more than %d values.", c.what, maxValues)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	tok, err := c.token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('{'):
		err = c.object(t, depth)
	case json.Delim('['):
		var inner reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			inner = t.Elem()
		}
		for err == nil && c.dec.More() {
			err = c.value(inner, depth+1)
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	_, err = c.token()
	return err
}

func (c *checker) object(t reflect.Type, depth int) error {
	seen := map[string]string{}
	for c.dec.More() {
		tok, err := c.token()
		if err != nil {
			return err
		}
		name, _ := tok.(string)
		folded := fold(name)
		if other, twice := seen[folded]; twice {
			return refuse("The %s has a member %q beside %q.", c.what, clip(name), clip(other))
		}
		seen[folded] = name
		var inner reflect.Type
		switch {
		case t == nil:
		case t.Kind() == reflect.Struct:
			known, ok := c.shape(t)[folded]
			if ok && known.name != name {
				return refuse("The %s has a member %q instead of %q.", c.what, clip(name), known.name)
			}
			inner = known.typ
		case t.Kind() == reflect.Map:
			inner = t.Elem()
		}
		if err := c.value(inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// shape is the members that a struct knows, with those of embedded structs.
func (c *checker) shape(t reflect.Type) map[string]member {
	if s, ok := c.shapes[t]; ok {
		return s
	}
	s := map[string]member{}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			for k, v := range c.shape(f.Type) {
				s[k] = v
			}
			continue
		}
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			s[fold(name)] = member{name, f.Type}
		}
	}
	c.shapes[t] = s
	return s
}

// fold maps names that differ only in case, in Unicode's simple folding as Go's decoder
// does it, to one text.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, s)
}

// exact reads JSON that must be exactly what we would write, member by member.
func exact(b []byte, what string, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return notCanonical(what)
	}
	again, err := json.Marshal(v)
	if err != nil || !bytes.Equal(again, b) {
		return notCanonical(what)
	}
	return nil
}
