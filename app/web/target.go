package web

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/infrastructure"
	"octopuses.dev/octopuses/views/ui"
)

func targetRoutes() []route {
	const one = "/spaces/:space/targets/:target"
	return []route{
		get("/spaces/:space/targets", inSpace, access.MachineView, targetList),
		post("/spaces/:space/targets/check", inSpace, access.TaskCreate, checkTargets),
		get("/spaces/:space/new-target", inSpace, access.MachineCreate, newTarget),
		post("/spaces/:space/new-target", inSpace, access.MachineCreate, createRegistration),
		get("/spaces/:space/registrations/:registration", inSpace, access.MachineCreate, registrationPage),
		get(one, inSpace, access.MachineView, targetPage),
		post(one+"/check", inSpace, access.TaskCreate, checkTarget),
		post(one+"/enabled", inSpace, access.MachineEdit, enableTarget),
		get(one+"/edit", inSpace, access.MachineView, editTarget),
		post(one+"/edit", inSpace, access.MachineEdit, saveTarget),
		post(one+"/delete", inSpace, access.MachineDelete, deleteTarget),
	}
}

func toneOfHealth(health string, disabled bool) (ui.Tone, string) {
	switch {
	case disabled:
		return ui.Idle, "Disabled"
	case health == spaces.Healthy:
		return ui.Good, "Healthy"
	case health == spaces.HasWarnings:
		return ui.Waiting, "With warnings"
	case health == spaces.Unhealthy:
		return ui.Bad, "Unhealthy"
	case health == spaces.Unavailable:
		return ui.Bad, "Unavailable"
	}
	return ui.Idle, "Not checked"
}

func modeOf(t spaces.Target) string {
	if t.Style == spaces.StylePolling {
		return "Polling"
	}
	return "Listening"
}

func targetRows(all []spaces.Target, names map[spaces.EnvironmentID]string) (out []infrastructure.TargetRow) {
	for _, t := range all {
		row := infrastructure.TargetRow{Slug: t.Slug, Name: t.Name, Mode: modeOf(t), Version: t.AgentVersion, Tags: t.Tags, Checked: when(t.HealthAt)}
		row.Tone, row.Word = toneOfHealth(t.Health, t.IsDisabled)
		if t.Health != spaces.Healthy {
			row.Summary = t.HealthSummary
		}
		for _, e := range t.Environments {
			if n := names[e]; n != "" {
				row.Environments = append(row.Environments, n)
			}
		}
		out = append(out, row)
	}
	return out
}

// environmentNames are those of the environments that the actor may see.
func environmentNames(tx *spaces.ReadTx) (all []spaces.Environment, names map[spaces.EnvironmentID]string, err error) {
	names = map[spaces.EnvironmentID]string{}
	p, err := tx.Environments(spaces.All)
	if errs.KindOf(err) == errs.Denied {
		return nil, names, nil
	}
	for _, e := range p.Items {
		names[e.ID] = e.Name
	}
	return p.Items, names, err
}

const targetPageRows = 100

// healthFilters are the choices beside those of the API.
var healthFilters = []ui.Option{{Value: "", Label: "Any"}, {Value: spaces.Unhealthy, Label: "Unhealthy"}, {Value: spaces.Unavailable, Label: "Unavailable"}, {Value: spaces.HasWarnings, Label: "With warnings"},
	{Value: spaces.Unknown, Label: "Not checked"}, {Value: spaces.Healthy, Label: "Healthy"}, {Value: "Disabled", Label: "Disabled"}}

