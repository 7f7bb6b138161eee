package instance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// ScopedRole gives a role to a team: in the system, or in a space and there within
// projects, groups, environments and tenants (API ids; none: any).
type ScopedRole struct {
	ID            int64
	TeamID        int64
	Role          string // API id, as "userroles-projectlead"
	Space         int64  // number; 0: in the system
	Projects      []string
	ProjectGroups []string
	Environments  []string
	Tenants       []string
}

// APIID is the API id of the scoped role.
func (r ScopedRole) APIID() string { return fmt.Sprintf("ScopedUserRoles-%d", r.ID) }

func (r ScopedRole) lists() []*[]string {
	return []*[]string{&r.Projects, &r.ProjectGroups, &r.Environments, &r.Tenants}
}

const scopedRoleColumns = `r.id, r.team_id, r.role, coalesce(r.space_id, 0), r.projects, r.project_groups, r.environments, r.tenants`

func scanScopedRole(scan func(...any) error) (ScopedRole, error) {
	var r ScopedRole
	var text [4]string
	if err := scan(&r.ID, &r.TeamID, &r.Role, &r.Space, &text[0], &text[1], &text[2], &text[3]); err != nil {
		return r, err
	}
	for n, to := range []*[]string{&r.Projects, &r.ProjectGroups, &r.Environments, &r.Tenants} {
		if err := json.Unmarshal([]byte(text[n]), to); err != nil {
			return r, fmt.Errorf("decode scope of %s: %w", r.APIID(), err)
		}
	}
	return r, nil
}

// ScopedRoles lists all, in the order in which they were given.
func (i *Instance) ScopedRoles(ctx context.Context) ([]ScopedRole, error) {
	return list(ctx, i, scanScopedRole, `SELECT `+scopedRoleColumns+` FROM scoped_user_role r ORDER BY r.id`)
}

// ScopedRolesOf lists those of a team.
func (i *Instance) ScopedRolesOf(ctx context.Context, team int64) ([]ScopedRole, error) {
	return list(ctx, i, scanScopedRole, `SELECT `+scopedRoleColumns+` FROM scoped_user_role r WHERE r.team_id = ? ORDER BY r.id`, team)
}

// ScopedRoleBy finds one by API id.
func (i *Instance) ScopedRoleBy(ctx context.Context, text string) (ScopedRole, error) {
	n, _ := cutID("ScopedUserRoles-", text)
	r, err := scanScopedRole(i.read.QueryRowContext(ctx, `SELECT `+scopedRoleColumns+` FROM scoped_user_role r WHERE r.id = ?`, n).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, errs.Missing("scoped user role", text)
	}
	return r, storeError(err)
}

// CreateScopedRole needs TeamEdit where the role is given, and all that the role
// gives: nobody passes on what he does not have.
func (i *Instance) CreateScopedRole(ctx context.Context, actor Actor, r ScopedRole) (ScopedRole, error) {
	role, err := i.mayChangeRole(ctx, actor, r)
	if err != nil {
		return ScopedRole{}, err
	}
	err = i.update(ctx, actor, func(tx *tx) error {
		args := append([]any{r.TeamID, role.ID, r.Space}, r.texts()...)
		res, err := tx.Exec(`INSERT INTO scoped_user_role (team_id, role, space_id, projects, project_groups, environments, tenants) VALUES (?, ?, nullif(?, 0), ?, ?, ?, ?)`, args...)
		if err != nil {
			return err
		}
		if r.ID, err = res.LastInsertId(); err != nil {
			return err
		}
		return tx.record("Created", "scoped user role", r.APIID(), fmt.Sprintf("Team %d was given the role %s", r.TeamID, role.Name), audit.Compare("", nil, r.facts())...)
	})
	if err != nil {
		return ScopedRole{}, err
	}
	return i.ScopedRoleBy(ctx, r.APIID())
}

// UpdateScopedRole replaces role and scope; the team stays. It needs what
// CreateScopedRole needs, for what is taken and for what is given.
func (i *Instance) UpdateScopedRole(ctx context.Context, actor Actor, old, r ScopedRole) (ScopedRole, error) {
	r.ID, r.TeamID = old.ID, old.TeamID
	if err := i.mayTake(ctx, actor, old); err != nil {
		return old, err
	}
	role, err := i.mayChangeRole(ctx, actor, r)
	if err != nil {
		return old, err
	}
	err = i.update(ctx, actor, func(tx *tx) error {
		return tx.keepAdministrator(func() error {
			args := append(append([]any{role.ID, r.Space}, r.texts()...), r.ID)
			if _, err := tx.Exec(`UPDATE scoped_user_role SET role = ?, space_id = nullif(?, 0), projects = ?, project_groups = ?, environments = ?, tenants = ? WHERE id = ?`, args...); err != nil {
				return err
			}
			return tx.record("Modified", "scoped user role", r.APIID(), fmt.Sprintf("The role %s of team %d was changed", role.Name, r.TeamID), audit.Compare("", old.facts(), r.facts())...)
		})
	})
	if err != nil {
		return old, err
	}
	return i.ScopedRoleBy(ctx, r.APIID())
}

