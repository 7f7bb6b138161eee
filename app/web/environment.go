package web

import (
	"fmt"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/infrastructure"
	"octopuses.dev/octopuses/views/ui"
)

func environmentRoutes() []route {
	const one = "/spaces/:space/environments/:environment"
	return []route{
		get("/spaces/:space/environments", inSpace, access.EnvironmentView, environmentList),
		post("/spaces/:space/environments/order", inSpace, access.EnvironmentEdit, sortEnvironments),
		get("/spaces/:space/new-environment", inSpace, access.EnvironmentCreate, newEnvironment),
		post("/spaces/:space/new-environment", inSpace, access.EnvironmentCreate, createEnvironment),
		get(one, inSpace, access.EnvironmentView, environmentPage),
		post(one+"/move", inSpace, access.EnvironmentEdit, moveEnvironment),
		get(one+"/edit", inSpace, access.EnvironmentView, editEnvironment),
		post(one+"/edit", inSpace, access.EnvironmentEdit, saveEnvironment),
		post(one+"/delete", inSpace, access.EnvironmentDelete, deleteEnvironment),
	}
}

// counts are how targets are, what needs a person first.
func counts(h spaces.HealthCount) (out []infrastructure.Count) {
	for _, health := range []string{spaces.Unhealthy, spaces.Unavailable, spaces.HasWarnings, spaces.Unknown, spaces.Healthy} {
		if n := h.By[health]; n > 0 {
			tone, word := toneOfHealth(health, false)
			out = append(out, infrastructure.Count{N: n, Tone: tone, Word: lowerFirst(word)})
		}
	}
	if h.Disabled > 0 {
		out = append(out, infrastructure.Count{N: h.Disabled, Tone: ui.Idle, Word: "disabled"})
	}
	return out
}

func flagsOf(e spaces.Environment) (out []string) {
	if e.UseGuidedFailure {
		out = append(out, "Guided failure")
	}
	if e.AllowDynamicInfrastructure {
		out = append(out, "Dynamic targets")
	}
	return out
}

func environmentList(r *request) error { return r.environments(nil, fiber.StatusOK) }

func (r *request) environments(e []ui.FieldError, status int) error {
	m := infrastructure.Environments{Errors: e}
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		all, err := tx.Environments(spaces.All)
		if err != nil {
			return struct{}{}, err
		}
		health, err := tx.CountHealth()
		if err != nil && errs.KindOf(err) != errs.Denied {
			return struct{}{}, err
		}
		for _, e := range all.Items {
			m.Rows = append(m.Rows, infrastructure.EnvironmentRow{ID: e.ID.String(), Slug: e.Slug, Name: e.Name, Description: e.Description, Flags: flagsOf(e), Counts: counts(health[e.ID]), Targets: health[e.ID].Total})
		}
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	m.CanSort, _ = r.can(access.EnvironmentEdit, access.Scope{})
	m.CanCreate, m.WhyNot = r.can(access.EnvironmentCreate, access.Scope{})
	m.Page = r.pageFor("Environments", "Infrastructure", "environments", "targets")
	if status != fiber.StatusOK {
		return r.render(status, infrastructure.ShowEnvironments(m))
	}
	return r.show(infrastructure.ShowEnvironments(m), map[string]templ.Component{"list": infrastructure.EnvironmentsPart(m)})
}

// reorder saves the order that change makes of the present one.
func (r *request) reorder(change func(tx *spaces.ReadTx, ids []spaces.EnvironmentID) ([]spaces.EnvironmentID, error)) error {
	err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error {
		all, err := tx.Environments(spaces.All)
		if err != nil {
			return err
		}
		var ids []spaces.EnvironmentID
		for _, e := range all.Items {
			ids = append(ids, e.ID)
		}
		if ids, err = change(tx.ReadTx, ids); err != nil {
			return err
		}
		return tx.SortEnvironments(ids)
	})
	if err != nil {
		return err
	}
	return r.see(views.EnvironmentsURL(r.about.Slug))
}

