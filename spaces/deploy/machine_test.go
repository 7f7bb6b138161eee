package deploy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"octopuses.dev/octopuses/spaces/steps"
)

// world is a runner and its targets, as far as a plan is concerned. What an
// execution does depends only on its action, target and attempt.
type world struct {
	t        interface{ Fatalf(string, ...any) }
	m        Machine
	s        State
	outcome  func(action, target string, attempt int) WorkState // Asking: nobody can tell
	answer   func(id string, kind string, choices []Choice) string
	started  map[string]int      // executions that a target has begun
	decided  map[[2]string]int   // first attempts by action and target
	pending  []Event             // what may happen next, in any order
	open     map[string]struct{} // questions
	finished []Finish
	order    []string
}

func newWorld(t interface{ Fatalf(string, ...any) }, p *Plan) *world {
	return &world{t: t, m: Machine{Plan: p}, started: map[string]int{}, decided: map[[2]string]int{}, open: map[string]struct{}{},
		outcome: func(string, string, int) WorkState { return Done },
		answer: func(_, kind string, _ []Choice) string {
			return map[string]string{KindUnknown: AnswerFailed, KindGuided: AnswerFail}[kind]
		}}
}

// store keeps the state as the database would.
func (w *world) store(s State) {
	data, err := json.Marshal(s)
	if err != nil {
		w.t.Fatalf("state: %v", err)
	}
	w.s = State{}
	if err := json.Unmarshal(data, &w.s); err != nil {
		w.t.Fatalf("state: %v", err)
	}
}

// send takes an event in; lost says how many of the commands reach the world
// before the server dies (negative: all).
func (w *world) send(e Event, survive int) (died bool) {
	copyBefore, _ := json.Marshal(w.s)
	s, commands := w.m.Next(w.s, e)
	if after, _ := json.Marshal(w.s); string(after) != string(copyBefore) {
		w.t.Fatalf("Next changed the state it was given")
	}
	w.store(s)
	for i, c := range commands {
		if survive >= 0 && i >= survive {
			return true
		}
		w.perform(c)
	}
	return survive >= 0
}

func (w *world) perform(c Command) {
	switch c := c.(type) {
	case StartExecution:
		a := w.m.Plan.Steps[c.Step].Actions[c.Action].ID
		if want := ExecutionID(w.m.Plan.Deployment, a, c.Target, c.Attempt); c.Execution != want {
			w.t.Fatalf("execution id of %s on %s is not its own", a, c.Target)
		}
		if w.started[c.Execution]++; w.started[c.Execution] > 1 {
			return // the target knows it
		}
		w.order = append(w.order, a+"@"+c.Target)
		if c.Attempt == 1 {
			if w.decided[[2]string{a, c.Target}]++; w.decided[[2]string{a, c.Target}] > 1 {
				w.t.Fatalf("%s decided twice on %s", a, c.Target)
			}
		}
		w.pending = append(w.pending, ExecutionStarted{c.Execution})
		switch o := w.outcome(a, c.Target, c.Attempt); o {
		case Asking:
			w.pending = append(w.pending, ExecutionUnknown{Execution: c.Execution, Message: "gone"})
		default:
			w.pending = append(w.pending, ExecutionFinished{Execution: c.Execution, State: o, Message: "exit", Outputs: []Output{{Name: "N", Value: a + c.Target}}})
		}
	case WatchExecution:
		if w.started[c.Execution] == 0 {
			w.t.Fatalf("watch of work that never began")
		}
	case CancelExecution:
		if w.started[c.Execution] == 0 {
			w.pending = append(w.pending, ExecutionUnknown{Execution: c.Execution, Message: "never heard of it"})
		}
	case OpenInterruption:
		if _, asked := w.open[c.ID]; !asked {
			w.open[c.ID] = struct{}{}
			w.pending = append(w.pending, InterruptionAnswered{c.ID, w.answer(c.ID, c.Kind, c.Choices)})
		}
	case Finish:
		w.finished = append(w.finished, c)
	}
}

