package instance

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"octopuses.dev/octopuses/spaces/errs"
)

// ticketLife is how long a second factor is awaited.
const ticketLife = 5 * time.Minute

// recoveryCodes is how many are made at once.
const recoveryCodes = 10

// totpPeriod is how long a code of an authenticator app counts, in seconds (RFC 6238).
const totpPeriod = 30

// SecondFactorError says that the password was right and that more is needed: the
// ticket goes to [Instance.FinishSignIn] or to a passkey's ceremony.
type SecondFactorError struct {
	Ticket string
	Has    SecondFactors
}

func (e *SecondFactorError) Error() string { return "a second factor is needed" }

// SecondFactors is what a person has beside the password.
type SecondFactors struct {
	TOTP          bool // an authenticator app
	RecoveryCodes int  // that were not used yet
	Passkeys      int
}

// Any reports whether a sign-in needs more than the password.
func (f SecondFactors) Any() bool { return f.TOTP || f.Passkeys > 0 }

// SecondFactors tells what a user has beside the password.
func (i *Instance) SecondFactors(ctx context.Context, user User) (SecondFactors, error) {
	return secondFactors(ctx, i.read, user)
}

func secondFactors(ctx context.Context, from interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, user User) (SecondFactors, error) {
	var f SecondFactors
	err := from.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM totp WHERE user_id = ?1 AND confirmed_at IS NOT NULL),
		(SELECT count(*) FROM recovery_code WHERE user_id = ?1 AND used_at IS NULL), (SELECT count(*) FROM passkey WHERE user_id = ?1)`, user.ID).Scan(&f.TOTP, &f.RecoveryCodes, &f.Passkeys)
	return f, storeError(err)
}

// BeginTOTP makes the secret of an authenticator app for oneself. It counts after
// [Instance.ConfirmTOTP]; an unconfirmed one is replaced. uri is what the app scans.
func (i *Instance) BeginTOTP(ctx context.Context, actor Actor, user User) (secret, uri string, err error) {
	if actor.ID != user.APIID() {
		return "", "", errs.New(errs.Denied, "Only %s can add an authenticator app for that account.", user.Username)
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Octopuses", AccountName: user.Username, Period: totpPeriod, SecretSize: 20})
	if err != nil {
		return "", "", fmt.Errorf("make secret: %w", err)
	}
	err = i.note(ctx, actor, func(tx *tx) error {
		res, err := tx.Exec(`INSERT INTO totp (user_id, secret, created_at) VALUES (?1, ?2, ?3) ON CONFLICT (user_id) DO UPDATE SET secret = ?2, created_at = ?3 WHERE confirmed_at IS NULL`,
			user.ID, i.masters.Seal([]byte(key.Secret()), totpPurpose(user.ID)), i.text())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errs.New(errs.Exists, "There is already an authenticator app.").WithHint("Remove it first."))
		}
		return nil
	})
	return key.Secret(), TOTPURI(user, key.Secret()), err
}

// TOTPURI is what an authenticator app scans, after Google's key URI format.
func TOTPURI(user User, secret string) string {
	q := url.Values{"secret": {secret}, "issuer": {"Octopuses"}, "period": {strconv.Itoa(totpPeriod)}, "digits": {"6"}, "algorithm": {"SHA1"}}
	return "otpauth://totp/Octopuses:" + url.PathEscape(user.Username) + "?" + q.Encode()
}

func totpPurpose(user int64) string { return fmt.Sprintf("instance/totp/%d", user) }

// ConfirmTOTP takes the first code of the app, from when on sign-ins need one, and
// returns the recovery codes, this once. All other sessions of the person end.
func (i *Instance) ConfirmTOTP(ctx context.Context, actor Actor, user User, session Session, code string) (recovery []string, err error) {
	if actor.ID != user.APIID() {
		return nil, errs.New(errs.Denied, "Only %s can add an authenticator app for that account.", user.Username)
	}
	err = i.note(ctx, actor, func(tx *tx) error {
		ok, err := tx.takeTOTP(user.ID, code, false)
		if err != nil {
			return err
		}
		if !ok {
			return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Code", Message: "This is not the code that the app shows now. Look at the clocks of both machines if it should be."}}}
		}
		if _, err := tx.Exec(`UPDATE totp SET confirmed_at = ? WHERE user_id = ?`, i.text(), user.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM session WHERE user_id = ? AND hash <> ?`, user.ID, session.hash); err != nil {
			return err
		}
		if recovery, err = tx.newRecoveryCodes(user.ID); err != nil {
			return err
		}
		return tx.record("Modified", "user", user.APIID(), user.Username+" added an authenticator app")
	})
	return recovery, err
}

