package runner_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/runner"
	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones/pin"
)

func TestMain(m *testing.M) {
	if execution.MaybeShim(os.Args) {
		return
	}
	os.Exit(m.Run())
}

var ctx = context.Background()

// bench is a space with a runner and a real listening agent.
type bench struct {
	t      testing.TB
	space  *spaces.Space
	server pin.Identity
	env    spaces.Environment
	root   string // of the agent
	cap    int    // tasks at once; 0: as the runner has it
	stop   func()
	down   func() // stops the agent
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t}
	b.server, _ = pin.New()
	b.space = spacetest.New(t)
	b.env = update(b, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Test"})
	})
	b.agent("web-01")
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

func update[T any](b *bench, f func(tx *spaces.Tx) (T, error)) T {
	b.t.Helper()
	v, err := spaces.Update(ctx, b.space, spacetest.Manager(), f)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func (b *bench) agent(name string) {
	var reg agent.Registration
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(&reg)
		json.NewEncoder(w).Encode(agent.Registered{})
	}))
	defer door.Close()
	root := filepath.Join(b.t.TempDir(), name)
	b.root = root
	if _, err := agent.Register(ctx, agent.RegisterOptions{Root: root, Token: agent.Token{URL: door.URL, Secret: "s", Server: b.server.Pin}.String(), Name: name, Listen: "127.0.0.1:0"}); err != nil {
		b.t.Fatal(err)
	}
	ready := make(chan string, 1)
	a, err := agent.Open(agent.Options{Root: root, Version: "test", Logger: slog.New(slog.DiscardHandler), Ready: func(s string) { ready <- s }})
	if err != nil {
		b.t.Fatal(err)
	}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(run) }()
	b.down = sync.OnceFunc(func() { cancel(); <-done })
	b.t.Cleanup(b.down)
	update(b, func(tx *spaces.Tx) (spaces.Target, error) {
		return tx.CreateTarget(spaces.TargetInput{Name: name, Style: spaces.StyleListening, URI: "https://" + <-ready + "/", Thumbprint: a.Pin(), Environments: []spaces.EnvironmentID{b.env.ID}, Tags: []string{"web"}})
	})
}

// start starts a runner, as the server does at its start.
func (b *bench) start() {
	ref := spaces.Ref{ID: b.space.ID(), Folder: filepath.Base(b.space.Dir()), Name: b.space.Name(), Slug: b.space.Slug()}
	r := runner.New(runner.Config{Spaces: b.space.Registry(), Transports: targets.NewDirectory(b.server, nil), Logger: slog.New(slog.DiscardHandler), Patience: 3 * time.Second, Reach: 2 * time.Second, Cap: b.cap,
		Marked:  func(context.Context, string) ([]spaces.Ref, error) { return []spaces.Ref{ref}, nil },
		Stopped: func(context.Context, spaces.Ref) (bool, error) { return false, nil }})
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- r.Run(run) }()
	news, unsubscribe := b.space.Hub().Subscribe(spaces.TopicQueue)
	go func() {
		for {
			select {
			case <-run.Done():
				return
			case <-news:
				r.Wake(ref)
			}
		}
	}()
	b.stop = func() { cancel(); unsubscribe(); <-done }
}

func (b *bench) project(process ...steps.Step) spaces.Project {
	b.t.Helper()
	p := update(b, func(tx *spaces.Tx) (spaces.Project, error) {
		return tx.CreateProject(spaces.ProjectInput{Name: fmt.Sprintf("P%d", time.Now().UnixNano())})
	})
	update(b, func(tx *spaces.Tx) (spaces.Process, error) {
		return tx.SaveProcess(p.ID, 0, steps.Process{Steps: process})
	})
	return p
}

func scriptStep(name, body string) steps.Step {
	kind, _ := steps.Lookup("Octopus.Script")
	s := kind.New(name)
	s.Properties.Set(steps.TargetRolesProperty, "web")
	s.Actions[0].Properties["Octopus.Action.Script.ScriptBody"] = steps.Text(body)
	return s
}

