package variables

import (
	"fmt"
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Dimension is a way in which a value can be limited. The names are those of
// Octopus's API.
type Dimension string

// The dimensions of a scope.
const (
	Environment  Dimension = "Environment"
	Machine      Dimension = "Machine"
	Role         Dimension = "Role" // target tag
	Action       Dimension = "Action"
	Channel      Dimension = "Channel"
	TenantTag    Dimension = "TenantTag"
	ProcessOwner Dimension = "ProcessOwner"
)

// Dimensions lists all of them.
func Dimensions() []Dimension {
	return []Dimension{Environment, Machine, Role, Action, Channel, TenantTag, ProcessOwner}
}

// Scope limits a value: within a dimension any of the ids, and all dimensions that
// are named. Ids are API ids; roles and tenant tags are their texts.
type Scope map[Dimension][]string

// Prompt asks for a value when a deployment is created.
type Prompt struct {
	Label           string            `json:"Label"`
	Description     string            `json:"Description"`
	Required        bool              `json:"Required"`
	DisplaySettings map[string]string `json:"DisplaySettings,omitempty"`
}

// Variable is one value under a name. A sensitive one has no Value in a stored
// document but the number of its sealed secret.
type Variable struct {
	ID          string  `json:"Id"`
	Name        string  `json:"Name"`
	Value       *string `json:"Value"`
	Secret      int64   `json:"Secret,omitempty"`
	Description string  `json:"Description"`
	Type        string  `json:"Type"` // "String" or "Sensitive"
	IsSensitive bool    `json:"IsSensitive"`
	IsEditable  bool    `json:"IsEditable"`
	Scope       Scope   `json:"Scope"`
	Prompt      *Prompt `json:"Prompt,omitempty"`
	Origin      string  `json:"Origin,omitempty"`      // label of the set or peer it came from
	Overridable bool    `json:"Overridable,omitempty"` // a local value of a remote project may outrank it
}

// Set is a document of variables.
type Set struct {
	Variables []Variable `json:"Variables"`
}

// Normalize fills in what clients leave out: ids, types, empty scopes. Doing it
// twice changes nothing more.
func (s *Set) Normalize(newID func() string) {
	if s.Variables == nil {
		s.Variables = []Variable{}
	}
	for i := range s.Variables {
		v := &s.Variables[i]
		v.Name = strings.TrimSpace(v.Name)
		if v.ID == "" {
			v.ID = newID()
		}
		if strings.EqualFold(v.Type, "Sensitive") {
			v.IsSensitive = true
		}
		if v.Type == "" || v.IsSensitive {
			v.Type = "String"
			if v.IsSensitive {
				v.Type = "Sensitive"
			}
		}
		v.IsEditable = true
		if v.Scope == nil {
			v.Scope = Scope{}
		}
		for d, ids := range v.Scope {
			if len(ids) == 0 {
				delete(v.Scope, d)
			}
		}
		if !v.IsSensitive && v.Value == nil {
			empty := ""
			v.Value = &empty
		}
	}
}

// MaxVariables is the most values that one document holds.
const MaxVariables = 20_000

// Validate returns an [errs.Invalid] with one complaint a broken rule; fields are
// named like Variables[0].Name.
func (s *Set) Validate() error {
	var c errs.Check
	c.Require(len(s.Variables) <= MaxVariables, "Variables", "A set holds at most %d values.", MaxVariables)
	ids := map[string]bool{}
	for i, v := range s.Variables {
		at := fmt.Sprintf("Variables[%d].", i)
		c.Require(v.Name != "", at+"Name", "A variable needs a name.")
		c.Require(!strings.ContainsAny(v.Name, "{}\n\r"), at+"Name", "The name '%s' holds a brace or a line break.", v.Name)
		c.Require(v.ID == "" || !ids[v.ID], at+"Id", "The id '%s' stands twice.", v.ID)
		ids[v.ID] = true
		c.Require(v.Type == "String" || v.Type == "Sensitive", at+"Type", "Variables of type '%s' are not supported here; use String or Sensitive.", v.Type)
		for d := range v.Scope {
			c.Require(slices.Contains(Dimensions(), d), at+"Scope", "'%s' is no dimension of a scope.", d)
		}
		if v.Value != nil && !v.IsSensitive {
			if _, err := parse(*v.Value); err != nil {
				c.Require(false, at+"Value", "The value of '%s' has a mistake: %v.", v.Name, err)
			}
		}
	}
	return c.Err()
}

// Duplicates lists the names of values that tie: same name and same scope, so that
// chance would decide between them. It is a warning, not an error.
func (s *Set) Duplicates() []string {
	seen := map[string]bool{}
	var out []string
	for _, v := range s.Variables {
		key := strings.ToLower(v.Name) + "\x00" + v.Scope.String()
		if seen[key] && !slices.Contains(out, v.Name) {
			out = append(out, v.Name)
		}
		seen[key] = true
	}
	return out
}

// String renders a scope in one fixed form.
func (s Scope) String() string {
	var b strings.Builder
	for _, d := range Dimensions() {
		if ids := s[d]; len(ids) > 0 {
			sorted := slices.Clone(ids)
			slices.Sort(sorted)
			fmt.Fprintf(&b, "%s=%s;", d, strings.Join(sorted, ","))
		}
	}
	return b.String()
}

// Ref is an id that a document mentions, and where.
type Ref struct {
	Path      string
	Dimension Dimension
	ID        string
}

// Refs lists what the scopes mention.
func (s *Set) Refs() []Ref {
	var out []Ref
	for i, v := range s.Variables {
		for _, d := range Dimensions() {
			for _, id := range v.Scope[d] {
				out = append(out, Ref{fmt.Sprintf("Variables[%d].Scope.%s", i, d), d, id})
			}
		}
	}
	return out
}

// Secrets lists the numbers of sealed values.
func (s *Set) Secrets() []int64 {
	var out []int64
	for _, v := range s.Variables {
		if v.Secret != 0 {
			out = append(out, v.Secret)
		}
	}
	return out
}

// CheckCycles looks for values that reach themselves through plain references; the
// error names the chain. All values of a name are followed, whatever their scope,
// so a cycle is found before it can happen somewhere.
func (s *Set) CheckCycles() error {
	refs := map[string][]string{}
	shown := map[string]string{}
	for _, v := range s.Variables {
		name := strings.ToLower(v.Name)
		shown[name] = v.Name
		if v.Value == nil {
			continue
		}
		nodes, err := parse(*v.Value)
		if err != nil {
			continue
		}
		refs[name] = append(refs[name], symbolsOf(nodes)...)
	}
	const onPath, done = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(name string) error
	visit = func(name string) error {
		switch {
		case state[name] == done:
			return nil
		case state[name] == onPath:
			i := slices.Index(path, name)
			chain := make([]string, 0, len(path))
			for _, n := range append(slices.Clone(path[i:]), name) {
				chain = append(chain, shown[n])
			}
			return errs.New(errs.Invalid, "The variables refer to each other in a circle: %s.", strings.Join(chain, " -> ")).WithHint("Break the circle.")
		case len(path) > maxDepth:
			return errs.New(errs.Invalid, "Variables refer to each other more than %d levels deep, from '%s'.", maxDepth, shown[path[0]])
		}
		state[name] = onPath
		path = append(path, name)
		for _, r := range refs[name] {
			if _, known := shown[r]; known {
				if err := visit(r); err != nil {
					return err
				}
			}
		}
		path = path[:len(path)-1]
		state[name] = done
		return nil
	}
	for _, v := range s.Variables {
		if err := visit(strings.ToLower(v.Name)); err != nil {
			return err
		}
	}
	return nil
}
