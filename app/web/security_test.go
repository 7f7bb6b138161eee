package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"octopuses.dev/octopuses/app/instance"
)

// signedOut is the same server seen by another browser.
func (d *door) signedOut() *door {
	return &door{t: d.t, app: d.app, s: d.s, cookies: map[string]string{}}
}

// TestSecondFactor adds an authenticator app, signs in with it and with a recovery code
// in another browser, and removes it.
func TestSecondFactor(t *testing.T) {
	d := open(t)
	d.setUp()
	if p := d.submit("/account", "/account/authenticator", map[string]string{"app-password": "wrong"}); p.status != http.StatusUnprocessableEntity || !strings.Contains(p.Find(".errors").Text(), "not your password") {
		t.Fatalf("without the password: %d %s", p.status, p.Find(".errors").Text())
	}
	begun := d.submit("/account", "/account/authenticator", map[string]string{"app-password": password})
	secret := begun.Find("input[name=secret]").AttrOr("value", "")
	if begun.Find("svg.qr path").AttrOr("d", "") == "" || len(secret) != 32 {
		t.Fatalf("no QR code or secret %q", secret)
	}
	confirm := url.Values{"csrf": {begun.Find("input[name=csrf]").First().AttrOr("value", "")}, "secret": {secret}, "code": {"nonsense"}}
	if p := d.send(post_("/account/authenticator/confirm", confirm)); p.status != http.StatusUnprocessableEntity || p.Find("input[name=secret]").AttrOr("value", "") != secret {
		t.Errorf("a wrong first code: %d", p.status)
	}
	now, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	confirm.Set("code", now)
	codes := strings.Fields(d.send(post_("/account/authenticator/confirm", confirm)).Find(".secret pre").Text())
	if len(codes) != 10 {
		t.Fatalf("%d recovery codes", len(codes))
	}

	other := d.signedOut()
	if p := other.get("/signin/code"); p.location != "/signin" {
		t.Errorf("the code before the password: %d %s", p.status, p.location)
	}
	asked := other.submit("/signin?next=/account/sessions", "/signin", map[string]string{"username": "ada", "password": password})
	if asked.status != http.StatusSeeOther || !strings.HasPrefix(asked.location, "/signin/code") {
		t.Fatalf("no second factor was asked for: %d %s", asked.status, asked.location)
	}
	if p := other.get("/account"); p.status == http.StatusOK {
		t.Error("the password alone lets in")
	}
	if p := other.submit(asked.location, "/signin/code", map[string]string{"code": now}); p.status != http.StatusUnprocessableEntity {
		t.Errorf("a code that was used before: %d", p.status)
	}
	if p := other.submit(asked.location, "/signin/code", map[string]string{"code": codes[3]}); p.location != "/account/sessions" {
		t.Fatalf("a recovery code: %d %s", p.status, p.location)
	}
	if p := other.get("/account/sessions"); p.Find("tbody tr").Length() != 2 || !strings.Contains(p.Find("tbody").Text(), "this one") {
		t.Errorf("sessions: %s", p.Find("tbody").Text())
	}

	// The first browser ends the session of the other.
	list := d.get("/account/sessions")
	end := ""
	for _, row := range list.Find("tbody tr").EachIter() {
		if !strings.Contains(row.Text(), "this one") {
			end = row.Find("form").AttrOr("action", "")
		}
	}
	d.submit("/account/sessions", end, nil)
	if p := other.get("/account"); p.status == http.StatusOK {
		t.Error("a session that was ended goes on")
	}

	d.submit("/account", "/account/authenticator/remove", map[string]string{"app-password": password})
	again := d.signedOut()
	if p := again.submit("/signin", "/signin", map[string]string{"username": "ada", "password": password}); strings.HasPrefix(p.location, "/signin") || p.status != http.StatusSeeOther {
		t.Errorf("after removal: %d %s", p.status, p.location)
	}
	events, err := d.s.Instance.Events(context.Background(), instance.EventFilter{Take: 100})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, e := range events {
		text += e.Message + "\n"
	}
	if !strings.Contains(text, "added an authenticator app") || strings.Contains(text, secret) || strings.Contains(text, codes[0]) {
		t.Errorf("audit: %s", text)
	}
}
