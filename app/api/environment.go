package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

func environmentRoutes() []Row {
	read := func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Environment], error) {
		return tx.Environments(o)
	}
	list := func(r *request) error { return listed(r, "Environment", read, r.environmentResource) }
	return []Row{
		get("/environments", InSpace, access.EnvironmentView, list),
		get("/environments/all", InSpace, access.EnvironmentView, func(r *request) error { return all(r, read, r.environmentResource) }),
		get("/environments/v2", InSpace, access.EnvironmentView, environmentsV2),
		get("/environments/summary", InSpace, access.MachineView, environmentsSummary),
		put("/environments/sortorder", InSpace, access.EnvironmentEdit, sortEnvironments),
		post("/environments", InSpace, access.EnvironmentCreate, createEnvironment),
		get("/environments/:id", InSpace, access.EnvironmentView, showEnvironment),
		put("/environments/:id", InSpace, access.EnvironmentEdit, updateEnvironment),
		del("/environments/:id", InSpace, access.EnvironmentDelete, deleteEnvironment),
		get("/environments/:id/machines", InSpace, access.MachineView, environmentMachines),
	}
}

type environmentResource struct {
	ID                         string     `json:"Id"`
	SpaceID                    string     `json:"SpaceId"`
	Name                       string     `json:"Name"`
	Slug                       string     `json:"Slug"`
	Description                string     `json:"Description"`
	SortOrder                  int        `json:"SortOrder"`
	UseGuidedFailure           bool       `json:"UseGuidedFailure"`
	AllowDynamicInfrastructure bool       `json:"AllowDynamicInfrastructure"`
	EnvironmentTags            []string   `json:"EnvironmentTags"`
	ExtensionSettings          []struct{} `json:"ExtensionSettings"`
	Type                       string     `json:"Type"`
	LastModifiedOn             *time.Time `json:"LastModifiedOn"`
	LastModifiedBy             string     `json:"LastModifiedBy"`
	Links                      links      `json:"Links"`
}

func (r *request) environmentResource(e spaces.Environment) environmentResource {
	self := r.in("environments", e.ID.String())
	return environmentResource{ID: e.ID.String(), SpaceID: r.about.ID(), Name: e.Name, Slug: e.Slug, Description: e.Description, SortOrder: e.SortOrder, UseGuidedFailure: e.UseGuidedFailure,
		AllowDynamicInfrastructure: e.AllowDynamicInfrastructure, EnvironmentTags: []string{}, ExtensionSettings: []struct{}{}, Type: "Static", LastModifiedOn: timeOrNil(e.UpdatedAt), LastModifiedBy: e.UpdatedBy,
		Links: links{"Self": self, "Machines": self + "/machines{?skip,take,partialName,roles,isDisabled,healthStatuses,commStyles,tenantIds,tenantTags,shellNames}", "SinglyScopedVariableDetails": self + "/singlyScopedVariableDetails"}}
}

type environmentInput struct {
	Name                       string
	Slug                       string
	Description                string
	SortOrder                  *int
	UseGuidedFailure           bool
	AllowDynamicInfrastructure bool
}

func (in environmentInput) input() spaces.EnvironmentInput {
	return spaces.EnvironmentInput{Name: in.Name, Slug: in.Slug, Description: in.Description, SortOrder: in.SortOrder, UseGuidedFailure: in.UseGuidedFailure, AllowDynamicInfrastructure: in.AllowDynamicInfrastructure}
}

// environmentsV2 also knows parents and short-lived environments, of which we have none.
func environmentsV2(r *request) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Environment], error) { return tx.Environments(r.options()) })
	if err != nil {
		return err
	}
	if t := r.query("type"); t != "" && t != "Static" {
		p = spaces.Page[spaces.Environment]{Take: p.Take}
	}
	return r.ok(pageOf(r, "Environment", p, r.environmentResource))
}

func createEnvironment(r *request) error {
	in, err := readJSON[environmentInput](r)
	if err != nil {
		return err
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (environmentResource, error) {
		e, err := tx.CreateEnvironment(in.input())
		return r.environmentResource(e), err
	})
}

func showEnvironment(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (environmentResource, error) {
		e, err := tx.EnvironmentBy(r.param("id"))
		return r.environmentResource(e), err
	})
}

func updateEnvironment(r *request) error {
	stored, err := view(r, func(tx *spaces.ReadTx) (spaces.Environment, error) { return tx.EnvironmentBy(r.param("id")) })
	if err != nil {
		return err
	}
	in, err := readOver[environmentInput](r, r.environmentResource(stored))
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (environmentResource, error) {
		e, err := tx.UpdateEnvironment(stored.ID, in.input())
		return r.environmentResource(e), err
	})
}

func deleteEnvironment(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		e, err := tx.EnvironmentBy(r.param("id"))
		if err != nil {
			return err
		}
		return tx.DeleteEnvironment(e.ID)
	})
}

func sortEnvironments(r *request) error {
	in, err := readJSON[[]string](r)
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) ([]environmentResource, error) {
		ids := make([]spaces.EnvironmentID, 0, len(in))
		for _, text := range in {
			id, err := spaces.ParseEnvironmentID(text)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
		if err := tx.SortEnvironments(ids); err != nil {
			return nil, err
		}
		p, err := tx.Environments(spaces.All)
		return each(p.Items, r.environmentResource), err
	})
}

func environmentMachines(r *request) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Target], error) {
		e, err := tx.EnvironmentBy(r.param("id"))
		if err != nil {
			return spaces.Page[spaces.Target]{}, err
		}
		return tx.Targets(spaces.TargetFilter{ListOptions: r.options(), Environment: e.ID})
	})
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Machine", p, r.machineResource))
}

// environmentsSummary counts the targets of each environment by health.
func environmentsSummary(r *request) error {
	type counts struct {
		TotalMachines                int
		TotalDisabledMachines        int
		MachineHealthStatusSummaries map[string]int
	}
	type summary struct {
		counts
		Environment environmentResource
	}
	return show(r, func(tx *spaces.ReadTx) (map[string]any, error) {
		environments, err := tx.Environments(r.everything())
		if err != nil {
			return nil, err
		}
		targets, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.All})
		if err != nil {
			return nil, err
		}
		fresh := func() counts { return counts{MachineHealthStatusSummaries: map[string]int{}} }
		count := func(c *counts, t spaces.Target) {
			c.TotalMachines++
			c.MachineHealthStatusSummaries[t.Health]++
			if t.IsDisabled {
				c.TotalDisabledMachines++
			}
		}
		total := fresh()
		for _, t := range targets.Items {
			count(&total, t)
		}
		out := make([]summary, 0, len(environments.Items))
		for _, e := range environments.Items {
			s := summary{counts: fresh(), Environment: r.environmentResource(e)}
			for _, t := range targets.Items {
				for _, id := range t.Environments {
					if id == e.ID {
						count(&s.counts, t)
					}
				}
			}
			out = append(out, s)
		}
		return map[string]any{"Id": "EnvironmentsSummary", "TotalMachines": total.TotalMachines, "TotalDisabledMachines": total.TotalDisabledMachines, "MachineHealthStatusSummaries": total.MachineHealthStatusSummaries,
			"MachineEndpointSummaries": map[string]int{}, "TenantSummaries": map[string]int{}, "EnvironmentSummaries": out, "MachineIdsForCalamariUpgrade": []string{}, "MachineIdsForTentacleUpgrade": []string{}, "TentacleUpgradesRequired": false, "Links": links{"Self": r.in("environments", "summary")}}, nil
	})
}
