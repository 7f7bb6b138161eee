package spaces

import (
	"encoding/json"
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
)

// Lifecycle is the way of releases through environments. The embedded document is
// what people edit and what clients read.
type Lifecycle struct {
	ID        LifecycleID
	Slug      string
	IsDefault bool
	Version   int64
	UpdatedAt time.Time
	UpdatedBy string
	deploy.Lifecycle
}

const lifecycleColumns = `l.id, l.name, l.slug, l.description, l.is_default, d.version, s.body, l.updated_at, l.updated_by`
const lifecycleFrom = `lifecycle l JOIN document d ON d.id = l.document_id JOIN snapshot s ON s.hash = d.hash`

func (tx *ReadTx) scanLifecycle(scan func(...any) error) (Lifecycle, error) {
	var l Lifecycle
	var at, name, slug, description string
	var body []byte
	if err := scan(&l.ID, &name, &slug, &description, &l.IsDefault, &l.Version, &body, &at, &l.UpdatedBy); err != nil {
		return l, err
	}
	if err := json.Unmarshal(body, &l.Lifecycle); err != nil {
		return l, fmt.Errorf("decode lifecycle %d: %w", l.ID, err)
	}
	l.UpdatedAt = parseTime(at)
	l.Slug = slug
	l.Lifecycle.ID, l.Lifecycle.SpaceID = l.ID.String(), tx.Space.ID()
	l.Lifecycle.Name, l.Lifecycle.Slug, l.Lifecycle.Description = name, slug, description
	return l, nil
}

// lifecycleRefs turns the ids of a lifecycle into foreign keys.
func lifecycleRefs(l *deploy.Lifecycle) ([]docRef, error) {
	var c errs.Check
	var refs []docRef
	all := l.Refs()
	for _, r := range all.Environments {
		n, ok := cutID(prefixEnvironment, r.ID)
		c.Require(ok, r.Path, "'%s' is no environment of this space.", r.ID)
		refs = append(refs, docRef{path: r.Path, environment: EnvironmentID(n)})
	}
	for _, r := range all.Spaces {
		n, ok := cutID(prefixLink, r.ID)
		c.Require(ok, r.Path, "'%s' is no link of this space.", r.ID)
		refs = append(refs, docRef{path: r.Path, link: LinkID(n)})
	}
	return refs, c.Err()
}

// bodyOf is the stored form: what the columns hold is left out.
func bodyOf(l deploy.Lifecycle) deploy.Lifecycle {
	l.ID, l.SpaceID, l.Slug = "", "", ""
	return l
}

func (tx *ReadTx) phaseID() func() string { return func() string { return NewULID(tx.Now) } }

// CreateLifecycle needs LifecycleCreate.
func (tx *Tx) CreateLifecycle(in deploy.Lifecycle) (Lifecycle, error) {
	if err := tx.require(access.LifecycleCreate, access.Scope{}); err != nil {
		return Lifecycle{}, err
	}
	return tx.createLifecycle(in, false)
}

