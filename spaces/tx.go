package spaces

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// Actor is who acts. Doors make it from a session, an API key or a link; the
// server itself is [Server].
type Actor struct {
	ID          string // "Users-1", "server", "Links-2"
	Name        string // as people know them
	Via         string // session, key, link, server, command
	Address     string // the client's network address; "" for the server itself
	Permissions access.Set
	System      bool // the server: every permission, for work that a person started or scheduled
}

// Server is the server acting on its own: running tasks, applying receipts.
func Server() Actor { return Actor{ID: "server", Name: "Octopuses", Via: "server", System: true} }

// Can reports whether the actor has a permission in a scope of this space.
func (a Actor) Can(p access.Permission, scope access.Scope) bool {
	return a.System || a.Permissions.Allows(p, scope)
}

// ReadTx is one consistent picture of a space. It is used by one goroutine, and
// only inside the function that got it.
type ReadTx struct {
	ctx   context.Context
	tx    *sql.Tx
	Space *Space
	Actor Actor
	Now   time.Time
}

// Tx is a [ReadTx] that also writes. What it records is written with it; what it
// says has changed is told after the commit.
type Tx struct {
	*ReadTx
	events []Event
	topics map[string]struct{}
	after  []func()
	notify bool // there are subscriptions, and something for them
}

// Context is the caller's context.
func (tx *ReadTx) Context() context.Context { return tx.ctx }

// Can reports whether the actor has a permission, for showing or hiding an action.
func (tx *ReadTx) Can(p access.Permission, scope access.Scope) bool { return tx.Actor.Can(p, scope) }

// require is the check in front of every rule. The error is [errs.Denied] and
// names the permission.
func (tx *ReadTx) require(p access.Permission, scope access.Scope) error {
	if tx.Actor.Can(p, scope) {
		return nil
	}
	return access.Missing(p)
}

// changed tells listeners of topics after the commit.
func (tx *Tx) changed(topics ...string) {
	for _, t := range topics {
		tx.topics[t] = struct{}{}
	}
}

// AfterCommit runs f once the transaction is durable. f must not fail.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// View runs f over a consistent picture of the space.
func View[T any](ctx context.Context, s *Space, actor Actor, f func(tx *ReadTx) (T, error)) (T, error) {
	var zero T
	sqltx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return zero, storeError(err)
	}
	defer sqltx.Rollback()
	v, err := f(&ReadTx{ctx: ctx, tx: sqltx, Space: s, Actor: actor, Now: s.now().UTC()})
	if err != nil {
		s.noteDenial(ctx, actor, err)
		return zero, err
	}
	return v, nil
}

// Update runs f in a writing transaction: all of it happens, with its events, or
// nothing. There is one writer at a time; f does nothing slow.
func Update[T any](ctx context.Context, s *Space, actor Actor, f func(tx *Tx) (T, error)) (T, error) {
	var zero T
	// A client that goes away must not stop a change half way through its statements.
	ctx = context.WithoutCancel(ctx)
	sqltx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return zero, storeError(err)
	}
	defer sqltx.Rollback()
	tx := &Tx{ReadTx: &ReadTx{ctx: ctx, tx: sqltx, Space: s, Actor: actor, Now: s.now().UTC()}, topics: map[string]struct{}{}}
	v, err := f(tx)
	if err != nil {
		sqltx.Rollback()
		s.noteDenial(ctx, actor, err)
		return zero, err
	}
	if err := tx.writeEvents(); err != nil {
		return zero, err
	}
	late, err := tx.mark()
	if err != nil {
		return zero, err
	}
	if err := sqltx.Commit(); err != nil {
		return zero, storeError(err)
	}
	if s.seen != nil {
		s.seen(s)
	}
	if (tx.isChanged(TopicQueue) || tx.isChanged(TopicLinks)) && s.registry != nil {
		s.registry.cfg.Wake(s.ref)
	}
	if tx.notify && s.registry != nil {
		s.registry.cfg.Notify(s.ref)
	}
	topics := make([]string, 0, len(tx.topics))
	for t := range tx.topics {
		topics = append(topics, t)
	}
	s.hub.Publish(topics...)
	for _, f := range tx.after {
		f()
	}
	if late {
		if err := s.unmark(ctx); err != nil { // opening the space does it again
			s.log.Error("take marks off", "err", err)
		}
	}
	return v, nil
}

// Do is [Update] for a change without a result.
func Do(ctx context.Context, s *Space, actor Actor, f func(tx *Tx) error) error {
	_, err := Update(ctx, s, actor, func(tx *Tx) (struct{}, error) { return struct{}{}, f(tx) })
	return err
}

// Refused records that a door refused what the actor asked of this space, if err is a
// refusal. [View] and [Update] do it themselves.
func (s *Space) Refused(ctx context.Context, actor Actor, err error) { s.noteDenial(ctx, actor, err) }

// noteDenial records a refused action in a transaction of its own, as the refused
// one is rolled back.
func (s *Space) noteDenial(ctx context.Context, actor Actor, err error) {
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Denied {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	derr := func() error {
		sqltx, err := s.write.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer sqltx.Rollback()
		tx := &Tx{ReadTx: &ReadTx{ctx: ctx, tx: sqltx, Space: s, Actor: actor, Now: s.now().UTC()}, topics: map[string]struct{}{}}
		tx.record(Event{Category: "Denied", Entity: e.Entity, EntityID: e.ID, Message: "Was refused: " + e.Text()})
		if err := tx.writeEvents(); err != nil {
			return err
		}
		if _, err := tx.mark(); err != nil {
			return err
		}
		if err := sqltx.Commit(); err != nil {
			return err
		}
		if tx.notify && s.registry != nil {
			s.registry.cfg.Notify(s.ref)
		}
		s.hub.Publish("events")
		return nil
	}()
	if derr != nil {
		s.log.Error("record refused action", "err", derr, "actor", actor.ID)
	}
}

// The four ways to the file. Their errors already have a kind where there is one.

func (tx *ReadTx) queryRow(query string, args ...any) *row {
	return &row{tx.tx.QueryRowContext(tx.ctx, query, args...)}
}

type row struct{ *sql.Row }

// Scan is sql.Row's, with our kinds of error; sql.ErrNoRows stays as it is.
func (r *row) Scan(dest ...any) error { return storeError(r.Row.Scan(dest...)) }

// list runs a query and scans each row into a T.
func list[T any](tx *ReadTx, scan func(scan func(dest ...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.tx.QueryContext(tx.ctx, query, args...)
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, storeError(err)
		}
		out = append(out, v)
	}
	return out, storeError(rows.Err())
}

// one scans a single column of a single row; sql.ErrNoRows stays as it is.
func one[T any](tx *ReadTx, query string, args ...any) (T, error) {
	var v T
	err := tx.queryRow(query, args...).Scan(&v)
	return v, err
}

func (tx *Tx) exec(query string, args ...any) (sql.Result, error) {
	res, err := tx.tx.ExecContext(tx.ctx, query, args...)
	return res, storeError(err)
}

// insert runs an INSERT and returns the new row's id.
func (tx *Tx) insert(query string, args ...any) (int64, error) {
	res, err := tx.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// update runs an UPDATE or DELETE that must meet exactly one row.
func (tx *Tx) update(query string, args ...any) error {
	res, err := tx.exec(query, args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return storeError(err)
	}
	if n != 1 {
		return fmt.Errorf("changed %d rows instead of one: %w", n, sql.ErrNoRows)
	}
	return nil
}
