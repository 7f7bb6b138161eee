package web

import (
	"errors"
	"net/url"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func signInRoutes() []route {
	return []route{
		get("/signin", public, "", signInForm), post("/signin", public, "", signIn),
		get("/signin/code", public, "", codeForm), post("/signin/code", public, "", signInWithCode),
		post("/signout", signedIn, "", signOut),
	}
}

const (
	ticketCookie = "octopuses_signin" // a sign-in that waits for its second factor
	ticketLife   = 5 * time.Minute
)

func signInForm(r *request) error {
	if r.session != nil {
		return r.see(local(r.Query("next")))
	}
	if people, err := r.s.Instance.HasPeople(r.ctx); err != nil || !people {
		if err != nil {
			return err
		}
		return r.see(views.SetupURL())
	}
	return r.render(fiber.StatusOK, r.signInPage("", local(r.Query("next")), nil))
}

func signIn(r *request) error {
	username := r.value("username")
	err := r.openSession(username, r.form.Get("password"))
	var more *instance.SecondFactorError
	if errors.As(err, &more) {
		r.setCookie(ticketCookie, more.Ticket, ticketLife)
		return r.see(views.SignInCodeURL() + "?next=" + url.QueryEscape(local(r.form.Get("next"))))
	}
	if err != nil {
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			return r.signInPage(username, local(r.form.Get("next")), e)
		})
	}
	return r.see(local(r.form.Get("next")))
}

// openSession signs in and sets the cookie.
func (r *request) openSession(username, password string) error {
	token, _, err := r.s.Instance.SignIn(r.ctx, username, password, r.IP(), r.Get(fiber.HeaderUserAgent))
	if err != nil {
		return err
	}
	r.signedIn(token)
	return nil
}

func (r *request) signedIn(token string) {
	r.setCookie(sessionCookie, token, r.s.Instance.SessionMax())
	r.setCookie(visitorCookie, "", -1)
	r.setCookie(ticketCookie, "", -1)
}

func signOut(r *request) error {
	if err := r.s.Instance.SignOut(r.ctx, *r.session); err != nil {
		return err
	}
	r.setCookie(sessionCookie, "", -1)
	return r.see(views.SignInURL())
}

func codeForm(r *request) error {
	ticket := r.cookie(ticketCookie)
	if ticket == "" {
		return r.see(views.SignInURL())
	}
	return r.render(fiber.StatusOK, r.codePage(ticket, r.Query("next"), nil))
}

// codePage asks for what the person has whose password was right. To whoever brings a
// ticket that is over it looks as one of somebody with an authenticator app.
func (r *request) codePage(ticket, next string, e []ui.FieldError) templ.Component {
	has, err := r.s.Instance.Awaited(r.ctx, ticket)
	if err != nil {
		has = instance.SecondFactors{TOTP: true}
	}
	m := account.Code{Page: r.pageFor("Second factor", ""), Next: local(next), App: has.TOTP, Codes: has.RecoveryCodes, Passkeys: has.Passkeys, Errors: e}
	if _, m.Why, m.At = r.relyingParty(views.SignInURL()); m.At != "" {
		m.At += "?next=" + url.QueryEscape(m.Next)
	}
	return account.ShowCode(m)
}

func signInWithCode(r *request) error {
	ticket := r.cookie(ticketCookie)
	token, _, err := r.s.Instance.FinishSignIn(r.ctx, ticket, r.value("code"), r.IP(), r.Get(fiber.HeaderUserAgent))
	if err != nil {
		if ticket == "" {
			return r.see(views.SignInURL())
		}
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			return r.codePage(ticket, r.form.Get("next"), e)
		})
	}
	r.signedIn(token)
	return r.see(local(r.form.Get("next")))
}
