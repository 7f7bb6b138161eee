// Package rest is the REST door, in the form of Octopus Deploy's API, so that its clients
// work unchanged. docs/api-divergences.md says where we differ.
//
// A row of the table in routes.go is a method, a path and a handler. Every space route
// answers under /api/{space}/…, /api/spaces/{space}/… and, for the default space,
// /api/…. Handlers translate and nothing else: rules and permissions are in package
// spaces.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones"
)

// Server is what the API stands on.
type Server struct {
	Instance   *instance.Instance
	Spaces     *spaces.Registry
	Zones      *zones.Service
	Version    string // of this program
	Logs       TaskLogs
	AgentToken func(secret, space string) agent.Token // completes a registration token; nil: none are given
	Registered func(pin string)                       // told of a registered agent; may be nil
	Linked     func(ref spaces.Ref)                   // told of a space that now dials a peer; may be nil
	MaxPackage int64                                  // bytes of a package; 0: 20 GiB
	Log        *slog.Logger
	Base       context.Context // ends with the server
	Install    string          // UUID of this installation
}

// TaskLogs reads the logs of tasks.
type TaskLogs interface {
	Details(ctx context.Context, s *spaces.Space, id spaces.TaskID) ([]ActivityLog, error)
	Raw(s *spaces.Space, id spaces.TaskID, w io.Writer) error
}

// ActivityLog is a part of a task's log, in Octopus's form.
type ActivityLog struct {
	ID                 string        `json:"Id"`
	Name               string        `json:"Name"`
	Status             string        `json:"Status"`
	Started            *time.Time    `json:"Started"`
	Ended              *time.Time    `json:"Ended"`
	ShowAtSummaryLevel bool          `json:"ShowAtSummaryLevel"`
	Children           []ActivityLog `json:"Children"`
	LogElements        []LogElement  `json:"LogElements"`
	ProgressPercentage int           `json:"ProgressPercentage"`
	ProgressMessage    string        `json:"ProgressMessage"`
}

// LogElement is a line.
type LogElement struct {
	OccurredAt  time.Time `json:"OccurredAt"`
	Category    string    `json:"Category"`
	MessageText string    `json:"MessageText"`
	Number      int       `json:"Number"`
	Detail      *string   `json:"Detail"`
}

// reportedVersion is what clients hear: they refuse servers that are too old for what
// they use, and our API is that of this one.
const reportedVersion = "2025.4.100"

// R is a resource on its way out.
type R = map[string]any

// request is one call with everything that a handler needs.
type request struct {
	s      *Server
	c      *fiber.Ctx
	ctx    context.Context
	user   instance.User
	via    string
	actor  spaces.Actor
	system instance.Actor
	row    instance.Space
	space  *spaces.Space
	prefix string            // of links to this space's resources
	params map[string]string // of the path
}

// created makes the answer 201.
type created struct{ v any }

// sent says that the handler wrote the answer itself.
type sent struct{}

// CookieName is the session cookie that the browser door sets.
const CookieName = "octopuses_session"

// Handle serves everything under /api.
func (s *Server) Handle(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(s.Base, 10*time.Minute)
	defer cancel()
	r := &request{s: s, c: c, ctx: ctx}
	v, err := s.dispatch(r)
	if r.space != nil {
		defer r.space.Release()
	}
	if err != nil {
		return s.fail(c, err)
	}
	status := fiber.StatusOK
	if cr, ok := v.(created); ok {
		status, v = fiber.StatusCreated, cr.v
	}
	if _, ok := v.(sent); ok {
		return nil
	}
	return s.json(c, status, v)
}

func (s *Server) json(c *fiber.Ctx, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return s.fail(c, err)
	}
	c.Set("Cache-Control", "no-store")
	c.Set("X-Content-Type-Options", "nosniff")
	c.Set(fiber.HeaderContentType, "application/json; charset=utf-8")
	return c.Status(status).Send(b)
}

// statuses maps kinds of errors to HTTP.
var statuses = map[errs.Kind]int{errs.Invalid: 400, errs.NotFound: 404, errs.Exists: 400, errs.Stale: 409, errs.Denied: 403, errs.Unauthenticated: 401, errs.Blocked: 400, errs.TooLarge: 413, errs.Busy: 429, errs.Unavailable: 503, errs.Internal: 500}

