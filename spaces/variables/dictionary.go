package variables

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Value is a text and whether it may be shown.
type Value struct {
	Text      string
	Sensitive bool
}

// Dictionary holds the variables of one piece of work and evaluates templates over
// them. It is not safe for concurrent use while it is being filled.
type Dictionary struct {
	Now    func() time.Time // for the filters NowDate and NowDateUtc; nil: time.Now
	values map[string]entry
	keys   []string // sorted, for what stands behind a prefix; nil: to be made
}

type entry struct {
	name string
	Value
}

// NewDictionary makes an empty dictionary.
func NewDictionary() *Dictionary { return &Dictionary{values: map[string]entry{}} }

// Set puts a value under a name, replacing what was there.
func (d *Dictionary) Set(name, text string, sensitive bool) {
	d.values[strings.ToLower(name)] = entry{name, Value{text, sensitive}}
	d.keys = nil
}

// Get returns a value as it was set, without evaluating it.
func (d *Dictionary) Get(name string) (Value, bool) {
	e, ok := d.values[strings.ToLower(name)]
	return e.Value, ok
}

// Names lists all names as they were set, sorted.
func (d *Dictionary) Names() []string {
	out := make([]string, 0, len(d.values))
	for _, e := range d.values {
		out = append(out, e.name)
	}
	slices.Sort(out)
	return out
}

// Evaluate replaces the references in a template. sensitive tells whether a
// sensitive value was reached. References that lead nowhere are left as they stand
// and named in the error, an [*Error], beside the text; a malformed template comes
// back unchanged with an error.
func (d *Dictionary) Evaluate(template string) (text string, sensitive bool, err error) {
	nodes, err := parse(template)
	if err != nil {
		return template, false, err
	}
	r := &run{dict: d}
	text, err = r.text(nodes)
	if err != nil {
		return template, r.sensitive, err
	}
	if len(r.missing) > 0 {
		return text, r.sensitive, &Error{Message: "no value for " + strings.Join(r.missing, ", "), Missing: r.missing}
	}
	return text, r.sensitive, nil
}

// EvaluateBool evaluates a run condition: true when the text is truthy and nothing
// went wrong.
func (d *Dictionary) EvaluateBool(template string) (bool, error) {
	text, _, err := d.Evaluate(template)
	return err == nil && truthy(text), err
}

// Lookup evaluates the value of a name.
func (d *Dictionary) Lookup(name string) (Value, bool, error) {
	v, ok := d.Get(name)
	if !ok {
		return Value{}, false, nil
	}
	text, sensitive, err := d.Evaluate(v.Text)
	return Value{text, sensitive || v.Sensitive}, true, err
}

// Export evaluates every value, as scripts and files get them. A value that cannot
// be evaluated stays as it was written. Sensitivity follows the data.
func (d *Dictionary) Export() map[string]Value {
	out := make(map[string]Value, len(d.values))
	for _, e := range d.values {
		text, sensitive, err := d.Evaluate(e.Text)
		if err != nil && text == "" {
			text = e.Text
		}
		out[e.name] = Value{text, sensitive || e.Sensitive}
	}
	return out
}

// truthy is Octostache's: not empty, not "0", not no or false in any case.
func truthy(text string) bool {
	if text == "" || text == "0" {
		return false
	}
	t := strings.ToLower(strings.TrimSpace(text))
	return t != "no" && t != "false"
}

// under lists the keys that begin with a prefix, sorted.
func (d *Dictionary) under(prefix string) []string {
	if d.keys == nil {
		d.keys = make([]string, 0, len(d.values))
		for k := range d.values {
			d.keys = append(d.keys, k)
		}
		slices.Sort(d.keys)
	}
	i, _ := slices.BinarySearch(d.keys, prefix)
	j := i
	for j < len(d.keys) && strings.HasPrefix(d.keys[j], prefix) {
		j++
	}
	return d.keys[i:j]
}

// children lists the indexes that stand behind a name, as Name[k], in the order of
// numbers and then of texts.
func (d *Dictionary) children(name string) []string {
	prefix := strings.ToLower(name) + "["
	var out []string
	seen := map[string]bool{}
	for _, k := range d.under(prefix) {
		rest := d.values[k].name[len(prefix):]
		end := closing(rest)
		if end < 0 {
			continue
		}
		index := rest[:end]
		if lower := strings.ToLower(index); !seen[lower] {
			seen[lower] = true
			out = append(out, index)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if errX == nil && errY == nil {
			return x - y
		}
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	})
	return out
}

// closing finds the ] that closes an index whose [ is already read.
func closing(s string) int {
	depth := 1
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// asJSON decodes text that is a JSON object or array.
func asJSON(text string) (any, bool) {
	t := strings.TrimSpace(text)
	if len(t) < 2 || t[0] != '{' && t[0] != '[' {
		return nil, false
	}
	dec := json.NewDecoder(strings.NewReader(t))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return nil, false
	}
	return v, true
}

// renderJSON is a JSON value as text: scalars plain, null empty, the rest compact.
func renderJSON(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}
