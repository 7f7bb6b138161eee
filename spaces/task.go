package spaces

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// TaskState is where a task stands. The names are those of Octopus's API.
type TaskState string

// The states of a task. The last four are final.
const (
	Queued        TaskState = "Queued"
	Executing     TaskState = "Executing"
	Cancelling    TaskState = "Cancelling"
	TaskSuccess   TaskState = "Success"
	TaskFailed    TaskState = "Failed"
	TaskCanceled  TaskState = "Canceled"
	TaskTimedOut  TaskState = "TimedOut"
	unfinishedSQL           = `state IN ('Queued', 'Executing', 'Cancelling')`
)

// Finished reports whether the state is final.
func (s TaskState) Finished() bool { return s != Queued && s != Executing && s != Cancelling }

// Kinds of tasks.
const (
	TaskDeploy    = "Deploy"
	TaskHealth    = "Health"
	TaskRetention = "Retention"
)

// Task is a piece of work of the server: queued, run by the runner, kept as history.
type Task struct {
	ID                      TaskID
	ULID                    string
	Kind                    string
	Description             string
	State                   TaskState
	ProjectID               ProjectID     // 0: none
	EnvironmentID           EnvironmentID // 0: none
	TargetID                TargetID      // 0: none
	ConcurrencyTag          string        // of the tasks with one tag, one runs at a time
	Arguments               map[string]string
	ErrorMessage            string
	HasWarningsOrErrors     bool
	HasPendingInterruptions bool
	QueueTime               time.Time // not before
	QueueTimeExpiry         *time.Time
	StartTime               *time.Time
	CompletedTime           *time.Time
	UpdatedAt               time.Time
	CreatedAt               time.Time
	CreatedBy               string
	CanceledBy              string
}

const taskColumns = `id, ulid, kind, description, state, COALESCE(project_id, 0), COALESCE(environment_id, 0), COALESCE(target_id, 0), concurrency_tag, arguments, error_message, has_warnings_or_errors, has_pending_interruptions,
	queue_at, queue_expires_at, started_at, completed_at, updated_at, created_at, created_by, canceled_by`

func scanTask(scan func(...any) error) (Task, error) {
	var t Task
	var args, queue, updated, created string
	var expires, started, completed nullText
	if err := scan(&t.ID, &t.ULID, &t.Kind, &t.Description, &t.State, &t.ProjectID, &t.EnvironmentID, &t.TargetID, &t.ConcurrencyTag, &args, &t.ErrorMessage, &t.HasWarningsOrErrors, &t.HasPendingInterruptions,
		&queue, &expires, &started, &completed, &updated, &created, &t.CreatedBy, &t.CanceledBy); err != nil {
		return t, err
	}
	t.QueueTime, t.UpdatedAt, t.CreatedAt = parseTime(queue), parseTime(updated), parseTime(created)
	t.QueueTimeExpiry, t.StartTime, t.CompletedTime = parseTimePtr(expires), parseTimePtr(started), parseTimePtr(completed)
	if err := json.Unmarshal([]byte(args), &t.Arguments); err != nil {
		return t, fmt.Errorf("decode arguments of task %d: %w", t.ID, err)
	}
	return t, nil
}

type taskInput struct {
	kind, description string
	project           ProjectID
	environment       EnvironmentID
	target            TargetID
	tag               string
	arguments         map[string]string
	queueAt           time.Time
	queueExpires      *time.Time
}

