package web

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	archives "octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/packages"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/ui"
	pages "octopuses.dev/octopuses/views/zones"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/bundle"
)

func (r *request) inboundID() (spaces.InboundID, error) {
	id, err := spaces.ParseInboundID(r.param("inbound"))
	if err != nil {
		return id, errs.Missing("inbound release", r.param("inbound"))
	}
	return id, nil
}

func review(r *request) error { return r.reviewWith(nil) }

// reviewWith draws the review, with what went wrong with a decision and what was typed.
func (r *request) reviewWith(cause error) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	v, err := r.s.Zones.Review(r.ctx, r.space, r.actor, id, r.Query("with"))
	if err != nil {
		return err
	}
	slug, in := r.about.Slug, v.Inbound
	m := pages.Review{Row: inboundRow(in), Words: v.Words, Link: views.LinkURL(slug, in.LinkID.String()), Core: in.CoreDigest, By: v.Promotion.Release.By, Notes: v.Promotion.Release.Notes, Reason: in.Reason,
		Warnings: v.Warnings, Requires: v.Promotion.Requires, Steps: stepChanges(v.Steps), Open: in.Whole() || in.State == spaces.InboundIncomplete, DecidedBy: in.DecidedBy, Decided: when(in.DecidedAt)}
	m.Made, _ = time.Parse(time.RFC3339, v.Promotion.Release.Created)
	if v.Previous != nil {
		m.Previous, m.Against = v.Previous.Version, v.Against.Version
		m.Bases = bases(views.InboundURL(slug, in.ID.String()), v)
	}
	for _, e := range v.Evidence {
		x := pages.Evidence{Space: e.SpaceName, Environment: e.Environment}
		x.Tone, x.Word = toneOf(spaces.TaskState(e.State), false, false)
		x.At, _ = time.Parse(time.RFC3339, e.Ended)
		m.Evidence = append(m.Evidence, x)
	}
	for _, k := range v.Packages {
		m.Changed = append(m.Changed, projects.Pair{Name: k.Package + " in " + k.Action, Old: k.Before, New: k.After})
	}
	m.Contents = r.changedFiles(v)
	for _, c := range v.Changes {
		m.Variables = append(m.Variables, variablePair(c))
	}
	if cause != nil {
		m.Errors = complaints(cause, nil)
	}
	m.CanGive, m.GiveWhy = r.can(access.BundleImport, access.Scope{})
	m.CanDecide, m.Why = r.can(access.BundleApprove, access.Scope{})
	m.Recall = recallHere(in)
	_, err = spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		missing, err := tx.MissingBlobs(in.ID)
		if err != nil {
			return struct{}{}, err
		}
		for _, k := range v.Promotion.Packages {
			here := !slices.Contains(missing, k.Digest) && r.space.Packages().Has(k.Digest)
			m.Packages = append(m.Packages, pages.Package{Action: k.Action, ID: k.ID, Version: k.Version, Digest: k.Digest, Size: k.Size, Here: here})
		}
		if len(missing) > 0 {
			m.AcceptWhy = m.Row.Asked
			feeds, err := tx.Feeds(spaces.All)
			if err != nil && errs.KindOf(err) != errs.Denied {
				return struct{}{}, err
			}
			for _, f := range feeds.Items {
				m.Feeds = append(m.Feeds, ui.Option{Value: f.ID.String(), Label: f.Name})
			}
		}
		if in.ReleaseID != 0 {
			if p, err := tx.Project(in.ProjectID); err == nil {
				if rel, err := tx.Release(in.ReleaseID); err == nil {
					m.Accepted = views.ReleaseURL(slug, p.Slug, rel.Version)
				}
			}
		}
		if err := r.approvals(tx, &m, in); err != nil || !m.Open || !m.CanDecide {
			return struct{}{}, err
		}
		return struct{}{}, r.asks(tx, &m, v)
	})
	if err != nil {
		return err
	}
	m.Page = r.pageFor(in.ProjectName+" "+in.Version, "Promotions", "inbox")
	m.Page.Crumbs = []ui.Crumb{{Label: "Inbox", Href: views.PromotionsURL(slug)}, {Label: in.ProjectName + " " + in.Version}}
	status := 200
	if cause != nil {
		status = statusOf(cause, true)
	}
	return r.render(status, pages.ShowReview(m))
}

// reviewTime is for reading packages for a review; what takes longer is not compared.
const reviewTime = 5 * time.Second

