package deploy

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares a value as JSON with a file in testdata.
func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; run with -update and look at the change\n%s", path, got)
	}
}

func step(kind, name, tags string, values map[string]string) steps.Step {
	t, _ := steps.Lookup(kind)
	s := t.New(name)
	if values == nil {
		values = map[string]string{}
	}
	values[steps.TargetRolesProperty] = tags
	t.Apply(&s, &s.Actions[0], values)
	s.ID, s.Actions[0].ID = "step-"+steps.Slug(name), "action-"+steps.Slug(name)
	return s
}

func scriptStep(name, tags string) steps.Step {
	return step(steps.ScriptType, name, tags, map[string]string{"Octopus.Action.Script.ScriptBody": "echo " + name})
}

func packageStep(name, tags string) steps.Step {
	return step(steps.PackageType, name, tags, map[string]string{"Octopus.Action.Package.PackageId": "web"})
}

var webPackage = Package{ActionName: "Deploy web", ID: "web", Version: "1.4.2", FeedID: "feeds-builtin", Digest: strings.Repeat("ab", 32), Size: 1024, Extension: ".zip"}

func input() Input {
	rolling := packageStep("Deploy web", "web")
	rolling.Properties.Set(steps.MaxParallelismProperty, "2")
	notify := scriptStep("Notify", "db")
	notify.StartTrigger, notify.Condition = steps.StartWithPrevious, steps.Always
	missing := scriptStep("Warm caches", "cache")
	only := scriptStep("Only elsewhere", "web")
	only.Actions[0].Environments = []string{"Environments-9"}
	return Input{Deployment: "01JD0000000000000000000000", Environment: Environment{"Environments-1", "Staging"}, Channel: "Channels-1",
		Process: &steps.Process{Steps: []steps.Step{scriptStep("Migrate", "db"), rolling, notify, missing, only}},
		Targets: []Target{
			{ID: "Machines-3", Name: "web-2", Tags: []string{"Web"}, Health: "Healthy"}, {ID: "Machines-2", Name: "web-1", Tags: []string{"web"}, Health: "Unhealthy"},
			{ID: "Machines-1", Name: "db-1", Tags: []string{"db"}, Health: "Healthy"}, {ID: "Machines-4", Name: "off", Tags: []string{"web", "db"}, Disabled: true},
		},
		Packages: []Package{webPackage}}
}

func TestPlanGolden(t *testing.T) {
	p, err := NewPlan(input())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "plan", p)
}