func (tx *Tx) createTask(in taskInput) (TaskID, error) {
	if in.arguments == nil {
		in.arguments = map[string]string{}
	}
	args, err := json.Marshal(in.arguments)
	if err != nil {
		return 0, fmt.Errorf("encode task arguments: %w", err)
	}
	if in.queueAt.Before(tx.Now) {
		in.queueAt = tx.Now
	}
	number, err := tx.taskNumber()
	if err != nil {
		return 0, err
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO task (id, ulid, kind, description, state, project_id, environment_id, target_id, concurrency_tag, arguments, queue_at, queue_expires_at, updated_at, created_at, created_by)
		VALUES (NULLIF(?, 0), ?, ?, ?, 'Queued', NULLIF(?, 0), NULLIF(?, 0), NULLIF(?, 0), ?, ?, ?, ?, ?, ?, ?)`,
		number, NewULID(tx.Now), in.kind, in.description, int64(in.project), int64(in.environment), int64(in.target), in.tag, string(args), formatTime(in.queueAt), formatTimePtr(in.queueExpires), now, now, tx.Actor.Name)
	if err != nil {
		return 0, err
	}
	tx.changed("tasks", TopicQueue)
	return TaskID(n), nil
}

// taskNumber is the next id of those that this space was given, 0 where it counts for
// itself.
func (tx *Tx) taskNumber() (int64, error) {
	give := tx.Space.taskNumbers
	if give == nil {
		return 0, nil
	}
	var next, last int64
	if err := tx.queryRow(`SELECT task_next, task_last FROM space_meta WHERE id = 1`).Scan(&next, &last); err != nil {
		return 0, err
	}
	if next > last {
		above, err := one[int64](tx.ReadTx, `SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'task'), 0)`)
		if err != nil {
			return 0, err
		}
		if next, last, err = give(tx.ctx, tx.Space.ref, above); err != nil {
			return 0, err
		}
	}
	return next, tx.update(`UPDATE space_meta SET task_next = ?, task_last = ? WHERE id = 1`, next+1, last)
}

// TopicQueue is the topic that tells the runner of queued and cancelled tasks and
// of answered interruptions.
const TopicQueue = "queue"

// QueueHealthCheck queues a task that asks targets for their health; target 0 asks
// all. It needs TaskCreate.
func (tx *Tx) QueueHealthCheck(target TargetID) (Task, error) {
	if err := tx.require(access.TaskCreate, access.Scope{}); err != nil {
		return Task{}, err
	}
	what := "all deployment targets"
	if target != 0 {
		t, err := tx.Target(target)
		if err != nil {
			return Task{}, err
		}
		what = t.Name
	}
	id, err := tx.createTask(taskInput{kind: TaskHealth, description: "Check the health of " + what, target: target})
	if err != nil {
		return Task{}, err
	}
	return tx.task(id)
}

// QueueDueHealthCheck asks all targets for their health if that was not done for as long
// as every, and is not under way. It returns when it is due next. Only the server does it.
func (tx *Tx) QueueDueHealthCheck(every time.Duration) (next time.Time, err error) {
	if open, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM task WHERE state IN ('Queued', 'Executing', 'Cancelling') AND kind = 'Health' AND target_id IS NULL)`); err != nil || open {
		return tx.Now.Add(every), err
	}
	last, err := one[string](tx.ReadTx, `SELECT COALESCE((SELECT created_at FROM task WHERE kind = 'Health' AND target_id IS NULL ORDER BY id DESC LIMIT 1), '')`)
	if err != nil {
		return next, err
	}
	if next = parseTime(last).Add(every); last != "" && next.After(tx.Now) {
		return next, nil
	}
	_, err = tx.QueueHealthCheck(0)
	return tx.Now.Add(every), err
}

// AgentCame asks those targets for their health that a polling agent stands for and that
// were out of reach when they were asked last. Only the server does it.
func (tx *Tx) AgentCame(thumbprint string) error {
	type lost struct {
		id   TargetID
		name string
	}
	found, err := list(tx.ReadTx, func(scan func(...any) error) (lost, error) {
		var t lost
		return t, scan(&t.id, &t.name)
	}, `SELECT id, name FROM target WHERE style = '`+StylePolling+`' AND thumbprint = ? AND health = 'Unavailable'
		AND NOT EXISTS (SELECT 1 FROM task WHERE kind = 'Health' AND state = 'Queued' AND target_id = target.id)`, strings.ToLower(thumbprint))
	if err != nil {
		return err
	}
	for _, t := range found {
		if _, err := tx.createTask(taskInput{kind: TaskHealth, description: "Check the health of " + t.name, target: t.id}); err != nil {
			return err
		}
	}
	return nil
}

func (t Task) scope() access.Scope {
	return access.Scope{Project: t.ProjectID.String(), Environment: t.EnvironmentID.String()}
}

func (tx *ReadTx) task(id TaskID) (Task, error) {
	t, err := scanTask(tx.queryRow(`SELECT `+taskColumns+` FROM task WHERE id = ?`, int64(id)).Scan)
	return t, notFound(err, "task", id.String())
}

// Task returns one. It needs TaskView for its project and environment.
func (tx *ReadTx) Task(id TaskID) (Task, error) {
	t, err := tx.task(id)
	if err != nil {
		return t, err
	}
	scope, err := tx.taskScope(t)
	if err != nil {
		return t, err
	}
	if !tx.Can(access.TaskView, scope) {
		if tx.Actor.Permissions.Any(access.TaskView) {
			return Task{}, errs.Missing("task", id.String())
		}
		return Task{}, access.Missing(access.TaskView)
	}
	return t, nil
}

