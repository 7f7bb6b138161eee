package web

import (
	"fmt"
	"strconv"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/ui"
)

func projectRoutes() []route {
	return []route{
		get("/spaces/:space", inSpace, "", dashboard),
		get("/spaces/:space/projects", inSpace, access.ProjectView, projectList),
		get("/spaces/:space/projects/new", inSpace, access.ProjectCreate, newProject), post("/spaces/:space/projects", inSpace, access.ProjectCreate, createProject),
		get("/spaces/:space/projects/:project", inSpace, access.ProjectView, overview),
		get("/spaces/:space/projects/:project/settings", inSpace, access.ProjectView, projectSettings),
		post("/spaces/:space/projects/:project/settings", inSpace, access.ProjectEdit, saveProject),
		post("/spaces/:space/projects/:project/settings/templates", inSpace, access.ProjectEdit, saveTemplates),
		get("/spaces/:space/projects/:project/logo", inSpace, access.ProjectView, logo),
		takesFile(post("/spaces/:space/projects/:project/settings/logo", inSpace, access.ProjectEdit, setLogo)),
		post("/spaces/:space/projects/:project/settings/logo/remove", inSpace, access.ProjectEdit, removeLogo),
		post("/spaces/:space/projects/:project/settings/delete", inSpace, access.ProjectDelete, deleteProject),
	}
}

// toneOf is how a state looks and is called.
func toneOf(s spaces.TaskState, pending, warnings bool) (ui.Tone, string) {
	switch {
	case pending && !s.Finished():
		return ui.Waiting, "Waiting for a person"
	case s == spaces.Queued:
		return ui.Idle, "Queued"
	case s == spaces.Executing:
		return ui.Running, "Running"
	case s == spaces.Cancelling:
		return ui.Running, "Cancelling"
	case s == spaces.TaskSuccess && warnings:
		return ui.Waiting, "Succeeded with warnings"
	case s == spaces.TaskSuccess:
		return ui.Good, "Succeeded"
	case s == spaces.TaskFailed:
		return ui.Bad, "Failed"
	case s == spaces.TaskTimedOut:
		return ui.Bad, "Timed out"
	case s == spaces.TaskCanceled:
		return ui.Idle, "Canceled"
	}
	return ui.Idle, "Unknown"
}

const dashboardRows = 50

func dashboard(r *request) error {
	skip, _ := strconv.Atoi(r.Query("skip"))
	skip = max(skip, 0)
	q := r.Query("q")
	d, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Dashboard, error) {
		return tx.Dashboard(spaces.DashboardFilter{PartialName: q, Skip: skip, Take: dashboardRows})
	})
	if err != nil && errs.KindOf(err) != errs.Denied {
		return err
	}
	m := projects.Dashboard{Page: r.pageFor("Dashboard", "Dashboard", "dashboard"), Query: q}
	m.CanCreate, m.Why = r.can(access.ProjectCreate, access.Scope{})
	matrix(&m, d, r.about.Slug)
	if d.Total > dashboardRows {
		m.Pager.Text = fmt.Sprintf("%d–%d of %d projects", skip+1, skip+len(d.Projects), d.Total)
		if skip > 0 {
			m.Pager.Prev = "?skip=" + strconv.Itoa(max(0, skip-dashboardRows))
		}
		if skip+dashboardRows < d.Total {
			m.Pager.Next = "?skip=" + strconv.Itoa(skip+dashboardRows)
		}
	}
	return r.show(projects.Show(m), map[string]templ.Component{"matrix": projects.Matrix(m)})
}

