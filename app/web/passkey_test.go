package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/descope/virtualwebauthn"

	"octopuses.dev/octopuses/app/apptest"
)

var namedServer = virtualwebauthn.RelyingParty{ID: "example.com", Origin: "https://example.com"}

// key is an authenticator with one passkey.
type key struct {
	virtualwebauthn.Authenticator
	virtualwebauthn.Credential
}

func newKey() *key {
	return &key{Credential: apptest.NewCredential()}
}

// sign answers the question of a sign-in.
func (k *key) sign(t testing.TB, options string) string {
	t.Helper()
	o, err := virtualwebauthn.ParseAssertionOptions(options)
	if err != nil {
		t.Fatalf("%v: %s", err, options)
	}
	k.Counter++
	return virtualwebauthn.CreateAssertionResponse(namedServer, k.Authenticator, k.Credential, *o)
}

// make answers the question for a new passkey.
func (k *key) make(t testing.TB, options string) string {
	t.Helper()
	o, err := virtualwebauthn.ParseAttestationOptions(options)
	if err != nil {
		t.Fatalf("%v: %s", err, options)
	}
	k.Authenticator = virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: []byte(o.UserID)})
	return virtualwebauthn.CreateAttestationResponse(namedServer, k.Authenticator, k.Credential, *o)
}

// passkeyForm is the form of a page that asks for a passkey, and what the script does with
// it: begin gives what to ask, send brings an answer.
type passkeyForm struct {
	d             *door
	action, begin string
	values        url.Values
}

func (d *door) passkeyForm(from, action string) passkeyForm {
	d.t.Helper()
	p := d.get(from)
	f := p.Find(`form[action="` + action + `"][data-passkey]`)
	if f.Length() != 1 {
		d.t.Fatalf("%s has no form for a passkey: %d %s", from, p.status, p.Find("main").Text())
	}
	v := url.Values{"csrf": {f.Find("input[name=csrf]").AttrOr("value", "")}}
	if next := f.Find("input[name=next]"); next.Length() > 0 {
		v.Set("next", next.AttrOr("value", ""))
	}
	return passkeyForm{d, action, f.AttrOr("data-passkey", ""), v}
}