// taskScope is the task as permissions see it, with the group of its project.
func (tx *ReadTx) taskScope(t Task) (access.Scope, error) {
	s := t.scope()
	if t.ProjectID != 0 {
		p, err := tx.project(t.ProjectID)
		if err != nil {
			return s, err
		}
		s.ProjectGroup = p.GroupID.String()
	}
	return s, nil
}

// TaskFilter chooses tasks; zero values choose all.
type TaskFilter struct {
	IDs         []string
	States      []string
	Kind        string
	Project     ProjectID
	Environment EnvironmentID
	Target      TargetID
	Active      bool // only unfinished ones
	Interrupted bool // only those that wait for a person
	PartialName string
	Skip, Take  int
}

// Tasks lists those that the actor may see, newest first.
func (tx *ReadTx) Tasks(o TaskFilter) (Page[Task], error) {
	sight, err := tx.sight(access.TaskView)
	if err != nil {
		return Page[Task]{}, err
	}
	var f filter
	f.ids("id", prefixTask, o.IDs)
	if len(o.States) > 0 {
		args := make([]any, len(o.States))
		for i, s := range o.States {
			args[i] = s
		}
		f.add("state IN (?"+strings.Repeat(", ?", len(o.States)-1)+")", args...)
	}
	if o.Kind != "" {
		f.add("kind = ?", o.Kind)
	}
	if o.Project != 0 {
		f.add("project_id = ?", int64(o.Project))
	}
	if o.Environment != 0 {
		f.add("environment_id = ?", int64(o.Environment))
	}
	if o.Target != 0 {
		f.add("(target_id = ? OR id IN (SELECT task_id FROM execution WHERE target_id = ?))", int64(o.Target), int64(o.Target))
	}
	if o.Active {
		f.add(unfinishedSQL)
	}
	if o.Interrupted {
		f.add("has_pending_interruptions = 1")
	}
	if o.PartialName != "" {
		f.add(`description LIKE ? ESCAPE '\'`, like(o.PartialName))
	}
	p, err := pageOf(tx, scanTask, taskColumns, "task", "description", "id DESC", f, ListOptions{Skip: o.Skip, Take: o.Take})
	if err != nil {
		return p, err
	}
	all := len(p.Items)
	p.Items, err = seen(sight, p.Items, func(t Task) (ProjectID, EnvironmentID) { return t.ProjectID, t.EnvironmentID })
	p.Total -= all - len(p.Items)
	return p, err
}

// CountTasks counts unfinished tasks: those that run and those that wait.
func (tx *ReadTx) CountTasks() (running, queued int, err error) {
	err = tx.queryRow(`SELECT COALESCE(sum(state <> 'Queued'), 0), COALESCE(sum(state = 'Queued'), 0) FROM task WHERE `+unfinishedSQL).Scan(&running, &queued)
	return running, queued, err
}

// CancelTask stops a task: a queued one at once, a running one as soon as its
// targets have stopped. It needs TaskCancel. A finished task stays as it is.
func (tx *Tx) CancelTask(id TaskID) (Task, error) {
	t, err := tx.Task(id)
	if err != nil {
		return t, err
	}
	scope, err := tx.taskScope(t)
	if err != nil {
		return t, err
	}
	if err := tx.require(access.TaskCancel, scope); err != nil {
		return t, err
	}
	if t.State.Finished() || t.State == Cancelling {
		return t, nil
	}
	if err := tx.update(`UPDATE task SET canceled_by = ? WHERE id = ?`, tx.Actor.Name, int64(id)); err != nil {
		return t, err
	}
	tx.record(Event{Category: "TaskCanceled", Entity: "task", EntityID: id.String(), ProjectID: t.ProjectID, EnvironmentID: t.EnvironmentID, Message: fmt.Sprintf("%s was cancelled", t.Description)})
	if t.State == Queued {
		if err := tx.FinishTask(id, TaskCanceled, "Cancelled by "+tx.Actor.Name+" before it started.", false); err != nil {
			return t, err
		}
	} else if err := tx.setTaskState(t, Cancelling); err != nil {
		return t, err
	}
	tx.changed(TopicQueue)
	return tx.task(id)
}

func (tx *Tx) setTaskState(t Task, state TaskState) error {
	if err := tx.update(`UPDATE task SET state = ?, updated_at = ? WHERE id = ?`, string(state), formatTime(tx.Now), int64(t.ID)); err != nil {
		return err
	}
	tx.changed("tasks", "task/"+t.ID.String())
	return tx.projectTask(t.ID)
}

