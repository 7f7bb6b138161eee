package instance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// APIKey is a key as it can be shown: never the key itself.
type APIKey struct {
	ID        int64
	UserID    int64
	Hint      string
	Purpose   string
	CreatedAt time.Time
	ExpiresAt *time.Time
	UsedAt    *time.Time
}

// isAPIKey reports what Octopus's clients accept as an API key: API- and 8 to 200 capital letters or digits.
func isAPIKey(text string) bool {
	key, ok := strings.CutPrefix(text, "API-")
	return ok && len(key) >= 8 && len(key) <= 200 && !strings.ContainsFunc(key, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
}

// CreateAPIKey makes a key and returns it once. It needs UserEdit, or to be that
// user. given is a key to use instead of a random one; only the console may give it.
func (i *Instance) CreateAPIKey(ctx context.Context, actor Actor, user User, purpose string, expires *time.Time, given string) (APIKey, string, error) {
	if err := i.mayActFor(ctx, actor, user); err != nil {
		return APIKey{}, "", err
	}
	key := "API-" + randomText(32)
	if given != "" && actor.System {
		key = given
	}
	var c errs.Check
	c.Require(isAPIKey(key), "ApiKey", "An API key looks like API- and at least 8 capital letters or digits.")
	c.Require(strings.TrimSpace(purpose) != "", "Purpose", "Say what the key is for.")
	c.Require(len([]rune(purpose)) <= 200, "Purpose", "The purpose is longer than 200 characters.")
	c.Require(expires == nil || expires.After(i.now()), "Expires", "The key would have expired already.")
	if err := c.Err(); err != nil {
		return APIKey{}, "", err
	}
	var id int64
	err := i.note(ctx, actor, func(tx *tx) error {
		var until any
		if expires != nil {
			until = expires.UTC().Format(TimeFormat)
		}
		res, err := tx.Exec(`INSERT INTO api_key (user_id, hash, hint, purpose, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)`, user.ID, hashOf(key), key[:8], purpose, i.text(), until)
		if err != nil {
			return taken(err, "ApiKey", "This key is taken.")
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		return tx.record("Created", "api key", fmt.Sprintf("apikeys-%d", id), fmt.Sprintf("API key %s… was made for %s: %s", key[:8], user.Username, purpose))
	})
	if err != nil {
		return APIKey{}, "", err
	}
	k, err := i.APIKey(ctx, user, id)
	return k, key, err
}

const apiKeyColumns = `k.id, k.user_id, k.hint, k.purpose, k.created_at, k.expires_at, k.used_at`

func scanAPIKey(scan func(...any) error) (APIKey, error) {
	var k APIKey
	var created string
	var expires, used sql.NullString
	err := scan(&k.ID, &k.UserID, &k.Hint, &k.Purpose, &created, &expires, &used)
	k.CreatedAt, k.ExpiresAt, k.UsedAt = parseTime(created), parseTimePtr(expires), parseTimePtr(used)
	return k, err
}

// APIKey returns one key of a user.
func (i *Instance) APIKey(ctx context.Context, user User, id int64) (APIKey, error) {
	k, err := scanAPIKey(i.read.QueryRowContext(ctx, `SELECT `+apiKeyColumns+` FROM api_key k WHERE k.id = ? AND k.user_id = ?`, id, user.ID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return k, errs.Missing("API key", fmt.Sprintf("apikeys-%d", id))
	}
	return k, err
}

// APIKeys lists the keys of a user, newest first.
func (i *Instance) APIKeys(ctx context.Context, user User) ([]APIKey, error) {
	return list(ctx, i, scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_key k WHERE k.user_id = ? ORDER BY k.id DESC`, user.ID)
}

// RevokeAPIKey deletes a key. It needs UserEdit, or to be that user.
func (i *Instance) RevokeAPIKey(ctx context.Context, actor Actor, user User, id int64) error {
	if err := i.mayActFor(ctx, actor, user); err != nil {
		return err
	}
	k, err := i.APIKey(ctx, user, id)
	if err != nil {
		return err
	}
	return i.note(ctx, actor, func(tx *tx) error {
		if _, err := tx.Exec(`DELETE FROM api_key WHERE id = ?`, id); err != nil {
			return err
		}
		return tx.record("Deleted", "api key", fmt.Sprintf("apikeys-%d", id), fmt.Sprintf("API key %s… of %s was revoked", k.Hint, user.Username))
	})
}

// UserByAPIKey finds the owner of a key. The error is [errs.Unauthenticated] for an
// unknown or expired key and for a deactivated owner, without saying which.
func (i *Instance) UserByAPIKey(ctx context.Context, key string) (User, APIKey, error) {
	refused := errs.New(errs.Unauthenticated, "The API key is not valid.").WithHint("Make a new one on your account's page.")
	if !isAPIKey(key) {
		return User{}, APIKey{}, refused
	}
	var u User
	k, err := scanAPIKey(func(to ...any) error {
		var joined string
		err := i.read.QueryRowContext(ctx, `SELECT `+apiKeyColumns+`, `+userColumns+` FROM api_key k JOIN user ON user.id = k.user_id WHERE k.hash = ?`, hashOf(key)).Scan(
			append(to, &u.ID, &u.Username, &u.DisplayName, &u.Email, &u.IsActive, &u.IsService, &u.HasPassword, &joined)...)
		u.CreatedAt = parseTime(joined)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, APIKey{}, refused
	}
	if err != nil {
		return User{}, APIKey{}, storeError(err)
	}
	if !u.IsActive || k.ExpiresAt != nil && i.now().After(*k.ExpiresAt) {
		return User{}, APIKey{}, refused
	}
	// When a key was used last is for people: a minute's precision keeps the writer free.
	if k.UsedAt == nil || i.now().Sub(*k.UsedAt) > time.Minute {
		if _, err := i.write.ExecContext(context.WithoutCancel(ctx), `UPDATE api_key SET used_at = ? WHERE id = ?`, i.text(), k.ID); err != nil {
			i.log.Warn("note use of API key", "err", err)
		}
	}
	return u, k, nil
}
