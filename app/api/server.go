package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/body"
	"octopuses.dev/octopuses/app/collector"
	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones"
)

// Server is the door for programs. Fields are set before [Server.Routes].
type Server struct {
	Instance *instance.Instance
	Spaces   *spaces.Registry
	Version  string         // of the product
	BaseURL  func() string  // how clients reach us, for links to pages; nil: as the request says
	Logs     TaskLogs       // nil: tasks have no log
	Agents   AgentDoor      // nil: machines cannot be discovered
	Zones    *zones.Service // nil: there are no zones
	Feeds    *feeds.Client  // nil: no feed outside is called
	Keys     instance.Keys  // nil: its keys cannot be looked at or exchanged
	// Streaming tells how the streaming of the audit goes; nil: nobody knows.
	Streaming func(context.Context) (collector.Status, error)
	// AgentToken completes the secret of a registration to what an agent needs to call us;
	// nil: agents cannot register.
	AgentToken func(secret, space string) agent.Token
	// CookiePrefix begins the name of the cookie of a session.
	CookiePrefix string
	MaxPackage   int64        // bytes of an uploaded package; 0: 5 GiB
	Log          *slog.Logger // nil: slog.Default
	Base         context.Context

	mu           sync.Mutex
	installation string // once it is known
}

// TaskLogs reads the logs of tasks. The door has checked before that the reader may see
// the task.
type TaskLogs interface {
	// Details is the log as a tree: the task, its steps, their targets.
	Details(ctx context.Context, s *spaces.Space, task spaces.TaskID) ([]ActivityLog, error)
	// Raw is the log as plain text. The caller closes it.
	Raw(ctx context.Context, s *spaces.Space, task spaces.TaskID) (io.ReadCloser, error)
}

// ActivityLog is a part of a task in its log, as Octopus's API has it. Status is one of
// Pending, Running, Success, SuccessWithWarning, Failed, Skipped, Canceled.
type ActivityLog struct {
	ID                 string        `json:"Id"`
	Name               string        `json:"Name"`
	Status             string        `json:"Status"`
	Started            *time.Time    `json:"Started"`
	Ended              *time.Time    `json:"Ended"`
	ShowAtSummaryLevel bool          `json:"ShowAtSummaryLevel"`
	ProgressPercentage int           `json:"ProgressPercentage"`
	ProgressMessage    string        `json:"ProgressMessage"`
	Children           []ActivityLog `json:"Children"`
	LogElements        []LogElement  `json:"LogElements"`
}

// LogElement is a line of a log. Category is one of Trace, Verbose, Info, Highlight,
// Warning, Error, Fatal, Wait, Gap, Finished. Number counts from 1 in the task.
type LogElement struct {
	OccurredAt  time.Time `json:"OccurredAt"`
	Category    string    `json:"Category"`
	MessageText string    `json:"MessageText"`
	Number      int       `json:"Number"`
}

// AgentDoor reaches agents that are no targets yet.
type AgentDoor interface {
	// Discover asks the agent at an address for its pin: lower-case hex SHA-256.
	Discover(ctx context.Context, host string, port int) (pin string, err error)
}

const (
	requestTime  = 30 * time.Second
	transferTime = 2 * time.Hour // for rows that move packages
	maxJSON      = 1 << 20       // bytes
	maxDocument  = 16 << 20      // bytes; a process with large scripts, 20,000 variables
)

// Routes mounts the table on app, and behind it JSON for what no row takes.
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
	table := s.Table()
	for _, row := range table {
		if row.Who != InSpace {
			app.Add(row.Method, "/api"+row.Path, s.serve(row))
		}
	}
	// Three forms. The one without a space comes before the one that takes any word for
	// a space, so that /api/environments/all is no space called "environments".
	for _, prefix := range []string{"/api/spaces/:space", "/api", "/api/:space"} {
		for _, row := range table {
			if row.Who == InSpace && (row.Path != "" || prefix == "/api/:space") {
				app.Add(row.Method, prefix+row.Path, s.serve(row))
			}
		}
	}
	app.Use("/api", s.serve(Row{Who: Public, handle: func(r *request) error {
		return errs.New(errs.NotFound, "The resource '%s' was not found.", r.Path())
	}}))
}

// serve is what happens to every request: headers, who asks, the lease of the space,
// the handler, what is left of the body, and the answer to a failure.
func (s *Server) serve(row Row) fiber.Handler {
	limit := requestTime
	if row.transfer || row.slow {
		limit = transferTime
	}
	return func(c *fiber.Ctx) (err error) {
		ctx, cancel := context.WithTimeout(s.Base, limit)
		defer cancel()
		r := &request{Ctx: c, s: s, ctx: ctx, row: row, body: body.Of(c)}
		c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
		c.Set(fiber.HeaderCacheControl, "no-store")
		defer r.body.Finish(c)
		defer r.giveBack()
		defer func() {
			if p := recover(); p != nil {
				s.Log.Error("api panicked", "path", c.Path(), "panic", p, "stack", string(debug.Stack()))
				err = r.fail(fmt.Errorf("panic: %v", p))
			}
		}()
		if err := r.enter(); err != nil {
			return r.fail(err)
		}
		if err := r.receive(); err != nil {
			return r.fail(err)
		}
		if err := row.handle(r); err != nil {
			return r.fail(err)
		}
		return nil
	}
}

// installationID is the UUID of this server, made at the first question.
func (s *Server) installationID(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installation != "" {
		return s.installation, nil
	}
	b, err := s.Instance.SettingOr(ctx, "installation-id", func() ([]byte, error) { return []byte(newUUID()), nil })
	if err != nil {
		return "", err
	}
	s.installation = string(b)
	return s.installation, nil
}

// prefix is the path under which clients see us, "" or as "/octo".
func (s *Server) prefix() string {
	if s.BaseURL == nil {
		return ""
	}
	u, err := url.Parse(s.BaseURL())
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}
