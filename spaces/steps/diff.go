package steps

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
)

// Change says what became of a step.
type Change string

// The changes of a step. A moved step may have changed fields too.
const (
	Same    Change = "same"
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
	Moved   Change = "moved"
)

// StepDiff is what became of one step. From and To count from 1; 0 means that
// the step is not there.
type StepDiff struct {
	Change   Change
	Name     string // the new name, or the old one of a removed step
	From, To int
	Fields   []FieldDiff
}

// FieldDiff is one value that differs. A sensitive one has no texts: it has
// changed, and that is all. Lines is set for values of several lines.
type FieldDiff struct {
	Name      string // as "Condition", or "Deploy web: Script" in a step of several actions
	Old, New  string
	Sensitive bool
	Lines     []LineDiff
}

// LineDiff is a line of a difference: Op is ' ', '-', '+' or '@' between places
// far apart.
type LineDiff struct {
	Op   byte
	Text string
}

// Diff compares two processes. Steps are the same step if they have the same
// id, else the same name. The result is in the order of b, removed steps where
// they were.
func Diff(a, b *Process) []StepDiff {
	partner := make([]int, len(b.Steps)) // index in a, or -1
	taken := make([]bool, len(a.Steps))
	match := func(same func(x, y *Step) bool) {
		for i := range b.Steps {
			for j := 0; j < len(a.Steps) && partner[i] < 0; j++ {
				if !taken[j] && same(&a.Steps[j], &b.Steps[i]) {
					partner[i], taken[j] = j, true
				}
			}
		}
	}
	for i := range partner {
		partner[i] = -1
	}
	match(func(x, y *Step) bool { return x.ID != "" && x.ID == y.ID })
	match(func(x, y *Step) bool { return strings.EqualFold(x.Name, y.Name) })

	still := increasing(partner)
	var out []StepDiff
	next := 0 // first step of a that is not told yet, for removed ones
	removed := func(until int) {
		for ; next < until; next++ {
			if !taken[next] {
				out = append(out, StepDiff{Change: Removed, Name: a.Steps[next].Name, From: next + 1, Fields: fields(&a.Steps[next], nil)})
			}
		}
	}
	for i := range b.Steps {
		j := partner[i]
		if j < 0 {
			out = append(out, StepDiff{Change: Added, Name: b.Steps[i].Name, To: i + 1, Fields: fields(nil, &b.Steps[i])})
			continue
		}
		d := StepDiff{Change: Same, Name: b.Steps[i].Name, From: j + 1, To: i + 1, Fields: fields(&a.Steps[j], &b.Steps[i])}
		if len(d.Fields) > 0 {
			d.Change = Changed
		}
		if !still[i] {
			d.Change = Moved
		} else {
			removed(j)
		}
		out = append(out, d)
	}
	removed(len(a.Steps))
	return out
}

// increasing marks the members of a longest increasing run of partners: the
// steps that need not have moved.
func increasing(partner []int) []bool {
	best, prev := make([]int, len(partner)), make([]int, len(partner))
	end := -1
	for i, p := range partner {
		prev[i] = -1
		if p < 0 {
			continue
		}
		best[i] = 1
		for k := range i {
			if partner[k] >= 0 && partner[k] < p && best[k]+1 > best[i] {
				best[i], prev[i] = best[k]+1, k
			}
		}
		if end < 0 || best[i] > best[end] {
			end = i
		}
	}
	still := make([]bool, len(partner))
	for ; end >= 0; end = prev[end] {
		still[end] = true
	}
	return still
}