// matrix puts what the space knows into rows and columns.
func matrix(m *projects.Dashboard, d spaces.Dashboard, slug string) {
	column, remote := map[spaces.EnvironmentID]int{}, map[int64]int{}
	names, elsewhere := map[spaces.EnvironmentID]string{}, map[int64]spaces.RemoteEnvironment{}
	for _, e := range d.Environments {
		names[e.ID] = e.Name
	}
	for _, e := range d.Remote {
		elsewhere[e.ID] = e
	}
	now := time.Now()
	for _, c := range d.Columns {
		if c.Remote == 0 {
			column[c.Environment] = len(m.Environments)
			m.Environments = append(m.Environments, projects.Column{Name: names[c.Environment]})
			continue
		}
		e := elsewhere[c.Remote]
		remote[c.Remote] = len(m.Environments)
		x := projects.Column{Name: e.Name, Zone: e.LinkName, Link: views.LinkURL(slug, e.LinkID.String()), Heard: when(e.Link.LastContactAt)}
		x.Tone, x.Word = healthTone(e.Link, now)
		m.Environments = append(m.Environments, x)
	}
	cells, slugs := map[spaces.ProjectID][]projects.Cell{}, map[spaces.ProjectID]string{}
	for _, p := range d.Projects {
		cells[p.ID], slugs[p.ID] = make([]projects.Cell, len(m.Environments)), p.Slug
	}
	for _, c := range d.Cells {
		row, at := cells[c.ProjectID], c.CreatedAt
		if row == nil {
			continue
		}
		if c.CompletedAt != nil {
			at = *c.CompletedAt
		}
		tone, word := toneOf(c.State, c.HasPending, c.HasWarnings)
		row[column[c.EnvironmentID]] = projects.Cell{Version: c.Version, Href: views.DeploymentURL(slug, slugs[c.ProjectID], c.Version, c.DeploymentID.String()), Tone: tone, Word: word, At: at}
	}
	for _, c := range d.RemoteCells {
		if row := cells[c.ProjectID]; row != nil {
			tone, word := toneOf(c.State, false, false)
			row[remote[c.RemoteEnvironmentID]] = projects.Cell{Version: c.Version, Href: views.ReleaseURL(slug, slugs[c.ProjectID], c.Version), Tone: tone, Word: word, At: c.At, AsOf: c.AsOf, Via: "by " + viaWords(c.Via)}
		}
	}
	for _, g := range d.Groups {
		group := projects.Group{Name: g.Name}
		for _, p := range d.Projects {
			if p.GroupID == g.ID {
				group.Rows = append(group.Rows, projects.Row{Slug: p.Slug, Name: p.Name, Cells: cells[p.ID]})
			}
		}
		if len(group.Rows) > 0 {
			m.Groups = append(m.Groups, group)
		}
	}
}

func projectList(r *request) error {
	m := projects.List{Query: r.Query("q")}
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		all, err := tx.Projects(0, spaces.ListOptions{PartialName: m.Query, Take: 1000})
		if err != nil {
			return struct{}{}, err
		}
		names := map[spaces.ProjectGroupID]string{}
		if groups, err := tx.ProjectGroups(spaces.All); err == nil {
			for _, g := range groups.Items {
				names[g.ID] = g.Name
			}
		}
		for _, p := range all.Items {
			m.Items = append(m.Items, projects.Item{Slug: p.Slug, Name: p.Name, Group: names[p.GroupID], Description: p.Description})
		}
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	m.Page = r.pageFor("Projects", "Projects")
	m.CanCreate, m.Why = r.can(access.ProjectCreate, access.Scope{})
	return r.render(fiber.StatusOK, projects.ShowList(m))
}

// choices are the groups and lifecycles that a project may have.
func choices(tx *spaces.ReadTx) (groups, lifecycles []ui.Option, err error) {
	g, err := tx.ProjectGroups(spaces.All)
	if err != nil {
		return nil, nil, err
	}
	for _, x := range g.Items {
		groups = append(groups, ui.Option{Value: x.ID.String(), Label: x.Name})
	}
	l, err := tx.Lifecycles(spaces.All)
	if err != nil {
		return nil, nil, err
	}
	for _, x := range l.Items {
		lifecycles = append(lifecycles, ui.Option{Value: x.ID.String(), Label: x.Name})
	}
	return groups, lifecycles, nil
}

func (r *request) projectForm(m projects.New) (projects.New, error) {
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		var err error
		m.Groups, m.Lifecycles, err = choices(tx)
		return struct{}{}, err
	})
	m.Page = r.pageFor("Add a project", "Projects")
	return m, err
}

func newProject(r *request) error {
	m, err := r.projectForm(projects.New{})
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, projects.ShowNew(m))
}

