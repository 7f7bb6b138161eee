package spaces

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
)

// Event is one line of the audit ledger, written by the transaction that made the
// change and never changed afterwards.
type Event struct {
	ID            EventID
	At            time.Time
	ActorID       string
	ActorName     string
	Via           string
	Address       string
	Category      string // Created, Modified, Deleted, DeploymentQueued, ...
	Entity        string // the noun, as "project"
	EntityID      string
	ProjectID     ProjectID     // 0: none
	EnvironmentID EnvironmentID // 0: none
	Reference     string        // an id shared with another zone
	Message       string
	Changes       []Change
}

// Change is a value before and after. A secret is only ever said to have changed.
type Change = audit.Change

// edited compares an entity before and after an edit, without what every edit changes.
func edited(before, after any) []Change {
	return slices.DeleteFunc(audit.Compare("", before, after), func(c Change) bool {
		return c.Field == "UpdatedAt" || c.Field == "UpdatedBy" || c.Field == "Version"
	})
}

// texts are the API ids of a list.
func texts[T fmt.Stringer](ids []T) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

// record adds an event to the transaction.
func (tx *Tx) record(e Event) { tx.events = append(tx.events, e) }

// Record adds an event for a door that did something sensitive which no rule of a
// Tx does, such as exporting a file.
func (tx *Tx) Record(e Event) { tx.record(e) }

func (tx *Tx) writeEvents() error {
	for _, e := range tx.events {
		detail := ""
		if len(e.Changes) > 0 {
			b, err := json.Marshal(e.Changes)
			if err != nil {
				return fmt.Errorf("encode event: %w", err)
			}
			detail = string(b)
		}
		_, err := tx.exec(`INSERT INTO event (at, actor_id, actor_name, via, address, category, entity, entity_id, project_id, environment_id, reference, message, detail)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULLIF(?, 0), NULLIF(?, 0), ?, ?, ?)`,
			formatTime(tx.Now), tx.Actor.ID, tx.Actor.Name, tx.Actor.Via, tx.Actor.Address, e.Category, e.Entity, e.EntityID,
			int64(e.ProjectID), int64(e.EnvironmentID), e.Reference, e.Message, detail)
		if err != nil {
			return fmt.Errorf("write event: %w", err)
		}
	}
	if len(tx.events) > 0 {
		tx.changed("events")
	}
	return nil
}

// EventFilter chooses events; zero values choose all.
type EventFilter struct {
	Project     ProjectID
	EntityID    string
	Category    string
	Actor       string
	Reference   string
	Text        string // part of the message, of the actor's name or of the entity's id, without case
	From, Until time.Time
	Before      EventID // only older than this one, for paging
	Take        int     // at most so many; 0: 50
}

// Events lists the ledger as far as the actor may see what it is about, newest first. It
// needs EventView. An event of a target is of the environments that the target is in now;
// when it is gone, or has none, only who is limited to no environment sees it.
func (tx *ReadTx) Events(f EventFilter) ([]Event, error) {
	sight, err := tx.sight(access.EventView)
	if err != nil {
		return nil, err
	}
	if ok, err := sight.of(f.Project, 0); err != nil || !ok {
		return nil, cmp.Or(err, access.Missing(access.EventView))
	}
	take := min(cmp.Or(max(f.Take, 0), 50), 1000)
	var out []Event
	for batch := take; ; batch = 1000 {
		part, err := tx.events(f, batch)
		if err != nil {
			return nil, err
		}
		for _, e := range part {
			ok, err := sight.ofEvent(e)
			if err != nil {
				return nil, err
			}
			if ok && len(out) < take {
				out = append(out, e)
			}
		}
		if len(part) < batch || len(out) == take {
			return out, nil
		}
		f.Before = part[len(part)-1].ID
	}
}

// ofEvent is [sight.of] with the environments of what an event is about.
func (s *sight) ofEvent(e Event) (bool, error) {
	if s.all {
		return true, nil
	}
	switch e.Entity {
	case "environment":
		if id, ok := cutID(prefixEnvironment, e.EntityID); ok {
			e.EnvironmentID = EnvironmentID(id)
		}
	case "deployment target":
		id, _ := cutID(prefixTarget, e.EntityID)
		environments, err := list(s.tx, func(scan func(...any) error) (EnvironmentID, error) {
			var id EnvironmentID
			return id, scan(&id)
		}, `SELECT environment_id FROM target_environment WHERE target_id = ?`, id)
		if err != nil {
			return false, err
		}
		for _, environment := range environments {
			if ok, err := s.of(e.ProjectID, environment); err != nil || ok {
				return ok, err
			}
		}
		e.EnvironmentID = -1 // none that anybody's role names
	}
	return s.of(e.ProjectID, e.EnvironmentID)
}

const eventQuery = `SELECT id, at, actor_id, actor_name, via, address, category, entity, entity_id, COALESCE(project_id, 0), COALESCE(environment_id, 0), reference, message, detail FROM event`

func (tx *ReadTx) events(f EventFilter, take int) ([]Event, error) {
	var where []string
	var args []any
	add := func(clause string, v any) { where = append(where, clause); args = append(args, v) }
	if f.Project != 0 {
		add("project_id = ?", int64(f.Project))
	}
	if f.EntityID != "" {
		add("entity_id = ?", f.EntityID)
	}
	if f.Category != "" {
		add("category = ?", f.Category)
	}
	if f.Actor != "" {
		add("actor_id = ?", f.Actor)
	}
	if f.Reference != "" {
		add("reference = ?", f.Reference)
	}
	if f.Text != "" {
		part := like(f.Text)
		where = append(where, `(message LIKE ? ESCAPE '\' OR actor_name LIKE ? ESCAPE '\' OR entity_id LIKE ? ESCAPE '\')`)
		args = append(args, part, part, part)
	}
	if !f.From.IsZero() {
		add("at >= ?", formatTime(f.From))
	}
	if !f.Until.IsZero() {
		add("at < ?", formatTime(f.Until))
	}
	if f.Before != 0 {
		add("id < ?", int64(f.Before))
	}
	query := eventQuery
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	return list(tx, scanEvent, query+" ORDER BY id DESC LIMIT ?", append(args, take)...)
}

// Line is the event as it leaves the space with this id.
func (e Event) Line(space string) audit.Line {
	return audit.Line{ID: e.ID.String(), SpaceID: space, Occurred: e.At.UTC(), UserID: e.ActorID, Username: e.ActorName, Category: e.Category, Message: e.Message, Entity: e.Entity, EntityID: e.EntityID,
		ProjectID: e.ProjectID.String(), EnvironmentID: e.EnvironmentID.String(), Reference: e.Reference, Via: e.Via, IPAddress: e.Address, ChangeDetails: audit.DetailsOf(e.Changes)}
}

func scanEvent(scan func(...any) error) (Event, error) {
	var e Event
	var at, detail string
	if err := scan(&e.ID, &at, &e.ActorID, &e.ActorName, &e.Via, &e.Address, &e.Category, &e.Entity, &e.EntityID, &e.ProjectID, &e.EnvironmentID, &e.Reference, &e.Message, &detail); err != nil {
		return e, err
	}
	e.At = parseTime(at)
	if detail != "" {
		if err := json.Unmarshal([]byte(detail), &e.Changes); err != nil {
			return e, fmt.Errorf("event %d: %w", e.ID, err)
		}
	}
	return e, nil
}
