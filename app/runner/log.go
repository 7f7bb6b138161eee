package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/execution"
)

// line is a line of a task's log file. Step counts from 1; 0 is the task itself. Next is
// the offset in the target's own log up to which this line and all before it are taken
// over, so that the file itself says where to go on after a crash.
type line struct {
	Time      time.Time `json:"t"`
	Category  string    `json:"c"`
	Text      string    `json:"m"`
	Percent   *int      `json:"p,omitempty"`
	Step      int       `json:"s,omitempty"`
	Target    string    `json:"g,omitempty"`
	Execution string    `json:"x,omitempty"`
	Next      int64     `json:"o,omitempty"`
}

// LogTopic is changed when the log of a task has new lines.
func LogTopic(id spaces.TaskID) string { return "log/" + id.String() }

// taskLog appends to the log of one task.
type taskLog struct {
	space *spaces.Space
	id    spaces.TaskID
	path  string

	mu      sync.Mutex
	file    *os.File
	warned  int
	offsets map[string]int64
	said    map[told]bool // of the server's own lines, those that are said once
	err     error
}

// told is a line of the server about a task or a step of it.
type told struct {
	step int
	text string
}

func logPath(s *spaces.Space, id spaces.TaskID) string {
	return filepath.Join(s.LogDir(), id.String()+".jsonl")
}

func openLog(s *spaces.Space, id spaces.TaskID) *taskLog {
	l := &taskLog{space: s, id: id, path: logPath(s, id), offsets: map[string]int64{}, said: map[told]bool{}}
	complete := int64(0)
	if f, err := os.Open(l.path); err == nil {
		in := bufio.NewReader(f)
		for {
			b, err := in.ReadBytes('\n')
			if err != nil {
				break // a last line that a crash cut off does not count
			}
			complete += int64(len(b))
			var e line
			if json.Unmarshal(b, &e) != nil {
				continue
			}
			if e.Next > l.offsets[e.Execution] {
				l.offsets[e.Execution] = e.Next
			}
			if e.Category == "Warning" || e.Category == "Error" {
				l.warned++
			}
			if e.Target == "" {
				l.said[told{e.Step, e.Text}] = true
			}
		}
		f.Close()
	}
	l.file, l.err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if l.err == nil {
		if l.err = l.file.Truncate(complete); l.err == nil {
			_, l.err = l.file.Seek(complete, io.SeekStart)
		}
	}
	if l.err != nil {
		s.Log().Error("open task log", "task", id.String(), "err", l.err)
	}
	return l
}

func (l *taskLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		if err := errors.Join(l.file.Sync(), l.file.Close()); err != nil {
			l.space.Log().Error("close task log", "task", l.id.String(), "err", err)
		}
		l.file = nil
	}
}

func (l *taskLog) write(lines ...line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	var out []byte
	for _, e := range lines {
		if e.Time.IsZero() {
			e.Time = time.Now().UTC()
		}
		if e.Category == "Warning" || e.Category == "Error" {
			l.warned++
		}
		if e.Next > l.offsets[e.Execution] {
			l.offsets[e.Execution] = e.Next
		}
		b, err := json.Marshal(e)
		if err != nil {
			continue
		}
		out = append(append(out, b...), '\n')
	}
	if _, err := l.file.Write(out); err != nil && l.err == nil {
		l.err = err
		l.space.Log().Error("write task log", "task", l.id.String(), "err", err)
	}
	l.space.Hub().Publish(LogTopic(l.id))
}

func (l *taskLog) warnings() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warned
}

func (l *taskLog) offset(execution string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offsets[execution]
}

func (l *taskLog) say(category, text string) { l.write(line{Category: category, Text: text}) }

// once says what belongs to a stored decision, before the decision is stored: made again
// after a crash, it is not said again. step counts from 0; -1 is the task itself.
func (l *taskLog) once(step int, category, text string) {
	key := told{step + 1, text}
	l.mu.Lock()
	already := l.said[key]
	l.said[key] = true
	l.mu.Unlock()
	if !already {
		l.write(line{Category: category, Text: text, Step: step + 1})
	}
}

func (l *taskLog) target(step int, target, execution, category, text string) {
	l.write(line{Category: category, Text: text, Step: step + 1, Target: target, Execution: execution})
}

// takeOver copies lines of a target's log; next is the offset behind the last.
func (l *taskLog) takeOver(step int, target, id string, entries []execution.LogEntry, next int64) int64 {
	if len(entries) == 0 {
		return next
	}
	lines := make([]line, len(entries))
	for i, e := range entries {
		lines[i] = line{Time: e.Time, Category: e.Category, Text: e.Text, Percent: e.Percent, Step: step + 1, Target: target, Execution: id}
	}
	lines[len(lines)-1].Next = next
	l.write(lines...)
	return next
}

// Entry is a line of a log for a reader. Number counts from 1 in the file.
type Entry struct {
	Number   int
	Time     time.Time
	Category string
	Text     string
	Percent  *int
}

// Node is a part of a task: the task itself, a step, or a step on a target. Status is
// one of Pending, Running, Success, SuccessWithWarning, Failed, Skipped, Canceled.
type Node struct {
	ID       string
	Key      string // of its lines: step and target, as "2/web-01"
	Name     string
	Status   string
	Started  *time.Time
	Ended    *time.Time
	Lines    []Entry
	Children []*Node
	Next     int64 // of the task: the offset in the file behind the lines that were read
}

