package instance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Space is a row of the registry: what the server knows of a space without opening
// its file.
type Space struct {
	Number           int64
	Name, Slug       string
	Description      string
	Folder           string
	IsDefault        bool
	TaskQueueStopped bool
	CreatedAt        time.Time
}

// ID is the space's API id.
func (s Space) ID() string { return fmt.Sprintf("Spaces-%d", s.Number) }

// SpaceInput is what is said of a space. Managers are numbers of users.
type SpaceInput struct {
	Name, Slug, Description string
	IsDefault               bool
	TaskQueueStopped        bool
	Managers                []int64
	Marks                   []string // only of one that is created: what waits in it, as for [Instance.Mark]
}

const spaceColumns = `id, name, slug, description, folder, is_default, task_queue_stopped, created_at`

func scanSpace(scan func(...any) error) (Space, error) {
	var s Space
	var at string
	err := scan(&s.Number, &s.Name, &s.Slug, &s.Description, &s.Folder, &s.IsDefault, &s.TaskQueueStopped, &at)
	s.CreatedAt = parseTime(at)
	return s, err
}

// Slug makes the form of a name that stands in URLs and names of folders.
func Slug(name string) string {
	var b strings.Builder
	hyphen := false
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if hyphen && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			hyphen = false
		} else {
			hyphen = true
		}
	}
	if b.Len() == 0 {
		return "space"
	}
	return b.String()
}

func checkSpaceName(name string) error {
	var c errs.Check
	c.Require(strings.TrimSpace(name) != "", "Name", "A space needs a name.")
	c.Require(len([]rune(name)) <= 50, "Name", "The name is longer than 50 characters.")
	c.Require(!strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }), "Name", "The name holds an invisible character.")
	return c.Err()
}

// CreateSpace registers a space whose folder make creates once the input is known to
// be good. It needs SpaceCreate. The managers become members of its team of space
// managers. Errors: [errs.Invalid], [errs.Exists].
func (i *Instance) CreateSpace(ctx context.Context, actor Actor, in SpaceInput, makeFolder func(name, slug string) (folder string, err error)) (Space, error) {
	if err := i.require(ctx, actor, access.SpaceCreate); err != nil {
		return Space{}, err
	}
	in.Name = strings.TrimSpace(in.Name)
	if err := checkSpaceName(in.Name); err != nil {
		return Space{}, err
	}
	if len(in.Managers) == 0 {
		return Space{}, noManager()
	}
	for _, m := range in.Managers { // before there is a folder
		if _, err := i.User(ctx, m); err != nil {
			return Space{}, unknownManager(err, m)
		}
	}
	var named bool // before there is a folder
	if err := i.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM space WHERE name = ?)`, in.Name).Scan(&named); err != nil {
		return Space{}, storeError(err)
	}
	if named {
		return Space{}, nameTaken(in.Name)
	}
	slug := Slug(in.Name)
	if in.Slug != "" {
		slug = Slug(in.Slug)
	}
	if _, ok := cutID("Spaces-", slug); ok {
		slug = "space-" + slug // an address must not read as the id of another space
	}
	folder, err := makeFolder(in.Name, slug)
	if err != nil {
		return Space{}, err
	}
	var id int64
	err = i.update(ctx, actor, func(tx *tx) error {
		free := slug
		for n := 2; ; n++ {
			var used bool
			if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM space WHERE slug = ?)`, free).Scan(&used); err != nil {
				return err
			}
			if !used {
				break
			}
			free = fmt.Sprintf("%s-%d", slug, n)
		}
		var first bool
		if err := tx.QueryRow(`SELECT NOT EXISTS (SELECT 1 FROM space)`).Scan(&first); err != nil {
			return err
		}
		if in.IsDefault {
			if _, err := tx.Exec(`UPDATE space SET is_default = 0`); err != nil {
				return err
			}
		}
		res, err := tx.Exec(`INSERT INTO space (name, slug, description, folder, is_default, task_queue_stopped, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			in.Name, free, in.Description, folder, in.IsDefault || first, in.TaskQueueStopped, i.text(), i.text())
		if err != nil {
			return taken(err, "Name", "A space named '%s' already exists.", in.Name)
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		if err := tx.mark(id, in.Marks, nil); err != nil {
			return err
		}
		team, err := tx.Exec(`INSERT INTO team (word, space_id, name, description, created_at) VALUES (?, ?, 'Space Managers', 'May do everything inside this space.', ?)`, fmt.Sprintf("spacemanagers-Spaces-%d", id), id, i.text())
		if err != nil {
			return err
		}
		teamID, err := team.LastInsertId()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO scoped_user_role (team_id, role, space_id) VALUES (?, 'userroles-spacemanager', ?)`, teamID, id); err != nil {
			return err
		}
		if err := tx.setMembers(teamID, in.Managers); err != nil {
			return err
		}
		return tx.record("Created", "space", fmt.Sprintf("Spaces-%d", id), "Space "+in.Name+" was created")
	})
	if err != nil {
		return Space{}, err
	}
	return i.SpaceBy(ctx, fmt.Sprintf("Spaces-%d", id))
}

