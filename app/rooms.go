package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/body"
	"octopuses.dev/octopuses/app/collector"
	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/app/runner"
	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/app/web"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/pin"
)

// rooms are the parts of a server that work over all its spaces.
type rooms struct {
	identity pin.Identity
	runner   *runner.Runner
	zones    *zones.Service
	feeds    *feeds.Client
	keys     *keyRoom
	hub      *targets.Hub
	agents   *targets.Directory
	links    chan spaces.Ref // spaces that begin to dial peers
	url      string          // under which people reach us
	webPin   string          // of our certificate at that door; "" without TLS or with a given one

	auditWake chan struct{}   // length 1: there may be something to stream
	gauge     collector.Gauge // of streaming
	hooks     chan spaces.Ref // spaces with something for their subscriptions
}

// furnish makes the rooms; it starts nothing.
func (s *server) furnish(ctx context.Context) error {
	var err error
	if s.identity, err = machineIdentity(ctx, s.instance); err != nil {
		return err
	}
	s.links = make(chan spaces.Ref, 64)
	s.keys = &keyRoom{data: s.data, instance: s.instance, spaces: s.spaces}
	s.hub = targets.NewHub(s.identity, s.knownAgent, s.agentCame, s.log)
	s.agents = targets.NewDirectory(s.identity, s.hub)
	s.zones = &zones.Service{Identity: s.identity, Address: func() string { return s.cfg.ZonesAddress }, Log: s.log}
	s.feeds = feeds.New(outbound.Guard{Local: s.cfg.OutboundLocal}, nil)
	s.runner = runner.New(runner.Config{Spaces: s.spaces, Transports: s.agents, Marked: s.marked, Stopped: s.queueStopped, ServerURI: func() string { return s.url }, Cap: s.cfg.TaskCap, Logger: s.log})
	return nil
}

// spaceMarks keeps the marks of spaces in instance.db. linked, if not nil, hears of a space
// that now dials peers.
type spaceMarks struct {
	instance *instance.Instance
	linked   func(spaces.Ref)
	audited  func() // told of a space with something for the collector of the audit; may be nil
}

func (m spaceMarks) Marks(ctx context.Context, ref spaces.Ref) ([]string, error) {
	n, err := spaceNumber(ref)
	if err != nil {
		return nil, err
	}
	return m.instance.Marks(ctx, n)
}

func (m spaceMarks) Mark(ctx context.Context, ref spaces.Ref, add, remove []string) error {
	n, err := spaceNumber(ref)
	if err != nil {
		return err
	}
	if err := m.instance.Mark(ctx, n, add, remove); err != nil {
		return err
	}
	if m.audited != nil && slices.Contains(add, spaces.MarkAudit) {
		m.audited()
	}
	if m.linked != nil && slices.Contains(add, spaces.MarkLinks) {
		m.linked(ref)
	}
	return nil
}

func spaceNumber(ref spaces.Ref) (n int64, err error) {
	if _, err := fmt.Sscanf(ref.ID, "Spaces-%d", &n); err != nil {
		return 0, fmt.Errorf("%q is no id of a space: %w", ref.ID, err)
	}
	return n, nil
}

func (m spaceMarks) taskNumbers(ctx context.Context, ref spaces.Ref, above int64) (first, last int64, err error) {
	n, err := spaceNumber(ref)
	if err != nil {
		return 0, 0, err
	}
	return m.instance.GiveTaskNumbers(ctx, n, above)
}

// marked lists the spaces that something is to be done in without being asked.
func (s *server) marked(ctx context.Context, mark string) ([]spaces.Ref, error) {
	rows, err := s.instance.Marked(ctx, mark)
	if err != nil {
		return nil, err
	}
	out := make([]spaces.Ref, len(rows))
	for i, x := range rows {
		out[i] = refOf(x)
	}
	return out, nil
}

// queueStopped reports whether no task of a space is to be started: it says so, or it is
// a space of this server no more.
func (s *server) queueStopped(ctx context.Context, ref spaces.Ref) (bool, error) {
	x, err := s.instance.SpaceBy(ctx, ref.ID)
	if errs.KindOf(err) == errs.NotFound {
		return true, nil
	}
	return x.TaskQueueStopped || x.Folder != ref.Folder, err
}