func createProject(r *request) error {
	in := spaces.ProjectInput{Name: r.value("name"), Description: r.value("description")}
	in.GroupID, _ = spaces.ParseProjectGroupID(r.value("group"))
	in.LifecycleID, _ = spaces.ParseLifecycleID(r.value("lifecycle"))
	p, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Project, error) { return tx.CreateProject(in) })
	if err != nil {
		m, e := r.projectForm(projects.New{Name: in.Name, Description: in.Description, Group: r.value("group"), Lifecycle: r.value("lifecycle"), Errors: complaints(err, nil)})
		if e != nil {
			return e
		}
		return r.again(err, nil, func([]ui.FieldError) templ.Component { return projects.ShowNew(m) })
	}
	return r.see(views.ProjectURL(r.about.Slug, p.Slug))
}

// project finds the project of the path.
func (r *request) project(tx *spaces.ReadTx) (spaces.Project, error) {
	return tx.ProjectBy(r.param("project"))
}

func (r *request) header(p spaces.Project, tab string) projects.Header {
	h := projects.Header{Slug: p.Slug, Name: p.Name, Description: p.Description, Tab: tab, Disabled: p.IsDisabled}
	if p.IsRemote() {
		h.Remote = p.RemoteName
		if h.Remote == "" {
			h.Remote = "another space"
		}
	}
	if p.Logo != "" {
		h.Logo = views.LogoURL(r.about.Slug, p.Slug, p.Logo)
	}
	h.CanRelease, h.Why = r.can(access.ReleaseCreate, p.Scope())
	return h
}

func (r *request) projectPage(p spaces.Project, title string) views.Page {
	page := r.pageFor(p.Name+" · "+title, "Projects", "project/"+p.ID.String())
	page.Crumbs = []ui.Crumb{{Label: "Projects", Href: views.ProjectsURL(r.about.Slug)}, {Label: p.Name, Href: views.ProjectURL(r.about.Slug, p.Slug)}}
	return page
}

const recentReleases = 8

func overview(r *request) error {
	m, p, err := overviewOf(r)
	if err != nil {
		return err
	}
	m.Page, m.Header = r.projectPage(p, "Overview"), r.header(p, "Overview")
	return r.show(projects.ShowOverview(m), map[string]templ.Component{"overview": projects.OverviewPart(m)})
}

func overviewOf(r *request) (m projects.Overview, p spaces.Project, err error) {
	_, err = spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		var none struct{}
		if p, err = r.project(tx); err != nil {
			return none, err
		}
		if process, err := tx.Process(p.ID); err == nil {
			m.Steps = len(process.Steps)
		}
		d, err := tx.Dashboard(spaces.DashboardFilter{Project: p.ID, Take: 1})
		if err != nil {
			return none, err
		}
		cells, where := map[string]spaces.Cell{}, map[spaces.ReleaseID][]string{}
		name := map[spaces.EnvironmentID]string{}
		for _, e := range d.Environments {
			name[e.ID] = e.Name
		}
		for _, c := range d.Cells {
			cells[c.EnvironmentID.String()] = c
			where[c.ReleaseID] = append(where[c.ReleaseID], name[c.EnvironmentID])
		}
		remote := map[int64]string{}
		for _, e := range d.Remote {
			remote[e.ID] = e.Name + " in " + e.LinkName
		}
		for _, c := range d.RemoteCells {
			where[c.ReleaseID] = append(where[c.ReleaseID], remote[c.RemoteEnvironmentID])
		}
		channels := map[spaces.ChannelID]string{}
		if all, err := tx.Channels(p.ID, spaces.All); err == nil {
			for _, c := range all.Items {
				channels[c.ID] = c.Name
			}
		}
		releases, err := tx.Releases(spaces.ReleaseFilter{Project: p.ID, Take: recentReleases})
		if err != nil && errs.KindOf(err) != errs.Denied {
			return none, err
		}
		for i, rel := range releases.Items {
			progress, err := tx.Progress(rel)
			if err != nil {
				return none, err
			}
			row := projects.Recent{Version: rel.Version, Channel: channels[rel.ChannelID], At: rel.AssembledAt, Where: where[rel.ID], Next: projects.Move{Why: "It is everywhere it may go."}}
			if next := progress.Next(); len(next) > 0 {
				row.Next = projects.Move{Label: "Deploy to " + next[0].Name, Href: views.DeployURL(r.about.Slug, p.Slug, rel.Version) + "?environment=" + next[0].ID}
			} else if remote := progress.NextSpaces(); len(remote) > 0 {
				row.Next = projects.Move{Label: "Promote to " + remote[0].Name, Href: views.ReleaseURL(r.about.Slug, p.Slug, rel.Version)}
			}
			m.Recent = append(m.Recent, row)
			if i == 0 {
				m.Newest, m.Lifecycle = rel.Version, progress.Lifecycle
				m.Stages, m.Blocked = stages(progress, cells, d, r.about.Slug, p.Slug)
			}
		}
		if len(releases.Items) == 0 { // the way that a release would go
			for _, e := range d.Environments {
				m.Stages = append(m.Stages, ui.Stage{Name: e.Name, Boxes: []ui.Box{{Name: e.Name, State: "nothing yet"}}})
			}
		}
		return none, nil
	})
	return m, p, err
}

