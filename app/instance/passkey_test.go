package instance_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"

	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
)

var (
	party  = instance.RelyingParty{ID: "octopuses.example.com", Origin: "https://octopuses.example.com"}
	honest = virtualwebauthn.RelyingParty{ID: party.ID, Origin: party.Origin}
)

// device is an authenticator with one passkey.
type device struct {
	virtualwebauthn.Authenticator
	virtualwebauthn.Credential
}

// sign answers the options of a sign-in from a page.
func (d *device) sign(t *testing.T, at virtualwebauthn.RelyingParty, options []byte) string {
	t.Helper()
	o, err := virtualwebauthn.ParseAssertionOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	d.Counter++
	return virtualwebauthn.CreateAssertionResponse(at, d.Authenticator, d.Credential, *o)
}

func sessionOf(t *testing.T, i *instance.Instance, token string) instance.Session {
	t.Helper()
	s, err := i.SessionByToken(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withPasskey gives a person a passkey, for whom a session was begun with a password.
func withPasskey(t *testing.T, i *instance.Instance, s instance.Session, name string) (*device, []string) {
	t.Helper()
	ctx, me := context.Background(), as(t, i, s.User)
	options, cookie, err := i.BeginAddPasskey(ctx, me, s.User, party, name)
	if err != nil {
		t.Fatal(err)
	}
	o, err := virtualwebauthn.ParseAttestationOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	d := &device{virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: []byte(o.UserID)}), apptest.NewCredential()}
	if strings.Contains(o.UserID, s.User.Username) {
		t.Errorf("the handle tells who it is: %q", o.UserID)
	}
	codes, err := i.FinishAddPasskey(ctx, me, s, party, instance.PasskeyAnswer{Cookie: cookie, Credential: virtualwebauthn.CreateAttestationResponse(honest, d.Authenticator, d.Credential, *o)})
	if err != nil {
		t.Fatal(err)
	}
	return d, codes
}

// enter signs in with nothing else than the passkey.
func enter(t *testing.T, i *instance.Instance, d *device, at virtualwebauthn.RelyingParty, address string) (string, error) {
	t.Helper()
	options, cookie, err := i.BeginPasskeySignIn(context.Background(), party, "")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := i.FinishPasskeySignIn(context.Background(), party, "", instance.PasskeyAnswer{Cookie: cookie, Credential: d.sign(t, at, options), Address: address})
	return token, err
}

func signIn(t *testing.T, i *instance.Instance, name string) instance.Session {
	t.Helper()
	token, _, err := i.SignIn(context.Background(), name, password, "192.0.2.1", "")
	if err != nil {
		t.Fatal(err)
	}
	return sessionOf(t, i, token)
}

func audited(t *testing.T, i *instance.Instance) string {
	t.Helper()
	all, err := i.Events(context.Background(), instance.EventFilter{Take: 200})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, e := range all {
		text += e.Category + ": " + e.Message + "\n"
	}
	return text
}

