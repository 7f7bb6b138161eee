package web

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/ui"
)

func variableRoutes() []route {
	const p = "/spaces/:space/projects/:project"
	return []route{
		get(p+"/variables", inSpace, access.VariableView, variablesPage), post(p+"/variables", inSpace, access.VariableEdit, addVariable),
		get(p+"/variables/:variable", inSpace, access.VariableView, variablePage), post(p+"/variables/:variable", inSpace, access.VariableEdit, saveVariable),
		post(p+"/variables/:variable/delete", inSpace, access.VariableEdit, deleteVariable),
		get(p+"/preview", inSpace, access.VariableView, preview),
	}
}

// names are what can limit a value, with the names of people.
type names struct {
	label   map[string]string
	options map[variables.Dimension][]ui.Option
}

// dimensions are the selects of the form, in their order.
var dimensions = [...]struct {
	d           variables.Dimension
	field, word string
}{{variables.Environment, "scope-environment", "Environments"}, {variables.Role, "scope-tag", "Target tags"}, {variables.Machine, "scope-target", "Targets"}, {variables.Action, "scope-step", "Steps"}, {variables.Channel, "scope-channel", "Channels"}}

func (r *request) names(tx *spaces.ReadTx, p spaces.Project) names {
	n := names{map[string]string{}, map[variables.Dimension][]ui.Option{}}
	add := func(d variables.Dimension, id, label string) {
		n.label[id] = label
		n.options[d] = append(n.options[d], ui.Option{Value: id, Label: label})
	}
	// What the person may not see is not offered, and shows as its id.
	if all, err := tx.Environments(spaces.All); err == nil {
		for _, e := range all.Items {
			add(variables.Environment, e.ID.String(), e.Name)
		}
	}
	if all, err := tx.TargetTags(); err == nil {
		for _, t := range all {
			add(variables.Role, t, t)
		}
	}
	if all, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.ListOptions{Take: 500}}); err == nil {
		for _, t := range all.Items {
			add(variables.Machine, t.ID.String(), t.Name)
		}
	}
	if process, err := tx.Process(p.ID); err == nil {
		for _, s := range process.Steps {
			for _, a := range s.Actions {
				add(variables.Action, a.ID, a.Name)
			}
		}
	}
	if all, err := tx.Channels(p.ID, spaces.All); err == nil {
		for _, c := range all.Items {
			add(variables.Channel, c.ID.String(), c.Name)
		}
	}
	return n
}

func (n names) chips(s variables.Scope) (out []string) {
	for _, d := range variables.Dimensions() {
		for _, id := range s[d] {
			if l := n.label[id]; l != "" {
				id = l
			}
			out = append(out, id)
		}
	}
	return out
}

func (n names) fields(s variables.Scope) (out []ui.FieldProps) {
	for _, d := range dimensions {
		if len(n.options[d.d]) == 0 {
			continue
		}
		f := ui.FieldProps{Name: d.field, Label: d.word, Type: "select", Multiple: true}
		for _, o := range n.options[d.d] {
			o.Selected = slices.Contains(s[d.d], o.Value)
			f.Options = append(f.Options, o)
		}
		out = append(out, f)
	}
	return out
}

type variablesOf struct {
	project spaces.Project
	set     spaces.VariableSet
	names   names
}

func (r *request) variables(tx *spaces.ReadTx) (variablesOf, error) {
	p, err := r.project(tx)
	if err != nil {
		return variablesOf{}, err
	}
	set, err := tx.Variables(p.ID)
	return variablesOf{p, set, r.names(tx, p)}, err
}

func text(v variables.Variable) string {
	if v.Value == nil || v.IsSensitive {
		return ""
	}
	return *v.Value
}

