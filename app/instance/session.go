package instance

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"

	"octopuses.dev/octopuses/spaces/errs"
)

// A session ends when it was not used for so long, and in any case so long after the
// sign-in, unless the operator says otherwise.
const (
	DefaultSessionIdle = 7 * 24 * time.Hour
	DefaultSessionMax  = 30 * 24 * time.Hour
)

// SessionMax is how long a session lasts at most.
func (i *Instance) SessionMax() time.Duration { return i.sessionMax }

// sessionStep is how exactly the last use of a session is known: the writer is free of the
// rest.
func (i *Instance) sessionStep() time.Duration { return min(time.Hour, i.sessionIdle/10) }

// Session is a browser that signed in.
type Session struct {
	ID        string // names it in lists; worthless as a credential
	User      User
	CSRF      string // token that each form sends back; "" in lists
	CreatedAt time.Time
	SeenAt    time.Time // within an hour
	ExpiresAt time.Time
	Address   string
	UserAgent string
	hash      string
}

// account is what a sign-in needs of a user.
type account struct {
	id   int64
	hash string
}

// SignIn checks a password and returns the token of a new session. Errors:
// [errs.Unauthenticated], the same for an unknown user, a deactivated one and a
// wrong password; [errs.Busy] while too many attempts failed, with the time to wait;
// [SecondFactorError] when the password was right and is not enough.
func (i *Instance) SignIn(ctx context.Context, username, password, address, agent string) (token string, u User, err error) {
	a, better, err := i.passwordOf(ctx, username, password, address)
	if err != nil {
		return "", User{}, err
	}
	if u, err = i.User(ctx, a.id); err != nil {
		return "", User{}, err
	}
	has, err := i.SecondFactors(ctx, u)
	if err != nil {
		return "", User{}, err
	}
	err = i.note(ctx, Actor{ID: u.APIID(), Name: u.Username, Via: "session", Address: address}, func(tx *tx) error {
		// The password may have been replaced, or the user deactivated, meanwhile.
		var still bool
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM user WHERE id = ? AND is_active = 1 AND password_hash = ?)`, a.id, a.hash).Scan(&still); err != nil {
			return err
		}
		if !still {
			return wrongPassword()
		}
		if better != "" {
			if _, err := tx.Exec(`UPDATE user SET password_hash = ? WHERE id = ?`, better, a.id); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`DELETE FROM throttle WHERE key = ?`, throttleKeys(username, address)[0].key); err != nil {
			return err
		}
		if has.Any() {
			token, err = tx.newTicket(u.ID)
		} else {
			token, err = tx.newSession(u, address, agent)
		}
		return err
	})
	if err != nil {
		return "", User{}, err
	}
	if has.Any() {
		return "", User{}, &SecondFactorError{Ticket: token, Has: has}
	}
	return token, u, nil
}

// newSession signs a person in.
func (t *tx) newSession(u User, address, agent string) (string, error) {
	return t.newSessionBy(u, address, agent, "")
}

// newSessionBy is newSession; how ends the sentence of the audit.
func (t *tx) newSessionBy(u User, address, agent, how string) (string, error) {
	if _, err := t.Exec(`DELETE FROM session WHERE expires_at < ?`, t.i.text()); err != nil {
		return "", err
	}
	token := randomText(52)
	_, err := t.Exec(`INSERT INTO session (hash, user_id, created_at, seen_at, expires_at, address, user_agent) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		hashOf(token), u.ID, t.i.text(), t.i.text(), t.i.now().Add(min(t.i.sessionIdle, t.i.sessionMax)).UTC().Format(TimeFormat), address, strings.ToValidUTF8(agent[:min(len(agent), 200)], ""))
	if err != nil {
		return "", err
	}
	return token, t.record("SignedIn", "user", u.APIID(), u.Username+" signed in"+how)
}

// endSessions signs a user out everywhere, half-finished sign-ins too.
func (t *tx) endSessions(user int64) error {
	if _, err := t.Exec(`DELETE FROM pending_sign_in WHERE user_id = ?`, user); err != nil {
		return err
	}
	_, err := t.Exec(`DELETE FROM session WHERE user_id = ?`, user)
	return err
}