func (b *bench) deploy(p spaces.Project) spaces.Deployment {
	b.t.Helper()
	r := update(b, func(tx *spaces.Tx) (spaces.Release, error) {
		return tx.CreateRelease(spaces.ReleaseInput{Project: p.ID})
	})
	return update(b, func(tx *spaces.Tx) (spaces.Deployment, error) {
		return tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: b.env.ID})
	})
}

// await waits until the task satisfies ok and returns it with its raw log.
func (b *bench) await(id spaces.TaskID, ok func(spaces.Task) bool) (spaces.Task, string) {
	b.t.Helper()
	news, stop := b.space.Hub().Subscribe("task/"+id.String(), runner.LogTopic(id))
	defer stop()
	deadline := time.After(20 * time.Second)
	for {
		t, err := spaces.View(ctx, b.space, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Task, error) { return tx.Task(id) })
		if err != nil {
			b.t.Fatal(err)
		}
		var log bytes.Buffer
		if ok(t) {
			if err := runner.Raw(b.space, id, &log); err != nil {
				b.t.Error(err)
			}
			return t, log.String()
		}
		select {
		case <-news:
		case <-deadline:
			runner.Raw(b.space, id, &log)
			b.t.Fatalf("task %s is still %s:\n%s", id, t.State, log.String())
		}
	}
}

func finished(t spaces.Task) bool { return t.State.Finished() }

func TestDeployPackageAndScript(t *testing.T) {
	b := newBench(t)
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	f, _ := w.Create("config.json")
	f.Write([]byte(`{"Shop":{"Colour":"?"}}`))
	w.Close()
	blob, err := b.space.Packages().Put(ctx, &z, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	update(b, func(tx *spaces.Tx) (spaces.Package, error) {
		p, _, err := tx.AddPackage("Shop", "1.0.0", ".zip", blob, spaces.FailIfExists)
		return p, err
	})
	kind, _ := steps.Lookup("Octopus.TentaclePackage")
	install := kind.New("Install")
	install.Properties.Set(steps.TargetRolesProperty, "web")
	install.Actions[0].Packages = []steps.PackageReference{{PackageID: "Shop", FeedID: spaces.BuiltInFeed}}
	kind.Apply(&install, &install.Actions[0], map[string]string{"Octopus.Action.Package.JsonConfigurationVariablesTargets": "config.json"})
	install.Actions[0].Properties["Octopus.Action.EnabledFeatures"] = steps.Text("Octopus.Features.JsonConfigurationVariables")
	p := b.project(install, scriptStep("Look", `cat "$(get_octopusvariable "Octopus.Action[Install].Output.Package.InstallationDirectoryPath")/config.json"; echo; echo "in $(get_octopusvariable Octopus.Environment.Name) with $(get_octopusvariable Token)"; echo "at $(get_octopusvariable Url)"`))
	colour, token, login, address, url := "green", "very-secret-token", "shop:#{Token}", "#{Login}@db", "https://#{Address}/"
	update(b, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(p.ID, 0, variables.Set{Variables: []variables.Variable{{Name: "Shop:Colour", Value: &colour}, {Name: "Token", Value: &token, IsSensitive: true},
			{Name: "Login", Value: &login}, {Name: "Address", Value: &address}, {Name: "Url", Value: &url}}})
	})
	d := b.deploy(p)
	task, log := b.await(d.TaskID, finished)
	if task.State != spaces.TaskSuccess || !strings.Contains(log, `{"Shop":{"Colour":"green"}}`) || !strings.Contains(log, "in Test with ********") || !strings.Contains(log, "********@db/") && !strings.Contains(log, "at ********") || strings.Contains(log, token) {
		t.Errorf("%s\n%s", task.State, log)
	}
	tree, err := runner.Tree(ctx, b.space, d.TaskID)
	if err != nil || len(tree.Children) != 2 || tree.Children[1].Children[0].Name != "web-01" || tree.Children[1].Status != "Success" {
		t.Errorf("%+v, %v", tree, err)
	}
}