func TestPasskeys(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	ada := user(t, i, "ada")
	elsewhere, here := signIn(t, i, "ada"), signIn(t, i, "ada")
	phone, codes := withPasskey(t, i, here, "Phone")
	if len(codes) != 10 {
		t.Errorf("%d recovery codes with the first passkey", len(codes))
	}
	if all, err := i.Sessions(ctx, ada); err != nil || len(all) != 1 || all[0].ID == elsewhere.ID {
		t.Errorf("sessions after a passkey was added: %v, %v", all, err)
	}
	if _, more := withPasskey(t, i, here, "Token"); len(more) != 0 {
		t.Error("the second passkey replaced the recovery codes")
	}
	for _, text := range i.StoredPasskeys(t) {
		if !strings.Contains(text, `"publicKey":"`) || strings.Contains(text, "clientDataJSON") || strings.Contains(text, "object") {
			t.Errorf("more than a public key is kept: %s", text)
		}
	}

	// As a second factor, which may ask nobody who it is.
	phone.Authenticator.Options.UserNotVerified = true
	first := ticket(t, i, "ada")
	options, cookie, err := i.BeginPasskeySignIn(ctx, party, first)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(options), `"public-key"`); n != 2 {
		t.Errorf("%d passkeys are asked for: %s", n, options)
	}
	answer := instance.PasskeyAnswer{Cookie: cookie, Credential: phone.sign(t, honest, options), Address: "192.0.2.1"}
	if _, _, err := i.FinishPasskeySignIn(ctx, party, "", answer); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("the answer for a second factor alone: %v", err)
	}
	if _, u, err := i.FinishPasskeySignIn(ctx, party, first, answer); err != nil || u.ID != ada.ID {
		t.Fatalf("second factor: %v", err)
	}
	if _, _, err := i.FinishPasskeySignIn(ctx, party, first, answer); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a ticket was used twice: %v", err)
	}
	if _, _, err := i.FinishPasskeySignIn(ctx, party, ticket(t, i, "ada"), answer); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("an answer was taken twice: %v", err)
	}

	// As the only one, it makes sure who uses it.
	if _, err := enter(t, i, phone, honest, "192.0.2.1"); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("without user verification: %v", err)
	}
	phone.Authenticator.Options.UserNotVerified = false
	if _, err := enter(t, i, phone, honest, "192.0.2.1"); err != nil {
		t.Fatalf("passkey alone: %v", err)
	}
	all, err := i.Passkeys(ctx, ada)
	if err != nil || len(all) != 2 || all[0].Name != "Phone" || all[0].UsedAt == nil || !all[0].UsedAt.Equal(c.Now()) || all[1].UsedAt != nil {
		t.Errorf("passkeys: %+v, %v", all, err)
	}

	me := as(t, i, ada)
	for _, bad := range []string{"", "  ", strings.Repeat("x", 51), "a\nb", "a\xff"} {
		if err := i.RenamePasskey(ctx, me, ada, all[0].ID, bad); !errors.Is(err, errs.Invalid) {
			t.Errorf("the name %q: %v", bad, err)
		}
	}
	if err := i.RenamePasskey(ctx, me, ada, all[0].ID, "Pocket"); err != nil {
		t.Error(err)
	}
	if err := i.RemovePasskey(ctx, me, ada, all[1].ID); err != nil {
		t.Error(err)
	}
	if has, err := i.SecondFactors(ctx, ada); err != nil || has.Passkeys != 1 || has.RecoveryCodes != 10 {
		t.Errorf("after one was removed: %+v, %v", has, err)
	}
	if err := i.RemovePasskey(ctx, me, ada, all[0].ID); err != nil {
		t.Error(err)
	}
	if has, err := i.SecondFactors(ctx, ada); err != nil || has.Any() || has.RecoveryCodes != 0 {
		t.Errorf("after all were removed: %+v, %v", has, err)
	}
	if _, err := enter(t, i, phone, honest, "192.0.2.1"); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a passkey that was removed: %v", err)
	}
	text := audited(t, i)
	for _, want := range []string{"Modified: ada added the passkey 'Phone'", "SignedIn: ada signed in with the passkey 'Phone'", "Denied: A passkey of ada was refused", "Modified: ada renamed the passkey 'Phone' to 'Pocket'", "Modified: The passkey 'Token' of ada was removed"} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit lacks %q:\n%s", want, text)
		}
	}
}