// ChangePassword replaces one's own password, of which the present one is asked. All
// other sessions end. Errors: [errs.Invalid] with the field "Current" or "Password".
func (i *Instance) ChangePassword(ctx context.Context, s Session, current, password string) error {
	if err := i.CheckPassword(ctx, s.User, current, s.Address); err != nil {
		if errs.KindOf(err) == errs.Unauthenticated {
			return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Current", Message: "This is not your present password."}}}
		}
		return err
	}
	var c errs.Check
	c.Require(password != "", "Password", "A new password is required.")
	UserInput{Username: s.User.Username, DisplayName: s.User.DisplayName, Email: s.User.Email, Password: password}.checkPassword(&c)
	if err := c.Err(); err != nil {
		return err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return err
	}
	return i.note(ctx, Actor{ID: s.User.APIID(), Name: s.User.Username, Via: "session", Address: s.Address}, func(tx *tx) error {
		if _, err := tx.Exec(`UPDATE user SET password_hash = ?, updated_at = ? WHERE id = ?`, hash, i.text(), s.User.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM session WHERE user_id = ? AND hash <> ?`, s.User.ID, s.hash); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM pending_sign_in WHERE user_id = ?`, s.User.ID); err != nil {
			return err
		}
		return tx.record("Modified", "user", s.User.APIID(), s.User.Username+" changed the password")
	})
}

// CheckPassword asks a signed-in person for the password again, before something that a
// left-open browser must not be enough for. Errors are those of [Instance.SignIn].
func (i *Instance) CheckPassword(ctx context.Context, u User, password, address string) error {
	_, _, err := i.passwordOf(ctx, u.Username, password, address)
	return err
}

// passwordOf is checkPassword for at most so many at once.
func (i *Instance) passwordOf(ctx context.Context, username, password, address string) (account, string, error) {
	keys := throttleKeys(username, address)
	if err := i.throttled(ctx, keys); err != nil {
		return account{}, "", err
	}
	lane := i.strangers
	if known, err := i.knownAt(ctx, username, address); err != nil {
		return account{}, "", err
	} else if known {
		lane = i.known
	}
	leave, err := lane.enter(ctx)
	if err != nil {
		return account{}, "", err
	}
	defer leave()
	return i.checkPassword(ctx, keys, username, password)
}

// checkPassword returns the account whose password this is, and a newer hash of it if
// the stored one was made with other parameters. It counts the attempt if it failed.
func (i *Instance) checkPassword(ctx context.Context, keys []throttleKey, username, password string) (a account, better string, err error) {
	if err := i.throttled(ctx, keys); err != nil {
		return a, "", err
	}
	err = i.read.QueryRowContext(ctx, `SELECT id, password_hash FROM user WHERE username = ? AND is_active = 1 AND is_service = 0`, username).Scan(&a.id, &a.hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return a, "", storeError(err)
	}
	tried := a.hash
	if tried == "" || len(password) > maxPassword {
		tried, password = nobodysHash(), "" // the same work where there is nothing to compare with
	}
	match, params, err := argon2id.CheckHash(password, tried)
	if err != nil {
		return a, "", fmt.Errorf("check password: %w", err)
	}
	if !match || a.hash == "" {
		if err := i.failed(ctx, keys, username); err != nil {
			return a, "", err
		}
		return a, "", wrongPassword()
	}
	if *params != hashing() {
		better, err = hashPassword(password)
	}
	return a, better, err
}

