// Package runner does the tasks of all spaces: deployments, health checks and retention.
//
// One rule makes it safe to kill: the new state is stored, then its commands are
// performed, then the next event is taken (spaces/deploy/DESIGN.md). After a restart
// every unfinished deployment is taken up where it was; what its targets did meanwhile
// is asked of them by execution id.
package runner

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

// Transports gives the way to a machine.
type Transports interface {
	Transport(m targets.Machine) (targets.Transport, error)
}

// Config is what the runner works with.
type Config struct {
	Spaces     *spaces.Registry
	Transports Transports
	// Marked names the spaces of the server that have a mark.
	Marked func(ctx context.Context, mark string) ([]spaces.Ref, error)
	// Stopped reports whether the task queue of a space is stopped.
	Stopped   func(ctx context.Context, ref spaces.Ref) (bool, error)
	ServerURI func() string
	Cap       int // tasks at once over all spaces; 0: 50
	Logger    *slog.Logger
	// Patience is how long a target that has work may be out of reach before a person
	// is asked; 0: 10 minutes.
	Patience time.Duration
	// Reach is how long a target may be out of reach before work that it never got
	// fails; 0: 1 minute.
	Reach time.Duration
}

// Runner does tasks. Wake tells it of a space with work.
type Runner struct {
	cfg   Config
	slots chan struct{}
	wake  chan struct{}

	mu      sync.Mutex
	awake   map[string]spaces.Ref // folders with work since the last round
	workers map[string]*worker
	group   sync.WaitGroup
}

// New makes a runner that rests until Run.
func New(cfg Config) *Runner {
	if cfg.Cap == 0 {
		cfg.Cap = 50
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Minute
	}
	if cfg.Reach == 0 {
		cfg.Reach = time.Minute
	}
	return &Runner{cfg: cfg, slots: make(chan struct{}, cfg.Cap), wake: make(chan struct{}, 1), awake: map[string]spaces.Ref{}, workers: map[string]*worker{}}
}

// Wake tells of a space whose queue changed. It never blocks.
func (r *Runner) Wake(ref spaces.Ref) {
	r.mu.Lock()
	r.awake[ref.Folder] = ref
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run does tasks until ctx ends. Running tasks are then left to their targets and are
// taken up by the next start. It returns when all its goroutines have.
func (r *Runner) Run(ctx context.Context) error {
	busy, err := r.cfg.Marked(ctx, spaces.MarkWork)
	if err != nil {
		return fmt.Errorf("start runner: %w", err)
	}
	for _, ref := range busy {
		r.Wake(ref)
	}
	defer r.group.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		r.mu.Lock()
		for folder, ref := range r.awake {
			if w, ok := r.workers[folder]; ok {
				w.poke()
				continue
			}
			w := &worker{r: r, ref: ref, signal: make(chan struct{}, 1), tasks: map[spaces.TaskID]*run{}}
			r.workers[folder] = w
			r.group.Go(func() { w.run(ctx) })
		}
		clear(r.awake)
		r.mu.Unlock()
	}
}

// worker looks after the queue of one space while it has work.
type worker struct {
	r      *Runner
	ref    spaces.Ref
	signal chan struct{}

	mu    sync.Mutex
	tasks map[spaces.TaskID]*run
	group sync.WaitGroup
}

func (w *worker) poke() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.serve(ctx)
		if err == nil {
			break
		}
		w.r.cfg.Logger.Error("task queue of a space", "space", w.ref.ID, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
	w.group.Wait()
	w.r.mu.Lock()
	delete(w.r.workers, w.ref.Folder)
	_, again := w.r.awake[w.ref.Folder]
	w.r.mu.Unlock()
	select { // a signal between the last look and now
	case <-w.signal:
		again = true
	default:
	}
	if again && ctx.Err() == nil {
		w.r.Wake(w.ref)
	}
}

// serve runs tasks until the space has none left.
func (w *worker) serve(ctx context.Context) error {
	s, err := w.r.cfg.Spaces.Acquire(ctx, w.ref)
	if err != nil {
		return err
	}
	defer s.Release()
	unfinished, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Task, error) { return tx.Unfinished() })
	if err != nil {
		return err
	}
	for _, t := range unfinished {
		w.begin(ctx, s, t)
	}
	for {
		left, err := w.round(ctx, s)
		if err != nil {
			return err
		}
		var timer <-chan time.Time
		if left == 0 {
			next, idle, err := w.idle(ctx, s)
			if err != nil {
				return err
			}
			if idle {
				return nil
			}
			timer = time.After(min(max(time.Until(next), 10*time.Millisecond), time.Minute))
		} else {
			timer = time.After(10 * time.Second) // a lost signal costs seconds, not correctness
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.signal:
		case <-timer:
		}
	}
}