// stages draws the phases with what is in each environment, and says what holds the
// newest release back.
func stages(progress deploy.Progress, cells map[string]spaces.Cell, d spaces.Dashboard, space, project string) (out []ui.Stage, blocked []string) {
	for _, ph := range progress.Phases {
		stage := ui.Stage{Name: ph.Name}
		for _, e := range ph.Environments {
			b := ui.Box{Name: e.Name, State: "nothing yet", Tone: ui.Idle}
			if c, ok := cells[e.ID]; ok {
				b.Tone, b.State = toneOf(c.State, c.HasPending, c.HasWarnings)
				b.Version, b.Href = c.Version, views.DeploymentURL(space, project, c.Version, c.DeploymentID.String())
			}
			stage.Boxes = append(stage.Boxes, b)
		}
		for _, s := range ph.Spaces {
			known := len(stage.Boxes)
			for _, e := range d.Remote {
				if e.LinkID.String() != s.ID {
					continue
				}
				b := ui.Box{Name: e.Name, State: "nothing heard yet", Sub: "in " + s.Name, Tone: ui.Idle, Remote: true}
				for _, c := range d.RemoteCells {
					if c.RemoteEnvironmentID == e.ID {
						b.Tone, b.State = toneOf(c.State, false, false)
						b.Version, b.Sub = c.Version, "as of "+c.AsOf.UTC().Format("2 Jan 15:04")
						b.Href = views.ReleaseURL(space, project, c.Version)
					}
				}
				stage.Boxes = append(stage.Boxes, b)
			}
			if len(stage.Boxes) == known { // no receipt has named an environment there
				stage.Boxes = append(stage.Boxes, ui.Box{Name: s.Name, State: outcome(s.Outcome), Tone: ui.Idle, Remote: true, Href: views.PromotionsURL(space)})
			}
			if s.Why != "" && ph.Open {
				blocked = append(blocked, s.Why)
			}
		}
		if ph.Why != "" {
			blocked = append(blocked, ph.Why)
		}
		out = append(out, stage)
	}
	return out, blocked
}

func outcome(o deploy.Outcome) string {
	if o == deploy.OutcomeNone {
		return "not heard of"
	}
	return string(o)
}

func (r *request) settingsOf(p spaces.Project, in spaces.ProjectInput, m projects.Settings) (projects.Settings, error) {
	m.Name, m.Description, m.Group, m.Lifecycle = in.Name, in.Description, in.GroupID.String(), in.LifecycleID.String()
	m.Disabled, m.NoTargets, m.Template = in.IsDisabled, in.Settings.ConnectivityPolicy.AllowDeploymentsToNoTargets, in.Settings.VersioningStrategy.Template
	for _, t := range p.Settings.Templates {
		m.Templates = append(m.Templates, projects.Template{ID: t.ID, Name: t.Name, Label: t.Label, Default: t.DefaultValue, Sensitive: t.IsSensitive()})
	}
	m.CanEdit, m.Why = r.can(access.ProjectEdit, p.Scope())
	m.CanDelete, _ = r.can(access.ProjectDelete, p.Scope())
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		if n, err := tx.Releases(spaces.ReleaseFilter{Project: p.ID, Take: 1}); err == nil {
			m.Releases = n.Total
		}
		var err error
		m.Groups, m.Lifecycles, err = choices(tx)
		return struct{}{}, err
	})
	m.Page, m.Header = r.projectPage(p, "Settings"), r.header(p, "Settings")
	return m, err
}

