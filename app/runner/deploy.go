package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
)

// deployment is a deployment task that is being done. Its state belongs to the
// goroutine of loop; watchers only send events.
type deployment struct {
	*run
	work     spaces.Work
	compiler *deploy.Compiler
	machine  deploy.Machine
	state    deploy.State
	events   chan observed
	answered map[string]bool // interruptions whose answer was taken
}

// observed is an event, with the status of the execution that it comes from, if any: they
// are stored together.
type observed struct {
	deploy.Event
	status *execution.Status
}

func (t *run) deploy(ctx context.Context) error {
	work, err := spaces.Update(ctx, t.space, spaces.Server(), func(tx *spaces.Tx) (spaces.Work, error) { return tx.PlanWork(t.task.ID) })
	if err != nil {
		return err
	}
	d := &deployment{run: t, work: work, state: work.State, events: make(chan observed, 64), answered: map[string]bool{}}
	uri := ""
	if t.r.cfg.ServerURI != nil {
		uri = t.r.cfg.ServerURI()
	}
	d.compiler, err = spaces.View(ctx, t.space, spaces.Server(), func(tx *spaces.ReadTx) (*deploy.Compiler, error) { return tx.Compiler(work, uri) })
	if err != nil {
		return err
	}
	d.machine = d.compiler.Machine()
	first := deploy.Event(deploy.TaskStarted{})
	if d.state.Status == deploy.StatusNew {
		t.log.once(-1, "Info", fmt.Sprintf("Deploying %s release %s to %s", work.Project.Name, work.Release.Version, work.Environment.Name))
		for _, warning := range work.Plan.Warnings {
			t.log.once(-1, "Warning", warning)
		}
	} else {
		t.log.say("Verbose", "The server was restarted; the deployment goes on where it was.")
		first = deploy.ServerRestarted{}
	}
	return d.loop(ctx, first)
}

// loop takes events until the deployment has ended. The first comes before what people
// did meanwhile: what a restart begins again was decided before it, and only that.
func (d *deployment) loop(ctx context.Context, first deploy.Event) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // watchers end with the deployment
	if done, err := d.take(ctx, observed{Event: first}); err != nil || done {
		return err
	}
	d.poke() // somebody may have cancelled or answered while nobody listened
	for {
		var e observed
		select {
		case <-ctx.Done():
			return nil
		case e = <-d.events:
		case <-d.signal:
			if done, err := d.listen(ctx); err != nil || done {
				return err
			}
			continue
		}
		done, err := d.take(ctx, e)
		if err != nil || done {
			return err
		}
	}
}

// listen turns what people did (cancel, answers) into events.
func (d *deployment) listen(ctx context.Context) (done bool, err error) {
	type news struct {
		task      spaces.Task
		questions []spaces.Interruption
	}
	n, err := spaces.View(ctx, d.space, spaces.Server(), func(tx *spaces.ReadTx) (news, error) {
		t, err := tx.Task(d.task.ID)
		if err != nil {
			return news{}, err
		}
		q, err := tx.Interruptions(d.task.ID)
		return news{t, q}, err
	})
	if err != nil {
		return false, err
	}
	if n.task.State == spaces.Cancelling {
		if done, err := d.take(ctx, observed{Event: deploy.CancelRequested{}}); err != nil || done {
			return done, err
		}
	}
	for _, q := range n.questions {
		if q.AnsweredAt == nil || q.Answer == "withdrawn" || d.answered[q.Reference] {
			continue
		}
		d.answered[q.Reference] = true
		d.log.once(-1, "Info", fmt.Sprintf("%s answered '%s' to: %s", q.AnsweredBy, q.Answer, q.Title))
		if done, err := d.take(ctx, observed{Event: deploy.InterruptionAnswered{Interruption: q.Reference, Answer: q.Answer}}); err != nil || done {
			return done, err
		}
	}
	return false, nil
}

