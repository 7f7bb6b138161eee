package api

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func taskRoutes() []Row {
	rows := []Row{
		get("/tasks/taskTypes", SignedIn, "", taskTypes),
		get("/tasks", SignedIn, "", inSomeSpace(listTasks)),
		post("/tasks", SignedIn, "", inSomeSpace(createTask)),
		get("/tasks/:id", SignedIn, "", inSpaceOfTask(showTask)),
		get("/tasks/:id/details", SignedIn, "", inSpaceOfTask(taskDetails)),
		moving(get("/tasks/:id/raw", SignedIn, "", inSpaceOfTask(taskRaw))),
		post("/tasks/:id/cancel", SignedIn, "", inSpaceOfTask(cancelTask)),
	}
	return append(rows,
		get("/tasks", InSpace, access.TaskView, listTasks),
		post("/tasks", InSpace, access.TaskCreate, createTask),
		get("/tasks/:id", InSpace, access.TaskView, showTask),
		get("/tasks/:id/details", InSpace, access.TaskView, taskDetails),
		moving(get("/tasks/:id/raw", InSpace, access.TaskView, taskRaw)),
		post("/tasks/:id/cancel", InSpace, access.TaskCancel, cancelTask),
	)
}

// inSomeSpace answers a row of the server in the space that the query names, else in
// the default space, else in the first one that the caller may enter.
func inSomeSpace(h func(*request) error) func(*request) error {
	return func(r *request) error {
		if ids := r.list("spaces"); len(ids) > 0 {
			about, err := r.s.Instance.SpaceBy(r.ctx, ids[0])
			if err != nil {
				return err
			}
			if err := r.lease(about); err != nil {
				return err
			}
			return h(r)
		}
		mine, err := r.ownSpaces()
		if err != nil {
			return err
		}
		if len(mine) == 0 {
			return errs.New(errs.NotFound, "There is no space that you may enter.")
		}
		if err := r.lease(mine[0]); err != nil {
			return err
		}
		return h(r)
	}
}

// inSpaceOfTask answers a row of the server for a task that is named without its space.
// The space that the id was given to is asked first; ids of before they were given, or of
// a space that came from another server, may be those of several: the default space, then
// the others by name.
func inSpaceOfTask(h func(*request) error) func(*request) error {
	return func(r *request) error {
		id, err := spaces.ParseTaskID(r.param("id"))
		if err != nil {
			return err
		}
		mine, err := r.ownSpaces()
		if err != nil {
			return err
		}
		owner, err := r.s.Instance.SpaceOfTask(r.ctx, int64(id))
		if err != nil {
			return err
		}
		slices.SortStableFunc(mine, func(a, b instance.Space) int {
			switch owner {
			case a.Number:
				return -1
			case b.Number:
				return 1
			}
			return 0
		})
		for _, about := range mine {
			if err := r.lease(about); err != nil {
				return err
			}
			_, err := view(r, func(tx *spaces.ReadTx) (spaces.Task, error) { return tx.Task(id) })
			if err == nil {
				return h(r)
			}
			if kind := errs.KindOf(err); kind != errs.NotFound && kind != errs.Denied {
				return err
			}
		}
		return errs.Missing("task", r.param("id"))
	}
}

// ownSpaces are those that the caller may enter, the default one first.
func (r *request) ownSpaces() ([]instance.Space, error) {
	list, err := r.s.Instance.SpacesOf(r.ctx, r.user.ID)
	if err != nil {
		return nil, err
	}
	var first, rest []instance.Space
	for _, s := range list {
		p, err := r.s.Instance.Permissions(r.ctx, r.user.ID, s.Number)
		if err != nil {
			return nil, err
		}
		switch {
		case p.Empty():
		case s.IsDefault:
			first = append(first, s)
		default:
			rest = append(rest, s)
		}
	}
	return append(first, rest...), nil
}

