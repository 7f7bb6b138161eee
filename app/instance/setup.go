package instance

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"

	"octopuses.dev/octopuses/spaces/errs"
)

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
			return User{}, usedToken()
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
		if !actor.System { // the token may have been used since it was looked at
			var unused bool
			if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM setting WHERE name = 'setup-token')`).Scan(&unused); err != nil {
				return err
			}
			if !unused {
				return usedToken()
			}
		}
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

func usedToken() error {
	return errs.New(errs.Unauthenticated, "The set-up token is wrong or was used.").WithHint("It stands in the server's log; restart the server for a new one.")
}

// EnsureAdministrator makes what the environment of the server asks for
// (ADMIN_USERNAME, ADMIN_PASSWORD, ADMIN_API_KEY) exist, at each start: the first
// administrator, if there are no people yet, and the key of that user. It never
// changes a password, so that one that was replaced in the browser stays replaced.
// apiKey may be "". made tells whether the user is new.
func (i *Instance) EnsureAdministrator(ctx context.Context, username, password, apiKey string) (u User, made bool, err error) {
	people, err := i.HasPeople(ctx)
	if err != nil {
		return User{}, false, err
	}
	if !people {
		// Who starts the server decides; a password that is there already is not looked at.
		if why := easilyGuessed(password, username, "octopuses", "octopus"); why != "" {
			i.log.Warn("the password of the first administrator is easily guessed: "+why, "user", username)
		}
		u, err = i.CreateFirstAdministrator(ctx, System(), "", UserInput{Username: username, Password: password, IsActive: true, anyPassword: true})
		made = true
	} else {
		u, err = i.userByName(ctx, username)
	}
	if err != nil || apiKey == "" {
		return u, made, err
	}
	var owner int64
	err = i.read.QueryRowContext(ctx, `SELECT user_id FROM api_key WHERE hash = ?`, hashOf(apiKey)).Scan(&owner)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, _, err = i.CreateAPIKey(ctx, System(), u, "From the environment of the server", nil, apiKey)
	case err == nil && owner != u.ID:
		err = errs.New(errs.Exists, "The API key given for '%s' belongs to somebody else.", username)
	}
	return u, made, storeError(err)
}
