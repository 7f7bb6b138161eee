package deploy

import (
	"fmt"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

// Compiler turns the decisions of a [Machine] into work for targets. All of it
// is frozen when a deployment begins, so that compiling again after a restart
// gives the same work.
type Compiler struct {
	Plan    *Plan
	Process *steps.Process // as frozen in the release
	Facts   Facts
	// Sources are the variables as frozen in the release, and those that were
	// asked for when the deployment was created.
	Sources []variables.Source
	// Open gives the text of a sealed value.
	Open func(secret int64) (string, error)
	// KeepVersions is the retention on targets as the lifecycle says; 0 keeps all.
	KeepVersions int
}

// Compile makes the work of a StartExecution. State is the one that was stored
// with the command: outputs of later actions are not seen.
func (c *Compiler) Compile(s *State, start StartExecution) (execution.Spec, error) {
	var spec execution.Spec
	if start.Step < 0 || start.Step >= len(c.Plan.Steps) || start.Action < 0 || start.Action >= len(c.Plan.Steps[start.Step].Actions) {
		return spec, fmt.Errorf("the plan has no action %d.%d", start.Step, start.Action)
	}
	ps := &c.Plan.Steps[start.Step]
	pa := &ps.Actions[start.Action]
	target := c.Plan.target(start.Target)
	if target == nil {
		return spec, fmt.Errorf("the plan has no target %s", start.Target)
	}
	step, action := c.Process.Action(pa.ID)
	if action == nil {
		return spec, errs.New(errs.Internal, "the process has no action %s", pa.ID)
	}
	d, err := c.dictionary(s, start.Step, start.Action, target)
	if err != nil {
		return spec, err
	}
	own, err := action.Variables(c.Open)
	if err != nil {
		return spec, err
	}
	for name, v := range own {
		d.Set(name, v.Value, v.Sensitive)
	}

	spec = execution.Spec{Format: 1, ID: start.Execution, Task: c.Facts.Task.ID, Deployment: c.Facts.Deployment.ID, Step: ps.Name, Action: pa.Name, Target: target.Name,
		Project: c.Facts.Project.Name, Environment: c.Facts.Environment.Name, StepName: ps.Name}
	job := steps.Job{Step: step, Action: action, KeepVersions: c.KeepVersions, Evaluate: func(text string) (string, error) {
		out, _, err := d.Evaluate(text)
		return out, err
	}}
	for _, pkg := range pa.Packages {
		if pkg.Reference == "" {
			job.Package = &execution.Package{ID: pkg.ID, Version: pkg.Version, Digest: pkg.Digest, Size: pkg.Size, Extension: pkg.Extension}
		}
	}
	if err := job.Compile(&spec); err != nil {
		return spec, err
	}
	names := d.Names()
	spec.Variables = make(map[string]execution.Variable, len(names))
	for _, name := range names {
		if v, ok := d.Get(name); ok {
			spec.Variables[name] = execution.Variable{Value: v.Text, Sensitive: v.Sensitive}
		}
	}
	return spec, nil
}

// Condition decides a run condition "Variable"; it is what [Machine] asks for.
func (c *Compiler) Condition(s *State, step, action int, target, expression string) (bool, error) {
	d, err := c.dictionary(s, step, action, c.Plan.target(target))
	if err != nil {
		return false, err
	}
	return d.EvaluateBool(expression)
}

// Machine is the state machine of the plan with conditions decided by c.
func (c *Compiler) Machine() Machine { return Machine{Plan: c.Plan, Condition: c.Condition} }

// dictionary is everything that an action sees on a target. System variables
// win over those of the project: a project cannot pretend to be in another
// environment.
func (c *Compiler) dictionary(s *State, step, action int, target *Target) (*variables.Dictionary, error) {
	ps := &c.Plan.Steps[step]
	context := variables.Context{Environment: c.Plan.Environment, Channel: c.Plan.Channel, ProcessOwner: c.Facts.Project.ID, StepRoles: ps.Tags}
	if action >= 0 {
		context.Action = ps.Actions[action].ID
	}
	id := ""
	if target != nil {
		context.Machine, context.Roles, id = target.ID, target.Tags, target.ID
	}
	d := variables.NewDictionary()
	if err := variables.Resolve(c.Sources, context).Fill(d, c.Open); err != nil {
		return nil, err
	}
	set := setter(d.Set)
	c.Facts.set(c.Plan, s, set)
	c.Plan.setSteps(s, set)
	s.setOutputs(id, set)
	c.Plan.setCurrent(step, action, target, set)
	return d, nil
}

func (p *Plan) target(id string) *Target {
	for i := range p.Targets {
		if p.Targets[i].ID == id {
			return &p.Targets[i]
		}
	}
	return nil
}

// Observed is the event that the status of an execution amounts to, as its
// target tells it. accepted says that the target once had the work (as the
// state knows, [State.Accepted]): a target that has then never heard of it has
// lost it. There is no event while the work goes on.
func Observed(status execution.Status, accepted bool) (Event, bool) {
	switch string(status.State) {
	case "accepted", "running":
		if accepted {
			return nil, false
		}
		return ExecutionStarted{status.ID}, true
	case "succeeded", "failed", "canceled":
		e := ExecutionFinished{Execution: status.ID, State: map[string]WorkState{"succeeded": Done, "failed": Broken, "canceled": Canceled}[string(status.State)], Message: status.Message}
		for _, o := range status.Outputs {
			e.Outputs = append(e.Outputs, Output{Name: o.Name, Value: o.Value, Sensitive: o.Sensitive})
		}
		return e, true
	case "unknown":
		return ExecutionUnknown{status.ID, status.Message}, true
	case "absent":
		if accepted {
			return ExecutionUnknown{status.ID, "the target no longer knows this work"}, true
		}
	}
	return nil, false
}

// Accepted reports whether a target is known to have had a piece of work.
func (s *State) Accepted(execution string) bool {
	for i := range s.Steps {
		for j := range s.Steps[i].Runs {
			for _, w := range s.Steps[i].Runs[j].Works {
				if w.Execution == execution {
					return w.State != Starting
				}
			}
		}
	}
	return false
}
