package instance

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"octopuses.dev/octopuses/spaces/errs"
)

// CeremonyLife is how long a challenge waits for the passkey's answer.
const CeremonyLife = 5 * time.Minute

const ceremonyPurpose = "instance/passkey-ceremony"

// What a challenge is for: an answer to one is no answer to another.
const (
	toAdd    = "add"
	toFinish = "second factor"
	toEnter  = "sign-in"
)

// ceremony is what a browser was asked. It lies in the browser itself, sealed: a stranger
// who begins sign-ins by the thousand fills no table.
type ceremony struct {
	For       string
	User      int64 // 0: whoever has the passkey
	Name      string
	Challenge string
	Expires   time.Time
}

// PasskeyAnswer is what a browser brings back: the cookie that it was given with the
// options, and the credential that navigator.credentials gave, as JSON.
type PasskeyAnswer struct{ Cookie, Credential, Address, Agent string }

func (p RelyingParty) library() (*webauthn.WebAuthn, error) {
	wait := webauthn.TimeoutConfig{Timeout: CeremonyLife, TimeoutUVD: CeremonyLife}
	w, err := webauthn.New(&webauthn.Config{
		RPID: p.ID, RPDisplayName: "Octopuses", RPOrigins: []string{p.Origin}, AttestationPreference: protocol.PreferNoAttestation,
		// A security key that cannot keep a passkey, or cannot tell its owner, still is a
		// second factor. Signing in by nothing else asks for more.
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementPreferred, RequireResidentKey: protocol.ResidentKeyNotRequired(), UserVerification: protocol.VerificationPreferred},
		Timeouts:               webauthn.TimeoutsConfig{Login: wait, Registration: wait},
	})
	if err != nil {
		return nil, fmt.Errorf("set up passkeys: %w", err)
	}
	return w, nil
}

// begin seals what was asked and encodes what the browser is asked.
func (i *Instance) begin(c ceremony, asked any) (options []byte, cookie string, err error) {
	c.Expires = i.now().Add(CeremonyLife)
	plain, err := json.Marshal(c)
	if err == nil {
		options, err = json.Marshal(asked)
	}
	if err != nil {
		return nil, "", fmt.Errorf("ask for passkey: %w", err)
	}
	return options, base64.RawURLEncoding.EncodeToString(i.masters.Seal(plain, ceremonyPurpose)), nil
}

// opened is the ceremony of a cookie, if it was for this and goes on.
func (i *Instance) opened(cookie, purpose string, user int64) (ceremony, error) {
	over := errs.New(errs.Unauthenticated, "This was not begun in this browser, or took longer than %d minutes.", CeremonyLife/time.Minute).WithHint("Begin again.")
	var c ceremony
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil || len(sealed) == 0 {
		return c, over
	}
	plain, err := i.masters.Open(sealed, ceremonyPurpose)
	if err != nil {
		return c, over
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return c, fmt.Errorf("read ceremony: %w", err)
	}
	if c.For != purpose || c.User != user || i.now().After(c.Expires) {
		return ceremony{}, over
	}
	return c, nil
}

// use reports whether a challenge was not answered before.
func (t *tx) use(c ceremony) (bool, error) {
	if _, err := t.Exec(`DELETE FROM used_challenge WHERE expires_at < ?`, t.i.text()); err != nil {
		return false, err
	}
	res, err := t.Exec(`INSERT INTO used_challenge (hash, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING`, hashOf(c.Challenge), c.Expires.UTC().Format(TimeFormat))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// BeginAddPasskey asks a browser for a new passkey of oneself. options are for
// navigator.credentials.create, cookie is what comes back to [Instance.FinishAddPasskey].
// Errors: [errs.Invalid] with the field "Name", [errs.Blocked] when there are too many.
func (i *Instance) BeginAddPasskey(ctx context.Context, actor Actor, user User, rp RelyingParty, name string) (options []byte, cookie string, err error) {
	if actor.ID != user.APIID() {
		return nil, "", errs.New(errs.Denied, "Only %s can add a passkey for that account.", user.Username)
	}
	name = strings.TrimSpace(name)
	if err := checkPasskeyName(name); err != nil {
		return nil, "", err
	}
	w, err := rp.library()
	if err != nil {
		return nil, "", err
	}
	var h *keyHolder
	if err := i.note(ctx, actor, func(tx *tx) error { h, err = tx.keyHolder(user); return err }); err != nil {
		return nil, "", err
	}
	if len(h.keys) >= maxPasskeys {
		return nil, "", errs.New(errs.Blocked, "There are %d passkeys already.", maxPasskeys).WithHint("Remove one that you no longer use.")
	}
	asked, session, err := w.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.keys).CredentialDescriptors()), webauthn.WithCredentialParameters(webauthn.CredentialParametersRecommendedL3()))
	if err != nil {
		return nil, "", fmt.Errorf("ask for a new passkey: %w", err)
	}
	return i.begin(ceremony{For: toAdd, User: user.ID, Name: name, Challenge: session.Challenge}, asked)
}