func TestPlanOptions(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Input)
		want string // steps with their targets, "-" for a skipped one
		err  string
		warn string
	}{
		{"plain", func(*Input) {}, "Machines-1|Machines-2 Machines-3|Machines-1|-|-", "", "Step 'Warm caches' needs a target with the tag 'cache'. It will be skipped."},
		{"skip an action", func(in *Input) { in.SkipActions = []string{"migrate"} }, "-|Machines-2 Machines-3|Machines-1|-|-", "", ""},
		{"skip a required action", func(in *Input) {
			in.Process.Steps[0].Actions[0].IsRequired = true
			in.SkipActions = []string{"action-migrate"}
		}, "", "Step 'Migrate' is required and cannot be skipped.", ""},
		{"skip what is not there", func(in *Input) { in.SkipActions = []string{"x"} }, "", "The process has no step 'x'.", ""},
		{"only one target", func(in *Input) { in.OnlyTargets = []string{"Machines-3"} }, "-|Machines-3|-|-|-", "", "Step 'Migrate' needs a target"},
		{"a target from elsewhere", func(in *Input) { in.OnlyTargets = []string{"Machines-77"} }, "", "The target 'Machines-77' is not in this environment.", ""},
		{"chosen, but idle", func(in *Input) {
			in.OnlyTargets = []string{"Machines-1", "Machines-3"}
			in.Process.Steps = in.Process.Steps[:1]
		}, "Machines-1", "", "The target 'web-2' was chosen, but no step runs on it."},
		{"without one", func(in *Input) { in.ExcludeTargets = []string{"Machines-2"} }, "Machines-1|Machines-3|Machines-1|-|-", "", ""},
		{"healthy only", func(in *Input) { in.ExcludeUnhealthy = true }, "Machines-1|Machines-3|Machines-1|-|-", "", "The target 'web-1' is left out because it is unhealthy."},
		{"no targets", func(in *Input) { in.Targets = nil }, "", "There is no enabled and healthy target in 'Staging' for any step. Step 'Migrate' needs a target with the tag 'db'.", ""},
		{"no targets, allowed", func(in *Input) { in.Targets, in.AllowNoTargets = nil, true }, "-|-|-|-|-", "", "It will be skipped."},
		{"nothing left", func(in *Input) { in.Process.Steps = in.Process.Steps[4:] }, "", "Every step of this deployment is left out.", ""},
		{"no steps", func(in *Input) { in.Process = &steps.Process{} }, "", "The deployment process has no steps.", ""},
		{"no package", func(in *Input) { in.Packages = nil }, "", "The release has no version of the package 'web' for step 'Deploy web'.", ""},
		{"package of a step that is left out", func(in *Input) { in.Packages, in.SkipActions = nil, []string{"Deploy web"} }, "Machines-1|-|Machines-1|-|-", "", ""},
		{"tags by variable", func(in *Input) {
			in.Process.Steps[0].Properties.Set(steps.TargetRolesProperty, "#{Where}")
			in.Evaluate = func(s string) (string, error) { return strings.ReplaceAll(s, "#{Where}", "web, db"), nil }
		}, "Machines-1 Machines-2 Machines-3|Machines-2 Machines-3|Machines-1|-|-", "", ""},
		{"bad variable", func(in *Input) {
			in.Evaluate = func(string) (string, error) { return "", errors.New("no such variable") }
		}, "", "The target tags of step 'Migrate' cannot be evaluated.", ""},
		{"bad window", func(in *Input) { in.Process.Steps[1].Properties.Set(steps.MaxParallelismProperty, "many") }, "", "must be a number of 1 or more", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input()
			c.edit(&in)
			p, err := NewPlan(in)
			if c.err != "" {
				if err == nil || !strings.Contains(errs.TextOf(err), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range p.Steps {
				if s.Skip != "" {
					got = append(got, "-")
				} else {
					got = append(got, strings.Join(s.Targets, " "))
				}
			}
			if strings.Join(got, "|") != c.want {
				t.Errorf("got %s\nwant %s", strings.Join(got, "|"), c.want)
			}
			if c.warn != "" && !strings.Contains(strings.Join(p.Warnings, "\n"), c.warn) {
				t.Errorf("warnings %q", p.Warnings)
			}
		})
	}
}