// ask is what the script is told to ask the authenticator.
func (f passkeyForm) ask(fill url.Values) (options string) {
	f.d.t.Helper()
	for n, v := range f.values {
		fill[n] = v
	}
	req := post_(f.begin, fill)
	for n, v := range f.d.cookies {
		req.AddCookie(&http.Cookie{Name: n, Value: v})
	}
	res, err := f.d.app.Test(req, -1)
	if err != nil {
		f.d.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !json.Valid(b) || res.Header.Get("Content-Type") != "application/json" {
		f.d.t.Fatalf("POST %s: %d %s %v", f.begin, res.StatusCode, b, err)
	}
	for _, c := range res.Cookies() {
		f.d.cookies[c.Name] = c.Value
	}
	return string(b)
}

func (f passkeyForm) send(answer string) page {
	f.d.t.Helper()
	v := url.Values{"credential": {answer}}
	for n, x := range f.values {
		v[n] = x
	}
	return f.d.send(post_(f.action, v))
}

// addPasskey adds one to whoever is signed in.
func (d *door) addPasskey(name string) (*key, page) {
	d.t.Helper()
	k := newKey()
	f := d.passkeyForm("/account", "/account/passkeys")
	return k, f.send(k.make(d.t, f.ask(url.Values{"passkey-name": {name}, "passkey-password": {password}})))
}

// TestPasskey adds two passkeys, signs in with one after the password and with nothing
// else, renames, removes, and lets an administrator remove the rest.
func TestPasskey(t *testing.T) {
	d := open(t)
	d.setUp()
	f := d.passkeyForm("/account", "/account/passkeys")
	for _, c := range []struct{ name, password, want string }{{"Phone", "wrong", "not your password"}, {"", password, "needs a name"}, {strings.Repeat("x", 51), password, "longer than 50"}} {
		v := url.Values{"csrf": f.values["csrf"], "passkey-name": {c.name}, "passkey-password": {c.password}}
		if p := d.send(post_(f.begin, v)); p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find(".errors").Text(), c.want) || p.Find("input[name=passkey-name]").AttrOr("value", "") != c.name {
			t.Errorf("%q with %q: %d %s", c.name, c.password, p.status, p.Find(".errors").Text())
		}
	}
	if p := f.send(""); p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find(".errors").Text(), "needs JavaScript") {
		t.Errorf("without a script: %d %s", p.status, p.Find(".errors").Text())
	}
	phone, p := d.addPasskey("Phone")
	codes := strings.Fields(p.Find(".secret pre").Text())
	if p.status != http.StatusOK || len(codes) != 10 {
		t.Fatalf("the first passkey: %d %s", p.status, p.Find("main").Text())
	}
	if _, p := d.addPasskey("Token"); p.location != "/account" {
		t.Fatalf("the second passkey: %d %s", p.status, p.Find("main").Text())
	}

	// After the password.
	other := d.signedOut()
	asked := other.submit("/signin?next=/account/sessions", "/signin", map[string]string{"username": "ada", "password": password})
	if !strings.HasPrefix(asked.location, "/signin/code") {
		t.Fatalf("no second factor was asked for: %d %s", asked.status, asked.location)
	}
	second := other.passkeyForm(asked.location, "/signin/code/passkey")
	if p := second.send(""); p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find("main").Text(), "needs JavaScript") {
		t.Errorf("the second factor without a script: %d %s", p.status, p.Find("main").Text())
	}
	answer := phone.sign(t, second.ask(url.Values{}))
	if p := second.send(answer); p.location != "/account/sessions" {
		t.Fatalf("the second factor: %d %s", p.status, p.Find("main").Text())
	}
	if p := other.get("/account"); p.status != http.StatusOK {
		t.Errorf("the session: %d", p.status)
	}

	// And without one, by a form that the page of the sign-in has.
	third := d.signedOut()
	alone := third.passkeyForm("/signin?next=/account", "/signin/passkey")
	answer = phone.sign(t, alone.ask(url.Values{}))
	cookie := third.cookies[passkeyCookie]
	if p := alone.send(answer); p.location != "/account" {
		t.Fatalf("nothing but a passkey: %d %s", p.status, p.Find("main").Text())
	}
	fourth := d.signedOut()
	again := fourth.passkeyForm("/signin", "/signin/passkey")
	fourth.cookies[passkeyCookie] = cookie
	if p := again.send(answer); p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find(".errors").Text(), "not accepted") {
		t.Errorf("an answer that was sent again, with its cookie: %d %s", p.status, p.Find("main").Text())
	}

	// One's own are renamed, and removed with the password.
	p = d.submit("/account/passkeys/1", "/account/passkeys/1", map[string]string{"name": " "})
	if p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find(".field .error").Text(), "needs a name") {
		t.Errorf("no name: %d", p.status)
	}
	d.signInAgain("ada", codes[0]) // adding, and each other sign-in, ended none of these
	d.want(d.submit("/account/passkeys/1", "/account/passkeys/1", map[string]string{"name": "Pocket"}), 303, "/account/passkeys/1")
	d.want(d.submit("/account/passkeys/2", "/account/passkeys/2/remove", map[string]string{"passkey-password": "wrong"}), 422, "")
	d.want(d.submit("/account/passkeys/2", "/account/passkeys/2/remove", map[string]string{"passkey-password": password}), 303, "/account")
	d.want(d.get("/account/passkeys/2"), 404, "")
	if text := d.get("/account").Find("main").Text(); !strings.Contains(text, "Pocket") || strings.Contains(text, "Token") {
		t.Errorf("the account: %s", text)
	}

	// Others are helped by an administrator, who cannot take this way around his password.
	d.want(d.submit("/admin/users/new", "/admin/users", map[string]string{"username": "bob", "password": password}), 303, "")
	bob := d.signedOut()
	bob.want(bob.submit("/signin", "/signin", map[string]string{"username": "bob", "password": password}), 303, "")
	if p := bob.get("/account/passkeys/1"); p.status != http.StatusNotFound {
		t.Errorf("ada's passkey for bob: %d", p.status)
	}
	bobs, _ := bob.addPasskey("Ring")
	token := d.get("/account").Find("input[name=csrf]").First().AttrOr("value", "")
	if p := d.send(post_("/admin/users/Users-1/passkeys/1/remove", url.Values{"csrf": {token}})); p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find(".errors").Text(), "your own account") {
		t.Errorf("one's own without the password: %d %s", p.status, p.Find(".errors").Text())
	}
	d.want(d.send(post_("/admin/users/Users-2/passkeys/1/remove", url.Values{"csrf": {token}})), 404, "")
	d.want(d.submit("/admin/users/Users-2", "/admin/users/Users-2/passkeys/3/remove", nil), 303, "/admin/users/Users-2")
	out := d.signedOut()
	form := out.passkeyForm("/signin", "/signin/passkey")
	if p := form.send(bobs.sign(t, form.ask(url.Values{}))); p.status != http.StatusUnprocessableEntity {
		t.Errorf("a passkey that was taken away: %d", p.status)
	}
}

// signInAgain signs in with a password and a code.
func (d *door) signInAgain(name, code string) {
	d.t.Helper()
	d.cookies = map[string]string{}
	asked := d.submit("/signin", "/signin", map[string]string{"username": name, "password": password})
	d.want(d.submit(asked.location, "/signin/code", map[string]string{"code": code}), 303, "/")
}

