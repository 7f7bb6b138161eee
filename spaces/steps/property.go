package steps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// PropertyValue is the value of a property: plain text, or a sensitive value
// that is never told again.
//
// In JSON a plain value is a string and a sensitive one the object
// {"HasValue", "Hint", "NewValue"}. A stored sensitive value also carries
// "Secret", the number of the sealed value; [Process.Public] takes it off
// before a document leaves the server.
type PropertyValue struct {
	Value       string  // the text of a plain value
	IsSensitive bool    // decides which of the two forms this is
	HasValue    bool    // sensitive: a value is set
	Hint        *string // sensitive: kept for clients that send it
	NewValue    *string // sensitive, submitted only: the text to seal
	Secret      int64   // sensitive, stored only: number of the sealed value
}

// Text makes a plain value.
func Text(value string) PropertyValue { return PropertyValue{Value: value} }

// Sensitive makes a sensitive value to be sealed, as a person submits it. An
// empty text clears the value.
func Sensitive(text string) PropertyValue {
	if text == "" {
		return PropertyValue{IsSensitive: true}
	}
	return PropertyValue{IsSensitive: true, HasValue: true, NewValue: &text}
}

type sensitiveJSON struct {
	HasValue bool
	Hint     *string
	NewValue *string
	Secret   int64 `json:",omitempty"`
}

// MarshalJSON writes the form that Octopus's clients read.
func (v PropertyValue) MarshalJSON() ([]byte, error) {
	if v.IsSensitive {
		return json.Marshal(sensitiveJSON{v.HasValue, v.Hint, v.NewValue, v.Secret})
	}
	return json.Marshal(v.Value)
}

// UnmarshalJSON reads both forms. Numbers and booleans become text ("True" as
// .NET writes it): clients written in scripting languages send them.
func (v *PropertyValue) UnmarshalJSON(data []byte) error {
	*v = PropertyValue{}
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '{' {
		var s sensitiveJSON
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("sensitive value: %w", err)
		}
		*v = PropertyValue{IsSensitive: true, HasValue: s.HasValue, Hint: s.Hint, NewValue: s.NewValue, Secret: s.Secret}
		return nil
	}
	text, err := scalar(data)
	v.Value = text
	return err
}

// scalar reads a JSON string, number, boolean or null as text.
func scalar(data []byte) (string, error) {
	switch s := string(data); {
	case s == "null":
		return "", nil
	case s == "true":
		return "True", nil
	case s == "false":
		return "False", nil
	case s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9'):
		return s, nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return "", fmt.Errorf("a property is text or a sensitive value: %w", err)
	}
	return text, nil
}

// Properties are the named values of a step or an action.
type Properties map[string]PropertyValue

// UnmarshalJSON reads the object and leaves out what is null: Octopus's Go
// client would turn a null that it read into a sensitive value on its next save.
func (p *Properties) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*p = make(Properties, len(raw))
	for name, value := range raw {
		if string(value) == "null" {
			continue
		}
		var v PropertyValue
		if err := v.UnmarshalJSON(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		(*p)[name] = v
	}
	return nil
}

// Get returns the text of a plain property, "" if it is absent or sensitive.
func (p Properties) Get(name string) string { return p[name].Value }

// Bool reports whether a property says true, in any case.
func (p Properties) Bool(name string) bool {
	return strings.EqualFold(strings.TrimSpace(p[name].Value), "true")
}

// List splits a property at commas and line ends; blanks are left out.
func (p Properties) List(name string) []string { return splitList(p[name].Value, ",\n;") }

// Lines splits a property at line ends; blanks are left out.
func (p Properties) Lines(name string) []string { return splitList(p[name].Value, "\n") }

// Set puts a plain value, or takes the property away if it is empty.
func (p Properties) Set(name, value string) {
	if value == "" {
		delete(p, name)
		return
	}
	p[name] = Text(value)
}

func splitList(text, separators string) []string {
	var out []string
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// Texts are named plain texts, as the properties of a package reference.
type Texts map[string]string

// UnmarshalJSON reads the object; null is left out, numbers and booleans become text.
func (t *Texts) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*t = make(Texts, len(raw))
	for name, value := range raw {
		if string(value) == "null" {
			continue
		}
		text, err := scalar(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		(*t)[name] = text
	}
	return nil
}

// SplitTags splits a list of target tags as the property holds it.
func SplitTags(text string) []string { return splitList(text, ",\n;") }
