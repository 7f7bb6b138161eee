package web

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
)

// issuer is an OpenID Connect provider over TLS. claims are those of the next token;
// change, if any, has the last word on them.
type issuer struct {
	*httptest.Server
	t           testing.TB
	key, signer *rsa.PrivateKey // published; and the one that signs
	claims      map[string]any
	change      func(map[string]any)
	codes       map[string]url.Values // what was asked for at the authorization endpoint
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &issuer{t: t, key: key, signer: key, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &s.key.PublicKey, KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		code := rand.Text()
		s.codes[code] = r.URL.Query()
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		asked, ok := s.codes[r.FormValue("code")]
		delete(s.codes, r.FormValue("code"))
		id, secret, _ := r.BasicAuth()
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if !ok || id != "octopuses" || secret != "client-secret" || asked.Get("code_challenge_method") != "S256" || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || r.FormValue("redirect_uri") != asked.Get("redirect_uri") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"})
			return
		}
		c := map[string]any{"iss": s.URL, "aud": "octopuses", "nonce": asked.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
		for k, v := range s.claims {
			c[k] = v
		}
		if s.change != nil {
			s.change(c)
		}
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": s.sign(c)})
	})
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *issuer) sign(c map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: s.signer, KeyID: "k"}}, nil)
	if err != nil {
		s.t.Error(err)
		return ""
	}
	b, _ := json.Marshal(c)
	signed, err := signer.Sign(b)
	if err != nil {
		s.t.Error(err)
		return ""
	}
	out, _ := signed.CompactSerialize()
	return out
}

// visit lets a browser begin at the sign-in page and returns the path at which the
// provider sends it back.
func (s *issuer) visit(d *door) string {
	d.t.Helper()
	button := d.get("/signin?next=/account").Find(`a[href^="/signin/with/"]`)
	if button.Text() == "" {
		d.t.Fatal("no button for the provider")
	}
	away := d.get(button.AttrOr("href", ""))
	if away.status != 303 || !strings.HasPrefix(away.location, s.URL+"/authorize?") {
		d.t.Fatalf("the button leads to %d %s", away.status, away.location)
	}
	client := s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Get(away.location)
	if err != nil {
		d.t.Fatal(err)
	}
	res.Body.Close()
	back, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		d.t.Fatal(err)
	}
	return back.RequestURI()
}

// withIssuer is a server whose administrator configured a provider in the browser.
func withIssuer(t testing.TB, more map[string]string) (*door, *issuer) {
	t.Helper()
	s := newIssuer(t)
	client := *s.Client()
	d := openWith(t, &client)
	d.setUp()
	fill := map[string]string{"name": "Example", "issuer": s.URL, "clientId": "octopuses", "clientSecret": "client-secret", "groupsClaim": "groups"}
	for k, v := range more {
		fill[k] = v
	}
	d.want(d.submit("/admin/signin/new", "/admin/signin/new", fill), 303, "/admin/signin/providers/IdentityProviders-1")
	s.claims = map[string]any{"sub": "s-1", "preferred_username": "grace", "name": "Grace Hopper", "email": "grace@example.com", "email_verified": true}
	return d, s
}

func (d *door) audit() string {
	d.t.Helper()
	events, err := d.s.Instance.Events(context.Background(), instance.EventFilter{Take: 1000})
	if err != nil {
		d.t.Fatal(err)
	}
	text := ""
	for _, e := range events {
		text += e.Category + ": " + e.Message + "\n"
	}
	return text
}

