package spaces

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Environment is a stage that releases pass through, as Test or Production.
type Environment struct {
	ID                         EnvironmentID
	ULID                       string // known to other zones
	Name, Slug, Description    string
	SortOrder                  int // orders dashboard, pickers and implicit phases
	UseGuidedFailure           bool
	AllowDynamicInfrastructure bool
	UpdatedAt                  time.Time
	UpdatedBy                  string
}

// EnvironmentInput is what a person or a client says of an environment.
type EnvironmentInput struct {
	Name, Slug, Description    string
	SortOrder                  *int // nil: behind all others on creation, unchanged on update
	UseGuidedFailure           bool
	AllowDynamicInfrastructure bool
}

const environmentColumns = `id, ulid, name, slug, description, sort_order, use_guided_failure, allow_dynamic_infrastructure, updated_at, updated_by`

func scanEnvironment(scan func(...any) error) (Environment, error) {
	var e Environment
	var at string
	err := scan(&e.ID, &e.ULID, &e.Name, &e.Slug, &e.Description, &e.SortOrder, &e.UseGuidedFailure, &e.AllowDynamicInfrastructure, &at, &e.UpdatedBy)
	e.UpdatedAt = parseTime(at)
	return e, err
}

func (in EnvironmentInput) check() error {
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	return c.Err()
}

