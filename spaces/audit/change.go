package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Change is a value before and after. Field is a path whose parts are parted by "/", as
// "Steps/Say/Condition". Before is empty for what was added, After for what was removed.
// Of a secret both are empty.
type Change struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Secret bool   `json:"secret,omitempty"`
}

// Pairs compares triples of (field, before, after) and keeps those that differ.
func Pairs(triples ...string) []Change {
	var out []Change
	for i := 0; i+2 < len(triples); i += 3 {
		if triples[i+1] != triples[i+2] {
			out = append(out, Change{Field: triples[i], Before: triples[i+1], After: triples[i+2]})
		}
	}
	return out
}

// Compare finds what differs between two values by their JSON, in the order of field
// names. Items of a list with an Id (or, where they have none, a Name) are compared with
// those of the same; other lists are compared as a whole. What is null, "" or empty counts
// as not there. Secrets must have been taken out of both.
func Compare(field string, before, after any) []Change {
	var out []Change
	compare(field, plain(before), plain(after), &out)
	return out
}

// plain is a value as [encoding/json] reads it back; nil for what has no JSON.
func plain(v any) any {
	raw, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return nil
		}
	}
	var out any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&out) != nil {
		return nil
	}
	return out
}

func compare(field string, before, after any, out *[]Change) {
	b, a := members(before, after), members(after, before)
	if b == nil && a == nil {
		if x, y := text(before), text(after); x != y {
			*out = append(*out, Change{Field: field, Before: x, After: y})
		}
		return
	}
	if b == nil && text(before) != "" || a == nil && text(after) != "" { // another shape
		*out = append(*out, Change{Field: field, Before: text(before), After: text(after)})
		return
	}
	keys := slices.Sorted(maps.Keys(b.values()))
	for key := range a.values() {
		if _, both := b.values()[key]; !both {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		label := key
		if a != nil && a.labels[key] != "" {
			label = a.labels[key]
		} else if b != nil && b.labels[key] != "" {
			label = b.labels[key]
		}
		compare(join(field, label), b.values()[key], a.values()[key], out)
	}
	if b != nil && a != nil && b.order != nil && a.order != nil {
		inB := slices.DeleteFunc(slices.Clone(b.order), func(k string) bool { return !slices.Contains(a.order, k) })
		inA := slices.DeleteFunc(slices.Clone(a.order), func(k string) bool { return !slices.Contains(b.order, k) })
		if !slices.Equal(inB, inA) {
			*out = append(*out, Change{Field: join(field, "order"), Before: b.names(inB), After: a.names(inA)})
		}
	}
}

func join(field, part string) string {
	if field == "" {
		return part
	}
	return field + "/" + part
}

// parts are the members of an object, or the items of a list by what tells them apart.
type parts struct {
	by     map[string]any
	labels map[string]string // how people call an item, if not by its key
	order  []string          // of a list
}

func (p *parts) values() map[string]any {
	if p == nil {
		return nil
	}
	return p.by
}

func (p *parts) names(keys []string) string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k
		if l := p.labels[k]; l != "" {
			out[i] = l
		}
	}
	return strings.Join(out, ", ")
}

// members takes a value apart, or returns nil for one that is compared as a whole. other is
// the value at the same place on the other side.
func members(v, other any) *parts {
	switch v := v.(type) {
	case map[string]any:
		return &parts{by: v}
	case []any:
		for _, key := range []string{"Id", "Name"} {
			p := keyed(v, key)
			if list, is := other.([]any); p != nil && (!is || len(list) == 0 || keyed(list, key) != nil) {
				return p
			}
		}
	}
	return nil
}

func keyed(list []any, key string) *parts {
	if len(list) == 0 {
		return nil
	}
	p := &parts{by: map[string]any{}, labels: map[string]string{}, order: []string{}}
	for _, item := range list {
		object, _ := item.(map[string]any)
		id, _ := object[key].(string)
		if _, twice := p.by[id]; id == "" || twice {
			return nil
		}
		p.by[id] = object
		p.order = append(p.order, id)
		if name, _ := object["Name"].(string); key != "Name" {
			p.labels[id] = name
		}
	}
	return p
}

// text is how a value stands in a change.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case []any:
		out := make([]string, len(v))
		for i, item := range v {
			s, is := item.(string)
			if !is {
				return whole(v)
			}
			out[i] = s
		}
		return strings.Join(out, ", ")
	case map[string]any:
		if len(v) == 0 {
			return ""
		}
	}
	return whole(v)
}

func whole(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}