// take works out what an event changes, stores it, and then does it.
func (d *deployment) take(ctx context.Context, o observed) (done bool, err error) {
	next, commands := d.machine.Next(d.state, o.Event)
	_, restarted := o.Event.(deploy.ServerRestarted)
	err = spaces.Do(ctx, d.space, spaces.Server(), func(tx *spaces.Tx) error {
		if o.status != nil {
			if err := setExecution(tx, *o.status); err != nil {
				return err
			}
		}
		if !restarted {
			if err := tx.SaveState(d.work.Deployment.ID, next); err != nil {
				return err
			}
		}
		for _, c := range commands {
			if err := d.store(tx, c); err != nil {
				return err
			}
		}
		d.tell(next, commands) // last, as what is stored then is all but certain
		return nil
	})
	if err != nil {
		return false, err
	}
	d.state = next
	if e, ok := o.Event.(deploy.ExecutionFinished); ok {
		d.forget(ctx, e.Execution)
	}
	for _, c := range commands {
		if d.perform(ctx, c, restarted) {
			done = true
		}
	}
	return done, nil
}

// store writes the part of a command that belongs to the space's file.
func (d *deployment) store(tx *spaces.Tx, c deploy.Command) error {
	switch c := c.(type) {
	case deploy.StartExecution:
		ps := d.work.Plan.Steps[c.Step]
		target, _ := spaces.ParseTargetID(c.Target)
		return tx.PlanExecution(spaces.Execution{ID: c.Execution, TaskID: d.task.ID, StepName: ps.Name, ActionID: ps.Actions[c.Action].ID, TargetID: target, TargetName: d.targetName(c.Target), Attempt: c.Attempt})
	case deploy.OpenInterruption:
		choices := make([]spaces.Choice, len(c.Choices))
		for i, ch := range c.Choices {
			choices[i] = spaces.Choice{Value: ch.Value, Label: ch.Label}
		}
		return tx.OpenInterruption(spaces.Interruption{TaskID: d.task.ID, Kind: c.Kind, Reference: c.ID, Title: c.Title, Message: c.Message, Choices: choices})
	case deploy.CloseInterruption:
		return tx.CloseInterruption(d.task.ID, c.ID, c.Why)
	case deploy.Finish:
		state := map[deploy.Status]spaces.TaskState{deploy.StatusSucceeded: spaces.TaskSuccess, deploy.StatusFailed: spaces.TaskFailed, deploy.StatusCanceled: spaces.TaskCanceled}[c.Status]
		return tx.FinishTask(d.task.ID, state, c.Error, d.log.warnings() > 0)
	}
	return nil
}

func (d *deployment) targetName(id string) string {
	for _, t := range d.work.Plan.Targets {
		if t.ID == id {
			return t.Name
		}
	}
	return id
}

// tell writes into the log which steps ended, what a person is asked, and the end.
func (d *deployment) tell(after deploy.State, commands []deploy.Command) {
	for i, s := range after.Steps {
		var old deploy.WorkState
		if i < len(d.state.Steps) {
			old = d.state.Steps[i].State
		}
		if s.State == old {
			continue
		}
		switch s.State {
		case deploy.Skipped:
			d.log.once(i, "Info", "Skipped. "+s.Why)
		case deploy.Done, deploy.Broken, deploy.Canceled:
			d.log.once(i, "Verbose", "The step has "+map[deploy.WorkState]string{deploy.Done: "succeeded", deploy.Broken: "failed", deploy.Canceled: "been cancelled"}[s.State]+".")
		}
	}
	for _, c := range commands {
		switch c := c.(type) {
		case deploy.OpenInterruption:
			d.log.once(-1, "Wait", c.Title+" "+c.Message)
		case deploy.Finish:
			switch c.Status {
			case deploy.StatusSucceeded:
				d.log.once(-1, "Info", "The deployment has succeeded.")
			case deploy.StatusCanceled:
				d.log.once(-1, "Warning", "The deployment was cancelled.")
			default:
				d.log.once(-1, "Error", "The deployment has failed. "+c.Error)
			}
		}
	}
}

// perform does a stored command. It must do no harm when it is done again, which it is,
// perhaps, after a restart.
func (d *deployment) perform(ctx context.Context, c deploy.Command, again bool) (finished bool) {
	switch c := c.(type) {
	case deploy.StartExecution:
		state := d.state
		go d.start(ctx, c, state, again)
	case deploy.WatchExecution:
		go d.watch(ctx, deploy.StartExecution(c), true)
	case deploy.CancelExecution:
		go d.cancel(ctx, c)
	case deploy.Finish:
		return true
	}
	return false
}

