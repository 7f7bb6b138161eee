package instance

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// Failed sign-ins are counted for the pair of account and address, and for the
// address alone. A stranger elsewhere therefore cannot lock an account's owner out,
// and one address cannot try many accounts.
//
// BUG(throttle): people behind one address (a proxy that the server was not told to
// trust) share its count, and one of them can slow the others down.
const (
	freePerAccount = 5
	freePerAddress = 20
	longestBlock   = 15 * time.Minute
)

type throttleKey struct {
	key  string
	free int // failed attempts before the first wait
}

// throttleKeys are hashed: what was typed as a user name may have been a password,
// and has no length. Of an IPv6 address the network counts, since a customer owns
// all 2⁶⁴ addresses of it.
func throttleKeys(username, address string) []throttleKey {
	if ip, err := netip.ParseAddr(address); err == nil {
		ip = ip.Unmap().WithZone("")
		address = ip.String()
		if ip.Is6() {
			if network, err := ip.Prefix(64); err == nil {
				address = network.String()
			}
		}
	}
	return []throttleKey{
		{hashOf("account\x00" + strings.ToLower(username) + "\x00" + address), freePerAccount},
		{hashOf("address\x00" + address), freePerAddress},
	}
}

// throttled is [errs.Busy] while one of the keys has to wait.
func (i *Instance) throttled(ctx context.Context, keys []throttleKey) error {
	for _, k := range keys {
		var until sql.NullString
		err := i.read.QueryRowContext(ctx, `SELECT blocked_until FROM throttle WHERE key = ?`, k.key).Scan(&until)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return storeError(err)
		}
		if t := parseTimePtr(until); t != nil && i.now().Before(*t) {
			wait := t.Sub(i.now()).Round(time.Second)
			return errs.New(errs.Busy, "Too many attempts to sign in failed.").WithHint("Try again in %s.", max(wait, time.Second))
		}
	}
	return nil
}

// failed counts an attempt; beyond the free ones each doubles the wait. The first
// wait of a key is written to the audit, later ones are not, so that a flood of
// attempts does not fill it.
func (i *Instance) failed(ctx context.Context, keys []throttleKey, username string) error {
	return i.note(ctx, System(), func(tx *tx) error {
		now := i.now()
		for _, k := range keys {
			var failures int
			var since string
			err := tx.QueryRow(`SELECT failures, since FROM throttle WHERE key = ?`, k.key).Scan(&failures, &since)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			if err == nil && now.Sub(parseTime(since)) > longestBlock {
				failures = 0
			}
			failures++
			var until any
			if over := failures - k.free; over >= 0 {
				until = now.Add(min(time.Second<<min(over, 20), longestBlock)).UTC().Format(TimeFormat)
				if over == 0 {
					if err := tx.recordBlock(username); err != nil {
						return err
					}
				}
			}
			_, err = tx.Exec(`INSERT INTO throttle (key, failures, since, blocked_until) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET failures = ?2, since = ?3, blocked_until = ?4`, k.key, failures, i.text(), until)
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(`DELETE FROM throttle WHERE since < ?`, now.Add(-24*time.Hour).UTC().Format(TimeFormat))
		return err
	})
}

// recordBlock names the account only where there is one: the text may be anything.
func (t *tx) recordBlock(username string) error {
	var id int64
	err := t.QueryRow(`SELECT id FROM user WHERE username = ?`, username).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return t.record("SignInBlocked", "user", "", "Too many attempts to sign in to unknown accounts failed")
	}
	if err != nil {
		return err
	}
	return t.record("SignInBlocked", "user", User{ID: id}.APIID(), "Too many attempts to sign in as "+username+" failed")
}
