package app

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Somebody adds a passkey of the browser, signs out, and comes in by it alone and after
// the password; where the device does not know who uses it, the page says what happened.
func testPasskey(t *testing.T, b *browser, _ *shopSite) {
	s := newSite(t)
	s.stop() // it needs a name, with the port that it got
	s.config.PublicURL = strings.Replace(s.url, "127.0.0.1", "localhost", 1)
	s.start()
	p := b.tab(t)
	var device webauthn.AuthenticatorID
	p.do(call(webauthn.Enable, webauthn.EnableParams{}), chromedp.Func(func(ctx context.Context, on *chromedp.Target) error {
		made, err := cdp.Call(ctx, on, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
		device = made.AuthenticatorID
		return err
	}))
	verified := func(is bool) {
		p.do(call(webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: device, IsUserVerified: is}))
	}
	begin := func() {
		p.open(s.url + "/signin?next=/account")
		p.until(`document.documentElement.classList.contains('js') && document.querySelector('form[data-passkey] button') !== null`)
	}
	press := func(form string) {
		p.do(chromedp.Focus(form + " button"))
		p.type_(kb.Enter)
	}
	signOut := func() {
		p.do(chromedp.Focus(`details.menu > summary.tool`))
		p.type_(kb.Enter)
		p.eval(`document.querySelector('form[action="/signout"] button').click()`, nil)
		p.until(`location.pathname === '/signin'`)
	}

	p.open(s.url + "/signin?next=/account")
	p.until(`document.activeElement.name === 'username'`)
	p.type_("ada" + kb.Tab + sitePassword + kb.Enter)
	p.until(`location.pathname === '/account' && document.querySelector('input[name=passkey-name]') !== null`)
	p.do(chromedp.Focus(`input[name=passkey-name]`))
	p.harmless = func(c string) bool { return strings.Contains(c, "422") }
	p.type_("This laptop" + kb.Tab + "wrong" + kb.Enter)
	p.until(`document.querySelector('.errors')?.textContent.includes('not your password') && document.querySelector('input[name=passkey-name]').value === 'This laptop'`)
	p.do(chromedp.Focus(`input[name=passkey-password]`))
	p.type_(sitePassword + kb.Enter)
	p.until(`document.querySelector('.secret pre')?.textContent.trim().split('\n').length === 10`)
	p.open(s.url + "/account")
	p.until(`[...document.querySelectorAll('th')].some((h) => h.textContent.includes('This laptop'))`)
	// The same device once more.
	p.do(chromedp.Focus(`input[name=passkey-name]`))
	p.type_("Again" + kb.Tab + sitePassword + kb.Enter)
	p.until(`document.querySelector('[data-refused]')?.textContent.includes('has a passkey for this account already')`)

	signOut()
	begin()
	press(`form[action="/signin/passkey"]`)
	p.until(`location.pathname === '/account'`)

	signOut()
	verified(false)
	begin()
	press(`form[action="/signin/passkey"]`)
	p.until(`document.querySelector('[data-refused]')?.textContent.includes('No passkey answered')`)
	verified(true)

	p.open(s.url + "/signin?next=/account")
	p.until(`document.activeElement.name === 'username'`)
	p.type_("ada" + kb.Tab + sitePassword + kb.Enter)
	p.until(`location.pathname === '/signin/code' && document.querySelector('form[data-passkey] button') !== null`)
	press(`form[action="/signin/code/passkey"]`)
	p.until(`location.pathname === '/account'`)
}
