package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

func value(name, text string, scope variables.Scope) variables.Variable {
	return variables.Variable{ID: name, Name: name, Value: &text, Type: "String", Scope: scope}
}

func compiler(t *testing.T) (*Compiler, *State) {
	t.Helper()
	in := input()
	web := &in.Process.Steps[1]
	kind, _ := steps.Lookup(steps.PackageType)
	kind.Apply(web, &web.Actions[0], map[string]string{
		"Octopus.Features.SubstituteInFiles": "True", "Octopus.Action.SubstituteInFiles.TargetFiles": "config/*.conf\nweb.env",
		"Octopus.Features.CustomScripts": "True", "Octopus.Action.CustomScripts.PostDeploy.sh": "systemctl restart web # #{Password}",
		"Octopus.Features.CustomDirectory": "True", "Octopus.Action.Package.CustomInstallationDirectory": "/srv/#{Octopus.Environment.Name}/web",
		"Octopus.Action.Package.CustomInstallationDirectoryShouldBePurgedBeforeDeployment": "True",
		"Octopus.Action.ExecutionTimeout.Minutes":                                          "5",
	})
	web.Actions[0].Properties["Octopus.Action.Key"] = steps.PropertyValue{IsSensitive: true, HasValue: true, Secret: 7}
	p, err := NewPlan(in)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	var set variables.Set
	for i := range 200 {
		set.Variables = append(set.Variables, value(fmt.Sprint("V", i), "#{Octopus.Machine.Name}", nil))
	}
	c := &Compiler{Plan: p, Process: in.Process, KeepVersions: 3,
		Facts: Facts{Space: Named{"Spaces-1", "Payments"}, ProjectGroup: Named{"ProjectGroups-1", "Default Project Group"}, Project: Named{"Projects-1", "Shop"},
			Environment: Named{"Environments-1", "Staging"}, EnvironmentSortOrder: 1, Channel: Named{"Channels-1", "Default"}, Task: Named{"ServerTasks-9", "Deploy"},
			Deployment: Named{"Deployments-5", "Deploy to Staging"}, Created: at, Queued: at, CreatedBy: Person{ID: "Users-1", Username: "ada", DisplayName: "Ada"},
			Release:   ReleaseFacts{ID: "Releases-4", Number: "1.4.2", Created: at, CurrentHere: "1.4.1", CurrentHereID: "Releases-3", Mode: "Deploy"},
			ServerURI: "https://octopuses.example", ReleasePath: "/spaces/payments/projects/shop/releases/1.4.2"},
		Sources: []variables.Source{{Name: "Project", Set: variables.Set{Variables: []variables.Variable{
			value("Octopus.Environment.Name", "a lie", nil),
			value("Where", "anywhere", nil),
			value("Where", "on web-2", variables.Scope{"Machine": {"Machines-3"}}),
			value("Where", "in another environment", variables.Scope{"Environment": {"Environments-2"}}),
			value("Whose", "of this step", variables.Scope{"Action": {"action-deploy-web"}}),
			{ID: "v", Name: "Password", Secret: 8, Type: "Sensitive", IsSensitive: true},
		}}}},
		Open: func(n int64) (string, error) {
			switch n {
			case 7:
				return "k3y", nil
			case 8:
				return "hunter2", nil
			}
			return "", errors.New("no such secret")
		}}
	s, _ := c.Machine().Next(State{}, TaskStarted{})
	db := s.Steps[0].Runs[0].Works[0].Execution
	s, _ = c.Machine().Next(s, ExecutionFinished{Execution: db, State: Done, Outputs: []Output{{Name: "Schema", Value: "42"}, {Name: "Token", Value: "t0p", Sensitive: true}}})
	return c, &s
}

func TestSpecGolden(t *testing.T) {
	c, s := compiler(t)
	for name, start := range map[string]StartExecution{
		"spec-script":  {Execution: "01JD0000000000000000000001", Step: 0, Action: 0, Target: "Machines-1", Attempt: 1},
		"spec-package": {Execution: "01JD0000000000000000000002", Step: 1, Action: 0, Target: "Machines-3", Attempt: 1},
	} {
		spec, err := c.Compile(s, start)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, spec)
	}
}

