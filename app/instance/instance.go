package instance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

// TimeFormat is how times stand in the file.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Options are the surroundings; zero values are real ones.
type Options struct {
	Now    func() time.Time
	Logger *slog.Logger
	// SessionIdle and SessionMax end sessions; 0: the defaults.
	SessionIdle, SessionMax time.Duration
	HTTP                    *http.Client // asks identity providers; nil: one with a time limit
	// Recorded is told after the commit of an event; nil: nobody is. It does not block.
	Recorded func()
}

// Instance is an open instance.db. It is safe for concurrent use.
type Instance struct {
	write, read *sql.DB
	masters     *secrets.Masters
	now         func() time.Time
	log         *slog.Logger
	http        *http.Client

	recorded  func()                    // Options.Recorded
	collector atomic.Pointer[Collector] // of the audit; nil: none

	sessionIdle, sessionMax time.Duration
	strangers, known        *lane // in which passwords are hashed

	mu         sync.Mutex
	grants     map[grantKey]access.Set  // cleared whenever a team, a member or a role changes
	issuers    map[string]foundProvider // by URL of the issuer
	generation uint64                   // counts the clearings: what was read before one is not kept after it
}

type grantKey struct{ user, space int64 }

// Open opens or creates the file.
func Open(ctx context.Context, path string, masters *secrets.Masters, o Options) (*Instance, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Recorded == nil {
		o.Recorded = func() {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.SessionIdle == 0 {
		o.SessionIdle = DefaultSessionIdle
	}
	if o.SessionMax == 0 {
		o.SessionMax = DefaultSessionMax
	}
	if err := migrations.Apply(ctx, path, migrations.Instance); err != nil {
		return nil, fmt.Errorf("open instance: %w", err)
	}
	i := &Instance{sessionIdle: o.SessionIdle, sessionMax: o.SessionMax, masters: masters, now: o.Now, log: o.Logger, http: o.HTTP, recorded: o.Recorded, issuers: map[string]foundProvider{}, grants: map[grantKey]access.Set{}, strangers: newLane(max(1, runtime.GOMAXPROCS(0)/2), strangersWait), known: newLane(1, knownWait)}
	var err error
	if i.write, err = migrations.Open(path, false); err != nil {
		return nil, fmt.Errorf("open instance: %w", err)
	}
	i.write.SetMaxOpenConns(1)
	if i.read, err = migrations.Open(path, true); err != nil {
		return nil, errors.Join(err, i.write.Close())
	}
	i.read.SetMaxOpenConns(4)
	i.read.SetMaxIdleConns(4)
	if err := i.seed(ctx); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	c, ok, err := i.Collector(ctx)
	if errs.KindOf(err) == errs.Blocked { // with the master key lost the server is still opened
		i.log.Error("the collector of the audit is not known", "err", err)
	} else if err != nil {
		return nil, errors.Join(err, i.Close())
	}
	if ok {
		i.collector.Store(&c)
	}
	return i, nil
}

// Close closes the file.
func (i *Instance) Close() error { return errors.Join(i.read.Close(), i.write.Close()) }

// seed makes the teams that every server has.
func (i *Instance) seed(ctx context.Context) error {
	return i.update(ctx, System(), func(tx *tx) error {
		for _, t := range []struct{ word, name, description, role string }{
			{"everyone", "Everyone", "All people of this server.", ""},
			{"administrators", "Octopus Administrators", "Administer the server; see nothing inside spaces.", "userroles-systemadministrator"},
			{"managers", "Octopus Managers", "Manage spaces, people and teams.", "userroles-systemmanager"},
		} {
			res, err := tx.Exec(`INSERT INTO team (word, name, description, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`, t.word, t.name, t.description, i.text())
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n == 0 || t.role == "" {
				continue
			}
			id, err := res.LastInsertId()
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO scoped_user_role (team_id, role) VALUES (?, ?)`, id, t.role); err != nil {
				return err
			}
		}
		return nil
	})
}

// Actor is who acts on the server.
type Actor struct {
	ID, Name, Via, Address string
	Permissions            access.Set // of the system
	System                 bool
}

// System is the server or a command at its console.
func System() Actor { return Actor{ID: "server", Name: "Octopuses", Via: "server", System: true} }

func (a Actor) require(p access.Permission) error {
	if a.System || a.Permissions.Any(p) {
		return nil
	}
	return access.Missing(p)
}

// require is [Actor.require]; a refusal is written to the audit, in a transaction of
// its own, since the refused one never begins.
func (i *Instance) require(ctx context.Context, actor Actor, p access.Permission) error {
	refusal := actor.require(p)
	if refusal != nil {
		i.noteDenial(ctx, actor, p)
	}
	return refusal
}

// Refused records that a door refused what the actor asked of the server, if err is a
// refusal for lack of p. Rules of this package do it themselves.
func (i *Instance) Refused(ctx context.Context, actor Actor, p access.Permission) {
	i.noteDenial(ctx, actor, p)
}

func (i *Instance) noteDenial(ctx context.Context, actor Actor, p access.Permission) {
	err := i.note(ctx, actor, func(tx *tx) error {
		return tx.record("Denied", "permission", string(p), actor.Name+" was refused for lack of "+string(p))
	})
	if err != nil {
		i.log.Error("note refusal", "actor", actor.ID, "err", err)
	}
}

type tx struct {
	*sql.Tx
	i        *Instance
	actor    Actor
	recorded bool // an event
}

// update runs f in one transaction and forgets cached permissions afterwards.
func (i *Instance) update(ctx context.Context, actor Actor, f func(tx *tx) error) error {
	if err := i.note(ctx, actor, f); err != nil {
		return err
	}
	i.mu.Lock()
	clear(i.grants)
	i.generation++
	i.mu.Unlock()
	return nil
}

// note runs f, which changes nobody's permissions, in one transaction.
func (i *Instance) note(ctx context.Context, actor Actor, f func(tx *tx) error) error {
	sqltx, err := i.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return storeError(err)
	}
	defer sqltx.Rollback()
	t := &tx{Tx: sqltx, i: i, actor: actor}
	if err := f(t); err != nil {
		return storeError(err)
	}
	if err := storeError(sqltx.Commit()); err != nil {
		return err
	}
	if t.recorded {
		i.recorded()
	}
	return nil
}

// record writes an audit event in the transaction of the change, with what it changed
// from what to what.
func (t *tx) record(category, entity, id, message string, changes ...audit.Change) error {
	detail := ""
	if len(changes) > 0 {
		b, err := json.Marshal(changes)
		if err != nil {
			return fmt.Errorf("encode event: %w", err)
		}
		detail = string(b)
	}
	_, err := t.Exec(`INSERT INTO event (at, actor_id, actor_name, via, address, category, entity, entity_id, message, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.i.text(), t.actor.ID, t.actor.Name, t.actor.Via, t.actor.Address, category, entity, id, message, detail)
	t.recorded = true
	return err
}

func (i *Instance) text() string { return i.now().UTC().Format(TimeFormat) }

func parseTime(s string) time.Time {
	t, _ := time.Parse(TimeFormat, s)
	return t
}

func parseTimePtr(s sql.NullString) *time.Time {
	if !s.Valid || s.String == "" {
		return nil
	}
	t := parseTime(s.String)
	return &t
}

func storeError(err error) error {
	var ours *errs.Error
	var se *sqlite.Error
	if errors.As(err, &ours) || !errors.As(err, &se) { // what is worded already stays
		return err
	}
	switch code := se.Code(); {
	case code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return errs.Wrap(errs.Exists, err, "Something with this name is already there.")
	case code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return errs.Wrap(errs.Invalid, err, "Something that is named here does not exist.")
	case code&0xff == sqlite3.SQLITE_FULL:
		return errs.Wrap(errs.Unavailable, err, "The disk of the server is full.").WithHint("Free some space on the disk that holds the data directory; nothing was changed.")
	case code&0xff == sqlite3.SQLITE_BUSY:
		return errs.Wrap(errs.Busy, err, "The server is busy.").WithHint("Try again in a moment.")
	}
	return err
}

func taken(err error, field, format string, args ...any) error {
	if errs.KindOf(storeError(err)) == errs.Exists {
		return &errs.Error{Kind: errs.Exists, Err: err, Fields: []errs.Field{{Name: field, Message: fmt.Sprintf(format, args...)}}}
	}
	return err
}

// cutID reads "Users-12" and the like, without case.
func cutID(prefix, text string) (int64, bool) {
	if len(text) <= len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return 0, false
	}
	n, err := strconv.ParseInt(text[len(prefix):], 10, 64)
	return n, err == nil && n > 0
}

// Setting returns a sealed fact about the server, or nil.
func (i *Instance) Setting(ctx context.Context, name string) ([]byte, error) {
	var sealed []byte
	err := i.read.QueryRowContext(ctx, `SELECT value FROM setting WHERE name = ?`, name).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	plain, err := i.masters.Open(sealed, "instance/setting/"+name)
	if err != nil {
		return nil, errs.Wrap(errs.Blocked, err, "The secrets of this server were sealed with another master key.").WithHint("Give the server the master key that its data directory was made with.")
	}
	return plain, nil
}

// SettingOr returns a sealed fact, made and stored by create if there is none. Of two
// who create it at once one wins, and both get the winner's.
func (i *Instance) SettingOr(ctx context.Context, name string, create func() ([]byte, error)) ([]byte, error) {
	if v, err := i.Setting(ctx, name); err != nil || v != nil {
		return v, err
	}
	v, err := create()
	if err != nil {
		return nil, err
	}
	err = i.note(ctx, System(), func(tx *tx) error {
		_, err := tx.Exec(`INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, i.masters.Seal(v, "instance/setting/"+name))
		return err
	})
	if err != nil {
		return nil, err
	}
	return i.Setting(ctx, name)
}

// SetSetting stores a sealed fact.
func (i *Instance) SetSetting(ctx context.Context, name string, value []byte) error {
	return i.note(ctx, System(), func(tx *tx) error {
		_, err := tx.Exec(`INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, i.masters.Seal(value, "instance/setting/"+name))
		return err
	})
}
