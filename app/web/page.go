package web

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/body"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
)

// request is one request with whoever made it. space is set on routes of a space and
// given back when the handler returns.
type request struct {
	*fiber.Ctx
	s          *Server
	ctx        context.Context // has the deadline; not the Context of fiber
	id         string
	row        route
	session    *instance.Session
	system     instance.Actor
	actor      spaces.Actor
	space      *spaces.Space
	about      instance.Space
	mark       string // of the space's hub, before anything was read
	form       url.Values
	parts      *multipart.Reader // of rows that take files
	redirected bool
}

// enter finds out who asks, and refuses whoever may not.
func (r *request) enter() error {
	if token := r.cookie(sessionCookie); token != "" {
		session, err := r.s.Instance.SessionByToken(r.ctx, token)
		switch {
		case err == nil:
			r.session = &session
			p, err := r.s.Instance.SystemPermissions(r.ctx, session.User.ID)
			if err != nil {
				return err
			}
			r.system = instance.Actor{ID: session.User.APIID(), Name: session.User.Username, Via: "session", Address: r.IP(), Permissions: p}
		case !errors.Is(err, errs.Unauthenticated):
			return err
		}
	}
	if r.row.who != public && r.session == nil {
		return errSignedOut
	}
	if r.row.who == inSpace {
		if err := r.enterSpace(); err != nil {
			return err
		}
	} else if r.row.need != "" && !r.system.Permissions.Any(r.row.need) {
		r.s.Instance.Refused(r.ctx, r.system, r.row.need)
		return access.Missing(r.row.need)
	}
	if r.Method() == fiber.MethodPost {
		return r.readForm()
	}
	return nil
}

func (r *request) enterSpace() error {
	missing := errs.New(errs.NotFound, "There is no such space, or none that you may enter.")
	about, err := r.s.Instance.SpaceBy(r.ctx, r.param("space"))
	if errors.Is(err, errs.NotFound) {
		return missing
	}
	if err != nil {
		return err
	}
	p, err := r.s.Instance.Permissions(r.ctx, r.session.User.ID, about.Number)
	if err != nil {
		return err
	}
	if p.Empty() {
		return missing
	}
	r.actor = spaces.Actor{ID: r.system.ID, Name: r.system.Name, Via: "session", Address: r.system.Address, Permissions: p}
	if r.space, err = r.s.Spaces.Acquire(r.ctx, ref(about)); err != nil {
		return err
	}
	r.about, r.mark = about, r.space.Hub().Mark()
	if r.row.need != "" && !p.Any(r.row.need) {
		err := access.Missing(r.row.need)
		r.space.Refused(r.ctx, r.actor, err)
		return err
	}
	return nil
}

func ref(s instance.Space) spaces.Ref {
	return spaces.Ref{ID: s.ID(), Folder: s.Folder, Name: s.Name, Slug: s.Slug}
}

func (r *request) release() {
	if r.space != nil {
		r.space.Release()
		r.space = nil
	}
}

// readForm reads the body of a POST and checks that our own page sent it.
func (r *request) readForm() error {
	if err := r.sameOrigin(); err != nil {
		return err
	}
	r.form = url.Values{}
	if r.row.parts {
		return r.openParts()
	}
	sent := r.Get("X-Csrf-Token")
	if r.row.raw {
		if sent == "" {
			sent = r.Query("csrf")
		}
		return r.checkCSRF(sent)
	}
	limit := r.row.max
	if limit == 0 {
		limit = maxForm
	}
	b, err := body.Of(r.Ctx).All(limit)
	if err != nil {
		return err
	}
	kind, _, _ := mime.ParseMediaType(r.Get(fiber.HeaderContentType))
	if kind == "application/x-www-form-urlencoded" {
		if r.form, err = url.ParseQuery(string(b)); err != nil {
			return errs.Wrap(errs.Invalid, err, "The form could not be read.")
		}
	}
	if sent == "" {
		sent = r.form.Get("csrf")
	}
	return r.checkCSRF(sent)
}

func (r *request) checkCSRF(sent string) error {
	ok := false
	if r.session != nil {
		ok = r.session.CheckCSRF(sent)
	} else {
		has := r.cookie(visitorCookie)
		ok = has != "" && subtle.ConstantTimeCompare([]byte(has), []byte(sent)) == 1
	}
	if !ok {
		return errs.New(errs.Denied, "This form is too old or was not made here.").WithHint("Reload the page and send it again.")
	}
	return nil
}

