package zones

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones/bundle"
)

// Promote sends a release to the space of a link: over the wire if the link has one, or
// as a file. It returns when the promotion is stored; preparing, signing and delivering
// go on by themselves.
func (z *Service) Promote(ctx context.Context, s *spaces.Space, actor spaces.Actor, release spaces.ReleaseID, link spaces.LinkID, byHand bool) (spaces.Promotion, error) {
	p, err := spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Promotion, error) { return tx.CreatePromotion(release, link, byHand) })
	if err != nil {
		return p, err
	}
	if err := z.prepare(ctx, s, p); err != nil {
		return p, err
	}
	return spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (spaces.Promotion, error) { return tx.Promotion(p.ID) })
}

// Resume goes on with promotions that a crash left in preparation.
func (z *Service) Resume(ctx context.Context, s *spaces.Space) error {
	open, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Promotion, error) {
		return tx.Promotions(spaces.PromotionFilter{State: spaces.PromotionPreparing})
	})
	if err != nil {
		return err
	}
	for _, p := range open {
		if err := z.prepare(ctx, s, p); err != nil && ctx.Err() == nil {
			z.log().Error("prepare promotion", "space", s.ID(), "promotion", p.ULID, "err", err)
		}
	}
	return nil
}

// prepare seals the release and takes its place in the sequence. Each of its two steps
// is stored; done again after a crash it goes on behind the last.
func (z *Service) prepare(ctx context.Context, s *spaces.Space, p spaces.Promotion) error {
	id, err := z.identity(ctx, s)
	if err != nil {
		return err
	}
	l, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(p.LinkID) })
	if err != nil {
		return err
	}
	card, err := bundle.ParseCard(l.Card)
	if err != nil {
		return err
	}
	stored, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]byte, error) { return tx.Prepared(p.ID) })
	if err != nil {
		return err
	}
	if stored == nil {
		if stored, err = z.seal(ctx, s, p, id, card); err != nil {
			ferr := spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error { return tx.PromotionFailed(p.ID, errs.TextOf(err)) })
			if ferr != nil {
				return ferr
			}
			return err
		}
	}
	var prepared bundle.Prepared
	if err := json.Unmarshal(stored, &prepared); err != nil {
		return fmt.Errorf("read prepared promotion: %w", err)
	}
	return spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error {
		if now, err := tx.Promotion(p.ID); err != nil || now.State != spaces.PromotionPreparing {
			return err
		}
		item, err := tx.Enqueue(p.LinkID, spaces.MessageBundle, p.ID, p.ReleaseULID, func(place spaces.Place) ([]byte, string, error) {
			m, err := id.Sign(&prepared, header(place, card.Space, tx.Now))
			if err != nil {
				return nil, "", err
			}
			b, err := m.Marshal()
			return b, m.Digest(), err
		})
		if err != nil {
			return err
		}
		return tx.PromotionQueued(p.ID, item.Digest, item.Seq)
	})
}

