package deploy

import (
	"fmt"
	"slices"

	"octopuses.dev/octopuses/spaces/steps"
)

// Machine runs a plan. It keeps nothing between calls.
//
// Condition evaluates the expression of a run condition "Variable" for a step,
// and for an action on a target when target is not empty. It sees the outputs
// in the state. Nil means that every expression is false.
type Machine struct {
	Plan      *Plan
	Condition func(s *State, step, action int, target, expression string) (bool, error)
}

// Next takes an event in. It returns the new state, to be stored before the
// commands are performed in order. An event that does not fit, as one that
// comes twice or too late, changes nothing and returns no commands. The given
// state stays as it was.
func (m Machine) Next(before State, event Event) (State, []Command) {
	t := &turn{Machine: m, s: before, touched: map[[2]int]bool{}}
	t.s.Steps = slices.Clone(before.Steps)
	switch e := event.(type) {
	case TaskStarted:
		if t.s.Status != StatusNew {
			return before, nil
		}
		t.s = State{Format: 1, Status: StatusRunning, Steps: make([]StepState, len(m.Plan.Steps))}
	case ServerRestarted:
		t.again()
		return before, t.commands
	case CancelRequested:
		if t.s.Status != StatusRunning {
			return before, nil
		}
		t.cancel()
	case ExecutionStarted:
		w := t.work(func(w *Work) bool { return w.Execution == e.Execution && w.State == Starting })
		if w == nil {
			return before, nil
		}
		w.State = Working
		return t.s, nil
	case ExecutionFinished:
		if !t.finished(e) {
			return before, nil
		}
	case ExecutionUnknown:
		if !t.unknown(e) {
			return before, nil
		}
	case InterruptionAnswered:
		if !t.answered(e) {
			return before, nil
		}
	default:
		return before, nil
	}
	t.advance()
	return t.s, t.commands
}

// turn is one call of Next. Slices of the given state are copied when first
// touched.
type turn struct {
	Machine
	s        State
	commands []Command
	touched  map[[2]int]bool // step and run, or step and -1
	at       [2]int          // step and run that work found
}

func (t *turn) do(c Command) { t.commands = append(t.commands, c) }

// run returns a run to change.
func (t *turn) run(step, run int) *Run {
	if key := [2]int{step, -1}; !t.touched[key] {
		t.touched[key] = true
		t.s.Steps[step].Runs = slices.Clone(t.s.Steps[step].Runs)
	}
	r := &t.s.Steps[step].Runs[run]
	if key := [2]int{step, run}; !t.touched[key] {
		t.touched[key] = true
		r.Works = slices.Clone(r.Works)
	}
	return r
}

// work finds the piece of work that is under way and matches, to change.
func (t *turn) work(match func(*Work) bool) *Work {
	for i := range t.s.Steps {
		if t.s.Steps[i].State != Working {
			continue
		}
		for j := range t.s.Steps[i].Runs {
			works := t.s.Steps[i].Runs[j].Works
			if n := len(works); n > 0 && !works[n-1].State.final() && match(&works[n-1]) {
				t.at = [2]int{i, j}
				return &t.run(i, j).Works[n-1]
			}
		}
	}
	return nil
}

// finished takes in the end of a piece of work, also of one that was thought
// lost: what the target says is better than a guess.
func (t *turn) finished(e ExecutionFinished) bool {
	w := t.work(func(w *Work) bool { return w.Execution == e.Execution && !(w.State == Asking && w.Kind == KindGuided) })
	if w == nil || !slices.Contains([]WorkState{Done, Broken, Canceled}, e.State) {
		return false
	}
	if w.State == Asking {
		t.do(CloseInterruption{ID: w.Interruption, Why: "The target has told how it ended."})
	}
	step, r := t.at[0], t.run(t.at[0], t.at[1])
	action := t.Plan.Steps[step].Actions[w.Action].Name
	name := t.name(r.Target)
	if len(e.Outputs) > 0 {
		// Clipped, so that the states before keep their own tail.
		t.s.Outputs = slices.Clip(t.s.Outputs)
		for _, o := range e.Outputs {
			o.Action, o.Target, o.Machine = action, r.Target, name
			t.s.Outputs = append(t.s.Outputs, o)
		}
	}
	t.end(w, e.State, e.Message)
	return true
}