type taskResource struct {
	ID                         string            `json:"Id"`
	SpaceID                    string            `json:"SpaceId"`
	ProjectID                  string            `json:"ProjectId,omitempty"`
	EnvironmentID              string            `json:"EnvironmentId,omitempty"`
	Name                       string            `json:"Name"`
	Description                string            `json:"Description"`
	Arguments                  map[string]string `json:"Arguments"`
	State                      string            `json:"State"`
	IsCompleted                bool              `json:"IsCompleted"`
	FinishedSuccessfully       bool              `json:"FinishedSuccessfully"`
	HasBeenPickedUpByProcessor bool              `json:"HasBeenPickedUpByProcessor"`
	HasPendingInterruptions    bool              `json:"HasPendingInterruptions"`
	HasWarningsOrErrors        bool              `json:"HasWarningsOrErrors"`
	CanRerun                   bool              `json:"CanRerun"`
	QueueTime                  *time.Time        `json:"QueueTime"`
	QueueTimeExpiry            *time.Time        `json:"QueueTimeExpiry"`
	StartTime                  *time.Time        `json:"StartTime"`
	LastUpdatedTime            *time.Time        `json:"LastUpdatedTime"`
	CompletedTime              *time.Time        `json:"CompletedTime"`
	Completed                  string            `json:"Completed"` // for people
	Duration                   string            `json:"Duration"`  // for people
	ErrorMessage               string            `json:"ErrorMessage"`
	ServerNode                 *string           `json:"ServerNode"`
	Links                      links             `json:"Links"`
}

func (r *request) taskResource(t spaces.Task) taskResource {
	self := r.in("tasks", t.ID.String())
	out := taskResource{ID: t.ID.String(), SpaceID: r.about.ID(), ProjectID: t.ProjectID.String(), EnvironmentID: t.EnvironmentID.String(), Name: t.Kind, Description: t.Description, Arguments: t.Arguments, State: string(t.State),
		IsCompleted: t.State.Finished(), FinishedSuccessfully: t.State == spaces.TaskSuccess, HasBeenPickedUpByProcessor: t.StartTime != nil, HasPendingInterruptions: t.HasPendingInterruptions, HasWarningsOrErrors: t.HasWarningsOrErrors,
		QueueTime: timeOrNil(t.QueueTime), QueueTimeExpiry: t.QueueTimeExpiry, StartTime: t.StartTime, LastUpdatedTime: timeOrNil(t.UpdatedAt), CompletedTime: t.CompletedTime, Duration: durationOf(t), ErrorMessage: t.ErrorMessage,
		Links: links{"Self": self, "Details": self + "/details{?verbose,tail,ranges}", "Raw": self + "/raw", "Cancel": self + "/cancel", "Interruptions": r.in("interruptions") + "?regarding=" + t.ID.String(), "Web": r.s.prefix() + "/app#/" + r.about.ID() + "/tasks/" + t.ID.String()}}
	out.Completed = string(t.State)
	if t.CompletedTime != nil {
		out.Completed = t.CompletedTime.UTC().Format("Monday, 02 January 2006 15:04:05 -07:00")
	}
	if out.Arguments == nil {
		out.Arguments = map[string]string{}
	}
	return out
}

// durationOf is how long a task took, for people; "" before its end.
func durationOf(t spaces.Task) string {
	if t.StartTime == nil || t.CompletedTime == nil {
		return ""
	}
	d := max(t.CompletedTime.Sub(*t.StartTime), 0)
	count := func(n int, what string) string {
		if n == 1 {
			return "1 " + what
		}
		return fmt.Sprintf("%d %ss", n, what)
	}
	switch {
	case d < time.Second:
		return "less than 1 second"
	case d < time.Minute:
		return count(int(d/time.Second), "second")
	case d < time.Hour:
		return count(int(d/time.Minute), "minute")
	}
	return count(int(d/time.Hour), "hour")
}

func (r *request) taskFilter(tx *spaces.ReadTx) (spaces.TaskFilter, error) {
	f := spaces.TaskFilter{IDs: r.list("ids"), States: r.list("states"), Kind: r.query("name"), Active: r.flag("active") || r.flag("running"), Interrupted: r.flag("hasPendingInterruptions"), PartialName: r.query("partialName"), Skip: r.number("skip"), Take: r.number("take")}
	if text := r.query("project"); text != "" {
		p, err := tx.ProjectBy(text)
		if err != nil {
			return f, err
		}
		f.Project = p.ID
	}
	if text := r.query("environment"); text != "" {
		e, err := tx.EnvironmentBy(text)
		if err != nil {
			return f, err
		}
		f.Environment = e.ID
	}
	return f, nil
}

func listTasks(r *request) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Task], error) {
		f, err := r.taskFilter(tx)
		if err != nil {
			return spaces.Page[spaces.Task]{}, err
		}
		return tx.Tasks(f)
	})
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Task", p, r.taskResource))
}

