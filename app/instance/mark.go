package instance

import (
	"context"
)

// Marks lists the marks of a space: what it has to do without being asked.
func (i *Instance) Marks(ctx context.Context, space int64) ([]string, error) {
	return list(ctx, i, func(scan func(...any) error) (string, error) {
		var m string
		return m, scan(&m)
	}, `SELECT mark FROM space_mark WHERE space_id = ?`, space)
}

// Mark adds and removes marks of a space. It is durable when it returns.
func (i *Instance) Mark(ctx context.Context, space int64, add, remove []string) error {
	return i.note(ctx, System(), func(tx *tx) error { return tx.mark(space, add, remove) })
}

func (tx *tx) mark(space int64, add, remove []string) error {
	for _, m := range add {
		if _, err := tx.Exec(`INSERT INTO space_mark (mark, space_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, m, space); err != nil {
			return err
		}
	}
	for _, m := range remove {
		if _, err := tx.Exec(`DELETE FROM space_mark WHERE mark = ? AND space_id = ?`, m, space); err != nil {
			return err
		}
	}
	return nil
}

// Marked lists the spaces with a mark, by number.
func (i *Instance) Marked(ctx context.Context, mark string) ([]Space, error) {
	// CROSS JOIN fixes the order: from the few marks, not over all spaces.
	return list(ctx, i, scanSpace, `SELECT `+spaceColumns+` FROM space_mark CROSS JOIN space ON space.id = space_mark.space_id WHERE space_mark.mark = ? ORDER BY space_mark.space_id`, mark)
}

// HasMark reports whether any space has a mark.
func (i *Instance) HasMark(ctx context.Context, mark string) (bool, error) {
	var has bool
	err := i.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM space_mark WHERE mark = ?)`, mark).Scan(&has)
	return has, storeError(err)
}

// MarkedThrough lists the spaces with a mark that begins with a prefix and is before
// another, as "archive/2026-01-31", by number.
func (i *Instance) MarkedThrough(ctx context.Context, prefix, before string) ([]Space, error) {
	return list(ctx, i, scanSpace, `SELECT DISTINCT `+spaceColumns+` FROM space_mark CROSS JOIN space ON space.id = space_mark.space_id WHERE space_mark.mark >= ? AND space_mark.mark < ? ORDER BY space.id`, prefix, before)
}
