package zones

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones/bundle"
)

// Review is an inbound release with everything that a person looks at before deciding.
type Review struct {
	Inbound   spaces.Inbound
	Link      spaces.Link
	Words     []string
	Promotion bundle.Promotion
	Process   steps.Process
	Variables []bundle.Variable
	Templates []bundle.Template
	Evidence  []bundle.Evidence
	Previous  *spaces.Release // the release of this project that was accepted before, nil for the first
	Deployed  []Deployed      // releases of the project that environments here have now
	Against   *spaces.Release // the release that Steps, Changes and Packages compare with; nil: with none
	Steps     []steps.StepDiff
	Changes   []VariableChange
	Packages  []PackageChange
	Warnings  []string
}

// Deployed is a version that environments of the space have now, with their names.
type Deployed struct {
	Version      string
	Environments []string
}

// VariableChange is a variable that differs from the release compared with.
type VariableChange struct {
	Name, Before, After string
	BeforeScope         variables.Scope // differs from AfterScope when Kind is "scope changed"
	AfterScope          variables.Scope
	Kind                string // added, removed, changed, scope changed (perhaps its value too)
	Sensitive           bool
	ValueChanged        bool
}

// PackageChange is a package reference that differs from the release compared with.
type PackageChange struct {
	Action, Package, Before, After string
	BeforeDigest, AfterDigest      string

	BeforeExtension, AfterExtension string
	BeforeSize, AfterSize           int64 // bytes
}

// Review gathers what is known of an inbound release and how it differs from the one
// before, or from the release of the same project that with names by its version or
// identifier. It needs ReleaseView. Errors: [errs.NotFound] when there is no release with.
func (z *Service) Review(ctx context.Context, s *spaces.Space, actor spaces.Actor, id spaces.InboundID, with string) (Review, error) {
	in, link, v, err := z.verified(ctx, s, actor, id)
	if err != nil {
		return Review{}, err
	}
	r := Review{Inbound: in, Link: link, Words: Words(link), Promotion: v.Promotion, Variables: v.Variables, Templates: v.Templates, Evidence: v.Evidence}
	if err := json.Unmarshal(v.Process, &r.Process); err != nil {
		return r, fmt.Errorf("read process of bundle: %w", err)
	}
	keys, err := z.identity(ctx, s)
	if err != nil {
		return r, err
	}
	secrets, err := v.Open(keys)
	if err != nil {
		r.Warnings = append(r.Warnings, "Its sensitive values cannot be opened, and so it cannot be accepted. "+errs.TextOf(err))
	}
	_, err = spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (none struct{}, err error) {
		if r.Previous, err = tx.PreviousAccepted(in); err != nil {
			return none, err
		}
		if r.Previous == nil {
			if with != "" {
				err = errs.Missing("release", with)
			}
			return none, err
		}
		if r.Against = r.Previous; with != "" {
			other, err := tx.ReleaseBy(r.Previous.ProjectID, with)
			if err != nil {
				return none, err
			}
			r.Against = &other
		}
		if _, err = tx.Release(r.Previous.ID); err != nil { // the actor must be allowed to see what it is compared with
			return none, err
		}
		r.Deployed, err = deployed(tx, r.Previous.ProjectID)
		return none, err
	})
	if err != nil {
		return r, err
	}
	if r.Against != nil {
		if err := r.compare(ctx, s, secrets); err != nil {
			return r, err
		}
	}
	return r, z.warn(ctx, s, actor, &r)
}

// deployed lists what the environments here have of a project, the newest version first.
// Whoever may not see what is deployed is told of none.
func deployed(tx *spaces.ReadTx, project spaces.ProjectID) ([]Deployed, error) {
	dash, err := tx.Dashboard(spaces.DashboardFilter{Project: project, Take: 1})
	if err != nil {
		if errors.Is(err, errs.Denied) {
			err = nil
		}
		return nil, err
	}
	var out []Deployed
	for _, e := range dash.Environments {
		c := slices.IndexFunc(dash.Cells, func(c spaces.Cell) bool { return c.EnvironmentID == e.ID })
		if c < 0 || dash.Cells[c].SucceededVersion == "" {
			continue
		}
		version := dash.Cells[c].SucceededVersion
		if i := slices.IndexFunc(out, func(d Deployed) bool { return d.Version == version }); i >= 0 {
			out[i].Environments = append(out[i].Environments, e.Name)
		} else {
			out = append(out, Deployed{version, []string{e.Name}})
		}
	}
	slices.SortStableFunc(out, func(a, b Deployed) int {
		switch {
		case older(a.Version, b.Version):
			return 1
		case older(b.Version, a.Version):
			return -1
		}
		return 0
	})
	return out, nil
}