// knownAgent decides in a handshake whether a key is that of a registered polling agent.
func (s *server) knownAgent(p string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	known, err := s.instance.HasMark(ctx, spaces.AgentMark(p))
	if err != nil {
		s.log.Error("look up an agent", "thumbprint", p, "err", err)
	}
	return known
}

// agentCame has the health of targets asked for that were out of reach until their agent
// dialled: nobody would know for up to an hour that they are back.
func (s *server) agentCame(p string, connected bool) {
	if !connected {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		rows, err := s.instance.Marked(ctx, spaces.AgentMark(p))
		for _, row := range rows {
			err = errors.Join(err, s.within(ctx, refOf(row), func(space *spaces.Space) error {
				return spaces.Do(ctx, space, spaces.Server(), func(tx *spaces.Tx) error { return tx.AgentCame(p) })
			}))
		}
		if err != nil {
			s.log.Warn("note that an agent has come", "thumbprint", p, "err", err)
		}
	}()
}

// within leases a space for a function.
func (s *server) within(ctx context.Context, ref spaces.Ref, f func(*spaces.Space) error) error {
	space, err := s.spaces.Acquire(ctx, ref)
	if err != nil {
		return err
	}
	defer space.Release()
	return f(space)
}

// startWork starts what works without being asked by a request: the runner of server
// tasks and the links of zones.
func (s *server) startWork(life *lifetime, stage *stage) {
	life.loop(stage, "task runner", s.runner.Run)
	life.loop(stage, "zone links", s.runLinks)
	life.loop(stage, "leftovers", s.tidy)
	life.loop(stage, "health of targets", s.checkHealth)
	life.loop(stage, "retention", s.applyRetention)
	life.loop(stage, "streaming of the audit", s.streamAudit)
	life.loop(stage, "archive of the audit", s.archiveAudit)
	life.loop(stage, "subscriptions", s.tellSubscriptions)
}

// tidy removes what a process that was killed left half done, and once a day what nobody
// goes on with. A folder that cannot be removed is tried again by the next start.
func (s *server) tidy(ctx context.Context) error {
	folders, err := s.instance.DeletedFolders(ctx)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		err := s.spaces.Delete(folder)
		if err == nil {
			err = s.instance.FolderGone(ctx, folder)
		}
		if err != nil {
			s.log.Error("remove folder of deleted space", "folder", folder, "err", err)
		}
	}
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		if err := s.spaces.Tidy(s.began); err != nil {
			s.log.Error("remove unfinished files", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-day.C:
		}
	}
}

// runLinks keeps the links of spaces that dial peers, and first goes on with promotions
// that a crash left in preparation.
func (s *server) runLinks(ctx context.Context) error {
	dialing, err := s.marked(ctx, spaces.MarkLinks)
	if err != nil {
		return err
	}
	busy, err := s.marked(ctx, spaces.MarkWork)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	running := map[string]bool{}
	begin := func(ref spaces.Ref) {
		if running[ref.Folder] {
			return
		}
		running[ref.Folder] = true
		group.Go(func() {
			err := s.within(ctx, ref, func(space *spaces.Space) error { return s.zones.RunLinks(ctx, space) })
			if err != nil && ctx.Err() == nil {
				s.log.Error("links of a space", "space", ref.ID, "err", err)
			}
		})
	}
	for _, ref := range dialing {
		begin(ref)
	}
	for _, ref := range busy {
		if running[ref.Folder] {
			continue
		}
		// Nobody dials for it, and a promotion that is carried by hand waits for no wire.
		group.Go(func() {
			err := s.within(ctx, ref, func(space *spaces.Space) error { return s.zones.Resume(ctx, space) })
			if err != nil && ctx.Err() == nil {
				s.log.Error("resume promotions", "space", ref.ID, "err", err)
			}
		})
	}
	// A link that was made at the console is marked by another process.
	look := time.NewTicker(linksAnew)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ref := <-s.links:
			begin(ref)
		case <-look.C:
			dialing, err := s.marked(ctx, spaces.MarkLinks)
			if err != nil {
				s.log.Error("look for new links", "err", err)
			}
			for _, ref := range dialing {
				begin(ref)
			}
		}
	}
}

const linksAnew = 20 * time.Second