// Where no passkey can be used the pages say so, and offer none.
func TestPasskeyNeedsAName(t *testing.T) {
	d := open(t)
	d.setUp()
	_, p := d.addPasskey("Phone")
	code := strings.Fields(p.Find(".secret pre").Text())[0]
	for _, c := range []struct{ url, says, link string }{
		{"http://127.0.0.1:8080", "127.0.0.1, which is an address", ""}, {"http://example.com", "over https only", ""}, {"", "has none", ""},
		{"https://octopuses.example.org", "belong to https://octopuses.example.org", "https://octopuses.example.org/account"},
	} {
		d.s.PublicURL = c.url
		p := d.get("/account")
		if text := p.Find("main").Text(); !strings.Contains(text, c.says) || p.Find("[data-passkey]").Length() != 0 || p.Find(`p.why a`).AttrOr("href", "") != c.link || !strings.Contains(text, "Phone") {
			t.Errorf("%q: the account: %s", c.url, text)
		}
		out := d.signedOut()
		if out.get("/signin").Find("[data-passkey]").Length() != 0 {
			t.Errorf("%q: the sign-in offers a passkey", c.url)
		}
		token := out.get("/signin").Find("input[name=csrf]").AttrOr("value", "")
		for _, path := range []string{"/signin/passkey/begin", "/signin/passkey"} {
			if p := out.send(post_(path, url.Values{"csrf": {token}, "credential": {"{}"}})); p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find(".errors").Text(), c.says) {
				t.Errorf("%q: %s: %d %s", c.url, path, p.status, p.Find(".errors").Text())
			}
		}
		asked := out.submit("/signin", "/signin", map[string]string{"username": "ada", "password": password})
		if p := out.get(asked.location); p.Find("[data-passkey]").Length() != 0 || !strings.Contains(p.Find("main").Text(), c.says) || p.Find("input[name=code]").Length() != 1 {
			t.Errorf("%q: the second factor: %s", c.url, p.Find("main").Text())
		}
	}
	d.signInAgain("ada", code)
}

// A provider's word is half of it, where the person has a passkey here.
func TestPasskeyAfterProvider(t *testing.T) {
	d, idp := withIssuer(t, map[string]string{"matchEmail": "true"})
	d.want(d.submit("/admin/users/Users-1", "/admin/users/Users-1/profile", map[string]string{"email": "ada@example.com"}), 303, "")
	phone, _ := d.addPasskey("Phone")
	idp.claims = map[string]any{"sub": "1", "email": "ada@example.com", "email_verified": true}
	other := d.signedOut()
	asked := other.get(idp.visit(other))
	if !strings.HasPrefix(asked.location, "/signin/code") {
		t.Fatalf("the provider alone: %d %s", asked.status, asked.location)
	}
	f := other.passkeyForm(asked.location, "/signin/code/passkey")
	other.want(f.send(phone.sign(t, f.ask(url.Values{}))), 303, "/account")
	other.want(other.get("/account"), 200, "")
}

// A question of one kind is none of another, and what is too large is not read.
func TestPasskeyForms(t *testing.T) {
	d := open(t)
	d.setUp()
	phone, _ := d.addPasskey("Phone")
	out := d.signedOut()
	f := out.passkeyForm("/signin", "/signin/passkey")
	asked := f.ask(url.Values{})
	mixed := out.cookies[passkeyCookie]
	answer := phone.sign(t, asked)
	add := d.passkeyForm("/account", "/account/passkeys")
	d.cookies[passkeyCookie] = mixed
	for what, p := range map[string]page{
		"the question of a sign-in for a new passkey": add.send(newKey().make(t, strings.Replace(asked, "{", `{"user":{"id":"AQ"},`, 1))),
		"a second factor before the password":         out.send(post_("/signin/code/passkey", url.Values{"csrf": f.values["csrf"], "credential": {answer}})),
		"no token against forgery":                    out.send(post_("/signin/passkey", url.Values{"credential": {answer}})),
		"nonsense":                                    f.send("nonsense"),
	} {
		if p.status != http.StatusUnprocessableEntity && p.status != http.StatusForbidden && p.location != "/signin" {
			t.Errorf("%s: %d %s", what, p.status, p.Find("main").Text())
		}
	}
	out.want(out.get("/account"), 303, "")
	for _, path := range []string{"/signin/passkey", "/signin/passkey/begin", "/signin/code/passkey", "/account/passkeys", "/account/passkeys/begin"} {
		in := out
		if strings.HasPrefix(path, "/account") {
			in = d
		}
		req := httptest.NewRequest("POST", path, strings.NewReader("credential="+strings.Repeat("A", maxAnswer)))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if p := in.send(req); p.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s with too much: %d", path, p.status)
		}
	}
}
