package zones

import (
	"context"
	"encoding/json"
	"fmt"

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
	Steps     []steps.StepDiff
	Changes   []VariableChange
	Packages  []PackageChange
	Warnings  []string
}

// VariableChange is a variable that differs from the previous release.
type VariableChange struct {
	Name, Before, After string
	Kind                string // added, removed, changed
	Sensitive           bool
}

// PackageChange is a package reference that differs from the previous release.
type PackageChange struct {
	Action, Package, Before, After string
	BeforeDigest, AfterDigest      string

	BeforeExtension, AfterExtension string
	BeforeSize, AfterSize           int64 // bytes
}

// Review gathers what is known of an inbound release and how it differs from the one
// before. It needs ReleaseView.
func (z *Service) Review(ctx context.Context, s *spaces.Space, actor spaces.Actor, id spaces.InboundID) (Review, error) {
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
	r.Previous, err = spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (*spaces.Release, error) {
		prev, err := tx.PreviousAccepted(in)
		if err != nil || prev == nil {
			return nil, err
		}
		_, err = tx.Release(prev.ID) // the actor must be allowed to see what it is compared with
		return prev, err
	})
	if err != nil {
		return r, err
	}
	if r.Previous != nil {
		if err := r.compare(ctx, s, secrets); err != nil {
			return r, err
		}
	}
	return r, z.warn(ctx, s, actor, &r)
}

// compare says what differs from the previous release. Only the server may open what is
// sensitive; what leaves here is whether it is another value.
func (r *Review) compare(ctx context.Context, s *spaces.Space, secrets map[string]string) error {
	return spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error {
		same := sameSecrets{open: tx.OpenSecret, numbers: map[string]int64{}}
		old, err := tx.ReleaseProcess(*r.Previous)
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
		set, err := tx.ReleaseVariables(*r.Previous)
		if err != nil {
			return err
		}
		if r.Changes, err = variableChanges(set, r.Variables, same, secrets); err != nil {
			return err
		}
		r.Packages = packageChanges(r.Previous.Packages, r.Promotion.Packages)
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
	var out []VariableChange
	before := map[string]variables.Variable{}
	for _, v := range old.Variables {
		before[variableKey(v)] = v
	}
	for _, v := range now {
		key := variableKey(variables.Variable{Name: v.Name, Scope: scopeOf(v)})
		b, had := before[key]
		delete(before, key)
		switch {
		case !had:
			out = append(out, VariableChange{Name: v.Name, After: v.Value, Kind: "added", Sensitive: v.Sensitive})
		case v.Sensitive && b.IsSensitive:
			text, err := same.open(b.Secret)
			if err != nil {
				return nil, err
			}
			if text != secrets[key] {
				out = append(out, VariableChange{Name: v.Name, Kind: "changed", Sensitive: true})
			}
		case v.Sensitive != b.IsSensitive:
			out = append(out, VariableChange{Name: v.Name, Kind: "changed", Sensitive: true})
		case b.Value != nil && *b.Value != v.Value:
			out = append(out, VariableChange{Name: v.Name, Before: *b.Value, After: v.Value, Kind: "changed"})
		}
	}
	for _, v := range old.Variables {
		if _, gone := before[variableKey(v)]; gone {
			out = append(out, VariableChange{Name: v.Name, Kind: "removed", Sensitive: v.IsSensitive})
		}
	}
	return out, nil
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
