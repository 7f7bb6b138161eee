package spaces

import (
	"encoding/json"
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Execution is one piece of work on one target, as the runner knows it. Its row is
// written before the target is asked to start.
type Execution struct {
	ID         string // ULID
	TaskID     TaskID
	StepName   string
	ActionID   string
	TargetID   TargetID // 0: the server
	TargetName string
	Attempt    int
	State      string // planned, then the states of execution.Status
	Message    string
	StartedAt  *time.Time
	EndedAt    *time.Time
}

const executionColumns = `id, task_id, step_name, action_id, COALESCE(target_id, 0), target_name, attempt, state, message, started_at, ended_at`

func scanExecution(scan func(...any) error) (Execution, error) {
	var x Execution
	var started, ended nullText
	err := scan(&x.ID, &x.TaskID, &x.StepName, &x.ActionID, &x.TargetID, &x.TargetName, &x.Attempt, &x.State, &x.Message, &started, &ended)
	x.StartedAt, x.EndedAt = parseTimePtr(started), parseTimePtr(ended)
	return x, err
}

// PlanExecution writes down a piece of work before it is started. Writing it twice
// is writing it once.
func (tx *Tx) PlanExecution(x Execution) error {
	res, err := tx.exec(`INSERT INTO execution (id, task_id, step_name, action_id, target_id, target_name, attempt, state, updated_at) VALUES (?, ?, ?, ?, NULLIF(?, 0), ?, ?, 'planned', ?) ON CONFLICT (id) DO NOTHING`,
		x.ID, int64(x.TaskID), x.StepName, x.ActionID, int64(x.TargetID), x.TargetName, x.Attempt, formatTime(tx.Now))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return tx.executionState(x.ID, "planned", "")
}

// SetExecution stores a transition, with the times as the target told them.
func (tx *Tx) SetExecution(id, state, message string, started, ended *time.Time) error {
	old, err := tx.execution(id)
	if err != nil {
		return err
	}
	if old.State == state && old.Message == message {
		return nil
	}
	err = tx.update(`UPDATE execution SET state = ?, message = ?, started_at = COALESCE(?, started_at), ended_at = COALESCE(?, ended_at), updated_at = ? WHERE id = ?`,
		state, message, formatTimePtr(started), formatTimePtr(ended), formatTime(tx.Now), id)
	if err != nil {
		return err
	}
	tx.changed("task/" + old.TaskID.String())
	return tx.executionState(id, state, message)
}

func (tx *Tx) executionState(id, state, message string) error {
	_, err := tx.exec(`INSERT INTO execution_state (execution_id, state, message, at) VALUES (?, ?, ?, ?)`, id, state, message, formatTime(tx.Now))
	return err
}

func (tx *ReadTx) execution(id string) (Execution, error) {
	x, err := scanExecution(tx.queryRow(`SELECT `+executionColumns+` FROM execution WHERE id = ?`, id).Scan)
	return x, notFound(err, "execution", id)
}

// Execution returns one, for the runner.
func (tx *ReadTx) Execution(id string) (Execution, error) { return tx.execution(id) }

// Executions lists those of a task, in the order in which they began.
func (tx *ReadTx) Executions(task TaskID) ([]Execution, error) {
	return list(tx, scanExecution, `SELECT `+executionColumns+` FROM execution WHERE task_id = ? ORDER BY COALESCE(started_at, updated_at), id`, int64(task))
}

// Interruption is a question of a task to a person; the task waits for the answer.
type Interruption struct {
	ID         InterruptionID
	TaskID     TaskID
	Kind       string
	Reference  string // what it is about, as the plan names it
	Title      string
	Message    string
	Choices    []Choice
	Answer     string
	Notes      string
	CreatedAt  time.Time
	AnsweredAt *time.Time // nil: pending
	AnsweredBy string
}

// Choice is one possible answer.
type Choice struct {
	Value string `json:"value"`
	Label string `json:"label"`
}

const interruptionColumns = `id, task_id, kind, reference, title, message, choices, answer, notes, created_at, answered_at, answered_by`

func scanInterruption(scan func(...any) error) (Interruption, error) {
	var i Interruption
	var choices, created string
	var answered nullText
	if err := scan(&i.ID, &i.TaskID, &i.Kind, &i.Reference, &i.Title, &i.Message, &choices, &i.Answer, &i.Notes, &created, &answered, &i.AnsweredBy); err != nil {
		return i, err
	}
	i.CreatedAt, i.AnsweredAt = parseTime(created), parseTimePtr(answered)
	return i, json.Unmarshal([]byte(choices), &i.Choices)
}

// OpenInterruption asks a person. Asking the same twice is asking once.
func (tx *Tx) OpenInterruption(i Interruption) error {
	t, err := tx.task(i.TaskID)
	if err != nil {
		return err
	}
	choices, err := json.Marshal(i.Choices)
	if err != nil {
		return fmt.Errorf("encode choices: %w", err)
	}
	res, err := tx.exec(`INSERT INTO interruption (task_id, kind, reference, title, message, choices, created_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (task_id, reference) DO NOTHING`,
		int64(i.TaskID), i.Kind, i.Reference, i.Title, i.Message, string(choices), formatTime(tx.Now))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if err := tx.update(`UPDATE task SET has_pending_interruptions = 1, updated_at = ? WHERE id = ?`, formatTime(tx.Now), int64(i.TaskID)); err != nil {
		return err
	}
	tx.record(Event{Category: "InterruptionRaised", Entity: "task", EntityID: i.TaskID.String(), ProjectID: t.ProjectID, EnvironmentID: t.EnvironmentID, Message: i.Title})
	tx.changed("tasks", "task/"+i.TaskID.String())
	return tx.projectTask(i.TaskID)
}

// AnswerInterruption stores a person's answer, which the runner then acts on. It
// needs InterruptionSubmit. Errors: [errs.Stale] when somebody answered before.
func (tx *Tx) AnswerInterruption(id InterruptionID, answer, notes string) (Interruption, error) {
	i, err := scanInterruption(tx.queryRow(`SELECT `+interruptionColumns+` FROM interruption WHERE id = ?`, int64(id)).Scan)
	if err != nil {
		return i, notFound(err, "interruption", id.String())
	}
	t, err := tx.Task(i.TaskID)
	if err != nil {
		return i, err
	}
	scope, err := tx.taskScope(t)
	if err != nil {
		return i, err
	}
	if err := tx.require(access.InterruptionSubmit, scope); err != nil {
		return i, err
	}
	if i.AnsweredAt != nil {
		return i, errs.New(errs.Stale, "This was already answered by %s.", i.AnsweredBy)
	}
	label := ""
	for _, c := range i.Choices {
		if c.Value == answer {
			label = c.Label
		}
	}
	if label == "" {
		return i, errs.New(errs.Invalid, "'%s' is none of the choices.", answer)
	}
	err = tx.update(`UPDATE interruption SET answer = ?, notes = ?, answered_at = ?, answered_by = ? WHERE id = ? AND answered_at IS NULL`, answer, notes, formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return i, err
	}
	if err := tx.update(`UPDATE task SET has_pending_interruptions = EXISTS (SELECT 1 FROM interruption WHERE task_id = ?1 AND answered_at IS NULL), updated_at = ?2 WHERE id = ?1`, int64(i.TaskID), formatTime(tx.Now)); err != nil {
		return i, err
	}
	tx.record(Event{Category: "InterruptionAnswered", Entity: "task", EntityID: i.TaskID.String(), ProjectID: t.ProjectID, EnvironmentID: t.EnvironmentID,
		Message: fmt.Sprintf("%s: answered '%s'", i.Title, label), Changes: audit.Pairs("Notes", "", notes)})
	tx.changed("tasks", "task/"+i.TaskID.String(), TopicQueue)
	if err := tx.projectTask(i.TaskID); err != nil {
		return i, err
	}
	return scanInterruption(tx.queryRow(`SELECT `+interruptionColumns+` FROM interruption WHERE id = ?`, int64(id)).Scan)
}

// CloseInterruption takes a question back: its answer came by itself.
func (tx *Tx) CloseInterruption(task TaskID, reference, why string) error {
	res, err := tx.exec(`UPDATE interruption SET answer = 'withdrawn', notes = ?, answered_at = ?, answered_by = ? WHERE task_id = ? AND reference = ? AND answered_at IS NULL`,
		why, formatTime(tx.Now), tx.Actor.Name, int64(task), reference)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if err := tx.update(`UPDATE task SET has_pending_interruptions = EXISTS (SELECT 1 FROM interruption WHERE task_id = ?1 AND answered_at IS NULL), updated_at = ?2 WHERE id = ?1`, int64(task), formatTime(tx.Now)); err != nil {
		return err
	}
	tx.changed("tasks", "task/"+task.String())
	return tx.projectTask(task)
}

// Interruptions lists those of a task, oldest first. It needs TaskView.
func (tx *ReadTx) Interruptions(task TaskID) ([]Interruption, error) {
	if _, err := tx.Task(task); err != nil {
		return nil, err
	}
	return list(tx, scanInterruption, `SELECT `+interruptionColumns+` FROM interruption WHERE task_id = ? ORDER BY id`, int64(task))
}