// idle takes the mark off a space without tasks; otherwise it says when to look again.
func (w *worker) idle(ctx context.Context, s *spaces.Space) (next time.Time, idle bool, err error) {
	idle, err = s.Idle(ctx, func(tx *spaces.Tx) (bool, error) {
		at, queued, err := tx.NextQueueTime()
		if err != nil || queued {
			next = at
			return false, err
		}
		running, err := tx.Unfinished()
		if err != nil {
			return false, err
		}
		next = time.Now().Add(10 * time.Second)
		open, err := tx.OpenPromotions()
		return len(running) == 0 && open == 0, err
	})
	if !idle && next.Before(time.Now()) {
		next = time.Now().Add(5 * time.Second) // queued, but not to be started: a stopped queue
	}
	return next, idle, err
}

// round starts what may start and tells running tasks of cancellations and answers.
func (w *worker) round(ctx context.Context, s *spaces.Space) (running int, err error) {
	w.mu.Lock()
	for _, t := range w.tasks {
		t.poke()
	}
	running = len(w.tasks)
	w.mu.Unlock()
	stopped, err := w.r.cfg.Stopped(ctx, w.ref)
	if err != nil || stopped {
		return running, err
	}
	queued, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Task, error) { return tx.Runnable(100) })
	if err != nil {
		return running, err
	}
	for _, t := range queued {
		select {
		case w.r.slots <- struct{}{}:
		default:
			return running + 1, nil // full: the end of a task wakes us
		}
		started, err := spaces.Update(ctx, s, spaces.Server(), func(tx *spaces.Tx) (bool, error) {
			var ok bool
			var err error
			t, ok, err = tx.StartTask(t.ID)
			return ok, err
		})
		<-w.r.slots
		if err != nil {
			return running, err
		}
		if started {
			w.begin(ctx, s, t)
			running++
		}
	}
	return running, nil
}

// begin runs a task of which the row says Executing.
func (w *worker) begin(ctx context.Context, s *spaces.Space, t spaces.Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.tasks[t.ID]; ok {
		return
	}
	run := &run{r: w.r, space: s, task: t, signal: make(chan struct{}, 1), log: openLog(s, t.ID)}
	w.tasks[t.ID] = run
	w.group.Go(func() {
		w.r.slots <- struct{}{}
		err := run.do(ctx)
		<-w.r.slots
		if err != nil && ctx.Err() == nil {
			w.r.cfg.Logger.Error("task", "space", w.ref.ID, "task", t.ID.String(), "err", err)
			run.fail(ctx, err)
		}
		run.log.close()
		w.mu.Lock()
		delete(w.tasks, t.ID)
		w.mu.Unlock()
		w.poke()
	})
}

// run is a task that is being done.
type run struct {
	r      *Runner
	space  *spaces.Space
	task   spaces.Task
	signal chan struct{}
	log    *taskLog
}

func (t *run) poke() {
	select {
	case t.signal <- struct{}{}:
	default:
	}
}

func (t *run) do(ctx context.Context) error {
	switch t.task.Kind {
	case spaces.TaskDeploy:
		return t.deploy(ctx)
	case spaces.TaskHealth:
		return t.health(ctx)
	case spaces.TaskRetention:
		return t.retention(ctx)
	}
	return errs.New(errs.Blocked, "This server does not know tasks of kind '%s'.", t.task.Kind)
}

// fail ends a task that could not be done, with words for people in its log.
func (t *run) fail(ctx context.Context, cause error) {
	text := errs.TextOf(cause)
	t.log.say("Error", text)
	err := spaces.Do(ctx, t.space, spaces.Server(), func(tx *spaces.Tx) error {
		return tx.FinishTask(t.task.ID, spaces.TaskFailed, text, true)
	})
	if err != nil {
		t.r.cfg.Logger.Error("end task", "task", t.task.ID.String(), "err", err)
	}
}
