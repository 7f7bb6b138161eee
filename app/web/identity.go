package web

import (
	"errors"
	"net/url"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func identityRoutes() []route {
	return []route{
		get("/signin/with/:provider", public, "", visitProvider), get("/signin/with/:provider/return", public, "", returnFromProvider),
		get("/admin/signin", signedIn, access.AdministerSystem, providers),
		get("/admin/signin/new", signedIn, access.AdministerSystem, provider), post("/admin/signin/new", signedIn, access.AdministerSystem, saveProvider),
		get("/admin/signin/providers/:provider", signedIn, access.AdministerSystem, provider), post("/admin/signin/providers/:provider", signedIn, access.AdministerSystem, saveProvider),
		post("/admin/signin/providers/:provider/delete", signedIn, access.AdministerSystem, deleteProvider),
	}
}

const identityCookie = "octopuses_identity" // a browser that is at an identity provider

// signInPage has the form and a button for each provider.
func (r *request) signInPage(username, next string, e []ui.FieldError) templ.Component {
	m := account.SignIn{Page: r.pageFor("Sign in", ""), Username: username, Next: next, Errors: e}
	_, cannot, _ := r.relyingParty("")
	m.Passkey = cannot == ""
	all, err := r.s.Instance.IdentityProviders(r.ctx)
	if err != nil { // the password goes on working
		r.s.Log.Warn("list identity providers", "request", r.id, "err", err)
	}
	for _, p := range all {
		if p.IsEnabled {
			m.Providers = append(m.Providers, account.Provider{ID: p.APIID(), Name: p.Name})
		}
	}
	return account.ShowSignIn(m)
}

// returnURL is where a provider sends browsers back to. Its host is the one of the
// request: the provider takes only those that were registered with it.
func (r *request) returnURL(provider string) string {
	u := url.URL{Scheme: "http", Host: string(r.Request().Header.Host()), Path: "/"}
	if r.s.Secure {
		u.Scheme = "https"
	}
	return u.Scheme + "://" + u.Host + views.SignInReturnURL(provider)
}

func (r *request) signInAgain(err error, next string) error {
	return r.again(err, nil, func(e []ui.FieldError) templ.Component { return r.signInPage("", local(next), e) })
}

func visitProvider(r *request) error {
	id := r.param("provider")
	to, cookie, err := r.s.Instance.BeginIdentity(r.ctx, id, r.returnURL(id), local(r.Query("next")))
	if err != nil {
		r.s.Log.Warn("begin sign-in at provider", "request", r.id, "err", err)
		return r.signInAgain(err, r.Query("next"))
	}
	r.setCookie(identityCookie, cookie, instance.IdentityLife)
	return r.see(to)
}

func returnFromProvider(r *request) error {
	id, cookie := r.param("provider"), r.cookie(identityCookie)
	r.setCookie(identityCookie, "", -1)
	token, next, err := r.s.Instance.FinishIdentity(r.ctx, instance.Return{Provider: id, Cookie: cookie, State: r.Query("state"), Code: r.Query("code"), Failure: r.Query("error"),
		Redirect: r.returnURL(id), Address: r.IP(), Agent: r.Get(fiber.HeaderUserAgent)})
	var more *instance.SecondFactorError
	if errors.As(err, &more) {
		r.setCookie(ticketCookie, more.Ticket, ticketLife)
		return r.see(views.SignInCodeURL() + "?next=" + url.QueryEscape(local(next)))
	}
	if err != nil {
		return r.signInAgain(err, next)
	}
	r.signedIn(token)
	return r.see(local(next))
}

func providers(r *request) error {
	all, err := r.s.Instance.IdentityProviders(r.ctx)
	if err != nil {
		return err
	}
	m := account.Providers{Page: r.pageFor("Sign-in", "")}
	for _, p := range all {
		m.Providers = append(m.Providers, account.Provider{ID: p.APIID(), Name: p.Name, Issuer: p.Issuer, Enabled: p.IsEnabled})
	}
	return r.render(fiber.StatusOK, account.ShowProviders(m))
}

func provider(r *request) error {
	id := r.param("provider")
	m := account.Provider{Page: r.pageFor("Add an identity provider", ""), Scopes: instance.DefaultScopes, Enabled: true}
	if id != "" {
		p, err := r.s.Instance.IdentityProvider(r.ctx, id)
		if err != nil {
			return err
		}
		m = account.Provider{Page: r.pageFor(p.Name, ""), ID: p.APIID(), Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Scopes: p.Scopes, GroupsClaim: p.GroupsClaim,
			Return: r.returnURL(p.APIID()), MatchEmail: p.MatchEmail, CreateUsers: p.CreateUsers, Enabled: p.IsEnabled}
	}
	return r.render(fiber.StatusOK, account.ShowProvider(m))
}

func saveProvider(r *request) error {
	id := r.param("provider")
	in := instance.IdentityProviderInput{Name: r.value("name"), Issuer: r.value("issuer"), ClientID: r.value("clientId"), ClientSecret: r.value("clientSecret"), Scopes: r.value("scopes"),
		GroupsClaim: r.value("groupsClaim"), MatchEmail: r.checked("matchEmail"), CreateUsers: r.checked("createUsers"), IsEnabled: r.checked("enabled")}
	p, err := r.s.Instance.SaveIdentityProvider(r.ctx, r.system, id, in)
	if err != nil {
		return r.again(err, map[string]string{"ClientID": "clientId"}, func(e []ui.FieldError) templ.Component {
			return account.ShowProvider(account.Provider{Page: r.pageFor("Identity provider", ""), ID: id, Name: in.Name, Issuer: in.Issuer, ClientID: in.ClientID, Scopes: in.Scopes, GroupsClaim: in.GroupsClaim,
				MatchEmail: in.MatchEmail, CreateUsers: in.CreateUsers, Enabled: in.IsEnabled, Errors: e})
		})
	}
	return r.see(views.ProviderURL(p.APIID())) // with the address that the provider must know
}

func deleteProvider(r *request) error {
	if err := r.s.Instance.DeleteIdentityProvider(r.ctx, r.system, r.param("provider")); err != nil {
		return err
	}
	return r.see(views.SignInSettingsURL())
}
