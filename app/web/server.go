// Package web is the door for browsers: sessions, pages, forms and the event
// stream. A handler reads a form, runs one transaction of a space and draws a
// page; rules live in spaces and app/instance, looks in views.
//
// Everything works without a script: a form posts, a success answers 303, a
// mistake answers 422 with the same form and what was typed.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/body"
	"octopuses.dev/octopuses/app/collector"
	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/static"
	"octopuses.dev/octopuses/zones"
)

// Server is the browser door. Fields are set before [Server.Routes].
type Server struct {
	Instance *instance.Instance
	Spaces   *spaces.Registry
	Version  string
	Logs     TaskLogs         // nil: pages of tasks show no log
	Zones    *zones.Service   // nil: promotion is not offered
	Feeds    *feeds.Client    // nil: no feed outside is called
	Keys     instance.Keys    // nil: the page of keys is not there
	Linked   func(spaces.Ref) // told of a space whose links are to be kept from now on; may be nil
	// MaxPackage is the limit of an uploaded package file in bytes; 0: 5 GiB.
	MaxPackage int64
	// AuditFolder has the archived days of the server's own audit.
	AuditFolder string
	// Streaming tells how the streaming of the audit goes; nil: nobody knows.
	Streaming func(context.Context) (collector.Status, error)
	// AgentToken completes the secret of a registration to what an agent needs to call us;
	// nil: agents cannot register.
	AgentToken func(secret, space string) AgentToken
	// PublicURL is where people reach us: passkeys belong to its name.
	PublicURL string
	Secure    bool            // browsers reach us over TLS: cookies are Secure
	Base      context.Context // ends when the server stops; nil: never
	Log       *slog.Logger    // nil: slog.Default
}

// TaskLogs reads the log of a task as a tree. The door has checked before that the
// reader may see the task.
type TaskLogs interface {
	// next is the offset behind what the tree has.
	Tree(ctx context.Context, s *spaces.Space, task spaces.TaskID) (tree []LogNode, next int64, err error)
	// Lines reads whole lines from an offset on, at most max bytes, each a JSON object: t
	// its time, c its category, m its text, s its step and g its target.
	Lines(s *spaces.Space, task spaces.TaskID, offset int64, max int) (lines []byte, next int64, err error)
	// Topic is changed when there are new lines.
	Topic(task spaces.TaskID) string
}

// LogNode is a task, a step or a target in the log. Status is one of Pending, Running,
// Success, SuccessWithWarning, Failed, Skipped, Canceled.
type LogNode struct {
	Key            string // step and target of its lines, as "2/web-01"
	Name, Status   string
	Started, Ended *time.Time
	Lines          []LogLine
	Children       []LogNode
}

// LogLine is a line of it; Category as in execution.LogEntry.
type LogLine struct {
	Time           time.Time
	Category, Text string
}

const (
	sessionCookie = "octopuses_session"
	visitorCookie = "octopuses_visitor" // proves that a form before signing in was ours
	requestTime   = 30 * time.Second
	transferTime  = 2 * time.Hour // of rows that take files
	maxForm       = 4 << 20       // bytes; a process with large scripts
)

// Routes registers all pages on app. It comes last, since what no row takes becomes our
// page for "not found".
func (s *Server) Routes(app *fiber.App) {
	if s.Log == nil {
		s.Log = slog.Default()
	}
	if s.Base == nil {
		s.Base = context.Background()
	}
	if s.MaxPackage == 0 {
		s.MaxPackage = 5 << 30
	}
	app.Get(static.Prefix+"*", s.static)
	for _, row := range s.table() {
		app.Add(row.method, row.path, s.serve(row))
	}
	app.Use(s.serve(route{who: public, h: func(*request) error {
		return errs.New(errs.NotFound, "There is no such page, or none that you may see.")
	}}))
}

func (s *Server) static(c *fiber.Ctx) error {
	defer body.Of(c).Finish(c)
	f, ok := static.Open(c.Params("*"), c.Get(fiber.HeaderAcceptEncoding))
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	if !ok {
		return c.SendStatus(fiber.StatusNotFound)
	}
	c.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
	c.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
	c.Set(fiber.HeaderContentType, f.Type)
	if f.Encoding != "" {
		c.Set(fiber.HeaderContentEncoding, f.Encoding)
	}
	return c.Send(f.Body)
}

// serve is what happens to every request: headers, session, forgery check, lease of
// the space, the handler, and the page of what went wrong.
func (s *Server) serve(row route) fiber.Handler {
	limit := requestTime
	if row.parts {
		limit = transferTime
	}
	return func(c *fiber.Ctx) (err error) {
		ctx, cancel := context.WithTimeout(s.Base, limit)
		defer cancel()
		r := &request{Ctx: c, s: s, ctx: ctx, id: spaces.NewULID(time.Now()), row: row}
		s.headers(c)
		defer body.Of(c).Finish(c)
		defer func() {
			if p := recover(); p != nil {
				s.Log.Error("page panicked", "request", r.id, "path", c.Path(), "panic", p, "stack", string(debug.Stack()))
				err = r.fail(fmt.Errorf("panic: %v", p))
			}
		}()
		defer r.release()
		if err := r.enter(); err != nil {
			return r.fail(err)
		}
		if r.redirected {
			return nil
		}
		if err := row.h(r); err != nil {
			return r.fail(err)
		}
		return nil
	}
}

func (s *Server) headers(c *fiber.Ctx) {
	if s.Secure {
		// Browsers ignore it with a certificate that they do not trust (RFC 6797 8.1).
		c.Set(fiber.HeaderStrictTransportSecurity, "max-age=31536000")
	}
	c.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderXFrameOptions, "DENY")
	c.Set(fiber.HeaderReferrerPolicy, "same-origin")
	c.Set("Cross-Origin-Opener-Policy", "same-origin")
	c.Set(fiber.HeaderCacheControl, "no-store")
}

// sameOrigin refuses a form that another site made a browser send.
func (r *request) sameOrigin() error {
	bad := errs.New(errs.Denied, "This form came from another site.").WithHint("Open the page here and try again.")
	if site := r.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return bad
	}
	if o := r.Get(fiber.HeaderOrigin); o != "" && o != "null" {
		_, host, ok := strings.Cut(o, "://")
		if !ok || !strings.EqualFold(host, string(r.Request().Header.Host())) {
			return bad
		}
	} else if o == "null" {
		return bad
	}
	return nil
}

var errSignedOut = errors.New("nobody is signed in")
