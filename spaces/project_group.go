package spaces

import (
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// ProjectGroup keeps projects together, on pages and as a scope of permissions.
type ProjectGroup struct {
	ID                      ProjectGroupID
	Name, Slug, Description string
	IsDefault               bool
	UpdatedAt               time.Time
	UpdatedBy               string
}

// ProjectGroupInput is what a person or a client says of a project group.
type ProjectGroupInput struct{ Name, Slug, Description string }

const projectGroupColumns = `id, name, slug, description, is_default, updated_at, updated_by`

func scanProjectGroup(scan func(...any) error) (ProjectGroup, error) {
	var g ProjectGroup
	var at string
	err := scan(&g.ID, &g.Name, &g.Slug, &g.Description, &g.IsDefault, &at, &g.UpdatedBy)
	g.UpdatedAt = parseTime(at)
	return g, err
}

func (in ProjectGroupInput) check() error {
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	return c.Err()
}

// CreateProjectGroup needs ProjectGroupCreate.
func (tx *Tx) CreateProjectGroup(in ProjectGroupInput) (ProjectGroup, error) {
	if err := tx.require(access.ProjectGroupCreate, access.Scope{}); err != nil {
		return ProjectGroup{}, err
	}
	return tx.createProjectGroup(in, false)
}

func (tx *Tx) createProjectGroup(in ProjectGroupInput, isDefault bool) (ProjectGroup, error) {
	if err := in.check(); err != nil {
		return ProjectGroup{}, err
	}
	slug, err := tx.freeSlug("project_group", in.Slug, in.Name, "")
	if err != nil {
		return ProjectGroup{}, err
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO project_group (name, slug, description, is_default, created_at, updated_at, updated_by) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		in.Name, slug, in.Description, isDefault, now, now, tx.Actor.Name)
	if err != nil {
		return ProjectGroup{}, taken(err, "Name", "A project group named '%s' already exists.", in.Name)
	}
	id := ProjectGroupID(n)
	tx.record(Event{Category: "Created", Entity: "project group", EntityID: id.String(), Message: fmt.Sprintf("Project group %s was created", in.Name)})
	tx.changed("projects", "dashboard")
	return tx.projectGroup(id)
}

// UpdateProjectGroup needs ProjectGroupEdit.
func (tx *Tx) UpdateProjectGroup(id ProjectGroupID, in ProjectGroupInput) (ProjectGroup, error) {
	if err := tx.require(access.ProjectGroupEdit, access.Scope{ProjectGroup: id.String()}); err != nil {
		return ProjectGroup{}, err
	}
	old, err := tx.projectGroup(id)
	if err != nil {
		return ProjectGroup{}, err
	}
	if err := in.check(); err != nil {
		return ProjectGroup{}, err
	}
	slug := old.Slug
	if in.Slug != "" && in.Slug != old.Slug {
		if slug, err = tx.freeSlug("project_group", in.Slug, in.Name, " AND id <> ?", int64(id)); err != nil {
			return ProjectGroup{}, err
		}
	}
	err = tx.update(`UPDATE project_group SET name = ?, slug = ?, description = ?, updated_at = ?, updated_by = ? WHERE id = ?`, in.Name, slug, in.Description, formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return ProjectGroup{}, taken(err, "Name", "A project group named '%s' already exists.", in.Name)
	}
	tx.record(Event{Category: "Modified", Entity: "project group", EntityID: id.String(), Message: fmt.Sprintf("Project group %s was changed", in.Name),
		Changes: audit.Pairs("Name", old.Name, in.Name, "Description", old.Description, in.Description)})
	tx.changed("projects", "dashboard")
	return tx.projectGroup(id)
}

// DeleteProjectGroup needs ProjectGroupDelete and an empty group.
func (tx *Tx) DeleteProjectGroup(id ProjectGroupID) error {
	if err := tx.require(access.ProjectGroupDelete, access.Scope{ProjectGroup: id.String()}); err != nil {
		return err
	}
	g, err := tx.projectGroup(id)
	if err != nil {
		return err
	}
	if g.IsDefault {
		return errs.New(errs.Blocked, "'%s' is the default project group and is kept.", g.Name)
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM project WHERE project_group_id = ?`, int64(id)); err != nil {
		return err
	} else if n > 0 {
		return errs.New(errs.Blocked, "Project group '%s' still holds %d projects.", g.Name, n).WithHint("Move them to another group first.")
	}
	if err := tx.update(`DELETE FROM project_group WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "project group", EntityID: id.String(), Message: fmt.Sprintf("Project group %s was deleted", g.Name)})
	tx.changed("projects", "dashboard")
	return nil
}

// ProjectGroup returns one. It needs ProjectGroupView.
func (tx *ReadTx) ProjectGroup(id ProjectGroupID) (ProjectGroup, error) {
	if err := tx.require(access.ProjectGroupView, access.Scope{ProjectGroup: id.String()}); err != nil {
		return ProjectGroup{}, err
	}
	return tx.projectGroup(id)
}

// ProjectGroupBy finds one by API id, name or slug.
func (tx *ReadTx) ProjectGroupBy(text string) (ProjectGroup, error) {
	if n, ok := cutID(prefixProjectGroup, text); ok {
		if g, err := tx.ProjectGroup(ProjectGroupID(n)); err == nil {
			return g, nil
		}
	}
	n, err := one[int64](tx, `SELECT id FROM project_group WHERE name = ? OR slug = ? ORDER BY name = ? DESC LIMIT 1`, text, text, text)
	if err != nil {
		return ProjectGroup{}, notFound(err, "project group", text)
	}
	return tx.ProjectGroup(ProjectGroupID(n))
}

func (tx *ReadTx) projectGroup(id ProjectGroupID) (ProjectGroup, error) {
	g, err := scanProjectGroup(tx.queryRow(`SELECT `+projectGroupColumns+` FROM project_group WHERE id = ?`, int64(id)).Scan)
	return g, notFound(err, "project group", id.String())
}

// ProjectGroups lists them by name. It needs ProjectGroupView.
func (tx *ReadTx) ProjectGroups(o ListOptions) (Page[ProjectGroup], error) {
	if err := tx.require(access.ProjectGroupView, access.Scope{}); err != nil {
		return Page[ProjectGroup]{}, err
	}
	var f filter
	f.ids("id", prefixProjectGroup, o.IDs)
	f.names("name", o)
	return pageOf(tx, scanProjectGroup, projectGroupColumns, "project_group", "name", "name, id", f, o)
}
