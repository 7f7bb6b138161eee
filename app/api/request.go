package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/body"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

const sessionCookie = "octopuses_session"

// request is one request with whoever made it. space is set on rows of a space and
// given back when the handler returns.
type request struct {
	*fiber.Ctx
	s       *Server
	ctx     context.Context // has the deadline; not the Context of fiber
	row     Row
	body    *body.Body
	payload []byte // JSON of a write
	user    instance.User
	system  instance.Actor
	actor   spaces.Actor
	about   instance.Space
	space   *spaces.Space
}

// links are those of a resource: texts only, as clients refuse to parse anything else.
type links map[string]string

func (r *request) now() time.Time { return time.Now().UTC() }

// enter finds out who asks, and refuses whoever may not.
func (r *request) enter() error {
	if r.row.Who == Public {
		return nil
	}
	if err := r.signIn(); err != nil {
		return err
	}
	if r.row.Who == SignedIn {
		if r.row.Need != "" && !r.system.Permissions.Any(r.row.Need) {
			r.s.Instance.Refused(r.ctx, r.system, r.row.Need)
			return access.Missing(r.row.Need)
		}
		return nil
	}
	return r.enterSpace()
}

// signIn takes an API key, or a session whose writes carry the token against forgery.
func (r *request) signIn() error {
	key, via := r.Get("X-Octopus-ApiKey"), "key"
	if key == "" {
		scheme, token, _ := strings.Cut(r.Get(fiber.HeaderAuthorization), " ")
		if strings.EqualFold(scheme, "Bearer") {
			key = strings.TrimSpace(token)
		}
	}
	var err error
	switch token := r.Cookies(r.s.CookiePrefix + sessionCookie); {
	case key != "":
		if r.user, _, err = r.s.Instance.UserByAPIKey(r.ctx, key); err != nil {
			return err
		}
	case token != "":
		session, err := r.s.Instance.SessionByToken(r.ctx, token)
		if err != nil {
			return err
		}
		if m := r.Method(); m != fiber.MethodGet && m != fiber.MethodHead && !session.CheckCSRF(r.Get("X-Csrf-Token")) {
			return errs.New(errs.Denied, "A request with a session must carry its token in X-Csrf-Token.")
		}
		r.user, via = session.User, "session"
	default:
		return errs.New(errs.Unauthenticated, "You must be signed in.").WithHint("Send an API key in the header X-Octopus-ApiKey.")
	}
	p, err := r.s.Instance.SystemPermissions(r.ctx, r.user.ID)
	if err != nil {
		return err
	}
	r.system = instance.Actor{ID: r.user.APIID(), Name: r.user.Username, Via: via, Address: r.IP(), Permissions: p}
	return nil
}

func (r *request) enterSpace() error {
	about, err := r.pathSpace()
	if err != nil {
		return err
	}
	if err := r.lease(about); err != nil {
		return err
	}
	if r.row.Need != "" && !r.actor.Permissions.Any(r.row.Need) {
		err := access.Missing(r.row.Need)
		r.space.Refused(r.ctx, r.actor, err)
		return err
	}
	return nil
}

func (r *request) pathSpace() (instance.Space, error) {
	if text := r.param("space"); text != "" {
		return r.s.Instance.SpaceBy(r.ctx, text)
	}
	return r.s.Instance.DefaultSpace(r.ctx)
}

// lease opens a space for the caller; without any permission in it there is none.
func (r *request) lease(about instance.Space) error {
	p, err := r.s.Instance.Permissions(r.ctx, r.user.ID, about.Number)
	if err != nil {
		return err
	}
	if p.Empty() {
		name := r.param("space")
		if name == "" {
			name = "default"
		}
		return errs.Missing("space", name)
	}
	space, err := r.s.Spaces.Acquire(r.ctx, refOf(about))
	if err != nil {
		return err
	}
	r.giveBack()
	r.space, r.about = space, about
	r.actor = spaces.Actor{ID: r.system.ID, Name: r.system.Name, Via: r.system.Via, Address: r.system.Address, Permissions: p}
	return nil
}

