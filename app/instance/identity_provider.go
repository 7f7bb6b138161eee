package instance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// IdentityProvider is an issuer of OpenID Connect at which people sign in. Its client
// secret is never read back.
type IdentityProvider struct {
	ID           int64
	Name         string // on the button of the sign-in page
	Issuer       string // https URL, exactly as its discovery document names it
	ClientID     string
	Scopes       string // parted by blanks; "openid" is among them
	GroupsClaim  string // the claim of the ID token with the person's groups; "": none
	MatchEmail   bool   // a verified e-mail address finds the user of a person who comes for the first time
	CreateUsers  bool   // a person without a user gets one
	IsEnabled    bool
	clientSecret []byte // sealed
}

// APIID names the provider in URLs and in the audit.
func (p IdentityProvider) APIID() string { return fmt.Sprintf("IdentityProviders-%d", p.ID) }

// IdentityProviderInput is what is said of a provider. ClientSecret "" leaves the one
// that is stored.
type IdentityProviderInput struct {
	Name, Issuer, ClientID, ClientSecret, Scopes, GroupsClaim string
	MatchEmail, CreateUsers, IsEnabled                        bool
}

// DefaultScopes are asked for if nothing else is said.
const DefaultScopes = "openid profile email"

const providerColumns = `id, name, issuer, client_id, client_secret, scopes, groups_claim, match_email, create_users, is_enabled`

func scanProvider(scan func(...any) error) (IdentityProvider, error) {
	var p IdentityProvider
	err := scan(&p.ID, &p.Name, &p.Issuer, &p.ClientID, &p.clientSecret, &p.Scopes, &p.GroupsClaim, &p.MatchEmail, &p.CreateUsers, &p.IsEnabled)
	return p, err
}

func secretPurpose(provider int64) string {
	return fmt.Sprintf("instance/identity-provider/%d", provider)
}

func (in *IdentityProviderInput) check(c *errs.Check) {
	for _, s := range []*string{&in.Name, &in.Issuer, &in.ClientID, &in.GroupsClaim} {
		*s = strings.TrimSpace(*s)
	}
	if in.Scopes = strings.Join(strings.Fields(in.Scopes), " "); in.Scopes == "" {
		in.Scopes = DefaultScopes
	}
	c.Require(in.Name != "" && len([]rune(in.Name)) <= 50, "Name", "The name has 1 to 50 characters.")
	u, err := url.Parse(in.Issuer)
	// Over plain HTTP whoever is on the wire could answer with keys of his own.
	c.Require(err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "", "Issuer", "The issuer is an https URL without a query, as https://login.example.com.")
	c.Require(in.ClientID != "", "ClientID", "A client id is required. The provider shows it where this server is registered.")
	c.Require(strings.Contains(" "+in.Scopes+" ", " openid "), "Scopes", "The scope openid must be among the scopes.")
}

// IdentityProviders lists all by name. Who may see more than the names of enabled ones
// is for the caller to check.
func (i *Instance) IdentityProviders(ctx context.Context) ([]IdentityProvider, error) {
	return list(ctx, i, scanProvider, `SELECT `+providerColumns+` FROM identity_provider ORDER BY name`)
}

// IdentityProvider finds one by API id.
func (i *Instance) IdentityProvider(ctx context.Context, id string) (IdentityProvider, error) {
	n, _ := cutID("IdentityProviders-", id)
	p, err := scanProvider(i.read.QueryRowContext(ctx, `SELECT `+providerColumns+` FROM identity_provider WHERE id = ?`, n).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return p, errs.Missing("identity provider", id)
	}
	return p, storeError(err)
}