// What is not the answer of the right passkey, on our page, to our last question lets
// nobody in, whoever sends it.
func TestPasskeyRefusals(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	ada, eve := user(t, i, "ada"), user(t, i, "eve")
	phone, _ := withPasskey(t, i, signIn(t, i, "ada"), "Phone")
	evil, _ := withPasskey(t, i, signIn(t, i, "eve"), "Evil")
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
		c.Move(time.Hour) // what has to wait is tried elsewhere
	}
	try := func(d *device, at virtualwebauthn.RelyingParty) error {
		_, err := enter(t, i, d, at, "192.0.2.9")
		return err
	}

	refused("a page of another site", try(phone, virtualwebauthn.RelyingParty{ID: party.ID, Origin: "https://octopuses.example.com.evil.test"}))
	refused("a page without TLS", try(phone, virtualwebauthn.RelyingParty{ID: party.ID, Origin: "http://octopuses.example.com"}))
	refused("another port", try(phone, virtualwebauthn.RelyingParty{ID: party.ID, Origin: party.Origin + ":8443"}))
	refused("a passkey of another name", try(phone, virtualwebauthn.RelyingParty{ID: "evil.test", Origin: party.Origin}))

	thief := *evil
	thief.Authenticator.Options.UserHandle = phone.Authenticator.Options.UserHandle
	refused("eve's passkey under ada's handle", try(&thief, honest))
	thief.Credential.ID = phone.Credential.ID
	refused("ada's passkey signed by eve's key", try(&thief, honest))
	stranger := device{phone.Authenticator, apptest.NewCredential()}
	refused("a passkey that nobody has", try(&stranger, honest))
	absent := *phone
	absent.Authenticator.Options.UserNotPresent = true
	refused("nobody was there", try(&absent, honest))

	// Eve's passkey as the second factor of ada, and as what ada is asked for.
	first := ticket(t, i, "ada")
	options, cookie, err := i.BeginPasskeySignIn(ctx, party, first)
	if err != nil {
		t.Fatal(err)
	}
	good := phone.sign(t, honest, options)
	_, _, wrong := i.FinishPasskeySignIn(ctx, party, first, instance.PasskeyAnswer{Cookie: cookie, Credential: evil.sign(t, honest, options)})
	_, _, right := i.FinishPasskeySignIn(ctx, party, first, instance.PasskeyAnswer{Cookie: cookie, Credential: good})
	if !errors.Is(wrong, errs.Unauthenticated) || !errors.Is(right, errs.Unauthenticated) {
		t.Errorf("eve's passkey for ada: %v; the right answer after it to the same question: %v", wrong, right)
	}
	options, cookie, err = i.BeginAddPasskey(ctx, as(t, i, ada), ada, party, "More")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = i.FinishPasskeySignIn(ctx, party, first, instance.PasskeyAnswer{Cookie: cookie, Credential: phone.sign(t, honest, options)})
	refused("a signature under the question for a new passkey", err)
	eves := ticket(t, i, "eve")
	_, _, err = i.FinishPasskeySignIn(ctx, party, eves, instance.PasskeyAnswer{Cookie: cookie, Credential: good})
	refused("a question that somebody else was asked", err)

	// Each bit of an answer counts.
	for _, field := range []string{"signature", "authenticatorData", "clientDataJSON", "userHandle"} {
		options, cookie, err := i.BeginPasskeySignIn(ctx, party, "")
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = i.FinishPasskeySignIn(ctx, party, "", instance.PasskeyAnswer{Cookie: cookie, Credential: flipped(t, phone.sign(t, honest, options), field), Address: "192.0.2.9"})
		refused("a flipped bit in "+field, err)
	}

	options, cookie, err = i.BeginPasskeySignIn(ctx, party, "")
	if err != nil {
		t.Fatal(err)
	}
	late := instance.PasskeyAnswer{Cookie: cookie, Credential: phone.sign(t, honest, options)}
	c.Move(instance.CeremonyLife + time.Second)
	_, _, err = i.FinishPasskeySignIn(ctx, party, "", late)
	refused("too late", err)
	forged := late
	forged.Cookie = "x" + cookie[1:]
	_, _, err = i.FinishPasskeySignIn(ctx, party, "", forged)
	refused("a cookie that we did not seal", err)

	// A copy of the key, whose count is behind.
	if err := try(phone, honest); err != nil {
		t.Fatalf("the passkey itself: %v", err)
	}
	copied := *phone
	copied.Counter--
	refused("a copy", try(&copied, honest))
	if !strings.Contains(audited(t, i), "somebody may have a copy of it") {
		t.Error("the audit does not tell of the copy")
	}

	// One that is shared between devices counts nothing; its answer counts once nevertheless.
	synced, _ := withPasskey(t, i, enterAgain(t, i, phone), "Synced")
	synced.Counter--
	options, cookie, err = i.BeginPasskeySignIn(ctx, party, "")
	if err != nil {
		t.Fatal(err)
	}
	once := instance.PasskeyAnswer{Cookie: cookie, Credential: synced.sign(t, honest, options)}
	if _, _, err := i.FinishPasskeySignIn(ctx, party, "", once); err != nil || synced.Counter != 0 {
		t.Fatalf("without a count: %v", err)
	}
	_, _, err = i.FinishPasskeySignIn(ctx, party, "", once)
	refused("an answer that was sent again", err)

	if _, err := i.UpdateUser(ctx, instance.System(), ada.ID, instance.UserInput{Username: "ada", IsActive: false}); err != nil {
		t.Fatal(err)
	}
	refused("a user who is disabled", try(phone, honest))
	if err := i.DeleteUser(ctx, instance.System(), eve.ID); err != nil {
		t.Fatal(err)
	}
	refused("a user who is deleted", try(evil, honest))
}

