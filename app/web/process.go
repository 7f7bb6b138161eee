package web

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/ui"
)

func processRoutes() []route {
	const p = "/spaces/:space/projects/:project/process"
	return []route{
		get(p, inSpace, access.ProcessView, processPage),
		get(p+"/new", inSpace, access.ProcessEdit, newStep), post(p+"/new", inSpace, access.ProcessEdit, addStep),
		get(p+"/steps/:step", inSpace, access.ProcessView, stepPage), post(p+"/steps/:step", inSpace, access.ProcessEdit, saveStep),
		post(p+"/steps/:step/do", inSpace, access.ProcessEdit, moveStep),
	}
}

// stepRows are the steps as a list that reads as a story.
func stepRows(p *steps.Process) (out []projects.Step) {
	for i := range p.Steps {
		s := &p.Steps[i]
		x := projects.Step{ID: s.ID, Name: s.Name, Number: i + 1, Parallel: i > 0 && s.StartTrigger == steps.StartWithPrevious, Where: "on the server"}
		if tags := s.TargetTags(); len(tags) > 0 {
			x.Where = "on targets tagged " + strings.Join(tags, ", ")
		}
		x.When = map[steps.Condition]string{steps.Failure: "when something failed", steps.Always: "always", steps.Variable: "when a variable says so"}[s.Condition]
		if x.When == "" {
			x.When = "when all went well"
		}
		x.Disabled = len(s.Actions) > 0
		for _, a := range s.Actions {
			x.Disabled = x.Disabled && a.IsDisabled
			kind := a.ActionType
			if t, ok := steps.Lookup(kind); ok {
				kind = t.Name
			}
			if pkg, ok := a.Primary(); ok && pkg.PackageID != "" {
				kind += ": " + pkg.PackageID
			}
			if len(s.Actions) > 1 {
				x.Children = append(x.Children, a.Name+" ("+kind+")")
			}
			x.Kind = kind
		}
		out = append(out, x)
	}
	return out
}

// loaded is a project with its process.
type loaded struct {
	project spaces.Project
	process spaces.Process
}

func (r *request) process(tx *spaces.ReadTx) (loaded, error) {
	p, err := r.project(tx)
	if err != nil {
		return loaded{}, err
	}
	process, err := tx.Process(p.ID)
	return loaded{p, process}, err
}

func (r *request) mayEdit(l loaded) (bool, string) {
	if l.process.Remote {
		return false, "The process belongs to the space that owns this project."
	}
	return r.can(access.ProcessEdit, l.project.Scope())
}

func processPage(r *request) error { return r.processWith(nil, nil) }

func (r *request) processWith(cause error, e []ui.FieldError) error {
	l, err := spaces.View(r.ctx, r.space, r.actor, r.process)
	if err != nil {
		return err
	}
	m := projects.Process{Page: r.projectPage(l.project, "Process"), Header: r.header(l.project, "Process"), Version: l.process.Version, Steps: stepRows(&l.process.Process), By: l.process.UpdatedBy, At: l.process.UpdatedAt, Errors: e}
	m.CanEdit, m.Why = r.mayEdit(l)
	for _, t := range steps.Types() {
		m.Kinds = append(m.Kinds, projects.Kind{Type: t.ActionType, Name: t.Name, Description: t.Description})
	}
	status := fiber.StatusOK
	if cause != nil {
		status = statusOf(cause, true)
	}
	return r.render(status, projects.ShowProcess(m))
}

