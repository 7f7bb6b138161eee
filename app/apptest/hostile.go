package apptest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// This file makes what no honest client sends: for tests that no body, form or query
// brings a server to answer 500.

// hostileTexts are values of forms and queries, and strings of JSON.
var hostileTexts = []string{
	"", " ", "\x00", "a\x00b", "\xff\xfe", "a\xc3", "\ufffd", "\u202eabc\u200b", "\U0001f4a5", "e\u0301", "İ", "ß", "\r\n\r\nX: y", "'", `";--`, "%", "_", "%00", "%s%d", "\\",
	"-1", "0", "-0", "1e99", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "1.5", "0x10", "NaN", "٣",
	"Projects-0", "Projects--1", "Projects-9223372036854775807", "Projects-99999999999999999999", "Environments-1", "Environments-1,Environments-1", "Users-1", "ServerTasks-1", "Lifecycles-1", "Links-1", "feeds-builtin", "all", "..", "../..", "/", ".", "C:\\x", "CON",
	"true", "TRUE", "yes", "null", "[]", "{}", "<b>", "#{", "#{a}", "#{if a}", "#{each x in y}", "${{", "[1.0,", "*", "1.0.0", "1.0.0-", "1.i", "1.2.3.4.5", "2026-13-45T25:61:61Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "24:00", "-00:00:01", "106751.00:00:00",
	"http://", "http://[::1", "https://x:99999/", "https://user:pw@x/", "javascript:alert(1)", "file:///etc/passwd", strings.Repeat("ab", 32), strings.Repeat("a", 201), strings.Repeat("é", 5000), strings.Repeat("#{", 20000), strings.Repeat("(", 20000), strings.Repeat("x\n", 30000),
}

// hostileJSON are values that stand where a document has something else.
var hostileJSON = []string{
	"null", "true", "false", "0", "-1", "1", "1.5", "-0.0", "1e99", "-1e99", "1e999999", "9223372036854775807", "9223372036854775808", "123456789012345678901234567890",
	"[]", "[null]", "[[]]", "[{}]", `[""]`, `["x","x"]`, `["Environments-1","Environments-1"]`, "[1]", "{}", `{"":null}`, `{"Id":"x"}`, `{"a":{"b":{}}}`, `{"Type":null}`, `{"HasValue":true,"NewValue":null}`, `{"HasValue":false,"NewValue":{}}`, `"\ud800"`, `"\u0000"`, `{"\u0000":"\u0000"}`,
	strings.Repeat("[", 9000) + strings.Repeat("]", 9000), strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000),
	"[" + strings.Repeat("1,", 5000) + "1]", "[" + strings.Repeat(`"x",`, 5000) + `"x"]`, "[" + strings.Repeat("{},", 2000) + "{}]",
}

// HostileText is a value of a form or a query.
func HostileText(r *rand.Rand) string { return hostileTexts[r.IntN(len(hostileTexts))] }

func hostileValue(r *rand.Rand) json.RawMessage {
	if r.IntN(2) == 0 {
		return json.RawMessage(hostileJSON[r.IntN(len(hostileJSON))])
	}
	return quoted(HostileText(r))
}

// quoted is a string of JSON that keeps bytes which are no UTF-8; [json.Marshal] would
// replace them.
func quoted(s string) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20:
			b.WriteString(`\u00`)
			b.WriteString(strconv.FormatUint(uint64(c)|0x100, 16)[1:])
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.Bytes()
}

// farBodies are far from every document.
var farBodies = [][]byte{nil, []byte(" "), []byte("null"), []byte("[]"), []byte("0"), []byte(`""`), []byte("{}"), {0}, {0xff, 0xfe}, []byte("{} {}"), []byte(strings.Repeat("[", 200_000))}

// HostileBody is the i-th body near to doc: a document as [encoding/json] decodes it, or a
// file. It has something else at one or two of its fields, fields that are left out or
// said twice, or is broken; the first few are far from every document.
func HostileBody(r *rand.Rand, doc any, i int) []byte {
	if i < len(farBodies) {
		return farBodies[i]
	}
	if file, is := doc.([]byte); is {
		return brokenBytes(r, file)
	}
	places := placesIn(doc, nil)
	if len(places) > 0 && i%12 > 1 {
		// Each place comes by turns; sometimes a second one with it.
		changed := put(doc, places[i%len(places)], hostileChange(r))
		if r.IntN(3) == 0 {
			changed = put(changed, places[r.IntN(len(places))], hostileChange(r))
		}
		doc = changed
	}
	whole, err := json.Marshal(doc)
	if err != nil {
		panic(err) // all values are JSON
	}
	switch {
	case i%12 == 0 || len(places) == 0:
		return brokenBytes(r, whole)
	case i%12 == 1:
		return twice(whole, hostileValue(r), places[r.IntN(len(places))])
	}
	return whole
}

