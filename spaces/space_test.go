package spaces_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

var ctx = context.Background()

func must[T any](t testing.TB, s *spaces.Space, f func(tx *spaces.Tx) (T, error)) T {
	t.Helper()
	v, err := spaces.Update(ctx, s, spacetest.Manager(), f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fixture is a space with two environments, a target in each, a package in two
// versions and a project that deploys it.
type fixture struct {
	*spaces.Space
	dev, prod spaces.Environment
	targets   []spaces.Target
	project   spaces.Project
}

func text(s string) *string { return &s }

func newFixture(t testing.TB) *fixture {
	f := &fixture{Space: spacetest.New(t)}
	f.dev = must(t, f.Space, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Development"})
	})
	f.prod = must(t, f.Space, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Production"})
	})
	for i, e := range []spaces.Environment{f.dev, f.prod} {
		f.targets = append(f.targets, must(t, f.Space, func(tx *spaces.Tx) (spaces.Target, error) {
			return tx.CreateTarget(spaces.TargetInput{Name: fmt.Sprintf("web-%d", i+1), Style: spaces.StyleListening, URI: "https://localhost:10933/", Thumbprint: strings.Repeat(fmt.Sprint(i), 64),
				Environments: []spaces.EnvironmentID{e.ID}, Tags: []string{"web"}})
		}))
	}
	for _, v := range []string{"1.0.0", "1.1.0"} {
		blob, err := f.Packages().Put(ctx, strings.NewReader("package "+v), 100)
		if err != nil {
			t.Fatal(err)
		}
		must(t, f.Space, func(tx *spaces.Tx) (spaces.Package, error) {
			p, _, err := tx.AddPackage("Shop", v, ".zip", blob, spaces.FailIfExists)
			return p, err
		})
	}
	f.project = must(t, f.Space, func(tx *spaces.Tx) (spaces.Project, error) {
		return tx.CreateProject(spaces.ProjectInput{Name: "Shop"})
	})
	kind, _ := steps.Lookup("Octopus.TentaclePackage")
	step := kind.New("Deploy shop")
	step.Properties.Set(steps.TargetRolesProperty, "web")
	step.Actions[0].Packages = []steps.PackageReference{{PackageID: "Shop", FeedID: spaces.BuiltInFeed}}
	must(t, f.Space, func(tx *spaces.Tx) (spaces.Process, error) {
		return tx.SaveProcess(f.project.ID, 0, steps.Process{Steps: []steps.Step{step}})
	})
	return f
}

func (f *fixture) release(t testing.TB, version string) spaces.Release {
	return must(t, f.Space, func(tx *spaces.Tx) (spaces.Release, error) {
		return tx.CreateRelease(spaces.ReleaseInput{Project: f.project.ID, Version: version})
	})
}

func (f *fixture) deploy(e spaces.Environment, r spaces.Release) (spaces.Deployment, error) {
	return spaces.Update(ctx, f.Space, spacetest.Manager(), func(tx *spaces.Tx) (spaces.Deployment, error) {
		return tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: e.ID})
	})
}