func (d *deployment) send(ctx context.Context, e deploy.Event) { d.tellOf(ctx, observed{Event: e}) }

func (d *deployment) tellOf(ctx context.Context, o observed) {
	select {
	case d.events <- o:
	case <-ctx.Done():
	}
}

func (d *deployment) broken(ctx context.Context, c deploy.StartExecution, err error) {
	d.log.target(c.Step, d.targetName(c.Target), c.Execution, "Error", errs.TextOf(err))
	d.send(ctx, deploy.ExecutionFinished{Execution: c.Execution, State: deploy.Broken, Message: errs.TextOf(err)})
}

func (d *deployment) unknown(ctx context.Context, c deploy.StartExecution, message string) {
	d.log.target(c.Step, d.targetName(c.Target), c.Execution, "Warning", message)
	d.send(ctx, deploy.ExecutionUnknown{Execution: c.Execution, Message: message})
}

func (d *deployment) transport(ctx context.Context, target string) (targets.Transport, error) {
	id, err := spaces.ParseTargetID(target)
	if err != nil {
		return nil, err
	}
	t, err := spaces.View(ctx, d.space, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Target, error) { return tx.Target(id) })
	if err != nil {
		return nil, err
	}
	return d.r.cfg.Transports.Transport(targets.Machine{Style: t.Style, URI: t.URI, Thumbprint: t.Thumbprint})
}

