package instance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Team is a group of people. A team of a space has roles in that space only; a team
// of the system may have roles in several spaces and in the system.
type Team struct {
	ID          int64
	Word        string // of a built-in team, as "everyone"; such a team keeps its name and stays
	Space       int64  // number of its space; 0: of the system
	Name        string
	Description string
	CreatedAt   time.Time
	Members     []int64 // numbers of users, sorted; none for "everyone", which all are in
	Groups      []ExternalGroup
}

// ExternalGroup is a group of an identity provider. Its people are in the team as long
// as the provider says, at each sign-in, that they are in the group.
type ExternalGroup struct{ ID, Name string }

// APIID is the team's API id: "Teams-7", or a word as "teams-everyone".
func (t Team) APIID() string {
	if t.Word != "" {
		return "teams-" + t.Word
	}
	return fmt.Sprintf("Teams-%d", t.ID)
}

// TeamInput is what is said of a team. Members replaces those there are.
type TeamInput struct {
	Name, Description string
	Space             int64 // read when the team is made; 0: of the system
	Members           []int64
	Groups            []ExternalGroup
}

const (
	teamColumns = `team.id, coalesce(team.word, ''), coalesce(team.space_id, 0), team.name, team.description, team.created_at`
	// inTeam is true of a team that the user with the number ?1 is in.
	inTeam = `(team.word = 'everyone' OR team.id IN (SELECT team_id FROM team_member WHERE user_id = ?1 UNION ALL
		SELECT t.team_id FROM team_external_group t JOIN user_external_group u ON u.group_id = t.group_id WHERE u.user_id = ?1))`
)

func scanTeam(scan func(...any) error) (Team, error) {
	t := Team{Members: []int64{}, Groups: []ExternalGroup{}}
	var at string
	err := scan(&t.ID, &t.Word, &t.Space, &t.Name, &t.Description, &at)
	t.CreatedAt = parseTime(at)
	return t, err
}

// Teams lists all teams by name.
func (i *Instance) Teams(ctx context.Context) ([]Team, error) {
	return i.teams(ctx, `SELECT `+teamColumns+` FROM team ORDER BY team.name COLLATE NOCASE, team.id`)
}

// TeamsOf lists the teams that a user is in, by name.
func (i *Instance) TeamsOf(ctx context.Context, user int64) ([]Team, error) {
	return i.teams(ctx, `SELECT `+teamColumns+` FROM team WHERE `+inTeam+` ORDER BY team.name COLLATE NOCASE, team.id`, user)
}

func (i *Instance) teams(ctx context.Context, query string, args ...any) ([]Team, error) {
	teams, err := list(ctx, i, scanTeam, query, args...)
	if err != nil {
		return nil, err
	}
	at := make(map[int64]int, len(teams))
	for n, t := range teams {
		at[t.ID] = n
	}
	_, err = list(ctx, i, func(scan func(...any) error) (struct{}, error) {
		var team, user int64
		err := scan(&team, &user)
		if n, ok := at[team]; ok {
			teams[n].Members = append(teams[n].Members, user)
		}
		return struct{}{}, err
	}, `SELECT team_id, user_id FROM team_member ORDER BY user_id`)
	if err != nil {
		return nil, err
	}
	_, err = list(ctx, i, func(scan func(...any) error) (struct{}, error) {
		var team int64
		var g ExternalGroup
		err := scan(&team, &g.ID, &g.Name)
		if n, ok := at[team]; ok {
			teams[n].Groups = append(teams[n].Groups, g)
		}
		return struct{}{}, err
	}, `SELECT team_id, group_id, display_name FROM team_external_group ORDER BY group_id`)
	return teams, err
}

// TeamBy finds one by API id.
func (i *Instance) TeamBy(ctx context.Context, text string) (Team, error) {
	n, _ := cutID("Teams-", text)
	word := ""
	if len(text) > len("teams-") && strings.EqualFold(text[:len("teams-")], "teams-") {
		word = text[len("teams-"):]
	}
	teams, err := i.teams(ctx, `SELECT `+teamColumns+` FROM team WHERE team.id = ? OR team.word = ? COLLATE NOCASE ORDER BY team.id = ? DESC LIMIT 1`, n, word, n)
	if err != nil {
		return Team{}, err
	}
	if len(teams) == 0 {
		return Team{}, errs.Missing("team", text)
	}
	return teams[0], nil
}