func (s *Server) fail(c *fiber.Ctx, err error) error {
	var fe *fiber.Error
	if errors.As(err, &fe) {
		kind := map[int]errs.Kind{404: errs.NotFound, 405: errs.NotFound, 413: errs.TooLarge, 400: errs.Invalid}[fe.Code]
		if kind == "" {
			kind = errs.Internal
		}
		err = errs.Wrap(kind, err, "%s", fe.Message)
	}
	kind := errs.KindOf(err)
	status := statuses[kind]
	text := errs.TextOf(err)
	body := R{"ErrorMessage": text, "FullException": nil, "HelpLink": nil, "HelpText": nil, "ParsedHelpLinks": []string{}}
	switch {
	case status == 400:
		body["ErrorMessage"] = "There was a problem with your request."
		list := []string{}
		for _, f := range errs.FieldsOf(err) {
			list = append(list, f.Message)
		}
		var e *errs.Error
		if errors.As(err, &e) && e.Message != "" {
			list = append([]string{e.Message}, list...)
		}
		if errors.As(err, &e) && e.Hint != "" {
			list = append(list, e.Hint)
		}
		if len(list) == 0 {
			list = []string{text}
		}
		body["Errors"] = list
	case kind == errs.Internal:
		id := spaces.NewULID(time.Now())
		s.Log.Error("request", "method", c.Method(), "path", c.Path(), "request", id, "err", err)
		body["ErrorMessage"] = text + " The server's log has more under " + id + "."
	}
	if status == 413 {
		// A body left unread would make the client see a reset instead of this answer.
		if in := c.Context().RequestBodyStream(); in != nil {
			io.CopyN(io.Discard, in, 1<<20)
		}
		c.Set("Connection", "close")
	}
	return s.json(c, status, body)
}

// dispatch finds the route, the person and the space, and calls the handler.
func (s *Server) dispatch(r *request) (any, error) {
	path := strings.TrimSuffix(strings.SplitN(string(r.c.Request().URI().PathOriginal()), "?", 2)[0], "/")
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")[1:] // behind "api"
	for i, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil {
			return nil, errs.New(errs.Invalid, "The path holds a broken escape.")
		}
		parts[i] = text
	}
	if err := s.identify(r); err != nil && !public(r.c.Method(), parts) {
		return nil, err
	}
	spaceID := ""
	switch {
	case len(parts) > 0 && isSpaceID(parts[0]):
		spaceID, parts = parts[0], parts[1:]
	case len(parts) > 2 && strings.EqualFold(parts[0], "spaces") && isSpaceID(parts[1]):
		spaceID, parts = parts[1], parts[2:]
	}
	if spaceID == "" {
		if h, params := match(systemRoutes, r.c.Method(), parts); h != nil {
			r.params = params
			return h(r)
		}
	}
	h, params := match(spaceRoutes, r.c.Method(), parts)
	if h == nil {
		if h, params = match(systemRoutes, r.c.Method(), parts); h != nil && spaceID != "" && len(parts) > 0 {
			r.params = params
			return h(r)
		}
		return nil, errs.New(errs.NotFound, "There is no %s %s here.", r.c.Method(), r.c.Path())
	}
	r.params = params
	if err := s.enter(r, spaceID); err != nil {
		return nil, err
	}
	return h(r)
}

func public(method string, parts []string) bool {
	return method == fiber.MethodGet && len(parts) == 0 || method == fiber.MethodPost && len(parts) == 2 && strings.EqualFold(parts[0], "agents") && strings.EqualFold(parts[1], "register")
}

func isSpaceID(s string) bool {
	n, ok := strings.CutPrefix(strings.ToLower(s), "spaces-")
	return ok && n != "" && strings.Trim(n, "0123456789") == ""
}

// identify finds out who calls.
func (s *Server) identify(r *request) error {
	key := r.c.Get("X-Octopus-ApiKey")
	if bearer, ok := strings.CutPrefix(r.c.Get("Authorization"), "Bearer "); ok && key == "" {
		key = bearer
	}
	switch cookie := r.c.Cookies(CookieName); {
	case key != "":
		u, k, err := s.Instance.UserByAPIKey(r.ctx, key)
		if err != nil {
			return err
		}
		r.user, r.via = u, "key "+k.Hint
	case cookie != "":
		session, err := s.Instance.SessionByToken(r.ctx, cookie)
		if err != nil {
			return err
		}
		if r.c.Method() != fiber.MethodGet && r.c.Method() != fiber.MethodHead && !session.CheckCSRF(r.c.Get("X-Csrf-Token")) {
			return errs.New(errs.Denied, "The request lacks its CSRF token.").WithHint("Send it in the header X-Csrf-Token, or use an API key.")
		}
		r.user, r.via = session.User, "session"
	default:
		return errs.New(errs.Unauthenticated, "You must be logged in to request this resource.").WithHint("Send an API key in the header X-Octopus-ApiKey.")
	}
	p, err := s.Instance.SystemPermissions(r.ctx, r.user.ID)
	if err != nil {
		return err
	}
	r.system = instance.Actor{ID: r.user.APIID(), Name: r.user.Username, Via: r.via, Address: r.c.IP(), Permissions: p}
	return nil
}