// What follows is for the runner, which acts as [Server].

// Runnable lists queued tasks that may start now, oldest first: their time has
// come and no task with the same concurrency tag runs.
func (tx *ReadTx) Runnable(limit int) ([]Task, error) {
	return list(tx, scanTask, `SELECT `+taskColumns+` FROM task t WHERE state = 'Queued' AND queue_at <= ? AND (concurrency_tag = '' OR NOT EXISTS (
		SELECT 1 FROM task o WHERE o.state IN ('Executing', 'Cancelling') AND o.concurrency_tag = t.concurrency_tag)) ORDER BY id LIMIT ?`, formatTime(tx.Now), limit)
}

// Unfinished lists the tasks that were started and are not finished, as after a
// restart of the server.
func (tx *ReadTx) Unfinished() ([]Task, error) {
	return list(tx, scanTask, `SELECT `+taskColumns+` FROM task WHERE state IN ('Executing', 'Cancelling') ORDER BY id`)
}

// NextQueueTime is when the next queued task may start; ok is false when none is
// queued.
func (tx *ReadTx) NextQueueTime() (at time.Time, ok bool, err error) {
	s, err := one[nullText](tx, `SELECT min(queue_at) FROM task WHERE state = 'Queued'`)
	if err != nil || !s.Valid {
		return time.Time{}, false, err
	}
	return parseTime(s.String), true, nil
}

// StartTask takes a queued task for running. ok is false when it is not queued any
// more, its tag is taken, or it has expired (and is timed out by this call).
func (tx *Tx) StartTask(id TaskID) (t Task, ok bool, err error) {
	if t, err = tx.task(id); err != nil {
		return t, false, err
	}
	if t.State != Queued {
		return t, false, nil
	}
	if t.QueueTimeExpiry != nil && tx.Now.After(*t.QueueTimeExpiry) {
		return t, false, tx.FinishTask(id, TaskTimedOut, "It was not started before its queue time expired.", true)
	}
	if t.ConcurrencyTag != "" {
		busy, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM task WHERE state IN ('Executing', 'Cancelling') AND concurrency_tag = ?)`, t.ConcurrencyTag)
		if err != nil || busy {
			return t, false, err
		}
	}
	now := formatTime(tx.Now)
	if err := tx.update(`UPDATE task SET state = 'Executing', started_at = ?, updated_at = ? WHERE id = ?`, now, now, int64(id)); err != nil {
		return t, false, err
	}
	if t.Kind == TaskDeploy {
		if err := tx.deploymentEvent(t, "DeploymentStarted", "started"); err != nil {
			return t, false, err
		}
	}
	tx.changed("tasks", "task/"+id.String())
	if err := tx.projectTask(id); err != nil {
		return t, false, err
	}
	t, err = tx.task(id)
	return t, true, err
}

// FinishTask gives a task its final state.
func (tx *Tx) FinishTask(id TaskID, state TaskState, message string, warnings bool) error {
	t, err := tx.task(id)
	if err != nil {
		return err
	}
	if t.State.Finished() {
		return nil
	}
	now := formatTime(tx.Now)
	err = tx.update(`UPDATE task SET state = ?, error_message = ?, has_warnings_or_errors = ?, has_pending_interruptions = 0, completed_at = ?, updated_at = ? WHERE id = ?`,
		string(state), message, warnings || state == TaskFailed || state == TaskTimedOut, now, now, int64(id))
	if err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE interruption SET answered_at = ?, answer = 'withdrawn' WHERE task_id = ? AND answered_at IS NULL`, now, int64(id)); err != nil {
		return err
	}
	if t.Kind == TaskDeploy {
		category := map[TaskState]string{TaskSuccess: "DeploymentSucceeded", TaskFailed: "DeploymentFailed", TaskCanceled: "DeploymentCanceled", TaskTimedOut: "DeploymentFailed"}[state]
		if err := tx.deploymentEvent(t, category, map[TaskState]string{TaskSuccess: "succeeded", TaskFailed: "failed", TaskCanceled: "was cancelled", TaskTimedOut: "timed out"}[state]); err != nil {
			return err
		}
	}
	tx.changed("tasks", "task/"+id.String(), TopicQueue)
	if err := tx.projectTask(id); err != nil || t.Kind != TaskDeploy || state != TaskSuccess {
		return err
	}
	release, err := one[ReleaseID](tx.ReadTx, `SELECT release_id FROM deployment WHERE task_id = ?`, int64(id))
	if err != nil {
		return err
	}
	return tx.goOn(release)
}