func targetList(r *request) error {
	skip, _ := strconv.Atoi(r.Query("skip"))
	skip = max(skip, 0)
	f := spaces.TargetFilter{ListOptions: spaces.ListOptions{PartialName: strings.TrimSpace(r.Query("q")), Skip: skip, Take: targetPageRows}, Tag: r.Query("tag"), WorstFirst: true}
	if h := r.Query("health"); h == "Disabled" {
		f.Disabled = true
	} else if h != "" {
		f.Health, f.Enabled = h, true
	}
	m := infrastructure.Targets{Query: f.PartialName, Environments: []ui.Option{{Value: "", Label: "Any"}}, Tags: []ui.Option{{Value: "", Label: "Any"}}}
	slug := r.about.Slug
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (p spaces.Page[spaces.Target], err error) {
		all, names, err := environmentNames(tx)
		if err != nil {
			return p, err
		}
		want := r.Query("environment")
		for _, e := range all {
			chosen := want != "" && (want == e.Slug || want == e.ID.String())
			if chosen {
				f.Environment = e.ID
			}
			m.Environments = append(m.Environments, ui.Option{Value: e.Slug, Label: e.Name, Selected: chosen})
		}
		if want != "" && f.Environment == 0 {
			return p, errs.Missing("environment", want)
		}
		tags, err := tx.TargetTags()
		if err != nil {
			return p, err
		}
		for _, t := range tags {
			m.Tags = append(m.Tags, ui.Option{Value: t, Label: t, Selected: t == f.Tag})
		}
		p, err = tx.Targets(f)
		m.Rows = targetRows(p.Items, names)
		return p, err
	})
	if err != nil {
		return err
	}
	query := url.Values{}
	for _, name := range []string{"q", "environment", "tag", "health"} {
		if v := r.Query(name); v != "" {
			query.Set(name, v)
			m.Filtered = true
		}
	}
	for _, o := range healthFilters {
		o.Selected = o.Value == r.Query("health")
		m.Health = append(m.Health, o)
	}
	at := func(skip int) string {
		q := url.Values{}
		for n, v := range query {
			q[n] = v
		}
		if skip > 0 {
			q.Set("skip", strconv.Itoa(skip))
		}
		if len(q) == 0 {
			return views.TargetsURL(slug)
		}
		return views.TargetsURL(slug) + "?" + q.Encode()
	}
	m.Own = at(skip)
	if len(m.Rows) > 0 {
		m.Pager.Text = fmt.Sprintf("%d–%d of %s", skip+1, skip+len(m.Rows), plural(p.Total, "target"))
	}
	if skip > 0 {
		m.Pager.Prev = at(max(0, skip-targetPageRows))
	}
	if skip+len(m.Rows) < p.Total {
		m.Pager.Next = at(skip + targetPageRows)
	}
	m.CanAdd, m.WhyAdd = r.can(access.MachineCreate, access.Scope{})
	m.CanCheck, m.WhyCheck = r.can(access.TaskCreate, access.Scope{})
	m.Page = r.pageFor("Targets", "Infrastructure", "targets")
	return r.show(infrastructure.ShowTargets(m), map[string]templ.Component{"list": infrastructure.TargetsPart(m)})
}

func checkTargets(r *request) error {
	t, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Task, error) { return tx.QueueHealthCheck(0) })
	if err != nil {
		return err
	}
	return r.see(views.TaskURL(r.about.Slug, t.ID.String()))
}

func (r *request) target() (spaces.Target, error) {
	return spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Target, error) { return tx.TargetBy(r.param("target")) })
}

// canAll is can for each environment of a target.
func (r *request) canAll(p access.Permission, t spaces.Target) (bool, string) {
	for _, e := range t.Environments {
		if ok, why := r.can(p, access.Scope{Environment: e.String()}); !ok {
			return false, why
		}
	}
	return true, ""
}

const (
	targetVisits  = 20
	targetChecks  = 5
	targetHistory = 100 // events, of which those about health are shown
)

func targetPage(r *request) error {
	var m infrastructure.Target
	slug := r.about.Slug
	t, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Target, error) {
		t, err := tx.TargetBy(r.param("target"))
		if err != nil {
			return t, err
		}
		_, names, err := environmentNames(tx)
		if err != nil {
			return t, err
		}
		row := targetRows([]spaces.Target{t}, names)[0]
		m.Facts = targetFacts(t, row.Environments)
		went, err := tx.WentTo(t.ID, targetVisits)
		if err != nil {
			return t, err
		}
		m.Visits = visits(slug, went)
		checks, err := tx.Tasks(spaces.TaskFilter{Kind: spaces.TaskHealth, Target: t.ID, Take: targetChecks})
		if err != nil && errs.KindOf(err) != errs.Denied {
			return t, err
		}
		for _, k := range checks.Items {
			c := infrastructure.Check{ID: k.ID.String(), By: k.CreatedBy, At: k.CreatedAt}
			c.Tone, c.Word = toneOf(k.State, k.HasPendingInterruptions, k.HasWarningsOrErrors)
			m.Checks = append(m.Checks, c)
		}
		if !tx.Can(access.EventView, access.Scope{}) {
			m.WhyNoHistory = errs.TextOf(access.Missing(access.EventView))
			return t, nil
		}
		events, err := tx.Events(spaces.EventFilter{EntityID: t.ID.String(), Take: targetHistory})
		for _, e := range events {
			if health, ok := strings.CutPrefix(e.Category, "Machine"); ok {
				_, text, _ := strings.Cut(e.Message, ": ")
				h := infrastructure.HealthChange{At: e.At, Text: text}
				h.Tone, h.Word = toneOfHealth(health, false)
				m.History = append(m.History, h)
			}
		}
		return t, err
	})
	if err != nil {
		return err
	}
	m.Slug, m.Name, m.Disabled, m.Summary, m.Checked = t.Slug, t.Name, t.IsDisabled, t.HealthSummary, when(t.HealthAt)
	m.Tone, m.Word = toneOfHealth(t.Health, false)
	m.CanEdit, m.WhyEdit = r.canAll(access.MachineEdit, t)
	m.CanCheck, m.WhyCheck = r.can(access.TaskCreate, access.Scope{})
	m.Page = r.pageFor(t.Name, "Infrastructure", "targets", "tasks")
	m.Page.Crumbs = []ui.Crumb{{Label: "Targets", Href: views.TargetsURL(slug)}, {Label: t.Name}}
	return r.show(infrastructure.ShowTarget(m), map[string]templ.Component{"target": infrastructure.TargetPart(m)})
}