// start brings package and work to a target. As long as it is certain that the target
// never got the work, being out of reach is a failure; otherwise it is unknown. again
// says that the server was restarted: the one before may have brought it.
func (d *deployment) start(ctx context.Context, c deploy.StartExecution, state deploy.State, again bool) {
	spec, err := d.compiler.Compile(&state, c)
	if err != nil {
		d.broken(ctx, c, err)
		return
	}
	spec.Space = d.space.Name()
	name := d.targetName(c.Target)
	deadline, pause, mayHaveIt, told := time.Now().Add(d.r.cfg.Reach), 200*time.Millisecond, again, false
	for {
		sent, err := d.deliver(ctx, c, spec)
		if err == nil {
			if told {
				d.log.target(c.Step, name, c.Execution, "Info", "The target can be reached again.")
			}
			break
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errs.Unavailable) && !errors.Is(err, errs.Busy) {
			if again && !sent {
				d.unknown(ctx, c, "The server was restarted while the work was handed over, and cannot hand it over now. "+errs.TextOf(err))
			} else {
				d.broken(ctx, c, err)
			}
			return
		}
		mayHaveIt = mayHaveIt || sent && !neverArrived(err)
		if !told {
			d.log.target(c.Step, name, c.Execution, "Wait", errs.TextOf(err)+" Trying again.")
			told = true
		}
		if time.Now().After(deadline) {
			if mayHaveIt {
				d.unknown(ctx, c, "The target went out of reach while the work was handed over.")
			} else {
				d.broken(ctx, c, errs.New(errs.Unavailable, "The target could not be reached for %s; nothing was started on it. %s", d.r.cfg.Reach, errs.TextOf(err)))
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
	d.watch(ctx, c, false)
}

// neverArrived reports whether a request certainly did not reach the target.
func neverArrived(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// deliver does one attempt. sent tells whether the work itself was on its way.
func (d *deployment) deliver(ctx context.Context, c deploy.StartExecution, spec execution.Spec) (sent bool, err error) {
	tr, err := d.transport(ctx, c.Target)
	if err != nil {
		return false, err
	}
	if p := spec.Package; p != nil {
		// Verified here as well as there: a damaged file of ours must name us.
		if err := d.space.Packages().Verify(ctx, p.Digest); err != nil {
			return false, errs.Wrap(errs.Blocked, err, "Package %s %s: %s", p.ID, p.Version, errs.TextOf(err))
		}
		file, err := d.space.Packages().Open(p.Digest)
		if err != nil {
			return false, err
		}
		defer file.Close()
		began := time.Now()
		n, err := tr.Put(ctx, p.Digest, p.Size, file)
		if err != nil {
			return false, err
		}
		name := d.targetName(c.Target)
		if n == 0 {
			d.log.target(c.Step, name, c.Execution, "Verbose", fmt.Sprintf("The target has package %s %s already.", p.ID, p.Version))
		} else {
			d.log.target(c.Step, name, c.Execution, "Verbose", fmt.Sprintf("Sent package %s %s: %d bytes in %d ms.", p.ID, p.Version, n, time.Since(began).Milliseconds()))
		}
	}
	_, err = tr.Start(ctx, spec)
	return true, err
}

// watch takes over the log of work and sends what becomes of it.
func (d *deployment) watch(ctx context.Context, c deploy.StartExecution, accepted bool) {
	name := d.targetName(c.Target)
	offset := d.log.offset(c.Execution)
	lost := time.Time{} // since when the target is out of reach
	for {
		tr, err := d.transport(ctx, c.Target)
		var u execution.Update
		if err == nil {
			u, err = tr.Watch(ctx, c.Execution, offset, 20*time.Second)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if lost.IsZero() {
				lost = time.Now()
				d.log.target(c.Step, name, c.Execution, "Wait", errs.TextOf(err)+" Waiting for the target.")
			}
			if time.Since(lost) > d.r.cfg.Patience {
				d.send(ctx, deploy.ExecutionUnknown{Execution: c.Execution, Message: fmt.Sprintf("The target has been out of reach for %s.", d.r.cfg.Patience)})
				lost = time.Now() // and go on asking: its own answer counts if it comes first
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			continue
		}
		if !lost.IsZero() {
			lost = time.Time{}
			d.log.target(c.Step, name, c.Execution, "Info", "The target can be reached again.")
		}
		offset = d.log.takeOver(c.Step, name, c.Execution, u.Entries, u.Next)
		if e, ok := deploy.Observed(u.Status, accepted); ok {
			d.tellOf(ctx, observed{e, &u.Status})
			accepted = true
		} else {
			d.noteState(ctx, u.Status)
		}
		if u.Status.State.Final() || u.Status.State == execution.Absent {
			return
		}
	}
}

func setExecution(tx *spaces.Tx, st execution.Status) error {
	return tx.SetExecution(st.ID, string(st.State), st.Message, st.Started, st.Ended)
}

func (d *deployment) noteState(ctx context.Context, st execution.Status) {
	err := spaces.Do(ctx, d.space, spaces.Server(), func(tx *spaces.Tx) error { return setExecution(tx, st) })
	if err != nil && ctx.Err() == nil {
		d.r.cfg.Logger.Error("note state of execution", "execution", st.ID, "err", err)
	}
}

// forget lets the target clean up, once the end is stored here: until then its own word
// is the only one. It waits a little, so that no copy of the work that is still on its
// way finds a target that does not know it. A target that does not hear it keeps a
// folder, which goes in time.
func (d *deployment) forget(ctx context.Context, id string) {
	target := ""
	for _, s := range d.state.Steps {
		for _, r := range s.Runs {
			if slices.ContainsFunc(r.Works, func(w deploy.Work) bool { return w.Execution == id }) {
				target = r.Target
			}
		}
	}
	tr, err := d.transport(ctx, target)
	if err != nil {
		return // removed while it worked
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	time.AfterFunc(3*time.Second, func() {
		defer stop()
		if err := tr.Forget(ctx, id); err != nil {
			d.r.cfg.Logger.Debug("forget execution", "execution", id, "err", err)
		}
	})
}

func (d *deployment) cancel(ctx context.Context, c deploy.CancelExecution) {
	for ctx.Err() == nil {
		tr, err := d.transport(ctx, c.Target)
		if err == nil {
			err = tr.Cancel(ctx, c.Execution)
		}
		if err == nil {
			return
		}
		if errors.Is(err, errs.NotFound) {
			d.send(ctx, deploy.ExecutionUnknown{Execution: c.Execution, Message: "The target does not know this work."})
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
