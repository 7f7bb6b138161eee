package web

import (
	"bufio"
	"context"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func spaceRoutes() []route {
	return []route{
		get("/spaces", signedIn, "", spacesPage), post("/spaces", signedIn, access.SpaceCreate, createSpace),
		get("/spaces/:space/settings", inSpace, "", settings), post("/spaces/:space/settings", inSpace, "", saveSettings),
		post("/spaces/:space/settings/delete", inSpace, "", deleteSpace),
		get("/spaces/:space/events", inSpace, "", stream),
		get("/spaces/:space/search", inSpace, "", search),
	}
}

// createSpace makes folder, file and contents of a new space.
func (r *request) createSpace(by instance.Actor, in instance.SpaceInput) (instance.Space, error) {
	made, err := r.s.Instance.CreateSpace(r.ctx, by, in, func(name, slug string) (string, error) { return r.s.Spaces.Create(r.ctx, name, slug) })
	if err != nil {
		return made, err
	}
	sp, err := r.s.Spaces.Acquire(r.ctx, ref(made))
	if err != nil {
		return made, err
	}
	defer sp.Release()
	return made, spaces.Initialise(r.ctx, sp)
}

func spacesPage(r *request) error {
	page, err := r.spacesWith("", nil)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, page)
}

// countedSpaces is for how many tiles the file of the space is opened to count in it.
const countedSpaces = 24

func (r *request) spacesWith(name string, e []ui.FieldError) (templ.Component, error) {
	all, err := r.s.Instance.SpacesOf(r.ctx, r.session.User.ID)
	if err != nil {
		return nil, err
	}
	m := account.Spaces{Page: r.pageFor("Spaces", ""), Query: r.Query("q"), Name: name, Errors: e, CanCreate: r.system.Permissions.Any(access.SpaceCreate)}
	for i, s := range all {
		if !matches(m.Query, s.Name) {
			continue
		}
		t := account.SpaceTile{Slug: s.Slug, Name: s.Name, Description: s.Description}
		if i < countedSpaces {
			r.count(s, &t)
		}
		m.Tiles = append(m.Tiles, t)
	}
	return account.ShowSpaces(m), nil
}

// count fills in what a tile says of its space; a space that does not open shows nothing.
func (r *request) count(s instance.Space, t *account.SpaceTile) {
	sp, err := r.s.Spaces.Acquire(r.ctx, ref(s))
	if err != nil {
		r.s.Log.Warn("count in space", "space", s.ID(), "err", err)
		return
	}
	defer sp.Release()
	p, err := r.s.Instance.Permissions(r.ctx, r.session.User.ID, s.Number)
	if err != nil {
		return
	}
	by := r.actor
	by.ID, by.Name, by.Permissions = r.system.ID, r.system.Name, p
	_, _ = spaces.View(r.ctx, sp, by, func(tx *spaces.ReadTx) (struct{}, error) {
		one := spaces.ListOptions{Take: 1}
		if projects, err := tx.Projects(0, one); err == nil {
			t.Projects = projects.Total
		}
		if targets, err := tx.Targets(spaces.TargetFilter{ListOptions: one}); err == nil {
			t.Targets = targets.Total
		}
		return struct{}{}, nil
	})
}

func createSpace(r *request) error {
	name := r.value("name")
	made, err := r.createSpace(r.system, instance.SpaceInput{Name: name, Managers: []int64{r.session.User.ID}})
	if err != nil {
		page, e := r.spacesWith(name, complaints(err, nil))
		if e != nil {
			return e
		}
		return r.again(err, nil, func([]ui.FieldError) templ.Component { return page })
	}
	return r.see(views.DashboardURL(made.Slug))
}

// administers reports whether the person may change the space itself.

func (r *request) settingsWith(in instance.SpaceInput, e []ui.FieldError) templ.Component {
	m := account.Settings{Page: r.pageFor("Settings", "Settings"), Name: in.Name, Description: in.Description, QueueStopped: in.TaskQueueStopped, Errors: e, CanDelete: r.system.Permissions.Any(access.SpaceDelete)}
	if !m.CanDelete {
		m.Why = errs.TextOf(access.Missing(access.SpaceDelete))
	}
	_, _ = spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		if p, err := tx.Projects(0, spaces.ListOptions{Take: 1}); err == nil {
			m.Projects = p.Total
		}
		if p, err := tx.Releases(spaces.ReleaseFilter{Take: 1}); err == nil {
			m.Releases = p.Total
		}
		if p, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.ListOptions{Take: 1}}); err == nil {
			m.Targets = p.Total
		}
		return struct{}{}, nil
	})
	return account.ShowSettings(m)
}

func settings(r *request) error {
	a := r.about
	return r.render(fiber.StatusOK, r.settingsWith(instance.SpaceInput{Name: a.Name, Description: a.Description, TaskQueueStopped: a.TaskQueueStopped}, nil))
}

func saveSettings(r *request) error {
	in := instance.SpaceInput{Name: r.value("name"), Slug: r.about.Slug, Description: r.value("description"), IsDefault: r.about.IsDefault, TaskQueueStopped: r.checked("queueStopped")}
	saved, err := r.s.Instance.UpdateSpace(r.ctx, r.system, r.about, in)
	if err != nil {
		return r.again(err, nil, func(e []ui.FieldError) templ.Component { return r.settingsWith(in, e) })
	}
	return r.see(views.SettingsURL(saved.Slug))
}