// A story is told by executions in the order of their starts.
func TestStories(t *testing.T) {
	three := []Target{{ID: "1", Name: "one", Tags: []string{"w"}}, {ID: "2", Name: "two", Tags: []string{"w"}}, {ID: "3", Name: "three", Tags: []string{"w"}}}
	with := func(s steps.Step, c steps.Condition) steps.Step { s.Condition = c; return s }
	rolling := func(s steps.Step) steps.Step { s.Properties.Set(steps.MaxParallelismProperty, "1"); return s }
	two := scriptStep("A", "w")
	two.Actions = append(two.Actions, steps.Action{ID: "action-b", Name: "B", ActionType: steps.ScriptType, Condition: "Success"}, steps.Action{ID: "action-c", Name: "C", ActionType: steps.ScriptType, Condition: "Failure"})
	for _, c := range []struct {
		name    string
		process []steps.Step
		guided  bool
		fail    string // action@target that fails
		answer  string
		want    string
		status  Status
	}{
		{"straight", []steps.Step{scriptStep("A", "w"), scriptStep("B", "w")}, false, "", "", "a@1 a@3 a@2 b@1 b@3 b@2", StatusSucceeded},
		{"failure stops", []steps.Step{scriptStep("A", "w"), scriptStep("B", "w")}, false, "a@3", "", "a@1 a@3 a@2", StatusFailed},
		{"conditions after a failure", []steps.Step{rolling(scriptStep("A", "w")), with(scriptStep("B", "w"), steps.Failure), with(scriptStep("C", "w"), steps.Always), scriptStep("D", "w")}, false, "a@1", "",
			"a@1 b@1 b@3 b@2 c@1 c@3 c@2", StatusFailed},
		{"failure steps rest after success", []steps.Step{scriptStep("A", "w"), with(scriptStep("B", "w"), steps.Failure)}, false, "", "", "a@1 a@3 a@2", StatusSucceeded},
		{"rolling, all actions on one target first", []steps.Step{rolling(two)}, false, "", "", "a@1 b@1 a@3 b@3 a@2 b@2", StatusSucceeded},
		{"rolling stops at a failure", []steps.Step{rolling(two)}, false, "a@3", "", "a@1 b@1 a@3 c@3", StatusFailed},
		{"guided: again", []steps.Step{rolling(scriptStep("A", "w"))}, true, "a@1", AnswerRetry, "a@1 a@1 a@3 a@2", StatusSucceeded},
		{"guided: ignore", []steps.Step{rolling(scriptStep("A", "w"))}, true, "a@1", AnswerIgnore, "a@1 a@3 a@2", StatusSucceeded},
		{"guided: exclude", []steps.Step{rolling(scriptStep("A", "w")), scriptStep("B", "w")}, true, "a@1", AnswerExclude, "a@1 a@3 a@2 b@3 b@2", StatusSucceeded},
		{"guided: fail", []steps.Step{rolling(scriptStep("A", "w"))}, true, "a@1", AnswerFail, "a@1", StatusFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := NewPlan(Input{Deployment: "01JD0000000000000000000000", Process: &steps.Process{Steps: slices.Clone(c.process)}, Targets: three, GuidedFailure: c.guided})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, p)
			w.outcome = func(a, m string, attempt int) WorkState {
				if strings.TrimPrefix(a, "action-")+"@"+m == c.fail && attempt == 1 {
					return Broken
				}
				return Done
			}
			w.answer = func(string, string, []Choice) string { return c.answer }
			w.drain(func(int) int { return 0 }, alive)
			got := strings.ReplaceAll(strings.Join(w.order, " "), "action-", "")
			if got != c.want || w.s.Status != c.status {
				t.Errorf("%s: %s\nwant %s: %s", w.s.Status, got, c.status, c.want)
			}
			if c.status == StatusFailed && !strings.HasPrefix(w.s.Error, "Step 'A' failed on ") {
				t.Errorf("error %q", w.s.Error)
			}
		})
	}
}

// Nobody knows how it ended: a person is asked, and it is not run again.
func TestUnknownOutcome(t *testing.T) {
	for answer, want := range map[string]string{AnswerSucceeded: "Succeeded 1", AnswerFailed: "Failed 1", AnswerRetry: "Succeeded 2", "by itself": "Succeeded 1"} {
		p, err := NewPlan(Input{Deployment: "01JD0000000000000000000000", Process: &steps.Process{Steps: []steps.Step{scriptStep("A", "w")}}, Targets: []Target{{ID: "1", Name: "one", Tags: []string{"w"}}}})
		if err != nil {
			t.Fatal(err)
		}
		m := Machine{Plan: p}
		s, commands := m.Next(State{}, TaskStarted{})
		id := commands[0].(StartExecution).Execution
		s, _ = m.Next(s, ExecutionStarted{id})
		if _, again := m.Next(s, ServerRestarted{}); fmt.Sprintf("%T", again[0]) != "deploy.WatchExecution" {
			t.Errorf("accepted work is started again: %v", again)
		}
		s, commands = m.Next(s, ExecutionUnknown{id, "the agent was installed anew"})
		if q, ok := commands[0].(OpenInterruption); !ok || len(commands) != 1 || len(q.Choices) != 3 || !strings.Contains(q.Message, "The agent was installed anew.") {
			t.Fatalf("got %+v", commands)
		}
		if _, again := m.Next(s, ServerRestarted{}); len(again) != 1 || fmt.Sprint(again[0]) != fmt.Sprint(commands[0]) {
			t.Errorf("after a restart %v", again)
		}
		starts := 1
		if answer == "by itself" {
			if s, commands = m.Next(s, ExecutionFinished{Execution: id, State: Done}); fmt.Sprintf("%T", commands[0]) != "deploy.CloseInterruption" {
				t.Errorf("the question stays open: %v", commands)
			}
		} else if s, commands = m.Next(s, InterruptionAnswered{"unknown/" + id, answer}); answer == AnswerRetry {
			again := commands[0].(StartExecution)
			if again.Execution == id || again.Attempt != 2 {
				t.Fatalf("got %+v", again)
			}
			starts++
			s, _ = m.Next(s, ExecutionFinished{Execution: again.Execution, State: Done})
		}
		if got := fmt.Sprint(s.Status, " ", starts); got != want {
			t.Errorf("%s: %s, want %s", answer, got, want)
		}
	}
}

