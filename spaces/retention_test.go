package spaces_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
)

// keep gives the project's lifecycle a policy.
func (f *fixture) keep(t testing.TB, policy *deploy.RetentionPeriod) {
	t.Helper()
	must(t, f.Space, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
		l, err := tx.Lifecycle(f.project.LifecycleID)
		if err != nil {
			return l, err
		}
		l.ReleaseRetentionPolicy = policy
		return tx.UpdateLifecycle(l.ID, l.Lifecycle)
	})
}

func (f *fixture) succeed(t testing.TB, e spaces.Environment, r spaces.Release) spaces.Deployment {
	t.Helper()
	d, err := f.deploy(e, r)
	if err != nil {
		t.Fatal(err)
	}
	f.finish(t, d, spaces.TaskSuccess)
	return d
}

func (f *fixture) retention(t testing.TB) spaces.ProjectRetention {
	t.Helper()
	all, err := spaces.View(ctx, f.Space, spacetest.Manager(), (*spaces.ReadTx).Retention)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		return spaces.ProjectRetention{}
	}
	return all[0]
}

func versionsOf(list []spaces.RetainedRelease) (out []string) {
	for _, r := range list {
		out = append(out, r.Version)
	}
	return out
}

func TestRetention(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var releases []spaces.Release
	var deployments []spaces.Deployment
	for n := 1; n <= 8; n++ {
		releases = append(releases, f.release(t, fmt.Sprintf("1.0.%d", n)))
	}
	for _, r := range releases[:5] { // 1.0.6 to 1.0.8 are never deployed
		deployments = append(deployments, f.succeed(t, f.dev, r))
	}
	f.succeed(t, f.prod, releases[0]) // and 1.0.1 is what people have
	waiting, err := f.deploy(f.dev, releases[1])
	if err != nil {
		t.Fatal(err)
	}
	failed, err := f.deploy(f.dev, releases[4])
	if err != nil {
		t.Fatal(err)
	}
	if r := f.retention(t); len(r.Expired)+len(r.Protected)+r.Kept > 0 {
		t.Errorf("all is kept for ever, and yet %+v", r)
	}

	f.keep(t, deploy.Keep(1, "Items"))
	r := f.retention(t)
	// 1.0.2 waits for its turn, 1.0.3 is the newest deployed one that nothing else keeps.
	if have, want := versionsOf(r.Expired), []string{"1.0.6", "1.0.7"}; !slices.Equal(have, want) {
		t.Errorf("%q are let go, want %q", have, want)
	}
	for version, why := range map[string]string{"1.0.1": "the current one in Production", "1.0.2": "not finished", "1.0.4": "rollback", "1.0.5": "the current one in Development"} {
		if !slices.ContainsFunc(r.Protected, func(p spaces.RetainedRelease) bool { return p.Version == version && strings.Contains(p.Why, why) }) {
			t.Errorf("%s is not kept because of %q: %+v", version, why, r.Protected)
		}
	}
	if r.Kept != 2 {
		t.Errorf("the policy keeps %d, want 1.0.3 and 1.0.8", r.Kept)
	}

	// A release that is deployed after the plan was made stays.
	stale := r.Expired[0]
	f.finish(t, failed, spaces.TaskFailed)
	f.succeed(t, f.dev, releases[5])
	err = spaces.Do(ctx, f.Space, spaces.Server(), func(tx *spaces.Tx) error { return tx.ExpireRelease(stale) })
	if !errors.Is(err, errs.Blocked) {
		t.Errorf("a release that became the current one is deleted: %v", err)
	}
	busy := spaces.RetainedRelease{ID: releases[1].ID, Version: "1.0.2", Why: "of a test"}
	err = spaces.Do(ctx, f.Space, spaces.Server(), func(tx *spaces.Tx) error { return tx.ExpireRelease(busy) })
	if !errors.Is(err, errs.Blocked) {
		t.Errorf("a release that waits to be deployed is deleted: %v", err)
	}
	if waiting.TaskID == 0 {
		t.Fatal("no task")
	}

	// What goes takes its deployments, tasks and logs along; the audit stays.
	f.keep(t, deploy.Keep(0, "Items"))
	r = f.retention(t)
	if have, want := versionsOf(r.Expired), []string{"1.0.3", "1.0.4", "1.0.7", "1.0.8"}; !slices.Equal(have, want) {
		t.Fatalf("%q are let go, want %q", have, want)
	}
	gone := deployments[2]
	log := filepath.Join(f.LogDir(), gone.TaskID.String()+".jsonl")
	if err := os.WriteFile(log, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as after a crash
		for _, x := range r.Expired {
			if err := spaces.Do(ctx, f.Space, spaces.Server(), func(tx *spaces.Tx) error { return tx.ExpireRelease(x) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err = spaces.View(ctx, f.Space, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Task, error) { return tx.Task(gone.TaskID) })
	if !errors.Is(err, errs.NotFound) {
		t.Errorf("the task of a deployment that is gone: %v", err)
	}
	if _, err := os.Stat(log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log of a deployment that is gone: %v", err)
	}
	left, err := spaces.View(ctx, f.Space, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Page[spaces.Release], error) {
		return tx.Releases(spaces.ReleaseFilter{Project: f.project.ID})
	})
	if err != nil || left.Total != 4 {
		t.Errorf("%d releases are left, %v", left.Total, err)
	}
	events, err := spaces.View(ctx, f.Space, spacetest.Manager(), func(tx *spaces.ReadTx) ([]spaces.Event, error) {
		return tx.Events(spaces.EventFilter{Category: "Deleted"})
	})
	if err != nil || len(events) != 4 || !strings.Contains(events[0].Message, "by retention") {
		t.Errorf("events %+v, %v", events, err)
	}
	if r := f.retention(t); len(r.Expired) > 0 {
		t.Errorf("there is more to delete: %+v", r.Expired)
	}
}

func TestRetentionNeedsPermission(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	actor := spacetest.With(access.ReleaseView, access.ProjectView)
	if _, err := spaces.View(ctx, f.Space, actor, (*spaces.ReadTx).Retention); !errors.Is(err, errs.Denied) {
		t.Errorf("who may not delete releases sees what goes: %v", err)
	}
	if err := spaces.Do(ctx, f.Space, actor, (*spaces.Tx).QueueRetention); !errors.Is(err, errs.Denied) {
		t.Errorf("who may not create tasks queues one: %v", err)
	}
	for range 2 {
		if err := spaces.Do(ctx, f.Space, spacetest.Manager(), (*spaces.Tx).QueueRetention); err != nil {
			t.Fatal(err)
		}
	}
	tasks, err := spaces.View(ctx, f.Space, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Page[spaces.Task], error) {
		return tx.Tasks(spaces.TaskFilter{Kind: spaces.TaskRetention})
	})
	if err != nil || tasks.Total != 1 {
		t.Errorf("%d tasks while one is under way, %v", tasks.Total, err)
	}
}