// stepForm draws the form of a step from its type.
func (r *request) stepForm(l loaded, s *steps.Step, t *steps.Type, action string, version int, e []ui.FieldError) projects.StepForm {
	a := &s.Actions[0]
	m := projects.StepForm{Page: r.projectPage(l.project, "Process"), Header: r.header(l.project, "Process"), Action: action, Version: version, Title: t.Name, Help: t.Description, Errors: e}
	m.CanEdit, m.Why = r.mayEdit(l)
	m.Fields = []ui.FieldProps{{Name: "name", Label: "Name of the step", Value: s.Name, Required: true, Error: ui.ErrorFor(e, "name")}}
	for _, in := range t.Inputs {
		if (in.Kind == steps.KindChoice && len(in.Choices) < 2) || in.Kind == steps.KindFeed {
			continue // nothing to choose
		}
		f := ui.FieldProps{Name: in.Name, Label: in.Label, Hint: in.Help, Value: t.Value(s, a, in), Required: in.Required && in.Feature == "", Error: ui.ErrorFor(e, in.Name)}
		switch in.Kind {
		case steps.KindLines:
			f.Type, f.Mono = "textarea", true
		case steps.KindCode:
			f.Type, f.Mono, f.Rows = "textarea", true, 12
		case steps.KindNumber:
			f.Type = "number"
		case steps.KindCheckbox, steps.KindFeature:
			f.Type, f.Checked, f.Value, f.Required = "checkbox", strings.EqualFold(f.Value, "true"), "True", false
		case steps.KindChoice:
			f.Type = "select"
			for _, c := range in.Choices {
				f.Options = append(f.Options, ui.Option{Value: c.Value, Label: c.Label})
			}
		}
		if in.Sensitive {
			f.Type, f.Autocomplete = "password", "new-password"
		}
		m.Fields = append(m.Fields, f)
	}
	var starts, conditions []ui.Option
	for _, c := range [][2]string{{string(steps.Success), "when all before went well"}, {string(steps.Failure), "when something failed"}, {string(steps.Always), "always"}, {string(steps.Variable), "when the expression below is true"}} {
		conditions = append(conditions, ui.Option{Value: c[0], Label: c[1]})
	}
	for _, c := range [][2]string{{string(steps.StartAfterPrevious), "after the step before"}, {string(steps.StartWithPrevious), "together with the step before"}} {
		starts = append(starts, ui.Option{Value: c[0], Label: c[1]})
	}
	m.Fields = append(m.Fields,
		ui.FieldProps{Name: "condition", Label: "Run", Type: "select", Options: conditions, Value: string(s.Condition)},
		ui.FieldProps{Name: "expression", Label: "Expression", Mono: true, Value: s.Properties.Get(steps.ConditionProperty), Hint: "For “when the expression is true”, as #{if Deploy}true#{/if}."},
		ui.FieldProps{Name: "start", Label: "Start", Type: "select", Options: starts, Value: string(s.StartTrigger)})
	return m
}

// applyStep puts the submitted form into a step.
func (r *request) applyStep(s *steps.Step, t *steps.Type) {
	s.Name = r.value("name")
	if len(s.Actions) == 1 {
		s.Actions[0].Name = s.Name
	}
	values := map[string]string{}
	for _, in := range t.Inputs {
		switch {
		case in.Kind == steps.KindCheckbox || in.Kind == steps.KindFeature:
			values[in.Name] = "False"
			if r.form.Get(in.Name) == "True" {
				values[in.Name] = "True"
			}
		case r.form.Has(in.Name):
			values[in.Name] = r.form.Get(in.Name)
		}
	}
	t.Apply(s, &s.Actions[0], values)
	s.Condition, s.StartTrigger = steps.Condition(r.value("condition")), steps.StartTrigger(r.value("start"))
	if s.Properties == nil {
		s.Properties = steps.Properties{}
	}
	s.Properties.Set(steps.ConditionProperty, r.value("expression"))
}

