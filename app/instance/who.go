package instance

import (
	"context"
	"time"

	"octopuses.dev/octopuses/spaces/access"
)

// Holding is a role that somebody has, and the team that gives it.
type Holding struct {
	User  int64
	Team  Team // without members and groups
	Role  access.Role
	Given ScopedRole
}

// holdings are the roles of all active users, or of one (0: all), in a space (0: in all and
// in the system): three statements.
func (i *Instance) holdings(ctx context.Context, user, space int64) ([]Holding, error) {
	roles := map[string]access.Role{}
	all, err := i.Roles(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		roles[r.ID] = r
	}
	type member struct{ user, team int64 }
	members := map[int64][]int64{}
	_, err = list(ctx, i, func(scan func(...any) error) (member, error) {
		var m member
		err := scan(&m.user, &m.team)
		members[m.team] = append(members[m.team], m.user)
		return m, err
	}, `SELECT user.id, team.id FROM user JOIN team ON team.word = 'everyone' WHERE (?1 = 0 AND user.is_active OR user.id = ?1)
		UNION SELECT m.user_id, m.team_id FROM team_member m JOIN user ON user.id = m.user_id WHERE (?1 = 0 AND user.is_active OR user.id = ?1)
		UNION SELECT g.user_id, t.team_id FROM team_external_group t JOIN user_external_group g ON g.group_id = t.group_id JOIN user ON user.id = g.user_id WHERE (?1 = 0 AND user.is_active OR user.id = ?1)
		ORDER BY 1, 2`, user)
	if err != nil {
		return nil, err
	}
	teams := map[int64]Team{}
	found, err := list(ctx, i, scanTeam, `SELECT `+teamColumns+` FROM team`)
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		teams[t.ID] = t
	}
	given, err := list(ctx, i, scanScopedRole, `SELECT `+scopedRoleColumns+` FROM scoped_user_role r WHERE ?1 = 0 OR r.space_id = ?1 ORDER BY r.space_id, r.id`, space)
	if err != nil {
		return nil, err
	}
	out := []Holding{}
	for _, g := range given {
		role, known := roles[g.Role]
		if !known {
			continue // gives nothing
		}
		for _, u := range members[g.TeamID] {
			out = append(out, Holding{User: u, Team: teams[g.TeamID], Role: role, Given: g})
		}
	}
	return out, nil
}

// Holdings are the roles that a user has, through which team and where.
func (i *Instance) Holdings(ctx context.Context, user int64) ([]Holding, error) {
	return i.holdings(ctx, user, 0)
}

// WhoMay are the roles that give a permission in a space for what is asked about, of all
// active users.
func (i *Instance) WhoMay(ctx context.Context, space int64, p access.Permission, scope access.Scope) ([]Holding, error) {
	all, err := i.holdings(ctx, 0, space)
	if err != nil {
		return nil, err
	}
	out := []Holding{}
	for _, h := range all {
		g := access.Grant{Permissions: h.Role.Space, Projects: h.Given.Projects, ProjectGroups: h.Given.ProjectGroups, Environments: h.Given.Environments, Tenants: h.Given.Tenants}
		if access.NewSet(g).Allows(p, scope) {
			out = append(out, h)
		}
	}
	return out, nil
}

// HoldersInSystem are the users who have a permission of the system.
func (i *Instance) HoldersInSystem(ctx context.Context, p access.Permission) (map[int64]bool, error) {
	all, err := i.holdings(ctx, 0, 0)
	out := map[int64]bool{}
	for _, h := range all {
		if access.NewSet(access.Grant{Permissions: h.Role.System}).Any(p) {
			out[h.User] = true
		}
	}
	return out, err
}

// LastSeen is when each user's newest session was used, by number.
func (i *Instance) LastSeen(ctx context.Context) (map[int64]time.Time, error) {
	out := map[int64]time.Time{}
	_, err := list(ctx, i, func(scan func(...any) error) (struct{}, error) {
		var user int64
		var at string
		err := scan(&user, &at)
		out[user] = parseTime(at)
		return struct{}{}, err
	}, `SELECT user_id, max(seen_at) FROM session GROUP BY user_id`)
	return out, err
}

// IdentitiesOf names the identities with which a user signs in: the provider, or its URL
// when it is gone, and the subject there.
func (i *Instance) IdentitiesOf(ctx context.Context, user int64) ([]string, error) {
	return list(ctx, i, func(scan func(...any) error) (string, error) {
		var provider, subject string
		err := scan(&provider, &subject)
		return provider + ": " + subject, err
	}, `SELECT COALESCE((SELECT p.name FROM identity_provider p WHERE p.issuer = u.issuer LIMIT 1), u.issuer), u.subject FROM user_identity u WHERE u.user_id = ? ORDER BY 1, 2`, user)
}