func inputOf(p spaces.Project) spaces.ProjectInput {
	return spaces.ProjectInput{Name: p.Name, Slug: p.Slug, Description: p.Description, GroupID: p.GroupID, LifecycleID: p.LifecycleID, IsDisabled: p.IsDisabled, Settings: p.Settings}
}

func projectSettings(r *request) error {
	p, err := spaces.View(r.ctx, r.space, r.actor, r.project)
	if err != nil {
		return err
	}
	m, err := r.settingsOf(p, inputOf(p), projects.Settings{})
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, projects.ShowProjectSettings(m))
}

// changeProject saves what edit makes of the project of the path.
func (r *request) changeProject(edit func(*spaces.ProjectInput), wrong func(*projects.Settings, error)) error {
	p, err := spaces.View(r.ctx, r.space, r.actor, r.project)
	if err != nil {
		return err
	}
	in := inputOf(p)
	edit(&in)
	saved, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Project, error) { return tx.UpdateProject(p.ID, in) })
	if err != nil {
		var m projects.Settings
		wrong(&m, err)
		m, e := r.settingsOf(p, in, m)
		if e != nil {
			return e
		}
		return r.again(err, nil, func([]ui.FieldError) templ.Component { return projects.ShowProjectSettings(m) })
	}
	return r.see(views.ProjectSettingsURL(r.about.Slug, saved.Slug))
}

func saveProject(r *request) error {
	return r.changeProject(func(in *spaces.ProjectInput) {
		if r.form.Has("name") {
			in.Name = r.value("name")
		}
		in.Description, in.IsDisabled = r.value("description"), r.checked("disabled")
		if id, err := spaces.ParseProjectGroupID(r.value("group")); err == nil {
			in.GroupID = id
		}
		if id, err := spaces.ParseLifecycleID(r.value("lifecycle")); err == nil {
			in.LifecycleID = id
		}
		in.Settings.VersioningStrategy.Template = r.value("versioning")
		in.Settings.ConnectivityPolicy.AllowDeploymentsToNoTargets = r.checked("noTargets")
	}, func(m *projects.Settings, err error) { m.Errors = complaints(err, nil) })
}

func saveTemplates(r *request) error {
	return r.changeProject(func(in *spaces.ProjectInput) {
		var kept []spaces.VariableTemplate
		for _, t := range in.Settings.Templates {
			if t.ID != r.value("remove") {
				kept = append(kept, t)
			}
		}
		if r.value("remove") == "" {
			kind := "SingleLineText"
			if r.checked("sensitive") {
				kind = "Sensitive"
			}
			kept = append(kept, spaces.VariableTemplate{Name: r.value("templateName"), Label: r.value("label"), HelpText: r.value("help"), DefaultValue: r.form.Get("default"), DisplaySettings: map[string]string{"Octopus.ControlType": kind}})
		}
		in.Settings.Templates = kept
	}, func(m *projects.Settings, err error) {
		for _, e := range complaints(err, nil) {
			e.Name = "templateName"
			m.TemplateErrors = append(m.TemplateErrors, e)
		}
	})
}

func deleteProject(r *request) error {
	err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error {
		p, err := r.project(tx.ReadTx)
		if err != nil {
			return err
		}
		if r.form.Get("name") != p.Name {
			return errs.New(errs.Invalid, "The typed name is not '%s'.", p.Name).WithHint("Nothing was deleted.")
		}
		return tx.DeleteProject(p.ID)
	})
	if err != nil {
		return err
	}
	return r.see(views.ProjectsURL(r.about.Slug))
}

func took(t spaces.Task) time.Duration {
	if t.StartTime == nil || t.CompletedTime == nil {
		return 0
	}
	return t.CompletedTime.Sub(*t.StartTime)
}