// seal makes and stores what the bundle consists of.
func (z *Service) seal(ctx context.Context, s *spaces.Space, p spaces.Promotion, id *bundle.Identity, card *bundle.Card) ([]byte, error) {
	type gathered struct {
		spaces.ReleaseContent
		salt func(key string) string
		name string
	}
	g, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (gathered, error) {
		c, err := tx.ReleaseContent(p.ReleaseID)
		salts := map[string]string{}
		keys := []string{}
		for _, v := range c.Variables {
			keys = append(keys, variableKey(v.Variable))
		}
		for path := range c.ProcessSecrets {
			keys = append(keys, processKey(path))
		}
		for _, k := range keys {
			salts[k] = base64.StdEncoding.EncodeToString(tx.Salt(p.ReleaseULID, k))
		}
		return gathered{c, func(key string) string { return salts[key] }, s.Name()}, err
	})
	if err != nil {
		return nil, err
	}
	for _, pkg := range g.Release.Packages {
		if err := s.Packages().Verify(ctx, pkg.Digest); err != nil {
			return nil, err
		}
	}
	c := bundle.Content{Promotion: p.ULID, Path: []string{s.ULID()},
		Release: bundle.Release{ID: g.Release.ULID, Version: g.Release.Version, Notes: g.Release.Notes, Created: g.Release.AssembledAt.UTC().Format(time.RFC3339), By: g.Release.AssembledBy, Channel: g.Channel.Name},
		Project: bundle.Project{ID: g.Project.ULID, Name: g.Project.Name, Description: g.Project.Description, Logo: g.Logo}}
	if c.Process, err = json.Marshal(g.Process); err != nil {
		return nil, err
	}
	for path, text := range g.ProcessSecrets {
		key := processKey(path)
		c.Secrets = append(c.Secrets, bundle.Secret{Key: key, Salt: g.salt(key), Value: text})
	}
	slices.SortFunc(c.Secrets, func(a, b bundle.Secret) int { return compare(a.Key, b.Key) })
	for _, v := range g.Variables {
		out := bundle.Variable{Name: v.Name, Description: v.Description, Sensitive: v.IsSensitive, Origin: v.Origin, Overridable: v.Overridable}
		for d, ids := range v.Scope {
			if out.Scope == nil {
				out.Scope = map[string][]string{}
			}
			out.Scope[string(d)] = ids
		}
		if v.IsSensitive {
			secret := bundle.Secret{Key: variableKey(v.Variable), Salt: g.salt(variableKey(v.Variable)), Value: v.Plain}
			if out.Commitment, err = bundle.Commitment(secret); err != nil {
				return nil, err
			}
			c.Secrets = append(c.Secrets, secret)
		} else if v.Value != nil {
			out.Value = *v.Value
		}
		c.Variables = append(c.Variables, out)
	}
	for _, t := range g.Release.Templates {
		c.Templates = append(c.Templates, bundle.Template{Name: t.Name, Label: t.Label, Help: t.HelpText, Default: t.DefaultValue, Sensitive: t.IsSensitive(), Control: t.DisplaySettings["Octopus.ControlType"]})
	}
	for _, e := range g.Evidence {
		ev := bundle.Evidence{Space: s.ULID(), SpaceName: g.name, Environment: e.Environment, State: string(e.State)}
		if e.Ended != nil {
			ev.Ended = e.Ended.UTC().Format(time.RFC3339)
		}
		c.Evidence = append(c.Evidence, ev)
	}
	for _, pkg := range g.Release.Packages {
		c.Packages = append(c.Packages, bundle.Package{Action: pkg.ActionName, Reference: pkg.ReferenceName, ID: pkg.PackageID, Version: pkg.Version, Extension: pkg.Extension, Digest: pkg.Digest, Size: pkg.Size})
	}
	c.Requires = requires(&g.Process)
	prepared, err := id.Prepare(c, card)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(prepared)
	if err != nil {
		return nil, err
	}
	return spaces.Update(ctx, s, spaces.Server(), func(tx *spaces.Tx) ([]byte, error) {
		if err := tx.PromotionPrepared(p.ID, b, prepared.Promotion.Core); err != nil {
			return nil, err
		}
		return tx.Prepared(p.ID)
	})
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func variableKey(v variables.Variable) string { return "variable/" + v.Name + "/" + v.Scope.String() }
func processKey(path string) string           { return "process/" + path }

// requires lists what a server must know to deploy a process.
func requires(p *steps.Process) []string {
	out := []string{}
	for _, s := range p.Steps {
		for _, a := range s.Actions {
			if !slices.Contains(out, a.ActionType) {
				out = append(out, a.ActionType)
			}
		}
	}
	slices.Sort(out)
	return out
}

// ExportBundle writes the file of a promotion: the very message that goes over the wire,
// with the package files unless they are left out. It needs BundleExport.
func (z *Service) ExportBundle(ctx context.Context, s *spaces.Space, actor spaces.Actor, promotion spaces.PromotionID, withPackages bool, w io.Writer) error {
	if requireAny(actor, access.BundleExport) == nil { // it may be in preparation still
		if err := z.Resume(ctx, s); err != nil {
			return err
		}
	}
	type export struct {
		item spaces.OutboxItem
		p    spaces.Promotion
	}
	e, err := spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (export, error) {
		if err := requireAny(actor, access.BundleExport); err != nil {
			return export{}, err
		}
		p, err := tx.Promotion(promotion)
		if err != nil {
			return export{}, err
		}
		items, err := tx.Outbox(p.LinkID, false, 10_000)
		if err != nil {
			return export{}, err
		}
		i := slices.IndexFunc(items, func(o spaces.OutboxItem) bool { return o.PromotionID == promotion })
		if i < 0 {
			return export{}, errs.New(errs.Blocked, "The promotion is %s; there is nothing to export yet.", p.State)
		}
		tx.Record(spaces.Event{Category: "BundleExported", Entity: "release", EntityID: p.ReleaseID.String(), ProjectID: p.ProjectID, Reference: p.ULID, Message: fmt.Sprintf("The bundle of release %s for %s was exported as a file (sha256 of its message %s)", p.Version, p.LinkName, items[i].Digest)})
		return export{items[i], p}, tx.HandedOver([]string{items[i].Digest})
	})
	if err != nil {
		return err
	}
	_, m, err := bundle.ParseMessage(e.item.Message, func(m *bundle.Message) (*bundle.Verified, error) { return m.Own() })
	if err != nil {
		return err
	}
	return bundle.Write(ctx, w, m, func(d string) bool { return withPackages && s.Packages().Has(d) }, func(d string) (io.ReadCloser, error) { return s.Packages().Open(d) })
}
