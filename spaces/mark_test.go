package spaces_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/spaces/spacetest"
)

// board keeps marks in memory, as a server keeps them in a file of its own.
type board struct {
	mu     sync.Mutex
	marks  map[string]bool
	broken error
}

func (b *board) Marks(context.Context, spaces.Ref) ([]string, error) {
	return b.list(), nil
}

func (b *board) Mark(_ context.Context, _ spaces.Ref, add, remove []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return b.broken
	}
	for _, m := range add {
		b.marks[m] = true
	}
	for _, m := range remove {
		delete(b.marks, m)
	}
	return nil
}

func (b *board) list() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []string{}
	for m := range b.marks {
		if !strings.HasPrefix(m, spaces.ArchiveMark("")) { // every space with events has one of those
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out
}

func (b *board) want(t *testing.T, when string, marks ...string) {
	t.Helper()
	if have := b.list(); !slices.Equal(have, marks) {
		t.Errorf("%s: the marks are %q, want %q", when, have, marks)
	}
}

// A server that starts opens the spaces with marks and no other, so a mark that is
// missing is work that nobody does.
func TestMarks(t *testing.T) {
	t.Parallel()
	b := &board{marks: map[string]bool{}}
	cfg := spaces.Config{Root: filepath.Join(t.TempDir(), "spaces"), Master: secrets.Master{Key: secrets.NewKey()}, Marks: b}
	r, err := spaces.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := r.Create(ctx, "One", "one")
	if err != nil {
		t.Fatal(err)
	}
	ref := spaces.Ref{ID: "Spaces-1", Folder: folder, Name: "One", Slug: "one"}
	open := func() *spaces.Space {
		t.Helper()
		s, err := r.Acquire(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	reopen := func(s *spaces.Space) *spaces.Space {
		t.Helper()
		s.Release()
		if err := r.CloseSpace(folder); err != nil {
			t.Fatal(err)
		}
		return open()
	}
	s := open()
	defer func() {
		s.Release()
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := spaces.Initialise(ctx, s); err != nil {
		t.Fatal(err)
	}
	env := must(t, s, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Dev"})
	})
	b.want(t, "a space in which nothing is to be done")

	pinA, pinB := strings.Repeat("a", 64), strings.Repeat("b", 64)
	agent := func(name, thumbprint string) spaces.TargetInput {
		return spaces.TargetInput{Name: name, Style: spaces.StylePolling, Thumbprint: thumbprint, Environments: []spaces.EnvironmentID{env.ID}, Tags: []string{"web"}}
	}
	target := must(t, s, func(tx *spaces.Tx) (spaces.Target, error) { return tx.CreateTarget(agent("one", pinA)) })
	b.want(t, "with an agent", spaces.AgentMark(pinA), spaces.MarkTargets)
	must(t, s, func(tx *spaces.Tx) (spaces.Target, error) { return tx.UpdateTarget(target.ID, agent("one", pinB)) })
	b.want(t, "with another key", spaces.AgentMark(pinB), spaces.MarkTargets)

	b.mu.Lock()
	b.broken = errors.New("the disk is full")
	b.mu.Unlock()
	_, err = spaces.Update(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) (spaces.Target, error) { return tx.CreateTarget(agent("two", pinA)) })
	if !errors.Is(err, b.broken) {
		t.Errorf("a target without its mark: %v", err)
	}
	b.mu.Lock()
	b.broken = nil
	b.marks = map[string]bool{spaces.AgentMark(strings.Repeat("c", 64)): true, spaces.MarkLinks: true} // as after a crash, or of another copy
	b.mu.Unlock()
	s = reopen(s)
	b.want(t, "after the space was opened again", spaces.AgentMark(pinB), spaces.MarkTargets)
	list, err := spaces.View(ctx, s, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Page[spaces.Target], error) {
		return tx.Targets(spaces.TargetFilter{})
	})
	if err != nil || list.Total != 1 {
		t.Errorf("%d targets, %v", list.Total, err)
	}

	quiet := func(ok bool) func(*spaces.Tx) (bool, error) {
		return func(*spaces.Tx) (bool, error) { return ok, nil }
	}
	must(t, s, func(tx *spaces.Tx) (spaces.Task, error) { return tx.QueueHealthCheck(target.ID) })
	b.want(t, "with a task", spaces.AgentMark(pinB), spaces.MarkTargets, spaces.MarkWork)
	if idle, err := s.Idle(ctx, quiet(false)); idle || err != nil {
		t.Errorf("idle %v, %v", idle, err)
	}
	s = reopen(s)
	b.want(t, "with a task that waits", spaces.AgentMark(pinB), spaces.MarkTargets, spaces.MarkWork)
	if idle, err := s.Idle(ctx, quiet(true)); !idle || err != nil {
		t.Errorf("idle %v, %v", idle, err)
	}
	b.want(t, "when all is done", spaces.AgentMark(pinB), spaces.MarkTargets)

	agentMark := spaces.AgentMark(pinB)
	release := func(version string) {
		t.Helper()
		must(t, s, func(tx *spaces.Tx) (spaces.Release, error) {
			p, err := tx.ProjectBy("Shop")
			if errors.Is(err, errs.NotFound) {
				p, err = tx.CreateProject(spaces.ProjectInput{Name: "Shop"})
			}
			if err != nil {
				return spaces.Release{}, err
			}
			return tx.CreateRelease(spaces.ReleaseInput{Project: p.ID, Version: version})
		})
	}
	policy := func(keep *deploy.RetentionPeriod) {
		t.Helper()
		must(t, s, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
			all, err := tx.Lifecycles(spaces.All)
			if err != nil {
				return spaces.Lifecycle{}, err
			}
			l := all.Items[0]
			l.ReleaseRetentionPolicy = keep
			return tx.UpdateLifecycle(l.ID, l.Lifecycle)
		})
	}
	policy(deploy.Keep(3, "Items"))
	b.want(t, "with a policy and no release", agentMark, spaces.MarkTargets)
	release("1.0.0")
	b.want(t, "with a policy and a release", agentMark, spaces.MarkRetention, spaces.MarkTargets)
	policy(deploy.KeepForever())
	b.want(t, "with a release that is kept for ever", agentMark, spaces.MarkTargets)
	release("1.0.1")
	b.want(t, "with another", agentMark, spaces.MarkTargets)
	policy(deploy.Keep(3, "Days"))
	b.want(t, "with a policy again", agentMark, spaces.MarkRetention, spaces.MarkTargets)
	s = reopen(s)
	b.want(t, "and opened again", agentMark, spaces.MarkRetention, spaces.MarkTargets)
}