// CreateEnvironment needs EnvironmentCreate. Errors: [errs.Invalid], [errs.Exists].
func (tx *Tx) CreateEnvironment(in EnvironmentInput) (Environment, error) {
	if err := tx.require(access.EnvironmentCreate, access.Scope{}); err != nil {
		return Environment{}, err
	}
	if err := in.check(); err != nil {
		return Environment{}, err
	}
	slug, err := tx.freeSlug("environment", in.Slug, in.Name, "")
	if err != nil {
		return Environment{}, err
	}
	order, err := one[int](tx.ReadTx, `SELECT COALESCE(max(sort_order) + 1, 0) FROM environment`)
	if err != nil {
		return Environment{}, err
	}
	if in.SortOrder != nil && *in.SortOrder > 0 {
		order = *in.SortOrder
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO environment (ulid, name, slug, description, sort_order, use_guided_failure, allow_dynamic_infrastructure, created_at, updated_at, updated_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		NewULID(tx.Now), in.Name, slug, in.Description, order, in.UseGuidedFailure, in.AllowDynamicInfrastructure, now, now, tx.Actor.Name)
	if err != nil {
		return Environment{}, taken(err, "Name", "An environment named '%s' already exists.", in.Name)
	}
	id := EnvironmentID(n)
	tx.record(Event{Category: "Created", Entity: "environment", EntityID: id.String(), EnvironmentID: id, Message: fmt.Sprintf("Environment %s was created", in.Name)})
	tx.changed("environments", "dashboard")
	return tx.environment(id)
}

// UpdateEnvironment needs EnvironmentEdit.
func (tx *Tx) UpdateEnvironment(id EnvironmentID, in EnvironmentInput) (Environment, error) {
	if err := tx.require(access.EnvironmentEdit, access.Scope{Environment: id.String()}); err != nil {
		return Environment{}, err
	}
	old, err := tx.environment(id)
	if err != nil {
		return Environment{}, err
	}
	if err := in.check(); err != nil {
		return Environment{}, err
	}
	slug := old.Slug
	if in.Slug != "" && in.Slug != old.Slug {
		if slug, err = tx.freeSlug("environment", in.Slug, in.Name, " AND id <> ?", int64(id)); err != nil {
			return Environment{}, err
		}
	}
	order := old.SortOrder
	if in.SortOrder != nil {
		order = *in.SortOrder
	}
	err = tx.update(`UPDATE environment SET name = ?, slug = ?, description = ?, sort_order = ?, use_guided_failure = ?, allow_dynamic_infrastructure = ?, updated_at = ?, updated_by = ? WHERE id = ?`,
		in.Name, slug, in.Description, order, in.UseGuidedFailure, in.AllowDynamicInfrastructure, formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return Environment{}, taken(err, "Name", "An environment named '%s' already exists.", in.Name)
	}
	made, err := tx.environment(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Modified", Entity: "environment", EntityID: id.String(), EnvironmentID: id, Message: fmt.Sprintf("Environment %s was changed", in.Name), Changes: edited(old, made)})
	tx.changed("environments", "dashboard")
	return made, nil
}

// DeleteEnvironment needs EnvironmentDelete. The error is [errs.Blocked] when a
// target, a document or a deployment still names it.
func (tx *Tx) DeleteEnvironment(id EnvironmentID) error {
	if err := tx.require(access.EnvironmentDelete, access.Scope{Environment: id.String()}); err != nil {
		return err
	}
	e, err := tx.environment(id)
	if err != nil {
		return err
	}
	uses, err := tx.usesOf("environment_id", int64(id))
	if err != nil {
		return err
	}
	if len(uses) > 0 {
		return blockedByUses("Environment '"+e.Name+"'", uses)
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM target_environment WHERE environment_id = ?`, int64(id)); err != nil {
		return err
	} else if n > 0 {
		return errs.New(errs.Blocked, "Environment '%s' still has %d deployment targets.", e.Name, n).WithHint("Move them to another environment or delete them first.")
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM deployment WHERE environment_id = ?`, int64(id)); err != nil {
		return err
	} else if n > 0 {
		return errs.New(errs.Blocked, "Environment '%s' has %d deployments in its history.", e.Name, n).WithHint("Rename it instead; the history of deployments is kept.")
	}
	if err := tx.update(`DELETE FROM environment WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "environment", EntityID: id.String(), Message: fmt.Sprintf("Environment %s was deleted", e.Name)})
	tx.changed("environments", "dashboard")
	return nil
}

// SortEnvironments puts the environments into the order of ids; those not named
// keep their order behind them. It needs EnvironmentEdit.
func (tx *Tx) SortEnvironments(ids []EnvironmentID) error {
	if err := tx.require(access.EnvironmentEdit, access.Scope{}); err != nil {
		return err
	}
	before, err := tx.environmentOrder()
	if err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE environment SET sort_order = sort_order + ?`, len(ids)); err != nil {
		return err
	}
	for i, id := range ids {
		if err := tx.update(`UPDATE environment SET sort_order = ? WHERE id = ?`, i, int64(id)); err != nil {
			return notFound(err, "environment", id.String())
		}
	}
	after, err := tx.environmentOrder()
	if err != nil {
		return err
	}
	tx.record(Event{Category: "Modified", Entity: "environment", Message: "The order of environments was changed", Changes: audit.Pairs("SortOrder", before, after)})
	tx.changed("environments", "dashboard")
	return nil
}

// environmentOrder names all environments in their order.
func (tx *ReadTx) environmentOrder() (string, error) {
	names, err := list(tx, func(scan func(...any) error) (name string, err error) { return name, scan(&name) }, `SELECT name FROM environment ORDER BY sort_order, id`)
	return strings.Join(names, ", "), err
}

// Environment returns one. It needs EnvironmentView.
func (tx *ReadTx) Environment(id EnvironmentID) (Environment, error) {
	if err := tx.require(access.EnvironmentView, access.Scope{Environment: id.String()}); err != nil {
		return Environment{}, err
	}
	return tx.environment(id)
}

// EnvironmentBy finds one by API id, name or slug, in this order.
func (tx *ReadTx) EnvironmentBy(text string) (Environment, error) {
	if n, ok := cutID(prefixEnvironment, text); ok {
		if e, err := tx.Environment(EnvironmentID(n)); err == nil {
			return e, nil
		}
	}
	n, err := one[int64](tx, `SELECT id FROM environment WHERE name = ? OR slug = ? ORDER BY name = ? DESC LIMIT 1`, text, text, text)
	if err != nil {
		return Environment{}, notFound(err, "environment", text)
	}
	return tx.Environment(EnvironmentID(n))
}

func (tx *ReadTx) environment(id EnvironmentID) (Environment, error) {
	e, err := scanEnvironment(tx.queryRow(`SELECT `+environmentColumns+` FROM environment WHERE id = ?`, int64(id)).Scan)
	return e, notFound(err, "environment", id.String())
}

// Environments lists them in their order. Those outside the actor's permission are
// left out.
func (tx *ReadTx) Environments(o ListOptions) (Page[Environment], error) {
	if err := tx.require(access.EnvironmentView, access.Scope{}); err != nil {
		return Page[Environment]{}, err
	}
	var f filter
	f.ids("id", prefixEnvironment, o.IDs)
	f.names("name", o)
	p, err := pageOf(tx, scanEnvironment, environmentColumns, "environment", "name", "sort_order, id", f, o)
	if err != nil {
		return p, err
	}
	kept := p.Items[:0]
	for _, e := range p.Items {
		if tx.Can(access.EnvironmentView, access.Scope{Environment: e.ID.String()}) {
			kept = append(kept, e)
		}
	}
	p.Total -= len(p.Items) - len(kept)
	p.Items = kept
	return p, nil
}