// NewRecoveryCodes replaces the recovery codes of oneself and returns them, this once.
func (i *Instance) NewRecoveryCodes(ctx context.Context, actor Actor, user User) (codes []string, err error) {
	if actor.ID != user.APIID() {
		return nil, errs.New(errs.Denied, "Only %s can have recovery codes made for that account.", user.Username)
	}
	has, err := i.SecondFactors(ctx, user)
	if err != nil {
		return nil, err
	}
	if !has.Any() {
		return nil, errs.New(errs.Blocked, "There is no second factor that the codes could stand in for.").WithHint("Add an authenticator app or a passkey first.")
	}
	err = i.note(ctx, actor, func(tx *tx) error {
		if codes, err = tx.newRecoveryCodes(user.ID); err != nil {
			return err
		}
		return tx.record("Modified", "user", user.APIID(), user.Username+" made new recovery codes")
	})
	return codes, err
}

// RemoveSecondFactors takes authenticator app, passkeys and recovery codes from a user,
// and ends the sessions. It needs UserEdit, or to be that user.
func (i *Instance) RemoveSecondFactors(ctx context.Context, actor Actor, user User) error {
	if err := i.mayActFor(ctx, actor, user); err != nil {
		return err
	}
	return i.note(ctx, actor, func(tx *tx) error {
		for _, table := range []string{"totp", "recovery_code", "passkey", "pending_sign_in", "session"} {
			if _, err := tx.Exec(`DELETE FROM `+table+` WHERE user_id = ?`, user.ID); err != nil {
				return err
			}
		}
		return tx.record("Modified", "user", user.APIID(), "The second factors of "+user.Username+" were removed")
	})
}

// RemoveTOTP takes the authenticator app from a user, and the recovery codes when
// nothing else is left. It needs UserEdit, or to be that user.
func (i *Instance) RemoveTOTP(ctx context.Context, actor Actor, user User) error {
	if err := i.mayActFor(ctx, actor, user); err != nil {
		return err
	}
	return i.note(ctx, actor, func(tx *tx) error {
		if _, err := tx.Exec(`DELETE FROM totp WHERE user_id = ?`, user.ID); err != nil {
			return err
		}
		if err := tx.dropIdleCodes(user.ID); err != nil {
			return err
		}
		return tx.record("Modified", "user", user.APIID(), "The authenticator app of "+user.Username+" was removed")
	})
}

func (t *tx) dropIdleCodes(user int64) error {
	_, err := t.Exec(`DELETE FROM recovery_code WHERE user_id = ?1 AND NOT EXISTS (SELECT 1 FROM totp WHERE user_id = ?1) AND NOT EXISTS (SELECT 1 FROM passkey WHERE user_id = ?1)`, user)
	return err
}