// A package file that was damaged where it is stored is never handed to a step: the
// deployment fails and says which package it is, and the target has got nothing.
func TestDamagedPackageIsNotDeployed(t *testing.T) {
	b := newBench(t)
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	f, _ := w.Create("app.txt")
	f.Write([]byte("what was signed"))
	w.Close()
	blob, err := b.space.Packages().Put(ctx, &z, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	update(b, func(tx *spaces.Tx) (spaces.Package, error) {
		p, _, err := tx.AddPackage("Shop", "1.0.0", ".zip", blob, spaces.FailIfExists)
		return p, err
	})
	kind, _ := steps.Lookup("Octopus.TentaclePackage")
	install := kind.New("Install")
	install.Properties.Set(steps.TargetRolesProperty, "web")
	install.Actions[0].Packages = []steps.PackageReference{{PackageID: "Shop", FeedID: spaces.BuiltInFeed}}
	p := b.project(install, scriptStep("Never", "echo never"))
	stored := b.space.Packages().Path(blob.Digest)
	content, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(content)
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(stored, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	d := b.deploy(p)
	task, log := b.await(d.TaskID, finished)
	if task.State != spaces.TaskFailed || !strings.Contains(log, "Package Shop 1.0.0: The stored package file "+blob.Digest+" is damaged") || strings.Contains(log, "Sent package") || strings.Contains(log, " never") {
		t.Errorf("%s %q\n%s", task.State, task.ErrorMessage, log)
	}
	if !strings.Contains(task.ErrorMessage, "Shop 1.0.0") {
		t.Errorf("the task does not name the package: %q", task.ErrorMessage)
	}
	// Whole again, it is deployed; damaged afterwards, it is not, though it was whole once
	// and the target has it.
	if err := os.WriteFile(stored, content, 0o600); err != nil {
		t.Fatal(err)
	}
	again := func() spaces.Task {
		t.Helper()
		d := update(b, func(tx *spaces.Tx) (spaces.Deployment, error) {
			return tx.CreateDeployment(spaces.DeploymentInput{Release: d.ReleaseID, Environment: b.env.ID})
		})
		task, _ := b.await(d.TaskID, finished)
		return task
	}
	if task := again(); task.State != spaces.TaskSuccess {
		t.Errorf("whole again: %s %s", task.State, task.ErrorMessage)
	}
	// Nor does the target use a file that was damaged there; it is sent anew for the next.
	there := filepath.Join(b.root, "packages", blob.Digest[:2], blob.Digest)
	if err := os.WriteFile(there, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if task := again(); task.State != spaces.TaskFailed || !strings.Contains(task.ErrorMessage, "The file of Shop 1.0.0 was damaged on the target") {
		t.Errorf("damaged at the target: %s %s", task.State, task.ErrorMessage)
	}
	if task := again(); task.State != spaces.TaskSuccess {
		t.Errorf("sent anew: %s %s", task.State, task.ErrorMessage)
	}
	if err := os.WriteFile(stored, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if task := again(); task.State != spaces.TaskFailed || !strings.Contains(task.ErrorMessage, "Shop 1.0.0") {
		t.Errorf("damaged after it was deployed: %s %s", task.State, task.ErrorMessage)
	}
}

func TestFailureAndCancel(t *testing.T) {
	b := newBench(t)
	always := scriptStep("Tidy", "echo tidied")
	always.Condition = steps.Always
	d := b.deploy(b.project(scriptStep("Break", "echo oops >&2; exit 4"), scriptStep("Never", "echo never"), always))
	task, log := b.await(d.TaskID, finished)
	if task.State != spaces.TaskFailed || !strings.Contains(task.ErrorMessage, "exit code 4") || strings.Contains(log, " never") || !strings.Contains(log, "tidied") {
		t.Errorf("%+v\n%s", task, log)
	}
	d = b.deploy(b.project(scriptStep("Long", "echo begun; sleep 60")))
	b.await(d.TaskID, func(task spaces.Task) bool {
		var log bytes.Buffer
		runner.Raw(b.space, d.TaskID, &log)
		return strings.Contains(log.String(), "begun")
	})
	update(b, func(tx *spaces.Tx) (spaces.Task, error) { return tx.CancelTask(d.TaskID) })
	if task, log := b.await(d.TaskID, finished); task.State != spaces.TaskCanceled {
		t.Errorf("%s\n%s", task.State, log)
	}
}

func TestServerRestartGoesOn(t *testing.T) {
	b := newBench(t)
	count := filepath.Join(t.TempDir(), "count")
	d := b.deploy(b.project(scriptStep("Long", fmt.Sprintf("echo run >> %s; for i in 1 2 3 4 5 6 7 8 9; do echo tick $i; sleep 0.2; done", count)), scriptStep("Then", "echo then")))
	b.await(d.TaskID, func(spaces.Task) bool {
		var log bytes.Buffer
		runner.Raw(b.space, d.TaskID, &log)
		return strings.Contains(log.String(), "tick 3")
	})
	b.stop()
	time.Sleep(300 * time.Millisecond)
	b.start()
	task, log := b.await(d.TaskID, finished)
	runs, _ := os.ReadFile(count)
	if task.State != spaces.TaskSuccess || string(runs) != "run\n" {
		t.Errorf("%s, ran %q", task.State, runs)
	}
	for i := 1; i <= 9; i++ {
		if n := strings.Count(log, fmt.Sprintf("tick %d\n", i)); n != 1 {
			t.Errorf("tick %d stands %d times in the log:\n%s", i, n, log)
		}
	}
}

// Out of reach for a server that was restarted since the work was decided, a target may
// have the work of the server before: a person says how it goes on.
func TestRestartWhileWorkIsHandedOver(t *testing.T) {
	b := newBench(t)
	p := b.project(scriptStep("Once", "echo once"))
	b.down()
	planned := func(d spaces.Deployment) {
		b.await(d.TaskID, func(spaces.Task) bool {
			all, err := spaces.View(ctx, b.space, spacetest.Manager(), func(tx *spaces.ReadTx) ([]spaces.Execution, error) { return tx.Executions(d.TaskID) })
			return err == nil && len(all) == 1
		})
	}
	d := b.deploy(p)
	planned(d)
	b.stop()
	b.start()
	task, log := b.await(d.TaskID, func(t spaces.Task) bool { return t.HasPendingInterruptions || t.State.Finished() })
	if task.State != spaces.Executing || strings.Contains(log, "nothing was started") {
		t.Errorf("%s\n%s", task.State, log)
	}
	asked, err := spaces.View(ctx, b.space, spacetest.Manager(), func(tx *spaces.ReadTx) ([]spaces.Interruption, error) { return tx.Interruptions(d.TaskID) })
	if err != nil || len(asked) != 1 || asked[0].Title != "How did step 'Once' end on 'web-01'?" {
		t.Fatalf("%+v, %v", asked, err)
	}
	update(b, func(tx *spaces.Tx) (spaces.Interruption, error) {
		return tx.AnswerInterruption(asked[0].ID, "Failed", "It is switched off.")
	})
	if task, log := b.await(d.TaskID, finished); task.State != spaces.TaskFailed {
		t.Errorf("%s\n%s", task.State, log)
	}
	// Without a restart it is certain.
	d = b.deploy(p)
	planned(d)
	if task, log := b.await(d.TaskID, finished); task.State != spaces.TaskFailed || !strings.Contains(log, "nothing was started") {
		t.Errorf("%s\n%s", task.State, log)
	}
}

func TestHealth(t *testing.T) {
	b := newBench(t)
	task := update(b, func(tx *spaces.Tx) (spaces.Task, error) { return tx.QueueHealthCheck(0) })
	b.await(task.ID, finished)
	page, err := spaces.View(ctx, b.space, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Page[spaces.Target], error) { return tx.Targets(spaces.TargetFilter{}) })
	if err != nil || page.Items[0].Health != spaces.Healthy || page.Items[0].AgentVersion != "test" {
		t.Errorf("%+v, %v", page.Items, err)
	}
}
