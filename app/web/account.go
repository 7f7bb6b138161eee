package web

import (
	"crypto/rand"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func accountRoutes() []route {
	return []route{
		get("/", public, "", start),
		get("/setup", public, "", setupForm), post("/setup", public, "", setup),
		post("/account/theme", public, "", theme),
		get("/account/keys", signedIn, "", keys), post("/account/keys", signedIn, "", createKey),
		post("/account/keys/:key/delete", signedIn, "", revokeKey),
	}
}

func newToken() string { return rand.Text() }

// start sends whoever comes to where work begins.
func start(r *request) error {
	if r.session == nil {
		return errSignedOut
	}
	all, err := r.s.Instance.SpacesOf(r.ctx, r.session.User.ID)
	if err != nil {
		return err
	}
	if len(all) == 1 {
		return r.see(views.DashboardURL(all[0].Slug))
	}
	return r.see(views.SpacesURL())
}

// local keeps a redirect after signing in on this server.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

func setupForm(r *request) error {
	if people, err := r.s.Instance.HasPeople(r.ctx); err != nil || people {
		if err != nil {
			return err
		}
		return r.see(views.SignInURL())
	}
	return r.render(fiber.StatusOK, account.ShowSetup(account.Setup{Page: r.pageFor("Set up this server", ""), Token: r.Query("token"), Space: "Default"}))
}

func setup(r *request) error {
	in := account.Setup{Token: r.value("token"), Username: r.value("username"), DisplayName: r.value("displayName"), Space: r.value("space")}
	err := func() error {
		var c errs.Check // before the token is used up
		c.Require(in.Space != "", "space", "The first space needs a name.")
		c.Require(len([]rune(in.Space)) <= 50, "space", "The name is longer than 50 characters.")
		if err := c.Err(); err != nil {
			return err
		}
		by := instance.Actor{ID: "setup", Name: "set-up", Via: "session", Address: r.IP()}
		u, err := r.s.Instance.CreateFirstAdministrator(r.ctx, by, in.Token, instance.UserInput{Username: in.Username, DisplayName: in.DisplayName, Password: r.form.Get("password"), IsActive: true})
		if err != nil {
			return err
		}
		if err := r.openSession(in.Username, r.form.Get("password")); err != nil {
			return err
		}
		p, err := r.s.Instance.SystemPermissions(r.ctx, u.ID)
		if err != nil {
			return err
		}
		_, err = r.createSpace(instance.Actor{ID: u.APIID(), Name: u.Username, Via: "session", Address: r.IP(), Permissions: p}, instance.SpaceInput{Name: in.Space, IsDefault: true, Managers: []int64{u.ID}})
		return err
	}()
	if err != nil {
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			in.Page, in.Errors = r.pageFor("Set up this server", ""), e
			return account.ShowSetup(in)
		})
	}
	return r.see(views.DashboardURL(instance.Slug(in.Space)))
}

func theme(r *request) error {
	t := r.value("theme")
	if t != "light" && t != "dark" {
		r.setCookie("theme", "", -1)
	} else {
		r.setCookie("theme", t, 365*24*time.Hour)
	}
	back := "/"
	if u, err := url.Parse(r.Get(fiber.HeaderReferer)); err == nil && u.Host == string(r.Request().Header.Host()) {
		back = local(u.RequestURI())
	}
	return r.see(back)
}

func keys(r *request) error {
	page, err := r.keysWith("", nil)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, page)
}

func (r *request) keysWith(fresh string, e []ui.FieldError) (templ.Component, error) {
	all, err := r.s.Instance.APIKeys(r.ctx, r.session.User)
	if err != nil {
		return nil, err
	}
	m := account.Keys{Page: r.pageFor("API keys", ""), New: fresh, Errors: e}
	for _, k := range all {
		m.Keys = append(m.Keys, account.Key{ID: strconv.FormatInt(k.ID, 10), Purpose: k.Purpose, Hint: k.Hint, Created: k.CreatedAt, LastUsed: when(k.UsedAt), Expires: when(k.ExpiresAt)})
	}
	return account.ShowKeys(m), nil
}

func when(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func createKey(r *request) error {
	var expires *time.Time
	if days, err := strconv.Atoi(r.value("days")); err == nil && days > 0 {
		t := time.Now().AddDate(0, 0, days)
		expires = &t
	}
	_, key, err := r.s.Instance.CreateAPIKey(r.ctx, r.system, r.session.User, r.value("purpose"), expires, "")
	if err != nil {
		page, e := r.keysWith("", complaints(err, nil))
		if e != nil {
			return e
		}
		return r.again(err, nil, func([]ui.FieldError) templ.Component { return page })
	}
	page, err := r.keysWith(key, nil) // shown this once, so not after a redirect
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, page)
}

func revokeKey(r *request) error {
	id, err := strconv.ParseInt(r.param("key"), 10, 64)
	if err != nil {
		return errs.Missing("API key", r.param("key"))
	}
	if err := r.s.Instance.RevokeAPIKey(r.ctx, r.system, r.session.User, id); err != nil {
		return err
	}
	return r.see(views.APIKeysURL())
}

// matches reports whether one of the texts holds the query, without case.
func matches(query string, texts ...string) bool {
	if query == "" {
		return true
	}
	for _, t := range texts {
		if strings.Contains(strings.ToLower(t), strings.ToLower(query)) {
			return true
		}
	}
	return false
}
