package deploy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
)

// DefaultMaxParallelism is how many targets of a step, and how many steps of a
// block, run at once unless Octopus.Action.MaxParallelism says otherwise.
const DefaultMaxParallelism = 10

// Target is a deployment target as planning sees it.
type Target struct {
	ID       string   `json:"Id"`
	Name     string   `json:"Name"`
	Tags     []string `json:"Tags"` // target tags ("roles")
	Disabled bool     `json:"Disabled,omitempty"`
	Health   string   `json:"Health,omitempty"` // Healthy, HasWarnings, Unhealthy, Unavailable, Unknown
}

// Package is a package version that the release chose for a reference of an
// action.
type Package struct {
	ActionName string `json:"ActionName"`
	Reference  string `json:"Reference"` // "" is the primary package
	ID         string `json:"PackageId"`
	Version    string `json:"Version"`
	FeedID     string `json:"FeedId"`
	Digest     string `json:"Digest"` // SHA-256, lower-case hex
	Size       int64  `json:"Size"`   // bytes
	Extension  string `json:"Extension"`
}

// Input is all that planning looks at.
type Input struct {
	Deployment  string         // ULID of the deployment; execution ids derive from it
	Process     *steps.Process // as frozen in the release
	Environment Environment
	Channel     string    // id
	Targets     []Target  // every target of the environment
	Packages    []Package // as chosen by the release

	SkipActions    []string // ids or names of actions that the deployer leaves out
	OnlyTargets    []string // ids; empty means all
	ExcludeTargets []string // ids

	AllowNoTargets   bool // connectivity policy of the project: go on although nothing will run
	ExcludeUnhealthy bool // leave out targets that are unhealthy
	SkipUnavailable  bool // leave out targets that are unavailable
	GuidedFailure    bool // ask a person at each failure
	ForceDownload    bool // send packages although the target has them
	ForceRedeploy    bool
	MaxParallelism   int // 0 means DefaultMaxParallelism

	// Evaluate resolves variable expressions in target tags and window sizes
	// with the variables of the deployment. Nil leaves them as they are.
	Evaluate func(text string) (string, error)
}

// Plan is what a deployment will do, decided before anything runs and stored
// as JSON. Steps with the same Block run at the same time, blocks in order.
type Plan struct {
	Format         int           `json:"Format"` // 1
	Deployment     string        `json:"Deployment"`
	Environment    string        `json:"EnvironmentId"`
	Channel        string        `json:"ChannelId"`
	GuidedFailure  bool          `json:"GuidedFailure,omitempty"`
	ForceDownload  bool          `json:"ForcePackageDownload,omitempty"`
	ForceRedeploy  bool          `json:"ForcePackageRedeployment,omitempty"`
	MaxParallelism int           `json:"MaxParallelism"`
	Targets        []Target      `json:"Targets"` // those that take part, by name
	Steps          []PlannedStep `json:"Steps"`
	Warnings       []string      `json:"Warnings"` // sentences
}

// PlannedStep is a step with its targets. Skip is a sentence: why it will not
// run; empty if it may, subject to its run condition.
type PlannedStep struct {
	ID         string          `json:"Id"`
	Name       string          `json:"Name"`
	Number     int             `json:"Number"` // from 1
	Block      int             `json:"Block"`  // from 0
	Condition  steps.Condition `json:"Condition"`
	Expression string          `json:"Expression,omitempty"` // of the condition Variable
	Tags       []string        `json:"Tags"`
	Rolling    bool            `json:"Rolling,omitempty"`
	Window     int             `json:"Window"` // targets at once, at least 1
	Targets    []string        `json:"Targets"`
	Actions    []PlannedAction `json:"Actions"`
	Skip       string          `json:"Skip,omitempty"`
}

// PlannedAction is an action as it will be done on each target of its step.
type PlannedAction struct {
	ID         string          `json:"Id"`
	Name       string          `json:"Name"`
	Type       string          `json:"ActionType"`
	Number     string          `json:"Number"` // "2", or "2.1" in a step of several
	Required   bool            `json:"Required,omitempty"`
	Condition  steps.Condition `json:"Condition"` // on this target, in a step of several actions
	Expression string          `json:"Expression,omitempty"`
	Packages   []Package       `json:"Packages,omitempty"`
	Skip       string          `json:"Skip,omitempty"`
}