// A person comes for the first time, gets a user and, by her groups, what a team may do;
// without the group she loses it at the next sign-in.
func TestSignInWithProvider(t *testing.T) {
	d, s := withIssuer(t, map[string]string{"createUsers": "true"})
	ctx := context.Background()
	team, err := d.s.Instance.CreateTeam(ctx, instance.System(), instance.TeamInput{Name: "Operations", Space: 1, Groups: []instance.ExternalGroup{{ID: "ops"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.s.Instance.CreateScopedRole(ctx, instance.System(), instance.ScopedRole{TeamID: team.ID, Role: "userroles-projectviewer", Space: 1}); err != nil {
		t.Fatal(err)
	}
	s.claims["groups"] = []string{"ops", "elsewhere"}
	grace := d.signedOut()
	back := s.visit(grace)
	if c := grace.cookies[identityCookie]; c == "" || strings.Contains(c, url.QueryEscape(back)) {
		t.Error("the browser keeps nothing of its visit")
	}
	d.want(grace.get(back), 303, "/account")
	if p := grace.get("/account"); p.status != 200 || !strings.Contains(p.Text(), "Grace Hopper") {
		t.Errorf("account: %d", p.status)
	}
	d.want(grace.get("/spaces/payments/projects"), 200, "")
	d.want(grace.get("/admin/signin"), 403, "")
	if p := grace.get(back); p.status != 422 {
		t.Errorf("the same code and state again: %d", p.status)
	}

	s.claims["groups"] = []string{"elsewhere"}
	d.want(grace.get(s.visitAgain(grace)), 303, "/account")
	d.want(grace.get("/spaces/payments/projects"), 404, "")
	if u, err := d.s.Instance.UserBy(ctx, "grace"); err != nil || u.HasPassword || u.Email != "grace@example.com" {
		t.Errorf("%+v, %v", u, err)
	}
	if text := d.audit(); !strings.Contains(text, "SignedIn: grace signed in with Example") || !strings.Contains(text, "Created: Sign-in with Example was added") || strings.Contains(text, "client-secret") {
		t.Errorf("audit:\n%s", text)
	}
	if p := d.get("/admin/signin/providers/IdentityProviders-1"); strings.Contains(p.Text(), "client-secret") || p.Find(`input[name=clientSecret]`).AttrOr("value", "") != "" {
		t.Error("the secret is shown")
	}
	p, err := d.s.Instance.SystemPermissions(ctx, 2)
	if err != nil || p.Any(access.AdministerSystem) {
		t.Errorf("a new user administers: %v", err)
	}
}

// visitAgain begins anew after the session ended.
func (s *issuer) visitAgain(d *door) string {
	d.t.Helper()
	d.want(d.submit("/account", "/signout", nil), 303, "/signin")
	return s.visit(d)
}

// What is wrong with a token or a browser keeps it out.
func TestRefusedTokens(t *testing.T) {
	d, s := withIssuer(t, map[string]string{"createUsers": "true"})
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"nonce of another sign-in": func(c map[string]any) { c["nonce"] = "another" },
		"no nonce":                 func(c map[string]any) { delete(c, "nonce") },
		"another audience":         func(c map[string]any) { c["aud"] = "another" },
		"another party":            func(c map[string]any) { c["aud"], c["azp"] = []string{"octopuses", "another"}, "another" },
		"expired":                  func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() },
		"another issuer":           func(c map[string]any) { c["iss"] = "https://another.example" },
		"no subject":               func(c map[string]any) { delete(c, "sub") },
		"signed by another key":    func(map[string]any) { s.signer = other },
	} {
		s.signer, s.change = s.key, change
		b := d.signedOut()
		if p := b.get(s.visit(b)); p.status != 422 || p.Find(".errors").Length() != 1 || b.cookies[sessionCookie] != "" {
			t.Errorf("%s: %d %s", name, p.status, p.location)
		}
	}
	s.signer, s.change = s.key, nil
	one, two := d.signedOut(), d.signedOut()
	back := s.visit(one)
	s.visit(two)
	if p := two.get(back); p.status != 422 || two.cookies[sessionCookie] != "" {
		t.Errorf("the state of another browser: %d", p.status)
	}
	if p := d.signedOut().get(back); p.status != 422 {
		t.Errorf("no cookie: %d", p.status)
	}
	if _, err := d.s.Instance.UserBy(context.Background(), "grace"); err == nil {
		t.Error("a refused token made a user")
	}
	d.want(one.get(back), 303, "/account") // all of this was about the token, not the way
}

// Users are found by subject, or by a verified address where that is allowed.
func TestWhoAnIdentityIs(t *testing.T) {
	d, s := withIssuer(t, nil)
	ctx := context.Background()
	grace, err := d.s.Instance.CreateUser(ctx, instance.System(), instance.UserInput{Username: "grace", Email: "Grace@example.com", Password: password, IsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, status int) {
		t.Helper()
		b := d.signedOut()
		if p := b.get(s.visit(b)); p.status != status || (b.cookies[sessionCookie] != "") != (status == 303) {
			t.Errorf("%s: %d %s", what, p.status, p.Find(".errors").Text())
		}
	}
	const at = "/admin/signin/providers/IdentityProviders-1"
	try("the address where it does not count", 422)
	d.want(d.submit(at, at, map[string]string{"matchEmail": "true"}), 303, at)
	s.claims["email_verified"] = false
	try("an address that was not verified", 422)
	s.claims["email_verified"] = true
	try("a verified address", 303)
	s.claims["email"] = "moved@example.com"
	try("the same subject with another address", 303)
	s.claims["sub"], s.claims["email"] = "s-2", "grace@example.com"
	try("the address given on to another subject", 422)
	s.claims["sub"] = "s-1"
	if _, err := d.s.Instance.UpdateUser(ctx, instance.System(), grace.ID, instance.UserInput{Username: "grace", IsActive: false}); err != nil {
		t.Fatal(err)
	}
	try("a disabled user", 422)
	if !strings.Contains(d.audit(), "Denied: Subject \"s-1\" of Example was refused") {
		t.Errorf("audit:\n%s", d.audit())
	}
	if p := d.submit(at, at, map[string]string{"issuer": "https://another.example"}); p.status != 422 || p.Find("#f-clientSecret-error").Length() != 1 {
		t.Errorf("the stored secret goes to another issuer: %d", p.status)
	}
	d.want(d.submit(at, at+"/delete", nil), 303, "/admin/signin")
	if d.signedOut().get("/signin").Find(`a[href^="/signin/with/"]`).Length() != 0 {
		t.Error("a deleted provider has a button")
	}
}