func (f *fixture) finish(t testing.TB, d spaces.Deployment, state spaces.TaskState) {
	t.Helper()
	err := spaces.Do(ctx, f.Space, spaces.Server(), func(tx *spaces.Tx) error {
		if _, ok, err := tx.StartTask(d.TaskID); err != nil || !ok {
			return fmt.Errorf("start: %v %w", ok, err)
		}
		return tx.FinishTask(d.TaskID, state, "", false)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLifecycleIsObeyed(t *testing.T) {
	f := newFixture(t)
	r := f.release(t, "")
	if r.Version != "0.0.1" || r.Packages[0].Version != "1.1.0" {
		t.Errorf("release %s with %+v", r.Version, r.Packages)
	}
	if _, err := f.deploy(f.prod, r); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "Development") {
		t.Errorf("deployed to production first: %v", err)
	}
	d, err := f.deploy(f.dev, r)
	if err != nil {
		t.Fatal(err)
	}
	f.finish(t, d, spaces.TaskFailed)
	if _, err := f.deploy(f.prod, r); !errors.Is(err, errs.Blocked) {
		t.Errorf("deployed to production after a failure: %v", err)
	}
	d, err = f.deploy(f.dev, r)
	if err != nil {
		t.Fatal(err)
	}
	if d.Attempt != 2 {
		t.Errorf("attempt %d", d.Attempt)
	}
	f.finish(t, d, spaces.TaskSuccess)
	if _, err := f.deploy(f.prod, r); err != nil {
		t.Errorf("after a success: %v", err)
	}
	dash, err := spaces.View(ctx, f.Space, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Dashboard, error) { return tx.Dashboard(spaces.DashboardFilter{}) })
	if err != nil || len(dash.Cells) != 2 {
		t.Fatalf("dashboard %+v, %v", dash, err)
	}
	for _, c := range dash.Cells {
		want := map[spaces.EnvironmentID]spaces.TaskState{f.dev.ID: spaces.TaskSuccess, f.prod.ID: spaces.Queued}[c.EnvironmentID]
		if c.State != want {
			t.Errorf("%s shows %s, not %s", c.EnvironmentID, c.State, want)
		}
	}
}

func TestReleaseIsFrozen(t *testing.T) {
	f := newFixture(t)
	must(t, f.Space, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(f.project.ID, 0, variables.Set{Variables: []variables.Variable{{Name: "Colour", Value: text("green")}, {Name: "Password", Value: text("s3cret-one"), IsSensitive: true}}})
	})
	r := f.release(t, "1.0.0")
	set := must(t, f.Space, func(tx *spaces.Tx) (spaces.VariableSet, error) { return tx.Variables(f.project.ID) })
	if set.Variables[1].Value != nil || set.Variables[1].Secret != 0 {
		t.Errorf("a secret is shown: %+v", set.Variables[1])
	}
	set.Variables[0].Value = text("red")
	must(t, f.Space, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(f.project.ID, set.Version, set.Set)
	})
	if _, err := spaces.Update(ctx, f.Space, spacetest.Manager(), func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(f.project.ID, set.Version, set.Set)
	}); !errors.Is(err, errs.Stale) {
		t.Errorf("a stale save: %v", err)
	}
	d, err := f.deploy(f.dev, r)
	if err != nil {
		t.Fatal(err)
	}
	err = spaces.Do(ctx, f.Space, spaces.Server(), func(tx *spaces.Tx) error {
		w, err := tx.PlanWork(d.TaskID)
		if err != nil {
			return err
		}
		c, err := tx.Compiler(w, "https://octopuses.example")
		if err != nil {
			return err
		}
		state, commands := c.Machine().Next(deploy.State{}, deploy.TaskStarted{})
		spec, err := c.Compile(&state, commands[0].(deploy.StartExecution))
		if err != nil {
			return err
		}
		if v := spec.Variables["Colour"]; v.Value != "green" {
			t.Errorf("the frozen value is %q", v.Value)
		}
		if v := spec.Variables["Password"]; v.Value != "s3cret-one" || !v.Sensitive {
			t.Errorf("the secret is %+v", v)
		}
		return tx.SaveState(d.ID, deploy.State{Format: 1, Status: deploy.StatusRunning})
	})
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(f.Dir(), "space.db*"))
	for _, name := range files {
		b, _ := os.ReadFile(name)
		if bytes.Contains(b, []byte("s3cret-one")) {
			t.Errorf("the secret is readable in %s", filepath.Base(name))
		}
	}
}

func TestPermissionsAndDenials(t *testing.T) {
	f := newFixture(t)
	bob := spacetest.With(access.ProjectView, access.ReleaseView, access.EnvironmentView)
	_, err := spaces.Update(ctx, f.Space, bob, func(tx *spaces.Tx) (spaces.Release, error) {
		return tx.CreateRelease(spaces.ReleaseInput{Project: f.project.ID, Version: "9"})
	})
	if !errors.Is(err, errs.Denied) || !strings.Contains(err.Error(), "ReleaseCreate") {
		t.Errorf("%v", err)
	}
	events := must(t, f.Space, func(tx *spaces.Tx) ([]spaces.Event, error) { return tx.Events(spaces.EventFilter{Category: "Denied"}) })
	if len(events) != 1 || events[0].ActorName != "bob" {
		t.Errorf("denials in the ledger: %+v", events)
	}
}

func TestDeletionOfUsedThingsIsRefused(t *testing.T) {
	f := newFixture(t)
	must(t, f.Space, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(f.project.ID, 0, variables.Set{Variables: []variables.Variable{{Name: "A", Value: text("x"), Scope: variables.Scope{variables.Environment: {f.prod.ID.String()}}}}})
	})
	err := spaces.Do(ctx, f.Space, spacetest.Manager(), func(tx *spaces.Tx) error { return tx.DeleteEnvironment(f.prod.ID) })
	if !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "Shop") {
		t.Errorf("%v", err)
	}
}

func TestTwoAtOnceGetDistinctVersions(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for range 20 {
		wg.Go(func() {
			r := f.release(t, "")
			mu.Lock()
			defer mu.Unlock()
			if seen[r.Version] {
				t.Errorf("%s twice", r.Version)
			}
			seen[r.Version] = true
		})
	}
	wg.Wait()
}

func TestClosedSpaceIsOneFileAndNeedsItsKey(t *testing.T) {
	root := t.TempDir()
	master := secrets.Master{Key: secrets.NewKey()}
	cfg := spaces.Config{Root: root, Master: master}
	r, err := spaces.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := r.Create(ctx, "One", "one")
	if err != nil {
		t.Fatal(err)
	}
	ref := spaces.Ref{ID: "Spaces-1", Folder: folder, Name: "One"}
	s, err := r.Acquire(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := spaces.Initialise(ctx, s); err != nil {
		t.Fatal(err)
	}
	s.Release()
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := r.Close(short); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(root, folder, "space.db*"))
	if len(files) != 1 {
		t.Errorf("a closed space has %v", files)
	}
	cfg.Master = secrets.Master{Key: secrets.NewKey()}
	other, _ := spaces.NewRegistry(cfg)
	if _, err := other.Acquire(ctx, ref); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), master.ID()) {
		t.Errorf("opened with another key: %v", err)
	}
}
