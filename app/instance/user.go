package instance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/alexedwards/argon2id"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
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

	anyPassword bool // also one that is easily guessed
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

// isUsername reports whether a name begins with a letter or a digit and holds only these
// and . _ @ + -, 128 characters at most. By hand: as a regular expression it was a
// quarter of the time that a server takes to start.
func isUsername(name string) bool {
	n := 0
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && (n == 0 || !strings.ContainsRune("._@+-", r)) {
			return false
		}
		n++
	}
	return n >= 1 && n <= 128
}

func isID(name string) bool {
	_, id := cutID("Users-", name)
	return id
}

// named reports whether the user name is one that a user can have.
func (in UserInput) named() bool { return isUsername(in.Username) && !isID(in.Username) }

func (in UserInput) check(c *errs.Check) {
	c.Require(in.named() || isID(in.Username), "Username", "A user name has 1 to 128 letters, digits and the characters . _ @ + -.")
	c.Require(!isID(in.Username), "Username", "A user name cannot look like the id of a user.")
	in.checkPassword(c)
}

func (in UserInput) checkPassword(c *errs.Check) {
	c.Require(in.Password == "" || len([]rune(in.Password)) >= MinPassword, "Password", "A password has at least %d characters.", MinPassword)
	c.Require(len(in.Password) <= maxPassword, "Password", "A password has at most %d bytes.", maxPassword)
	if why := easilyGuessed(in.Password, in.Username, in.DisplayName, in.Email, "octopuses", "octopus"); in.Password != "" && why != "" && !in.anyPassword {
		c.Require(false, "Password", "This password is easily guessed: %s. A few words that have nothing to do with one another are good.", why)
	}
	c.Require(!in.IsService || in.Password == "", "Password", "A service account has no password; give it an API key.")
}

// CreateUser needs UserInvite.
func (i *Instance) CreateUser(ctx context.Context, actor Actor, in UserInput) (User, error) {
	if err := i.require(ctx, actor, access.UserInvite); err != nil {
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
	self := actor.ID == User{ID: id}.APIID()
	if !self { // before the user is looked up: who may not edit learns nothing
		if err := i.require(ctx, actor, access.UserEdit); err != nil {
			return User{}, err
		}
	}
	old, err := i.User(ctx, id)
	if err != nil {
		return User{}, err
	}
	if err := i.mayActFor(ctx, actor, old); err != nil {
		return User{}, err
	}
	if actor.require(access.UserEdit) != nil {
		in.IsActive, in.Username = old.IsActive, old.Username
	}
	in.IsService = old.IsService // for good: it decides whether there may be a password
	var c errs.Check
	if in.Username == old.Username { // older names may break newer rules
		in.checkPassword(&c)
	} else {
		in.check(&c)
	}
	if err := c.Err(); err != nil {
		return User{}, err
	}
	if in.DisplayName == "" {
		in.DisplayName = in.Username
	}
	if self && !in.IsActive {
		return User{}, errs.New(errs.Blocked, "You cannot deactivate yourself.")
	}
	hash, err := hashPassword(in.Password)
	if err != nil {
		return User{}, err
	}
	err = i.update(ctx, actor, func(tx *tx) error {
		err := tx.keepAdministrator(func() error {
			_, err := tx.Exec(`UPDATE user SET username = ?, display_name = ?, email = ?, is_active = ?, password_hash = CASE WHEN ?5 = '' THEN password_hash ELSE ?5 END, updated_at = ? WHERE id = ?`,
				in.Username, in.DisplayName, in.Email, in.IsActive, hash, i.text(), id)
			return err
		})
		if err != nil {
			return taken(err, "Username", "There is already a user called '%s'.", in.Username)
		}
		if hash != "" || !in.IsActive {
			if err := tx.endSessions(id); err != nil {
				return err
			}
		}
		what := audit.Compare("", userFacts(old.Username, old.DisplayName, old.Email, old.IsActive), userFacts(in.Username, in.DisplayName, in.Email, in.IsActive))
		if hash != "" {
			what = append(what, audit.Change{Field: "Password", Secret: true})
		}
		return tx.record("Modified", "user", old.APIID(), "User "+in.Username+" was changed", what...)
	})
	if err != nil {
		return User{}, err
	}
	return i.User(ctx, id)
}

// userFacts is what the audit tells of a user.
func userFacts(username, display, email string, active bool) map[string]any {
	return map[string]any{"Username": username, "DisplayName": display, "EmailAddress": email, "IsActive": active}
}

// mayActFor is for what belongs to a user alone: password, sessions, keys. It needs
// UserEdit, or to be that user. Whoever sets a user's password or makes a key for
// her can act as her: nobody gets permissions of the system that way.
func (i *Instance) mayActFor(ctx context.Context, actor Actor, u User) error {
	if actor.System || actor.ID == u.APIID() {
		return nil
	}
	if err := i.require(ctx, actor, access.UserEdit); err != nil {
		return err
	}
	theirs, err := i.SystemPermissions(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, p := range theirs.Permissions() {
		if err := i.require(ctx, actor, p); err != nil {
			return err
		}
	}
	return nil
}

// DeleteUser needs UserEdit. Nobody deletes himself.
func (i *Instance) DeleteUser(ctx context.Context, actor Actor, id int64) error {
	if err := i.require(ctx, actor, access.UserEdit); err != nil {
		return err
	}
	u, err := i.User(ctx, id)
	if err != nil {
		return err
	}
	if actor.ID == u.APIID() {
		return errs.New(errs.Blocked, "You cannot delete yourself.")
	}
	if err := i.mayActFor(ctx, actor, u); err != nil {
		return err
	}
	return i.update(ctx, actor, func(tx *tx) error {
		return tx.keepAdministrator(func() error {
			if _, err := tx.Exec(`DELETE FROM user WHERE id = ?`, id); err != nil {
				return err
			}
			return tx.record("Deleted", "user", u.APIID(), "User "+u.Username+" was deleted")
		})
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

func (i *Instance) userByName(ctx context.Context, name string) (User, error) {
	u, err := scanUser(i.read.QueryRowContext(ctx, `SELECT `+userColumns+` FROM user WHERE username = ?`, name).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return u, errs.Missing("user", name)
	}
	return u, storeError(err)
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

// SetPassword is for the console: it replaces a password, ends all sessions, and lets a
// deactivated user in again.
func (i *Instance) SetPassword(ctx context.Context, username, password string) error {
	u, err := i.userByName(ctx, username)
	if err != nil {
		return err
	}
	if u.IsService {
		return errs.New(errs.Invalid, "'%s' is a service account and has no password.", u.Username).WithHint("Make an API key for it instead.")
	}
	if password == "" {
		return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Password", Message: "A password is required."}}}
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