// CreateTeam needs TeamCreate, in the system or in the team's space.
func (i *Instance) CreateTeam(ctx context.Context, actor Actor, in TeamInput) (Team, error) {
	if err := i.requireIn(ctx, actor, access.TeamCreate, in.Space); err != nil {
		return Team{}, err
	}
	if err := in.check(); err != nil {
		return Team{}, err
	}
	var id int64
	err := i.update(ctx, actor, func(tx *tx) error {
		if err := tx.teamNameFree(0, in.Space, in.Name); err != nil {
			return err
		}
		res, err := tx.Exec(`INSERT INTO team (space_id, name, description, created_at) VALUES (nullif(?, 0), ?, ?, ?)`, in.Space, strings.TrimSpace(in.Name), in.Description, i.text())
		if err != nil {
			return err
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		if err := errors.Join(tx.setMembers(id, in.Members), tx.setGroups(id, in.Groups)); err != nil {
			return err
		}
		return tx.record("Created", "team", Team{ID: id}.APIID(), "Team "+in.Name+" was made", audit.Compare("", nil, in.facts())...)
	})
	if err != nil {
		return Team{}, err
	}
	return i.TeamBy(ctx, Team{ID: id}.APIID())
}

// UpdateTeam needs TeamEdit, in the system or in the team's space. Whoever changes
// the members gives and takes what the team may do: it needs all of that too. A
// built-in team keeps its name and description.
func (i *Instance) UpdateTeam(ctx context.Context, actor Actor, t Team, in TeamInput) (Team, error) {
	if err := i.requireIn(ctx, actor, access.TeamEdit, t.Space); err != nil {
		return t, err
	}
	if t.Word != "" {
		in.Name, in.Description = t.Name, t.Description
	}
	if err := in.check(); err != nil {
		return t, err
	}
	if t.Word == "everyone" {
		return t, errs.New(errs.Blocked, "The team Everyone has all people of the server.")
	}
	if strings.HasPrefix(t.Word, "spacemanagers-") && len(in.Members) == 0 {
		return t, noManager()
	}
	if !sameMembers(t.Members, in.Members) || !sameGroups(t.Groups, in.Groups) {
		if err := i.mayGrantAllOf(ctx, actor, t); err != nil {
			return t, err
		}
	}
	err := i.update(ctx, actor, func(tx *tx) error {
		if err := tx.teamNameFree(t.ID, t.Space, in.Name); err != nil {
			return err
		}
		return tx.keepAdministrator(func() error {
			if _, err := tx.Exec(`UPDATE team SET name = ?, description = ? WHERE id = ?`, strings.TrimSpace(in.Name), in.Description, t.ID); err != nil {
				return err
			}
			if err := errors.Join(tx.setMembers(t.ID, in.Members), tx.setGroups(t.ID, in.Groups)); err != nil {
				return err
			}
			return tx.record("Modified", "team", t.APIID(), "Team "+in.Name+" was changed", audit.Compare("", TeamInput{Name: t.Name, Description: t.Description, Members: t.Members, Groups: t.Groups}.facts(), in.facts())...)
		})
	})
	if err != nil {
		return t, err
	}
	return i.TeamBy(ctx, t.APIID())
}

// DeleteTeam needs TeamDelete, and what the team may do. A built-in team stays.
func (i *Instance) DeleteTeam(ctx context.Context, actor Actor, t Team) error {
	if err := i.requireIn(ctx, actor, access.TeamDelete, t.Space); err != nil {
		return err
	}
	if t.Word != "" {
		return errs.New(errs.Blocked, "The team %s is built in.", t.Name)
	}
	if err := i.mayGrantAllOf(ctx, actor, t); err != nil {
		return err
	}
	return i.update(ctx, actor, func(tx *tx) error {
		return tx.keepAdministrator(func() error {
			if _, err := tx.Exec(`DELETE FROM team WHERE id = ?`, t.ID); err != nil {
				return err
			}
			return tx.record("Deleted", "team", t.APIID(), "Team "+t.Name+" was deleted")
		})
	})
}

// facts is what the audit tells of a team.
func (in TeamInput) facts() map[string]any {
	members := []string{}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(in.Members))) {
		members = append(members, User{ID: n}.APIID())
	}
	groups := []string{}
	for _, g := range in.Groups {
		groups = append(groups, g.ID)
	}
	slices.Sort(groups)
	return map[string]any{"Name": strings.TrimSpace(in.Name), "Description": in.Description, "MemberUserIds": members, "ExternalSecurityGroups": groups}
}

