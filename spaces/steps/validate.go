package steps

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"octopuses.dev/octopuses/spaces/errs"
)

// field is the path of a part of the document, as errors name it.
type field string

func (f field) add(name string) string      { return string(f) + "." + name }
func (f field) property(name string) string { return string(f) + ".Properties[" + name + "]" }

// Limits of a process; far above what people write by hand.
const (
	MaxSteps   = 500
	maxActions = 100
	maxName    = 200
)

// Validate returns an errs.Invalid with one complaint for each broken rule;
// fields are named like Steps[0].Actions[0].Name. It does not look up ids: see
// Refs.
func (p *Process) Validate() error {
	var c errs.Check
	c.Require(len(p.Steps) <= MaxSteps, "Steps", "A process has at most %d steps.", MaxSteps)
	stepNames, actionNames, ids := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range p.Steps {
		s, at := &p.Steps[i], field(fmt.Sprintf("Steps[%d]", i))
		checkName(&c, at, s.Name, "step", i, stepNames)
		c.Require(s.ID == "" || !ids[s.ID], at.add("Id"), "Two steps have the id '%s'.", s.ID)
		ids[s.ID] = true
		switch s.Condition {
		case Success, Failure, Always, "":
		case Variable:
			c.Require(strings.TrimSpace(s.Properties.Get(ConditionProperty)) != "", at.property(ConditionProperty), "Please write the condition of step '%s'.", s.Name)
		default:
			c.Require(false, at.add("Condition"), "The run condition of a step is Success, Failure, Always or Variable.")
		}
		c.Require(s.StartTrigger == "" || s.StartTrigger == StartAfterPrevious || s.StartTrigger == StartWithPrevious,
			at.add("StartTrigger"), "A step starts StartAfterPrevious or StartWithPrevious.")
		c.Require(len(s.TargetTags()) > 0, at.property(TargetRolesProperty), "Please give step '%s' a target tag; steps run on targets.", s.Name)
		if window := strings.TrimSpace(s.Properties.Get(MaxParallelismProperty)); window != "" && !strings.Contains(window, "#{") {
			n, err := strconv.Atoi(window)
			c.Require(err == nil && n >= 1, at.property(MaxParallelismProperty), "The window size of step '%s' must be a number of 1 or more.", s.Name)
		}
		c.Require(len(s.Actions) > 0, at.add("Actions"), "Step '%s' has nothing to do.", s.Name)
		c.Require(len(s.Actions) <= maxActions, at.add("Actions"), "A step has at most %d actions.", maxActions)
		for j := range s.Actions {
			p.Steps[i].checkAction(j, field(at.add(fmt.Sprintf("Actions[%d]", j))), actionNames, ids, &c)
		}
	}
	return c.Err()
}

func checkName(c *errs.Check, at field, name, noun string, i int, taken map[string]bool) {
	key := strings.ToLower(strings.TrimSpace(name))
	c.Require(key != "", at.add("Name"), "Please give %s %d a name.", noun, i+1)
	c.Require(utf8.RuneCountInString(key) <= maxName, at.add("Name"), "The name of a %s has at most %d characters.", noun, maxName)
	c.Require(!strings.ContainsAny(key, "[]\n"), at.add("Name"), "The name '%s' cannot hold brackets: output variables are named by it.", name)
	c.Require(key == "" || !taken[key], at.add("Name"), "Two %ss are called '%s'.", noun, name)
	taken[key] = true
}

func (s *Step) checkAction(j int, at field, names, ids map[string]bool, c *errs.Check) {
	a := &s.Actions[j]
	if len(s.Actions) > 1 || a.Name != s.Name {
		checkName(c, at, a.Name, "action", j, names)
	} else {
		names[strings.ToLower(strings.TrimSpace(a.Name))] = true
	}
	c.Require(a.ID == "" || !ids["a/"+a.ID], at.add("Id"), "Two actions have the id '%s'.", a.ID)
	ids["a/"+a.ID] = true
	c.Require(!a.Properties.Bool(RunOnServerProperty), at.property(RunOnServerProperty), "Step '%s' runs on the server or a worker; this server runs steps on targets.", a.Name)
	c.Require(a.Container == nil || a.Container.Image == "", at.add("Container"), "Step '%s' runs in a container; this server runs steps on the target itself.", a.Name)
	if minutes := a.Properties.Get(timeoutProperty); minutes != "" && !strings.Contains(minutes, "#{") {
		n, err := strconv.Atoi(minutes)
		c.Require(err == nil && n >= 0 && n <= 60*24*30, at.property(timeoutProperty), "The time limit of step '%s' is a number of minutes.", a.Name)
	}
	t, ok := Lookup(a.ActionType)
	if !ok {
		c.Require(false, at.add("ActionType"), "This server has no step type '%s'.", a.ActionType)
		return
	}
	t.check(s, a, at, c)
}
