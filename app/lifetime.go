package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// lifetime runs named loops in stages and stops the stages one after another: what was
// added first is stopped last. So doors close while what they need still works.
type lifetime struct {
	log    *slog.Logger
	stages []*stage
	failed chan error // of the first loop that ended by itself; length 1
}

// stage is a set of loops that stop together.
type stage struct {
	name   string
	budget time.Duration // how long it may take to stop
	ctx    context.Context
	cancel context.CancelFunc
	group  *errgroup.Group

	mu      sync.Mutex
	running map[string]bool
}

func newLifetime(log *slog.Logger) *lifetime {
	return &lifetime{log: log, failed: make(chan error, 1)}
}

// stage adds a stage that is stopped before those which exist. Its context is the
// base of everything that its loops serve.
func (l *lifetime) stage(name string, budget time.Duration) *stage {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stage{name: name, budget: budget, ctx: ctx, cancel: cancel, group: new(errgroup.Group), running: map[string]bool{}}
	l.stages = append(l.stages, s)
	return s
}

// loop starts run in a stage. A loop that returns before it is told to ends the whole
// lifetime, with an error or without.
func (l *lifetime) loop(s *stage, name string, run func(ctx context.Context) error) {
	s.mu.Lock()
	s.running[name] = true
	s.mu.Unlock()
	s.group.Go(func() error {
		err := run(s.ctx)
		s.mu.Lock()
		delete(s.running, name)
		s.mu.Unlock()
		if s.ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return nil
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		err = fmt.Errorf("%s: %w", name, err)
		select {
		case l.failed <- err:
		default:
		}
		return err
	})
}

// wait returns when ctx ends or a loop fails, after all stages were stopped. The
// error is that of the loop which failed, and of loops that did not stop in time.
func (l *lifetime) wait(ctx context.Context) error {
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-l.failed:
		l.log.Error("a part of the server failed; stopping", "err", cause)
	}
	return errors.Join(cause, l.stop(cause))
}

// stop stops the stages in reverse. known is an error that the caller reports already.
func (l *lifetime) stop(known error) error {
	var all []error
	for i := len(l.stages) - 1; i >= 0; i-- {
		s := l.stages[i]
		began := time.Now()
		s.cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.group.Wait() }()
		patience := time.NewTimer(s.budget)
		select {
		case err := <-ended:
			if err != nil && (known == nil || err.Error() != known.Error()) {
				all = append(all, err)
			}
			l.log.Debug("stopped", "stage", s.name, "elapsed_ms", time.Since(began).Milliseconds())
		case <-patience.C:
			names := s.names()
			l.log.Warn("did not stop in time", "stage", s.name, "waiting_for", names, "elapsed_ms", s.budget.Milliseconds())
			all = append(all, fmt.Errorf("%s did not stop within %s: %s", s.name, s.budget, names))
		}
		patience.Stop()
	}
	return errors.Join(all...)
}

// names are the loops that still run.
func (s *stage) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for n := range s.running {
		names = append(names, n)
	}
	return strings.Join(names, ", ")
}