// newRecoveryCodes replaces those there are. A code has 16 characters of 5 bits.
func (t *tx) newRecoveryCodes(user int64) (codes []string, err error) {
	if _, err := t.Exec(`DELETE FROM recovery_code WHERE user_id = ?`, user); err != nil {
		return nil, err
	}
	for range recoveryCodes {
		code := randomText(16)
		if _, err := t.Exec(`INSERT INTO recovery_code (user_id, hash) VALUES (?, ?)`, user, hashOf(code)); err != nil {
			return nil, err
		}
		codes = append(codes, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	}
	return codes, nil
}

// takeTOTP reports whether a code is one of now, or of the period before or after, and
// uses it up.
func (t *tx) takeTOTP(user int64, code string, confirmed bool) (bool, error) {
	var sealed []byte
	var last int64
	err := t.QueryRow(`SELECT secret, last_step FROM totp WHERE user_id = ? AND (confirmed_at IS NOT NULL) = ?`, user, confirmed).Scan(&sealed, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	secret, err := t.i.masters.Open(sealed, totpPurpose(user))
	if err != nil {
		return false, errs.Wrap(errs.Blocked, err, "The second factor was sealed with another master key.").WithHint("Give the server the master key that its data directory was made with.")
	}
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	now := t.i.now().Unix() / totpPeriod
	for step := now - 1; step <= now+1; step++ {
		want, err := totp.GenerateCodeCustom(string(secret), time.Unix(step*totpPeriod, 0), totp.ValidateOpts{Period: totpPeriod, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return false, fmt.Errorf("make code: %w", err)
		}
		if step > last && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			_, err := t.Exec(`UPDATE totp SET last_step = ? WHERE user_id = ?`, step, user)
			return err == nil, err
		}
	}
	return false, nil
}

// takeRecoveryCode reports whether a code is an unused one, and uses it up.
func (t *tx) takeRecoveryCode(user int64, code string) (bool, error) {
	plain := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
	if len(plain) != 16 {
		return false, nil
	}
	res, err := t.Exec(`UPDATE recovery_code SET used_at = ? WHERE user_id = ? AND hash = ? AND used_at IS NULL`, t.i.text(), user, hashOf(plain))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// newTicket stores that a sign-in waits for a second factor.
func (t *tx) newTicket(user int64) (string, error) {
	now := t.i.now()
	if _, err := t.Exec(`DELETE FROM pending_sign_in WHERE expires_at < ?`, t.i.text()); err != nil {
		return "", err
	}
	ticket := randomText(52)
	_, err := t.Exec(`INSERT INTO pending_sign_in (hash, user_id, expires_at) VALUES (?, ?, ?)`, hashOf(ticket), user, now.Add(ticketLife).UTC().Format(TimeFormat))
	return ticket, err
}

// FinishSignIn takes a code of the authenticator app or a recovery code, and returns
// the token of a new session. Errors: [errs.Unauthenticated] for a wrong code or a
// ticket that is over, [errs.Busy] while too many attempts failed.
func (i *Instance) FinishSignIn(ctx context.Context, ticket, code, address, agent string) (token string, u User, err error) {
	u, err = i.ticketHolder(ctx, ticket)
	if err != nil {
		return "", User{}, err
	}
	keys := []throttleKey{secondFactorKey(u)}
	if err := i.throttled(ctx, keys); err != nil {
		return "", User{}, err
	}
	wrong := false
	err = i.note(ctx, Actor{ID: u.APIID(), Name: u.Username, Via: "session", Address: address}, func(tx *tx) error {
		ok, err := tx.takeTOTP(u.ID, code, true)
		if err == nil && !ok {
			ok, err = tx.takeRecoveryCode(u.ID, code)
		}
		if err != nil {
			return err
		}
		if !ok {
			wrong = true
			return nil
		}
		if _, err := tx.Exec(`DELETE FROM throttle WHERE key = ?`, keys[0].key); err != nil {
			return err
		}
		token, err = tx.finishTicket(ticket, u, address, agent, "")
		return err
	})
	if err != nil {
		return "", User{}, err
	}
	if wrong {
		if err := i.failed(ctx, keys, u.Username); err != nil {
			return "", User{}, err
		}
		return "", User{}, errs.New(errs.Unauthenticated, "The code is wrong or was used before.").WithHint("Take the one that the app shows now, or a recovery code.")
	}
	return token, u, nil
}

func ticketOver() error {
	return errs.New(errs.Unauthenticated, "This sign-in took too long.").WithHint("Begin again with the password.")
}

// ticketHolder is whose password was right.
func (i *Instance) ticketHolder(ctx context.Context, ticket string) (User, error) {
	u, err := scanUser(i.read.QueryRowContext(ctx, `SELECT `+userColumns+` FROM pending_sign_in p JOIN user ON user.id = p.user_id WHERE p.hash = ? AND p.expires_at >= ? AND user.is_active = 1`, hashOf(ticket), i.text()).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return u, ticketOver()
	}
	return u, storeError(err)
}

// secondFactorKey counts apart from the password: whoever knows that must not get endless
// guesses at six digits, from whatever address.
func secondFactorKey(u User) throttleKey {
	return throttleKey{hashOf("second factor\x00" + u.APIID()), freePerAccount}
}

// Awaited is what the person has who began the sign-in of a ticket. The error is
// [errs.Unauthenticated] when that is over.
func (i *Instance) Awaited(ctx context.Context, ticket string) (SecondFactors, error) {
	u, err := i.ticketHolder(ctx, ticket)
	if err != nil {
		return SecondFactors{}, err
	}
	return i.SecondFactors(ctx, u)
}

// finishTicket uses a ticket up and makes the session; how ends the sentence of the audit.
func (t *tx) finishTicket(ticket string, u User, address, agent, how string) (string, error) {
	res, err := t.Exec(`DELETE FROM pending_sign_in WHERE hash = ?`, hashOf(ticket))
	if err != nil {
		return "", err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 { // two at once: one signs in
		return "", errors.Join(err, ticketOver())
	}
	return t.newSessionBy(u, address, agent, how)
}