// FinishAddPasskey stores a new passkey of oneself. It counts as a second factor from then
// on; recovery are codes, this once, if there were none. All other sessions of the person
// end. Errors: [errs.Invalid] for an answer that is not good, [errs.Exists],
// [errs.Unauthenticated] when it took too long.
func (i *Instance) FinishAddPasskey(ctx context.Context, actor Actor, session Session, rp RelyingParty, a PasskeyAnswer) (recovery []string, err error) {
	user := session.User
	c, err := i.opened(a.Cookie, toAdd, user.ID)
	if err != nil {
		return nil, err
	}
	w, err := rp.library()
	if err != nil {
		return nil, err
	}
	var refusal error
	err = i.note(ctx, actor, func(tx *tx) error {
		fresh, err := tx.use(c)
		if err != nil {
			return err
		}
		h, err := tx.keyHolder(user)
		if err != nil {
			return err
		}
		var made *webauthn.Credential
		if !fresh {
			refusal = errAnswered
		} else if made, refusal = newPasskey(w, h, c, a.Credential); refusal == nil && len(h.keys) >= maxPasskeys {
			refusal = errors.New("there are too many")
		}
		if refusal != nil {
			return tx.record("Denied", "user", user.APIID(), "A new passkey of "+user.Username+" was refused: "+why(refusal))
		}
		return tx.addPasskey(h, session, made, c.Name, &recovery)
	})
	if err == nil && refusal != nil {
		err = errs.Wrap(errs.Invalid, refusal, "The passkey was not added: what the browser sent is not good (%s).", why(refusal)).WithHint("Try again.")
	}
	return recovery, err
}

func (t *tx) addPasskey(h *keyHolder, session Session, made *webauthn.Credential, name string, recovery *[]string) error {
	text, err := passkeyText(made)
	if err != nil {
		return err
	}
	_, err = t.Exec(`INSERT INTO passkey (user_id, credential_id, credential, name, created_at) VALUES (?, ?, ?, ?, ?)`, h.ID, made.ID, text, name, t.i.text())
	if errs.KindOf(storeError(err)) == errs.Exists {
		return errs.Wrap(errs.Exists, err, "This passkey was added before.")
	}
	if err != nil {
		return err
	}
	if _, err := t.Exec(`DELETE FROM session WHERE user_id = ? AND hash <> ?`, h.ID, session.hash); err != nil {
		return err
	}
	var codes int
	if err := t.QueryRow(`SELECT count(*) FROM recovery_code WHERE user_id = ? AND used_at IS NULL`, h.ID).Scan(&codes); err != nil {
		return err
	}
	if codes == 0 {
		if *recovery, err = t.newRecoveryCodes(h.ID); err != nil {
			return err
		}
	}
	return t.record("Modified", "user", h.APIID(), fmt.Sprintf("%s added the passkey '%s'", h.Username, name))
}

var errAnswered = errors.New("its challenge was answered before")

func newPasskey(w *webauthn.WebAuthn, h *keyHolder, c ceremony, answer string) (*webauthn.Credential, error) {
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return nil, err
	}
	return w.CreateCredential(h, webauthn.SessionData{Challenge: c.Challenge, RelyingPartyID: w.Config.RPID, UserID: h.handle, UserVerification: w.Config.AuthenticatorSelection.UserVerification, CredParams: webauthn.CredentialParametersRecommendedL3()}, parsed)
}