func FuzzPlan(f *testing.F) {
	process, _ := json.Marshal(input().Process)
	targets, _ := json.Marshal(input().Targets)
	f.Add(process, targets, "Migrate", "Machines-1", 3)
	f.Add([]byte(`{"Steps":[{}]}`), []byte(`[]`), "", "", 0)
	f.Fuzz(func(t *testing.T, process, targets []byte, skip, only string, parallel int) {
		in := Input{Process: &steps.Process{}, MaxParallelism: parallel, Packages: []Package{webPackage}}
		if json.Unmarshal(process, in.Process) != nil || json.Unmarshal(targets, &in.Targets) != nil {
			return
		}
		if skip != "" {
			in.SkipActions = []string{skip}
		}
		if only != "" {
			in.OnlyTargets = []string{only}
		}
		p, err := NewPlan(in)
		if err != nil {
			if errs.KindOf(err) == errs.Internal {
				t.Fatalf("an error without a kind: %v", err)
			}
			return
		}
		block := 0
		for i, s := range p.Steps {
			if s.Window < 1 || s.Block < block || s.Block > block+1 || i == 0 && s.Block != 0 {
				t.Fatalf("step %d: %+v", i, s)
			}
			block = s.Block
		}
		// What was planned can be carried out.
		w := newWorld(t, p)
		if len(p.Steps)*len(p.Targets) < 200 && distinct(p) {
			w.drain(func(int) int { return 0 }, alive)
		}
	})
}

// distinct reports whether ids tell actions and targets apart; documents that
// were saved always do.
func distinct(p *Plan) bool {
	seen := map[string]bool{}
	for _, s := range p.Steps {
		for _, a := range s.Actions {
			if seen["a"+a.ID] {
				return false
			}
			seen["a"+a.ID] = true
		}
	}
	for _, t := range p.Targets {
		if seen["t"+t.ID] {
			return false
		}
		seen["t"+t.ID] = true
	}
	return true
}

func large() Input {
	in := Input{Deployment: "01JD0000000000000000000000", Process: &steps.Process{}, Environment: Environment{"E1", "Production"}}
	for i := range 50 {
		in.Process.Steps = append(in.Process.Steps, scriptStep(fmt.Sprint("Step ", i), "web,api"))
	}
	for i := range 100 {
		in.Targets = append(in.Targets, Target{ID: fmt.Sprint("Machines-", i), Name: fmt.Sprintf("m%03d", i), Tags: []string{"api"}})
	}
	return in
}

// Budget: 5 ms for 50 steps on 100 targets; a plan is made inside a request.
func BenchmarkPlan(b *testing.B) {
	in := large()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewPlan(in); err != nil {
			b.Fatal(err)
		}
	}
}

// Budget: 1 s for the 15,000 events of 50 steps on 100 targets, so less than
// 100 µs an event.
func BenchmarkNext(b *testing.B) {
	p, err := NewPlan(large())
	if err != nil {
		b.Fatal(err)
	}
	m := Machine{Plan: p}
	b.ReportAllocs()
	events := 0
	for b.Loop() {
		s, commands := m.Next(State{}, TaskStarted{})
		for queue := commands; len(queue) > 0; queue = queue[1:] {
			c, ok := queue[0].(StartExecution)
			if !ok {
				continue
			}
			events += 2
			s, _ = m.Next(s, ExecutionStarted{c.Execution})
			s, commands = m.Next(s, ExecutionFinished{Execution: c.Execution, State: Done})
			queue = append(queue, commands...)
		}
		if s.Status != StatusSucceeded {
			b.Fatal(s.Status)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}
