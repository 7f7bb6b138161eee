package variables

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// ReplaceJSON puts variables into a JSON document: a variable named like the path of
// a value, its parts joined by ":" and compared without case, replaces it (as
// "ConnectionStrings:Default" or "servers:0:url"). A number or a boolean stays one if
// the new value fits; an object or an array is replaced by JSON text. All other bytes
// of the document stay as they were. Variables that begin with "Octopus" are left
// out unless a ":" follows. replaced lists the paths; the error tells where the
// document is no JSON.
func ReplaceJSON(doc []byte, d *Dictionary) (out []byte, replaced []string, err error) {
	values := map[string]string{}
	for key, e := range d.values {
		if strings.HasPrefix(key, "octopus") && !strings.HasPrefix(key, "octopus:") {
			continue
		}
		values[key] = e.name
	}
	s := &jsonScanner{doc: doc, dict: d, values: values}
	bom := []byte("\xef\xbb\xbf")
	if bytes.HasPrefix(doc, bom) {
		s.pos = len(bom)
	}
	s.space()
	if err := s.value(nil); err != nil {
		return nil, nil, err
	}
	s.space()
	if s.pos != len(doc) {
		return nil, nil, s.fail("something stands behind the end of the document")
	}
	s.out.Write(doc[s.copied:])
	return s.out.Bytes(), s.replaced, nil
}

type jsonScanner struct {
	doc      []byte
	pos      int
	copied   int // doc up to here is in out
	out      bytes.Buffer
	dict     *Dictionary
	values   map[string]string // lower-case name → name
	replaced []string
}

func (s *jsonScanner) fail(format string, args ...any) error {
	e := &Error{Offset: s.pos, Line: 1, Message: fmt.Sprintf(format, args...)}
	before := s.doc[:min(s.pos, len(s.doc))]
	e.Line += bytes.Count(before, []byte("\n"))
	e.Column = len([]rune(string(before[bytes.LastIndexByte(before, '\n')+1:]))) + 1
	return e
}

func (s *jsonScanner) space() {
	for s.pos < len(s.doc) && strings.IndexByte(" \t\r\n", s.doc[s.pos]) >= 0 {
		s.pos++
	}
}

func (s *jsonScanner) peek() byte {
	if s.pos < len(s.doc) {
		return s.doc[s.pos]
	}
	return 0
}

// value reads the value at pos, whose path is given, and replaces it if a variable
// says so.
func (s *jsonScanner) value(path []string) error {
	if len(path) > 256 {
		return s.fail("the document is nested too deep")
	}
	if len(path) > 0 {
		if name, ok := s.values[strings.ToLower(strings.Join(path, ":"))]; ok {
			return s.replace(path, name)
		}
	}
	switch c := s.peek(); {
	case c == '{':
		return s.object(path)
	case c == '[':
		return s.array(path)
	case c == '"':
		_, err := s.text()
		return err
	default:
		return s.scalar()
	}
}

func (s *jsonScanner) object(path []string) error {
	s.pos++
	for s.space(); s.peek() != '}'; s.space() {
		if s.peek() != '"' {
			return s.fail("a name in quotation marks is missing")
		}
		key, err := s.text()
		if err != nil {
			return err
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("a colon is missing")
		}
		s.pos++
		s.space()
		if err := s.value(append(path[:len(path):len(path)], key)); err != nil {
			return err
		}
		s.space()
		if s.peek() == ',' {
			s.pos++
			s.space()
			if s.peek() == '}' {
				return s.fail("a comma stands before the end of the object")
			}
		} else if s.peek() != '}' {
			return s.fail("a comma or a } is missing")
		}
	}
	s.pos++
	return nil
}

func (s *jsonScanner) array(path []string) error {
	s.pos++
	i := 0
	for s.space(); s.peek() != ']'; s.space() {
		if err := s.value(append(path[:len(path):len(path)], strconv.Itoa(i))); err != nil {
			return err
		}
		i++
		s.space()
		if s.peek() == ',' {
			s.pos++
			s.space()
			if s.peek() == ']' {
				return s.fail("a comma stands before the end of the list")
			}
		} else if s.peek() != ']' {
			return s.fail("a comma or a ] is missing")
		}
	}
	s.pos++
	return nil
}

func (s *jsonScanner) text() (string, error) {
	start := s.pos
	s.pos++
	for s.pos < len(s.doc) {
		switch s.doc[s.pos] {
		case '\\':
			s.pos++
		case '"':
			s.pos++
			var out string
			if err := json.Unmarshal(s.doc[start:s.pos], &out); err != nil {
				s.pos = start
				return "", s.fail("this text is not well formed")
			}
			return out, nil
		}
		s.pos++
	}
	s.pos = start
	return "", s.fail("the quotation mark is not closed")
}

func (s *jsonScanner) scalar() error {
	start := s.pos
	for s.pos < len(s.doc) && strings.IndexByte(",]} \t\r\n", s.doc[s.pos]) < 0 {
		s.pos++
	}
	if !json.Valid(s.doc[start:s.pos]) {
		s.pos = start
		return s.fail("this is no JSON value")
	}
	return nil
}

// skip moves behind the value at pos without looking for variables in it.
func (s *jsonScanner) skip() error {
	dec := json.NewDecoder(bytes.NewReader(s.doc[s.pos:]))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return s.fail("this is no JSON value")
	}
	s.pos += int(dec.InputOffset())
	return nil
}

func (s *jsonScanner) replace(path []string, name string) error {
	start := s.pos
	if err := s.skip(); err != nil {
		return err
	}
	v, _, err := s.dict.Lookup(name)
	if err != nil {
		return fmt.Errorf("variable %s: %w", name, err)
	}
	s.out.Write(s.doc[s.copied:start])
	s.out.Write(newValue(s.doc[start:s.pos], v.Text))
	s.copied = s.pos
	s.replaced = append(s.replaced, strings.Join(path, ":"))
	return nil
}

func newValue(old []byte, text string) []byte {
	trimmed := strings.TrimSpace(text)
	keep := false
	switch c := old[0]; {
	case c == '{' || c == '[':
		keep = strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")
	case c == 't' || c == 'f':
		if l := strings.ToLower(trimmed); l == "true" || l == "false" {
			return []byte(l)
		}
	case c == 'n':
		keep = trimmed == "null" || strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")
	case c == '-' || c >= '0' && c <= '9':
		keep = trimmed != "" && (trimmed[0] == '-' || trimmed[0] >= '0' && trimmed[0] <= '9')
	}
	if keep && json.Valid([]byte(trimmed)) {
		return []byte(trimmed)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(text) != nil {
		return []byte(`""`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
