package web

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/releases"
	"octopuses.dev/octopuses/views/ui"
)

func releaseRoutes() []route {
	const p = "/spaces/:space/projects/:project"
	return []route{
		get(p+"/releases", inSpace, access.ReleaseView, releaseList),
		get(p+"/new-release", inSpace, access.ReleaseCreate, newRelease), post(p+"/new-release", inSpace, access.ReleaseCreate, createRelease),
		get(p+"/releases/:version", inSpace, access.ReleaseView, releasePage),
		post(p+"/releases/:version/delete", inSpace, access.ReleaseDelete, deleteRelease),
		post(p+"/releases/:version/promote/:link", inSpace, access.ReleasePromote, promote),
		get(p+"/releases/:version/compare", inSpace, access.ReleaseView, compareWith),
		get(p+"/releases/:version/compare/:with", inSpace, access.ReleaseView, compare),
		get(p+"/releases/:version/deploy", inSpace, access.DeploymentCreate, deployForm), post(p+"/releases/:version/deploy", inSpace, access.DeploymentCreate, deployRelease),
	}
}

// releaseOf finds project and release of the path.
func (r *request) releaseOf(tx *spaces.ReadTx) (spaces.Project, spaces.Release, error) {
	p, err := r.project(tx)
	if err != nil {
		return p, spaces.Release{}, err
	}
	rel, err := tx.ReleaseBy(p.ID, r.param("version"))
	return p, rel, err
}

const releaseRows = 50

func releaseList(r *request) error {
	m := releases.List{Query: r.Query("q")}
	skip, _ := strconv.Atoi(r.Query("skip"))
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Project, error) {
		p, err := r.project(tx)
		if err != nil {
			return p, err
		}
		all, err := tx.Releases(spaces.ReleaseFilter{Project: p.ID, SearchByVersion: m.Query, Skip: max(skip, 0), Take: releaseRows})
		if err != nil {
			return p, err
		}
		where, channels := map[spaces.ReleaseID][]string{}, map[spaces.ChannelID]string{}
		if d, err := tx.Dashboard(spaces.DashboardFilter{Project: p.ID, Take: 1}); err == nil {
			for _, c := range d.Cells {
				for _, e := range d.Environments {
					if e.ID == c.EnvironmentID {
						where[c.ReleaseID] = append(where[c.ReleaseID], e.Name)
					}
				}
			}
		}
		if cs, err := tx.Channels(p.ID, spaces.All); err == nil {
			for _, c := range cs.Items {
				channels[c.ID] = c.Name
			}
		}
		for _, x := range all.Items {
			m.Rows = append(m.Rows, releases.Row{Version: x.Version, Channel: channels[x.ChannelID], By: x.AssembledBy, At: x.AssembledAt, Where: where[x.ID]})
		}
		if all.Total > releaseRows {
			m.Pager.Text = fmt.Sprintf("%d–%d of %d releases", skip+1, skip+len(all.Items), all.Total)
			if skip > 0 {
				m.Pager.Prev = "?skip=" + strconv.Itoa(max(0, skip-releaseRows))
			}
			if skip+releaseRows < all.Total {
				m.Pager.Next = "?skip=" + strconv.Itoa(skip+releaseRows)
			}
		}
		return p, nil
	})
	if err != nil {
		return err
	}
	m.Page, m.Header = r.projectPage(p, "Releases"), r.header(p, "Releases")
	return r.render(fiber.StatusOK, releases.ShowList(m))
}

