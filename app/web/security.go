package web

import (
	"fmt"
	"strings"

	"github.com/a-h/templ"
	"github.com/boombuler/barcode/qr"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func securityRoutes() []route {
	return []route{
		get("/account", signedIn, "", accountPage), post("/account/password", signedIn, "", changePassword),
		get("/account/sessions", signedIn, "", sessions), post("/account/sessions/:session/end", signedIn, "", endSession),
		post("/account/authenticator", signedIn, "", beginAuthenticator), post("/account/authenticator/confirm", signedIn, "", confirmAuthenticator),
		post("/account/authenticator/remove", signedIn, "", removeAuthenticator),
		post("/account/recovery-codes", signedIn, "", newRecoveryCodes),
	}
}

func accountPage(r *request) error {
	page, err := r.accountWith("", nil)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, page)
}

func (r *request) accountWith(typed string, e []ui.FieldError) (templ.Component, error) {
	u := r.session.User
	has, err := r.s.Instance.SecondFactors(r.ctx, u)
	if err != nil {
		return nil, err
	}
	passkeys, err := r.passkeysOf(u)
	if err != nil {
		return nil, err
	}
	passkeys.Name = typed
	return account.ShowAccount(account.Account{Page: r.pageFor("Account", ""), Name: u.DisplayName, Username: u.Username, Email: u.Email, HasPassword: u.HasPassword,
		Authenticator: has.TOTP, RecoveryCodes: has.RecoveryCodes, Passkeys: passkeys, Errors: e}), nil
}

// accountAgain draws the account with what is wrong with one of its forms.
func (r *request) accountAgain(err error) error {
	page, e := r.accountWith(r.value("passkey-name"), complaints(err, map[string]string{"Name": "passkey-name"}))
	if e != nil {
		return e
	}
	return r.again(err, nil, func([]ui.FieldError) templ.Component { return page })
}

func changePassword(r *request) error {
	if err := r.s.Instance.ChangePassword(r.ctx, *r.session, r.form.Get("current"), r.form.Get("password")); err != nil {
		return r.accountAgain(err)
	}
	return r.see(views.AccountURL())
}

// passwordAgain asks for the password before what weakens the account: a browser that
// was left open must not be enough.
func (r *request) passwordAgain(field string) error {
	err := r.s.Instance.CheckPassword(r.ctx, r.session.User, r.form.Get(field), r.IP())
	if errs.KindOf(err) == errs.Unauthenticated {
		return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: field, Message: "This is not your password."}}}
	}
	return err
}

func beginAuthenticator(r *request) error {
	if err := r.passwordAgain("app-password"); err != nil {
		return r.accountAgain(err)
	}
	secret, uri, err := r.s.Instance.BeginTOTP(r.ctx, r.system, r.session.User)
	if err != nil {
		return r.accountAgain(err)
	}
	return r.authenticatorForm(secret, uri, nil, fiber.StatusOK)
}

func (r *request) authenticatorForm(secret, uri string, e []ui.FieldError, status int) error {
	m := account.Authenticator{Page: r.pageFor("Add an authenticator app", ""), Secret: secret, URI: uri, Errors: e}
	if code, err := qr.Encode(uri, qr.M, qr.Auto); err == nil {
		m.Size = code.Bounds().Dx()
		var path strings.Builder
		for y := range m.Size {
			for x := range m.Size {
				if dark, _, _, _ := code.At(x, y).RGBA(); dark == 0 {
					fmt.Fprintf(&path, "M%d %dh1v1h-1z", x, y)
				}
			}
		}
		m.Path = path.String()
	}
	return r.render(status, account.ShowAuthenticator(m))
}

func confirmAuthenticator(r *request) error {
	codes, err := r.s.Instance.ConfirmTOTP(r.ctx, r.system, r.session.User, *r.session, r.value("code"))
	if err != nil {
		if errs.KindOf(err) != errs.Invalid {
			return err
		}
		// The secret came with the form: it is not in a page twice, and the one stored counts.
		secret := r.value("secret")
		return r.authenticatorForm(secret, instance.TOTPURI(r.session.User, secret), complaints(err, nil), fiber.StatusUnprocessableEntity)
	}
	return r.render(fiber.StatusOK, account.ShowRecoveryCodes(account.RecoveryCodes{Page: r.pageFor("Recovery codes", ""), Codes: codes}))
}

func removeAuthenticator(r *request) error {
	if err := r.passwordAgain("app-password"); err != nil {
		return r.accountAgain(err)
	}
	if err := r.s.Instance.RemoveTOTP(r.ctx, r.system, r.session.User); err != nil {
		return r.accountAgain(err)
	}
	return r.see(views.AccountURL())
}

func newRecoveryCodes(r *request) error {
	if err := r.passwordAgain("codes-password"); err != nil {
		return r.accountAgain(err)
	}
	codes, err := r.s.Instance.NewRecoveryCodes(r.ctx, r.system, r.session.User)
	if err != nil {
		return r.accountAgain(err)
	}
	return r.render(fiber.StatusOK, account.ShowRecoveryCodes(account.RecoveryCodes{Page: r.pageFor("Recovery codes", ""), Codes: codes}))
}

func sessions(r *request) error {
	all, err := r.s.Instance.Sessions(r.ctx, r.session.User)
	if err != nil {
		return err
	}
	m := account.Sessions{Page: r.pageFor("Sessions", "")}
	for _, s := range all {
		m.Sessions = append(m.Sessions, account.Session{ID: s.ID, Agent: agentName(s.UserAgent), Full: s.UserAgent, Address: s.Address, Began: s.CreatedAt, Seen: s.SeenAt, This: s.ID == r.session.ID})
	}
	return r.render(fiber.StatusOK, account.ShowSessions(m))
}

func endSession(r *request) error {
	if err := r.s.Instance.RevokeSession(r.ctx, r.system, r.session.User, r.param("session")); err != nil {
		return err
	}
	return r.see(views.SessionsURL())
}

// agentName is a browser and a system in words; what is not known stays as it is.
func agentName(agent string) string {
	find := func(pairs [][2]string) string {
		for _, p := range pairs {
			if strings.Contains(agent, p[0]) {
				return p[1]
			}
		}
		return ""
	}
	browser := find([][2]string{{"Edg/", "Edge"}, {"Firefox/", "Firefox"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}})
	system := find([][2]string{{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"}})
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser+system != "":
		return browser + system
	case agent == "":
		return "Unknown"
	}
	return agent
}