func TestSpecSeesItsOwnTarget(t *testing.T) {
	c, s := compiler(t)
	s.Outputs = []Output{{"Build", "Machines-3", "web-2", "Port", "3", false}, {"Build", "Machines-2", "web-1", "Port", "2", false}}
	for target, want := range map[string]string{"Machines-2": "2", "Machines-3": "3", "Machines-1": "2"} {
		spec, err := c.Compile(s, StartExecution{Step: 1, Target: target})
		if err != nil {
			t.Fatal(err)
		}
		if got := spec.Variables["Octopus.Action[Build].Output.Port"].Value; got != want {
			t.Errorf("%s sees port %s, want %s", target, got, want)
		}
		if got := spec.Variables["Octopus.Action[Build].Output[web-2].Port"].Value; got != "3" {
			t.Errorf("%s sees port %s of web-2", target, got)
		}
	}
}

func TestVariablesCannotMakeAPathDangerous(t *testing.T) {
	for _, dir := range []string{"", "/", "//", "srv", " /"} {
		c, s := compiler(t)
		c.Sources[0].Set.Variables = append(c.Sources[0].Set.Variables, value("Dir", dir, nil))
		c.Process.Steps[1].Actions[0].Properties.Set("Octopus.Action.Package.CustomInstallationDirectory", "#{Dir}")
		if _, err := c.Compile(s, StartExecution{Step: 1, Target: "Machines-3"}); err == nil {
			t.Errorf("%q is emptied before a deployment", dir)
		}
	}
}

func TestConditionSeesOutputs(t *testing.T) {
	c, s := compiler(t)
	s.Outputs = append(s.Outputs, Output{Action: "Migrate", Target: "Machines-1", Machine: "db-1", Name: "Go", Value: "True"})
	for expression, want := range map[string]bool{"#{Octopus.Action[Migrate].Output.Go}": true, `#{if Octopus.Environment.Name == "a lie"}True#{/if}`: false} {
		if got, err := c.Condition(s, 1, -1, "", expression); got != want || err != nil {
			t.Errorf("%s: %v, %v", expression, got, err)
		}
	}
}

// Budget: 1 ms with 200 variables; one for each action and target, 5000 for 50 steps on 100 targets.
func BenchmarkCompile(b *testing.B) {
	in := large()
	p, err := NewPlan(in)
	if err != nil {
		b.Fatal(err)
	}
	var set variables.Set
	for i := range 200 {
		set.Variables = append(set.Variables, value(fmt.Sprint("V", i), "#{Octopus.Machine.Name}", nil))
	}
	c := &Compiler{Plan: p, Process: in.Process, Sources: []variables.Source{{Name: "Project", Set: set}}}
	s, commands := c.Machine().Next(State{}, TaskStarted{})
	b.ReportAllocs()
	var spec execution.Spec
	for b.Loop() {
		if spec, err = c.Compile(&s, commands[0].(StartExecution)); err != nil {
			b.Fatal(err)
		}
	}
	data, _ := json.Marshal(spec)
	b.ReportMetric(float64(len(data)), "bytes")
}

func TestObserved(t *testing.T) {
	for _, c := range []struct {
		state    string
		accepted bool
		want     string
	}{
		{"accepted", false, "deploy.ExecutionStarted"}, {"running", false, "deploy.ExecutionStarted"}, {"running", true, "<nil>"},
		{"succeeded", true, "deploy.ExecutionFinished"}, {"failed", false, "deploy.ExecutionFinished"}, {"canceled", true, "deploy.ExecutionFinished"},
		{"unknown", true, "deploy.ExecutionUnknown"}, {"absent", true, "deploy.ExecutionUnknown"}, {"absent", false, "<nil>"}, {"odd", true, "<nil>"},
	} {
		e, told := Observed(execution.Status{ID: "x", State: execution.State(c.state)}, c.accepted)
		if got := fmt.Sprintf("%T", e); got != c.want || told != (e != nil) {
			t.Errorf("%s, accepted %v: %s, want %s", c.state, c.accepted, got, c.want)
		}
	}
}
