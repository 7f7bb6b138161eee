package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
)

// Changes is what is other in a second bundle than in a first one. Values of sensitive
// variables are not known here: a changed commitment says that a value, its name or its
// scope changed, or only that it was committed to anew in another release.
type Changes struct {
	Release   []Change `json:"release"`
	Process   []Change `json:"process"`
	Variables []Change `json:"variables"`
	Templates []Change `json:"templates"`
	Packages  []Change `json:"packages"`
}

// Change is one difference.
type Change struct {
	Kind   string   `json:"kind"` // added, removed, changed, moved
	Name   string   `json:"name"`
	Before string   `json:"before,omitempty"`
	After  string   `json:"after,omitempty"`
	Lines  []string `json:"lines,omitempty"` // of a text of several lines, as diff -u has them
}

// Diff compares two bundles, whether or not anybody's signature on them was checked.
func Diff(a, b *Verified) (*Changes, error) {
	c := &Changes{}
	p, q := &a.Promotion, &b.Promotion
	c.Release = compare(
		pairs{{"project", p.Project.Name}, {"version", p.Release.Version}, {"notes", p.Release.Notes}, {"channel", p.Release.Channel}, {"core", p.Core}, {"logo", p.Project.logoDigest()}},
		pairs{{"project", q.Project.Name}, {"version", q.Release.Version}, {"notes", q.Release.Notes}, {"channel", q.Release.Channel}, {"core", q.Core}, {"logo", q.Project.logoDigest()}})
	c.Variables = compare(variablePairs(a.Variables), variablePairs(b.Variables))
	c.Templates = compare(templatePairs(a.Templates), templatePairs(b.Templates))
	c.Packages = compare(packagePairs(p.Packages), packagePairs(q.Packages))
	before, err := stepPairs(a.Process)
	if err != nil {
		return nil, err
	}
	after, err := stepPairs(b.Process)
	if err != nil {
		return nil, err
	}
	c.Process = compareSteps(before, after)
	return c, nil
}

// Empty reports whether nothing differs.
func (c *Changes) Empty() bool {
	return len(c.Release)+len(c.Process)+len(c.Variables)+len(c.Templates)+len(c.Packages) == 0
}

// Text writes the changes for people, one a line, with the lines of changed texts below.
func (c *Changes) Text(w io.Writer) error {
	var p printer
	for _, part := range []struct {
		name string
		all  []Change
	}{{"release", c.Release}, {"process", c.Process}, {"variable", c.Variables}, {"template", c.Templates}, {"package", c.Packages}} {
		for _, x := range part.all {
			switch {
			case x.Kind == "moved":
				p.line(part.name, "↕ %s", x.Name)
			case len(x.Lines) > 0:
				p.line(part.name, "~ %s", x.Name)
				for _, l := range x.Lines {
					p.line("", "%s", l)
				}
			case x.Kind == "added":
				p.line(part.name, "+ %s: %s", x.Name, x.After)
			case x.Kind == "removed":
				p.line(part.name, "- %s: %s", x.Name, x.Before)
			default:
				p.line(part.name, "~ %s: %s → %s", x.Name, x.Before, x.After)
			}
		}
	}
	if c.Empty() {
		p.line("verdict", "no difference")
	}
	_, err := p.WriteTo(w)
	return err
}

// pairs are names with texts, in the order in which they are shown. A name that is there
// twice gets a number.
type pairs []pair
type pair struct{ name, text string }

func (p pairs) numbered() pairs {
	seen := map[string]int{}
	out := slices.Clone(p)
	for i := range out {
		n := out[i].name
		if seen[n]++; seen[n] > 1 {
			out[i].name = fmt.Sprintf("%s (%d)", n, seen[n])
		}
	}
	return out
}

func (p pairs) texts() map[string]string {
	out := make(map[string]string, len(p))
	for _, x := range p {
		out[x.name] = x.text
	}
	return out
}

// compare lists what differs: what stands in after in its order, then what is gone.
func compare(before, after pairs) []Change {
	before, after = before.numbered(), after.numbered()
	old, now := before.texts(), after.texts()
	out := []Change{}
	for _, x := range after {
		was, had := old[x.name]
		switch {
		case !had:
			out = append(out, Change{Kind: "added", Name: x.name, After: x.text})
		case was != x.text:
			out = append(out, changed(x.name, was, x.text))
		}
	}
	for _, x := range before {
		if _, there := now[x.name]; !there {
			out = append(out, Change{Kind: "removed", Name: x.name, Before: x.text})
		}
	}
	return out
}

const maxDiffLines = 5_000 // beyond, two texts are shown as changed only

func changed(name, before, after string) Change {
	c := Change{Kind: "changed", Name: name, Before: before, After: after}
	a, b := lines(before), lines(after)
	if len(a)+len(b) <= 2 || len(a)+len(b) > maxDiffLines {
		return c
	}
	for _, group := range difflib.NewMatcher(a, b).GetGroupedOpCodes(2) {
		first, last := group[0], group[len(group)-1]
		c.Lines = append(c.Lines, fmt.Sprintf("@@ -%d,%d +%d,%d @@", first.I1+1, last.I2-first.I1, first.J1+1, last.J2-first.J1))
		for _, op := range group {
			if op.Tag == 'e' {
				c.Lines = append(c.Lines, prefixed(" ", a[op.I1:op.I2])...)
				continue
			}
			c.Lines = append(c.Lines, prefixed("-", a[op.I1:op.I2])...)
			c.Lines = append(c.Lines, prefixed("+", b[op.J1:op.J2])...)
		}
	}
	return c
}