// changedFiles compares the files of packages that are another archive than before, as far as
// both are here.
func (r *request) changedFiles(v zones.Review) (out []packages.Compare) {
	ctx, cancel := context.WithTimeout(r.ctx, reviewTime)
	defer cancel()
	store := r.space.Packages()
	done := map[string]bool{}
	for _, k := range v.Packages {
		pair := k.BeforeDigest + k.AfterDigest
		if k.BeforeDigest == k.AfterDigest || k.BeforeDigest == "" || k.AfterDigest == "" || done[pair] || !store.Has(k.BeforeDigest) || !store.Has(k.AfterDigest) {
			continue
		}
		done[pair] = true
		c := packages.Compare{ID: k.Package, Version: k.After, With: k.Before, Size: k.AfterSize, WithSize: k.BeforeSize}
		if !strings.EqualFold(k.BeforeExtension, k.AfterExtension) {
			c.Unreadable = fmt.Sprintf("One is a %s and the other a %s; only archives of one kind are compared.", k.AfterExtension, k.BeforeExtension)
		} else {
			changes, err := archives.DiffContents(ctx, store.Path(k.BeforeDigest), store.Path(k.AfterDigest), k.AfterExtension, archives.Limits{})
			if err != nil {
				c.Unreadable = r.archiveText(err)
			}
			fileChanges(&c, changes)
		}
		out = append(out, c)
	}
	return out
}

// bases are the releases that this one can be compared with.
func bases(page string, v zones.Review) []ui.Tab {
	label := v.Previous.Version + ", accepted before"
	tabs := []ui.Tab{{Href: page, Current: v.Against.ID == v.Previous.ID}}
	known := tabs[0].Current
	for _, d := range v.Deployed {
		where := "in " + strings.Join(d.Environments, " and ")
		if len(d.Environments) > 2 {
			where = fmt.Sprintf("in %s and %d more", d.Environments[0], len(d.Environments)-1)
		}
		if d.Version == v.Previous.Version {
			label += " and " + where
			continue
		}
		current := d.Version == v.Against.Version
		known = known || current
		tabs = append(tabs, ui.Tab{Label: d.Version + ", " + where, Href: page + "?with=" + url.QueryEscape(d.Version), Current: current})
	}
	tabs[0].Label = label
	if !known {
		tabs = append(tabs, ui.Tab{Label: v.Against.Version, Href: page + "?with=" + url.QueryEscape(v.Against.Version), Current: true})
	}
	return tabs
}

func variablePair(c zones.VariableChange) projects.Pair {
	const sealed = "a sensitive value"
	p := projects.Pair{Name: c.Name, Old: c.Before, New: c.After}
	if c.Sensitive {
		p.Old, p.New = sealed, sealed
		if c.ValueChanged {
			p.New = "another " + sealed[len("a "):]
		}
	}
	switch c.Kind {
	case "added":
		p.Old, p.Where = "", names{}.chips(c.AfterScope)
	case "removed":
		p.New, p.Where = "", names{}.chips(c.BeforeScope)
		if p.Old == "" {
			p.Old = "a value"
		}
	case "scope changed":
		p.OldWhere, p.NewWhere = names{}.chips(c.BeforeScope), names{}.chips(c.AfterScope)
	default:
		p.Where = names{}.chips(c.AfterScope)
	}
	return p
}

// asks fills in what whoever accepts chooses: the lifecycle, and for each environment of
// it the values that the release asks for. What is set from an earlier release stays
// unless something is typed.
func (r *request) asks(tx *spaces.ReadTx, m *pages.Review, v zones.Review) error {
	all, err := tx.Lifecycles(spaces.All)
	if err != nil && errs.KindOf(err) != errs.Denied {
		return err
	}
	var project spaces.Project
	if v.Previous != nil {
		if project, err = tx.Project(v.Previous.ProjectID); err != nil {
			return err
		}
		m.Lifecycle = project.LifecycleID.String()
	}
	if want := r.Query("lifecycle"); want != "" {
		m.Lifecycle = want
	} else if want := r.value("lifecycle"); want != "" {
		m.Lifecycle = want
	}
	var chosen spaces.Lifecycle
	for _, l := range all.Items {
		m.Lifecycles = append(m.Lifecycles, ui.Option{Value: l.ID.String(), Label: l.Name})
		if l.ID.String() == m.Lifecycle || m.Lifecycle == "" && l.IsDefault {
			chosen = l
		}
	}
	if chosen.ID != 0 {
		m.Lifecycle = chosen.ID.String()
	}
	if len(v.Templates) == 0 {
		return nil
	}
	environments, err := tx.Environments(spaces.All)
	if err != nil {
		return err
	}
	within := map[string]bool{}
	for _, ph := range chosen.Lifecycle.Phases {
		for _, id := range append(append([]string{}, ph.AutomaticDeploymentTargets...), ph.OptionalDeploymentTargets...) {
			within[id] = true
		}
	}
	for _, e := range environments.Items {
		if len(within) > 0 && !within[e.ID.String()] {
			continue
		}
		have := map[string]bool{}
		if v.Previous != nil {
			set, err := tx.TemplateValues(project, *v.Previous, e.ID)
			if err != nil {
				return err
			}
			for _, x := range set {
				have[x.Template.Name] = x.Set
			}
		}
		a := pages.Ask{Environment: e.Name}
		for _, t := range v.Templates {
			a.Fields = append(a.Fields, r.ask(e, t, have[t.Name]))
		}
		m.Asks = append(m.Asks, a)
	}
	return nil
}