func (in TeamInput) check() error {
	var c errs.Check
	c.Require(strings.TrimSpace(in.Name) != "", "Name", "A team needs a name.")
	c.Require(len([]rune(in.Name)) <= 200, "Name", "The name is longer than 200 characters.")
	for _, g := range in.Groups {
		c.Require(g.ID != "" && len(g.ID) <= 500, "ExternalSecurityGroups", "The id of an external group has 1 to 500 bytes.")
	}
	return c.Err()
}

// teamNameFree asks by hand: to a unique index all teams without a space differ.
func (t *tx) teamNameFree(id, space int64, name string) error {
	var used bool
	if err := t.QueryRow(`SELECT EXISTS (SELECT 1 FROM team WHERE id <> ? AND coalesce(space_id, 0) = ? AND name = ?)`, id, space, strings.TrimSpace(name)).Scan(&used); err != nil {
		return err
	}
	if used {
		return &errs.Error{Kind: errs.Exists, Fields: []errs.Field{{Name: "Name", Message: fmt.Sprintf("There is already a team called '%s'.", strings.TrimSpace(name))}}}
	}
	return nil
}

func (t *tx) setMembers(team int64, members []int64) error {
	if _, err := t.Exec(`DELETE FROM team_member WHERE team_id = ?`, team); err != nil {
		return err
	}
	for _, m := range members {
		res, err := t.Exec(`INSERT INTO team_member (team_id, user_id) SELECT ?1, id FROM user WHERE id = ?2 ON CONFLICT DO UPDATE SET user_id = user_id`, team, m)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errs.New(errs.Invalid, "There is no user %s.", User{ID: m}.APIID()))
		}
	}
	return nil
}

func (t *tx) setGroups(team int64, groups []ExternalGroup) error {
	if _, err := t.Exec(`DELETE FROM team_external_group WHERE team_id = ?`, team); err != nil {
		return err
	}
	for _, g := range groups {
		if g.Name == "" {
			g.Name = g.ID
		}
		if _, err := t.Exec(`INSERT INTO team_external_group (team_id, group_id, display_name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, team, g.ID, g.Name); err != nil {
			return err
		}
	}
	return nil
}

func sameGroups(a, b []ExternalGroup) bool {
	ids := func(groups []ExternalGroup) (out []string) {
		for _, g := range groups {
			out = append(out, g.ID)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return slices.Equal(ids(a), ids(b))
}

func sameMembers(a, b []int64) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// keepAdministrator does a change unless it would take the last person who
// administers the server. Service accounts do not count: they cannot sign in.
func (t *tx) keepAdministrator(change func() error) error {
	before, err := t.administered()
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := t.administered()
	if err == nil && before && !after {
		err = errs.New(errs.Blocked, "This is the last administrator of the server.").WithHint("Make somebody else one first.")
	}
	return err
}

func (t *tx) administered() (yes bool, err error) {
	err = t.QueryRow(`SELECT EXISTS (SELECT 1 FROM user u WHERE u.is_active = 1 AND u.is_service = 0 AND EXISTS (
		SELECT 1 FROM scoped_user_role r JOIN team t ON t.id = r.team_id WHERE r.role = 'userroles-systemadministrator' AND r.space_id IS NULL
		AND (t.word = 'everyone' OR t.id IN (SELECT team_id FROM team_member WHERE user_id = u.id))))`).Scan(&yes)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return yes, err
}
