package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	pages "octopuses.dev/octopuses/views/lifecycles"
	"octopuses.dev/octopuses/views/ui"
)

func lifecycleRoutes() []route {
	const p = "/spaces/:space/lifecycles"
	return []route{
		get(p, inSpace, access.LifecycleView, lifecycleList),
		get(p+"/new", inSpace, access.LifecycleCreate, newLifecycle), post(p, inSpace, access.LifecycleCreate, createLifecycle),
		get(p+"/:lifecycle", inSpace, access.LifecycleView, lifecyclePage), post(p+"/:lifecycle", inSpace, access.LifecycleEdit, editLifecycle),
		post(p+"/:lifecycle/delete", inSpace, access.LifecycleDelete, deleteLifecycle),
	}
}

// neighbours are what lifecycles refer to and who refers to them.
type neighbours struct {
	environments []spaces.Environment
	links        []spaces.Link
	projects     map[spaces.LifecycleID][]pages.Use
}

func (r *request) neighbours(tx *spaces.ReadTx) (n neighbours, err error) {
	environments, err := tx.Environments(spaces.All)
	if err != nil && errs.KindOf(err) != errs.Denied {
		return n, err
	}
	n.environments = environments.Items
	if n.links, err = tx.Links(); err != nil && errs.KindOf(err) != errs.Denied {
		return n, err
	}
	n.projects = map[spaces.LifecycleID][]pages.Use{}
	projects, err := tx.Projects(0, spaces.All)
	if err != nil && errs.KindOf(err) != errs.Denied {
		return n, err
	}
	for _, p := range projects.Items {
		n.projects[p.LifecycleID] = append(n.projects[p.LifecycleID], pages.Use{Name: p.Name, Href: views.ProjectURL(r.about.Slug, p.Slug)})
	}
	return n, nil
}

func lifecycleList(r *request) error {
	m := pages.List{}
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		all, err := tx.Lifecycles(spaces.All)
		if err != nil {
			return struct{}{}, err
		}
		n, err := r.neighbours(tx)
		if err != nil {
			return struct{}{}, err
		}
		for _, l := range all.Items {
			m.Rows = append(m.Rows, pages.Row{ID: l.ID.String(), Name: l.Name, Description: l.Description, IsDefault: l.IsDefault, Stages: n.stages(l.Phases), Projects: n.projects[l.ID]})
		}
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	m.Page = r.pageFor("Lifecycles", "Library")
	m.CanCreate, m.Why = r.can(access.LifecycleCreate, access.Scope{})
	return r.render(fiber.StatusOK, pages.ShowList(m))
}

func (n neighbours) stages(phases []deploy.Phase) (out []ui.Stage) {
	names := map[string]string{}
	for _, e := range n.environments {
		names[e.ID.String()] = e.Name
	}
	for _, l := range n.links {
		names[l.ID.String()] = l.LocalName
	}
	for _, p := range phases {
		s := ui.Stage{Name: p.Name}
		if p.IsOptionalPhase {
			s.Name += " (optional)"
		}
		for _, id := range p.AutomaticDeploymentTargets {
			s.Boxes = append(s.Boxes, ui.Box{Name: names[id], Version: "by itself"})
		}
		for _, id := range p.OptionalDeploymentTargets {
			s.Boxes = append(s.Boxes, ui.Box{Name: names[id], Version: "by hand"})
		}
		for _, x := range p.RemoteSpaces {
			s.Boxes = append(s.Boxes, ui.Box{Name: names[x.ID], Version: "another zone", Remote: true})
		}
		if len(s.Boxes) == 0 {
			s.Boxes = []ui.Box{{Name: "Any other", Version: "by hand"}}
		}
		out = append(out, s)
	}
	return out
}