// enterAgain is a session that was begun with a passkey.
func enterAgain(t *testing.T, i *instance.Instance, d *device) instance.Session {
	t.Helper()
	token, err := enter(t, i, d, honest, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	return sessionOf(t, i, token)
}

// flipped changes one bit in the middle of a part of an answer.
func flipped(t *testing.T, answer, field string) string {
	t.Helper()
	var all struct {
		Type, ID, RawID string
		Response        map[string]string
	}
	if err := json.Unmarshal([]byte(answer), &all); err != nil {
		t.Fatal(err)
	}
	b, err := base64.RawURLEncoding.DecodeString(all.Response[field])
	if err != nil || len(b) == 0 {
		t.Fatalf("no %s in %s", field, answer)
	}
	b[len(b)/2] ^= 1
	all.Response[field] = base64.RawURLEncoding.EncodeToString(b)
	out, err := json.Marshal(map[string]any{"type": all.Type, "id": all.ID, "rawId": all.RawID, "response": all.Response})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Attempts are counted: with a ticket for the account, without one for the address.
func TestPasskeysAreThrottled(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	user(t, i, "ada")
	phone, codes := withPasskey(t, i, signIn(t, i, "ada"), "Phone")
	wrong := &device{phone.Authenticator, apptest.NewCredential()}
	busy := 0
	for range 30 {
		if _, err := enter(t, i, wrong, honest, "198.51.100.7"); errors.Is(err, errs.Busy) {
			busy++
		}
	}
	if _, err := enter(t, i, phone, honest, "192.0.2.1"); busy == 0 || err != nil {
		t.Errorf("%d of 30 had to wait; the owner from elsewhere: %v", busy, err)
	}
	c.Move(time.Hour)
	busy = 0
	for range 10 {
		first := ticket(t, i, "ada")
		options, cookie, err := i.BeginPasskeySignIn(ctx, party, first)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := i.FinishPasskeySignIn(ctx, party, first, instance.PasskeyAnswer{Cookie: cookie, Credential: wrong.sign(t, honest, options)}); errors.Is(err, errs.Busy) {
			busy++
		}
	}
	if _, _, err := i.FinishSignIn(ctx, ticket(t, i, "ada"), codes[0], "192.0.2.1", ""); busy == 0 || !errors.Is(err, errs.Busy) {
		t.Errorf("%d of 10 had to wait, and a code is taken meanwhile: %v", busy, err)
	}
}

func TestPasskeysOfOthers(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	ada, eve := user(t, i, "ada"), user(t, i, "eve")
	here := signIn(t, i, "ada")
	phone, _ := withPasskey(t, i, here, "Phone")
	all, err := i.Passkeys(ctx, ada)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.BeginAddPasskey(ctx, as(t, i, eve), ada, party, "Mine"); !errors.Is(err, errs.Denied) {
		t.Errorf("eve adds a passkey for ada: %v", err)
	}
	if err := i.RenamePasskey(ctx, as(t, i, eve), ada, all[0].ID, "Mine"); !errors.Is(err, errs.Denied) {
		t.Errorf("eve renames ada's passkey: %v", err)
	}
	if err := i.RemovePasskey(ctx, as(t, i, eve), ada, all[0].ID); !errors.Is(err, errs.Denied) {
		t.Errorf("eve removes ada's passkey: %v", err)
	}
	if err := i.RemovePasskey(ctx, as(t, i, eve), eve, all[0].ID); !errors.Is(err, errs.NotFound) {
		t.Errorf("eve removes ada's passkey as one of her own: %v", err)
	}

	// An answer that was meant for eve's account, or that is a passkey which is here already.
	options, cookie, err := i.BeginAddPasskey(ctx, as(t, i, ada), ada, party, "Again")
	if err != nil {
		t.Fatal(err)
	}
	o, err := virtualwebauthn.ParseAttestationOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	if !phone.IsExcludedForAttestation(*o) {
		t.Error("the browser is not told which passkeys there are")
	}
	answer := instance.PasskeyAnswer{Cookie: cookie, Credential: virtualwebauthn.CreateAttestationResponse(honest, phone.Authenticator, phone.Credential, *o)}
	if _, err := i.FinishAddPasskey(ctx, as(t, i, eve), signIn(t, i, "eve"), party, answer); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("eve brings back what ada began: %v", err)
	}
	if _, err := i.FinishAddPasskey(ctx, as(t, i, ada), here, party, answer); !errors.Is(err, errs.Exists) {
		t.Errorf("one passkey twice: %v", err)
	}
	for what, at := range map[string]virtualwebauthn.RelyingParty{"another origin": {ID: party.ID, Origin: "https://evil.test"}, "another name": {ID: "evil.test", Origin: party.Origin}} {
		options, cookie, err := i.BeginAddPasskey(ctx, as(t, i, ada), ada, party, "Again")
		if err != nil {
			t.Fatal(err)
		}
		o, err := virtualwebauthn.ParseAttestationOptions(string(options))
		if err != nil {
			t.Fatal(err)
		}
		answer := instance.PasskeyAnswer{Cookie: cookie, Credential: virtualwebauthn.CreateAttestationResponse(at, phone.Authenticator, apptest.NewCredential(), *o)}
		for _, when := range []string{"", ", sent again"} {
			if _, err := i.FinishAddPasskey(ctx, as(t, i, ada), here, party, answer); !errors.Is(err, errs.Invalid) {
				t.Errorf("%s%s: %v", what, when, err)
			}
		}
	}
	if err := i.RemoveSecondFactors(ctx, instance.System(), ada); err != nil {
		t.Fatal(err)
	}
	if _, err := enter(t, i, phone, honest, "192.0.2.1"); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("after an administrator took them: %v", err)
	}
}