// stepComplaints maps the paths of a process to the fields of the form of one step.
func stepComplaints(err error, at int) []ui.FieldError {
	fields := errs.FieldsOf(err)
	if len(fields) == 0 {
		return complaints(err, nil)
	}
	var out []ui.FieldError
	prefix := "Steps[" + strconv.Itoa(at) + "]."
	for _, f := range fields {
		rest, mine := strings.CutPrefix(f.Name, prefix)
		name := ""
		if mine {
			rest = strings.TrimPrefix(rest, "Actions[0].")
			switch {
			case rest == "Name":
				name = "name"
			case strings.HasPrefix(rest, "Packages"):
				name = "Octopus.Action.Package.PackageId"
			case strings.HasPrefix(rest, "Properties"):
				name = strings.Trim(strings.TrimPrefix(strings.TrimPrefix(rest, "Properties"), "."), `["]`)
			}
		}
		e := ui.FieldError{Name: name, Message: f.Message}
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func (r *request) wantedType() (*steps.Type, error) {
	t, ok := steps.Lookup(r.Query("type"))
	if !ok {
		return nil, errs.Missing("step type", r.Query("type"))
	}
	return t, nil
}

func newStep(r *request) error {
	t, err := r.wantedType()
	if err != nil {
		return err
	}
	l, err := spaces.View(r.ctx, r.space, r.actor, r.process)
	if err != nil {
		return err
	}
	s := t.New("")
	return r.render(fiber.StatusOK, projects.ShowStep(r.stepForm(l, &s, t, r.OriginalURL(), l.process.Version, nil)))
}

func addStep(r *request) error {
	t, err := r.wantedType()
	if err != nil {
		return err
	}
	l, err := spaces.View(r.ctx, r.space, r.actor, r.process)
	if err != nil {
		return err
	}
	s := t.New("")
	r.applyStep(&s, t)
	doc := l.process.Process.Clone()
	doc.Steps = append(doc.Steps, s)
	return r.saveProcess(l, doc, &doc.Steps[len(doc.Steps)-1], t, len(doc.Steps)-1)
}

func find(doc *steps.Process, id string) int {
	return slices.IndexFunc(doc.Steps, func(s steps.Step) bool { return s.ID == id })
}

func (r *request) step() (loaded, *steps.Process, int, error) {
	l, err := spaces.View(r.ctx, r.space, r.actor, r.process)
	if err != nil {
		return l, nil, 0, err
	}
	doc := l.process.Process.Clone()
	i := find(doc, r.param("step"))
	if i < 0 || len(doc.Steps[i].Actions) == 0 {
		return l, nil, 0, errs.Missing("step", r.param("step"))
	}
	return l, doc, i, nil
}

func stepType(s *steps.Step) (*steps.Type, error) {
	t, ok := steps.Lookup(s.Actions[0].ActionType)
	if !ok {
		return nil, errs.New(errs.Blocked, "Steps of type '%s' cannot be edited here.", s.Actions[0].ActionType)
	}
	return t, nil
}

func stepPage(r *request) error {
	l, doc, i, err := r.step()
	if err != nil {
		return err
	}
	t, err := stepType(&doc.Steps[i])
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, projects.ShowStep(r.stepForm(l, &doc.Steps[i], t, r.OriginalURL(), l.process.Version, nil)))
}

func saveStep(r *request) error {
	l, doc, i, err := r.step()
	if err != nil {
		return err
	}
	t, err := stepType(&doc.Steps[i])
	if err != nil {
		return err
	}
	r.applyStep(&doc.Steps[i], t)
	return r.saveProcess(l, doc, &doc.Steps[i], t, i)
}

// saveProcess saves a process in which one step was edited. When somebody was faster,
// the form comes back with both, and with their version, so that saving again is meant.
func (r *request) saveProcess(l loaded, doc *steps.Process, s *steps.Step, t *steps.Type, at int) error {
	version, err := strconv.Atoi(r.value("version"))
	if err != nil {
		version = -1
	}
	_, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Process, error) {
		return tx.SaveProcess(l.project.ID, version, *doc)
	})
	if err == nil {
		return r.see(views.ProcessURL(r.about.Slug, l.project.Slug))
	}
	m := r.stepForm(l, s, t, r.OriginalURL(), version, stepComplaints(err, at))
	if errors.Is(err, errs.Stale) {
		m.Version = l.process.Version
		if i := find(&l.process.Process, s.ID); i >= 0 {
			old := &l.process.Steps[i]
			m.Theirs = []ui.Pair{{Key: "Name", Text: old.Name}}
			for _, in := range t.Inputs {
				if v := t.Value(old, &old.Actions[0], in); v != "" && v != t.Value(s, &s.Actions[0], in) {
					m.Theirs = append(m.Theirs, ui.Pair{Key: in.Label, Text: v})
				}
			}
		} else {
			m.Theirs = []ui.Pair{{Key: "Process", Text: "version " + strconv.Itoa(l.process.Version) + " by " + l.process.UpdatedBy}}
		}
	}
	return r.again(err, nil, func([]ui.FieldError) templ.Component { return projects.ShowStep(m) })
}

func moveStep(r *request) error {
	l, doc, i, err := r.step()
	if err != nil {
		return err
	}
	switch r.value("do") {
	case "up":
		if i > 0 {
			doc.Steps[i-1], doc.Steps[i] = doc.Steps[i], doc.Steps[i-1]
		}
	case "down":
		if i+1 < len(doc.Steps) {
			doc.Steps[i+1], doc.Steps[i] = doc.Steps[i], doc.Steps[i+1]
		}
	case "disable", "enable":
		for j := range doc.Steps[i].Actions {
			doc.Steps[i].Actions[j].IsDisabled = r.value("do") == "disable"
		}
	case "delete":
		doc.Steps = slices.Delete(doc.Steps, i, i+1)
	default:
		return errs.New(errs.Invalid, "'%s' is nothing that can be done with a step.", r.value("do"))
	}
	version, _ := strconv.Atoi(r.value("version"))
	_, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Process, error) {
		return tx.SaveProcess(l.project.ID, version, *doc)
	})
	switch {
	case err == nil:
		return r.see(views.ProcessURL(r.about.Slug, l.project.Slug))
	case errs.KindOf(err) == errs.Stale || errs.KindOf(err) == errs.Invalid:
		return r.processWith(err, complaints(err, nil))
	}
	return err
}
