package instance

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"golang.org/x/net/idna"

	"octopuses.dev/octopuses/spaces/errs"
)

const (
	maxPasskeys    = 20 // of a user
	maxPasskeyName = 50 // characters
)

// Passkey is a key pair of an authenticator, of which the public half is kept here.
type Passkey struct {
	ID        int64
	Name      string
	CreatedAt time.Time
	UsedAt    *time.Time // nil: never
}

// RelyingParty is this server towards authenticators: a passkey belongs to a name (ID) and
// answers to pages of one Origin. See [RelyingPartyOf].
type RelyingParty struct{ ID, Origin string }

// RelyingPartyOf is made of the URL under which people reach the server. The error is
// [errs.Blocked] and says why browsers use no passkey there: they ask for a name and, but
// on this machine, for TLS (WebAuthn Level 3, sections 4 and 5.1.3).
func RelyingPartyOf(address string) (RelyingParty, error) {
	set := func(format string, args ...any) (RelyingParty, error) {
		return RelyingParty{}, errs.New(errs.Blocked, format, args...).WithHint("Whoever runs this server gives it a name with --public-url, as https://octopuses.example.com.")
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return set("A passkey belongs to the name of a server, and this one has none.")
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if net.ParseIP(host) != nil {
		return set("A passkey belongs to the name of a server, and this one is reached at %s, which is an address and no name.", host)
	}
	if host, err = idna.Lookup.ToASCII(host); err == nil {
		err = protocol.ValidateRPID(host)
	}
	if err != nil {
		return set("A passkey belongs to a name with a domain, and this server is reached at %q.", u.Hostname())
	}
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return set("Browsers use passkeys over https only, and this server is reached at %s.", address)
	}
	origin := u.Scheme + "://" + host
	if port := u.Port(); port != "" && port != defaultPort(u.Scheme) {
		origin += ":" + port
	}
	return RelyingParty{ID: host, Origin: origin}, nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// At reports whether a browser that asks for a host, as the header of that name has it, is
// at the origin. Elsewhere it would offer no passkey.
func (p RelyingParty) At(host string) bool {
	scheme, own, _ := strings.Cut(p.Origin, "://")
	return own != "" && strings.EqualFold(own, strings.TrimSuffix(host, ":"+defaultPort(scheme)))
}

// Passkeys lists those of a user, in the order in which they were added.
func (i *Instance) Passkeys(ctx context.Context, user User) ([]Passkey, error) {
	return list(ctx, i, func(scan func(...any) error) (Passkey, error) {
		var k Passkey
		var created string
		var used sql.NullString
		err := scan(&k.ID, &k.Name, &created, &used)
		k.CreatedAt, k.UsedAt = parseTime(created), parseTimePtr(used)
		return k, err
	}, `SELECT id, name, created_at, used_at FROM passkey WHERE user_id = ? ORDER BY id`, user.ID)
}

// checkPasskeyName refuses what is no name, in the field "Name".
func checkPasskeyName(name string) error {
	var c errs.Check
	c.Require(name != "", "Name", "A passkey needs a name, so that you know it again.")
	c.Require(utf8.RuneCountInString(name) <= maxPasskeyName, "Name", "The name is longer than %d characters.", maxPasskeyName)
	c.Require(utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }), "Name", "The name has characters that cannot be shown.")
	return c.Err()
}

// RenamePasskey is for oneself. Errors: [errs.Invalid] with the field "Name", [errs.NotFound].
func (i *Instance) RenamePasskey(ctx context.Context, actor Actor, user User, id int64, name string) error {
	if actor.ID != user.APIID() {
		return errs.New(errs.Denied, "Only %s can name the passkeys of that account.", user.Username)
	}
	name = strings.TrimSpace(name)
	if err := checkPasskeyName(name); err != nil {
		return err
	}
	return i.note(ctx, actor, func(tx *tx) error {
		before, err := tx.passkeyName(user, id)
		if err != nil || before == name {
			return err
		}
		if _, err := tx.Exec(`UPDATE passkey SET name = ? WHERE id = ?`, name, id); err != nil {
			return err
		}
		return tx.record("Modified", "user", user.APIID(), fmt.Sprintf("%s renamed the passkey '%s' to '%s'", user.Username, before, name))
	})
}

// RemovePasskey takes one passkey from a user, and the recovery codes when nothing else is
// left. It needs UserEdit, or to be that user.
func (i *Instance) RemovePasskey(ctx context.Context, actor Actor, user User, id int64) error {
	if err := i.mayActFor(ctx, actor, user); err != nil {
		return err
	}
	return i.note(ctx, actor, func(tx *tx) error {
		name, err := tx.passkeyName(user, id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM passkey WHERE id = ?`, id); err != nil {
			return err
		}
		if err := tx.dropIdleCodes(user.ID); err != nil {
			return err
		}
		return tx.record("Modified", "user", user.APIID(), fmt.Sprintf("The passkey '%s' of %s was removed", name, user.Username))
	})
}

func (t *tx) passkeyName(user User, id int64) (name string, err error) {
	err = t.QueryRow(`SELECT name FROM passkey WHERE id = ? AND user_id = ?`, id, user.ID).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		err = errs.Missing("passkey", fmt.Sprint(id))
	}
	return name, err
}

// keyHolder is a user as the library sees one.
type keyHolder struct {
	User
	handle []byte
	keys   []webauthn.Credential
	names  map[string]string // by the id of the credential
}

func (h *keyHolder) WebAuthnID() []byte                         { return h.handle }
func (h *keyHolder) WebAuthnName() string                       { return h.Username }
func (h *keyHolder) WebAuthnCredentials() []webauthn.Credential { return h.keys }
func (h *keyHolder) WebAuthnDisplayName() string {
	if h.DisplayName == "" {
		return h.Username
	}
	return h.DisplayName
}

// keyHolder reads the passkeys of a user, and makes the handle of one who has none yet.
func (t *tx) keyHolder(u User) (*keyHolder, error) {
	h := &keyHolder{User: u, handle: make([]byte, 32), names: map[string]string{}}
	rand.Read(h.handle)
	if _, err := t.Exec(`INSERT INTO passkey_handle (user_id, handle) VALUES (?, ?) ON CONFLICT (user_id) DO NOTHING`, u.ID, h.handle); err != nil {
		return nil, err
	}
	if err := t.QueryRow(`SELECT handle FROM passkey_handle WHERE user_id = ?`, u.ID).Scan(&h.handle); err != nil {
		return nil, err
	}
	rows, err := t.Query(`SELECT name, credential FROM passkey WHERE user_id = ? ORDER BY id`, u.ID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, text string
		var c webauthn.Credential
		if err := rows.Scan(&name, &text); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return nil, fmt.Errorf("read passkey of %s: %w", u.APIID(), err)
		}
		h.keys, h.names[string(c.ID)] = append(h.keys, c), name
	}
	return h, rows.Err()
}

// savePasskey writes what may change with each use: the count of signatures and the flags.
func (t *tx) savePasskey(c *webauthn.Credential) error {
	text, err := passkeyText(c)
	if err != nil {
		return err
	}
	_, err = t.Exec(`UPDATE passkey SET credential = ?, used_at = ? WHERE credential_id = ?`, text, t.i.text(), c.ID)
	return err
}

// passkeyText leaves the attestation out: nobody asks again which model it is.
func passkeyText(c *webauthn.Credential) (string, error) {
	kept := *c
	kept.Attestation = webauthn.CredentialAttestation{}
	text, err := json.Marshal(kept)
	if err != nil {
		return "", fmt.Errorf("encode passkey: %w", err)
	}
	return string(text), nil
}
