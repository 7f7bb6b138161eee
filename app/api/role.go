package api

import (
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
)

func roleRoutes() []Row {
	return []Row{
		get("/userroles", SignedIn, "", listRoles),
		get("/userroles/all", SignedIn, "", allRoles),
		post("/userroles", SignedIn, access.UserRoleEdit, createRole),
		get("/userroles/:id", SignedIn, "", showRole),
		put("/userroles/:id", SignedIn, access.UserRoleEdit, updateRole),
		del("/userroles/:id", SignedIn, access.UserRoleEdit, deleteRole),
	}
}

type roleResource struct {
	ID                      string              `json:"Id"`
	Name                    string              `json:"Name"`
	Description             string              `json:"Description"`
	CanBeDeleted            bool                `json:"CanBeDeleted"`
	GrantedSpacePermissions []access.Permission `json:"GrantedSpacePermissions"`
	GrantedSystem           []access.Permission `json:"GrantedSystemPermissions"`
	SpaceDescriptions       []string            `json:"SpacePermissionDescriptions"`
	SystemDescriptions      []string            `json:"SystemPermissionDescriptions"`
	SupportedRestrictions   []string            `json:"SupportedRestrictions"`
	Links                   links               `json:"Links"`
}

func (r *request) roleResource(role access.Role) roleResource {
	_, builtIn := access.RoleByID(role.ID)
	return roleResource{ID: role.ID, Name: role.Name, Description: role.Description, CanBeDeleted: !builtIn, GrantedSpacePermissions: orEmpty(role.Space), GrantedSystem: orEmpty(role.System),
		SpaceDescriptions: []string{}, SystemDescriptions: []string{}, SupportedRestrictions: []string{"Environments", "Projects", "ProjectGroups", "Tenants"}, Links: links{"Self": r.api("userroles", role.ID)}}
}

func (r *request) roles() ([]access.Role, error) {
	all, err := r.s.Instance.Roles(r.ctx)
	if err != nil {
		return nil, err
	}
	out := []access.Role{}
	for _, role := range all {
		if r.matches(role.Name) && r.asked(role.ID) {
			out = append(out, role)
		}
	}
	return out, nil
}

func listRoles(r *request) error {
	list, err := r.roles()
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "UserRole", slice(r, list), r.roleResource))
}

func allRoles(r *request) error {
	list, err := r.roles()
	if err != nil {
		return err
	}
	return r.ok(each(list, r.roleResource))
}

func showRole(r *request) error {
	role, err := r.s.Instance.RoleBy(r.ctx, r.param("id"))
	if err != nil {
		return err
	}
	return r.ok(r.roleResource(role))
}

type roleInput struct {
	Name                    string
	Description             string
	GrantedSpacePermissions []access.Permission
	GrantedSystem           []access.Permission `json:"GrantedSystemPermissions"`
}

func (in roleInput) input() instance.RoleInput {
	return instance.RoleInput{Name: in.Name, Description: in.Description, System: in.GrantedSystem, Space: in.GrantedSpacePermissions}
}

func createRole(r *request) error {
	in, err := readJSON[roleInput](r)
	if err != nil {
		return err
	}
	role, err := r.s.Instance.CreateRole(r.ctx, r.system, in.input())
	if err != nil {
		return err
	}
	return r.created(r.roleResource(role))
}

func updateRole(r *request) error {
	role, err := r.s.Instance.RoleBy(r.ctx, r.param("id"))
	if err != nil {
		return err
	}
	in, err := readOver[roleInput](r, r.roleResource(role))
	if err != nil {
		return err
	}
	if role, err = r.s.Instance.UpdateRole(r.ctx, r.system, role, in.input()); err != nil {
		return err
	}
	return r.ok(r.roleResource(role))
}

func deleteRole(r *request) error {
	role, err := r.s.Instance.RoleBy(r.ctx, r.param("id"))
	if err != nil {
		return err
	}
	if err := r.s.Instance.DeleteRole(r.ctx, r.system, role); err != nil {
		return err
	}
	return r.gone()
}