func (r *request) variablesWith(l variablesOf, form projects.VariableForm) projects.Variables {
	m := projects.Variables{Page: r.projectPage(l.project, "Variables"), Header: r.header(l.project, "Variables"), Query: r.Query("q"), Version: l.set.Version}
	m.CanEdit, m.Why = r.can(access.VariableEdit, l.project.Scope())
	for _, v := range l.set.Variables {
		if matches(m.Query, v.Name, text(v)) {
			m.Rows = append(m.Rows, projects.Variable{ID: v.ID, Name: v.Name, Value: text(v), Note: v.Description, Sensitive: v.IsSensitive, Editable: true, Chips: l.names.chips(v.Scope)})
		}
	}
	sort.SliceStable(m.Rows, func(i, j int) bool { return strings.ToLower(m.Rows[i].Name) < strings.ToLower(m.Rows[j].Name) })
	form.Action, form.CSRF = views.VariablesURL(r.about.Slug, l.project.Slug), m.Page.CSRF
	m.Form = form
	return m
}

func variablesPage(r *request) error {
	l, err := spaces.View(r.ctx, r.space, r.actor, r.variables)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, projects.ShowVariables(r.variablesWith(l, projects.VariableForm{Version: l.set.Version, Scopes: l.names.fields(nil)})))
}

// typedVariable puts the form into a value. An empty text of a sensitive one keeps what is stored.
func (r *request) typedVariable(v *variables.Variable) {
	v.Name, v.Description = r.value("name"), r.value("note")
	sent := strings.ReplaceAll(r.form.Get("value"), "\r\n", "\n")
	stored := v.IsSensitive && v.ID != ""
	v.IsSensitive, v.Type = r.checked("sensitive"), "String"
	if v.IsSensitive {
		v.Type = "Sensitive"
	}
	if v.Value = &sent; stored && v.IsSensitive && sent == "" {
		v.Value = nil
	}
	scope := variables.Scope{}
	for d, ids := range v.Scope {
		scope[d] = ids // dimensions that the form does not show stay
	}
	for _, d := range dimensions {
		delete(scope, d.d)
		if ids := r.form[d.field]; len(ids) > 0 {
			scope[d.d] = ids
		}
	}
	v.Scope = scope
	v.IsEditable = true
}

// saveVariables saves the set in which the value at was edited.
func (r *request) saveVariables(l variablesOf, set variables.Set, at int, again func(projects.VariableForm) templ.Component) error {
	version, err := strconv.ParseInt(r.value("version"), 10, 64)
	if err != nil {
		version = -1
	}
	_, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(l.project.ID, version, set)
	})
	if err == nil {
		return r.see(views.VariablesURL(r.about.Slug, l.project.Slug))
	}
	v := set.Variables[at]
	prefix := fmt.Sprintf("Variables[%d].", at)
	form := projects.VariableForm{ID: v.ID, Name: v.Name, Note: v.Description, Value: text(v), Sensitive: v.IsSensitive && v.ID != "", Version: version, Scopes: l.names.fields(v.Scope)}
	for _, e := range complaints(err, nil) {
		if rest, ok := strings.CutPrefix(e.Name, "variables"+strings.TrimPrefix(prefix, "Variables")); ok {
			e.Name = lowerFirst(rest)
		} else {
			e.Name = ""
		}
		form.Errors = append(form.Errors, e)
	}
	if errors.Is(err, errs.Stale) {
		form.Version = l.set.Version
		form.Theirs = []ui.Pair{{Key: "Saved by", Text: l.set.UpdatedBy}}
		for _, o := range l.set.Variables {
			if o.ID == v.ID && v.ID != "" {
				form.Theirs = append(form.Theirs, ui.Pair{Key: o.Name, Text: text(o)})
			}
		}
	}
	return r.again(err, nil, func([]ui.FieldError) templ.Component { return again(form) })
}

func addVariable(r *request) error {
	l, err := spaces.View(r.ctx, r.space, r.actor, r.variables)
	if err != nil {
		return err
	}
	set := variables.Set{Variables: append(slices.Clone(l.set.Variables), variables.Variable{})}
	at := len(set.Variables) - 1
	r.typedVariable(&set.Variables[at])
	return r.saveVariables(l, set, at, func(f projects.VariableForm) templ.Component { return projects.ShowVariables(r.variablesWith(l, f)) })
}

