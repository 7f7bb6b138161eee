package instance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// User is a person or a service account.
type User struct {
	ID          int64
	Username    string
	DisplayName string
	Email       string
	IsActive    bool
	IsService   bool
	HasPassword bool
	CreatedAt   time.Time
}

// APIID is the user's API id.
func (u User) APIID() string { return fmt.Sprintf("Users-%d", u.ID) }

// UserInput is what is said of a user. Password "" leaves it, or makes a user who
// cannot sign in with one.
type UserInput struct {
	Username, DisplayName, Email, Password string
	IsActive, IsService                    bool
}

const userColumns = `user.id, user.username, user.display_name, user.email, user.is_active, user.is_service, user.password_hash <> '', user.created_at`

func scanUser(scan func(...any) error) (User, error) {
	var u User
	var at string
	err := scan(&u.ID, &u.Username, &u.DisplayName, &u.Email, &u.IsActive, &u.IsService, &u.HasPassword, &at)
	u.CreatedAt = parseTime(at)
	return u, err
}

// hashing is the second choice of RFC 9106 scaled to a small server, as OWASP advises:
// some 50 ms and 19 MiB on one core.
func hashing() argon2id.Params {
	return argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// MinPassword is the least length of a password, in characters.
const MinPassword = 12

const maxPassword = 512 // bytes

var usernames = regexp.MustCompile(`^[\pL\pN][\pL\pN._@+-]{0,127}$`)

func (in UserInput) check(c *errs.Check) {
	c.Require(usernames.MatchString(in.Username), "Username", "A user name has 1 to 128 letters, digits and the characters . _ @ + -.")
	_, id := cutID("Users-", in.Username)
	c.Require(!id, "Username", "A user name cannot look like the id of a user.")
	c.Require(in.Password == "" || len([]rune(in.Password)) >= MinPassword, "Password", "A password has at least %d characters.", MinPassword)
	c.Require(len(in.Password) <= maxPassword, "Password", "A password has at most %d bytes.", maxPassword)
	c.Require(!in.IsService || in.Password == "", "Password", "A service account has no password; give it an API key.")
}

// CreateUser needs UserInvite.
func (i *Instance) CreateUser(ctx context.Context, actor Actor, in UserInput) (User, error) {
	if err := actor.require(access.UserInvite); err != nil {
		return User{}, err
	}
	var c errs.Check
	in.check(&c)
	if err := c.Err(); err != nil {
		return User{}, err
	}
	hash, err := hashPassword(in.Password)
	if err != nil {
		return User{}, err
	}
	var id int64
	err = i.update(ctx, actor, func(tx *tx) error {
		id, err = tx.createUser(in, hash)
		return err
	})
	if err != nil {
		return User{}, err
	}
	return i.User(ctx, id)
}

func hashPassword(password string) (string, error) {
	if password == "" {
		return "", nil
	}
	params := hashing()
	hash, err := argon2id.CreateHash(password, &params)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}

// nobodysHash costs as much to check as a real one and matches no password.
func nobodysHash() string {
	p := hashing()
	zero := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", p.Memory, p.Iterations, p.Parallelism, zero(make([]byte, p.SaltLength)), zero(make([]byte, p.KeyLength)))
}

func (t *tx) createUser(in UserInput, hash string) (int64, error) {
	if in.DisplayName == "" {
		in.DisplayName = in.Username
	}
	res, err := t.Exec(`INSERT INTO user (username, display_name, email, is_active, is_service, password_hash, created_at, updated_at) VALUES (?, ?, ?, 1, ?, ?, ?, ?)`,
		in.Username, in.DisplayName, in.Email, in.IsService, hash, t.i.text(), t.i.text())
	if err != nil {
		return 0, taken(err, "Username", "There is already a user called '%s'.", in.Username)
	}
	id, err := res.LastInsertId()
	if err != nil {
		return 0, err
	}
	return id, t.record("Created", "user", fmt.Sprintf("Users-%d", id), "User "+in.Username+" was created")
}

// UpdateUser needs UserEdit, or to be that user for names and password.
func (i *Instance) UpdateUser(ctx context.Context, actor Actor, id int64, in UserInput) (User, error) {
	self := actor.ID == fmt.Sprintf("Users-%d", id)
	if err := actor.require(access.UserEdit); err != nil && !self {
		return User{}, err
	}
	var c errs.Check
	in.check(&c)
	if err := c.Err(); err != nil {
		return User{}, err
	}
	old, err := i.User(ctx, id)
	if err != nil {
		return User{}, err
	}
	if err := actor.require(access.UserEdit); err != nil {
		in.IsActive, in.IsService, in.Username = old.IsActive, old.IsService, old.Username
	}
	if self && !in.IsActive {
		return User{}, errs.New(errs.Blocked, "You cannot deactivate yourself.")
	}
	hash, err := hashPassword(in.Password)
	if err != nil {
		return User{}, err
	}
	err = i.update(ctx, actor, func(tx *tx) error {
		_, err := tx.Exec(`UPDATE user SET username = ?, display_name = ?, email = ?, is_active = ?, password_hash = CASE WHEN ?5 = '' THEN password_hash ELSE ?5 END, updated_at = ? WHERE id = ?`,
			in.Username, in.DisplayName, in.Email, in.IsActive, hash, i.text(), id)
		if err != nil {
			return taken(err, "Username", "There is already a user called '%s'.", in.Username)
		}
		if hash != "" || !in.IsActive {
			if _, err := tx.Exec(`DELETE FROM session WHERE user_id = ?`, id); err != nil {
				return err
			}
		}
		return tx.record("Modified", "user", old.APIID(), "User "+in.Username+" was changed")
	})
	if err != nil {
		return User{}, err
	}
	return i.User(ctx, id)
}

// maySee is for what belongs to a user alone: sessions and keys.
func (i *Instance) maySee(_ context.Context, actor Actor, u User) error {
	if actor.ID == u.APIID() {
		return nil
	}
	return actor.require(access.UserEdit)
}

// DeleteUser needs UserEdit. Nobody deletes himself.
func (i *Instance) DeleteUser(ctx context.Context, actor Actor, id int64) error {
	if err := actor.require(access.UserEdit); err != nil {
		return err
	}
	u, err := i.User(ctx, id)
	if err != nil {
		return err
	}
	if actor.ID == u.APIID() {
		return errs.New(errs.Blocked, "You cannot delete yourself.")
	}
	return i.update(ctx, actor, func(tx *tx) error {
		if _, err := tx.Exec(`DELETE FROM user WHERE id = ?`, id); err != nil {
			return err
		}
		return tx.record("Deleted", "user", u.APIID(), "User "+u.Username+" was deleted")
	})
}

// User returns one by number.
func (i *Instance) User(ctx context.Context, id int64) (User, error) {
	u, err := scanUser(i.read.QueryRowContext(ctx, `SELECT `+userColumns+` FROM user WHERE id = ?`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return u, errs.Missing("user", fmt.Sprintf("Users-%d", id))
	}
	return u, err
}

// UserBy finds one by API id or user name.
func (i *Instance) UserBy(ctx context.Context, text string) (User, error) {
	n, _ := cutID("Users-", text)
	u, err := scanUser(i.read.QueryRowContext(ctx, `SELECT `+userColumns+` FROM user WHERE id = ? OR username = ? ORDER BY id = ? DESC LIMIT 1`, n, text, n).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return u, errs.Missing("user", text)
	}
	return u, err
}

// Users lists all by name.
func (i *Instance) Users(ctx context.Context) ([]User, error) {
	return list(ctx, i, scanUser, `SELECT `+userColumns+` FROM user ORDER BY username`)
}

func list[T any](ctx context.Context, i *Instance, scan func(func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := i.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// HasPeople reports whether the first administrator exists.
func (i *Instance) HasPeople(ctx context.Context) (bool, error) {
	var yes bool
	err := i.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM user)`).Scan(&yes)
	return yes, err
}

// SetupToken makes the one-time token with which the first administrator is created
// in the browser. Only its hash is stored; an older one no longer counts.
func (i *Instance) SetupToken(ctx context.Context) (string, error) {
	token := randomText(26)
	return token, i.SetSetting(ctx, "setup-token", []byte(hashOf(token)))
}

// CreateFirstAdministrator makes the first user, who administers the server. token
// is the one printed at the start; "" is for the console, where none is needed.
// Errors: [errs.Blocked] when there are people already, [errs.Unauthenticated] for
// a wrong token.
func (i *Instance) CreateFirstAdministrator(ctx context.Context, actor Actor, token string, in UserInput) (User, error) {
	if !actor.System {
		want, err := i.Setting(ctx, "setup-token")
		if err != nil {
			return User{}, err
		}
		if want == nil || subtle.ConstantTimeCompare(want, []byte(hashOf(token))) != 1 {
			return User{}, errs.New(errs.Unauthenticated, "The set-up token is wrong or was used.").WithHint("It stands in the server's log; restart the server for a new one.")
		}
	}
	var c errs.Check
	c.Require(in.Password != "", "Password", "A password is required.")
	in.check(&c)
	if err := c.Err(); err != nil {
		return User{}, err
	}
	hash, err := hashPassword(in.Password)
	if err != nil {
		return User{}, err
	}
	var id int64
	err = i.update(ctx, actor, func(tx *tx) error {
		var people bool
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM user)`).Scan(&people); err != nil {
			return err
		}
		if people {
			return errs.New(errs.Blocked, "This server already has an administrator.").WithHint("Sign in instead.")
		}
		if id, err = tx.createUser(in, hash); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO team_member (team_id, user_id) SELECT id, ? FROM team WHERE word = 'administrators'`, id); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM setting WHERE name = 'setup-token'`)
		return err
	})
	if err != nil {
		return User{}, err
	}
	return i.User(ctx, id)
}

