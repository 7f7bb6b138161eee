package api

import (
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/variables"
)

func variableRoutes() []Row {
	return []Row{
		get("/variables", InSpace, access.VariableView, allVariables),
		get("/variables/all", InSpace, access.VariableView, allVariables),
		get("/variables/names", InSpace, access.VariableView, variableNames),
		get("/variables/preview", InSpace, access.VariableView, previewVariables),
		get("/variables/:id", InSpace, access.VariableView, showVariables),
		large(put("/variables/:id", InSpace, access.VariableEdit, updateVariables)),
		get("/projects/:project/variables", InSpace, access.VariableView, showVariables),
		large(put("/projects/:project/variables", InSpace, access.VariableEdit, updateVariables)),
	}
}

const variablesPrefix = "variableset-"

type named struct {
	ID   string `json:"Id"`
	Name string `json:"Name"`
}

type scopeValues struct {
	Environments []named `json:"Environments"`
	Machines     []named `json:"Machines"`
	Roles        []named `json:"Roles"`
	Actions      []named `json:"Actions"`
	Channels     []named `json:"Channels"`
	TenantTags   []named `json:"TenantTags"`
	Processes    []named `json:"Processes"`
}

type variableSetResource struct {
	ID             string               `json:"Id"`
	SpaceID        string               `json:"SpaceId"`
	OwnerID        string               `json:"OwnerId"`
	Version        int64                `json:"Version"`
	Variables      []variables.Variable `json:"Variables"`
	ScopeValues    scopeValues          `json:"ScopeValues"`
	LastModifiedOn *time.Time           `json:"LastModifiedOn"`
	LastModifiedBy string               `json:"LastModifiedBy"`
	Links          links                `json:"Links"`
}

func (r *request) variableSetResource(tx *spaces.ReadTx, v spaces.VariableSet) (variableSetResource, error) {
	id := spaces.VariableSetID(v.ProjectID)
	out := variableSetResource{ID: id, SpaceID: r.about.ID(), OwnerID: v.ProjectID.String(), Version: v.Version, Variables: orEmpty(v.Variables), LastModifiedOn: timeOrNil(v.UpdatedAt), LastModifiedBy: v.UpdatedBy,
		Links: links{"Self": r.in("variables", id), "Project": r.in("projects", v.ProjectID.String())}}
	var err error
	out.ScopeValues, err = scopesOf(tx, v.ProjectID)
	return out, err
}

// scopesOf is what values of a project can be limited to, as far as the caller may see
// it.
func scopesOf(tx *spaces.ReadTx, project spaces.ProjectID) (scopeValues, error) {
	out := scopeValues{Environments: []named{}, Machines: []named{}, Roles: []named{}, Actions: []named{}, Channels: []named{}, TenantTags: []named{}, Processes: []named{}}
	hidden := func(err error) error {
		if errs.KindOf(err) == errs.Denied {
			return nil
		}
		return err
	}
	environments, err := tx.Environments(spaces.All)
	if err := hidden(err); err != nil {
		return out, err
	}
	for _, e := range environments.Items {
		out.Environments = append(out.Environments, named{e.ID.String(), e.Name})
	}
	targets, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.All})
	if err := hidden(err); err != nil {
		return out, err
	}
	for _, t := range targets.Items {
		out.Machines = append(out.Machines, named{t.ID.String(), t.Name})
		for _, tag := range t.Tags {
			if v := (named{tag, tag}); !slices.Contains(out.Roles, v) {
				out.Roles = append(out.Roles, v)
			}
		}
	}
	process, err := tx.Process(project)
	if err := hidden(err); err != nil {
		return out, err
	}
	for _, step := range process.Steps {
		for _, tag := range step.TargetTags() {
			if v := (named{tag, tag}); !slices.Contains(out.Roles, v) {
				out.Roles = append(out.Roles, v)
			}
		}
		for _, a := range step.Actions {
			out.Actions = append(out.Actions, named{a.ID, a.Name})
		}
	}
	channels, err := tx.Channels(project, spaces.All)
	for _, c := range channels.Items {
		out.Channels = append(out.Channels, named{c.ID.String(), c.Name})
	}
	return out, err
}

func (r *request) variablesProject(tx *spaces.ReadTx) (spaces.Project, error) {
	text := r.param("project")
	if text == "" {
		rest, ok := cutPrefix(r.param("id"), variablesPrefix)
		if !ok {
			return spaces.Project{}, errs.Missing("variable set", r.param("id"))
		}
		text = rest
	}
	return tx.ProjectBy(text)
}

// showVariables answers the variables of a project, or those frozen in a release.
func showVariables(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (variableSetResource, error) {
		if rest, ok := cutPrefix(r.param("id"), variablesPrefix); ok {
			if id, err := spaces.ParseReleaseID(rest); err == nil {
				return r.frozenVariables(tx, id)
			}
		}
		p, err := r.variablesProject(tx)
		if err != nil {
			return variableSetResource{}, err
		}
		v, err := tx.Variables(p.ID)
		if err != nil {
			return variableSetResource{}, err
		}
		return r.variableSetResource(tx, v)
	})
}

