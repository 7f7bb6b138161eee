package web

import (
	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/releases"
	"octopuses.dev/octopuses/views/ui"
)

func (r *request) deployWith(m releases.Deploy) (releases.Deploy, error) {
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Project, error) {
		p, rel, err := r.releaseOf(tx)
		if err != nil {
			return p, err
		}
		m.Version = rel.Version
		progress, err := tx.Progress(rel)
		if err != nil {
			return p, err
		}
		for _, ph := range progress.Phases {
			for _, e := range ph.Environments {
				o := ui.Option{Value: e.ID, Label: e.Name}
				if may, why := progress.MayDeploy(e.ID, e.Name); !may {
					o.Disabled, o.Label = true, e.Name+": "+why
				}
				m.Environments = append(m.Environments, o)
			}
		}
		process, err := tx.ReleaseProcess(rel)
		if err != nil {
			return p, err
		}
		m.Steps = stepRows(process.Public())
		return p, nil
	})
	if err != nil {
		return m, err
	}
	m.Page, m.Header = r.projectPage(p, "Deploy"), r.header(p, "Releases")
	m.Page.Crumbs = append(m.Page.Crumbs, ui.Crumb{Label: m.Version, Href: views.ReleaseURL(r.about.Slug, p.Slug, m.Version)}, ui.Crumb{Label: "Deploy"})
	return m, nil
}

// asked is what the form says of the deployment.
func (r *request) asked(tx *spaces.ReadTx) (spaces.Project, spaces.Release, spaces.DeploymentInput, error) {
	p, rel, err := r.releaseOf(tx)
	in := spaces.DeploymentInput{Release: rel.ID, Comments: r.value("comments")}
	if err != nil {
		return p, rel, in, err
	}
	if in.Environment, err = spaces.ParseEnvironmentID(r.value("environment")); err != nil {
		return p, rel, in, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "environment", Message: "Choose an environment."}}}
	}
	process, err := tx.ReleaseProcess(rel)
	if err != nil {
		return p, rel, in, err
	}
	for _, id := range r.form["skip"] {
		for _, st := range process.Steps {
			if st.ID == id {
				for _, a := range st.Actions {
					in.Options.SkipActions = append(in.Options.SkipActions, a.ID)
				}
			}
		}
	}
	if guided := r.checked("guided"); guided { // unchecked is the default
		in.Options.UseGuidedFailure = &guided
	}
	return p, rel, in, nil
}

func deployForm(r *request) error {
	m, err := r.deployWith(releases.Deploy{Environment: r.Query("environment")})
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, releases.ShowDeploy(m))
}

func deployRelease(r *request) error {
	typed := releases.Deploy{Environment: r.value("environment"), Comments: r.value("comments"), Guided: r.checked("guided"), Skip: map[string]bool{}}
	for _, id := range r.form["skip"] {
		typed.Skip[id] = true
	}
	again := func(err error) error {
		typed.Errors = complaints(err, map[string]string{"EnvironmentId": "environment"})
		m, e := r.deployWith(typed)
		if e != nil {
			return e
		}
		return r.again(err, nil, func([]ui.FieldError) templ.Component { return releases.ShowDeploy(m) })
	}
	if r.checked("preview") {
		plan, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (*deploy.Plan, error) {
			_, rel, in, err := r.asked(tx)
			if err != nil {
				return nil, err
			}
			return tx.PreviewPlan(rel.ID, in.Environment, in.Options)
		})
		if err != nil {
			return again(err)
		}
		typed.Plan = planOf(plan)
		m, err := r.deployWith(typed)
		if err != nil {
			return err
		}
		return r.render(fiber.StatusOK, releases.ShowDeploy(m))
	}
	var project, version string
	d, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Deployment, error) {
		p, rel, in, err := r.asked(tx.ReadTx)
		if err != nil {
			return spaces.Deployment{}, err
		}
		project, version = p.Slug, rel.Version
		return tx.CreateDeployment(in)
	})
	if err != nil {
		return again(err)
	}
	return r.see(views.DeploymentURL(r.about.Slug, project, version, d.ID.String()))
}

func planOf(p *deploy.Plan) *releases.Plan {
	names := map[string]string{}
	for _, t := range p.Targets {
		names[t.ID] = t.Name
	}
	out := &releases.Plan{Warnings: p.Warnings}
	for _, s := range p.Steps {
		x := releases.PlanStep{Number: s.Number, Name: s.Name, Skip: s.Skip}
		for _, t := range s.Targets {
			x.Targets = append(x.Targets, names[t])
		}
		if x.Skip == "" && len(s.Actions) == 1 {
			x.Skip = s.Actions[0].Skip
		}
		out.Steps = append(out.Steps, x)
	}
	return out
}