func (r *request) releaseForm(m releases.New, typed func(name string) string) (releases.New, error) {
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Project, error) {
		p, err := r.project(tx)
		if err != nil {
			return p, err
		}
		channels, err := tx.Channels(p.ID, spaces.All)
		if err != nil {
			return p, err
		}
		automatic := map[spaces.LifecycleID][]string{} // of the channels with that lifecycle
		for _, c := range channels.Items {
			m.Channels = append(m.Channels, ui.Option{Value: c.ID.String(), Label: c.Name, Selected: m.Channel == "" && c.IsDefault})
			to, known := automatic[c.LifecycleID]
			if !known {
				if to, err = tx.AutomaticAtFirst(c.ID); err != nil {
					return p, err
				}
				automatic[c.LifecycleID] = to
			}
			if len(to) > 0 {
				m.Automatic = append(m.Automatic, fmt.Sprintf("In the channel %s it is deployed to %s by itself.", c.Name, strings.Join(to, ", ")))
			}
		}
		process, err := tx.Process(p.ID)
		if err != nil {
			return p, err
		}
		for _, ref := range process.Refs().Packages {
			f := ui.FieldProps{Name: "package:" + ref.ActionName + ":" + ref.Name, ID: "package-" + strconv.Itoa(len(m.Packages)), Label: ref.PackageID, Type: "select", Hint: "Package of step “" + ref.StepName + "”."}
			f.Options = []ui.Option{{Value: "", Label: "the newest that fits the channel"}}
			if found, err := tx.Packages(spaces.PackageFilter{PackageID: ref.PackageID, Take: 50}); err == nil {
				for _, k := range found.Items {
					f.Options = append(f.Options, ui.Option{Value: k.Version, Label: k.Version, Selected: k.Version == typed(f.Name)})
				}
				if len(found.Items) == 0 {
					f.Error = "There is no version of this package here yet. Upload one in the library."
				}
			}
			m.Packages = append(m.Packages, f)
		}
		return p, nil
	})
	if err != nil {
		return m, err
	}
	m.Page, m.Header = r.projectPage(p, "New release"), r.header(p, "Releases")
	return m, nil
}

func newRelease(r *request) error {
	m, err := r.releaseForm(releases.New{}, func(string) string { return "" })
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, releases.ShowNew(m))
}

func createRelease(r *request) error {
	in := spaces.ReleaseInput{Version: r.value("version"), Notes: r.value("notes")}
	in.Channel, _ = spaces.ParseChannelID(r.value("channel"))
	var slug string
	rel, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Release, error) {
		p, err := r.project(tx.ReadTx)
		if err != nil {
			return spaces.Release{}, err
		}
		in.Project, slug, in.Packages = p.ID, p.Slug, nil
		process, err := tx.Process(p.ID)
		if err != nil {
			return spaces.Release{}, err
		}
		for _, ref := range process.Refs().Packages {
			if v := r.value("package:" + ref.ActionName + ":" + ref.Name); v != "" {
				in.Packages = append(in.Packages, spaces.PackageChoice{Name: ref.ActionName, Reference: ref.Name, Version: v})
			}
		}
		return tx.CreateRelease(in)
	})
	if err != nil {
		m, e := r.releaseForm(releases.New{Version: in.Version, Notes: in.Notes, Channel: r.value("channel"), Errors: complaints(err, map[string]string{"SelectedPackages": ""})}, r.value)
		if e != nil {
			return e
		}
		return r.again(err, nil, func([]ui.FieldError) templ.Component { return releases.ShowNew(m) })
	}
	return r.see(views.ReleaseURL(r.about.Slug, slug, rel.Version))
}

func releasePage(r *request) error { return r.releaseWith(nil, nil) }

// releaseWith draws a release, with what went wrong with an action on it.
func (r *request) releaseWith(cause error, e []ui.FieldError) error {
	m := releases.Release{Errors: e}
	slug := r.about.Slug
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Project, error) {
		p, rel, err := r.releaseOf(tx)
		if err != nil {
			return p, err
		}
		m.Version, m.Notes, m.By, m.At, m.Core = rel.Version, rel.Notes, rel.AssembledBy, rel.AssembledAt, rel.CoreDigest
		if c, err := tx.Channel(rel.ChannelID); err == nil {
			m.Channel = c.Name
		}
		for _, k := range rel.Packages {
			m.Packages = append(m.Packages, releases.Package{Action: k.ActionName, ID: k.PackageID, Version: k.Version, Digest: k.Digest, Size: k.Size, Href: views.PackageURL(slug, k.PackageID, k.Version)})
		}
		progress, err := tx.Progress(rel)
		if err != nil {
			return p, err
		}
		m.Places = r.places(progress, p, rel)
		if err := r.history(tx, p, rel, &m); err != nil {
			return p, err
		}
		process, err := tx.ReleaseProcess(rel)
		if err != nil {
			return p, err
		}
		m.Steps = stepRows(process.Public())
		vars, err := tx.ReleaseVariables(rel)
		if err != nil {
			return p, err
		}
		if r.actor.Can(access.VariableView, p.Scope()) {
			name := r.names(tx, p)
			for _, v := range vars.Variables {
				f := releases.FrozenVariable{Name: v.Name, Sensitive: v.IsSensitive, Chips: name.chips(v.Scope)}
				if v.Value != nil && !v.IsSensitive {
					f.Value = *v.Value
				}
				m.Variables = append(m.Variables, f)
			}
		}
		others, err := tx.Releases(spaces.ReleaseFilter{Project: p.ID, Take: 30})
		if err != nil {
			return p, err
		}
		for _, o := range others.Items {
			if o.ID != rel.ID {
				m.Others = append(m.Others, ui.Option{Value: o.Version, Label: o.Version})
			}
		}
		m.CanDelete = r.actor.Can(access.ReleaseDelete, p.Scope())
		return p, nil
	})
	if err != nil {
		return err
	}
	m.Page, m.Header = r.projectPage(p, m.Version), r.header(p, "Releases")
	m.Page.Crumbs = append(m.Page.Crumbs, ui.Crumb{Label: "Releases", Href: views.ReleasesURL(slug, p.Slug)}, ui.Crumb{Label: m.Version})
	if cause != nil {
		return r.render(statusOf(cause, true), releases.Show(m))
	}
	return r.show(releases.Show(m), map[string]templ.Component{"places": releases.Places(m)})
}