func valueField(e spaces.EnvironmentID, template string) string {
	return "value." + e.String() + "." + template
}

// ask is the field of one value. A sensitive one never goes back to a browser, not even
// the one that typed it.
func (r *request) ask(e spaces.Environment, t bundle.Template, set bool) ui.FieldProps {
	f := ui.FieldProps{Name: valueField(e.ID, t.Name), Label: t.Label, Hint: t.Help}
	if f.Label == "" {
		f.Label = t.Name
	}
	switch {
	case t.Sensitive:
		f.Type, f.Autocomplete = "password", "new-password"
	case t.Control == "MultiLineText":
		f.Type = "textarea"
	}
	if !t.Sensitive {
		f.Value = r.form.Get(f.Name)
	}
	switch {
	case set:
		f.Placeholder = "set; type to change it"
	case t.Default != "":
		f.Placeholder = t.Default
	}
	return f
}

func acceptInbound(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	in := zones.AcceptInput{Values: map[spaces.EnvironmentID]map[string]string{}}
	if text := r.value("lifecycle"); text != "" {
		if in.LifecycleID, err = spaces.ParseLifecycleID(text); err != nil {
			return r.reviewWith(errs.New(errs.Invalid, "There is no such lifecycle."))
		}
	}
	for name, given := range r.form {
		rest, ok := strings.CutPrefix(name, "value.")
		if !ok || len(given) == 0 || given[0] == "" {
			continue
		}
		text, template, _ := strings.Cut(rest, ".")
		e, err := spaces.ParseEnvironmentID(text)
		if err != nil {
			return r.reviewWith(errs.New(errs.Invalid, "There is no such environment."))
		}
		if in.Values[e] == nil {
			in.Values[e] = map[string]string{}
		}
		in.Values[e][template] = given[0]
	}
	rel, err := r.s.Zones.Accept(r.ctx, r.space, r.actor, id, in)
	if err != nil {
		return r.decisionFailed(err)
	}
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Project, error) { return tx.Project(rel.ProjectID) })
	if err != nil {
		return r.see(views.PromotionsURL(r.about.Slug)) // may accept, and not look at projects
	}
	return r.see(views.ReleaseURL(r.about.Slug, p.Slug, rel.Version))
}

func rejectInbound(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	_, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Inbound, error) {
		return tx.RejectInbound(id, r.value("reason"))
	})
	if err != nil {
		return r.decisionFailed(err)
	}
	return r.see(views.InboundURL(r.about.Slug, id.String()))
}

func (r *request) decisionFailed(err error) error {
	for _, kind := range []errs.Kind{errs.Invalid, errs.Blocked, errs.Stale, errs.Exists, errs.Unavailable} {
		if errors.Is(err, kind) {
			return r.reviewWith(err)
		}
	}
	return err
}

func stepChanges(all []steps.StepDiff) (out []projects.StepChange) {
	words := map[steps.Change]string{steps.Added: "added", steps.Removed: "removed", steps.Changed: "changed", steps.Moved: "moved"}
	tones := map[steps.Change]ui.Tone{steps.Added: ui.Good, steps.Removed: ui.Bad, steps.Changed: ui.Waiting, steps.Moved: ui.Idle}
	for _, d := range all {
		if d.Change == steps.Same {
			continue
		}
		c := projects.StepChange{Name: d.Name, Word: words[d.Change], Tone: tones[d.Change]}
		if d.Change == steps.Moved {
			c.Word = fmt.Sprintf("moved from %d to %d", d.From, d.To)
		}
		for _, f := range d.Fields {
			x := projects.FieldChange{Name: f.Name, Old: f.Old, New: f.New, Sensitive: f.Sensitive}
			for _, l := range f.Lines {
				x.Lines = append(x.Lines, ui.DiffLine{Op: l.Op, Text: l.Text})
			}
			c.Fields = append(c.Fields, x)
		}
		out = append(out, c)
	}
	return out
}
