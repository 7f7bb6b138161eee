package web

import (
	"strconv"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

const (
	passkeyCookie = "octopuses_passkey" // what a passkey was asked, sealed
	maxAnswer     = 64 << 10            // bytes of a form with a passkey's answer
)

// passkeyRoutes are ceremonies of two calls each: begin answers the script with what to ask
// the authenticator, as JSON, and the form then brings the answer.
func passkeyRoutes() []route {
	answer := func(path string, w who, h func(*request) error) route {
		return route{method: fiber.MethodPost, path: path, who: w, h: h, max: maxAnswer}
	}
	const own = "/account/passkeys"
	return []route{
		answer("/signin/passkey/begin", public, beginSignIn), answer("/signin/passkey", public, signInWithPasskey),
		answer("/signin/code/passkey/begin", public, beginSecondFactor), answer("/signin/code/passkey", public, secondFactorByPasskey),
		answer(own+"/begin", signedIn, beginPasskey), answer(own, signedIn, addPasskey),
		get(own+"/:passkey", signedIn, "", passkeyPage), post(own+"/:passkey", signedIn, "", renamePasskey),
		post(own+"/:passkey/remove", signedIn, "", removePasskey),
	}
}

// relyingParty is this server for passkeys. Where none can be used, why says so, and at is
// the path at the name that they belong to, if there is one.
func (r *request) relyingParty(path string) (rp instance.RelyingParty, why, at string) {
	rp, err := instance.RelyingPartyOf(r.s.PublicURL)
	if err != nil {
		return rp, errs.TextOf(err), ""
	}
	if host := string(r.Request().Header.Host()); !rp.At(host) {
		return rp, "Passkeys of this server belong to " + rp.Origin + ", and this page was opened at " + host + ".", rp.Origin + path
	}
	return rp, "", ""
}

// usable is the relying party, or why none can be used here.
func (r *request) usable() (instance.RelyingParty, error) {
	rp, why, _ := r.relyingParty("")
	if why != "" {
		return rp, errs.New(errs.Blocked, "%s", why)
	}
	return rp, nil
}

// askPasskey sends the script what to ask.
func (r *request) askPasskey(options []byte, cookie string) error {
	r.setCookie(passkeyCookie, cookie, instance.CeremonyLife)
	r.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return r.Send(options)
}

// answer is what the form brings; without a script it brings nothing.
func (r *request) answer() (instance.PasskeyAnswer, error) {
	a := instance.PasskeyAnswer{Cookie: r.cookie(passkeyCookie), Credential: r.form.Get("credential"), Address: r.IP(), Agent: r.Get(fiber.HeaderUserAgent)}
	r.setCookie(passkeyCookie, "", -1)
	if a.Credential == "" {
		return a, errs.New(errs.Blocked, "A passkey needs JavaScript, which this browser did not run.").WithHint("Take another way, or allow it for this server.")
	}
	return a, nil
}

func (r *request) enterPage(err error) error {
	next := local(r.form.Get("next"))
	return r.again(err, nil, func(e []ui.FieldError) templ.Component { return r.signInPage("", next, e) })
}

func (r *request) secondFactorPage(ticket string, err error) error {
	if ticket == "" {
		return r.see(views.SignInURL())
	}
	return r.again(err, nil, func(e []ui.FieldError) templ.Component { return r.codePage(ticket, r.form.Get("next"), e) })
}

func beginSignIn(r *request) error {
	rp, err := r.usable()
	if err != nil {
		return r.enterPage(err)
	}
	options, cookie, err := r.s.Instance.BeginPasskeySignIn(r.ctx, rp, "")
	if err != nil {
		return r.enterPage(err)
	}
	return r.askPasskey(options, cookie)
}

func beginSecondFactor(r *request) error {
	ticket := r.cookie(ticketCookie)
	rp, err := r.usable()
	if err != nil || ticket == "" {
		return r.secondFactorPage(ticket, err)
	}
	options, cookie, err := r.s.Instance.BeginPasskeySignIn(r.ctx, rp, ticket)
	if err != nil {
		return r.secondFactorPage(ticket, err)
	}
	return r.askPasskey(options, cookie)
}

func signInWithPasskey(r *request) error {
	if err := r.enterBy(""); err != nil {
		return r.enterPage(err)
	}
	return r.see(local(r.form.Get("next")))
}

func secondFactorByPasskey(r *request) error {
	ticket := r.cookie(ticketCookie)
	if ticket == "" {
		return r.see(views.SignInURL())
	}
	if err := r.enterBy(ticket); err != nil {
		return r.secondFactorPage(ticket, err)
	}
	return r.see(local(r.form.Get("next")))
}

// enterBy signs in by a passkey and sets the cookie.
func (r *request) enterBy(ticket string) error {
	a, err := r.answer()
	if err != nil {
		return err
	}
	rp, err := r.usable()
	if err != nil {
		return err
	}
	token, _, err := r.s.Instance.FinishPasskeySignIn(r.ctx, rp, ticket, a)
	if err != nil {
		return err
	}
	r.signedIn(token)
	return nil
}

// passkeysOf are the passkeys for the page of the account.
func (r *request) passkeysOf(u instance.User) (account.Passkeys, error) {
	all, err := r.s.Instance.Passkeys(r.ctx, u)
	if err != nil {
		return account.Passkeys{}, err
	}
	var m account.Passkeys
	_, m.Why, m.At = r.relyingParty(views.AccountURL())
	for _, k := range all {
		m.Keys = append(m.Keys, shownPasskey(k))
	}
	return m, nil
}

func shownPasskey(k instance.Passkey) account.Passkey {
	return account.Passkey{ID: strconv.FormatInt(k.ID, 10), Name: k.Name, Added: k.CreatedAt, Used: when(k.UsedAt)}
}

func beginPasskey(r *request) error {
	rp, err := r.usable()
	if err != nil {
		return r.accountAgain(err)
	}
	if err := r.passwordAgain("passkey-password"); err != nil {
		return r.accountAgain(err)
	}
	options, cookie, err := r.s.Instance.BeginAddPasskey(r.ctx, r.system, r.session.User, rp, r.value("passkey-name"))
	if err != nil {
		return r.accountAgain(err)
	}
	return r.askPasskey(options, cookie)
}

func addPasskey(r *request) error {
	a, err := r.answer()
	if err != nil {
		return r.accountAgain(err)
	}
	rp, err := r.usable()
	if err != nil {
		return r.accountAgain(err)
	}
	codes, err := r.s.Instance.FinishAddPasskey(r.ctx, r.system, *r.session, rp, a)
	if err != nil {
		return r.accountAgain(err)
	}
	if len(codes) > 0 {
		return r.render(fiber.StatusOK, account.ShowRecoveryCodes(account.RecoveryCodes{Page: r.pageFor("Recovery codes", ""), Codes: codes}))
	}
	return r.see(views.AccountURL())
}

func (r *request) passkeyID() (int64, error) {
	id, err := strconv.ParseInt(r.param("passkey"), 10, 64)
	if err != nil {
		return 0, errs.Missing("passkey", r.param("passkey"))
	}
	return id, nil
}

func passkeyPage(r *request) error {
	m, err := r.ownPasskey()
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, account.ShowPasskey(m))
}