func lines(s string) []string { return strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n") }

func prefixed(mark string, in []string) []string {
	out := make([]string, len(in))
	for i, l := range in {
		out[i] = mark + l
	}
	return out
}

func variablePairs(all []Variable) pairs {
	var out pairs
	for _, v := range all {
		name, text := v.Name, v.Value
		for _, d := range slices.Sorted(maps.Keys(v.Scope)) {
			name += fmt.Sprintf(" [%s: %s]", d, strings.Join(v.Scope[d], ", "))
		}
		if v.Sensitive {
			text = "sealed, commitment " + v.Commitment
		}
		if v.Overridable {
			text += " (may be overridden)"
		}
		out = append(out, pair{name, text})
	}
	return out
}

func templatePairs(all []Template) pairs {
	var out pairs
	for _, t := range all {
		b, _ := json.Marshal(t)
		out = append(out, pair{t.Name, string(b)})
	}
	return out
}

func packagePairs(all []Package) pairs {
	var out pairs
	for _, p := range all {
		out = append(out, pair{strings.Trim(p.Action+"/"+p.Reference, "/") + ": " + p.ID, fmt.Sprintf("%s%s, %d bytes, sha256 %s", p.Version, p.Extension, p.Size, p.Digest)})
	}
	return out
}

// stepPairs takes a process apart: for each step, by its name, its leaves by their path.
// Everything outside of the steps is under the name "". Identifiers are left out: people
// compare what is done.
func stepPairs(process json.RawMessage) ([]step, error) {
	dec := json.NewDecoder(bytes.NewReader(process))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, refuse("The process of the bundle is no object.")
	}
	all, _ := doc["Steps"].([]any)
	delete(doc, "Steps")
	out := []step{{name: "", leaves: flatten(nil, "", doc)}}
	names := pairs{}
	for i, s := range all {
		names = append(names, pair{name: cmp.Or(nameOf(s), fmt.Sprintf("step %d", i+1))})
	}
	for i, n := range names.numbered() {
		out = append(out, step{name: n.name, leaves: flatten(nil, "", all[i])})
	}
	return out, nil
}

type step struct {
	name   string
	leaves pairs
}

func nameOf(v any) string {
	o, _ := v.(map[string]any)
	name, _ := o["Name"].(string)
	return name
}

func flatten(out pairs, path string, v any) pairs {
	switch v := v.(type) {
	case map[string]any:
		for _, n := range slices.Sorted(maps.Keys(v)) {
			if n != "Id" {
				out = flatten(out, strings.TrimPrefix(path+"."+n, "."), v[n])
			}
		}
	case []any:
		for i, x := range v {
			out = flatten(out, fmt.Sprintf("%s[%s]", path, cmp.Or(nameOf(x), fmt.Sprint(i))), x)
		}
	case nil:
	default:
		out = append(out, pair{path, fmt.Sprint(v)})
	}
	return out
}

func compareSteps(before, after []step) []Change {
	out := []Change{}
	positions := func(in []step) map[string]int {
		at := make(map[string]int, len(in))
		for i, s := range in {
			at[s.name] = i
		}
		return at
	}
	old, now := positions(before), positions(after)
	var common []int // where the steps of after stood before
	for _, s := range after {
		i, had := old[s.name]
		if !had {
			out = append(out, Change{Kind: "added", Name: s.name, After: fmt.Sprintf("%d settings", len(s.leaves))})
			continue
		}
		for _, c := range compare(before[i].leaves, s.leaves) {
			c.Name = strings.TrimPrefix(s.name+": "+c.Name, ": ")
			out = append(out, c)
		}
		common = append(common, i)
	}
	for _, s := range before {
		if _, there := now[s.name]; !there {
			out = append(out, Change{Kind: "removed", Name: s.name, Before: fmt.Sprintf("%d settings", len(s.leaves))})
		}
	}
	if len(common) > maxMoved {
		return out
	}
	kept := rising(common)
	for _, i := range common {
		if !kept[i] {
			out = append(out, Change{Kind: "moved", Name: before[i].name})
		}
	}
	return out
}

const maxMoved = 2_000 // beyond so many steps their order is not compared

// rising is the members of a longest rising subsequence; the others have moved.
func rising(in []int) map[int]bool {
	length, prev := make([]int, len(in)), make([]int, len(in))
	best := -1
	for i := range in {
		length[i], prev[i] = 1, -1
		for j := range i {
			if in[j] < in[i] && length[j]+1 > length[i] {
				length[i], prev[i] = length[j]+1, j
			}
		}
		if best < 0 || length[i] > length[best] {
			best = i
		}
	}
	out := map[int]bool{}
	for ; best >= 0; best = prev[best] {
		out[in[best]] = true
	}
	return out
}