// editor draws a lifecycle in the form. A zero id is a new one.
func (r *request) editor(id spaces.LifecycleID, version int64, in deploy.Lifecycle, changed bool) (pages.Editor, error) {
	m := pages.Editor{Name: in.Name, Description: in.Description, Version: version, Changed: changed}
	n, err := spaces.View(r.ctx, r.space, r.actor, r.neighbours)
	if err != nil {
		return m, err
	}
	for _, p := range in.Phases {
		x := pages.Phase{ID: p.ID, Name: p.Name, Minimum: strconv.Itoa(p.MinimumEnvironmentsBeforePromotion), Optional: p.IsOptionalPhase}
		for _, e := range n.environments {
			o := ui.Option{Value: e.ID.String(), Label: e.Name, Selected: slices.Contains(p.OptionalDeploymentTargets, e.ID.String())}
			x.Manual = append(x.Manual, o)
			o.Selected = slices.Contains(p.AutomaticDeploymentTargets, e.ID.String())
			x.Automatic = append(x.Automatic, o)
		}
		for _, l := range n.links {
			chosen := slices.ContainsFunc(p.RemoteSpaces, func(s deploy.RemoteSpace) bool { return s.ID == l.ID.String() })
			if chosen || l.SendBundles && l.State != spaces.LinkRevoked {
				x.Remote = append(x.Remote, ui.Option{Value: l.ID.String(), Label: l.LocalName, Selected: chosen})
			}
		}
		m.Phases = append(m.Phases, x)
	}
	title := "Add a lifecycle"
	m.CanEdit, m.Why = r.can(access.LifecycleCreate, access.Scope{})
	if id != 0 {
		m.ID, m.Projects, title = id.String(), n.projects[id], in.Name
		m.CanEdit, m.Why = r.can(access.LifecycleEdit, access.Scope{})
		m.CanDelete, _ = r.can(access.LifecycleDelete, access.Scope{})
	}
	m.Page = r.pageFor(title, "Library")
	m.Page.Crumbs = []ui.Crumb{{Label: "Lifecycles", Href: views.LifecyclesURL(r.about.Slug)}, {Label: title}}
	return m, nil
}

func (r *request) showEditor(id spaces.LifecycleID, version int64, in deploy.Lifecycle, changed bool, cause error) error {
	m, err := r.editor(id, version, in, changed)
	if err != nil {
		return err
	}
	if cause == nil {
		return r.render(fiber.StatusOK, pages.ShowEditor(m))
	}
	at := map[string]string{}
	for n := range in.Phases {
		for name, field := range map[string]string{"Name": "name", "MinimumEnvironmentsBeforePromotion": "minimum", "OptionalDeploymentTargets": "manual", "AutomaticDeploymentTargets": "automatic", "RemoteSpaces": "remote"} {
			at[fmt.Sprintf("Phases[%d].%s", n, name)] = fmt.Sprintf("phase.%d.%s", n, field)
		}
	}
	return r.again(cause, at, func(e []ui.FieldError) templ.Component {
		m.Errors = e
		return pages.ShowEditor(m)
	})
}

func newLifecycle(r *request) error {
	return r.showEditor(0, 0, deploy.Lifecycle{Phases: []deploy.Phase{{}}}, false, nil)
}

func (r *request) lifecycle() (spaces.Lifecycle, error) {
	return spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Lifecycle, error) { return tx.LifecycleBy(r.param("lifecycle")) })
}

func lifecyclePage(r *request) error {
	l, err := r.lifecycle()
	if err != nil {
		return err
	}
	return r.showEditor(l.ID, l.Version, l.Lifecycle, false, nil)
}

const maxPhases = 100