func (r *request) variable() (variablesOf, int, error) {
	l, err := spaces.View(r.ctx, r.space, r.actor, r.variables)
	if err != nil {
		return l, 0, err
	}
	at := slices.IndexFunc(l.set.Variables, func(v variables.Variable) bool { return v.ID == r.param("variable") })
	if at < 0 {
		return l, 0, errs.Missing("variable", r.param("variable"))
	}
	return l, at, nil
}

func (r *request) variableWith(l variablesOf, f projects.VariableForm) templ.Component {
	m := projects.VariableEdit{Page: r.projectPage(l.project, "Variables"), Header: r.header(l.project, "Variables"), Form: f}
	m.Form.Action, m.Form.CSRF = views.VariableURL(r.about.Slug, l.project.Slug, r.param("variable")), m.Page.CSRF
	return projects.ShowVariable(m)
}

func variablePage(r *request) error {
	l, at, err := r.variable()
	if err != nil {
		return err
	}
	v := l.set.Variables[at]
	return r.render(fiber.StatusOK, r.variableWith(l, projects.VariableForm{ID: v.ID, Name: v.Name, Note: v.Description, Value: text(v), Sensitive: v.IsSensitive, Version: l.set.Version, Scopes: l.names.fields(v.Scope)}))
}

func saveVariable(r *request) error {
	l, at, err := r.variable()
	if err != nil {
		return err
	}
	set := variables.Set{Variables: slices.Clone(l.set.Variables)}
	r.typedVariable(&set.Variables[at])
	return r.saveVariables(l, set, at, func(f projects.VariableForm) templ.Component { return r.variableWith(l, f) })
}

func deleteVariable(r *request) error {
	l, at, err := r.variable()
	if err != nil {
		return err
	}
	version, _ := strconv.ParseInt(r.value("version"), 10, 64)
	set := variables.Set{Variables: slices.Delete(slices.Clone(l.set.Variables), at, at+1)}
	_, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(l.project.ID, version, set)
	})
	if err != nil {
		return err
	}
	return r.see(views.VariablesURL(r.about.Slug, l.project.Slug))
}

func preview(r *request) error {
	m := projects.Preview{Asked: r.Query("environment") != ""}
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Project, error) {
		p, err := r.project(tx)
		if err != nil {
			return p, err
		}
		n := r.names(tx, p)
		ctx := variables.Context{Environment: r.Query("environment"), Machine: r.Query("target"), Action: r.Query("step"), Channel: r.Query("channel")}
		for _, f := range []struct {
			d           variables.Dimension
			name, label string
			value       string
		}{{variables.Environment, "environment", "Environment", ctx.Environment}, {variables.Machine, "target", "Target", ctx.Machine}, {variables.Action, "step", "Step", ctx.Action}, {variables.Channel, "channel", "Channel", ctx.Channel}} {
			o := append([]ui.Option{{Value: "", Label: "any"}}, n.options[f.d]...)
			if f.d == variables.Environment {
				o = o[1:]
			}
			m.Fields = append(m.Fields, ui.FieldProps{Name: f.name, Label: f.label, Type: "select", Options: o, Value: f.value})
		}
		if !m.Asked {
			return p, nil
		}
		if id, err := spaces.ParseTargetID(ctx.Machine); err == nil {
			if t, err := tx.Target(id); err == nil {
				ctx.Roles = t.Tags
			}
		}
		got, err := tx.PreviewVariables(p.ID, ctx)
		if err != nil {
			return p, err
		}
		for _, x := range got.Names {
			row := projects.Resolved{Name: x.Name, None: x.Winner == nil, Tie: x.Tie}
			if x.Winner != nil {
				row.Value, row.Sensitive, row.Why = text(x.Winner.Variable), x.Winner.IsSensitive, x.Winner.Why
			}
			for _, l := range x.Losers {
				what := text(l.Variable)
				if l.IsSensitive {
					what = "a sensitive value"
				}
				row.Losers = append(row.Losers, fmt.Sprintf("not “%s”: %s", what, l.Why))
			}
			m.Rows = append(m.Rows, row)
		}
		return p, nil
	})
	if err != nil {
		return err
	}
	m.Page, m.Header = r.projectPage(p, "Values"), r.header(p, "Variables")
	return r.render(fiber.StatusOK, projects.ShowPreview(m))
}