// why is the reason of a refusal for people; the library's own words are for developers.
func why(err error) string {
	text := strings.TrimSuffix(err.Error(), ": <nil>")
	if cut := []rune(text); len(cut) > 100 {
		text = string(cut[:100]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// BeginPasskeySignIn asks a browser for a passkey: of the person whose sign-in waits for a
// second factor, or, without a ticket, for any that lies in the browser, which then must
// make sure itself who uses it. options are for navigator.credentials.get, cookie is what
// comes back to [Instance.FinishPasskeySignIn].
func (i *Instance) BeginPasskeySignIn(ctx context.Context, rp RelyingParty, ticket string) (options []byte, cookie string, err error) {
	w, err := rp.library()
	if err != nil {
		return nil, "", err
	}
	if ticket == "" {
		asked, session, err := w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
		if err != nil {
			return nil, "", fmt.Errorf("ask for a passkey: %w", err)
		}
		return i.begin(ceremony{For: toEnter, Challenge: session.Challenge}, asked)
	}
	u, err := i.ticketHolder(ctx, ticket)
	if err != nil {
		return nil, "", err
	}
	var h *keyHolder
	if err := i.note(ctx, System(), func(tx *tx) error { h, err = tx.keyHolder(u); return err }); err != nil {
		return nil, "", err
	}
	if len(h.keys) == 0 {
		return nil, "", errs.New(errs.Blocked, "%s has no passkey.", u.Username).WithHint("Take a code.")
	}
	asked, session, err := w.BeginLogin(h)
	if err != nil {
		return nil, "", fmt.Errorf("ask for a passkey: %w", err)
	}
	return i.begin(ceremony{For: toFinish, User: u.ID, Challenge: session.Challenge}, asked)
}

// FinishPasskeySignIn takes the answer of a passkey, and returns the token of a new
// session. Errors: [errs.Unauthenticated] for an answer that is not good, a ticket that is
// over or a challenge that is, [errs.Busy] while too many attempts failed.
func (i *Instance) FinishPasskeySignIn(ctx context.Context, rp RelyingParty, ticket string, a PasskeyAnswer) (token string, u User, err error) {
	keys, purpose := throttleKeys("", a.Address)[1:], toEnter
	if ticket != "" {
		if u, err = i.ticketHolder(ctx, ticket); err != nil {
			return "", User{}, err
		}
		keys, purpose = []throttleKey{secondFactorKey(u)}, toFinish
	}
	if err := i.throttled(ctx, keys); err != nil {
		return "", User{}, err
	}
	c, err := i.opened(a.Cookie, purpose, u.ID)
	if err != nil {
		return "", User{}, err
	}
	w, err := rp.library()
	if err != nil {
		return "", User{}, err
	}
	by := System()
	by.Address = a.Address
	var refusal error
	err = i.note(ctx, by, func(tx *tx) error {
		fresh, err := tx.use(c)
		if err != nil {
			return err
		}
		h, used, bad, err := tx.answered(w, c, u, a.Credential)
		if err != nil {
			return err
		}
		if refusal = bad; !fresh {
			refusal = errAnswered
		}
		if refusal != nil {
			if h == nil { // nobody's: a stranger does not fill the audit
				return nil
			}
			return tx.record("Denied", "user", h.APIID(), "A passkey of "+h.Username+" was refused: "+why(refusal))
		}
		if err := tx.savePasskey(used); err != nil {
			return err
		}
		u = h.User
		tx.actor = Actor{ID: u.APIID(), Name: u.Username, Via: "session", Address: a.Address}
		how := fmt.Sprintf(" with the passkey '%s'", h.names[string(used.ID)])
		if ticket == "" {
			token, err = tx.newSessionBy(u, a.Address, a.Agent, how)
			return err
		}
		if _, err := tx.Exec(`DELETE FROM throttle WHERE key = ?`, keys[0].key); err != nil {
			return err
		}
		token, err = tx.finishTicket(ticket, u, a.Address, a.Agent, how)
		return err
	})
	if err != nil {
		return "", User{}, err
	}
	if refusal != nil {
		i.log.Info("passkey refused", "address", a.Address, "err", refusal)
		if err := i.failed(ctx, keys, u.Username); err != nil {
			return "", User{}, err
		}
		return "", User{}, errs.Wrap(errs.Unauthenticated, refusal, "This passkey was not accepted.").WithHint("Try again, or sign in another way.")
	}
	return token, u, nil
}

// answered finds whose passkey answered and checks the answer. refusal says what is wrong
// with it; h is nil where nobody has such a passkey.
func (t *tx) answered(w *webauthn.WebAuthn, c ceremony, expected User, answer string) (h *keyHolder, used *webauthn.Credential, refusal, err error) {
	parsed, refusal := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if expected.ID != 0 {
		h, err = t.keyHolder(expected)
	} else if refusal == nil {
		h, err = t.holderOf(parsed.RawID)
	}
	if err != nil || refusal != nil {
		return h, nil, refusal, err
	}
	if h == nil {
		return nil, nil, errors.New("nobody has it here"), nil
	}
	asked := webauthn.SessionData{Challenge: c.Challenge, RelyingPartyID: w.Config.RPID, UserVerification: w.Config.AuthenticatorSelection.UserVerification}
	if expected.ID != 0 {
		asked.UserID = h.handle
		used, refusal = w.ValidateLogin(h, asked, parsed)
	} else {
		asked.UserVerification = protocol.VerificationRequired
		// The library compares the handle that the answer names with that of h.
		used, refusal = w.ValidateDiscoverableLogin(func(_, _ []byte) (webauthn.User, error) { return h, nil }, asked, parsed)
	}
	if refusal == nil && used.Authenticator.CloneWarning {
		refusal = errors.New("its count of signatures did not rise: somebody may have a copy of it")
	}
	return h, used, refusal, nil
}

// holderOf is who has a passkey and may sign in; nil when nobody.
func (t *tx) holderOf(credential []byte) (*keyHolder, error) {
	u, err := scanUser(t.QueryRow(`SELECT `+userColumns+` FROM passkey k JOIN user ON user.id = k.user_id WHERE k.credential_id = ? AND user.is_active = 1 AND user.is_service = 0`, credential).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t.keyHolder(u)
}