func refOf(s instance.Space) spaces.Ref {
	return spaces.Ref{ID: s.ID(), Folder: s.Folder, Name: s.Name, Slug: s.Slug}
}

func (r *request) giveBack() {
	if r.space != nil {
		r.space.Release()
		r.space = nil
	}
}

// api is the path of a resource of the server, and in that of one of the space.
func (r *request) api(parts ...string) string { return r.s.prefix() + "/api" + path(parts) }
func (r *request) in(parts ...string) string {
	return r.s.prefix() + "/api/" + r.about.ID() + path(parts)
}

func path(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return "/" + strings.Join(parts, "/")
}

// param is a part of the path, unescaped: clients put there what a person typed.
func (r *request) param(name string) string {
	v := r.Params(name)
	if u, err := url.PathUnescape(v); err == nil {
		return strings.Clone(u)
	}
	return strings.Clone(v)
}

// query is a parameter, matched without case.
func (r *request) query(name string) string {
	all := r.queries(name)
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

func (r *request) queries(name string) []string {
	var out []string
	r.Context().QueryArgs().VisitAll(func(k, v []byte) {
		if strings.EqualFold(string(k), name) {
			out = append(out, string(v))
		}
	})
	return out
}

// list is a parameter with several values, in both styles: a=1,2 and a=1&a=2.
func (r *request) list(name string) []string {
	var out []string
	for _, v := range r.queries(name) {
		for _, part := range strings.Split(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

func (r *request) flag(name string) bool { return strings.EqualFold(r.query(name), "true") }

func (r *request) number(name string) int {
	n, err := strconv.Atoi(r.query(name))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (r *request) options() spaces.ListOptions {
	return spaces.ListOptions{IDs: r.list("ids"), Name: r.query("name"), PartialName: r.query("partialName"), Skip: r.number("skip"), Take: r.number("take")}
}

// everything is for lists that are answered whole, as under /all.
func (r *request) everything() spaces.ListOptions {
	o := r.options()
	o.Skip, o.Take = 0, spaces.MaxTake
	return o
}

// respond answers with a status and JSON.
func (r *request) respond(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return r.fail(fmt.Errorf("encode answer: %w", err))
	}
	r.Set(fiber.HeaderContentType, "application/json; charset=utf-8")
	return r.Status(status).Send(b)
}

func (r *request) ok(v any) error      { return r.respond(fiber.StatusOK, v) }
func (r *request) created(v any) error { return r.respond(fiber.StatusCreated, v) }

// gone answers a DELETE: with 200 and a body, since a 204 is an error for the Go client.
func (r *request) gone() error { return r.respond(fiber.StatusOK, struct{}{}) }

// view and update run a transaction of the request's space.
func view[T any](r *request, f func(tx *spaces.ReadTx) (T, error)) (T, error) {
	return spaces.View(r.ctx, r.space, r.actor, f)
}

func update[T any](r *request, f func(tx *spaces.Tx) (T, error)) (T, error) {
	return spaces.Update(r.ctx, r.space, r.actor, f)
}

// show answers with what a reading transaction makes.
func show[T any](r *request, f func(tx *spaces.ReadTx) (T, error)) error {
	v, err := view(r, f)
	if err != nil {
		return err
	}
	return r.ok(v)
}

// save answers with what a writing transaction makes; status is 200 or 201.
func save[T any](r *request, status int, f func(tx *spaces.Tx) (T, error)) error {
	v, err := update(r, f)
	if err != nil {
		return err
	}
	return r.respond(status, v)
}

// remove runs a deletion.
func remove(r *request, f func(tx *spaces.Tx) error) error {
	if err := spaces.Do(r.ctx, r.space, r.actor, f); err != nil {
		return err
	}
	return r.gone()
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// idStrings are ids as clients know them.
func idStrings[T fmt.Stringer](ids []T) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