// fields compares two steps; nil stands for one that is not there.
func fields(a, b *Step) []FieldDiff {
	was, now := flatten(a), flatten(b)
	// A step of one action shows its fields plainly, whatever the action is called.
	names := slices.Collect(maps.Keys(was))
	for name := range now {
		if _, ok := was[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []FieldDiff
	for _, name := range names {
		x, y := was[name], now[name]
		if x == y {
			continue
		}
		d := FieldDiff{Name: name}
		if x.secret != "" || y.secret != "" {
			d.Sensitive = true
		} else {
			d.Old, d.New = x.text, y.text
			if strings.Contains(x.text, "\n") || strings.Contains(y.text, "\n") {
				d.Lines = Lines(x.text, y.text)
			}
		}
		out = append(out, d)
	}
	return out
}

// flat is a value in comparable form; secret tells sensitive ones apart without
// their text.
type flat struct{ text, secret string }

func flatten(s *Step) map[string]flat {
	out := map[string]flat{}
	if s == nil {
		return out
	}
	put := func(name, text string) {
		if text != "" && text != "[]" && text != "null" {
			out[name] = flat{text: text}
		}
	}
	properties := func(prefix string, values Properties) {
		for name, v := range values {
			if v.IsSensitive {
				secret := "none"
				if v.HasValue {
					secret = "set " + strconv.FormatInt(v.Secret, 10)
				}
				if v.NewValue != nil {
					secret += " new"
				}
				out[prefix+label(s, name)] = flat{secret: secret}
				continue
			}
			put(prefix+label(s, name), v.Value)
		}
	}
	put("Name", s.Name)
	put("Run condition", string(s.Condition))
	put("Start", string(s.StartTrigger))
	properties("", s.Properties)
	for i := range s.Actions {
		a, prefix := &s.Actions[i], ""
		if len(s.Actions) > 1 {
			prefix = a.Name + ": "
			put(prefix+"Position", strconv.Itoa(i+1))
			put(prefix+"Run condition", a.Condition)
		}
		put(prefix+"Type", a.ActionType)
		put(prefix+"Notes", a.Notes)
		put(prefix+"Disabled", yes(a.IsDisabled))
		put(prefix+"Required", yes(a.IsRequired))
		put(prefix+"Environments", strings.Join(a.Environments, ", "))
		put(prefix+"Excluded environments", strings.Join(a.ExcludedEnvironments, ", "))
		put(prefix+"Channels", strings.Join(a.Channels, ", "))
		put(prefix+"Tenant tags", strings.Join(a.TenantTags, ", "))
		for _, p := range a.Packages {
			name := "Package"
			if p.Name != "" {
				name = fmt.Sprintf("Package '%s'", p.Name)
			}
			put(prefix+name, p.PackageID+" from "+p.FeedID)
		}
		if a.Container != nil {
			text, _ := json.Marshal(a.Container)
			put(prefix+"Container", string(text))
		}
		properties(prefix, a.Properties)
	}
	return out
}

// label is what the form calls a property, else its own name.
func label(s *Step, property string) string {
	switch property {
	case packageIDProperty, packageFeedProperty, featuresProperty:
		return property
	}
	for i := range s.Actions {
		if t, ok := Lookup(s.Actions[i].ActionType); ok {
			for _, in := range t.Inputs {
				if in.Name != property {
					continue
				}
				for _, f := range t.Inputs {
					if in.Feature != "" && f.Name == in.Feature {
						return f.Label + ": " + in.Label
					}
				}
				return in.Label
			}
		}
	}
	return property
}

func yes(b bool) string {
	if b {
		return "Yes"
	}
	return ""
}

// maxDiffWork bounds lines of a times lines of b: difflib is quadratic at worst,
// and the texts come from outside.
const maxDiffWork = 4_000_000

// Lines is the difference of two texts, line by line, with three lines around
// each change. Texts too large to compare are all removed and all added.
func Lines(a, b string) []LineDiff {
	x, y := lines(a), lines(b)
	var out []LineDiff
	add := func(op byte, texts []string) {
		for _, text := range texts {
			out = append(out, LineDiff{op, text})
		}
	}
	if len(x)*len(y) > maxDiffWork {
		add('-', x)
		add('+', y)
		return out
	}
	end := 0
	for _, group := range difflib.NewMatcherWithJunk(x, y, false, nil).GetGroupedOpCodes(3) {
		if len(group) == 0 {
			continue
		}
		if group[0].I1 > end || len(out) > 0 {
			add('@', []string{fmt.Sprintf("Line %d", group[0].J1+1)})
		}
		for _, op := range group {
			if op.Tag == 'e' {
				add(' ', x[op.I1:op.I2])
				continue
			}
			add('-', x[op.I1:op.I2])
			add('+', y[op.J1:op.J2])
		}
		end = group[len(group)-1].I2
	}
	return out
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