func nameTaken(name string) error {
	return &errs.Error{Kind: errs.Exists, Fields: []errs.Field{{Name: "Name", Message: fmt.Sprintf("A space named '%s' already exists.", name)}}}
}

func noManager() error {
	return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "SpaceManagersTeamMembers", Message: "A space needs at least one manager."}}}
}

func unknownManager(err error, user int64) error {
	if errs.KindOf(err) != errs.NotFound {
		return err
	}
	return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "SpaceManagersTeamMembers", Message: fmt.Sprintf("There is no user Users-%d.", user)}}}
}

// UpdateSpace renames, moves the default, stops or starts the task queue, and
// replaces the managers if some are given. It needs SpaceEdit, or to manage that
// space; the default concerns all spaces and needs SpaceEdit.
func (i *Instance) UpdateSpace(ctx context.Context, actor Actor, s Space, in SpaceInput) (Space, error) {
	if err := i.mayManage(ctx, actor, s, access.SpaceEdit); err != nil {
		return s, err
	}
	in.Name = strings.TrimSpace(in.Name)
	if err := checkSpaceName(in.Name); err != nil {
		return s, err
	}
	if in.IsDefault != s.IsDefault {
		if err := i.require(ctx, actor, access.SpaceEdit); err != nil {
			return s, err
		}
	}
	var managers []audit.Change
	err := i.update(ctx, actor, func(tx *tx) (err error) {
		if in.IsDefault {
			if _, err := tx.Exec(`UPDATE space SET is_default = 0 WHERE id <> ?`, s.Number); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`UPDATE space SET name = ?, description = ?, is_default = ?, task_queue_stopped = ?, updated_at = ? WHERE id = ?`, in.Name, in.Description, in.IsDefault, in.TaskQueueStopped, i.text(), s.Number); err != nil {
			return taken(err, "Name", "A space named '%s' already exists.", in.Name)
		}
		if len(in.Managers) > 0 {
			var team int64
			if err := tx.QueryRow(`SELECT id FROM team WHERE word = ?`, "spacemanagers-"+s.ID()).Scan(&team); err != nil {
				return fmt.Errorf("find the managers of %s: %w", s.ID(), err)
			}
			if managers, err = tx.membersChange(team, in.Managers); err != nil {
				return err
			}
			if err := tx.setMembers(team, in.Managers); err != nil {
				return err
			}
		}
		facts := func(name, description string, isDefault, stopped bool) map[string]any {
			return map[string]any{"Name": name, "Description": description, "IsDefault": isDefault, "TaskQueueStopped": stopped}
		}
		return tx.record("Modified", "space", s.ID(), "Space "+in.Name+" was changed", append(audit.Compare("", facts(s.Name, s.Description, s.IsDefault, s.TaskQueueStopped), facts(in.Name, in.Description, in.IsDefault, in.TaskQueueStopped)), managers...)...)
	})
	if err != nil {
		return s, err
	}
	return i.SpaceBy(ctx, s.ID())
}

// membersChange tells how the managers of a space will differ.
func (tx *tx) membersChange(team int64, want []int64) ([]audit.Change, error) {
	var before string
	err := tx.QueryRow(`SELECT coalesce(group_concat('Users-' || user_id, ', '), '') FROM (SELECT user_id FROM team_member WHERE team_id = ? ORDER BY user_id)`, team).Scan(&before)
	after := []string{}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(want))) {
		after = append(after, User{ID: n}.APIID())
	}
	return audit.Pairs("SpaceManagersTeamMembers", before, strings.Join(after, ", ")), err
}

func (i *Instance) mayManage(ctx context.Context, actor Actor, s Space, p access.Permission) error {
	err := actor.require(p)
	if err == nil {
		return nil
	}
	n, ok := cutID("Users-", actor.ID)
	if !ok {
		return err
	}
	managers, merr := i.Managers(ctx, s)
	if merr != nil {
		return merr
	}
	if slices.Contains(managers, n) {
		return nil
	}
	i.noteDenial(ctx, actor, p)
	return err
}

// DeleteSpace takes a space out of the registry, after which its folder can go. It
// needs SpaceDelete, a stopped task queue and the typed name.
func (i *Instance) DeleteSpace(ctx context.Context, actor Actor, s Space, typed string) error {
	if err := i.mayManage(ctx, actor, s, access.SpaceDelete); err != nil {
		return err
	}
	if typed != s.Name {
		return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Name", Message: fmt.Sprintf("Type the name of the space, '%s', to delete it.", s.Name)}}}
	}
	return i.update(ctx, actor, func(tx *tx) error {
		// Somebody may have started the queue since s was read.
		res, err := tx.Exec(`DELETE FROM space WHERE id = ? AND task_queue_stopped = 1`, s.Number)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errs.New(errs.Blocked, "The task queue of space '%s' is running.", s.Name).WithHint("Stop it in the settings of the space first."))
		}
		// Until somebody says that the folder is gone, the next start removes it.
		if _, err := tx.Exec(`INSERT INTO setting (name, value) VALUES (?, x'') ON CONFLICT (name) DO NOTHING`, deletedFolder+s.Folder); err != nil {
			return err
		}
		return tx.record("Deleted", "space", s.ID(), "Space "+s.Name+" was deleted")
	})
}