// DeleteScopedRole needs what CreateScopedRole needs. The role by which a built-in
// team is what it is stays.
func (i *Instance) DeleteScopedRole(ctx context.Context, actor Actor, r ScopedRole) error {
	if err := i.mayTake(ctx, actor, r); err != nil {
		return err
	}
	return i.update(ctx, actor, func(tx *tx) error {
		return tx.keepAdministrator(func() error {
			if _, err := tx.Exec(`DELETE FROM scoped_user_role WHERE id = ?`, r.ID); err != nil {
				return err
			}
			return tx.record("Deleted", "scoped user role", r.APIID(), fmt.Sprintf("The role %s was taken from team %d", r.Role, r.TeamID), audit.Compare("", r.facts(), nil)...)
		})
	})
}

// facts is what the audit tells of a role that is given.
func (r ScopedRole) facts() map[string]any {
	f := map[string]any{"UserRoleId": r.Role, "ProjectIds": r.Projects, "ProjectGroupIds": r.ProjectGroups, "EnvironmentIds": r.Environments, "TenantIds": r.Tenants}
	if r.Space != 0 {
		f["SpaceId"] = Space{Number: r.Space}.ID()
	}
	return f
}

func (r ScopedRole) texts() []any {
	var out []any
	for _, l := range r.lists() {
		ids := slices.Clone(*l)
		slices.Sort(ids)
		text, err := json.Marshal(slices.Compact(append([]string{}, ids...)))
		if err != nil { // strings always have a JSON
			text = []byte("[]")
		}
		out = append(out, string(text))
	}
	return out
}

// mayChangeRole returns the role that is given or taken.
func (i *Instance) mayChangeRole(ctx context.Context, actor Actor, r ScopedRole) (access.Role, error) {
	if err := i.requireIn(ctx, actor, access.TeamEdit, r.Space); err != nil {
		return access.Role{}, err
	}
	role, err := i.RoleBy(ctx, r.Role)
	if errors.Is(err, errs.NotFound) {
		return role, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "UserRoleId", Message: fmt.Sprintf("There is no role '%s'.", r.Role)}}}
	}
	if err != nil {
		return role, err
	}
	t, err := i.TeamBy(ctx, Team{ID: r.TeamID}.APIID())
	if err != nil {
		return role, err
	}
	var c errs.Check
	c.Require(t.Space == 0 || t.Space == r.Space, "SpaceId", "Team %s belongs to a space and has roles in that space only.", t.Name)
	c.Require(r.Space != 0 || len(role.Space) == 0, "SpaceId", "The role %s is given in a space; say in which.", role.Name)
	c.Require(r.Space == 0 || len(role.Space) > 0, "SpaceId", "The role %s is given in the system, not in a space.", role.Name)
	for _, l := range r.lists() {
		c.Require(r.Space != 0 || len(*l) == 0, "SpaceId", "A role in the system has no scope.")
	}
	if err := c.Err(); err != nil {
		return role, err
	}
	// Members of a system team are chosen by people with TeamEdit in the system, but a
	// team of the system changes only by their hands too.
	if t.Space == 0 {
		if err := i.requireIn(ctx, actor, access.TeamEdit, 0); err != nil {
			return role, err
		}
	}
	return role, i.mayGrantRole(ctx, actor, role, r.Space)
}

func (i *Instance) mayTake(ctx context.Context, actor Actor, r ScopedRole) error {
	if _, err := i.mayChangeRole(ctx, actor, r); err != nil {
		return err
	}
	t, err := i.TeamBy(ctx, Team{ID: r.TeamID}.APIID())
	if err != nil {
		return err
	}
	if t.Word == "administrators" && r.Role == "userroles-systemadministrator" || t.Word == "managers" && r.Role == "userroles-systemmanager" ||
		t.Word == "spacemanagers-"+(Space{Number: r.Space}).ID() && r.Role == "userroles-spacemanager" {
		return errs.New(errs.Blocked, "The team %s is built in and keeps its role.", t.Name)
	}
	return nil
}

// requireIn asks for a permission in the system or, for space <> 0, in that space.
func (i *Instance) requireIn(ctx context.Context, actor Actor, p access.Permission, space int64) error {
	refusal := actor.require(p)
	if refusal == nil {
		return nil
	}
	if user, ok := cutID("Users-", actor.ID); ok && space != 0 {
		in, err := i.Permissions(ctx, user, space)
		if err != nil {
			return err
		}
		if in.Allows(p, access.Scope{}) {
			return nil
		}
	}
	i.noteDenial(ctx, actor, p)
	return refusal
}

// mayGrantRole refuses who does not have all that a role gives, at the same place.
// SpaceEdit in the system appoints the managers of spaces, and so gives any role of
// a space.
func (i *Instance) mayGrantRole(ctx context.Context, actor Actor, role access.Role, space int64) error {
	if actor.System {
		return nil
	}
	for _, p := range role.System {
		if err := i.require(ctx, actor, p); err != nil {
			return err
		}
	}
	if space == 0 || actor.Permissions.Any(access.SpaceEdit) {
		return nil
	}
	for _, p := range role.Space {
		if err := i.requireIn(ctx, actor, p, space); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instance) mayGrantAllOf(ctx context.Context, actor Actor, t Team) error {
	roles, err := i.ScopedRolesOf(ctx, t.ID)
	if err != nil {
		return err
	}
	for _, r := range roles {
		role, err := i.RoleBy(ctx, r.Role)
		if errors.Is(err, errs.NotFound) { // it gives nothing
			continue
		}
		if err != nil {
			return err
		}
		if err := i.mayGrantRole(ctx, actor, role, r.Space); err != nil {
			return err
		}
	}
	return nil
}
