package instance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/audit"
)

// Event is an entry of the server's audit. It is never changed.
type Event struct {
	ID                 int64
	At                 time.Time
	ActorID, ActorName string
	Via, Address       string
	Category           string // "Created", "Modified", "Deleted", "SignedIn", "Denied", …
	Entity, EntityID   string
	Message            string
	Changes            []audit.Change
}

// APIID is the API id of the entry, unique within the server's own audit.
func (e Event) APIID() string { return fmt.Sprintf("Events-%d", e.ID) }

// Line is the entry as it leaves the server.
func (e Event) Line() audit.Line {
	return audit.Line{ID: e.APIID(), Occurred: e.At.UTC(), UserID: e.ActorID, Username: e.ActorName, Category: e.Category, Message: e.Message, Entity: e.Entity, EntityID: e.EntityID,
		Via: e.Via, IPAddress: e.Address, ChangeDetails: audit.DetailsOf(e.Changes)}
}

// EventFilter chooses entries; zero values choose all.
type EventFilter struct {
	Category    string
	Text        string // part of the message, of the actor's name or of the entity's id, without case
	From, Until time.Time
	Before      int64 // only older than this one, for paging
	Take        int   // at most so many, 1,000 at the most; 0: 50
}

const eventColumns = `id, at, actor_id, actor_name, via, address, category, entity, entity_id, message, detail`

func scanEvent(scan func(...any) error) (Event, error) {
	var e Event
	var at, detail string
	if err := scan(&e.ID, &at, &e.ActorID, &e.ActorName, &e.Via, &e.Address, &e.Category, &e.Entity, &e.EntityID, &e.Message, &detail); err != nil {
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

// Events lists entries, newest first. Who may read them is for the door to ask.
func (i *Instance) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	where, args := []string{"1"}, []any{}
	add := func(clause string, values ...any) { where, args = append(where, clause), append(args, values...) }
	if f.Category != "" {
		add("category = ?", f.Category)
	}
	if f.Text != "" {
		part := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(f.Text) + "%"
		add(`(message LIKE ? ESCAPE '\' OR actor_name LIKE ? ESCAPE '\' OR entity_id LIKE ? ESCAPE '\')`, part, part, part)
	}
	if !f.From.IsZero() {
		add("at >= ?", f.From.UTC().Format(TimeFormat))
	}
	if !f.Until.IsZero() {
		add("at < ?", f.Until.UTC().Format(TimeFormat))
	}
	if f.Before > 0 {
		add("id < ?", f.Before)
	}
	args = append(args, min(cmp.Or(max(f.Take, 0), 50), 1000))
	return list(ctx, i, scanEvent, `SELECT `+eventColumns+` FROM event WHERE `+strings.Join(where, " AND ")+` ORDER BY id DESC LIMIT ?`, args...)
}
