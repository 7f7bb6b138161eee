package api

import (
	"slices"
	"strconv"
	"strings"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
)

func scopedRoleRoutes() []Row {
	var rows []Row
	for _, w := range []Who{SignedIn, InSpace} {
		rows = append(rows,
			get("/scopeduserroles", w, "", listScopedRoles), post("/scopeduserroles", w, "", createScopedRole),
			get("/scopeduserroles/:id", w, "", showScopedRole), put("/scopeduserroles/:id", w, "", updateScopedRole), del("/scopeduserroles/:id", w, "", deleteScopedRole))
	}
	return rows
}

type scopedRoleResource struct {
	ID              string   `json:"Id"`
	TeamID          string   `json:"TeamId"`
	UserRoleID      string   `json:"UserRoleId"`
	SpaceID         *string  `json:"SpaceId"`
	ProjectIDs      []string `json:"ProjectIds"`
	ProjectGroupIDs []string `json:"ProjectGroupIds"`
	EnvironmentIDs  []string `json:"EnvironmentIds"`
	TenantIDs       []string `json:"TenantIds"`
	Links           links    `json:"Links"`
}

func (r *request) scopedRoleResource(v instance.ScopedRole, teams []instance.Team) scopedRoleResource {
	out := scopedRoleResource{ID: v.APIID(), TeamID: "Teams-" + strconv.FormatInt(v.TeamID, 10), UserRoleID: v.Role, ProjectIDs: orEmpty(v.Projects), ProjectGroupIDs: orEmpty(v.ProjectGroups),
		EnvironmentIDs: orEmpty(v.Environments), TenantIDs: orEmpty(v.Tenants), Links: links{"Self": r.api("scopeduserroles", v.APIID())}}
	for _, t := range teams {
		if t.ID == v.TeamID {
			out.TeamID = t.APIID()
		}
	}
	if v.Space != 0 {
		id := spaceID(v.Space)
		out.SpaceID = &id
	}
	return out
}

// scopedRoles are those of teams that the caller may know of, in spaces that he may
// enter.
func (r *request) scopedRoles(of string) ([]scopedRoleResource, error) {
	teams, err := r.teams()
	if err != nil {
		return nil, err
	}
	mine, err := r.mySpaces()
	if err != nil {
		return nil, err
	}
	list, err := r.s.Instance.ScopedRoles(r.ctx)
	if err != nil {
		return nil, err
	}
	out := []scopedRoleResource{}
	for _, v := range list {
		known := v.Space == 0 || slices.ContainsFunc(mine, func(s instance.Space) bool { return s.Number == v.Space })
		i := slices.IndexFunc(teams, func(t instance.Team) bool { return t.ID == v.TeamID })
		if known && i >= 0 && (of == "" || teams[i].APIID() == of) {
			out = append(out, r.scopedRoleResource(v, teams))
		}
	}
	return out, nil
}

func listScopedRoles(r *request) error {
	list, err := r.scopedRoles("")
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "ScopedUserRole", slice(r, list), same))
}

func teamScopedRoles(r *request) error {
	t, err := r.team()
	if err != nil {
		return err
	}
	list, err := r.scopedRoles(t.APIID())
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "ScopedUserRole", slice(r, list), same))
}

// scopedRole is the one of the path, if the caller may know of it.
func (r *request) scopedRole() (instance.ScopedRole, []instance.Team, error) {
	var none instance.ScopedRole
	id := r.param("id")
	list, err := r.scopedRoles("")
	if err != nil {
		return none, nil, err
	}
	if !slices.ContainsFunc(list, func(v scopedRoleResource) bool { return strings.EqualFold(v.ID, id) }) {
		return none, nil, errs.Missing("scoped user role", id)
	}
	teams, err := r.teams()
	if err != nil {
		return none, nil, err
	}
	v, err := r.s.Instance.ScopedRoleBy(r.ctx, id)
	return v, teams, err
}

func showScopedRole(r *request) error {
	v, teams, err := r.scopedRole()
	if err != nil {
		return err
	}
	return r.ok(r.scopedRoleResource(v, teams))
}

type scopedRoleInput struct {
	TeamID          string   `json:"TeamId"`
	UserRoleID      string   `json:"UserRoleId"`
	SpaceID         string   `json:"SpaceId"`
	ProjectIDs      []string `json:"ProjectIds"`
	ProjectGroupIDs []string `json:"ProjectGroupIds"`
	EnvironmentIDs  []string `json:"EnvironmentIds"`
	TenantIDs       []string `json:"TenantIds"`
}

// given is what a body says, with the teams that the caller may know of.
func (r *request) given(in scopedRoleInput) (instance.ScopedRole, []instance.Team, error) {
	out := instance.ScopedRole{Role: in.UserRoleID, Projects: in.ProjectIDs, ProjectGroups: in.ProjectGroupIDs, Environments: in.EnvironmentIDs, Tenants: in.TenantIDs}
	teams, err := r.teams()
	if err != nil {
		return out, nil, err
	}
	i := slices.IndexFunc(teams, func(t instance.Team) bool { return strings.EqualFold(t.APIID(), in.TeamID) })
	if i < 0 {
		return out, nil, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "TeamId", Message: "There is no team '" + in.TeamID + "'."}}}
	}
	out.TeamID = teams[i].ID
	out.Space, err = r.spaceNumber(in.SpaceID)
	return out, teams, err
}

func createScopedRole(r *request) error {
	in, err := readJSON[scopedRoleInput](r)
	if err != nil {
		return err
	}
	v, teams, err := r.given(in)
	if err != nil {
		return err
	}
	if v, err = r.s.Instance.CreateScopedRole(r.ctx, r.system, v); err != nil {
		return err
	}
	return r.created(r.scopedRoleResource(v, teams))
}

func updateScopedRole(r *request) error {
	old, teams, err := r.scopedRole()
	if err != nil {
		return err
	}
	in, err := readOver[scopedRoleInput](r, r.scopedRoleResource(old, teams))
	if err != nil {
		return err
	}
	v, teams, err := r.given(in)
	if err != nil {
		return err
	}
	if v, err = r.s.Instance.UpdateScopedRole(r.ctx, r.system, old, v); err != nil {
		return err
	}
	return r.ok(r.scopedRoleResource(v, teams))
}

func deleteScopedRole(r *request) error {
	v, _, err := r.scopedRole()
	if err != nil {
		return err
	}
	if err := r.s.Instance.DeleteScopedRole(r.ctx, r.system, v); err != nil {
		return err
	}
	return r.gone()
}