// wake is told by the registry, after a commit, of a space with work. It never blocks.
func (s *server) wake(ref spaces.Ref) {
	if s.runner != nil {
		s.runner.Wake(ref)
	}
}

// openMachineDoors listens for polling agents and for linked zones, each with mutual TLS
// on a port of its own.
func (s *server) openMachineDoors(life *lifetime, stage *stage) error {
	if s.cfg.Agents != "off" && s.cfg.Agents != "" {
		l, err := listen(s.cfg.Agents, "--agents")
		if err != nil {
			return err
		}
		life.loop(stage, "door for agents", func(ctx context.Context) error { return s.hub.Serve(ctx, l) })
	}
	if s.cfg.Zones != "off" && s.cfg.Zones != "" {
		l, err := listen(s.cfg.Zones, "--zones")
		if err != nil {
			return err
		}
		door := &zones.Door{Service: s.zones, Resolve: s.resolve}
		// Which key may do what is decided by the link that a request names.
		config := pin.ServerConfig(s.identity, func(string) bool { return true })
		config.NextProtos = []string{"h2", "http/1.1"}
		life.loop(stage, "door for zones", func(ctx context.Context) error {
			return serveMachines(ctx, l, config, door.Handler(), s.cfg.Stop/8)
		})
	}
	return nil
}