func moveEnvironment(r *request) error {
	return r.reorder(func(tx *spaces.ReadTx, ids []spaces.EnvironmentID) ([]spaces.EnvironmentID, error) {
		e, err := tx.EnvironmentBy(r.param("environment"))
		if err != nil {
			return nil, err
		}
		i := slices.Index(ids, e.ID)
		to := i
		switch r.value("do") {
		case "up":
			to--
		case "down":
			to++
		default:
			return nil, errs.New(errs.Invalid, "'%s' is no direction.", r.value("do"))
		}
		if i >= 0 && to >= 0 && to < len(ids) {
			ids[i], ids[to] = ids[to], ids[i]
		}
		return ids, nil
	})
}

// sortEnvironments takes the order of a drag. What came since then keeps its place behind.
func sortEnvironments(r *request) error {
	return r.reorder(func(_ *spaces.ReadTx, present []spaces.EnvironmentID) (ids []spaces.EnvironmentID, err error) {
		for _, text := range strings.Split(r.value("order"), ",") {
			id, err := spaces.ParseEnvironmentID(text)
			if err != nil {
				return nil, err
			}
			if slices.Contains(present, id) && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		return ids, nil
	})
}

// environmentTargets is how many targets the page of an environment shows itself.
const environmentTargets = 50

const environmentRuns = 500

func environmentPage(r *request) error {
	var m infrastructure.Environment
	slug := r.about.Slug
	e, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Environment, error) {
		e, err := tx.EnvironmentBy(r.param("environment"))
		if err != nil {
			return e, err
		}
		m.Slug, m.Name, m.Description, m.Flags = e.Slug, e.Name, e.Description, flagsOf(e)
		runs, err := tx.RunsIn(e.ID, environmentRuns+1)
		if err != nil {
			return e, err
		}
		m.More = len(runs) > environmentRuns
		m.Runs = visits(slug, runs[:min(len(runs), environmentRuns)])
		targets, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.ListOptions{Take: environmentTargets}, Environment: e.ID, WorstFirst: true})
		if errs.KindOf(err) == errs.Denied {
			return e, nil
		}
		if err != nil {
			return e, err
		}
		health, err := tx.CountHealth()
		m.Targets, m.TargetTotal, m.Counts = targetRows(targets.Items, nil), targets.Total, counts(health[e.ID])
		return e, err
	})
	if err != nil {
		return err
	}
	scope := access.Scope{Environment: e.ID.String()}
	m.CanEdit, m.WhyEdit = r.can(access.EnvironmentEdit, scope)
	m.CanAdd, m.WhyAdd = r.can(access.MachineCreate, scope)
	m.Page = r.pageFor(e.Name, "Infrastructure", "dashboard", "targets")
	m.Page.Crumbs = []ui.Crumb{{Label: "Environments", Href: views.EnvironmentsURL(slug)}, {Label: e.Name}}
	return r.show(infrastructure.ShowEnvironment(m), map[string]templ.Component{"environment": infrastructure.EnvironmentPart(m)})
}

func visits(space string, all []spaces.Visit) (out []infrastructure.Visit) {
	for _, v := range all {
		x := infrastructure.Visit{Project: v.Project, Environment: v.Environment, Version: v.Version, Href: views.DeploymentURL(space, v.ProjectSlug, v.Version, v.DeploymentID.String()), At: v.CreatedAt}
		x.Tone, x.Word = toneOf(v.State, v.HasPending, v.HasWarnings)
		if v.CompletedAt != nil {
			x.At = *v.CompletedAt
		}
		out = append(out, x)
	}
	return out
}

func (r *request) environmentInput() spaces.EnvironmentInput {
	return spaces.EnvironmentInput{Name: r.value("name"), Description: r.value("description"), UseGuidedFailure: r.checked("guided"), AllowDynamicInfrastructure: r.checked("dynamic")}
}

