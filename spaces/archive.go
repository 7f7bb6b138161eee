package spaces

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// MinArchiveAge is how long the file of a day is kept at least, from when something was last
// added to it.
const MinArchiveAge = 30 * 24 * time.Hour

// sweepBatch is how many events are deleted in one transaction: some milliseconds.
const sweepBatch = 2000

// AuditDir is where the files of archived days are.
func (s *Space) AuditDir() string { return filepath.Join(s.dir, "audit") }

// ArchiveEvents moves the events before a time, the beginning of a day, out of the file of
// the space into a file for each day, and returns how many. What the collector of the audit
// has not got stays. Only the server does it, once at a time.
func (s *Space) ArchiveEvents(ctx context.Context, before time.Time) (int64, error) {
	gone, err := View(ctx, s, Server(), func(tx *ReadTx) ([]string, error) {
		return list(tx, func(scan func(...any) error) (day string, err error) { return day, scan(&day) }, `SELECT day FROM event_archive WHERE deleted_at IS NOT NULL`)
	})
	if err != nil {
		return 0, err
	}
	for _, day := range gone { // of a deletion that was cut short
		if err := os.Remove(filepath.Join(s.AuditDir(), audit.FileName(day))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
	}
	n, err := audit.Put(ctx, ledger{s}, s.AuditDir(), before)
	if err != nil || s.store == nil {
		return n, err
	}
	return n, s.unmark(ctx)
}

// ledger is the events of a space as [audit.Put] sees them.
type ledger struct{ s *Space }

func (l ledger) Sweep(ctx context.Context) (bool, error) {
	return Update(ctx, l.s, Server(), (*Tx).sweepEvents)
}

// sweepEvents deletes some of the events that are in files: the triggers let no others go.
func (tx *Tx) sweepEvents() (more bool, err error) {
	res, err := tx.exec(`DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id <= (SELECT through FROM event_horizon) ORDER BY id LIMIT ?)`, sweepBatch)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == sweepBatch, err
}

func (l ledger) Next(ctx context.Context) (at time.Time, horizon int64, ok bool, err error) {
	_, err = View(ctx, l.s, Server(), func(tx *ReadTx) (struct{}, error) {
		var first, limit int64
		var text string
		if horizon, err = one[int64](tx, `SELECT through FROM event_horizon`); err != nil {
			return struct{}{}, err
		}
		err := tx.queryRow(`SELECT id, at FROM event WHERE id > ? ORDER BY id LIMIT 1`, horizon).Scan(&first, &text)
		if errors.Is(err, sql.ErrNoRows) {
			return struct{}{}, nil
		}
		if err == nil {
			limit, err = tx.archiveLimit()
		}
		at, ok = parseTime(text), err == nil && first <= limit
		return struct{}{}, err
	})
	return at, horizon, ok, err
}

// archiveLimit is the last event that may leave the file: the collector has it.
func (tx *ReadTx) archiveLimit() (int64, error) {
	if r, streamed := tx.Space.audited(); streamed {
		return tx.readThrough(r)
	}
	return one[int64](tx, `SELECT coalesce(max(id), 0) FROM event`)
}

func (l ledger) End(ctx context.Context, horizon int64, day string) (int64, error) {
	next, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return 0, err
	}
	return View(ctx, l.s, Server(), func(tx *ReadTx) (int64, error) {
		limit, err := tx.archiveLimit()
		if err != nil {
			return 0, err
		}
		last, err := one[int64](tx, `SELECT coalesce((SELECT id - 1 FROM event WHERE id > ?1 AND (at < ?2 OR at >= ?3) ORDER BY id LIMIT 1), (SELECT max(id) FROM event))`,
			horizon, formatTime(next), formatTime(next.AddDate(0, 0, 1)))
		return min(last, limit), err
	})
}

func (l ledger) Lines(ctx context.Context, after, through int64, take int) ([]audit.Line, error) {
	all, err := View(ctx, l.s, Server(), func(tx *ReadTx) ([]Event, error) {
		return list(tx, scanEvent, eventQuery+` WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, after, through, take)
	})
	out := make([]audit.Line, len(all))
	for i, e := range all {
		out[i] = e.Line(l.s.ID())
	}
	return out, err
}

func (l ledger) Archived(ctx context.Context, a audit.Archive) error {
	return Do(ctx, l.s, Server(), func(tx *Tx) error {
		_, err := tx.exec(`INSERT INTO event_archive (day, last_id, events, size, sha256, created_at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (day) DO UPDATE SET last_id = excluded.last_id, events = excluded.events, size = excluded.size, sha256 = excluded.sha256, created_at = excluded.created_at, deleted_at = NULL`,
			a.Day, a.LastID, a.Events, a.Size, a.SHA256, formatTime(tx.Now))
		if err != nil {
			return err
		}
		if err := tx.update(`UPDATE event_horizon SET through = ? WHERE id = 1`, a.LastID); err != nil {
			return err
		}
		_, err = tx.sweepEvents()
		tx.changed("events")
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

// Archives lists the days that are in files, newest first. A file tells everything, so it
// needs EventRetentionView, and EventView without a limit to projects or environments.
func (tx *ReadTx) Archives() ([]audit.Archive, error) {
	if err := tx.mayReadArchives(access.EventRetentionView); err != nil {
		return nil, err
	}
	return list(tx, scanArchive, archiveQuery+` ORDER BY day DESC`)
}

func (tx *ReadTx) mayReadArchives(p access.Permission) error {
	for _, p := range []access.Permission{p, access.EventView} {
		if !tx.Actor.System && !tx.Actor.Permissions.Everywhere(p) {
			return access.Missing(p)
		}
	}
	return nil
}

// Archive is that of a day. It needs what [ReadTx.Archives] needs.
func (tx *ReadTx) Archive(day string) (audit.Archive, error) {
	if err := tx.mayReadArchives(access.EventRetentionView); err != nil {
		return audit.Archive{}, err
	}
	return tx.archive(day)
}

func (tx *ReadTx) archive(day string) (audit.Archive, error) {
	a, err := scanArchive(tx.queryRow(archiveQuery+` AND day = ?`, day).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return a, errs.Missing("archive of the audit", day)
	}
	return a, err
}

// DeleteArchive removes the file of a day for ever. It needs EventRetentionDelete, and
// EventView without a limit. The error is [errs.Blocked] until it is 30 days old.
func (tx *Tx) DeleteArchive(day string) error {
	if err := tx.mayReadArchives(access.EventRetentionDelete); err != nil {
		return err
	}
	a, err := tx.archive(day)
	if err != nil {
		return err
	}
	if free := a.CreatedAt.Add(MinArchiveAge); tx.Now.Before(free) {
		return errs.New(errs.Blocked, "The archive of %s can be deleted from %s on.", day, free.Format(time.DateOnly)).WithHint("Archives are kept for 30 days at least.")
	}
	if err := tx.update(`UPDATE event_archive SET deleted_at = ? WHERE day = ?`, formatTime(tx.Now), day); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "event archive", EntityID: day, Message: fmt.Sprintf("The archive of the audit of %s was deleted: %d events, sha256 %s", day, a.Events, a.SHA256)})
	path := filepath.Join(tx.Space.AuditDir(), audit.FileName(day))
	log := tx.Space.log
	tx.AfterCommit(func() {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Error("remove archive of the audit; the next archive does it", "day", day, "err", err)
		}
	})
	return nil
}
