package instance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// DefaultRetention is how many days events stay in the ledgers until they go into files.
const DefaultRetention = 90

const (
	retentionSetting = "audit/retention"
	minArchiveAge    = 30 * 24 * time.Hour // as spaces.MinArchiveAge
	sweepBatch       = 2000
)

// Retention is how many days events stay in the ledgers of the server and of all spaces.
func (i *Instance) Retention(ctx context.Context) (days int, err error) {
	raw, err := i.Setting(ctx, retentionSetting)
	if err != nil || raw == nil {
		return DefaultRetention, err
	}
	if days, err = strconv.Atoi(string(raw)); err != nil {
		return 0, fmt.Errorf("decode the retention of the audit: %w", err)
	}
	return days, nil
}

// SetRetention needs ConfigureServer. It is between 1 and 3,650 days.
func (i *Instance) SetRetention(ctx context.Context, actor Actor, days int) error {
	if err := i.require(ctx, actor, access.ConfigureServer); err != nil {
		return err
	}
	var c errs.Check
	c.Require(days >= 1 && days <= 3650, "EventRetentionDays", "Events are kept for 1 to 3,650 days before they go into files.")
	if err := c.Err(); err != nil {
		return err
	}
	old, err := i.Retention(ctx)
	if err != nil || old == days {
		return err
	}
	return i.note(ctx, actor, func(tx *tx) error {
		_, err := tx.Exec(`INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, retentionSetting, i.masters.Seal([]byte(strconv.Itoa(days)), "instance/setting/"+retentionSetting))
		if err != nil {
			return err
		}
		return tx.record("Modified", "event retention", "", "The retention of the audit was changed", audit.Pairs("EventRetentionDays", strconv.Itoa(old), strconv.Itoa(days))...)
	})
}

// ArchiveEvents moves the server's own events before a time, the beginning of a day, into
// files of a folder, as a space does with its own. It is not called twice at once.
func (i *Instance) ArchiveEvents(ctx context.Context, folder string, before time.Time) (int64, error) {
	gone, err := list(ctx, i, func(scan func(...any) error) (day string, err error) { return day, scan(&day) }, `SELECT day FROM event_archive WHERE deleted_at IS NOT NULL`)
	if err != nil {
		return 0, err
	}
	for _, day := range gone { // of a deletion that was cut short
		if err := os.Remove(filepath.Join(folder, audit.FileName(day))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
	}
	return audit.Put(ctx, ledger{i}, folder, before)
}

// ledger is the server's own events as [audit.Put] sees them.
type ledger struct{ i *Instance }

func (l ledger) Sweep(ctx context.Context) (more bool, err error) {
	err = l.i.note(ctx, System(), func(tx *tx) error { more, err = tx.sweepEvents(); return err })
	return more, err
}

func (t *tx) sweepEvents() (more bool, err error) {
	res, err := t.Exec(`DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id <= (SELECT through FROM event_horizon) ORDER BY id LIMIT ?)`, sweepBatch)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == sweepBatch, err
}

func (l ledger) Next(ctx context.Context) (at time.Time, horizon int64, ok bool, err error) {
	var first int64
	var text string
	if err := l.i.read.QueryRowContext(ctx, `SELECT through FROM event_horizon`).Scan(&horizon); err != nil {
		return at, 0, false, storeError(err)
	}
	err = l.i.read.QueryRowContext(ctx, `SELECT id, at FROM event WHERE id > ? ORDER BY id LIMIT 1`, horizon).Scan(&first, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return at, horizon, false, nil
	}
	if err != nil {
		return at, 0, false, storeError(err)
	}
	limit, err := l.limit(ctx)
	return parseTime(text), horizon, first <= limit, err
}

// limit is the last event that may go: the collector has it.
func (l ledger) limit(ctx context.Context) (int64, error) {
	first, err := l.i.unread(ctx)
	if first == 0 {
		return math.MaxInt64, err
	}
	return first - 1, err
}

func (l ledger) End(ctx context.Context, horizon int64, day string) (last int64, err error) {
	begin, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return 0, err
	}
	limit, err := l.limit(ctx)
	if err != nil {
		return 0, err
	}
	err = l.i.read.QueryRowContext(ctx, `SELECT coalesce((SELECT id - 1 FROM event WHERE id > ?1 AND (at < ?2 OR at >= ?3) ORDER BY id LIMIT 1), (SELECT max(id) FROM event))`,
		horizon, begin.Format(TimeFormat), begin.AddDate(0, 0, 1).Format(TimeFormat)).Scan(&last)
	return min(last, limit), storeError(err)
}

func (l ledger) Lines(ctx context.Context, after, through int64, take int) ([]audit.Line, error) {
	all, err := list(ctx, l.i, scanEvent, `SELECT `+eventColumns+` FROM event WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, after, through, take)
	out := make([]audit.Line, len(all))
	for n, e := range all {
		out[n] = e.Line()
	}
	return out, err
}

func (l ledger) Archived(ctx context.Context, a audit.Archive) error {
	return l.i.note(ctx, System(), func(tx *tx) error {
		_, err := tx.Exec(`INSERT INTO event_archive (day, last_id, events, size, sha256, created_at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (day) DO UPDATE SET last_id = excluded.last_id, events = excluded.events, size = excluded.size, sha256 = excluded.sha256, created_at = excluded.created_at, deleted_at = NULL`,
			a.Day, a.LastID, a.Events, a.Size, a.SHA256, l.i.text())
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE event_horizon SET through = ? WHERE id = 1`, a.LastID); err != nil {
			return err
		}
		_, err = tx.sweepEvents()
		return err
	})
}

func scanArchive(scan func(...any) error) (audit.Archive, error) {
	var a audit.Archive
	var at string
	err := scan(&a.Day, &a.LastID, &a.Events, &a.Size, &a.SHA256, &at)
	a.CreatedAt = parseTime(at)
	return a, err
}

const archiveQuery = `SELECT day, last_id, events, size, sha256, created_at FROM event_archive WHERE deleted_at IS NULL`

// Archives lists the days of the server's own events that are in files, newest first. Who
// may read them is for the door to ask.
func (i *Instance) Archives(ctx context.Context) ([]audit.Archive, error) {
	return list(ctx, i, scanArchive, archiveQuery+` ORDER BY day DESC`)
}

// Archive is that of a day.
func (i *Instance) Archive(ctx context.Context, day string) (audit.Archive, error) {
	a, err := scanArchive(i.read.QueryRowContext(ctx, archiveQuery+` AND day = ?`, day).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return a, errs.Missing("archive of the audit", day)
	}
	return a, storeError(err)
}

// DeleteArchive removes the file of a day from its folder for ever. It needs
// EventRetentionDelete. The error is [errs.Blocked] until it is 30 days old.
func (i *Instance) DeleteArchive(ctx context.Context, actor Actor, folder, day string) error {
	if err := i.require(ctx, actor, access.EventRetentionDelete); err != nil {
		return err
	}
	a, err := i.Archive(ctx, day)
	if err != nil {
		return err
	}
	if free := a.CreatedAt.Add(minArchiveAge); i.now().Before(free) {
		return errs.New(errs.Blocked, "The archive of %s can be deleted from %s on.", day, free.Format(time.DateOnly)).WithHint("Archives are kept for 30 days at least.")
	}
	err = i.note(ctx, actor, func(tx *tx) error {
		if _, err := tx.Exec(`UPDATE event_archive SET deleted_at = ? WHERE day = ?`, i.text(), day); err != nil {
			return err
		}
		return tx.record("Deleted", "event archive", day, fmt.Sprintf("The archive of the server's audit of %s was deleted: %d events, sha256 %s", day, a.Events, a.SHA256))
	})
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(folder, audit.FileName(day))); err != nil && !errors.Is(err, os.ErrNotExist) {
		i.log.Error("remove archive of the audit; the next archive does it", "day", day, "err", err)
	}
	return nil
}
