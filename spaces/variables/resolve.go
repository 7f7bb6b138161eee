package variables

import (
	"fmt"
	"slices"
	"strings"
)

// Source is a document in a resolution. Of two equally specific values that of the
// higher rank wins.
type Source struct {
	Name string // for explanations, as "Project"
	Rank int
	Set  Set
}

// Context is what a value is wanted for. Empty fields match only values that do not
// name that dimension.
type Context struct {
	Environment, Machine, Action, Channel, ProcessOwner string
	Roles                                               []string // on the machine
	StepRoles                                           []string // targeted by the step
	TenantTags                                          []string
}

// Candidate is a value that stood for a name, and why it won or lost.
type Candidate struct {
	Variable
	Source string
	Why    string // a sentence
	rank   [11]int
	source int
}

// Resolution is the winner of one name and those it beat, best first. A name whose
// values all do not apply has no winner.
type Resolution struct {
	Name   string
	Winner *Candidate
	Losers []Candidate
	Tie    bool // another value was exactly as good: the first of the document won
}

// Resolved holds a resolution for each name, sorted by name.
type Resolved struct{ Names []Resolution }

// Resolve chooses a value for each name. The order of specificity is Octopus's (step,
// target, tag that is on the target and targeted by the step, tag on the target,
// tenant tag, environment, channel, process, unscoped), compared from the most
// specific rank down: a higher rank beats any combination of lower ones.
func Resolve(sources []Source, ctx Context) *Resolved {
	byName := map[string][]Candidate{}
	for _, s := range sources {
		for _, v := range s.Set.Variables {
			c := Candidate{Variable: v, Source: s.Name, source: s.Rank}
			key := strings.ToLower(v.Name)
			byName[key] = append(byName[key], c)
		}
	}
	out := &Resolved{Names: make([]Resolution, 0, len(byName))}
	for _, all := range byName {
		out.Names = append(out.Names, choose(all, ctx))
	}
	slices.SortFunc(out.Names, func(a, b Resolution) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return out
}

func choose(all []Candidate, ctx Context) Resolution {
	r := Resolution{Name: all[0].Name}
	var fit []Candidate
	for _, c := range all {
		rank, ok, why := match(c.Scope, ctx)
		c.rank = rank
		if ok {
			fit = append(fit, c)
		} else {
			c.Why = why
			r.Losers = append(r.Losers, c)
		}
	}
	slices.SortStableFunc(fit, func(a, b Candidate) int { return better(b, a) })
	if len(fit) == 0 {
		return r
	}
	w := fit[0]
	w.Why = "It is the only value that applies here."
	if len(fit) > 1 {
		w.Why = fmt.Sprintf("It is more specific: %s.", w.describe())
	}
	r.Name, r.Winner = w.Name, &w
	beaten := fit[1:]
	for i := range beaten {
		switch {
		case better(w, beaten[i]) == 0:
			r.Tie = true
			beaten[i].Why = "It is exactly as specific as the winner; the first in the document wins."
		case beaten[i].rank == w.rank:
			beaten[i].Why = fmt.Sprintf("It is as specific, but %s outranks %s.", w.Source, beaten[i].Source)
		default:
			beaten[i].Why = fmt.Sprintf("It is less specific: %s.", beaten[i].describe())
		}
	}
	if r.Tie && len(fit) > 1 {
		r.Winner.Why = "It is the first of equally specific values in the document."
	}
	r.Losers = append(beaten, r.Losers...)
	return r
}

func (c Candidate) describe() string {
	var parts []string
	for _, d := range Dimensions() {
		if ids := c.Scope[d]; len(ids) > 0 {
			parts = append(parts, strings.ToLower(string(d)))
		}
	}
	if len(parts) == 0 {
		return "it has no scope"
	}
	return "scoped to " + strings.Join(parts, " and ")
}

// better is positive when a beats b.
func better(a, b Candidate) int {
	for i := range a.rank {
		if a.rank[i] != b.rank[i] {
			return a.rank[i] - b.rank[i]
		}
	}
	return a.source - b.source
}

// match reports whether a scope applies, and how specific it is.
func match(s Scope, ctx Context) (rank [11]int, ok bool, why string) {
	any := func(have, want []string) bool {
		return slices.ContainsFunc(have, func(h string) bool {
			return slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(h, w) })
		})
	}
	single := func(id string) []string {
		if id == "" {
			return nil
		}
		return []string{id}
	}
	for _, c := range []struct {
		d    Dimension
		want []string
		at   int
		noun string
	}{
		{Action, single(ctx.Action), 0, "step"},
		{Machine, single(ctx.Machine), 1, "target"},
		{TenantTag, ctx.TenantTags, 5, "tenant tag"},
		{Environment, single(ctx.Environment), 6, "environment"},
		{Channel, single(ctx.Channel), 7, "channel"},
		{ProcessOwner, single(ctx.ProcessOwner), 8, "process"},
	} {
		if len(s[c.d]) == 0 {
			continue
		}
		if !any(s[c.d], c.want) {
			return rank, false, fmt.Sprintf("It is for another %s.", c.noun)
		}
		rank[c.at] = 1
	}
	if roles := s[Role]; len(roles) > 0 {
		switch {
		case any(intersect(roles, ctx.StepRoles), ctx.Roles):
			rank[2] = 1
		case any(roles, ctx.Roles):
			rank[3] = 1
		default:
			return rank, false, "It is for another target tag."
		}
	}
	return rank, true, ""
}

func intersect(a, b []string) []string {
	var out []string
	for _, x := range a {
		if slices.ContainsFunc(b, func(y string) bool { return strings.EqualFold(x, y) }) {
			out = append(out, x)
		}
	}
	return out
}

// Winner returns the winning value of a name, without case.
func (r *Resolved) Winner(name string) (Variable, bool) {
	for _, n := range r.Names {
		if strings.EqualFold(n.Name, name) && n.Winner != nil {
			return n.Winner.Variable, true
		}
	}
	return Variable{}, false
}

// Fill puts all winners into a dictionary. open gives the text of a sealed value.
func (r *Resolved) Fill(d *Dictionary, open func(secret int64) (string, error)) error {
	for _, n := range r.Names {
		w := n.Winner
		switch {
		case w == nil:
		case w.IsSensitive && w.Secret != 0:
			text, err := open(w.Secret)
			if err != nil {
				return fmt.Errorf("open variable %s: %w", n.Name, err)
			}
			d.Set(w.Name, text, true)
		case w.Value != nil:
			d.Set(w.Name, *w.Value, w.IsSensitive)
		}
	}
	return nil
}
