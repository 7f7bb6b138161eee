package instance

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"octopuses.dev/octopuses/spaces/errs"
)

// IdentityLife is how long a browser may stay at a provider.
const IdentityLife = 10 * time.Minute

const (
	visitPurpose = "instance/identity-visit"
	askProvider  = 15 * time.Second // for one answer of a provider
	discoveryAge = time.Hour        // endpoints are read anew after it; keys whenever an unknown one signs
	maxGroups    = 1000             // of a person
)

// visit is a browser's stay at a provider. It lies in the browser itself, sealed: a
// stranger who begins sign-ins by the thousand fills no table.
type visit struct {
	Provider               int64
	State, Nonce, Verifier string
	Next                   string
	Expires                time.Time
}

// foundProvider is a discovery document with its age.
type foundProvider struct {
	*oidc.Provider
	at time.Time
}

// claims is what is read of an ID token beside what the library checks.
type claims struct {
	Email         string `json:"email"`
	EmailVerified any    `json:"email_verified"` // a boolean; some send it as text
	Username      string `json:"preferred_username"`
	Name          string `json:"name"`
	AuthorizedFor string `json:"azp"`
}

func (c claims) verifiedEmail() string {
	if c.EmailVerified == true || c.EmailVerified == "true" {
		return c.Email
	}
	return ""
}

// BeginIdentity sends a browser to a provider, after OpenID Connect Core 1.0 section
// 3.1 with PKCE (RFC 7636). to is where it goes; cookie is what it brings back to
// [Instance.FinishIdentity] within [IdentityLife]. redirect is the URL at which it comes
// back, next a path for afterwards. Errors: [errs.NotFound], [errs.Unavailable].
func (i *Instance) BeginIdentity(ctx context.Context, provider, redirect, next string) (to, cookie string, err error) {
	p, err := i.enabledProvider(ctx, provider)
	if err != nil {
		return "", "", err
	}
	found, err := i.discover(ctx, p)
	if err != nil {
		return "", "", err
	}
	v := visit{Provider: p.ID, State: randomText(52), Nonce: randomText(52), Verifier: oauth2.GenerateVerifier(), Next: next, Expires: i.now().Add(IdentityLife)}
	plain, err := json.Marshal(v)
	if err != nil {
		return "", "", fmt.Errorf("begin sign-in: %w", err)
	}
	to = p.client(found, "", redirect).AuthCodeURL(v.State, oidc.Nonce(v.Nonce), oauth2.S256ChallengeOption(v.Verifier))
	return to, base64.RawURLEncoding.EncodeToString(i.masters.Seal(plain, visitPurpose)), nil
}

func (p IdentityProvider) client(found *oidc.Provider, secret, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: secret, Endpoint: found.Endpoint(), RedirectURL: redirect, Scopes: strings.Fields(p.Scopes)}
}

func (i *Instance) enabledProvider(ctx context.Context, id string) (IdentityProvider, error) {
	p, err := i.IdentityProvider(ctx, id)
	if err == nil && !p.IsEnabled {
		return p, errs.Missing("identity provider", id)
	}
	return p, err
}

func (i *Instance) atProvider(ctx context.Context) context.Context {
	client := i.http
	if client == nil {
		client = &http.Client{Timeout: askProvider}
	}
	return oidc.ClientContext(ctx, client)
}

func (i *Instance) discover(ctx context.Context, p IdentityProvider) (*oidc.Provider, error) {
	i.mu.Lock()
	found, ok := i.issuers[p.Issuer]
	i.mu.Unlock()
	if ok && i.now().Sub(found.at) < discoveryAge {
		return found.Provider, nil
	}
	fresh, err := oidc.NewProvider(i.atProvider(ctx), p.Issuer)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "%s does not answer as an OpenID Connect provider.", p.Name).WithHint("Try again, or sign in with a password. An administrator finds the cause in the log of the server.")
	}
	i.mu.Lock()
	i.issuers[p.Issuer] = foundProvider{fresh, i.now()}
	i.mu.Unlock()
	return fresh, nil
}

// Return is how a browser comes back from a provider: what is in the query, and where
// and who it is.
type Return struct {
	Provider, Cookie, State, Code, Failure string
	Redirect                               string // the URL given to [Instance.BeginIdentity]
	Address, Agent                         string
}

// FinishIdentity takes a browser that comes back, and returns the token of a new session
// and the path that was given for afterwards. The person's groups become those of the
// token. Errors: [errs.Unauthenticated] with what does not fit, [errs.Unavailable],
// [SecondFactorError] when the user has a second factor here.
func (i *Instance) FinishIdentity(ctx context.Context, r Return) (token, next string, err error) {
	p, err := i.enabledProvider(ctx, r.Provider)
	if err != nil {
		return "", "", err
	}
	v, err := i.openVisit(p, r)
	if err != nil {
		return "", "", err
	}
	if r.Failure != "" {
		return "", v.Next, errs.New(errs.Unauthenticated, "%s did not sign you in (%.60s).", p.Name, r.Failure).WithHint("Try again, or ask whoever runs it.")
	}
	id, c, groups, err := i.redeem(ctx, p, v, r)
	if err != nil {
		return "", v.Next, err
	}
	token, err = i.enterAs(ctx, p, id, c, groups, r)
	return token, v.Next, err
}