// deletedFolder is in front of the names of settings that say which folders are to go.
const deletedFolder = "deleted-space/"

// DeletedFolders are those of deleted spaces that may still be there.
func (i *Instance) DeletedFolders(ctx context.Context) ([]string, error) {
	// A folder that was adopted again is not to go any more.
	return list(ctx, i, func(scan func(...any) error) (folder string, err error) { return folder, scan(&folder) },
		`SELECT substr(name, length(?1) + 1) FROM setting WHERE substr(name, 1, length(?1)) = ?1 AND substr(name, length(?1) + 1) NOT IN (SELECT folder FROM space)`, deletedFolder)
}

// FolderGone notes that the folder of a deleted space is not there any more.
func (i *Instance) FolderGone(ctx context.Context, folder string) error {
	return i.note(ctx, System(), func(tx *tx) error {
		_, err := tx.Exec(`DELETE FROM setting WHERE name = ?`, deletedFolder+folder)
		return err
	})
}

// SpaceBy finds one by API id, name or slug.
func (i *Instance) SpaceBy(ctx context.Context, text string) (Space, error) {
	n, _ := cutID("Spaces-", text)
	s, err := scanSpace(i.read.QueryRowContext(ctx, `SELECT `+spaceColumns+` FROM space WHERE id = ? OR name = ? OR slug = ? ORDER BY id = ? DESC, name = ? DESC LIMIT 1`, n, text, text, n, text).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return s, errs.Missing("space", text)
	}
	return s, err
}

// DefaultSpace is the one that a client means who names none. The error is
// [errs.NotFound] when there is no default.
func (i *Instance) DefaultSpace(ctx context.Context) (Space, error) {
	s, err := scanSpace(i.read.QueryRowContext(ctx, `SELECT `+spaceColumns+` FROM space WHERE is_default = 1`).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return s, errs.New(errs.NotFound, "This server has no default space.").WithHint("Name a space, or make one the default.")
	}
	return s, storeError(err)
}

// Spaces lists all by name.
func (i *Instance) Spaces(ctx context.Context) ([]Space, error) {
	return list(ctx, i, scanSpace, `SELECT `+spaceColumns+` FROM space ORDER BY name`)
}

// SpacesOf lists those that a user may enter, by name.
func (i *Instance) SpacesOf(ctx context.Context, user int64) ([]Space, error) {
	return list(ctx, i, scanSpace, `SELECT `+spaceColumns+` FROM space WHERE id IN (SELECT r.space_id FROM scoped_user_role r JOIN team t ON t.id = r.team_id
		WHERE t.word = 'everyone' OR t.id IN (SELECT team_id FROM team_member WHERE user_id = ?)) ORDER BY name`, user)
}

// Managers lists the users who manage a space.
func (i *Instance) Managers(ctx context.Context, s Space) ([]int64, error) {
	return list(ctx, i, func(scan func(...any) error) (int64, error) {
		var n int64
		return n, scan(&n)
	}, `SELECT m.user_id FROM team_member m JOIN team t ON t.id = m.team_id WHERE t.word = ? ORDER BY m.user_id`, "spacemanagers-"+s.ID())
}

// Permissions is what a user may do in a space. It is kept in memory until a team, a
// member or a role changes. The result allows nothing for a space that the user may
// not enter.
func (i *Instance) Permissions(ctx context.Context, user, space int64) (access.Set, error) {
	key := grantKey{user, space}
	i.mu.Lock()
	s, ok := i.grants[key]
	generation := i.generation
	i.mu.Unlock()
	if ok {
		return s, nil
	}
	rows, err := list(ctx, i, scanScopedRole, `SELECT `+scopedRoleColumns+` FROM scoped_user_role r JOIN team ON team.id = r.team_id
		WHERE (r.space_id = ?2 OR ?2 = 0) AND `+inTeam, user, space)
	if err != nil {
		return access.Set{}, err
	}
	roles := map[string]access.Role{}
	all, err := i.Roles(ctx)
	if err != nil {
		return access.Set{}, err
	}
	for _, role := range all {
		roles[role.ID] = role
	}
	grants := make([]access.Grant, 0, len(rows))
	for _, r := range rows {
		role := roles[r.Role] // of an unknown one: nothing
		if space == 0 {
			grants = append(grants, access.Grant{Permissions: role.System})
			continue
		}
		grants = append(grants, access.Grant{Permissions: role.Space, Projects: r.Projects, ProjectGroups: r.ProjectGroups, Environments: r.Environments, Tenants: r.Tenants})
	}
	s = access.NewSet(grants...)
	i.mu.Lock()
	if i.generation == generation { // otherwise something changed since we read, maybe this
		i.grants[key] = s
	}
	i.mu.Unlock()
	return s, nil
}

// SystemPermissions is what a user may do on the server.
func (i *Instance) SystemPermissions(ctx context.Context, user int64) (access.Set, error) {
	return i.Permissions(ctx, user, 0)
}