// typed is the lifecycle of the form over the stored one, whose retention and details of
// remote spaces the form does not show.
func (r *request) typed(stored deploy.Lifecycle) (deploy.Lifecycle, error) {
	out := stored
	out.Name, out.Description, out.Phases = r.value("name"), r.value("description"), nil
	count, err := strconv.Atoi(r.value("phases"))
	if err != nil || count < 0 || count > maxPhases {
		return out, errs.New(errs.Invalid, "A lifecycle has at most %d phases.", maxPhases)
	}
	for n := range count {
		f := func(name string) string { return fmt.Sprintf("phase.%d.%s", n, name) }
		p := deploy.Phase{ID: r.value(f("id"))}
		var known deploy.Phase
		if i := slices.IndexFunc(stored.Phases, func(x deploy.Phase) bool { return x.ID == p.ID && p.ID != "" }); i >= 0 {
			known = stored.Phases[i]
			p = known
		}
		p.Name, p.IsOptionalPhase = r.value(f("name")), r.checked(f("optional"))
		p.OptionalDeploymentTargets, p.AutomaticDeploymentTargets = r.form[f("manual")], r.form[f("automatic")]
		if text := r.value(f("minimum")); text == "" {
			p.MinimumEnvironmentsBeforePromotion = 0
		} else if p.MinimumEnvironmentsBeforePromotion, err = strconv.Atoi(text); err != nil {
			return out, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: fmt.Sprintf("Phases[%d].MinimumEnvironmentsBeforePromotion", n), Message: "This is no number."}}}
		}
		p.RemoteSpaces = nil
		for _, id := range r.form[f("remote")] {
			x := deploy.RemoteSpace{ID: id, MinimumEnvironmentsBeforePromotion: 1}
			if i := slices.IndexFunc(known.RemoteSpaces, func(s deploy.RemoteSpace) bool { return s.ID == id }); i >= 0 {
				x = known.RemoteSpaces[i]
			}
			p.RemoteSpaces = append(p.RemoteSpaces, x)
		}
		out.Phases = append(out.Phases, p)
	}
	return out, nil
}

// rearranged does what a button of the form asks for; save is false when that was all.
func (r *request) rearranged(in *deploy.Lifecycle) (save bool) {
	verb, text, _ := strings.Cut(r.value("do"), ".")
	n, err := strconv.Atoi(text)
	inside := err == nil && n >= 0 && n < len(in.Phases)
	switch {
	case verb == "add":
		in.Phases = append(in.Phases, deploy.Phase{})
	case verb == "up" && inside && n > 0:
		in.Phases[n-1], in.Phases[n] = in.Phases[n], in.Phases[n-1]
	case verb == "down" && inside && n < len(in.Phases)-1:
		in.Phases[n+1], in.Phases[n] = in.Phases[n], in.Phases[n+1]
	case verb == "remove" && inside:
		in.Phases = slices.Delete(in.Phases, n, n+1)
	default:
		return true
	}
	return false
}

func createLifecycle(r *request) error {
	in, err := r.typed(deploy.Lifecycle{})
	if err != nil {
		return r.showEditor(0, 0, in, true, err)
	}
	if !r.rearranged(&in) {
		return r.showEditor(0, 0, in, true, nil)
	}
	l, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Lifecycle, error) { return tx.CreateLifecycle(in) })
	if err != nil {
		return r.showEditor(0, 0, in, true, err)
	}
	return r.see(views.LifecycleURL(r.about.Slug, l.ID.String()))
}

func editLifecycle(r *request) error {
	stored, err := r.lifecycle()
	if err != nil {
		return err
	}
	version, _ := strconv.ParseInt(r.value("version"), 10, 64)
	in, err := r.typed(stored.Lifecycle)
	if err != nil {
		return r.showEditor(stored.ID, version, in, true, err)
	}
	if !r.rearranged(&in) {
		return r.showEditor(stored.ID, version, in, true, nil)
	}
	_, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
		now, err := tx.Lifecycle(stored.ID)
		if err != nil {
			return now, err
		}
		if now.Version != version {
			return now, errs.New(errs.Stale, "%s changed this lifecycle while you were editing it.", now.UpdatedBy).WithHint("Below is what you typed. Open it in another tab to see what is stored; saving again puts yours over it.")
		}
		return tx.UpdateLifecycle(stored.ID, in)
	})
	if errs.KindOf(err) == errs.Stale {
		return r.showEditor(stored.ID, stored.Version, in, true, err)
	}
	if err != nil {
		return r.showEditor(stored.ID, version, in, true, err)
	}
	return r.see(views.LifecycleURL(r.about.Slug, stored.ID.String()))
}

func deleteLifecycle(r *request) error {
	l, err := r.lifecycle()
	if err != nil {
		return err
	}
	err = func() error {
		if r.value("name") != l.Name {
			return errs.New(errs.Invalid, "Type %s to delete this lifecycle.", l.Name)
		}
		return spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteLifecycle(l.ID) })
	}()
	if err != nil {
		return r.showEditor(l.ID, l.Version, l.Lifecycle, false, err)
	}
	return r.see(views.LifecyclesURL(r.about.Slug))
}