// serveMachines is serveHTTP with mutual TLS and HTTP/2.
func serveMachines(ctx context.Context, l net.Listener, config *tls.Config, h http.Handler, patience time.Duration) error {
	srv := &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if srv.Shutdown(limit) != nil {
			srv.Close()
		}
	})
	defer stop()
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// resolve leases the space with a ULID; its folder's name ends with a part of it.
func (s *server) resolve(ctx context.Context, ulid string) (*spaces.Space, error) {
	all, err := s.instance.Spaces(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range all {
		if !strings.HasSuffix(x.Folder, "-"+spaces.FolderSuffix(ulid)) {
			continue
		}
		space, err := s.spaces.Acquire(ctx, refOf(x))
		if err != nil {
			return nil, err
		}
		if space.ULID() == ulid {
			return space, nil
		}
		space.Release()
	}
	return nil, errs.Missing("space", ulid)
}

// fiberApp is the door for people and API clients.
func (s *server) fiberApp(ctx context.Context, secure bool) (*fiber.App, error) {
	proxies := s.cfg.Proxies
	app := fiber.New(fiber.Config{
		// Without DisablePreParseMultipartForm a form with files would be read whole, into
		// memory and temporary files, before anybody asks who sends it.
		Immutable: true, StreamRequestBody: true, DisablePreParseMultipartForm: true, DisableStartupMessage: true, BodyLimit: 64 << 20, ReadTimeout: 10 * time.Minute, WriteTimeout: 10 * time.Minute, IdleTimeout: time.Minute, ServerHeader: "",
		EnableTrustedProxyCheck: true, TrustedProxies: proxies, ProxyHeader: proxyHeader(proxies), EnableIPValidation: true, UnescapePath: false, ErrorHandler: refuse,
	})
	door := &api.Server{CookiePrefix: web.CookiePrefix(secure), Instance: s.instance, Spaces: s.spaces, Zones: s.zones, Feeds: s.feeds, Version: s.version, BaseURL: func() string { return s.url }, Logs: apiLogs{}, Agents: s.agents, AgentToken: s.agentToken, Keys: s.keys, Streaming: s.auditStatus, Log: s.log, Base: ctx}
	app.Use(body.Guard)
	app.Get("/healthz", func(c *fiber.Ctx) error { return c.SendString("ok\n") })
	app.Get("/readyz", func(c *fiber.Ctx) error {
		// Not the request's own context: fasthttp's is written to while a shutdown runs.
		look, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := s.healthy(look); err != nil {
			s.log.Error("not ready", "err", err)
			return c.Status(fiber.StatusServiceUnavailable).SendString("not ready: the server's own file does not answer\n")
		}
		return c.SendString("ready\n")
	})
	door.Routes(app)
	pages := &web.Server{Instance: s.instance, Spaces: s.spaces, Version: s.version, Logs: taskLogs{}, Zones: s.zones, Feeds: s.feeds, Linked: s.linked, AgentToken: s.webToken, AuditFolder: s.data.auditFolder(), Keys: s.keys, Streaming: s.auditStatus, PublicURL: s.url, Secure: secure, Base: ctx, Log: s.log}
	pages.Routes(app)
	return app, nil
}

// refuse answers what Fiber itself refuses, in the form of the door that was knocked at.
func refuse(c *fiber.Ctx, err error) error {
	if path := c.Path(); path == "/api" || strings.HasPrefix(path, "/api/") {
		return api.ErrorHandler(c, err)
	}
	return fiber.DefaultErrorHandler(c, err)
}

func proxyHeader(proxies []string) string {
	if len(proxies) == 0 {
		return ""
	}
	return fiber.HeaderXForwardedFor
}

// linked is told of a space that now dials peers. It never blocks.
func (s *server) linked(ref spaces.Ref) {
	select {
	case s.links <- ref:
	default:
	}
}

// agentToken completes the secret of a registration to what an agent needs to call.
func (s *server) agentToken(secret, space string) agent.Token {
	poll := s.cfg.AgentsAddress
	if s.cfg.Agents == "off" {
		poll = ""
	}
	return agent.Token{URL: s.url, Pin: s.webPin, Secret: secret + "@" + space, Server: s.identity.Pin, Poll: poll, Space: space}
}

// webToken is the same in the form of the door for browsers.
func (s *server) webToken(secret, space string) web.AgentToken {
	t := s.agentToken(secret, space)
	return web.AgentToken{Text: t.String(), URL: t.URL, Server: t.Server, Polling: t.Poll != ""}
}

// taskLogs gives the runner's logs the form of each door.
type taskLogs struct{}

func (taskLogs) Lines(s *spaces.Space, id spaces.TaskID, offset int64, max int) ([]byte, int64, error) {
	return runner.Lines(s, id, offset, max)
}

func (taskLogs) Topic(id spaces.TaskID) string { return runner.LogTopic(id) }

func (taskLogs) Tree(ctx context.Context, s *spaces.Space, id spaces.TaskID) ([]web.LogNode, int64, error) {
	root, err := runner.Tree(ctx, s, id)
	if err != nil {
		return nil, 0, err
	}
	return []web.LogNode{webNode(root)}, root.Next, nil
}

func webNode(n *runner.Node) web.LogNode {
	out := web.LogNode{Key: n.Key, Name: n.Name, Status: n.Status, Started: n.Started, Ended: n.Ended}
	for _, l := range n.Lines {
		out.Lines = append(out.Lines, web.LogLine{Time: l.Time, Category: l.Category, Text: l.Text})
	}
	for _, c := range n.Children {
		out.Children = append(out.Children, webNode(c))
	}
	return out
}

// apiLogs are the same logs in the form of Octopus's API.
type apiLogs struct{}

func (apiLogs) Details(ctx context.Context, s *spaces.Space, id spaces.TaskID) ([]api.ActivityLog, error) {
	root, err := runner.Tree(ctx, s, id)
	if err != nil {
		return nil, err
	}
	return []api.ActivityLog{activity(root)}, nil
}

func activity(n *runner.Node) api.ActivityLog {
	out := api.ActivityLog{ID: n.ID, Name: n.Name, Status: n.Status, Started: n.Started, Ended: n.Ended, ShowAtSummaryLevel: true, Children: []api.ActivityLog{}, LogElements: []api.LogElement{}}
	if slices.Contains([]string{"Success", "SuccessWithWarning", "Failed", "Skipped", "Canceled"}, n.Status) {
		out.ProgressPercentage = 100
	}
	for _, l := range n.Lines {
		out.LogElements = append(out.LogElements, api.LogElement{OccurredAt: l.Time, Category: l.Category, MessageText: l.Text, Number: l.Number})
	}
	for _, c := range n.Children {
		out.Children = append(out.Children, activity(c))
	}
	return out
}

func (taskLogs) Raw(s *spaces.Space, id spaces.TaskID, w io.Writer) error {
	return runner.Raw(s, id, w)
}

// Raw writes the log into a pipe, whose reader is slow or gone as it likes.
func (apiLogs) Raw(_ context.Context, s *spaces.Space, id spaces.TaskID) (io.ReadCloser, error) {
	in, out := io.Pipe()
	space := s.Hold()
	go func() {
		defer space.Release()
		out.CloseWithError(runner.Raw(space, id, out))
	}()
	return in, nil
}