// Tree reads the log of a task as a tree of steps and targets. The caller has checked
// that the reader may see the task.
func Tree(ctx context.Context, s *spaces.Space, id spaces.TaskID) (*Node, error) {
	type facts struct {
		task  spaces.Task
		plan  *deploy.Plan
		state deploy.State
	}
	f, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (facts, error) {
		var f facts
		var err error
		if f.task, err = tx.Task(id); err != nil || f.task.Kind != spaces.TaskDeploy {
			return f, err
		}
		w, err := tx.Work(id)
		f.plan, f.state = w.Plan, w.State
		return f, err
	})
	if err != nil {
		return nil, err
	}
	root := &Node{ID: id.String(), Key: "0/", Name: f.task.Description, Status: taskStatus(f.task), Started: f.task.StartTime, Ended: f.task.CompletedTime}
	steps := map[int]*Node{}
	targets := map[string]*Node{}
	if f.plan != nil {
		for i, ps := range f.plan.Steps {
			n := &Node{ID: fmt.Sprintf("%s/step-%d", id, i+1), Key: fmt.Sprintf("%d/", i+1), Name: fmt.Sprintf("Step %d: %s", i+1, ps.Name), Status: "Pending"}
			if ps.Skip != "" {
				n.Status = "Skipped"
			}
			if i < len(f.state.Steps) {
				n.Status = workStatus(f.state.Steps[i].State, n.Status)
				for _, run := range f.state.Steps[i].Runs {
					name := run.Target
					for _, t := range f.plan.Targets {
						if t.ID == run.Target {
							name = t.Name
						}
					}
					c := &Node{ID: fmt.Sprintf("%s/step-%d/%s", id, i+1, run.Target), Key: fmt.Sprint(i+1, "/", name), Name: name, Status: workStatus(run.State, "Pending")}
					targets[fmt.Sprint(i+1, "/", name)] = c
					n.Children = append(n.Children, c)
				}
			}
			steps[i+1] = n
			root.Children = append(root.Children, n)
		}
	}
	root.Next, err = eachLine(s, id, func(number int, e line) {
		n := root
		if st := steps[e.Step]; st != nil {
			n = st
		}
		if e.Target != "" {
			key := fmt.Sprint(e.Step, "/", e.Target)
			c := targets[key]
			if c == nil {
				c = &Node{ID: n.ID + "/" + e.Target, Key: key, Name: e.Target, Status: root.Status}
				targets[key] = c
				n.Children = append(n.Children, c)
			}
			n = c
		}
		for _, x := range []*Node{n, steps[e.Step]} {
			if x == nil || x == root {
				continue
			}
			if x.Started == nil {
				x.Started = &e.Time
			}
			if x.Status != "Running" && x.Status != "Pending" {
				x.Ended = &e.Time
			}
			if x.Status == "Success" && (e.Category == "Warning" || e.Category == "Error") {
				x.Status = "SuccessWithWarning"
			}
		}
		n.Lines = append(n.Lines, Entry{number, e.Time, e.Category, e.Text, e.Percent})
	})
	return root, err
}

// eachLine returns the offset behind the last whole line.
func eachLine(s *spaces.Space, id spaces.TaskID, f func(number int, e line)) (next int64, err error) {
	file, err := os.Open(logPath(s, id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read task log: %w", err)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 64<<10)
	for n := 1; ; n++ {
		b, err := in.ReadBytes('\n')
		if err != nil {
			return next, nil // the end, or a line that is being written
		}
		next += int64(len(b))
		var e line
		if json.Unmarshal(b, &e) == nil {
			f(n, e)
		}
	}
}

// Lines reads the lines of a log as they are stored, one JSON object each: t its time, c
// its category, m its text, s its step and g its target, if any. It begins at a byte
// offset, reads at most max bytes, and returns the offset behind the last whole line. So
// many readers follow a log without anybody taking it apart for each.
func Lines(s *spaces.Space, id spaces.TaskID, offset int64, max int) (lines []byte, next int64, err error) {
	file, err := os.Open(logPath(s, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, offset, nil
	}
	if err != nil {
		return nil, offset, fmt.Errorf("read task log: %w", err)
	}
	defer file.Close()
	lines = make([]byte, max)
	n, err := file.ReadAt(lines, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, offset, fmt.Errorf("read task log: %w", err)
	}
	lines = lines[:bytes.LastIndexByte(lines[:n], '\n')+1]
	if len(lines) == 0 && n == max { // longer than any line of ours; nobody would come past it
		return nil, offset + int64(n), nil
	}
	return lines, offset + int64(len(lines)), nil
}

// Raw writes the log of a task as plain text.
func Raw(s *spaces.Space, id spaces.TaskID, w io.Writer) error {
	out := bufio.NewWriter(w)
	_, err := eachLine(s, id, func(_ int, e line) {
		where := ""
		if e.Target != "" {
			where = " " + e.Target + ":"
		}
		fmt.Fprintf(out, "%s %-9s|%s %s\n", e.Time.UTC().Format("15:04:05.000"), e.Category, where, e.Text)
	})
	return errors.Join(err, out.Flush())
}

func taskStatus(t spaces.Task) string {
	switch t.State {
	case spaces.Queued:
		return "Pending"
	case spaces.TaskSuccess:
		if t.HasWarningsOrErrors {
			return "SuccessWithWarning"
		}
		return "Success"
	case spaces.TaskCanceled:
		return "Canceled"
	case spaces.TaskFailed, spaces.TaskTimedOut:
		return "Failed"
	}
	return "Running"
}

func workStatus(w deploy.WorkState, otherwise string) string {
	switch w {
	case deploy.Starting, deploy.Working, deploy.Asking:
		return "Running"
	case deploy.Done:
		return "Success"
	case deploy.Broken:
		return "Failed"
	case deploy.Skipped, deploy.Excluded:
		return "Skipped"
	case deploy.Canceled:
		return "Canceled"
	}
	return otherwise
}