func targetFacts(t spaces.Target, environments []string) []ui.Pair {
	facts := []ui.Pair{{Key: "Environments", Body: ui.Chips(environments)}, {Key: "Tags", Body: ui.Chips(t.Tags)}}
	if t.Style == spaces.StylePolling {
		facts = append(facts, ui.Pair{Key: "Agent", Text: "Polling: it connects to this server"})
	} else {
		facts = append(facts, ui.Pair{Key: "Agent", Text: "Listening: this server connects to it"}, ui.Pair{Key: "Address", Body: ui.Version(t.URI)})
	}
	add := func(key, text string) {
		if text != "" {
			facts = append(facts, ui.Pair{Key: key, Text: text})
		}
	}
	add("Agent version", t.AgentVersion)
	add("System", t.OperatingSystem)
	return append(facts, ui.Pair{Key: "Thumbprint", Body: ui.Version(t.Thumbprint)}, ui.Pair{Key: "Changed", Body: ui.Time(t.UpdatedAt)}, ui.Pair{Key: "By", Text: t.UpdatedBy}, ui.Pair{Key: "Id", Text: t.ID.String()})
}

// checkTarget queues the question; the page of the target lists the task and shows what
// comes of it.
func checkTarget(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	if err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { _, err := tx.QueueHealthCheck(t.ID); return err }); err != nil {
		return err
	}
	return r.see(views.TargetURL(r.about.Slug, t.Slug))
}

func targetInput(t spaces.Target) spaces.TargetInput {
	return spaces.TargetInput{Name: t.Name, Style: t.Style, URI: t.URI, Thumbprint: t.Thumbprint, IsDisabled: t.IsDisabled, Endpoint: t.Endpoint, Environments: t.Environments, Tags: t.Tags}
}

func enableTarget(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	in := targetInput(t)
	in.IsDisabled = !r.checked("enabled")
	if _, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Target, error) { return tx.UpdateTarget(t.ID, in) }); err != nil {
		return err
	}
	return r.see(views.TargetURL(r.about.Slug, t.Slug))
}

// placement is what the forms of targets choose from: environments in which the actor
// has a permission, and the tags in use.
func placement(tx *spaces.ReadTx, p access.Permission, chosen func(spaces.Environment) bool) (where []infrastructure.Choice, tags []string, err error) {
	all, _, err := environmentNames(tx)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range all {
		if on := chosen(e); on || tx.Can(p, access.Scope{Environment: e.ID.String()}) {
			where = append(where, infrastructure.Choice{Value: e.ID.String(), Label: e.Name, Checked: on})
		}
	}
	tags, err = tx.TargetTags()
	return where, tags[:min(len(tags), 30)], err
}

// tags reads names with commas between them.
func tags(text string) (out []string) {
	for _, t := range strings.Split(text, ",") {
		if t = strings.TrimSpace(t); t != "" {
			out = append(out, t)
		}
	}
	return out
}

// chosenEnvironments reads the checkboxes; what is no id is left out, so that a form
// without any says that one is needed.
func (r *request) chosenEnvironments() (out []spaces.EnvironmentID) {
	for _, text := range r.form["environment"] {
		if id, err := spaces.ParseEnvironmentID(text); err == nil {
			out = append(out, id)
		}
	}
	return out
}