func deleteSpace(r *request) error {
	a := r.about
	if err := r.s.Instance.DeleteSpace(r.ctx, r.system, a, r.form.Get("name")); err != nil {
		in := instance.SpaceInput{Name: a.Name, Description: a.Description, TaskQueueStopped: a.TaskQueueStopped}
		return r.again(err, map[string]string{"Name": "delete-name"}, func(e []ui.FieldError) templ.Component { return r.settingsWith(in, e) })
	}
	r.release()
	// The space is gone for people; a folder that is still in use is removed by the next start.
	err := r.s.Spaces.Delete(a.Folder)
	if err == nil {
		err = r.s.Instance.FolderGone(r.ctx, a.Folder)
	}
	if err != nil {
		r.s.Log.Warn("remove folder of deleted space", "folder", a.Folder, "err", err)
	}
	return r.see(views.SpacesURL())
}

// spaced writes "DeploymentQueued" as "Deployment queued".
func spaced(name string) string {
	var b strings.Builder
	for i, c := range name {
		if i > 0 && unicode.IsUpper(c) {
			b.WriteByte(' ')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

const (
	heartbeat   = 15 * time.Second
	maxTopics   = 16
	streamWrite = 2 * heartbeat
)

// stream tells the browser that something on its page changed, until it goes away, the
// server stops, or the person may no longer be here. The message has the topics of the
// page, never data: the browser reads again. Only the lines of a running task's log come
// by the stream itself.
func stream(r *request) error {
	topics := strings.Fields(r.Query("topics"))
	if len(topics) > maxTopics {
		return errs.New(errs.Invalid, "A page follows at most %d topics.", maxTopics)
	}
	for _, t := range topics {
		if len(t) > 100 {
			return errs.New(errs.Invalid, "'%.20s…' is no topic.", t)
		}
	}
	log, err := r.followed()
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, "text/event-stream")
	r.Set("X-Accel-Buffering", "no")
	// The writer runs after the handler returned: it keeps values, never the request.
	since := r.Query("since")
	base, token, user, number, inst := r.s.Base, r.cookie(sessionCookie), r.session.User.ID, r.about.Number, r.s.Instance
	space, conn, actor := r.space.Hold(), r.Context().Conn(), r.actor
	text := "event: changed\ndata: " + strings.Join(topics, " ") + "\n\n"
	r.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer space.Release()
		changed, end := space.Hub().Subscribe(topics...)
		defer end()
		var lines, listen <-chan struct{} // nil while the log rests
		if log != nil {
			var stop func()
			lines, stop = space.Hub().Subscribe(log.logs.Topic(log.task))
			defer stop()
		}
		rest := time.NewTimer(0)
		defer rest.Stop()
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		send := ": hello\n\n"
		if since != "" && space.Hub().ChangedSince(since, topics...) {
			send = text // between the drawing of the page and now
		}
		for {
			// The server's WriteTimeout is for pages; each message gets its own.
			_ = conn.SetWriteDeadline(time.Now().Add(streamWrite))
			if _, err := w.WriteString(send); err != nil || w.Flush() != nil {
				return
			}
			send = ""
			select {
			case <-base.Done():
				return
			case <-changed:
				send = text
			case <-listen:
				listen = nil
				rest.Reset(logPause)
				if log.write(w) != nil {
					return
				}
			case <-rest.C:
				listen = lines
				if log != nil && log.write(w) != nil {
					return
				}
			case <-tick.C:
				ctx, cancel := context.WithTimeout(base, requestTime)
				_, err := inst.SessionByToken(ctx, token)
				p, perr := inst.Permissions(ctx, user, number)
				cancel()
				if err != nil || perr != nil || p.Empty() {
					return
				}
				if actor.Permissions = p; log != nil && log.allowed(base, actor) != nil {
					return
				}
				send = ": still here\n\n"
			}
		}
	})
	return nil
}

type hit struct {
	Label string `json:"name"`
	Kind  string `json:"kind"`
	Href  string `json:"url"`
}

// search finds pages by a few letters, for the palette.
func search(r *request) error {
	q, slug := strings.TrimSpace(r.Query("q")), r.about.Slug
	hits, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) ([]hit, error) {
		out := []hit{}
		projects, err := tx.Projects(0, spaces.ListOptions{PartialName: q, Take: 8})
		if err == nil {
			for _, p := range projects.Items {
				out = append(out, hit{p.Name, "project", views.ProjectURL(slug, p.Slug)})
			}
		}
		if targets, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.ListOptions{PartialName: q, Take: 6}}); err == nil {
			for _, t := range targets.Items {
				out = append(out, hit{t.Name, "target", views.TargetURL(slug, t.ID.String())})
			}
		}
		if q != "" {
			if releases, err := tx.Releases(spaces.ReleaseFilter{SearchByVersion: q, Take: 6}); err == nil {
				for _, v := range releases.Items {
					if p, err := tx.Project(v.ProjectID); err == nil {
						out = append(out, hit{p.Name + " " + v.Version, "release", views.ReleaseURL(slug, p.Slug, v.Version)})
					}
				}
			}
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	if strings.Contains(r.Get(fiber.HeaderAccept), "text/html") {
		if len(hits) > 0 {
			return r.see(hits[0].Href)
		}
		return r.see(views.DashboardURL(slug) + "?q=" + url.QueryEscape(q))
	}
	return r.JSON(hits)
}