// environmentForm is the form with what was typed; e is the stored one, without id for a
// new one.
func (r *request) environmentForm(e spaces.Environment, in spaces.EnvironmentInput) (m infrastructure.EnvironmentForm, err error) {
	m = infrastructure.EnvironmentForm{Name: in.Name, Description: in.Description, Guided: in.UseGuidedFailure, Dynamic: in.AllowDynamicInfrastructure}
	slug := r.about.Slug
	crumbs := []ui.Crumb{{Label: "Environments", Href: views.EnvironmentsURL(slug)}}
	if e.ID == 0 {
		m.Page = r.pageFor("Add an environment", "Infrastructure")
		m.Page.Crumbs = append(crumbs, ui.Crumb{Label: "New"})
		m.CanEdit, m.Why = r.can(access.EnvironmentCreate, access.Scope{})
		return m, nil
	}
	uses, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.EnvironmentUses, error) { return tx.UsesOfEnvironment(e.ID) })
	if err != nil {
		return m, err
	}
	m.Uses = usesText(uses.Documents)
	if uses.Targets > 0 {
		m.Uses = append(m.Uses, plural(uses.Targets, "deployment target"))
	}
	if uses.Deployments > 0 {
		m.Uses = append(m.Uses, plural(uses.Deployments, "deployment")+" in the history")
	}
	scope := access.Scope{Environment: e.ID.String()}
	m.Slug, m.Stored = e.Slug, e.Name
	m.CanEdit, m.Why = r.can(access.EnvironmentEdit, scope)
	m.CanDelete, m.WhyDelete = r.can(access.EnvironmentDelete, scope)
	m.Page = r.pageFor("Edit "+e.Name, "Infrastructure")
	m.Page.Crumbs = append(crumbs, ui.Crumb{Label: e.Name, Href: views.EnvironmentURL(slug, e.Slug)}, ui.Crumb{Label: "Edit"})
	return m, nil
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// usesText says where documents mention something, each document once.
func usesText(all []spaces.Use) (out []string) {
	for _, u := range all {
		if s := strings.ToUpper(u.Kind[:1]) + u.Kind[1:] + " of " + u.Owner; !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func newEnvironment(r *request) error {
	m, err := r.environmentForm(spaces.Environment{}, spaces.EnvironmentInput{})
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, infrastructure.ShowEnvironmentForm(m))
}

func createEnvironment(r *request) error {
	in := r.environmentInput()
	e, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Environment, error) { return tx.CreateEnvironment(in) })
	if err != nil {
		return r.environmentAgain(err, spaces.Environment{}, in)
	}
	return r.see(views.EnvironmentURL(r.about.Slug, e.Slug))
}

func (r *request) environmentAgain(err error, e spaces.Environment, in spaces.EnvironmentInput) error {
	m, ferr := r.environmentForm(e, in)
	if ferr != nil {
		return ferr
	}
	return r.again(err, nil, func(wrong []ui.FieldError) templ.Component {
		m.Errors = wrong
		return infrastructure.ShowEnvironmentForm(m)
	})
}

// environment finds the environment of the path, with its values as a form has them.
func (r *request) environment() (spaces.Environment, spaces.EnvironmentInput, error) {
	e, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Environment, error) {
		return tx.EnvironmentBy(r.param("environment"))
	})
	return e, spaces.EnvironmentInput{Name: e.Name, Description: e.Description, UseGuidedFailure: e.UseGuidedFailure, AllowDynamicInfrastructure: e.AllowDynamicInfrastructure}, err
}

func editEnvironment(r *request) error {
	e, in, err := r.environment()
	if err != nil {
		return err
	}
	m, err := r.environmentForm(e, in)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, infrastructure.ShowEnvironmentForm(m))
}

func saveEnvironment(r *request) error {
	e, _, err := r.environment()
	if err != nil {
		return err
	}
	in := r.environmentInput()
	saved, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Environment, error) { return tx.UpdateEnvironment(e.ID, in) })
	if err != nil {
		return r.environmentAgain(err, e, in)
	}
	return r.see(views.EnvironmentURL(r.about.Slug, saved.Slug))
}

// typedName refuses a deletion whose name was not typed.
func (r *request) typedName(name string) error {
	if r.form.Get("confirm") == name {
		return nil
	}
	var c errs.Check
	c.Require(false, "confirm", "Type '%s' as it stands there to delete it.", name)
	return c.Err()
}

func deleteEnvironment(r *request) error {
	e, in, err := r.environment()
	if err != nil {
		return err
	}
	if err = r.typedName(e.Name); err == nil {
		err = spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteEnvironment(e.ID) })
	}
	if err != nil {
		m, ferr := r.environmentForm(e, in)
		if ferr != nil {
			return ferr
		}
		return r.again(err, nil, func(wrong []ui.FieldError) templ.Component {
			m.Errors, m.DeleteErrors = wrong, wrong
			return infrastructure.ShowEnvironmentForm(m)
		})
	}
	return r.see(views.EnvironmentsURL(r.about.Slug))
}