func (tx *Tx) createLifecycle(in deploy.Lifecycle, isDefault bool) (Lifecycle, error) {
	in.Normalize(tx.phaseID())
	if err := in.Validate(); err != nil {
		return Lifecycle{}, err
	}
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	if err := c.Err(); err != nil {
		return Lifecycle{}, err
	}
	refs, err := lifecycleRefs(&in)
	if err != nil {
		return Lifecycle{}, err
	}
	slug, err := tx.freeSlug("lifecycle", in.Slug, in.Name, "")
	if err != nil {
		return Lifecycle{}, err
	}
	doc, err := tx.createDocument(kindLifecycle, bodyOf(in), refs)
	if err != nil {
		return Lifecycle{}, err
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO lifecycle (name, slug, description, is_default, document_id, created_at, updated_at, updated_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		in.Name, slug, in.Description, isDefault, int64(doc), now, now, tx.Actor.Name)
	if err != nil {
		return Lifecycle{}, taken(err, "Name", "A lifecycle named '%s' already exists.", in.Name)
	}
	id := LifecycleID(n)
	tx.record(Event{Category: "Created", Entity: "lifecycle", EntityID: id.String(), Message: fmt.Sprintf("Lifecycle %s was created", in.Name)})
	tx.changed("lifecycles", "dashboard")
	return tx.lifecycle(id)
}

// UpdateLifecycle needs LifecycleEdit. Remote spaces of phases are kept when a
// client that does not know them saves the lifecycle.
func (tx *Tx) UpdateLifecycle(id LifecycleID, in deploy.Lifecycle) (Lifecycle, error) {
	if err := tx.require(access.LifecycleEdit, access.Scope{}); err != nil {
		return Lifecycle{}, err
	}
	old, err := tx.lifecycle(id)
	if err != nil {
		return Lifecycle{}, err
	}
	in.KeepRemote(&old.Lifecycle)
	in.Normalize(tx.phaseID())
	if err := in.Validate(); err != nil {
		return Lifecycle{}, err
	}
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	if err := c.Err(); err != nil {
		return Lifecycle{}, err
	}
	refs, err := lifecycleRefs(&in)
	if err != nil {
		return Lifecycle{}, err
	}
	slug := old.Slug
	if in.Slug != "" && in.Slug != old.Slug {
		if slug, err = tx.freeSlug("lifecycle", in.Slug, in.Name, " AND id <> ?", int64(id)); err != nil {
			return Lifecycle{}, err
		}
	}
	doc, err := one[int64](tx.ReadTx, `SELECT document_id FROM lifecycle WHERE id = ?`, int64(id))
	if err != nil {
		return Lifecycle{}, err
	}
	if _, err := tx.saveDocument(DocumentID(doc), kindLifecycle, old.Version, bodyOf(in), refs); err != nil {
		return Lifecycle{}, err
	}
	err = tx.update(`UPDATE lifecycle SET name = ?, slug = ?, description = ?, updated_at = ?, updated_by = ? WHERE id = ?`, in.Name, slug, in.Description, formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return Lifecycle{}, taken(err, "Name", "A lifecycle named '%s' already exists.", in.Name)
	}
	made, err := tx.lifecycle(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Modified", Entity: "lifecycle", EntityID: id.String(), Message: fmt.Sprintf("Lifecycle %s was changed", in.Name), Changes: edited(old, made)})
	tx.changed("lifecycles", "dashboard")
	return made, nil
}

// DeleteLifecycle needs LifecycleDelete; the default lifecycle and a used one stay.
func (tx *Tx) DeleteLifecycle(id LifecycleID) error {
	if err := tx.require(access.LifecycleDelete, access.Scope{}); err != nil {
		return err
	}
	l, err := tx.lifecycle(id)
	if err != nil {
		return err
	}
	if l.IsDefault {
		return errs.New(errs.Blocked, "'%s' is the default lifecycle and is kept.", l.Name)
	}
	users, err := one[int](tx.ReadTx, `SELECT (SELECT count(*) FROM project WHERE lifecycle_id = ?1) + (SELECT count(*) FROM channel WHERE lifecycle_id = ?1)`, int64(id))
	if err != nil {
		return err
	}
	if users > 0 {
		return errs.New(errs.Blocked, "Lifecycle '%s' is used by %d projects or channels.", l.Name, users).WithHint("Give them another lifecycle first.")
	}
	doc, err := one[int64](tx.ReadTx, `SELECT document_id FROM lifecycle WHERE id = ?`, int64(id))
	if err != nil {
		return err
	}
	if err := tx.update(`DELETE FROM lifecycle WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	if err := tx.update(`DELETE FROM document WHERE id = ?`, doc); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "lifecycle", EntityID: id.String(), Message: fmt.Sprintf("Lifecycle %s was deleted", l.Name)})
	tx.changed("lifecycles")
	return nil
}

// Lifecycle returns one. It needs LifecycleView.
func (tx *ReadTx) Lifecycle(id LifecycleID) (Lifecycle, error) {
	if err := tx.require(access.LifecycleView, access.Scope{}); err != nil {
		return Lifecycle{}, err
	}
	return tx.lifecycle(id)
}

// LifecycleBy finds one by API id, name or slug.
func (tx *ReadTx) LifecycleBy(text string) (Lifecycle, error) {
	if n, ok := cutID(prefixLifecycle, text); ok {
		if l, err := tx.Lifecycle(LifecycleID(n)); err == nil {
			return l, nil
		}
	}
	n, err := one[int64](tx, `SELECT id FROM lifecycle WHERE name = ? OR slug = ? ORDER BY name = ? DESC LIMIT 1`, text, text, text)
	if err != nil {
		return Lifecycle{}, notFound(err, "lifecycle", text)
	}
	return tx.Lifecycle(LifecycleID(n))
}

func (tx *ReadTx) lifecycle(id LifecycleID) (Lifecycle, error) {
	l, err := tx.scanLifecycle(tx.queryRow(`SELECT `+lifecycleColumns+` FROM `+lifecycleFrom+` WHERE l.id = ?`, int64(id)).Scan)
	return l, notFound(err, "lifecycle", id.String())
}

// Lifecycles lists them by name. It needs LifecycleView.
func (tx *ReadTx) Lifecycles(o ListOptions) (Page[Lifecycle], error) {
	if err := tx.require(access.LifecycleView, access.Scope{}); err != nil {
		return Page[Lifecycle]{}, err
	}
	var f filter
	f.ids("l.id", prefixLifecycle, o.IDs)
	f.names("l.name", o)
	return pageOf(tx, tx.scanLifecycle, lifecycleColumns, lifecycleFrom, "l.name", "l.name, l.id", f, o)
}
