package app

import (
	"context"
	"path/filepath"
	"time"

	"octopuses.dev/octopuses/spaces"
)

// archiveEvery is how often the server looks for days of the audit that are beyond the
// retention.
const archiveEvery = time.Hour

// auditFolder is where the files of the server's own audit are.
func (d *dataFolder) auditFolder() string { return filepath.Join(d.path, "audit") }

// archiveAudit moves what is beyond the retention into files of days.
func (s *server) archiveAudit(ctx context.Context) error {
	// Not at the start, which has to be quick and is when most is asked of a server.
	next := time.NewTimer(archiveEvery / 12)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		if err := s.archiveOnce(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Error("archive the audit", "err", err)
		}
		next.Reset(archiveEvery)
	}
}

// archiveOnce archives the server's own events, then those of the spaces whose oldest event
// is beyond the retention; no other is opened.
func (s *server) archiveOnce(ctx context.Context, now time.Time) error {
	days, err := s.instance.Retention(ctx)
	if err != nil {
		return err
	}
	before := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -days)
	n, err := s.instance.ArchiveEvents(ctx, s.data.auditFolder(), before)
	if err != nil {
		return err
	}
	if n > 0 {
		s.log.Info("archived the audit of the server", "events", n)
	}
	rows, err := s.instance.MarkedThrough(ctx, spaces.ArchiveMark(""), spaces.ArchiveMark(before.Format(time.DateOnly)))
	if err != nil {
		return err
	}
	for _, row := range rows {
		err := s.within(ctx, refOf(row), func(space *spaces.Space) error {
			n, err := space.ArchiveEvents(ctx, before)
			if n > 0 {
				s.log.Info("archived the audit of a space", "space", row.ID(), "events", n)
			}
			return err
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // of a space that is broken, or a disk that is full
			s.log.Error("archive the audit of a space", "space", row.ID(), "err", err)
		}
	}
	return nil
}