// SetPassword is for the console: it replaces a password and ends all sessions.
func (i *Instance) SetPassword(ctx context.Context, username, password string) error {
	u, err := i.UserBy(ctx, username)
	if err != nil {
		return err
	}
	_, err = i.UpdateUser(ctx, System(), u.ID, UserInput{Username: u.Username, DisplayName: u.DisplayName, Email: u.Email, Password: password, IsActive: true})
	return err
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// randomText is n characters of capital letters and digits, 5 bits each.
func randomText(n int) string {
	const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = alphabet[b[i]&31]
	}
	return string(b)
}

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

// keys is what Octopus's clients accept as an API key.
var keys = regexp.MustCompile(`^API-[A-Z0-9]{8,200}$`)

// CreateAPIKey makes a key and returns it once. It needs UserEdit, or to be that
// user. given is a key to use instead of a random one; only the console may give it.
func (i *Instance) CreateAPIKey(ctx context.Context, actor Actor, user User, purpose string, expires *time.Time, given string) (APIKey, string, error) {
	if err := actor.require(access.UserEdit); err != nil && actor.ID != user.APIID() {
		return APIKey{}, "", err
	}
	key := "API-" + randomText(32)
	if given != "" && actor.System {
		key = given
	}
	var c errs.Check
	c.Require(keys.MatchString(key), "ApiKey", "An API key looks like API- and at least 8 capital letters or digits.")
	c.Require(strings.TrimSpace(purpose) != "", "Purpose", "Say what the key is for.")
	c.Require(expires == nil || expires.After(i.now()), "Expires", "The key would have expired already.")
	if err := c.Err(); err != nil {
		return APIKey{}, "", err
	}
	var id int64
	err := i.update(ctx, actor, func(tx *tx) error {
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

const apiKeyColumns = `id, user_id, hint, purpose, created_at, expires_at, used_at`

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
	k, err := scanAPIKey(i.read.QueryRowContext(ctx, `SELECT `+apiKeyColumns+` FROM api_key WHERE id = ? AND user_id = ?`, id, user.ID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return k, errs.Missing("API key", fmt.Sprintf("apikeys-%d", id))
	}
	return k, err
}

// APIKeys lists the keys of a user, newest first.
func (i *Instance) APIKeys(ctx context.Context, user User) ([]APIKey, error) {
	return list(ctx, i, scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_key WHERE user_id = ? ORDER BY id DESC`, user.ID)
}

// RevokeAPIKey deletes a key. It needs UserEdit, or to be that user.
func (i *Instance) RevokeAPIKey(ctx context.Context, actor Actor, user User, id int64) error {
	if err := actor.require(access.UserEdit); err != nil && actor.ID != user.APIID() {
		return err
	}
	k, err := i.APIKey(ctx, user, id)
	if err != nil {
		return err
	}
	return i.update(ctx, actor, func(tx *tx) error {
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
	if !keys.MatchString(key) {
		return User{}, APIKey{}, refused
	}
	k, err := scanAPIKey(i.read.QueryRowContext(ctx, `SELECT `+apiKeyColumns+` FROM api_key WHERE hash = ?`, hashOf(key)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, k, refused
	}
	if err != nil {
		return User{}, k, err
	}
	u, err := i.User(ctx, k.UserID)
	if err != nil {
		return u, k, err
	}
	if !u.IsActive || k.ExpiresAt != nil && i.now().After(*k.ExpiresAt) {
		return User{}, k, refused
	}
	// When a key was used last is for people: a minute's precision keeps the writer free.
	if k.UsedAt == nil || i.now().Sub(*k.UsedAt) > time.Minute {
		if _, err := i.write.ExecContext(context.WithoutCancel(ctx), `UPDATE api_key SET used_at = ? WHERE id = ?`, i.text(), k.ID); err != nil {
			i.log.Warn("note use of API key", "err", err)
		}
	}
	return u, k, nil
}