// openVisit checks that this browser began what it brings back.
func (i *Instance) openVisit(p IdentityProvider, r Return) (visit, error) {
	var v visit
	elsewhere := errs.New(errs.Unauthenticated, "This sign-in was not begun in this browser, or took too long.").WithHint("Begin again.")
	sealed, err := base64.RawURLEncoding.DecodeString(r.Cookie)
	if err != nil || len(sealed) == 0 {
		return v, elsewhere
	}
	plain, err := i.masters.Open(sealed, visitPurpose)
	if err != nil {
		return v, elsewhere
	}
	if err := json.Unmarshal(plain, &v); err != nil {
		return v, fmt.Errorf("read sign-in: %w", err)
	}
	if v.Provider != p.ID || i.now().After(v.Expires) || subtle.ConstantTimeCompare([]byte(v.State), []byte(r.State)) != 1 {
		return visit{}, elsewhere
	}
	return v, nil
}

// redeem exchanges the code for an ID token and checks that.
func (i *Instance) redeem(ctx context.Context, p IdentityProvider, v visit, r Return) (id *oidc.IDToken, c claims, groups []string, err error) {
	found, err := i.discover(ctx, p)
	if err != nil {
		return nil, c, nil, err
	}
	secret, err := i.masters.Open(p.clientSecret, secretPurpose(p.ID))
	if err != nil {
		return nil, c, nil, errs.Wrap(errs.Blocked, err, "The client secret of %s was sealed with another master key.", p.Name).WithHint("Give the server the master key that its data directory was made with.")
	}
	given, err := p.client(found, string(secret), r.Redirect).Exchange(i.atProvider(ctx), r.Code, oauth2.VerifierOption(v.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) { // its text has the whole answer, which may hold tokens
			return nil, c, nil, errs.New(errs.Unauthenticated, "%s refused the code of this sign-in (%.60s).", p.Name, refused.ErrorCode).WithHint("Begin again. If it stays, the client id or secret is wrong.")
		}
		return nil, c, nil, errs.Wrap(errs.Unavailable, err, "%s did not answer.", p.Name).WithHint("Try again in a moment.")
	}
	bad := func(err error) error {
		return errs.Wrap(errs.Unauthenticated, err, "The token of %s is not good for signing in here.", p.Name).WithHint("Begin again. If it stays, an administrator finds the cause in the log of the server.")
	}
	raw, _ := given.Extra("id_token").(string)
	if id, err = found.VerifierContext(i.atProvider(ctx), &oidc.Config{ClientID: p.ClientID, Now: i.now}).Verify(i.atProvider(ctx), raw); err != nil {
		i.log.Warn("identity token refused", "provider", p.Name, "err", err)
		return nil, c, nil, bad(err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(v.Nonce)) != 1 {
		i.log.Warn("identity token refused", "provider", p.Name, "err", "nonce of another sign-in")
		return nil, c, nil, bad(errors.New("nonce of another sign-in"))
	}
	all := map[string]json.RawMessage{}
	if err := errors.Join(id.Claims(&c), id.Claims(&all)); err != nil {
		return nil, c, nil, bad(err)
	}
	// The library looks at aud only (OpenID Connect Core 1.0 section 3.1.3.7, 4 and 5).
	if c.AuthorizedFor != "" && c.AuthorizedFor != p.ClientID || len(id.Audience) > 1 && c.AuthorizedFor == "" || id.Subject == "" {
		return nil, c, nil, bad(errors.New("issued to another client or to nobody"))
	}
	if p.GroupsClaim != "" {
		groups = groupsOf(all[p.GroupsClaim])
	}
	return id, c, groups, nil
}

// groupsOf reads a claim that is a list of texts, or one.
func groupsOf(claim json.RawMessage) []string {
	var many []string
	var one string
	if json.Unmarshal(claim, &many) != nil && json.Unmarshal(claim, &one) == nil && one != "" {
		many = []string{one}
	}
	return many[:min(len(many), maxGroups)]
}

// enterAs finds or makes the user, renews the groups and signs in.
func (i *Instance) enterAs(ctx context.Context, p IdentityProvider, id *oidc.IDToken, c claims, groups []string, r Return) (token string, err error) {
	by := Actor{ID: p.APIID(), Name: p.Name, Via: "OpenID Connect", Address: r.Address}
	var more *SecondFactorError
	var refusal error
	err = i.update(ctx, by, func(tx *tx) error {
		var u User
		u, refusal = tx.userOf(p, id, c)
		if errs.KindOf(refusal) == errs.Unauthenticated { // kept, so that an administrator sees who came
			return tx.record("Denied", "identity provider", p.APIID(), fmt.Sprintf("Subject %.100q of %s was refused: %s", id.Subject, p.Name, errs.TextOf(refusal)))
		}
		if refusal != nil {
			return refusal
		}
		if err := tx.setGroupsOf(u, groups); err != nil {
			return err
		}
		has, err := secondFactors(ctx, tx, u)
		if err != nil {
			return err
		}
		tx.actor = Actor{ID: u.APIID(), Name: u.Username, Via: "OpenID Connect", Address: r.Address}
		if has.Any() {
			ticket, err := tx.newTicket(u.ID)
			more = &SecondFactorError{Ticket: ticket, Has: has}
			return err
		}
		token, err = tx.newSessionBy(u, r.Address, r.Agent, " with "+p.Name)
		return err
	})
	switch {
	case err != nil:
		return "", err
	case refusal != nil:
		return "", refusal
	case more != nil:
		return "", more
	}
	return token, nil
}

// userOf is whom an identity belongs to: by issuer and subject, else, where that is
// allowed, by a verified e-mail address, else a new user.
func (t *tx) userOf(p IdentityProvider, id *oidc.IDToken, c claims) (User, error) {
	u, err := scanUser(t.QueryRow(`SELECT `+userColumns+` FROM user JOIN user_identity x ON x.user_id = user.id WHERE x.issuer = ? AND x.subject = ?`, id.Issuer, id.Subject).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		if u, err = t.adopt(p, id, c); err == nil {
			if _, err = t.Exec(`INSERT INTO user_identity (issuer, subject, user_id, created_at, used_at) VALUES (?1, ?2, ?3, ?4, ?4)`, id.Issuer, id.Subject, u.ID, t.i.text()); err == nil {
				err = t.record("Modified", "user", u.APIID(), fmt.Sprintf("%s signs in with %s from now on, as subject %.100q", u.Username, p.Name, id.Subject))
			}
		}
	}
	if err != nil {
		return u, err
	}
	if !u.IsActive || u.IsService {
		return u, errs.New(errs.Unauthenticated, "Your account here is switched off.").WithHint("Ask an administrator.")
	}
	_, err = t.Exec(`UPDATE user_identity SET used_at = ? WHERE issuer = ? AND subject = ?`, t.i.text(), id.Issuer, id.Subject)
	return u, err
}

// adopt finds or makes a user for an identity that is new here.
func (t *tx) adopt(p IdentityProvider, id *oidc.IDToken, c claims) (User, error) {
	if mail := c.verifiedEmail(); p.MatchEmail && mail != "" {
		rows, err := t.Query(`SELECT `+userColumns+`, EXISTS (SELECT 1 FROM user_identity x WHERE x.user_id = user.id AND x.issuer = ?) FROM user WHERE email = ? COLLATE NOCASE AND is_active = 1 AND is_service = 0`, id.Issuer, mail)
		if err != nil {
			return User{}, err
		}
		defer rows.Close()
		var found []User
		known := false
		for rows.Next() {
			u, err := scanUser(func(into ...any) error { return rows.Scan(append(into, &known)...) })
			if err != nil {
				return u, err
			}
			found = append(found, u)
		}
		if err := rows.Err(); err != nil {
			return User{}, err
		}
		// An address is given on to the next person; a subject is not.
		if len(found) > 1 || known {
			return User{}, errs.New(errs.Unauthenticated, "The e-mail address of %s belongs to a user here who cannot be told from you.", p.Name).WithHint("Ask an administrator.")
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	if !p.CreateUsers {
		return User{}, errs.New(errs.Unauthenticated, "%s knows you, and there is no user for you here.", p.Name).WithHint("Ask an administrator to add one.")
	}
	name := c.Username
	if !(UserInput{Username: name}).named() {
		name = c.verifiedEmail()
	}
	if !(UserInput{Username: name}).named() {
		return User{}, errs.New(errs.Unauthenticated, "%s says no name that a user can have here.", p.Name).WithHint("It must send preferred_username or a verified e-mail address.")
	}
	n, err := t.createUser(UserInput{Username: name, DisplayName: c.Name, Email: c.verifiedEmail(), IsActive: true}, "")
	if errs.KindOf(err) == errs.Exists {
		return User{}, errs.New(errs.Unauthenticated, "There is already a user called '%s', who does not sign in with %s.", name, p.Name).WithHint("Ask an administrator.")
	}
	if err != nil {
		return User{}, err
	}
	return scanUser(t.QueryRow(`SELECT `+userColumns+` FROM user WHERE id = ?`, n).Scan)
}

// setGroupsOf makes the external groups of a person those that were just told.
func (t *tx) setGroupsOf(u User, groups []string) error {
	if _, err := t.Exec(`DELETE FROM user_external_group WHERE user_id = ?`, u.ID); err != nil {
		return err
	}
	for _, g := range groups {
		if _, err := t.Exec(`INSERT INTO user_external_group (user_id, group_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, u.ID, g); err != nil {
			return err
		}
	}
	return nil
}
