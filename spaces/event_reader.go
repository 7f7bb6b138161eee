package spaces

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"octopuses.dev/octopuses/spaces/access"
)

// EventReader gets the events of spaces in their order and remembers in each space how far
// it has come: it may be late, and loses nothing. Of a space where it has not read yet it
// gets what happened from Since on.
type EventReader struct {
	Name  string // of its cursor
	Since time.Time
}

// maxRead is how many bytes of changes a batch for a reader holds, about.
const maxRead = 1 << 20

// EventsFor is the next batch for a reader, oldest first, at most take; none when it has
// read all. Only the server reads so.
func (tx *ReadTx) EventsFor(r EventReader, take int) ([]Event, error) {
	if !tx.Actor.System {
		return nil, access.Missing(access.AdministerSystem)
	}
	from, err := tx.readThrough(r)
	if err != nil {
		return nil, err
	}
	size := 0
	all, err := list(tx, func(scan func(...any) error) (Event, error) {
		if size > maxRead {
			return Event{}, nil // cut off below
		}
		e, err := scanEvent(scan)
		for _, c := range e.Changes {
			size += len(c.Before) + len(c.After)
		}
		return e, err
	}, eventQuery+` WHERE id > ? ORDER BY id LIMIT ?`, from, take)
	for i, e := range all {
		if e.ID == 0 {
			return all[:i], err
		}
	}
	return all, err
}

// readThrough is the id of the last event that a reader has, or that it does not get since
// it is older than the reader.
func (tx *ReadTx) readThrough(r EventReader) (int64, error) {
	at, err := one[int64](tx, `SELECT position FROM cursor WHERE name = ?`, r.Name)
	if !errors.Is(err, sql.ErrNoRows) {
		return at, err
	}
	first, err := one[int64](tx, `SELECT id FROM event WHERE at >= ? ORDER BY at, id LIMIT 1`, formatTime(r.Since))
	if errors.Is(err, sql.ErrNoRows) {
		return one[int64](tx, `SELECT coalesce(max(id), 0) FROM event`)
	}
	return first - 1, err
}

// EventsRead moves a reader forward: it has all events up to this one.
func (tx *Tx) EventsRead(r EventReader, through EventID) error {
	if !tx.Actor.System {
		return access.Missing(access.AdministerSystem)
	}
	_, err := tx.exec(`INSERT INTO cursor (name, position) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)`, r.Name, int64(through))
	return err
}

// unread reports whether there is something for the collector of the audit.
func (tx *ReadTx) unread() (bool, error) {
	r, streamed := tx.Space.audited()
	if !streamed {
		return false, nil
	}
	from, err := tx.readThrough(r)
	if err != nil {
		return false, err
	}
	return one[bool](tx, `SELECT EXISTS (SELECT 1 FROM event WHERE id > ?)`, from)
}

// AllRead takes [MarkAudit] off if the collector has everything. The file is locked against
// an event in between.
func (s *Space) AllRead(ctx context.Context) (bool, error) {
	return Update(ctx, s, Server(), func(tx *Tx) (bool, error) {
		more, err := tx.unread()
		if err != nil || more || !s.marks[MarkAudit] {
			return !more && err == nil, err
		}
		return true, s.setMarks(tx.ctx, nil, []string{MarkAudit})
	})
}