func TestRelyingParty(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]instance.RelyingParty{
		"https://octopuses.example.com":      party,
		"https://Octopuses.Example.COM:443/": party,
		"https://octopuses.example.com:8443": {ID: "octopuses.example.com", Origin: "https://octopuses.example.com:8443"},
		"http://localhost:8080":              {ID: "localhost", Origin: "http://localhost:8080"},
		"http://dev.localhost:8080":          {ID: "dev.localhost", Origin: "http://dev.localhost:8080"},
		"https://kraken.bücher.example":      {ID: "kraken.xn--bcher-kva.example", Origin: "https://kraken.xn--bcher-kva.example"},
		"http://octopuses.example.com":       {}, "https://192.0.2.7:8443": {}, "http://127.0.0.1:8080": {}, "https://[2001:db8::1]": {}, "": {}, "nonsense": {}, "https://a_b": {}, "https://build": {}, "https://:8443": {},
	} {
		got, err := instance.RelyingPartyOf(at)
		if got != want || (err == nil) != (want.ID != "") || err != nil && !errors.Is(err, errs.Blocked) {
			t.Errorf("%q: %+v, %v", at, got, err)
		}
	}
	if !party.At("octopuses.example.com") || !party.At("Octopuses.example.com:443") || party.At("octopuses.example.com:80") || party.At("192.0.2.7") || (instance.RelyingParty{}).At("") {
		t.Error("where a browser is")
	}
}

