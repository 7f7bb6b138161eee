package deploy

import "slices"

// advance decides everything that can be decided now, until something must
// happen first or the deployment is over.
func (t *turn) advance() {
	for !t.s.Status.Final() {
		if t.s.Block >= t.blocks() {
			t.finish()
			return
		}
		if t.s.Status == StatusCanceling {
			if t.closeAll() {
				t.finish()
			}
			return
		}
		if !t.block() {
			return
		}
		t.s.Block++
		t.s.Before = t.s.Failed
	}
}

func (t *turn) blocks() int {
	if n := len(t.Plan.Steps); n > 0 {
		return t.Plan.Steps[n-1].Block + 1
	}
	return 0
}

func (t *turn) finish() {
	switch {
	case t.s.Status == StatusCanceling:
		t.s.Status = StatusCanceled
	case t.s.Failed:
		t.s.Status = StatusFailed
	default:
		t.s.Status = StatusSucceeded
	}
	e := ""
	if t.s.Status == StatusFailed {
		e = t.s.Error
	}
	t.do(Finish{Status: t.s.Status, Error: e})
}

// block moves the steps of the present block on and reports whether all are over.
func (t *turn) block() (over bool) {
	for {
		over = true
		running, changed := 0, false
		for i := range t.Plan.Steps {
			if t.Plan.Steps[i].Block == t.s.Block && t.s.Steps[i].State == Working {
				running++
			}
		}
		for i := range t.Plan.Steps {
			if t.Plan.Steps[i].Block != t.s.Block {
				continue
			}
			if t.s.Steps[i].State == Waiting && running < t.Plan.MaxParallelism {
				if t.begin(i); t.s.Steps[i].State == Working {
					running++
				}
			}
			if t.s.Steps[i].State == Working && t.step(i) {
				// A place is free: a step that waited for it may begin.
				changed = true
				running--
			}
			over = over && t.s.Steps[i].State.final()
		}
		if over || !changed {
			return over
		}
	}
}

// begin decides whether a step runs and on which targets.
func (t *turn) begin(i int) {
	ps, ss := &t.Plan.Steps[i], &t.s.Steps[i]
	why := ps.Skip
	if why == "" {
		var ok bool
		if ok, why = t.holds(ps.Condition, t.s.Before, i, -1, "", ps.Expression); ok {
			why = ""
		}
	}
	if why == "" {
		ss.Runs = make([]Run, 0, len(ps.Targets))
		for _, id := range ps.Targets {
			if !slices.Contains(t.s.Excluded, id) {
				ss.Runs = append(ss.Runs, Run{Target: id})
			}
		}
		t.touched[[2]int{i, -1}] = true
		if len(ss.Runs) == 0 {
			why = "No target is left for it."
		}
	}
	if why != "" {
		ss.State, ss.Why = Skipped, why
		return
	}
	ss.State = Working
}

// step moves a running step on and reports whether it ended.
func (t *turn) step(i int) bool {
	ps, ss := &t.Plan.Steps[i], &t.s.Steps[i]
	active, failed := 0, false
	for j := range ss.Runs {
		if ss.Runs[j].State == Working {
			t.move(i, j)
		}
		if ss.Runs[j].State == Working {
			active++
		}
		failed = failed || ss.Runs[j].Failed
	}
	left := false
	for j := range ss.Runs {
		if ss.Runs[j].State != Waiting {
			continue
		}
		if ps.Rolling && failed {
			// The point of a window is that a bad version does not roll on.
			r := t.run(i, j)
			r.State, r.Why = Skipped, "An earlier target of this rolling step failed."
			continue
		}
		if slices.Contains(t.s.Excluded, ss.Runs[j].Target) {
			t.run(i, j).State = Excluded
			continue
		}
		if active >= ps.Window {
			left = true
			break
		}
		t.run(i, j).State = Working
		if t.move(i, j); ss.Runs[j].State == Working {
			active++
		}
		failed = failed || ss.Runs[j].Failed
	}
	if left || active > 0 {
		return false
	}
	ss.State = Done
	if failed {
		ss.State, t.s.Failed = Broken, true
	}
	return true
}

// move starts the next action of a run that has none under way, or ends the run.
func (t *turn) move(i, j int) {
	r := &t.s.Steps[i].Runs[j]
	next := 0
	if n := len(r.Works); n > 0 {
		if !r.Works[n-1].State.final() {
			return
		}
		next = r.Works[n-1].Action + 1
	}
	r = t.run(i, j)
	actions := t.Plan.Steps[i].Actions
	for ; next < len(actions); next++ {
		a := &actions[next]
		why := a.Skip
		if why == "" {
			ok, because := t.holds(a.Condition, r.Failed, i, next, r.Target, a.Expression)
			if ok {
				t.start(i, j, next, 1)
				return
			}
			why = because
		}
		r.Works = append(r.Works, Work{Action: next, State: Skipped, Message: why})
	}
	r.State = Done
	if r.Failed {
		r.State = Broken
	}
}

// closeAll ends, while canceling, whatever is not under way on a target, and
// reports whether nothing is.
func (t *turn) closeAll() bool {
	over := true
	for i := range t.s.Steps {
		if t.s.Steps[i].State.final() {
			continue
		}
		busy := false
		for j := range t.s.Steps[i].Runs {
			r := &t.s.Steps[i].Runs[j]
			if r.State.final() {
				continue
			}
			if n := len(r.Works); n > 0 && !r.Works[n-1].State.final() {
				busy = true
				continue
			}
			t.run(i, j).State = Canceled
		}
		if busy {
			over = false
			continue
		}
		t.s.Steps[i].State = Canceled
	}
	return over
}