// drain delivers events until the deployment ends. pick chooses which of n,
// crash after how many commands the server dies (-1: it lives).
func (w *world) drain(pick func(n int) int, crash func() int) {
	deliver := func(e Event) {
		for died := w.send(e, crash()); died; {
			died = w.send(ServerRestarted{}, crash())
		}
	}
	deliver(TaskStarted{})
	for n := 0; len(w.pending) > 0; n++ {
		if n > 100000 {
			w.t.Fatalf("the deployment does not end")
		}
		i := pick(len(w.pending))
		e := w.pending[i]
		w.pending = slices.Delete(slices.Clone(w.pending), i, i+1)
		deliver(e)
	}
	if !w.s.Status.Final() {
		data, _ := json.Marshal(w.s)
		w.t.Fatalf("nothing left to happen, and the deployment has not ended: %s", data)
	}
	if len(w.finished) == 0 || w.finished[0].Status != w.s.Status {
		w.t.Fatalf("finish was not told: %v, %s", w.finished, w.s.Status)
	}
}

var alive = func() int { return -1 }

func drawPlan(t *rapid.T) *Plan {
	p := &Plan{Format: 1, Deployment: "01JD0000000000000000000000", MaxParallelism: rapid.IntRange(1, 3).Draw(t, "max"), GuidedFailure: rapid.Bool().Draw(t, "guided")}
	for i := range rapid.IntRange(1, 4).Draw(t, "targets") {
		p.Targets = append(p.Targets, Target{ID: fmt.Sprintf("M%d", i), Name: fmt.Sprintf("m%d", i)})
	}
	conditions := rapid.SampledFrom([]steps.Condition{steps.Success, steps.Success, steps.Failure, steps.Always, steps.Variable})
	block := -1
	for i := range rapid.IntRange(1, 5).Draw(t, "steps") {
		if i == 0 || rapid.Bool().Draw(t, "after") {
			block++
		}
		s := PlannedStep{ID: fmt.Sprint("s", i), Name: fmt.Sprint("s", i), Block: block, Condition: conditions.Draw(t, "condition"),
			Rolling: rapid.Bool().Draw(t, "rolling"), Window: rapid.IntRange(1, 3).Draw(t, "window")}
		for _, m := range p.Targets {
			if rapid.Bool().Draw(t, "on") {
				s.Targets = append(s.Targets, m.ID)
			}
		}
		if len(s.Targets) == 0 {
			s.Skip = "none"
		}
		for j := range rapid.IntRange(1, 3).Draw(t, "actions") {
			a := PlannedAction{ID: fmt.Sprintf("a%d.%d", i, j), Condition: conditions.Draw(t, "child"), Required: rapid.Bool().Draw(t, "required")}
			if rapid.IntRange(0, 5).Draw(t, "skip") == 0 {
				a.Skip = "off"
			}
			s.Actions = append(s.Actions, a)
		}
		p.Steps = append(p.Steps, s)
	}
	return p
}

// Whatever the order of events and wherever the server dies: no work begins
// twice by the machine's own decision, the deployment ends, and it ends as it
// would have without a crash.
func TestCrashesChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		seed := rapid.IntRange(0, 1<<20).Draw(t, "outcomes")
		outcome := func(a, m string, attempt int) WorkState {
			h := ExecutionID(fmt.Sprint(seed), a, m, attempt)
			return []WorkState{Done, Done, Done, Broken, Asking, Canceled, Done, Done}[h[20]%8]
		}
		answer := func(id, kind string, choices []Choice) string {
			return choices[int(id[len(id)-1])%len(choices)].Value
		}
		picks := rapid.SliceOfN(rapid.IntRange(0, 1000), 1, 40).Draw(t, "picks")
		crashes := rapid.SliceOfN(rapid.IntRange(-3, 2), 1, 40).Draw(t, "crashes")
		run := func(crash bool) *world {
			w := newWorld(t, p)
			w.outcome, w.answer = outcome, answer
			w.m.Condition = func(_ *State, step, action int, target, _ string) (bool, error) {
				return (step+action+len(target))%2 == 0, nil
			}
			n, c := 0, 0
			w.drain(func(of int) int { n++; return picks[n%len(picks)] % of }, func() int {
				c++
				if !crash || c > 200 {
					return -1
				}
				return max(-1, crashes[c%len(crashes)])
			})
			return w
		}
		calm, rough := run(false), run(true)
		// A lost start comes later, so the order in which targets begin may
		// differ; where that decides nothing, the states must be equal.
		if slices.ContainsFunc(p.Steps, func(s PlannedStep) bool { return s.Rolling }) {
			return
		}
		if calm.s.Status != rough.s.Status {
			t.Fatalf("ended %s, and %s with crashes", calm.s.Status, rough.s.Status)
		}
	})
}

