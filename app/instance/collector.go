package instance

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Collector is where the audit of the server and of its spaces is streamed to. As a whole,
// token and all, it is kept sealed.
type Collector struct {
	ID        string // unique for ever: a collector that is set up anew begins anew
	Kind      string // as collector.Config has it
	Address   string
	Token     string    `json:",omitempty"`
	Roots     string    `json:",omitempty"`
	IsEnabled bool      // when not, what happens is kept for it
	Since     time.Time // what happened before is not streamed
}

const collectorSetting = "audit/collector"

// reader is the name of the collector's cursor, here and in spaces.
func (c Collector) reader() string { return "collector/" + c.ID }

// Collector is the collector that is set up, if there is one.
func (i *Instance) Collector(ctx context.Context) (c Collector, ok bool, err error) {
	raw, err := i.Setting(ctx, collectorSetting)
	if err != nil || raw == nil {
		return c, false, err
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, false, fmt.Errorf("decode the collector of the audit: %w", err)
	}
	return c, true, nil
}

// Streamed tells, without reading the file, for whom the events of spaces are marked: the
// name of its cursor, and from when on it gets them.
func (i *Instance) Streamed() (reader string, since time.Time, ok bool) {
	if c := i.collector.Load(); c != nil {
		return c.reader(), c.Since, true
	}
	return "", time.Time{}, false
}

// SetCollector sets the collector up, or changes it. The caller has checked what it says.
// It needs AdministerSystem: what spaces hold leaves the server. An empty token keeps the one
// there is, if kind and address stay.
func (i *Instance) SetCollector(ctx context.Context, actor Actor, in Collector) (Collector, error) {
	if err := i.require(ctx, actor, access.AdministerSystem); err != nil {
		return in, err
	}
	old, had, err := i.Collector(ctx)
	if err != nil {
		return in, err
	}
	newToken := in.Token != ""
	if had && old.Kind == in.Kind && old.Address == in.Address && !newToken {
		in.Token = old.Token
	} else if had && old.Token != "" && old.Kind == in.Kind && !newToken {
		return in, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Token", Message: "The token is asked for again when the address changes: it was given for the other one."}}}
	}
	in.ID, in.Since = old.ID, old.Since
	if !had {
		in.ID = rand.Text()
		in.Since = i.now().UTC()
		// Told first, and the time taken after: whatever begins from then on is marked.
		i.collector.Store(&in)
		later := in
		later.Since = i.now().UTC()
		in = later
		i.collector.Store(&later)
	}
	err = i.note(ctx, actor, func(tx *tx) error {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, collectorSetting, i.masters.Seal(raw, "instance/setting/"+collectorSetting)); err != nil {
			return err
		}
		if !had {
			if _, err := tx.Exec(`DELETE FROM cursor WHERE name LIKE 'collector/%'`); err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO cursor (name, position) SELECT ?, coalesce(max(id), 0) FROM event`, in.reader()); err != nil {
				return err
			}
		}
		facts := func(c Collector, there bool) map[string]any {
			if !there {
				return nil
			}
			return map[string]any{"Kind": c.Kind, "Address": c.Address, "Roots": c.Roots, "IsEnabled": c.IsEnabled}
		}
		what := audit.Compare("", facts(old, had), facts(in, true))
		if newToken {
			what = append(what, audit.Change{Field: "Token", Secret: true})
		}
		category, message := "Modified", "The collector of the audit was changed"
		if !had {
			category, message = "Created", "The audit is streamed to a collector from now on"
		}
		return tx.record(category, "audit collector", "", message, what...)
	})
	if err != nil {
		if !had {
			i.collector.Store(nil)
		}
		return in, err
	}
	i.collector.Store(&in)
	return in, nil
}

// DeleteCollector ends the streaming. It needs AdministerSystem.
func (i *Instance) DeleteCollector(ctx context.Context, actor Actor) error {
	if err := i.require(ctx, actor, access.AdministerSystem); err != nil {
		return err
	}
	err := i.note(ctx, actor, func(tx *tx) error {
		res, err := tx.Exec(`DELETE FROM setting WHERE name = ?`, collectorSetting)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return tx.record("Deleted", "audit collector", "", "The audit is streamed no more")
	})
	if err == nil {
		i.collector.Store(nil)
	}
	return err
}

// EventsFor is the next batch of the server's own events for the collector, oldest first.
func (i *Instance) EventsFor(ctx context.Context, c Collector, take int) ([]Event, error) {
	return list(ctx, i, scanEvent, `SELECT `+eventColumns+` FROM event WHERE id > (SELECT coalesce((SELECT position FROM cursor WHERE name = ?), 0)) ORDER BY id LIMIT ?`, c.reader(), take)
}

// EventsRead moves the collector forward in the server's own events.
func (i *Instance) EventsRead(ctx context.Context, c Collector, through int64) error {
	return i.note(ctx, System(), func(tx *tx) error {
		_, err := tx.Exec(`UPDATE cursor SET position = max(position, ?) WHERE name = ?`, through, c.reader())
		return err
	})
}

// unread is the first of the server's events that a collector still has to get; 0: none,
// or no collector.
func (i *Instance) unread(ctx context.Context) (first int64, err error) {
	reader, _, ok := i.Streamed()
	if !ok {
		return 0, nil
	}
	err = i.read.QueryRowContext(ctx, `SELECT id FROM event WHERE id > (SELECT coalesce((SELECT position FROM cursor WHERE name = ?), 0)) ORDER BY id LIMIT 1`, reader).Scan(&first)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return first, storeError(err)
}
