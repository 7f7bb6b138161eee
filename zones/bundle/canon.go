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

	"github.com/gowebpki/jcs"

	"octopuses.dev/octopuses/spaces/errs"
)

// Limits are checked before anything is allocated.
const (
	MaxEnvelope = 1 << 20  // bytes of an envelope
	MaxBlob     = 16 << 20 // bytes of one metadata blob
	MaxBlobs    = 10_000   // in one bundle
	MaxPackage  = 20 << 30 // bytes of one package
	MaxReceipts = 2_000    // in one file
	MaxReceipt  = 64 << 10 // bytes of one receipt
	maxDepth    = 64       // of JSON
)

// Digest is the lower-case hex SHA-256 of bytes.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func refuse(format string, args ...any) *errs.Error {
	return errs.New(errs.Invalid, format, args...)
}

func notCanonical(what string) *errs.Error {
	return refuse("The %s is not in its one canonical form.", what).WithHint("It was changed on the way, or written by a faulty program.")
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

// decodeCanonical reads JSON that must be in its RFC 8785 form, and in which no member
// differs from a known one only in case. Unknown members are allowed: the bytes are
// kept as they are.
func decodeCanonical(b []byte, limit int, what string, v any) error {
	if len(b) > limit {
		return errs.New(errs.TooLarge, "The %s is larger than %d bytes.", what, limit)
	}
	if err := checkJSON(b, reflect.TypeOf(v).Elem(), what); err != nil {
		return err
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

// checkJSON walks the tokens for depth, duplicate names and names that Go would take for
// a known one although their case differs.
func checkJSON(b []byte, t reflect.Type, what string) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := checkValue(dec, t, 0, what); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return notCanonical(what)
	}
	return nil
}

func checkValue(dec *json.Decoder, t reflect.Type, depth int, what string) error {
	if depth > maxDepth {
		return refuse("The %s is nested deeper than %d levels.", what, maxDepth)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	tok, err := dec.Token()
	if err != nil {
		return refuse("The %s is no JSON.", what)
	}
	d, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		var inner reflect.Type
		if d == '{' {
			key, err := dec.Token()
			if err != nil {
				return refuse("The %s is no JSON.", what)
			}
			name, _ := key.(string)
			if seen[name] {
				return refuse("The %s names %q twice.", what, name)
			}
			seen[name] = true
			if t != nil && t.Kind() == reflect.Struct {
				var known string
				if known, inner = field(t, name); known != "" && known != name {
					return refuse("The %s has a member %q beside %q.", what, name, known)
				}
			} else if t != nil && t.Kind() == reflect.Map {
				inner = t.Elem()
			}
		} else if t != nil && t.Kind() == reflect.Slice {
			inner = t.Elem()
		}
		if err := checkValue(dec, inner, depth+1, what); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return refuse("The %s is no JSON.", what)
	}
	return nil
}

// field finds a member of a struct by its JSON name without case.
func field(t reflect.Type, name string) (known string, typ reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if k, typ := field(f.Type, name); k != "" {
				return k, typ
			}
			continue
		}
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" {
			tag = f.Name
		}
		if strings.EqualFold(tag, name) {
			return tag, f.Type
		}
	}
	return "", nil
}
