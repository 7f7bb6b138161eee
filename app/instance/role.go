package instance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// RoleInput is what is said of a role that people make.
type RoleInput struct {
	Name, Description string
	System, Space     []access.Permission
}

const roleColumns = `user_role.id, user_role.name, user_role.description, user_role.system_permissions, user_role.space_permissions`

func roleID(n int64) string { return fmt.Sprintf("UserRoles-%d", n) }

func scanRole(scan func(...any) error) (access.Role, error) {
	var id int64
	var r access.Role
	var system, space string
	if err := scan(&id, &r.Name, &r.Description, &system, &space); err != nil {
		return r, err
	}
	r.ID = roleID(id)
	if err := json.Unmarshal([]byte(system), &r.System); err != nil {
		return r, fmt.Errorf("decode role %s: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(space), &r.Space); err != nil {
		return r, fmt.Errorf("decode role %s: %w", r.ID, err)
	}
	return r, nil
}

// Roles lists the built-in roles, then those that people made, by name.
func (i *Instance) Roles(ctx context.Context) ([]access.Role, error) {
	own, err := list(ctx, i, scanRole, `SELECT `+roleColumns+` FROM user_role ORDER BY name`)
	return append(access.Roles(), own...), err
}

// RoleBy finds a role by API id, without case.
func (i *Instance) RoleBy(ctx context.Context, id string) (access.Role, error) {
	if r, ok := access.RoleByID(id); ok {
		return r, nil
	}
	n, _ := cutID("UserRoles-", id)
	r, err := scanRole(i.read.QueryRowContext(ctx, `SELECT `+roleColumns+` FROM user_role WHERE id = ?`, n).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, errs.Missing("user role", id)
	}
	return r, storeError(err)
}

// CreateRole needs UserRoleEdit. A role that nobody has gives nothing, so it may hold
// more than its maker has.
func (i *Instance) CreateRole(ctx context.Context, actor Actor, in RoleInput) (access.Role, error) {
	if err := i.require(ctx, actor, access.UserRoleEdit); err != nil {
		return access.Role{}, err
	}
	system, space, err := in.check()
	if err != nil {
		return access.Role{}, err
	}
	var id int64
	err = i.update(ctx, actor, func(tx *tx) error {
		if err := in.nameFree(); err != nil {
			return err
		}
		res, err := tx.Exec(`INSERT INTO user_role (name, description, system_permissions, space_permissions, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)`,
			strings.TrimSpace(in.Name), in.Description, system, space, i.text(), i.text())
		if err != nil {
			return roleNameTaken(err, in.Name)
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		return tx.record("Created", "user role", roleID(id), "Role "+in.Name+" was made", audit.Compare("", nil, roleFacts(strings.TrimSpace(in.Name), in.Description, in.System, in.Space))...)
	})
	if err != nil {
		return access.Role{}, err
	}
	return i.RoleBy(ctx, roleID(id))
}

// UpdateRole needs UserRoleEdit, and at every place where the role is given all that the
// change adds and takes: otherwise whoever edits roles could give himself any right. A
// built-in role stays as it is.
func (i *Instance) UpdateRole(ctx context.Context, actor Actor, role access.Role, in RoleInput) (access.Role, error) {
	n, err := i.ownRole(ctx, actor, role)
	if err != nil {
		return role, err
	}
	system, space, err := in.check()
	if err != nil {
		return role, err
	}
	given, err := i.givenAs(ctx, role.ID)
	if err != nil {
		return role, err
	}
	changed := access.Role{ID: role.ID, Name: in.Name, System: differing(role.System, in.System), Space: differing(role.Space, in.Space)}
	for _, g := range given {
		if err := i.mayGrantRole(ctx, actor, changed, g.Space); err != nil {
			return role, err
		}
		if g.Space == 0 && len(in.Space) > 0 || g.Space != 0 && len(in.Space) == 0 {
			return role, errs.New(errs.Blocked, "The role %s is given where it would then have no meaning.", role.Name).WithHint("A role with permissions of a space is given in spaces, one without in the system. Take it from its teams first.")
		}
	}
	err = i.update(ctx, actor, func(tx *tx) error {
		if err := in.nameFree(); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE user_role SET name = ?, description = ?, system_permissions = ?, space_permissions = ?, updated_at = ? WHERE id = ?`,
			strings.TrimSpace(in.Name), in.Description, system, space, i.text(), n)
		if err != nil {
			return roleNameTaken(err, in.Name)
		}
		return tx.record("Modified", "user role", role.ID, "Role "+in.Name+" was changed", audit.Compare("", roleFacts(role.Name, role.Description, role.System, role.Space), roleFacts(strings.TrimSpace(in.Name), in.Description, in.System, in.Space))...)
	})
	if err != nil {
		return role, err
	}
	return i.RoleBy(ctx, role.ID)
}

// roleFacts is what the audit tells of a role.
func roleFacts(name, description string, system, space []access.Permission) map[string]any {
	return map[string]any{"Name": name, "Description": description, "GrantedSystemPermissions": slices.Sorted(slices.Values(system)), "GrantedSpacePermissions": slices.Sorted(slices.Values(space))}
}

// DeleteRole needs UserRoleEdit. A role that is given to a team stays.
func (i *Instance) DeleteRole(ctx context.Context, actor Actor, role access.Role) error {
	n, err := i.ownRole(ctx, actor, role)
	if err != nil {
		return err
	}
	return i.update(ctx, actor, func(tx *tx) error {
		var teams int
		if err := tx.QueryRow(`SELECT count(DISTINCT team_id) FROM scoped_user_role WHERE role = ?`, role.ID).Scan(&teams); err != nil {
			return err
		}
		if teams > 0 {
			return errs.New(errs.Blocked, "The role %s is given to %d teams.", role.Name, teams).WithHint("Take it from them first.")
		}
		if _, err := tx.Exec(`DELETE FROM user_role WHERE id = ?`, n); err != nil {
			return err
		}
		return tx.record("Deleted", "user role", role.ID, "Role "+role.Name+" was deleted")
	})
}

// ownRole is the number of a role that people made.
func (i *Instance) ownRole(ctx context.Context, actor Actor, role access.Role) (int64, error) {
	if err := i.require(ctx, actor, access.UserRoleEdit); err != nil {
		return 0, err
	}
	n, own := cutID("UserRoles-", role.ID)
	if !own {
		return 0, errs.New(errs.Blocked, "The role %s is built in.", role.Name).WithHint("Make a role of your own with other permissions.")
	}
	return n, nil
}

func (i *Instance) givenAs(ctx context.Context, role string) ([]ScopedRole, error) {
	return list(ctx, i, scanScopedRole, `SELECT `+scopedRoleColumns+` FROM scoped_user_role r WHERE r.role = ?`, role)
}

// check returns the lists as they are stored: sorted, each permission once.
func (in RoleInput) check() (system, space string, err error) {
	var c errs.Check
	name := strings.TrimSpace(in.Name)
	c.Require(name != "", "Name", "A role needs a name.")
	c.Require(len([]rune(name)) <= 200, "Name", "The name is longer than 200 characters.")
	c.Require(len([]rune(in.Description)) <= 2000, "Description", "The description is longer than 2,000 characters.")
	c.Require(len(in.System)+len(in.Space) > 0, "GrantedSpacePermissions", "A role needs at least one permission.")
	for _, p := range in.System {
		c.Require(access.InSystem(p), "GrantedSystemPermissions", "There is no permission '%s' in the system.", p)
	}
	for _, p := range in.Space {
		c.Require(access.InSpace(p), "GrantedSpacePermissions", "There is no permission '%s' in a space.", p)
	}
	if err := c.Err(); err != nil {
		return "", "", err
	}
	return permissionsText(in.System), permissionsText(in.Space), nil
}

// nameFree keeps names of built-in roles from being taken.
func (in RoleInput) nameFree() error {
	for _, r := range access.Roles() {
		if strings.EqualFold(r.Name, strings.TrimSpace(in.Name)) {
			return &errs.Error{Kind: errs.Exists, Fields: []errs.Field{{Name: "Name", Message: fmt.Sprintf("There is already a role called '%s'.", r.Name)}}}
		}
	}
	return nil
}

func roleNameTaken(err error, name string) error {
	return taken(err, "Name", "There is already a role called '%s'.", strings.TrimSpace(name))
}

func permissionsText(list []access.Permission) string {
	sorted := append([]access.Permission{}, list...)
	slices.Sort(sorted)
	b, err := json.Marshal(slices.Compact(sorted))
	if err != nil { // strings always have a JSON
		return "[]"
	}
	return string(b)
}

// differing is what is in one of two lists only.
func differing(a, b []access.Permission) (out []access.Permission) {
	for _, p := range a {
		if !slices.Contains(b, p) {
			out = append(out, p)
		}
	}
	for _, p := range b {
		if !slices.Contains(a, p) {
			out = append(out, p)
		}
	}
	return out
}