// With events in a fixed order (the order of executions), a crash at any point
// leaves no trace at all in the state.
func TestCrashLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		crashes := rapid.SliceOfN(rapid.IntRange(-2, 3), 1, 40).Draw(t, "crashes")
		run := func(crash bool) State {
			w := newWorld(t, p)
			w.outcome = func(a, m string, attempt int) WorkState {
				return []WorkState{Done, Done, Broken, Asking}[ExecutionID("", a, m, attempt)[22]%4]
			}
			c := 0
			// The event that sorts first by its text, whenever it was sent.
			w.drain(func(of int) int {
				best := 0
				for i := range w.pending {
					if fmt.Sprintf("%T%v", w.pending[i], w.pending[i]) < fmt.Sprintf("%T%v", w.pending[best], w.pending[best]) {
						best = i
					}
				}
				return best
			}, func() int {
				c++
				if !crash || c > 300 {
					return -1
				}
				return max(-1, crashes[c%len(crashes)])
			})
			return w.s
		}
		if calm, rough := run(false), run(true); !reflect.DeepEqual(calm, rough) {
			t.Fatalf("without crash %+v\nwith crash %+v", calm, rough)
		}
	})
}

// A cancel at any moment, with crashes around it, ends every deployment.
func TestCancelAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, drawPlan(t))
		w.outcome = func(a, m string, n int) WorkState {
			return []WorkState{Done, Broken, Asking}[ExecutionID("", a, m, n)[23]%3]
		}
		at := rapid.IntRange(0, 12).Draw(t, "when")
		crashes := rapid.SliceOfN(rapid.IntRange(-2, 2), 1, 20).Draw(t, "crashes")
		n, c := 0, 0
		w.drain(func(of int) int {
			if n++; n == at {
				w.send(CancelRequested{}, -1)
			}
			return n * 7 % of
		}, func() int {
			if c++; c > 100 {
				return -1
			}
			return max(-1, crashes[c%len(crashes)])
		})
		if w.s.Status == StatusCanceled {
			begun := len(w.started)
			if w.send(ServerRestarted{}, -1); len(w.started) != begun {
				t.Fatalf("work begun after the end")
			}
		}
	})
}

func FuzzNextIgnoresNonsense(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &Plan{Deployment: "01JD0000000000000000000000", MaxParallelism: 2, Targets: []Target{{ID: "M1"}, {ID: "M2"}},
			Steps: []PlannedStep{{Name: "a", Window: 1, Targets: []string{"M1", "M2"}, Actions: []PlannedAction{{ID: "a"}}}, {Name: "b", Block: 1, Window: 2, Targets: []string{"M2"}, Actions: []PlannedAction{{ID: "b"}}}}}
		m, s := Machine{Plan: p}, State{}
		ids := []string{ExecutionID(p.Deployment, "a", "M1", 1), ExecutionID(p.Deployment, "a", "M2", 1), ExecutionID(p.Deployment, "b", "M2", 1), "nonsense"}
		starts := map[string]bool{}
		for _, b := range data {
			id := ids[b>>4%4]
			e := []Event{TaskStarted{}, ServerRestarted{}, CancelRequested{}, ExecutionStarted{id}, ExecutionFinished{Execution: id, State: Done},
				ExecutionFinished{Execution: id, State: "odd"}, ExecutionUnknown{Execution: id}, InterruptionAnswered{"unknown/" + id, AnswerFailed}, nil}[int(b&15)%9]
			final := s.Status.Final()
			next, commands := m.Next(s, e)
			if final && !reflect.DeepEqual(next, s) {
				t.Fatal("a finished deployment changed")
			}
			for _, c := range commands {
				if c, ok := c.(StartExecution); ok {
					if _, restart := e.(ServerRestarted); !restart && starts[c.Execution] {
						t.Fatal("decided twice")
					}
					starts[c.Execution] = true
				}
			}
			s = next
		}
	})
}