// SaveIdentityProvider adds a provider (id "") or changes one. It needs AdministerSystem:
// whoever names a provider can sign in as everybody whom that provider vouches for. The
// secret is asked for again when issuer or client id change, so that a stored one is
// never sent to somebody else. Errors: [errs.Invalid] and [errs.Exists] with fields.
func (i *Instance) SaveIdentityProvider(ctx context.Context, actor Actor, id string, in IdentityProviderInput) (IdentityProvider, error) {
	if err := i.require(ctx, actor, access.AdministerSystem); err != nil {
		return IdentityProvider{}, err
	}
	var old IdentityProvider
	if id != "" {
		var err error
		if old, err = i.IdentityProvider(ctx, id); err != nil {
			return old, err
		}
	}
	var c errs.Check
	in.check(&c)
	if in.ClientSecret == "" && (id == "" || old.Issuer != in.Issuer || old.ClientID != in.ClientID) {
		c.Require(false, "ClientSecret", "The client secret is required. It is asked for again when issuer or client id change.")
	}
	if err := c.Err(); err != nil {
		return old, err
	}
	p := old
	err := i.update(ctx, actor, func(tx *tx) error {
		category, done := "Modified", "changed"
		if id == "" {
			category, done = "Created", "added"
			res, err := tx.Exec(`INSERT INTO identity_provider (name, issuer, client_id, client_secret, scopes, created_at, updated_at) VALUES (?1, '', '', x'', '', ?2, ?2)`, in.Name, i.text())
			if err != nil {
				return taken(err, "Name", "There is already a provider called '%s'.", in.Name)
			}
			if p.ID, err = res.LastInsertId(); err != nil {
				return err
			}
		}
		sealed := old.clientSecret
		if in.ClientSecret != "" {
			sealed = i.masters.Seal([]byte(in.ClientSecret), secretPurpose(p.ID))
		}
		_, err := tx.Exec(`UPDATE identity_provider SET name = ?, issuer = ?, client_id = ?, client_secret = ?, scopes = ?, groups_claim = ?, match_email = ?, create_users = ?, is_enabled = ?, updated_at = ? WHERE id = ?`,
			in.Name, in.Issuer, in.ClientID, sealed, in.Scopes, in.GroupsClaim, in.MatchEmail, in.CreateUsers, in.IsEnabled, i.text(), p.ID)
		if err != nil {
			return taken(err, "Name", "There is already a provider called '%s'.", in.Name)
		}
		if id != "" && (old.Issuer != in.Issuer || old.GroupsClaim != in.GroupsClaim || !in.IsEnabled) {
			if err := tx.dropGroupsOf(old.Issuer); err != nil {
				return err
			}
		}
		what := fmt.Sprintf("Sign-in with %s was %s: issuer %s, client %s, enabled %t, e-mail matches %t, users are created %t", in.Name, done, in.Issuer, in.ClientID, in.IsEnabled, in.MatchEmail, in.CreateUsers)
		if in.GroupsClaim != "" {
			what += ", groups from " + in.GroupsClaim
		}
		if in.ClientSecret != "" && id != "" {
			what += ", with a new secret"
		}
		facts := func(p IdentityProvider) map[string]any {
			return map[string]any{"Name": p.Name, "Issuer": p.Issuer, "ClientId": p.ClientID, "Scopes": p.Scopes, "GroupsClaim": p.GroupsClaim, "MatchEmail": p.MatchEmail, "CreateUsers": p.CreateUsers, "IsEnabled": p.IsEnabled}
		}
		changed := audit.Compare("", facts(old), facts(IdentityProvider{Name: in.Name, Issuer: in.Issuer, ClientID: in.ClientID, Scopes: in.Scopes, GroupsClaim: in.GroupsClaim, MatchEmail: in.MatchEmail, CreateUsers: in.CreateUsers, IsEnabled: in.IsEnabled}))
		if in.ClientSecret != "" {
			changed = append(changed, audit.Change{Field: "ClientSecret", Secret: true})
		}
		return tx.record(category, "identity provider", p.APIID(), what, changed...)
	})
	if err != nil {
		return old, err
	}
	return i.IdentityProvider(ctx, p.APIID())
}

// DeleteIdentityProvider needs AdministerSystem. Its people keep their users, and lose
// the groups that it said of them.
func (i *Instance) DeleteIdentityProvider(ctx context.Context, actor Actor, id string) error {
	if err := i.require(ctx, actor, access.AdministerSystem); err != nil {
		return err
	}
	p, err := i.IdentityProvider(ctx, id)
	if err != nil {
		return err
	}
	return i.update(ctx, actor, func(tx *tx) error {
		if err := tx.dropGroupsOf(p.Issuer); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM identity_provider WHERE id = ?`, p.ID); err != nil {
			return err
		}
		return tx.record("Deleted", "identity provider", p.APIID(), "Sign-in with "+p.Name+" was deleted")
	})
}

// dropGroupsOf forgets the groups of everybody whom an issuer knows: nothing renews them
// any more, and a stale one would keep a person in a team.
func (t *tx) dropGroupsOf(issuer string) error {
	_, err := t.Exec(`DELETE FROM user_external_group WHERE user_id IN (SELECT user_id FROM user_identity WHERE issuer = ?)`, issuer)
	return err
}
