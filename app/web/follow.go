package web

import (
	"bufio"
	"bytes"
	"context"
	"strconv"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

const (
	logPause = 10 * time.Millisecond // between two parts of a log: many lines go out in one
	logPart  = 256 << 10             // bytes
)

// follow is the log that a stream carries beside its topics. Lines go out as they are
// stored, so that fifty browsers cost little more than one.
type follow struct {
	logs  TaskLogs
	space *spaces.Space
	task  spaces.TaskID
	next  int64
}

// followed is the log that a stream is to carry; nil: none. A browser that lost its
// connection goes on where it was.
func (r *request) followed() (*follow, error) {
	text := r.Query("log")
	if text == "" || r.s.Logs == nil {
		return nil, nil
	}
	id, err := spaces.ParseTaskID(text)
	if err != nil {
		return nil, err
	}
	at := r.Get("Last-Event-ID")
	if at == "" {
		at = r.Query("from")
	}
	next, err := strconv.ParseInt(at, 10, 64)
	if err != nil || next < 0 {
		return nil, errs.New(errs.Invalid, "'%.20s' is no place in a log.", at)
	}
	f := &follow{logs: r.s.Logs, space: r.space, task: id, next: next}
	return f, f.allowed(r.ctx, r.actor)
}

// allowed reports by its error whether the person may see the task.
func (f *follow) allowed(ctx context.Context, actor spaces.Actor) error {
	_, err := spaces.View(ctx, f.space, actor, func(tx *spaces.ReadTx) (spaces.Task, error) { return tx.Task(f.task) })
	return err
}

// write sends what is new.
func (f *follow) write(w *bufio.Writer) error {
	for {
		lines, next, err := f.logs.Lines(f.space, f.task, f.next, logPart)
		if err != nil || next == f.next {
			return err
		}
		f.next = next
		_, _ = w.WriteString("id: " + strconv.FormatInt(next, 10) + "\nevent: log\n")
		for line := range bytes.Lines(lines) {
			_, _ = w.WriteString("data: ")
			_, _ = w.Write(line)
		}
		if err := w.WriteByte('\n'); err != nil { // the first error stays
			return err
		}
	}
}