// frozenVariables leaves out what the caller may not see, as the living set does:
// values that are scoped to environments beyond the caller's, and unscoped ones without
// that permission.
func (r *request) frozenVariables(tx *spaces.ReadTx, id spaces.ReleaseID) (variableSetResource, error) {
	release, err := tx.Release(id)
	if err != nil {
		return variableSetResource{}, err
	}
	living, err := tx.Variables(release.ProjectID) // asks for the permission
	if err != nil {
		return variableSetResource{}, err
	}
	p, err := tx.Project(release.ProjectID)
	if err != nil {
		return variableSetResource{}, err
	}
	frozen, err := tx.ReleaseVariables(release)
	if err != nil {
		return variableSetResource{}, err
	}
	living.Variables = []variables.Variable{}
	for _, v := range frozen.Variables {
		may := tx.Can(access.VariableViewUnscoped, p.Scope())
		if environments := v.Scope[variables.Environment]; len(environments) > 0 {
			may = !slices.ContainsFunc(environments, func(e string) bool {
				scope := p.Scope()
				scope.Environment = e
				return !tx.Can(access.VariableView, scope)
			})
		}
		if may {
			v.Secret = 0
			living.Variables = append(living.Variables, v)
		}
	}
	living.Version, living.UpdatedAt, living.UpdatedBy = 0, release.AssembledAt, release.AssembledBy
	out, err := r.variableSetResource(tx, living)
	out.ID = variablesPrefix + id.String()
	out.Links["Self"] = r.in("variables", out.ID)
	return out, err
}

func updateVariables(r *request) error {
	p, err := view(r, r.variablesProject)
	if err != nil {
		return err
	}
	in, err := readJSON[struct {
		Version   int64
		Variables []variables.Variable
	}](r)
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (variableSetResource, error) {
		v, err := tx.SaveVariables(p.ID, in.Version, variables.Set{Variables: in.Variables})
		if err != nil {
			return variableSetResource{}, err
		}
		return r.variableSetResource(tx.ReadTx, v)
	})
}

// setsOf are the variable sets that a request asks for.
func (r *request) setsOf(tx *spaces.ReadTx) ([]spaces.VariableSet, error) {
	o := spaces.All
	for _, id := range append(r.list("ids"), r.list("project")...) {
		id, _ = cutPrefix(id, variablesPrefix)
		o.IDs = append(o.IDs, id)
	}
	projects, err := tx.Projects(0, o)
	if err != nil {
		return nil, err
	}
	var out []spaces.VariableSet
	for _, p := range projects.Items {
		v, err := tx.Variables(p.ID)
		if errs.KindOf(err) == errs.Denied {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func allVariables(r *request) error {
	return show(r, func(tx *spaces.ReadTx) ([]variableSetResource, error) {
		sets, err := r.setsOf(tx)
		out := []variableSetResource{}
		for _, v := range sets {
			res, err := r.variableSetResource(tx, v)
			if err != nil {
				return nil, err
			}
			out = append(out, res)
		}
		return out, err
	})
}

// variableNames are the names in use, each once, for completion in editors.
func variableNames(r *request) error {
	return show(r, func(tx *spaces.ReadTx) ([]string, error) {
		sets, err := r.setsOf(tx)
		out := []string{}
		for _, s := range sets {
			for _, v := range s.Variables {
				out = append(out, v.Name)
			}
		}
		slices.Sort(out)
		return slices.Compact(out), err
	})
}

// previewVariables answers the winner of each name, in the form of a variable set.
func previewVariables(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (variableSetResource, error) {
		p, err := tx.ProjectBy(r.query("project"))
		if err != nil {
			return variableSetResource{}, err
		}
		ctx := variables.Context{Machine: r.query("machine"), Action: r.query("action"), Roles: r.list("role")}
		if text := r.query("environment"); text != "" {
			e, err := tx.EnvironmentBy(text)
			if err != nil {
				return variableSetResource{}, err
			}
			ctx.Environment = e.ID.String()
		}
		if text := r.query("channel"); text != "" {
			c, err := tx.ChannelBy(p.ID, text)
			if err != nil {
				return variableSetResource{}, err
			}
			ctx.Channel = c.ID.String()
		}
		resolved, err := tx.PreviewVariables(p.ID, ctx)
		if err != nil {
			return variableSetResource{}, err
		}
		set := spaces.VariableSet{ProjectID: p.ID}
		for _, n := range resolved.Names {
			if v, ok := resolved.Winner(n.Name); ok {
				v.Secret = 0
				set.Variables = append(set.Variables, v)
			}
		}
		out, err := r.variableSetResource(tx, set)
		out.Links["Self"] = r.in("variables", "preview")
		return out, err
	})
}