// csrf is the token for the forms of this answer. Before signing in it is in a cookie.
func (r *request) csrf() string {
	if r.session != nil {
		return r.session.CSRF
	}
	if v := r.cookie(visitorCookie); len(v) == 26 {
		return v
	}
	v := newToken()
	r.setCookie(visitorCookie, v, 0)
	return v
}

// CookiePrefix begins the names of cookies. Over TLS a browser takes one with this prefix
// from this very host alone, and so from no neighbour in its domain (RFC 6265bis, 4.1.3.2).
func CookiePrefix(secure bool) string {
	if secure {
		return "__Host-"
	}
	return ""
}

func (r *request) cookie(name string) string { return r.Cookies(CookiePrefix(r.s.Secure) + name) }

// setCookie sets a cookie that scripts cannot read; life 0 lasts as long as the browser.
func (r *request) setCookie(name, value string, life time.Duration) {
	c := &fiber.Cookie{Name: CookiePrefix(r.s.Secure) + name, Value: value, Path: "/", HTTPOnly: true, SameSite: fiber.CookieSameSiteLaxMode, Secure: r.s.Secure}
	if life > 0 {
		c.MaxAge = int(life / time.Second)
	} else if life < 0 {
		c.Expires = time.Unix(1, 0)
	} else {
		c.SessionOnly = true
	}
	r.Cookie(c)
}

// param is a part of the path, unescaped.
func (r *request) param(name string) string {
	text := r.Params(name)
	if u, err := url.PathUnescape(text); err == nil {
		return u
	}
	return text
}

// value is a field of the form without surrounding blanks.
func (r *request) value(name string) string { return strings.TrimSpace(r.form.Get(name)) }

// checked reports whether a checkbox of the form is on.
func (r *request) checked(name string) bool { return r.form.Get(name) == "true" }

// see answers a form that went through.
func (r *request) see(to string) error { return r.Redirect(to, fiber.StatusSeeOther) }

// can reports whether the person may do something, for showing an action; if not, why
// is the sentence that stands beside the disabled button.
func (r *request) can(p access.Permission, scope access.Scope) (ok bool, why string) {
	if r.actor.Can(p, scope) {
		return true, ""
	}
	return false, errs.TextOf(access.Missing(p))
}

// serverMenu are the pages of the server that the person may open.
func (r *request) serverMenu() (items []ui.MenuItem) {
	for _, x := range []struct {
		need access.Permission
		item ui.MenuItem
	}{
		{access.UserView, ui.MenuItem{Label: "People", Icon: "users", Href: views.UsersURL()}},
		{access.TeamView, ui.MenuItem{Label: "Teams", Icon: "users", Href: views.TeamsURL("")}},
		{access.UserRoleView, ui.MenuItem{Label: "Roles", Icon: "shield-check", Href: views.RolesURL()}},
		{access.AdministerSystem, ui.MenuItem{Label: "Sign-in", Icon: "key", Href: views.SignInSettingsURL()}},
		{access.AdministerSystem, ui.MenuItem{Label: "Keys", Icon: "lock", Href: views.KeysURL()}},
		{access.EventView, ui.MenuItem{Label: "Audit of the server", Icon: "scroll-text", Href: views.AdminAuditURL()}},
	} {
		if r.system.Permissions.Any(x.need) {
			items = append(items, x.item)
		}
	}
	return items
}

// pageFor is what a page tells its frame; section is the lit entry of the rail. topics
// are what the live parts of the page depend on.
func (r *request) pageFor(title, section string, topics ...string) views.Page {
	p := views.Page{Title: title, Section: section, CSRF: r.csrf()}
	if t := r.cookie("theme"); t == "light" || t == "dark" {
		p.Theme = t
	}
	if r.session == nil {
		return p
	}
	u := r.session.User
	name := u.DisplayName
	if name == "" {
		name = u.Username
	}
	p.Person = &views.Person{Name: name, Server: r.serverMenu()}
	all, err := r.s.Instance.SpacesOf(r.ctx, u.ID)
	if err != nil {
		r.s.Log.Warn("list spaces of page", "request", r.id, "err", err)
	}
	for _, s := range all {
		p.Spaces = append(p.Spaces, views.Space{Slug: s.Slug, Name: s.Name})
	}
	if r.space == nil {
		return p
	}
	p.Space = &views.Space{Slug: r.about.Slug, Name: r.about.Name}
	p.Stream = views.StreamURL(r.about.Slug) + "?topics=" + url.QueryEscape(strings.Join(append(topics, "tasks", "inbox"), " ")) + "&since=" + url.QueryEscape(r.mark)
	_, err = spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		var err error
		if p.Running, _, err = tx.CountTasks(); err != nil {
			return struct{}{}, err
		}
		if inbox, err := tx.Inbox(100, spaces.Undecided...); err == nil {
			p.Inbox = len(inbox)
		}
		return struct{}{}, nil
	})
	if err != nil {
		r.s.Log.Warn("count for page", "request", r.id, "err", err)
	}
	return p
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// render draws a page into memory first, so that a failure can still be a 500.
func (r *request) render(status int, page templ.Component) error {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	if err := page.Render(r.ctx, b); err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, "text/html; charset=utf-8")
	return r.Status(status).Send(b.Bytes())
}

