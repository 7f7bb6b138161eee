package instance

import (
	"context"
	"database/sql"
	"errors"
)

// taskNumbers is how many ids of tasks a space is given at once.
const taskNumbers = 100

// GiveTaskNumbers gives a space the next ids for its tasks, from first to last, all above
// a number that it has used already. They are its own for ever, also when it is gone.
func (i *Instance) GiveTaskNumbers(ctx context.Context, space, above int64) (first, last int64, err error) {
	err = i.note(ctx, System(), func(tx *tx) error {
		if err := tx.QueryRow(`SELECT max(COALESCE((SELECT max(last) FROM task_number), 0), ?) + 1`, above).Scan(&first); err != nil {
			return err
		}
		last = first + taskNumbers - 1
		_, err := tx.Exec(`INSERT INTO task_number (first, last, space_id) VALUES (?, ?, ?)`, first, last, space)
		return err
	})
	return first, last, err
}

// SpaceOfTask is the number of the space that a task's id was given to; 0 for an id of
// before ids were given, or of nobody.
func (i *Instance) SpaceOfTask(ctx context.Context, task int64) (space int64, err error) {
	err = i.read.QueryRowContext(ctx, `SELECT iif(last >= ?1, space_id, 0) FROM task_number WHERE first <= ?1 ORDER BY first DESC LIMIT 1`, task).Scan(&space)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return space, storeError(err)
}