// TestHostilePasskeys sends what is near to a good answer, with the cookie that fits: none
// lets in or finds an error of ours.
func TestHostilePasskeys(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	ada := user(t, i, "ada")
	here := signIn(t, i, "ada")
	phone, _ := withPasskey(t, i, here, "Phone")
	r := rand.New(rand.NewPCG(20261124, 1))
	for n := range 300 {
		options, cookie, err := i.BeginPasskeySignIn(ctx, party, "")
		if err != nil {
			t.Fatal(err)
		}
		bad := string(apptest.HostileBody(r, decoded(t, phone.sign(t, honest, options)), n))
		_, _, err = i.FinishPasskeySignIn(ctx, party, "", instance.PasskeyAnswer{Cookie: cookie, Credential: bad})
		if k := errs.KindOf(err); err != nil && k != errs.Unauthenticated {
			t.Errorf("a sign-in with %.300s: %v", bad, err)
		}

		if options, cookie, err = i.BeginAddPasskey(ctx, as(t, i, ada), ada, party, "More"); err != nil {
			t.Fatal(err)
		}
		o, err := virtualwebauthn.ParseAttestationOptions(string(options))
		if err != nil {
			t.Fatal(err)
		}
		made := virtualwebauthn.CreateAttestationResponse(honest, phone.Authenticator, apptest.NewCredential(), *o)
		bad = string(apptest.HostileBody(r, decoded(t, made), n))
		if _, err = i.FinishAddPasskey(ctx, as(t, i, ada), here, party, instance.PasskeyAnswer{Cookie: cookie, Credential: bad}); err != nil && !errors.Is(err, errs.Invalid) {
			t.Errorf("a new one with %.300s: %v", bad, err)
		}
		for _, part := range []string{"attestationObject", "clientDataJSON"} {
			options, cookie, err := i.BeginAddPasskey(ctx, as(t, i, ada), ada, party, "More")
			if err != nil {
				t.Fatal(err)
			}
			if o, err = virtualwebauthn.ParseAttestationOptions(string(options)); err != nil {
				t.Fatal(err)
			}
			bad := cut(t, r, virtualwebauthn.CreateAttestationResponse(honest, phone.Authenticator, apptest.NewCredential(), *o), part)
			if _, err = i.FinishAddPasskey(ctx, as(t, i, ada), here, party, instance.PasskeyAnswer{Cookie: cookie, Credential: bad}); !errors.Is(err, errs.Invalid) {
				t.Errorf("a new one with another %s: %v", part, err)
			}
		}
		all, err := i.Passkeys(ctx, ada)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range all[1:] { // a change beside what counts
			if err := i.RemovePasskey(ctx, as(t, i, ada), ada, k.ID); err != nil {
				t.Fatal(err)
			}
		}
		c.Move(time.Hour)
	}
}

func decoded(t *testing.T, answer string) (doc any) {
	t.Helper()
	if err := json.Unmarshal([]byte(answer), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// cut changes or cuts off bytes of a part of an answer, at random.
func cut(t *testing.T, r *rand.Rand, answer, field string) string {
	t.Helper()
	doc := decoded(t, answer).(map[string]any)
	response := doc["response"].(map[string]any)
	b, err := base64.RawURLEncoding.DecodeString(response[field].(string))
	if err != nil {
		t.Fatal(err)
	}
	if n := r.IntN(len(b)); r.IntN(3) == 0 {
		b = b[:n]
	} else {
		b[n] ^= byte(1 + r.IntN(255))
	}
	response[field] = base64.RawURLEncoding.EncodeToString(b)
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
