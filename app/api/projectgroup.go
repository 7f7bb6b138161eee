package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

func projectGroupRoutes() []Row {
	read := func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.ProjectGroup], error) {
		return tx.ProjectGroups(o)
	}
	return []Row{
		get("/projectgroups", InSpace, access.ProjectGroupView, func(r *request) error { return listed(r, "ProjectGroup", read, r.projectGroupResource) }),
		get("/projectgroups/all", InSpace, access.ProjectGroupView, func(r *request) error { return all(r, read, r.projectGroupResource) }),
		post("/projectgroups", InSpace, access.ProjectGroupCreate, createProjectGroup),
		get("/projectgroups/:id", InSpace, access.ProjectGroupView, showProjectGroup),
		put("/projectgroups/:id", InSpace, access.ProjectGroupEdit, updateProjectGroup),
		del("/projectgroups/:id", InSpace, access.ProjectGroupDelete, deleteProjectGroup),
		get("/projectgroups/:id/projects", InSpace, access.ProjectView, projectGroupProjects),
	}
}

type projectGroupResource struct {
	ID                string     `json:"Id"`
	SpaceID           string     `json:"SpaceId"`
	Name              string     `json:"Name"`
	Slug              string     `json:"Slug"`
	Description       string     `json:"Description"`
	EnvironmentIDs    []string   `json:"EnvironmentIds"`
	RetentionPolicyID *string    `json:"RetentionPolicyId"`
	LastModifiedOn    *time.Time `json:"LastModifiedOn"`
	LastModifiedBy    string     `json:"LastModifiedBy"`
	Links             links      `json:"Links"`
}

func (r *request) projectGroupResource(g spaces.ProjectGroup) projectGroupResource {
	self := r.in("projectgroups", g.ID.String())
	return projectGroupResource{ID: g.ID.String(), SpaceID: r.about.ID(), Name: g.Name, Slug: g.Slug, Description: g.Description, EnvironmentIDs: []string{}, LastModifiedOn: timeOrNil(g.UpdatedAt), LastModifiedBy: g.UpdatedBy,
		Links: links{"Self": self, "Projects": self + "/projects"}}
}

type projectGroupInput struct{ Name, Slug, Description string }

func createProjectGroup(r *request) error {
	in, err := readJSON[projectGroupInput](r)
	if err != nil {
		return err
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (projectGroupResource, error) {
		g, err := tx.CreateProjectGroup(spaces.ProjectGroupInput(in))
		return r.projectGroupResource(g), err
	})
}

func showProjectGroup(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (projectGroupResource, error) {
		g, err := tx.ProjectGroupBy(r.param("id"))
		return r.projectGroupResource(g), err
	})
}

func updateProjectGroup(r *request) error {
	stored, err := view(r, func(tx *spaces.ReadTx) (spaces.ProjectGroup, error) { return tx.ProjectGroupBy(r.param("id")) })
	if err != nil {
		return err
	}
	in, err := readOver[projectGroupInput](r, r.projectGroupResource(stored))
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (projectGroupResource, error) {
		g, err := tx.UpdateProjectGroup(stored.ID, spaces.ProjectGroupInput(in))
		return r.projectGroupResource(g), err
	})
}

func deleteProjectGroup(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		g, err := tx.ProjectGroupBy(r.param("id"))
		if err != nil {
			return err
		}
		return tx.DeleteProjectGroup(g.ID)
	})
}

func projectGroupProjects(r *request) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Project], error) {
		g, err := tx.ProjectGroupBy(r.param("id"))
		if err != nil {
			return spaces.Page[spaces.Project]{}, err
		}
		return tx.Projects(g.ID, r.options())
	})
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Project", p, r.projectResource))
}