// NewPlan decides what a deployment will do. It returns errs.Invalid for options
// that make no sense, and errs.Blocked if nothing could run: no step left, or no
// target for any step. A step without targets among others that have some is
// planned as skipped, with a warning.
func NewPlan(in Input) (*Plan, error) {
	p := &Plan{Format: 1, Deployment: in.Deployment, Environment: in.Environment.ID, Channel: in.Channel, GuidedFailure: in.GuidedFailure,
		ForceDownload: in.ForceDownload, ForceRedeploy: in.ForceRedeploy, MaxParallelism: in.MaxParallelism, Targets: []Target{}, Steps: []PlannedStep{}, Warnings: []string{}}
	if p.MaxParallelism <= 0 {
		p.MaxParallelism = DefaultMaxParallelism
	}
	if in.Process == nil || len(in.Process.Steps) == 0 {
		return nil, errs.New(errs.Blocked, "The deployment process has no steps.").WithHint("Add a step to the process and create a new release.")
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	candidates := in.candidates(p)
	packages := make(map[[2]string]Package, len(in.Packages))
	for _, pkg := range in.Packages {
		packages[[2]string{strings.ToLower(pkg.ActionName), strings.ToLower(pkg.Reference)}] = pkg
	}

	used := map[string]bool{}
	var wanting []string // steps that would run if they had a target
	runs, block := 0, -1
	for i := range in.Process.Steps {
		s := &in.Process.Steps[i]
		if i == 0 || s.StartTrigger != steps.StartWithPrevious {
			block++
		}
		ps := PlannedStep{ID: s.ID, Name: s.Name, Number: i + 1, Block: block, Condition: s.Condition, Targets: []string{}, Tags: []string{},
			Expression: s.Properties.Get(steps.ConditionProperty)}
		if ps.Condition == "" {
			ps.Condition = steps.Success
		}
		if err := in.actions(s, &ps, packages); err != nil {
			return nil, err
		}
		if ps.Skip == "" {
			if err := in.window(s, &ps, p); err != nil {
				return nil, err
			}
			for _, t := range candidates {
				if tagged(t.Tags, ps.Tags) {
					ps.Targets = append(ps.Targets, t.ID)
				}
			}
			switch {
			case len(ps.Targets) > 0:
				runs++
				for _, id := range ps.Targets {
					used[id] = true
				}
			case len(ps.Tags) == 0:
				ps.Skip = "It has no target tags."
				wanting = append(wanting, fmt.Sprintf("Step '%s' has no target tags.", s.Name))
			default:
				ps.Skip = "There is no target for it."
				wanting = append(wanting, fmt.Sprintf("Step '%s' needs a target with the tag %s.", s.Name, or(ps.Tags)))
			}
		}
		ps.Window = max(ps.Window, 1)
		p.Steps = append(p.Steps, ps)
	}
	if runs == 0 && !in.AllowNoTargets {
		if len(wanting) == 0 {
			return nil, errs.New(errs.Blocked, "Every step of this deployment is left out.").WithHint("Nothing would run in '%s'.", in.Environment.Name)
		}
		e := errs.New(errs.Blocked, "There is no enabled and healthy target in '%s' for any step. %s", in.Environment.Name, strings.Join(wanting, " "))
		return nil, e.WithHint("Add a target, or allow deployments without targets in the settings of the project.")
	}
	for _, w := range wanting {
		p.Warnings = append(p.Warnings, w+" It will be skipped.")
	}
	for _, t := range candidates {
		if used[t.ID] {
			p.Targets = append(p.Targets, t)
		} else if slices.Contains(in.OnlyTargets, t.ID) {
			p.Warnings = append(p.Warnings, fmt.Sprintf("The target '%s' was chosen, but no step runs on it.", t.Name))
		}
	}
	return p, nil
}

// check refuses options that name nothing.
func (in *Input) check() error {
	var c errs.Check
	for i, id := range in.SkipActions {
		_, a := in.Process.Action(id)
		field := fmt.Sprintf("SkipActions[%d]", i)
		c.Require(a != nil, field, "The process has no step '%s'.", id)
		c.Require(a == nil || !a.IsRequired, field, "Step '%s' is required and cannot be skipped.", nameOf(a))
	}
	known := make(map[string]bool, len(in.Targets))
	for _, t := range in.Targets {
		known[t.ID] = true
	}
	for i, id := range in.OnlyTargets {
		c.Require(known[id], fmt.Sprintf("SpecificMachineIds[%d]", i), "The target '%s' is not in this environment.", id)
	}
	return c.Err()
}

func nameOf(a *steps.Action) string {
	if a == nil {
		return ""
	}
	return a.Name
}

// candidates are the targets that may take part, by name; it warns of those
// left out for their health.
func (in *Input) candidates(p *Plan) []Target {
	out := make([]Target, 0, len(in.Targets))
	for _, t := range in.Targets {
		switch {
		case t.Disabled, len(in.OnlyTargets) > 0 && !slices.Contains(in.OnlyTargets, t.ID), slices.Contains(in.ExcludeTargets, t.ID):
			continue
		case in.SkipUnavailable && t.Health == "Unavailable", in.ExcludeUnhealthy && (t.Health == "Unhealthy" || t.Health == "Unavailable"):
			p.Warnings = append(p.Warnings, fmt.Sprintf("The target '%s' is left out because it is %s.", t.Name, strings.ToLower(t.Health)))
			continue
		}
		if t.Tags == nil {
			t.Tags = []string{}
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b Target) int {
		if n := strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// actions plans the actions of a step and whether anything of it is left.
func (in *Input) actions(s *steps.Step, ps *PlannedStep, packages map[[2]string]Package) error {
	left := false
	for j := range s.Actions {
		a := &s.Actions[j]
		pa := PlannedAction{ID: a.ID, Name: a.Name, Type: a.ActionType, Number: strconv.Itoa(ps.Number), Required: a.IsRequired, Condition: steps.Success}
		if len(s.Actions) > 1 {
			pa.Number += "." + strconv.Itoa(j+1)
			if a.Condition != "" {
				pa.Condition = steps.Condition(a.Condition)
			}
			pa.Expression = a.Properties.Get(steps.ConditionProperty)
		}
		if _, why := a.RunsIn(in.Environment.ID, in.Channel); why != "" {
			pa.Skip = why
		} else if slices.ContainsFunc(in.SkipActions, func(id string) bool { return id == a.ID || strings.EqualFold(id, a.Name) }) {
			pa.Skip = "It was left out of this deployment."
		}
		if pa.Skip == "" {
			left = true
			for _, r := range a.Packages {
				if r.AcquisitionLocation == "NotAcquired" {
					continue
				}
				pkg, ok := packages[[2]string{strings.ToLower(a.Name), strings.ToLower(r.Name)}]
				if !ok {
					return errs.New(errs.Blocked, "The release has no version of the package '%s' for step '%s'.", r.PackageID, a.Name)
				}
				pkg.Reference, pkg.ActionName = r.Name, a.Name
				pa.Packages = append(pa.Packages, pkg)
			}
		}
		ps.Actions = append(ps.Actions, pa)
	}
	switch {
	case left:
	case len(ps.Actions) == 1:
		ps.Skip = ps.Actions[0].Skip
	case len(ps.Actions) == 0:
		ps.Skip = "It has nothing to do."
		ps.Actions = []PlannedAction{}
	default:
		ps.Skip = "None of its actions runs here."
	}
	return nil
}

// window reads target tags and window size.
func (in *Input) window(s *steps.Step, ps *PlannedStep, p *Plan) error {
	evaluate := in.Evaluate
	if evaluate == nil {
		evaluate = func(text string) (string, error) { return text, nil }
	}
	text, err := evaluate(s.Properties.Get(steps.TargetRolesProperty))
	if err != nil {
		return errs.Wrap(errs.Blocked, err, "The target tags of step '%s' cannot be evaluated.", s.Name)
	}
	ps.Tags = list(steps.SplitTags(text))
	ps.Window = p.MaxParallelism
	text, err = evaluate(s.Properties.Get(steps.MaxParallelismProperty))
	if err != nil {
		return errs.Wrap(errs.Blocked, err, "The window size of step '%s' cannot be evaluated.", s.Name)
	}
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return errs.New(errs.Blocked, "The window size of step '%s' is '%s', but must be a number of 1 or more.", s.Name, text)
	}
	ps.Rolling, ps.Window = true, min(n, p.MaxParallelism)
	if n > p.MaxParallelism {
		p.Warnings = append(p.Warnings, fmt.Sprintf("Step '%s' rolls over %d targets at once, but this deployment allows %d.", s.Name, n, p.MaxParallelism))
	}
	return nil
}

func tagged(have, want []string) bool {
	for _, w := range want {
		for _, h := range have {
			if strings.EqualFold(h, w) {
				return true
			}
		}
	}
	return false
}

func or(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + w + "'"
	}
	return strings.Join(quoted, " or ")
}
