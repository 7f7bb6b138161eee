package instance

import (
	"context"
	"time"
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
}

// Events lists at most limit entries older than the one numbered before (0: from the
// newest), newest first.
func (i *Instance) Events(ctx context.Context, before int64, limit int) ([]Event, error) {
	return list(ctx, i, func(scan func(...any) error) (Event, error) {
		var e Event
		var at string
		err := scan(&e.ID, &at, &e.ActorID, &e.ActorName, &e.Via, &e.Address, &e.Category, &e.Entity, &e.EntityID, &e.Message)
		e.At = parseTime(at)
		return e, err
	}, `SELECT id, at, actor_id, actor_name, via, address, category, entity, entity_id, message FROM event WHERE id < ?1 OR ?1 <= 0 ORDER BY id DESC LIMIT ?2`, before, min(max(limit, 1), 1000))
}
