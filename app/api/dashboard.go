package api

import (
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

func dashboardRoutes() []Row {
	return []Row{
		get("/dashboard", InSpace, access.ProjectView, dashboard),
		get("/dashboard/dynamic", InSpace, access.ProjectView, dashboard),
	}
}

// dashboardResource holds exactly these names: a client test refuses any other.
type dashboardResource struct {
	ID             string           `json:"Id"`
	Projects       []dashboardEntry `json:"Projects"`
	ProjectGroups  []dashboardEntry `json:"ProjectGroups"`
	Environments   []dashboardEntry `json:"Environments"`
	Tenants        []struct{}       `json:"Tenants"`
	Items          []dashboardItem  `json:"Items"`
	ProjectLimit   *int             `json:"ProjectLimit"`
	IsFiltered     bool             `json:"IsFiltered"`
	LastModifiedOn *time.Time       `json:"LastModifiedOn"`
	LastModifiedBy *string          `json:"LastModifiedBy"`
	Links          links            `json:"Links"`
}

// dashboardEntry is a project, a group or an environment.
type dashboardEntry struct {
	ID             string   `json:"Id"`
	Name           string   `json:"Name"`
	Slug           string   `json:"Slug,omitempty"`
	ProjectGroupID string   `json:"ProjectGroupId,omitempty"`
	EnvironmentIDs []string `json:"EnvironmentIds,omitempty"`
	IsDisabled     bool     `json:"IsDisabled,omitempty"`
	Links          links    `json:"Links"`
}

func dashboard(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (dashboardResource, error) {
		out := dashboardResource{ID: "dashboard", Projects: []dashboardEntry{}, ProjectGroups: []dashboardEntry{}, Environments: []dashboardEntry{}, Tenants: []struct{}{}, Items: []dashboardItem{}, Links: links{"Self": r.in("dashboard")}}
		f := spaces.DashboardFilter{Take: spaces.MaxTake}
		if text := r.query("projectId"); text != "" {
			p, err := tx.ProjectBy(text)
			if err != nil {
				return out, err
			}
			f.Project, out.IsFiltered = p.ID, true
		}
		d, err := tx.Dashboard(f)
		if err != nil {
			return out, err
		}
		projects, environments := r.list("projects"), r.list("environments")
		wanted := func(list []string, id string) bool {
			if len(list) == 0 {
				return true
			}
			for _, v := range list {
				if v == id {
					return true
				}
			}
			return false
		}
		groups := map[spaces.ProjectGroupID]bool{}
		for _, p := range d.Projects {
			if wanted(projects, p.ID.String()) {
				groups[p.GroupID] = true
				out.Projects = append(out.Projects, dashboardEntry{ID: p.ID.String(), Name: p.Name, Slug: p.Slug, ProjectGroupID: p.GroupID.String(), IsDisabled: p.IsDisabled, Links: links{"Self": r.in("projects", p.ID.String())}})
			}
		}
		for _, e := range d.Environments {
			if wanted(environments, e.ID.String()) && tx.Can(access.EnvironmentView, access.Scope{Environment: e.ID.String()}) {
				out.Environments = append(out.Environments, dashboardEntry{ID: e.ID.String(), Name: e.Name, Links: links{"Self": r.in("environments", e.ID.String())}})
			}
		}
		for _, g := range d.Groups {
			if groups[g.ID] {
				out.ProjectGroups = append(out.ProjectGroups, dashboardEntry{ID: g.ID.String(), Name: g.Name, Links: links{"Self": r.in("projectgroups", g.ID.String())}})
			}
		}
		for _, c := range d.Cells {
			if !wanted(projects, c.ProjectID.String()) || !wanted(environments, c.EnvironmentID.String()) {
				continue
			}
			created := c.CreatedAt
			out.Items = append(out.Items, dashboardItem{ID: c.DeploymentID.String(), ProjectID: c.ProjectID.String(), EnvironmentID: c.EnvironmentID.String(), ReleaseID: c.ReleaseID.String(), DeploymentID: c.DeploymentID.String(), TaskID: c.TaskID.String(), ReleaseVersion: c.Version,
				Created: created, QueueTime: &created, CompletedTime: c.CompletedAt, State: string(c.State), IsCurrent: true, IsCompleted: c.State.Finished(), HasPendingInterruptions: c.HasPending, HasWarningsOrErrors: c.HasWarnings,
				PendingInterruptionTypes: []string{}, PendingPreconditionTypes: []string{}, Links: r.dashboardLinks(c.DeploymentID, c.ReleaseID, c.TaskID)})
		}
		return out, nil
	})
}