// compare says what differs from the release Against. Only the server may open what is
// sensitive; what leaves here is whether it is another value.
func (r *Review) compare(ctx context.Context, s *spaces.Space, secrets map[string]string) error {
	return spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error {
		same := sameSecrets{open: tx.OpenSecret, numbers: map[string]int64{}}
		old, err := tx.ReleaseProcess(*r.Against)
		if err != nil {
			return err
		}
		before, now := old.Clone(), r.Process.Clone()
		err = before.MapSecrets(func(_ string, v steps.PropertyValue) (steps.PropertyValue, error) {
			if !v.HasValue {
				return v, nil
			}
			text, err := same.open(v.Secret)
			v.Secret = same.number(text)
			return v, err
		})
		if err != nil {
			return err
		}
		err = now.MapSecrets(func(path string, v steps.PropertyValue) (steps.PropertyValue, error) {
			if v.HasValue {
				v.Secret = same.number(secrets[processKey(path)])
			}
			return v, nil
		})
		if err != nil {
			return err
		}
		r.Steps = steps.Diff(before, now)
		set, err := tx.ReleaseVariables(*r.Against)
		if err != nil {
			return err
		}
		if r.Changes, err = variableChanges(set, r.Variables, same, secrets); err != nil {
			return err
		}
		r.Packages = packageChanges(r.Against.Packages, r.Promotion.Packages)
		return nil
	})
}

// sameSecrets gives equal sensitive values equal numbers, so that what compares documents
// by the numbers of their secrets compares values.
type sameSecrets struct {
	open    func(id int64) (string, error)
	numbers map[string]int64
}

func (s sameSecrets) number(text string) int64 {
	if s.numbers[text] == 0 {
		s.numbers[text] = int64(len(s.numbers) + 1)
	}
	return s.numbers[text]
}

func variableChanges(old variables.Set, now []bundle.Variable, same sameSecrets, secrets map[string]string) ([]VariableChange, error) {
	before := map[string]variables.Variable{}
	for _, v := range old.Variables {
		before[variableKey(v)] = v
	}
	var rest []bundle.Variable // of another name or scope than any before
	kept := map[string]bool{}
	for _, v := range now {
		if key := bundleKey(v); before[key].Name != "" {
			kept[key] = true
		} else {
			rest = append(rest, v)
		}
	}
	// A value that was for one place and is for another is one change and not two, when
	// there is no doubt which became which.
	moved := map[string]variables.Variable{}
	for _, v := range rest {
		was := slices.DeleteFunc(slices.Clone(old.Variables), func(o variables.Variable) bool { return o.Name != v.Name || kept[variableKey(o)] })
		is := slices.DeleteFunc(slices.Clone(rest), func(o bundle.Variable) bool { return o.Name != v.Name })
		if len(was) == 1 && len(is) == 1 {
			moved[bundleKey(v)] = was[0]
			kept[variableKey(was[0])] = true
		}
	}
	var out []VariableChange
	for _, v := range now {
		key := bundleKey(v)
		c := VariableChange{Name: v.Name, Kind: "changed", AfterScope: scopeOf(v), Sensitive: v.Sensitive}
		b, had := before[key]
		if !had {
			if b, had = moved[key]; had {
				c.Kind = "scope changed"
			}
		}
		if !had {
			c.Kind, c.After = "added", v.Value
			out = append(out, c)
			continue
		}
		c.BeforeScope, c.Sensitive = b.Scope, v.Sensitive || b.IsSensitive
		switch {
		case v.Sensitive && b.IsSensitive:
			text, err := same.open(b.Secret)
			if err != nil {
				return nil, err
			}
			c.ValueChanged = text != secrets[key]
		case c.Sensitive:
			c.ValueChanged = true
		case b.Value != nil:
			c.Before, c.After, c.ValueChanged = *b.Value, v.Value, *b.Value != v.Value
		}
		if c.ValueChanged || c.Kind == "scope changed" {
			out = append(out, c)
		}
	}
	for _, v := range old.Variables {
		if !kept[variableKey(v)] {
			out = append(out, VariableChange{Name: v.Name, Kind: "removed", BeforeScope: v.Scope, Sensitive: v.IsSensitive})
		}
	}
	return out, nil
}

func bundleKey(v bundle.Variable) string {
	return variableKey(variables.Variable{Name: v.Name, Scope: scopeOf(v)})
}

func scopeOf(v bundle.Variable) variables.Scope {
	s := variables.Scope{}
	for d, ids := range v.Scope {
		s[variables.Dimension(d)] = ids
	}
	return s
}

func packageChanges(old []spaces.ReleasePackage, now []bundle.Package) []PackageChange {
	var out []PackageChange
	before := map[string]spaces.ReleasePackage{}
	for _, p := range old {
		before[p.ActionName+"\x00"+p.ReferenceName] = p
	}
	for _, p := range now {
		key := p.Action + "\x00" + p.Reference
		b := before[key]
		delete(before, key)
		if b.Digest != p.Digest || b.Version != p.Version {
			out = append(out, PackageChange{p.Action, p.ID, b.Version, p.Version, b.Digest, p.Digest, b.Extension, p.Extension, b.Size, p.Size})
		}
	}
	for _, p := range old {
		if _, gone := before[p.ActionName+"\x00"+p.ReferenceName]; gone {
			out = append(out, PackageChange{Action: p.ActionName, Package: p.PackageID, Before: p.Version, BeforeDigest: p.Digest})
		}
	}
	return out
}