// end writes down how a piece of work ended and, if it failed, asks or counts.
func (t *turn) end(w *Work, state WorkState, message string) {
	step, r := t.at[0], t.run(t.at[0], t.at[1])
	w.Message = message
	switch {
	case state == Done:
		w.State = Done
		return
	case t.s.Status == StatusCanceling:
		w.State = Canceled
		return
	case t.Plan.GuidedFailure:
		w.State, w.Kind, w.Interruption, w.Answer = Asking, KindGuided, "guided/"+w.Execution, ""
		t.s.Guided = true
		t.do(t.question(step, r, w))
		return
	}
	t.fail(step, r, w)
}

func (t *turn) fail(step int, r *Run, w *Work) {
	w.State, r.Failed = Broken, true
	if t.s.Error == "" {
		t.s.Error = fmt.Sprintf("Step '%s' failed on '%s'.", t.Plan.Steps[step].Actions[w.Action].Name, t.name(r.Target))
		if w.Message != "" {
			t.s.Error += " " + sentence(w.Message)
		}
	}
}

func (t *turn) unknown(e ExecutionUnknown) bool {
	w := t.work(func(w *Work) bool { return w.Execution == e.Execution && w.State != Asking })
	if w == nil {
		return false
	}
	w.Message = e.Message
	if t.s.Status == StatusCanceling {
		w.State = Canceled
		return true
	}
	// Never run again by itself: it may have worked, or half.
	w.State, w.Kind, w.Interruption = Asking, KindUnknown, "unknown/"+w.Execution
	t.do(t.question(t.at[0], t.run(t.at[0], t.at[1]), w))
	return true
}

// question is the interruption of a piece of work, the same each time.
func (t *turn) question(step int, r *Run, w *Work) OpenInterruption {
	a := t.Plan.Steps[step].Actions[w.Action]
	q := OpenInterruption{ID: w.Interruption, Execution: w.Execution}
	if w.Kind == KindGuided {
		q.Kind = KindGuided
		q.Title = fmt.Sprintf("Step '%s' failed on '%s'", a.Name, t.name(r.Target))
		q.Message = sentence(w.Message)
		q.Choices = []Choice{{AnswerRetry, "Try again"}}
		if !a.Required {
			q.Choices = append(q.Choices, Choice{AnswerIgnore, "Ignore the failure and go on"}, Choice{AnswerExclude, "Go on without this target"})
		}
		q.Choices = append(q.Choices, Choice{AnswerFail, "Let the step fail"})
		return q
	}
	q.Kind = KindUnknown
	q.Title = fmt.Sprintf("How did step '%s' end on '%s'?", a.Name, t.name(r.Target))
	q.Message = "The target cannot tell how this piece of work ended. It may have run, wholly or in part. Look at the target, then say how to go on."
	if w.Message != "" {
		q.Message += " " + sentence(w.Message)
	}
	q.Choices = []Choice{{AnswerSucceeded, "It succeeded"}, {AnswerFailed, "It failed"}, {AnswerRetry, "Run it again"}}
	return q
}

func (t *turn) answered(e InterruptionAnswered) bool {
	if t.s.Status != StatusRunning {
		return false
	}
	w := t.work(func(w *Work) bool { return w.Interruption == e.Interruption && w.State == Asking })
	if w == nil {
		return false
	}
	step, r := t.at[0], t.run(t.at[0], t.at[1])
	if !slices.ContainsFunc(t.question(step, r, w).Choices, func(c Choice) bool { return c.Value == e.Answer }) {
		return false
	}
	w.Answer = e.Answer
	switch e.Answer {
	case AnswerSucceeded, AnswerIgnore:
		w.State = Done
	case AnswerFailed:
		// A known failure now; with guided failures a person is asked again,
		// about this.
		t.end(w, Broken, w.Message)
	case AnswerFail:
		t.fail(step, r, w)
	case AnswerRetry:
		w.State = Broken
		t.start(step, t.at[1], w.Action, w.Attempt+1)
	case AnswerExclude:
		w.State, r.State, r.Why = Broken, Excluded, "A person took this target out of the deployment."
		t.s.Excluded = append(slices.Clip(t.s.Excluded), r.Target)
	}
	return true
}