// places says of each environment and space of the lifecycle how far the release is and
// whether it may go there.
func (r *request) places(progress deploy.Progress, p spaces.Project, rel spaces.Release) (out []releases.Place) {
	slug := r.about.Slug
	for _, ph := range progress.Phases {
		for _, e := range ph.Environments {
			x := releases.Place{Phase: ph.Name, Name: e.Name}
			x.Tone, x.Word = outcomeTone(e.Outcome)
			scope := p.Scope()
			scope.Environment = e.ID
			may, why := progress.MayDeploy(e.ID, e.Name)
			if can, cannot := r.can(access.DeploymentCreate, scope); !can {
				may, why = false, cannot
			}
			x.Action.Why = why
			if may {
				x.Action = projects.Move{Label: "Deploy", Href: views.DeployURL(slug, p.Slug, rel.Version) + "?environment=" + e.ID}
				if x.Action.Kind = "primary"; e.Outcome == deploy.OutcomeSucceeded {
					x.Action.Label, x.Action.Kind = "Deploy again", ""
				}
			}
			out = append(out, x)
		}
		for _, s := range ph.Spaces {
			x := releases.Place{Phase: ph.Name, Name: s.Name, Remote: true}
			x.Tone, x.Word = outcomeTone(s.Outcome)
			may, why := progress.MayPromote(s.ID, s.Name)
			if can, cannot := r.can(access.ReleasePromote, p.Scope()); !can {
				may, why = false, cannot
			}
			if x.Action.Why = why; may && r.s.Zones != nil {
				x.Action = projects.Move{Label: "Promote", Kind: "primary", Href: views.ReleaseURL(slug, p.Slug, rel.Version) + "/promote/" + s.ID}
				if s.Outcome != deploy.OutcomeNone {
					x.Action.Label, x.Action.Kind = "Promote again", ""
				}
			}
			out = append(out, x)
		}
	}
	return out
}

func outcomeTone(o deploy.Outcome) (ui.Tone, string) {
	switch o {
	case deploy.OutcomeSucceeded:
		return ui.Good, "Succeeded"
	case deploy.OutcomeFailed:
		return ui.Bad, "Failed"
	case deploy.OutcomeRunning:
		return ui.Running, "Under way"
	}
	return ui.Idle, "Not there yet"
}

