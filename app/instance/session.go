package instance

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"

	"octopuses.dev/octopuses/spaces/errs"
)

// SessionLife is how long a session lasts after its last use.
const SessionLife = 7 * 24 * time.Hour

// Session is a browser that signed in.
type Session struct {
	User      User
	CSRF      string // token that each form sends back
	CreatedAt time.Time
	hash      string
}

// Failed sign-ins are counted for the pair of account and address, and for the
// address alone. A stranger elsewhere therefore cannot lock an account's owner out,
// and one address cannot try many accounts.
const (
	freePerAccount = 5
	freePerAddress = 20
	longestBlock   = 15 * time.Minute
)

// SignIn checks a password and returns the token of a new session. Errors:
// [errs.Unauthenticated], the same for an unknown user and a wrong password;
// [errs.Busy] while too many attempts failed, with the time to wait.
func (i *Instance) SignIn(ctx context.Context, username, password, address, agent string) (token string, u User, err error) {
	pair, alone := "account/"+strings.ToLower(username)+"/"+address, "address/"+address
	for _, key := range []string{pair, alone} {
		if err := i.throttled(ctx, key); err != nil {
			return "", User{}, err
		}
	}
	var hash string
	err = i.read.QueryRowContext(ctx, `SELECT password_hash FROM user WHERE username = ? AND is_active = 1 AND is_service = 0`, username).Scan(&hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", User{}, storeError(err)
	}
	if hash == "" || len(password) > 512 {
		hash, password = dummyHash(), "x" // the same work for a user that does not exist
	}
	match, params, err := argon2id.CheckHash(password, hash)
	if err != nil {
		return "", User{}, err
	}
	if !match {
		if err := i.failed(ctx, map[string]int{pair: freePerAccount, alone: freePerAddress}); err != nil {
			return "", User{}, err
		}
		return "", User{}, errs.New(errs.Unauthenticated, "The user name or the password is wrong.")
	}
	if u, err = i.UserBy(ctx, username); err != nil {
		return "", u, err
	}
	better := ""
	if *params != *hashing {
		if better, err = hashPassword(password); err != nil {
			return "", u, err
		}
	}
	token = randomText(52)
	err = i.update(ctx, Actor{ID: u.APIID(), Name: u.Username, Via: "session", Address: address}, func(tx *tx) error {
		if better != "" {
			if _, err := tx.Exec(`UPDATE user SET password_hash = ? WHERE id = ?`, better, u.ID); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`DELETE FROM throttle WHERE key = ?`, pair); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM session WHERE expires_at < ?`, i.text()); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO session (hash, user_id, created_at, seen_at, expires_at, address, user_agent) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			hashOf(token), u.ID, i.text(), i.text(), i.now().Add(SessionLife).UTC().Format(TimeFormat), address, agent[:min(len(agent), 200)])
		if err != nil {
			return err
		}
		return tx.record("SignedIn", "user", u.APIID(), u.Username+" signed in")
	})
	return token, u, err
}

// dummyHash is of no password that anybody has.
var dummyHash = func() func() string {
	hash := ""
	return func() string {
		if hash == "" {
			hash, _ = hashPassword(randomText(40))
		}
		return hash
	}
}()

func (i *Instance) throttled(ctx context.Context, key string) error {
	var until sql.NullString
	err := i.read.QueryRowContext(ctx, `SELECT blocked_until FROM throttle WHERE key = ?`, key).Scan(&until)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return storeError(err)
	}
	if t := parseTimePtr(until); t != nil && i.now().Before(*t) {
		wait := t.Sub(i.now()).Round(time.Second)
		return errs.New(errs.Busy, "Too many attempts to sign in failed.").WithHint("Try again in %s.", max(wait, time.Second))
	}
	return nil
}

// failed counts an attempt; beyond the free ones each doubles the wait.
func (i *Instance) failed(ctx context.Context, free map[string]int) error {
	return i.update(ctx, System(), func(tx *tx) error {
		for key, n := range free {
			var failures int
			var since string
			err := tx.QueryRow(`SELECT failures, since FROM throttle WHERE key = ?`, key).Scan(&failures, &since)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			if err != nil || i.now().Sub(parseTime(since)) > longestBlock {
				failures = 0
			}
			failures++
			var until any
			if over := failures - n; over >= 0 {
				wait := min(time.Duration(math.Pow(2, float64(min(over, 20))))*time.Second, longestBlock)
				until = i.now().Add(wait).UTC().Format(TimeFormat)
			}
			_, err = tx.Exec(`INSERT INTO throttle (key, failures, since, blocked_until) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET failures = ?2, since = ?3, blocked_until = ?4`, key, failures, i.text(), until)
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(`DELETE FROM throttle WHERE since < ?`, i.now().Add(-24*time.Hour).UTC().Format(TimeFormat))
		return err
	})
}

// SessionByToken finds the session of a cookie. The error is
// [errs.Unauthenticated] when there is none.
func (i *Instance) SessionByToken(ctx context.Context, token string) (Session, error) {
	s := Session{hash: hashOf(token)}
	var created, seen, expires string
	var id int64
	err := i.read.QueryRowContext(ctx, `SELECT user_id, created_at, seen_at, expires_at FROM session WHERE hash = ?`, s.hash).Scan(&id, &created, &seen, &expires)
	none := errs.New(errs.Unauthenticated, "You are not signed in.")
	if errors.Is(err, sql.ErrNoRows) || err == nil && i.now().After(parseTime(expires)) {
		return s, none
	}
	if err != nil {
		return s, storeError(err)
	}
	if s.User, err = i.User(ctx, id); err != nil || !s.User.IsActive {
		return s, none
	}
	s.CreatedAt, s.CSRF = parseTime(created), csrf(token)
	if i.now().Sub(parseTime(seen)) > time.Hour {
		_, err := i.write.ExecContext(context.WithoutCancel(ctx), `UPDATE session SET seen_at = ?, expires_at = ? WHERE hash = ?`, i.text(), i.now().Add(SessionLife).UTC().Format(TimeFormat), s.hash)
		if err != nil {
			i.log.Warn("note use of session", "err", err)
		}
	}
	return s, nil
}

func csrf(token string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("octopuses csrf v1"))
	return hex.EncodeToString(m.Sum(nil))
}

// CheckCSRF compares in constant time what a form sent.
func (s Session) CheckCSRF(sent string) bool { return hmac.Equal([]byte(s.CSRF), []byte(sent)) }

// SignOut ends a session.
func (i *Instance) SignOut(ctx context.Context, s Session) error {
	return i.update(ctx, Actor{ID: s.User.APIID(), Name: s.User.Username, Via: "session"}, func(tx *tx) error {
		if _, err := tx.Exec(`DELETE FROM session WHERE hash = ?`, s.hash); err != nil {
			return err
		}
		return tx.record("SignedOut", "user", s.User.APIID(), s.User.Username+" signed out")
	})
}
