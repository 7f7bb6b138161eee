package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
)

func lifecycleRoutes() []Row {
	read := func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Lifecycle], error) {
		return tx.Lifecycles(o)
	}
	return []Row{
		get("/lifecycles", InSpace, access.LifecycleView, func(r *request) error { return listed(r, "Lifecycle", read, r.lifecycleResource) }),
		get("/lifecycles/all", InSpace, access.LifecycleView, func(r *request) error { return all(r, read, r.lifecycleResource) }),
		post("/lifecycles", InSpace, access.LifecycleCreate, createLifecycle),
		get("/lifecycles/:id", InSpace, access.LifecycleView, showLifecycle),
		put("/lifecycles/:id", InSpace, access.LifecycleEdit, updateLifecycle),
		del("/lifecycles/:id", InSpace, access.LifecycleDelete, deleteLifecycle),
		get("/lifecycles/:id/projects", InSpace, access.LifecycleView, lifecycleProjects),
	}
}

// lifecycleResource says each field: the document in spaces.Lifecycle encodes itself and
// would leave out what stands around it.
type lifecycleResource struct {
	ID                      string                  `json:"Id"`
	SpaceID                 string                  `json:"SpaceId"`
	Name                    string                  `json:"Name"`
	Slug                    string                  `json:"Slug"`
	Description             string                  `json:"Description"`
	Phases                  []deploy.Phase          `json:"Phases"`
	ReleaseRetentionPolicy  *deploy.RetentionPeriod `json:"ReleaseRetentionPolicy"`
	TentacleRetentionPolicy *deploy.RetentionPeriod `json:"TentacleRetentionPolicy"`
	LastModifiedOn          *time.Time              `json:"LastModifiedOn"`
	LastModifiedBy          string                  `json:"LastModifiedBy"`
	Links                   links                   `json:"Links"`
}

func (r *request) lifecycleResource(l spaces.Lifecycle) lifecycleResource {
	self := r.in("lifecycles", l.ID.String())
	return lifecycleResource{ID: l.ID.String(), SpaceID: r.about.ID(), Name: l.Name, Slug: l.Slug, Description: l.Description, Phases: orEmpty(l.Phases),
		ReleaseRetentionPolicy: l.ReleaseRetentionPolicy, TentacleRetentionPolicy: l.TentacleRetentionPolicy, LastModifiedOn: timeOrNil(l.UpdatedAt), LastModifiedBy: l.UpdatedBy,
		Links: links{"Self": self, "Preview": self + "/preview", "Projects": self + "/projects"}}
}

func createLifecycle(r *request) error {
	in, err := readJSON[deploy.Lifecycle](r)
	if err != nil {
		return err
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (lifecycleResource, error) {
		l, err := tx.CreateLifecycle(in)
		return r.lifecycleResource(l), err
	})
}

func showLifecycle(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (lifecycleResource, error) {
		l, err := tx.LifecycleBy(r.param("id"))
		return r.lifecycleResource(l), err
	})
}

func updateLifecycle(r *request) error {
	stored, err := view(r, func(tx *spaces.ReadTx) (spaces.Lifecycle, error) { return tx.LifecycleBy(r.param("id")) })
	if err != nil {
		return err
	}
	in, err := readOver[deploy.Lifecycle](r, r.lifecycleResource(stored))
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (lifecycleResource, error) {
		l, err := tx.UpdateLifecycle(stored.ID, in)
		return r.lifecycleResource(l), err
	})
}

func deleteLifecycle(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		l, err := tx.LifecycleBy(r.param("id"))
		if err != nil {
			return err
		}
		return tx.DeleteLifecycle(l.ID)
	})
}

// lifecycleProjects is a bare array: those that use the lifecycle themselves.
func lifecycleProjects(r *request) error {
	return show(r, func(tx *spaces.ReadTx) ([]projectResource, error) {
		l, err := tx.LifecycleBy(r.param("id"))
		if err != nil {
			return nil, err
		}
		p, err := tx.Projects(0, spaces.All)
		out := []projectResource{}
		for _, v := range p.Items {
			if v.LifecycleID == l.ID {
				out = append(out, r.projectResource(v))
			}
		}
		return out, err
	})
}