// enter opens the space of a request. One in which the caller has no permission does not
// exist.
func (s *Server) enter(r *request, id string) error {
	var err error
	if id == "" {
		r.row, err = s.Instance.DefaultSpace(r.ctx)
		if err != nil {
			return errs.New(errs.Invalid, "This server has no default space.").WithHint("Name the space in the path, as /api/Spaces-1/….")
		}
	} else if r.row, err = s.Instance.SpaceBy(r.ctx, id); err != nil {
		return errs.Missing("space", id)
	}
	set, err := s.Instance.Permissions(r.ctx, r.user.ID, r.row.Number)
	if err != nil {
		return err
	}
	if set.Empty() {
		return errs.Missing("space", id)
	}
	r.actor = spaces.Actor{ID: r.user.APIID(), Name: r.user.Username, Via: r.via, Address: r.c.IP(), Permissions: set}
	r.prefix = "/api/" + r.row.ID()
	r.space, err = s.Spaces.Acquire(r.ctx, RefOf(r.row))
	return err
}

// RefOf names a space for the registry of open ones.
func RefOf(s instance.Space) spaces.Ref {
	return spaces.Ref{ID: s.ID(), Folder: s.Folder, Name: s.Name, Slug: s.Slug}
}

// maxBody is the largest JSON body, in bytes.
const maxBody = 5 << 20

// body reads the JSON body into v.
func (r *request) body(v any) error {
	in := r.stream()
	b, err := io.ReadAll(io.LimitReader(in, maxBody+1))
	if err != nil {
		return errs.Wrap(errs.Invalid, err, "The body of the request could not be read.")
	}
	if len(b) > maxBody {
		return errs.New(errs.TooLarge, "The body of the request is larger than %d MB.", maxBody>>20)
	}
	if err := json.Unmarshal(b, v); err != nil {
		var se *json.SyntaxError
		if errors.As(err, &se) {
			return errs.New(errs.Invalid, "The body is no JSON: %v, at byte %d.", err, se.Offset)
		}
		return errs.New(errs.Invalid, "The body is not what was expected: %v.", err)
	}
	return nil
}

func (r *request) stream() io.Reader {
	if in := r.c.Context().RequestBodyStream(); in != nil {
		return in
	}
	return strings.NewReader(string(r.c.Body()))
}

func (r *request) query(name string) string {
	var out string
	r.c.Context().QueryArgs().VisitAll(func(k, v []byte) {
		if strings.EqualFold(string(k), name) {
			out = string(v)
		}
	})
	return out
}

// queryList reads both styles: a=1,2 and a=1&a=2.
func (r *request) queryList(name string) []string {
	var out []string
	r.c.Context().QueryArgs().VisitAll(func(k, v []byte) {
		if strings.EqualFold(string(k), name) {
			for _, x := range strings.Split(string(v), ",") {
				if x != "" {
					out = append(out, x)
				}
			}
		}
	})
	return out
}

func (r *request) number(name string) int {
	n, err := strconv.ParseInt(r.query(name), 10, 64)
	if err != nil {
		return 0
	}
	return int(min(max(n, 0), spaces.MaxTake))
}

func (r *request) list() spaces.ListOptions {
	return spaces.ListOptions{IDs: r.queryList("ids"), Name: r.query("name"), PartialName: r.query("partialName"), Skip: r.number("skip"), Take: r.number("take")}
}

// page is Octopus's envelope around a list.
func (r *request) page(kind string, items []R, total, skip, take int) R {
	if items == nil {
		items = []R{}
	}
	if take <= 0 {
		take = 30
	}
	pages := max((total+take-1)/take, 1)
	base := r.c.Path()
	at := func(skip int) string { return fmt.Sprintf("%s?skip=%d&take=%d", base, skip, take) }
	links := R{"Self": base, "Template": base + "{?skip,take,ids,partialName}", "Page.All": fmt.Sprintf("%s?skip=0&take=%d", base, 2147483647), "Page.Current": at(skip), "Page.Last": at((pages - 1) * take)}
	if skip+len(items) < total && len(items) > 0 {
		q := ""
		r.c.Context().QueryArgs().VisitAll(func(k, v []byte) {
			if !strings.EqualFold(string(k), "skip") && !strings.EqualFold(string(k), "take") {
				q += "&" + url.QueryEscape(string(k)) + "=" + url.QueryEscape(string(v))
			}
		})
		links["Page.Next"] = at(skip+take) + q
	}
	return R{"ItemType": kind, "TotalResults": total, "ItemsPerPage": take, "NumberOfPages": pages, "LastPageNumber": pages - 1, "Items": items, "Links": links}
}

func pageOf[T any](r *request, kind string, p spaces.Page[T], f func(T) R) R {
	items := make([]R, len(p.Items))
	for i, x := range p.Items {
		items[i] = f(x)
	}
	return r.page(kind, items, p.Total, p.Skip, p.Take)
}

func view[T any](r *request, f func(tx *spaces.ReadTx) (T, error)) (T, error) {
	return spaces.View(r.ctx, r.space, r.actor, f)
}

func update[T any](r *request, f func(tx *spaces.Tx) (T, error)) (T, error) {
	return spaces.Update(r.ctx, r.space, r.actor, f)
}

// stamp is how times stand in the API: RFC 3339 with a zone; nil for none.
func stamp(t *time.Time) any {
	if t == nil || t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000+00:00")
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