// show draws a page, or only the live part that the browser asked for.
func (r *request) show(page templ.Component, parts map[string]templ.Component) error {
	if part, ok := parts[r.Get("X-Fragment")]; ok {
		return r.render(fiber.StatusOK, part)
	}
	return r.render(fiber.StatusOK, page)
}

// again draws a form with what is wrong with it, or gives the error on if it is not
// about the form. The names of fields are those of the form: "Name" is "name"; rename
// maps others.
func (r *request) again(err error, rename map[string]string, form func([]ui.FieldError) templ.Component) error {
	switch errs.KindOf(err) {
	case errs.Invalid, errs.Exists, errs.Blocked, errs.Stale, errs.Unauthenticated, errs.Busy, errs.TooLarge, errs.Unavailable:
		r.s.Log.Debug("form refused", "request", r.id, "err", err)
		return r.render(statusOf(err, true), form(complaints(err, rename)))
	}
	return err
}

func complaints(err error, rename map[string]string) []ui.FieldError {
	fields := errs.FieldsOf(err)
	if len(fields) == 0 {
		return []ui.FieldError{{Message: errs.TextOf(err)}}
	}
	var out []ui.FieldError
	for _, f := range fields {
		name, ok := rename[f.Name]
		if !ok {
			name = lowerFirst(f.Name)
		}
		out = append(out, ui.FieldError{Name: name, Message: f.Message})
	}
	return out
}

func lowerFirst(s string) string {
	for i, c := range s {
		return string(unicode.ToLower(c)) + s[i+len(string(c)):]
	}
	return s
}

// statusOf is the one table of kinds and statuses. A form that is shown again answers
// 422 unless waiting helps.
func statusOf(err error, form bool) int {
	kind := errs.KindOf(err)
	switch kind {
	case errs.TooLarge:
		return fiber.StatusRequestEntityTooLarge
	case errs.Busy:
		return fiber.StatusTooManyRequests
	case errs.Unavailable:
		return fiber.StatusServiceUnavailable
	}
	if form {
		return fiber.StatusUnprocessableEntity
	}
	switch kind {
	case errs.Invalid:
		return fiber.StatusUnprocessableEntity
	case errs.NotFound:
		return fiber.StatusNotFound
	case errs.Exists, errs.Stale, errs.Blocked:
		return fiber.StatusConflict
	case errs.Denied:
		return fiber.StatusForbidden
	case errs.Unauthenticated:
		return fiber.StatusUnauthorized
	}
	return fiber.StatusInternalServerError
}

// fail draws the page of an error that no form shows.
func (r *request) fail(err error) error {
	if errors.Is(err, errSignedOut) {
		r.form = nil
		to := views.SignInURL()
		if people, e := r.s.Instance.HasPeople(r.ctx); e == nil && !people {
			to = views.SetupURL()
		} else if r.Method() == fiber.MethodGet && r.OriginalURL() != "/" {
			to += "?next=" + url.QueryEscape(r.OriginalURL())
		}
		return r.see(to)
	}
	if r.ctx.Err() != nil { // the page that says so is drawn nevertheless
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		r.ctx = ctx
	}
	if errs.KindOf(err) == errs.Internal && r.s.Base.Err() != nil {
		err = errs.Wrap(errs.Unavailable, err, "The server is stopping.").WithHint("Try again in a moment.")
	}
	status := statusOf(err, false)
	titles := map[int]string{404: "Not found", 403: "Not allowed", 409: "Not now", 413: "Too large", 422: "This did not go through", 429: "Too many at once", 503: "Not available"}
	title := titles[status]
	if title == "" {
		title = "Something broke"
	}
	f := views.Failure{Status: status, Title: title, Text: errs.TextOf(err), RequestID: r.id}
	if status >= 500 {
		r.s.Log.Error("page failed", "request", r.id, "method", r.Method(), "path", r.Path(), "err", err)
	}
	if status == fiber.StatusInternalServerError {
		f.Text, f.Hint = "The fault is ours. It is in the log of the server.", "Try again; if it stays, give the request number to whoever runs this server."
	}
	return r.render(status, views.ErrorPage(r.pageFor(title, ""), f))
}