// cancel asks everything under way to stop and starts nothing more.
func (t *turn) cancel() {
	t.s.Status = StatusCanceling
	for i := range t.s.Steps {
		if t.s.Steps[i].State != Working {
			continue
		}
		for j := range t.s.Steps[i].Runs {
			works := t.s.Steps[i].Runs[j].Works
			if len(works) == 0 {
				continue
			}
			switch w := works[len(works)-1]; w.State {
			case Starting, Working:
				t.do(CancelExecution{Execution: w.Execution, Target: t.s.Steps[i].Runs[j].Target})
			case Asking:
				t.do(CloseInterruption{ID: w.Interruption, Why: "The deployment was canceled."})
				t.run(i, j).Works[len(works)-1].State = Canceled
			}
		}
	}
}

// again repeats every command whose effect may have been lost.
func (t *turn) again() {
	switch {
	case t.s.Status == StatusNew:
		return
	case t.s.Status.Final():
		t.do(Finish{Status: t.s.Status, Error: t.s.Error})
		return
	}
	for i := range t.s.Steps {
		if t.s.Steps[i].State != Working {
			continue
		}
		for j := range t.s.Steps[i].Runs {
			r := &t.s.Steps[i].Runs[j]
			if len(r.Works) == 0 {
				continue
			}
			w := &r.Works[len(r.Works)-1]
			switch w.State {
			case Starting:
				if t.s.Status == StatusCanceling {
					// It need not begin now, but it may have: its end is waited for, and a
					// target that never heard of it says so.
					t.do(WatchExecution{Execution: w.Execution, Step: i, Action: w.Action, Target: r.Target, Attempt: w.Attempt})
					break
				}
				t.do(StartExecution{Execution: w.Execution, Step: i, Action: w.Action, Target: r.Target, Attempt: w.Attempt})
			case Working:
				t.do(WatchExecution{Execution: w.Execution, Step: i, Action: w.Action, Target: r.Target, Attempt: w.Attempt})
			case Asking:
				t.do(t.question(i, r, w))
			}
			if t.s.Status == StatusCanceling && (w.State == Starting || w.State == Working) {
				t.do(CancelExecution{Execution: w.Execution, Target: r.Target})
			}
		}
	}
}

func (t *turn) name(target string) string {
	for i := range t.Plan.Targets {
		if t.Plan.Targets[i].ID == target {
			return t.Plan.Targets[i].Name
		}
	}
	return target
}

// start decides an attempt at an action.
func (t *turn) start(step, run, action, attempt int) {
	r := t.run(step, run)
	id := ExecutionID(t.Plan.Deployment, t.Plan.Steps[step].Actions[action].ID, r.Target, attempt)
	r.State = Working
	r.Works = append(r.Works, Work{Action: action, Attempt: attempt, Execution: id, State: Starting})
	t.do(StartExecution{Execution: id, Step: step, Action: action, Target: r.Target, Attempt: attempt})
}

// holds decides a run condition. failed is what Success and Failure look at.
func (t *turn) holds(c steps.Condition, failed bool, step, action int, target, expression string) (bool, string) {
	switch c {
	case steps.Always:
		return true, ""
	case steps.Failure:
		return failed, "Nothing has failed before it."
	case steps.Variable:
		if t.Condition == nil {
			return false, "Its run condition is not true."
		}
		ok, err := t.Condition(&t.s, step, action, target, expression)
		if err != nil {
			return false, "Its run condition cannot be evaluated: " + err.Error()
		}
		return ok, "Its run condition is not true."
	}
	return !failed, "Something has failed before it."
}