// around is the names and states that a history of deployments needs, each kind in one
// read. What the person may not see is left out.
func (r *request) around(tx *spaces.ReadTx, done []spaces.Deployment) (map[spaces.EnvironmentID]string, map[spaces.TaskID]spaces.Task, map[spaces.LinkID]string, error) {
	environments, states, links := map[spaces.EnvironmentID]string{}, map[spaces.TaskID]spaces.Task{}, map[spaces.LinkID]string{}
	all, err := tx.Environments(spaces.All)
	if err != nil && errs.KindOf(err) != errs.Denied {
		return nil, nil, nil, err
	}
	for _, e := range all.Items {
		environments[e.ID] = e.Name
	}
	peers, err := tx.Links()
	if err != nil && errs.KindOf(err) != errs.Denied {
		return nil, nil, nil, err
	}
	for _, l := range peers {
		links[l.ID] = l.LocalName
	}
	if len(done) == 0 {
		return environments, states, links, nil
	}
	var ids []string
	for _, d := range done {
		ids = append(ids, d.TaskID.String())
	}
	found, err := tx.Tasks(spaces.TaskFilter{IDs: ids, Take: len(ids)})
	if err != nil && errs.KindOf(err) != errs.Denied {
		return nil, nil, nil, err
	}
	for _, t := range found.Items {
		states[t.ID] = t
	}
	return environments, states, links, nil
}

// history is where the release has been: here, elsewhere by receipts, on its way.
func (r *request) history(tx *spaces.ReadTx, p spaces.Project, rel spaces.Release, m *releases.Release) error {
	slug := r.about.Slug
	done, err := tx.Deployments(spaces.DeploymentFilter{Release: rel.ID, Take: 30})
	if err != nil {
		return err
	}
	environments, states, links, err := r.around(tx, done.Items)
	if err != nil {
		return err
	}
	for _, d := range done.Items {
		x := releases.Deployment{At: d.CreatedAt, Environment: environments[d.EnvironmentID], Href: views.DeploymentURL(slug, p.Slug, rel.Version, d.ID.String())}
		if t, ok := states[d.TaskID]; ok {
			x.Tone, x.Word = toneOf(t.State, t.HasPendingInterruptions, t.HasWarningsOrErrors)
		}
		m.Deployments = append(m.Deployments, x)
	}
	remote, err := tx.RemoteDeployments(rel.ULID)
	if err != nil {
		return err
	}
	for _, d := range remote {
		x := releases.Deployment{Environment: d.Environment, At: d.At, AsOf: d.AsOf, Via: d.Via}
		x.Tone, x.Word = toneOf(d.State, false, false)
		if name := links[d.LinkID]; name != "" {
			x.Environment = d.Environment + " in " + name
		}
		m.Deployments = append(m.Deployments, x)
	}
	promotions, err := tx.Promotions(spaces.PromotionFilter{Release: rel.ID, Take: 20})
	if err != nil {
		return err
	}
	for _, x := range promotions {
		tone := ui.Running
		switch x.State {
		case "deployed", "accepted", "delivered":
			tone = ui.Good
		case "failed", "refused", "rejected":
			tone = ui.Bad
		case "held", "handed over":
			tone = ui.Waiting
		}
		m.Promotions = append(m.Promotions, releases.Promotion{To: x.LinkName, Word: x.State, Tone: tone, At: x.UpdatedAt, Href: views.PromotionURL(slug, x.ID.String())})
	}
	return nil
}

func deleteRelease(r *request) error {
	var slug string
	err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error {
		p, rel, err := r.releaseOf(tx.ReadTx)
		if err != nil {
			return err
		}
		slug = p.Slug
		if r.form.Get("name") != rel.Version {
			return errs.New(errs.Invalid, "The typed version is not '%s'.", rel.Version).WithHint("Nothing was deleted.")
		}
		return tx.DeleteRelease(rel.ID)
	})
	switch errs.KindOf(err) {
	case errs.Blocked, errs.Invalid:
		if err != nil {
			return r.releaseWith(err, complaints(err, nil))
		}
	}
	if err != nil {
		return err
	}
	return r.see(views.ReleasesURL(r.about.Slug, slug))
}

func promote(r *request) error {
	if r.s.Zones == nil {
		return errs.New(errs.Unavailable, "This server does not promote to other spaces.")
	}
	link, err := spaces.ParseLinkID(r.param("link"))
	if err != nil {
		return err
	}
	rel, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Release, error) {
		_, rel, err := r.releaseOf(tx)
		return rel, err
	})
	if err != nil {
		return err
	}
	if _, err := r.s.Zones.Promote(r.ctx, r.space, r.actor, rel.ID, link, false); err != nil {
		if errs.KindOf(err) == errs.Blocked {
			return r.releaseWith(err, complaints(err, nil))
		}
		return err
	}
	return r.see(views.ReleaseURL(r.about.Slug, r.param("project"), rel.Version))
}
