package steps

import (
	"fmt"
	"maps"
	"slices"
)

// Ref is something that a document mentions: where, and the id.
type Ref struct{ Path, ID string }

// PackageRef is a package that a process needs.
type PackageRef struct {
	Path                          string
	StepName, ActionName, Name    string // Name is "" for the primary package
	PackageID, FeedID             string
	CanBeUsedForProjectVersioning bool
}

// Refs are all things that a process mentions, in document order.
type Refs struct {
	Environments, Channels, Feeds, Tags []Ref
	Packages                            []PackageRef
}

// Refs lists what the process mentions.
func (p *Process) Refs() Refs {
	var r Refs
	for i := range p.Steps {
		s := &p.Steps[i]
		for _, tag := range s.TargetTags() {
			r.Tags = append(r.Tags, Ref{fmt.Sprintf("Steps[%d].Properties[%s]", i, TargetRolesProperty), tag})
		}
		for j := range s.Actions {
			a, at := &s.Actions[j], fmt.Sprintf("Steps[%d].Actions[%d].", i, j)
			add := func(to *[]Ref, name string, ids []string) {
				for k, id := range ids {
					*to = append(*to, Ref{fmt.Sprintf("%s%s[%d]", at, name, k), id})
				}
			}
			add(&r.Environments, "Environments", a.Environments)
			add(&r.Environments, "ExcludedEnvironments", a.ExcludedEnvironments)
			add(&r.Channels, "Channels", a.Channels)
			for k, pkg := range a.Packages {
				path := fmt.Sprintf("%sPackages[%d]", at, k)
				if pkg.FeedID != "" {
					r.Feeds = append(r.Feeds, Ref{path + ".FeedId", pkg.FeedID})
				}
				r.Packages = append(r.Packages, PackageRef{path, s.Name, a.Name, pkg.Name, pkg.PackageID, pkg.FeedID, a.CanBeUsedForProjectVersioning})
			}
		}
	}
	return r
}

// MapEnvironments replaces ids of environments, as when a process comes from
// another space. An id that to does not know stays.
func (p *Process) MapEnvironments(to map[string]string) {
	for i := range p.Steps {
		for j := range p.Steps[i].Actions {
			a := &p.Steps[i].Actions[j]
			for _, ids := range [][]string{a.Environments, a.ExcludedEnvironments} {
				for k, id := range ids {
					if other, ok := to[id]; ok {
						ids[k] = other
					}
				}
			}
		}
	}
}

// SecretRef is a sensitive value in a process.
type SecretRef struct {
	Path   string
	Secret int64 // number of the sealed value; 0 when none is set
}

// Secrets lists the sensitive values that are set, in document order of steps
// and actions.
func (p *Process) Secrets() []SecretRef {
	var out []SecretRef
	p.MapSecrets(func(path string, v PropertyValue) (PropertyValue, error) {
		if v.HasValue {
			out = append(out, SecretRef{path, v.Secret})
		}
		return v, nil
	})
	return out
}

// MapSecrets calls f for every sensitive value and puts back what it returns. It
// stops at the first error. Sealing a submitted document is: f seals NewValue,
// sets Secret and takes NewValue off.
func (p *Process) MapSecrets(f func(path string, v PropertyValue) (PropertyValue, error)) error {
	each := func(path string, properties Properties) error {
		for _, name := range sortedNames(properties) {
			if v := properties[name]; v.IsSensitive {
				v, err := f(path+".Properties["+name+"]", v)
				if err != nil {
					return err
				}
				properties[name] = v
			}
		}
		return nil
	}
	for i := range p.Steps {
		if err := each(fmt.Sprintf("Steps[%d]", i), p.Steps[i].Properties); err != nil {
			return err
		}
		for j := range p.Steps[i].Actions {
			if err := each(fmt.Sprintf("Steps[%d].Actions[%d]", i, j), p.Steps[i].Actions[j].Properties); err != nil {
				return err
			}
		}
	}
	return nil
}

// KeepSecrets prepares a submitted document: a sensitive value that says
// "keep" (HasValue without NewValue) takes over the sealed value of the same
// property of the same step or action in old, found by id. A number that the
// submitter wrote is thrown away: it could name the secret of somebody else.
func (p *Process) KeepSecrets(old *Process) {
	before := map[string]Properties{}
	if old != nil {
		for i := range old.Steps {
			before["s/"+old.Steps[i].ID] = old.Steps[i].Properties
			for j := range old.Steps[i].Actions {
				before["a/"+old.Steps[i].Actions[j].ID] = old.Steps[i].Actions[j].Properties
			}
		}
	}
	keep := func(key string, properties Properties) {
		for name, v := range properties {
			if !v.IsSensitive {
				continue
			}
			v.Secret = 0
			if !v.HasValue && v.NewValue == nil {
				properties[name] = PropertyValue{IsSensitive: true, Hint: v.Hint}
				continue
			}
			if v.NewValue == nil {
				was := before[key][name]
				v.Secret, v.HasValue = was.Secret, was.IsSensitive && was.HasValue
			}
			v.HasValue = v.HasValue || v.NewValue != nil
			properties[name] = v
		}
	}
	for i := range p.Steps {
		keep("s/"+p.Steps[i].ID, p.Steps[i].Properties)
		for j := range p.Steps[i].Actions {
			keep("a/"+p.Steps[i].Actions[j].ID, p.Steps[i].Actions[j].Properties)
		}
	}
}

// Public is a copy that may leave the server: sensitive values say only
// whether they are set.
func (p *Process) Public() *Process {
	q := p.Clone()
	q.MapSecrets(func(_ string, v PropertyValue) (PropertyValue, error) {
		v.Secret, v.NewValue = 0, nil
		return v, nil
	})
	return q
}

// Clone is a copy whose properties and lists can be changed freely.
func (p *Process) Clone() *Process {
	q := *p
	q.Steps = slices.Clone(p.Steps)
	for i := range q.Steps {
		s := &q.Steps[i]
		s.Properties = maps.Clone(s.Properties)
		s.Actions = slices.Clone(s.Actions)
		for j := range s.Actions {
			a := &s.Actions[j]
			a.Properties = maps.Clone(a.Properties)
			a.Environments, a.ExcludedEnvironments = slices.Clone(a.Environments), slices.Clone(a.ExcludedEnvironments)
			a.Channels, a.TenantTags = slices.Clone(a.Channels), slices.Clone(a.TenantTags)
			a.Packages, a.GitDependencies = slices.Clone(a.Packages), slices.Clone(a.GitDependencies)
			for k := range a.Packages {
				a.Packages[k].Properties = maps.Clone(a.Packages[k].Properties)
			}
		}
	}
	return &q
}

func sortedNames(p Properties) []string { return slices.Sorted(maps.Keys(p)) }