// knownAt reports whether somebody is signed in to this account from this address.
func (i *Instance) knownAt(ctx context.Context, username, address string) (known bool, err error) {
	err = i.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM session s JOIN user u ON u.id = s.user_id WHERE u.username = ? AND s.address = ?)`, username, address).Scan(&known)
	return known, storeError(err)
}

func wrongPassword() error {
	return errs.New(errs.Unauthenticated, "The user name or the password is wrong.")
}

// SessionByToken finds the session of a cookie. The error is
// [errs.Unauthenticated] when there is none.
func (i *Instance) SessionByToken(ctx context.Context, token string) (Session, error) {
	hash := hashOf(token)
	s, err := scanSession(i.read.QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM session s JOIN user ON user.id = s.user_id WHERE s.hash = ?`, hash).Scan)
	none := errs.New(errs.Unauthenticated, "You are not signed in.")
	if errors.Is(err, sql.ErrNoRows) {
		return Session{}, none
	}
	if err != nil {
		return Session{}, storeError(err)
	}
	now := i.now()
	// What the operator allows may be less now than it was at the sign-in.
	if !s.User.IsActive || now.After(s.ExpiresAt) || now.Sub(s.CreatedAt) > i.sessionMax || now.Sub(s.SeenAt) > i.sessionIdle+i.sessionStep() {
		return Session{}, none
	}
	s.CSRF = csrf(token)
	if now.Sub(s.SeenAt) > i.sessionStep() {
		ends := now.Add(i.sessionIdle)
		if last := s.CreatedAt.Add(i.sessionMax); ends.After(last) {
			ends = last
		}
		_, err := i.write.ExecContext(context.WithoutCancel(ctx), `UPDATE session SET seen_at = ?, expires_at = ? WHERE hash = ?`, i.text(), ends.UTC().Format(TimeFormat), hash)
		if err != nil {
			i.log.Warn("note use of session", "err", err)
		}
	}
	return s, nil
}

const sessionColumns = `s.hash, s.created_at, s.seen_at, s.expires_at, s.address, s.user_agent, ` + userColumns

func scanSession(scan func(...any) error) (Session, error) {
	var s Session
	var created, seen, expires, joined string
	err := scan(&s.hash, &created, &seen, &expires, &s.Address, &s.UserAgent,
		&s.User.ID, &s.User.Username, &s.User.DisplayName, &s.User.Email, &s.User.IsActive, &s.User.IsService, &s.User.HasPassword, &joined)
	if err != nil {
		return s, err
	}
	s.ID = s.hash[:16]
	s.CreatedAt, s.SeenAt, s.ExpiresAt, s.User.CreatedAt = parseTime(created), parseTime(seen), parseTime(expires), parseTime(joined)
	return s, nil
}

// Sessions lists where a user is signed in, last used first.
func (i *Instance) Sessions(ctx context.Context, user User) ([]Session, error) {
	return list(ctx, i, scanSession, `SELECT `+sessionColumns+` FROM session s JOIN user ON user.id = s.user_id WHERE s.user_id = ? AND s.expires_at >= ? ORDER BY s.seen_at DESC, s.hash`, user.ID, i.text())
}

// RevokeSession ends one session of a user, by its ID. It needs UserEdit, or to be
// that user.
func (i *Instance) RevokeSession(ctx context.Context, actor Actor, user User, id string) error {
	if err := i.mayActFor(ctx, actor, user); err != nil {
		return err
	}
	return i.note(ctx, actor, func(tx *tx) error {
		res, err := tx.Exec(`DELETE FROM session WHERE user_id = ? AND substr(hash, 1, 16) = ?`, user.ID, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errs.Missing("session", id))
		}
		return tx.record("SessionRevoked", "user", user.APIID(), "A session of "+user.Username+" was ended")
	})
}

func csrf(token string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("octopuses csrf v1"))
	return hex.EncodeToString(m.Sum(nil))
}

// CheckCSRF compares in constant time what a form sent.
func (s Session) CheckCSRF(sent string) bool {
	return s.CSRF != "" && hmac.Equal([]byte(s.CSRF), []byte(sent))
}

// SignOut ends a session.
func (i *Instance) SignOut(ctx context.Context, s Session) error {
	return i.note(ctx, Actor{ID: s.User.APIID(), Name: s.User.Username, Via: "session", Address: s.Address}, func(tx *tx) error {
		if _, err := tx.Exec(`DELETE FROM session WHERE hash = ?`, s.hash); err != nil {
			return err
		}
		return tx.record("SignedOut", "user", s.User.APIID(), s.User.Username+" signed out")
	})
}
