package api

import (
	"slices"
	"strconv"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func teamRoutes() []Row {
	var rows []Row
	for _, w := range []Who{SignedIn, InSpace} {
		rows = append(rows, get("/teams", w, "", listTeams), get("/teams/all", w, "", allTeams), get("/teams/:id", w, "", showTeam))
	}
	return append(rows,
		get("/userroles", SignedIn, "", listRoles),
		get("/userroles/all", SignedIn, "", allRoles),
		get("/userroles/:id", SignedIn, "", showRole),
		get("/scopeduserroles", SignedIn, "", listScopedRoles),
		get("/teams/:id/scopeduserroles", SignedIn, "", teamScopedRoles),
	)
}

type teamResource struct {
	ID                     string   `json:"Id"`
	Name                   string   `json:"Name"`
	Description            string   `json:"Description"`
	MemberUserIDs          []string `json:"MemberUserIds"`
	ExternalSecurityGroups []string `json:"ExternalSecurityGroups"`
	SpaceID                *string  `json:"SpaceId"`
	CanBeDeleted           bool     `json:"CanBeDeleted"`
	CanBeRenamed           bool     `json:"CanBeRenamed"`
	CanChangeMembers       bool     `json:"CanChangeMembers"`
	CanChangeRoles         bool     `json:"CanChangeRoles"`
	Links                  links    `json:"Links"`
}

func (r *request) teamResource(t instance.Team) teamResource {
	self := r.api("teams", t.APIID())
	own := t.Word == ""
	out := teamResource{ID: t.APIID(), Name: t.Name, Description: t.Description, MemberUserIDs: each(t.Members, userID), ExternalSecurityGroups: []string{},
		CanBeDeleted: own, CanBeRenamed: own, CanChangeMembers: t.Word != "everyone", CanChangeRoles: own,
		Links: links{"Self": self, "ScopedUserRoles": self + "/scopeduserroles{?skip,take}"}}
	if t.Space != 0 {
		id := spaceID(t.Space)
		out.SpaceID = &id
	}
	return out
}

func spaceID(n int64) string { return instance.Space{Number: n}.ID() }

// teams are those that the caller may know of: of the system, and of spaces that he may
// enter; on a row of a space those of other spaces are left out.
func (r *request) teams() ([]instance.Team, error) {
	list, err := r.s.Instance.Teams(r.ctx)
	if err != nil {
		return nil, err
	}
	mine, err := r.mySpaces()
	if err != nil {
		return nil, err
	}
	out := []instance.Team{}
	for _, t := range list {
		switch {
		case t.Space == 0:
		case r.space != nil && t.Space != r.about.Number:
			continue
		case !slices.ContainsFunc(mine, func(s instance.Space) bool { return s.Number == t.Space }):
			continue
		}
		if r.matches(t.Name) && r.asked(t.APIID()) {
			out = append(out, t)
		}
	}
	return out, nil
}

func listTeams(r *request) error {
	list, err := r.teams()
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Team", slice(r, list), r.teamResource))
}

func allTeams(r *request) error {
	list, err := r.teams()
	if err != nil {
		return err
	}
	return r.ok(each(list, r.teamResource))
}

func (r *request) team() (instance.Team, error) {
	list, err := r.teams()
	if err != nil {
		return instance.Team{}, err
	}
	want := r.param("id")
	for _, t := range list {
		if t.APIID() == want {
			return t, nil
		}
	}
	return instance.Team{}, errs.Missing("team", want)
}

func showTeam(r *request) error {
	t, err := r.team()
	if err != nil {
		return err
	}
	return r.ok(r.teamResource(t))
}

type roleResource struct {
	ID                      string              `json:"Id"`
	Name                    string              `json:"Name"`
	Description             string              `json:"Description"`
	CanBeDeleted            bool                `json:"CanBeDeleted"`
	GrantedSpacePermissions []access.Permission `json:"GrantedSpacePermissions"`
	GrantedSystem           []access.Permission `json:"GrantedSystemPermissions"`
	Links                   links               `json:"Links"`
}

func (r *request) roleResource(role access.Role) roleResource {
	return roleResource{ID: role.ID, Name: role.Name, Description: role.Description, GrantedSpacePermissions: orEmpty(role.Space), GrantedSystem: orEmpty(role.System), Links: links{"Self": r.api("userroles", role.ID)}}
}

func (r *request) roles() []access.Role {
	out := []access.Role{}
	for _, role := range access.Roles() {
		if r.matches(role.Name) && r.asked(role.ID) {
			out = append(out, role)
		}
	}
	return out
}

func listRoles(r *request) error {
	return r.ok(pageOf(r, "UserRole", slice(r, r.roles()), r.roleResource))
}

func allRoles(r *request) error { return r.ok(each(r.roles(), r.roleResource)) }

func showRole(r *request) error {
	role, ok := access.RoleByID(r.param("id"))
	if !ok {
		return errs.Missing("user role", r.param("id"))
	}
	return r.ok(r.roleResource(role))
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