// createTask queues a health check, the only task that people start by its name.
func createTask(r *request) error {
	in, err := readJSON[struct {
		Name      string
		Arguments struct {
			MachineIDs []string `json:"MachineIds"`
		}
	}](r)
	if err != nil {
		return err
	}
	if !strings.EqualFold(in.Name, spaces.TaskHealth) {
		return errs.New(errs.Invalid, "Tasks named '%s' cannot be started here.", in.Name).WithHint("Only Health can; deployments are created under /deployments.")
	}
	if len(in.Arguments.MachineIDs) > 1 {
		return errs.New(errs.Invalid, "A health check is of one target or of all.").WithHint("Send one id in MachineIds, or none.")
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (taskResource, error) {
		var target spaces.TargetID
		for _, text := range in.Arguments.MachineIDs {
			t, err := tx.TargetBy(text)
			if err != nil {
				return taskResource{}, wrongReference(err, "Arguments.MachineIds", "deployment target", text)
			}
			target = t.ID
		}
		t, err := tx.QueueHealthCheck(target)
		return r.taskResource(t), err
	})
}

// task is the one of the path, which the caller may see.
func (r *request) task() (spaces.Task, error) {
	return view(r, func(tx *spaces.ReadTx) (spaces.Task, error) {
		id, err := spaces.ParseTaskID(r.param("id"))
		if err != nil {
			return spaces.Task{}, err
		}
		return tx.Task(id)
	})
}

func showTask(r *request) error {
	t, err := r.task()
	if err != nil {
		return err
	}
	return r.ok(r.taskResource(t))
}

type progressOfTask struct {
	ProgressPercentage     int    `json:"ProgressPercentage"`
	EstimatedTimeRemaining string `json:"EstimatedTimeRemaining"`
}

type taskDetailsResource struct {
	Task            taskResource   `json:"Task"`
	ActivityLogs    []ActivityLog  `json:"ActivityLogs"`
	PhysicalLogSize int64          `json:"PhysicalLogSize"`
	Progress        progressOfTask `json:"Progress"`
	Links           links          `json:"Links"`
}

func taskDetails(r *request) error {
	t, err := r.task()
	if err != nil {
		return err
	}
	out := taskDetailsResource{Task: r.taskResource(t), ActivityLogs: []ActivityLog{}, Links: links{"Self": r.in("tasks", t.ID.String(), "details")}}
	if t.State.Finished() {
		out.Progress.ProgressPercentage = 100
	}
	if r.s.Logs != nil {
		if out.ActivityLogs, err = r.s.Logs.Details(r.ctx, r.space, t.ID); err != nil {
			return err
		}
	}
	lists(out.ActivityLogs)
	if out.ActivityLogs == nil {
		out.ActivityLogs = []ActivityLog{}
	}
	return r.ok(out)
}

// lists makes every list of a log a list: clients iterate without asking.
func lists(logs []ActivityLog) {
	for i := range logs {
		logs[i].Children, logs[i].LogElements = orEmpty(logs[i].Children), orEmpty(logs[i].LogElements)
		lists(logs[i].Children)
	}
}

func taskRaw(r *request) error {
	t, err := r.task()
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
	if r.s.Logs == nil {
		return r.SendString("")
	}
	text, err := r.s.Logs.Raw(r.ctx, r.space, t.ID)
	if err != nil {
		return err
	}
	// The answer is written after this handler has given the space back.
	r.Context().SetBodyStream(&leased{ReadCloser: text, space: r.space.Hold()}, -1)
	return nil
}

// leased holds a space until an answer is written.
type leased struct {
	io.ReadCloser
	space *spaces.Space
}

func (l *leased) Close() error {
	err := l.ReadCloser.Close()
	if l.space != nil {
		l.space.Release()
		l.space = nil
	}
	return err
}

func cancelTask(r *request) error {
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (taskResource, error) {
		id, err := spaces.ParseTaskID(r.param("id"))
		if err != nil {
			return taskResource{}, err
		}
		t, err := tx.CancelTask(id)
		return r.taskResource(t), err
	})
}

func taskTypes(r *request) error {
	return r.ok([]named{{spaces.TaskDeploy, "Deploy"}, {spaces.TaskHealth, "Health check"}, {spaces.TaskRetention, "Retention"}})
}