// gone stands for a value that is left out.
type gone struct{}

func hostileChange(r *rand.Rand) any {
	if r.IntN(10) == 0 {
		return gone{}
	}
	return hostileValue(r)
}

// placesIn are the paths to each value of a document; a list is entered at its first item.
func placesIn(doc any, at []string) [][]string {
	var out [][]string
	switch v := doc.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if name == "Links" {
				continue // which nobody reads
			}
			here := append(slices.Clone(at), name)
			out = append(out, here)
			out = append(out, placesIn(v[name], here)...)
		}
	case []any:
		if len(v) > 0 {
			here := append(slices.Clone(at), "0")
			out = append(out, here)
			out = append(out, placesIn(v[0], here)...)
		}
	}
	return out
}

// put is doc with something else at a place, if it still has that.
func put(doc any, place []string, to any) any {
	if len(place) == 0 {
		return to
	}
	switch v := doc.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, x := range v {
			out[name] = x
		}
		if next := put(v[place[0]], place[1:], to); next == any(gone{}) {
			delete(out, place[0])
		} else {
			out[place[0]] = next
		}
		return out
	case []any:
		out := slices.Clone(v)
		if len(out) == 0 {
			return out
		}
		if next := put(v[0], place[1:], to); next == any(gone{}) {
			return out[1:]
		} else {
			out[0] = next
		}
		return out
	}
	return doc
}

// twice says a field of the document a second time, with another value and in other case.
func twice(whole []byte, value json.RawMessage, place []string) []byte {
	if len(whole) < 2 || whole[0] != '{' {
		return whole
	}
	name := quoted(strings.ToUpper(place[0]))
	return slices.Concat([]byte("{"), name, []byte(":"), value, []byte(","), whole[1:])
}

// brokenBytes is data cut off, with a byte changed, or with bytes put in between.
func brokenBytes(r *rand.Rand, data []byte) []byte {
	out := slices.Clone(data)
	if len(out) == 0 {
		return []byte("{")
	}
	at := r.IntN(len(out))
	switch r.IntN(3) {
	case 0:
		return out[:at]
	case 1:
		out[at] = byte(r.IntN(256))
		return out
	}
	return slices.Insert(out, at, []byte(HostileText(r))...)
}

// HostileForms are n forms near to one with the given values: with fields left out, said
// again, or with another value.
func HostileForms(r *rand.Rand, form url.Values, n int) []url.Values {
	names := make([]string, 0, len(form))
	for name := range form {
		names = append(names, name)
	}
	slices.Sort(names)
	out := []url.Values{{}}
	for i := 0; len(out) < n; i++ {
		changed := url.Values{}
		for name, values := range form {
			changed[name] = slices.Clone(values)
		}
		for range 1 + r.IntN(2) {
			if len(names) == 0 {
				changed.Set(HostileText(r), HostileText(r))
				break
			}
			name := names[i%len(names)]
			switch r.IntN(8) {
			case 0:
				changed.Del(name)
			case 1:
				changed.Add(name, HostileText(r))
			case 2:
				for range 300 {
					changed.Add(name, HostileText(r))
				}
			default:
				changed.Set(name, HostileText(r))
			}
			i += r.IntN(len(names))
		}
		out = append(out, changed)
	}
	return out
}

// HostileQuery is the query of a request with some of the parameters that are known
// somewhere.
func HostileQuery(r *rand.Rand, known []string) string {
	var parts []string
	for range 1 + r.IntN(4) {
		value := HostileText(r)
		if len(value) > 300 { // an address has its own limit
			value = value[:300]
		}
		value = url.QueryEscape(value)
		if r.IntN(8) == 0 {
			value = "%zz%" // no escape
		}
		parts = append(parts, known[r.IntN(len(known))]+"="+value)
	}
	return strings.Join(parts, "&")
}