func (r *request) ownPasskey() (account.PasskeyPage, error) {
	var m account.PasskeyPage
	id, err := r.passkeyID()
	if err != nil {
		return m, err
	}
	all, err := r.s.Instance.Passkeys(r.ctx, r.session.User)
	if err != nil {
		return m, err
	}
	has, err := r.s.Instance.SecondFactors(r.ctx, r.session.User)
	if err != nil {
		return m, err
	}
	for _, k := range all {
		if k.ID == id {
			m.Page, m.Passkey, m.Typed = r.pageFor(k.Name, ""), shownPasskey(k), k.Name
			m.Page.Crumbs = []ui.Crumb{{Label: "Account", Href: views.AccountURL()}, {Label: k.Name}}
			m.Last = len(all) == 1 && !has.TOTP
			return m, nil
		}
	}
	return m, errs.Missing("passkey", r.param("passkey"))
}

// passkeyAgain draws the page of a passkey with what is wrong with one of its forms.
func (r *request) passkeyAgain(err error) error {
	m, failure := r.ownPasskey()
	if failure != nil {
		return failure
	}
	return r.again(err, nil, func(e []ui.FieldError) templ.Component {
		if _, sent := r.form["name"]; sent {
			m.Typed = r.value("name")
		}
		m.Errors = e
		return account.ShowPasskey(m)
	})
}

func renamePasskey(r *request) error {
	id, err := r.passkeyID()
	if err != nil {
		return err
	}
	if err := r.s.Instance.RenamePasskey(r.ctx, r.system, r.session.User, id, r.value("name")); err != nil {
		return r.passkeyAgain(err)
	}
	return r.see(views.PasskeyURL(r.param("passkey")))
}

func removePasskey(r *request) error {
	id, err := r.passkeyID()
	if err != nil {
		return err
	}
	if err := r.passwordAgain("passkey-password"); err != nil {
		return r.passkeyAgain(err)
	}
	if err := r.s.Instance.RemovePasskey(r.ctx, r.system, r.session.User, id); err != nil {
		return err
	}
	return r.see(views.AccountURL())
}
