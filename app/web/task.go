package web

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/tasks"
	"octopuses.dev/octopuses/views/ui"
)

func taskRoutes() []route {
	return []route{
		get("/spaces/:space/tasks", inSpace, access.TaskView, taskList),
		get("/spaces/:space/tasks/:task", inSpace, access.TaskView, taskPage),
		post("/spaces/:space/tasks/:task/cancel", inSpace, access.TaskCancel, cancelTask),
		post("/spaces/:space/tasks/:task/answer", inSpace, access.InterruptionSubmit, answer),
		get("/spaces/:space/projects/:project/releases/:version/deployments/:deployment", inSpace, access.DeploymentView, deploymentPage),
	}
}

func taskList(r *request) error {
	m := tasks.List{State: r.Query("state")}
	f := spaces.TaskFilter{Take: 100, Active: m.State == "active", Interrupted: m.State == "interrupted", PartialName: r.Query("q")}
	all, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Page[spaces.Task], error) { return tx.Tasks(f) })
	if err != nil {
		return err
	}
	for _, t := range all.Items {
		row := tasks.Row{ID: t.ID.String(), Description: t.Description, By: t.CreatedBy, At: t.CreatedAt, Took: took(t)}
		row.Tone, row.Word = toneOf(t.State, t.HasPendingInterruptions, t.HasWarningsOrErrors)
		m.Rows = append(m.Rows, row)
	}
	if all.Total > len(all.Items) {
		m.Pager.Text = fmt.Sprintf("The newest %d of %d tasks", len(all.Items), all.Total)
	}
	m.Page = r.pageFor("Tasks", "Tasks")
	return r.show(tasks.ShowList(m), map[string]templ.Component{"tasks": tasks.Part(m)})
}

func taskPage(r *request) error {
	id, err := spaces.ParseTaskID(r.param("task"))
	if err != nil {
		return err
	}
	return r.task(func(tx *spaces.ReadTx) (spaces.Task, error) { return tx.Task(id) })
}

func deploymentPage(r *request) error {
	id, err := spaces.ParseDeploymentID(r.param("deployment"))
	if err != nil {
		return err
	}
	return r.task(func(tx *spaces.ReadTx) (spaces.Task, error) {
		d, err := tx.Deployment(id)
		if err != nil {
			return spaces.Task{}, err
		}
		return tx.Task(d.TaskID)
	})
}

// task draws the page of a task; that of a deployment has steps, targets and provenance.
func (r *request) task(find func(*spaces.ReadTx) (spaces.Task, error)) error {
	m := tasks.Task{Own: r.Path()}
	slug := r.about.Slug
	var crumbs []ui.Crumb
	t, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Task, error) {
		t, err := find(tx)
		if err != nil {
			return t, err
		}
		m.ID, m.Title, m.By, m.Error = t.ID.String(), t.Description, t.CreatedBy, t.ErrorMessage
		m.Tone, m.Word = toneOf(t.State, t.HasPendingInterruptions, t.HasWarningsOrErrors)
		m.Queued, m.Started, m.Ended, m.Running = t.CreatedAt, when(t.StartTime), when(t.CompletedTime), !t.State.Finished()
		m.Facts = []ui.Pair{{Key: "Asked for by", Text: t.CreatedBy}}
		if t.CanceledBy != "" {
			m.Facts = append(m.Facts, ui.Pair{Key: "Canceled by", Text: t.CanceledBy})
		}
		scope := access.Scope{Project: t.ProjectID.String(), Environment: t.EnvironmentID.String()}
		if t.ProjectID != 0 {
			if p, err := tx.Project(t.ProjectID); err == nil {
				scope.ProjectGroup = p.GroupID.String()
			}
		}
		m.CanCancel, m.Why = r.can(access.TaskCancel, scope)
		questions, err := tx.Interruptions(t.ID)
		if err != nil {
			return t, err
		}
		for _, q := range questions {
			x := tasks.Question{ID: q.ID.String(), Title: q.Title, Message: q.Message, Answer: q.Answer, By: q.AnsweredBy, Notes: q.Notes, At: when(q.AnsweredAt)}
			for _, c := range q.Choices {
				x.Choices = append(x.Choices, tasks.Choice{Value: c.Value, Label: c.Label})
				if c.Value == q.Answer {
					x.Answer = c.Label
				}
			}
			x.CanAnswer, x.Why = r.can(access.InterruptionSubmit, scope)
			if t.State.Finished() && q.AnsweredAt == nil {
				continue // nobody waits for it any more
			}
			m.Questions = append(m.Questions, x)
		}
		if t.Kind != spaces.TaskDeploy {
			return t, nil
		}
		d, err := tx.DeploymentOfTask(t.ID)
		if err != nil {
			return t, err
		}
		p, err := tx.Project(d.ProjectID)
		if err != nil {
			return t, err
		}
		rel, err := tx.Release(d.ReleaseID)
		if err != nil {
			return t, err
		}
		if d.Comments != "" {
			m.Facts = append(m.Facts, ui.Pair{Key: "Why", Text: d.Comments})
		}
		if e, err := tx.Environment(d.EnvironmentID); err == nil {
			m.Facts = append(m.Facts, ui.Pair{Key: "Environment", Text: e.Name})
		}
		m.Facts = append(m.Facts, ui.Pair{Key: "Release", Body: ui.Link(views.ReleaseURL(slug, p.Slug, rel.Version), p.Name+" "+rel.Version)})
		m.Retry = views.DeployURL(slug, p.Slug, rel.Version) + "?environment=" + d.EnvironmentID.String()
		crumbs = []ui.Crumb{{Label: p.Name, Href: views.ProjectURL(slug, p.Slug)}, {Label: rel.Version, Href: views.ReleaseURL(slug, p.Slug, rel.Version)}, {Label: m.ID}}
		plan, err := tx.DeploymentPlan(d.ID)
		if err != nil || plan == nil {
			return t, err
		}
		state, err := tx.DeploymentState(d.ID)
		if err != nil {
			return t, err
		}
		m.Steps, m.Done = progressOf(plan, state)
		m.Of = len(plan.Steps)
		return t, nil
	})
	if err != nil {
		return err
	}
	if r.s.Logs != nil {
		nodes, next, err := r.s.Logs.Tree(r.ctx, r.space, t.ID)
		if err != nil {
			r.s.Log.Warn("read log of task", "task", t.ID.String(), "err", err)
		}
		m.Log = logNodes(nodes, "log", m.Running)
		m.Follow = url.Values{"log": {m.ID}, "from": {strconv.FormatInt(next, 10)}, "since": {r.mark}}.Encode()
	}
	m.Page = r.pageFor(m.Title, "Tasks", "task/"+m.ID)
	m.Page.Crumbs = crumbs
	if crumbs == nil {
		m.Page.Crumbs = []ui.Crumb{{Label: "Tasks", Href: views.TasksURL(slug)}, {Label: m.ID}}
	}
	return r.show(tasks.Show(m), map[string]templ.Component{"actions": tasks.Actions(m), "progress": tasks.Progress(m), "log": tasks.LogPart(m)})
}

func workTone(s deploy.WorkState) (ui.Tone, string) {
	switch s {
	case deploy.Starting, deploy.Working:
		return ui.Running, "Running"
	case deploy.Asking:
		return ui.Waiting, "Waiting for a person"
	case deploy.Done:
		return ui.Good, "Succeeded"
	case deploy.Broken:
		return ui.Bad, "Failed"
	case deploy.Skipped:
		return ui.Idle, "Skipped"
	case deploy.Canceled:
		return ui.Idle, "Canceled"
	case deploy.Excluded:
		return ui.Idle, "Taken out"
	}
	return ui.Idle, "Not begun"
}

func progressOf(plan *deploy.Plan, state deploy.State) (out []tasks.StepRow, done int) {
	names := map[string]string{}
	for _, t := range plan.Targets {
		names[t.ID] = t.Name
	}
	for i, s := range plan.Steps {
		row := tasks.StepRow{Name: fmt.Sprintf("%d. %s", s.Number, s.Name), Why: s.Skip, Tone: ui.Idle, Word: "Not begun"}
		if s.Skip != "" {
			row.Word = "Skipped"
		}
		if i < len(state.Steps) {
			st := state.Steps[i]
			row.Tone, row.Word = workTone(st.State)
			if st.Why != "" {
				row.Why = st.Why
			}
			switch st.State {
			case deploy.Done, deploy.Broken, deploy.Skipped, deploy.Canceled:
				done++
			}
			for _, run := range st.Runs {
				x := tasks.StepRow{Name: names[run.Target], Why: run.Why}
				x.Tone, x.Word = workTone(run.State)
				if n := len(run.Works); n > 0 && x.Why == "" {
					x.Why = run.Works[n-1].Message
				}
				row.Targets = append(row.Targets, x)
			}
		}
		out = append(out, row)
	}
	return out, done
}

// logNodes converts the tree; ids are the way through it, so that anchors stay.
func logNodes(in []LogNode, path string, running bool) (out []ui.LogNode) {
	for i, n := range in {
		x := ui.LogNode{ID: fmt.Sprintf("%s-%d", path, i+1), Key: n.Key, Name: n.Name, Word: n.Status}
		switch n.Status {
		case "Running":
			x.Tone, x.Open = ui.Running, true
		case "Success":
			x.Tone, x.Word = ui.Good, "Succeeded"
		case "SuccessWithWarning":
			x.Tone, x.Word, x.Open = ui.Waiting, "Succeeded with warnings", true
		case "Failed":
			x.Tone, x.Open = ui.Bad, true
		default:
			x.Tone = ui.Idle
		}
		if path == "log" {
			x.Open = true
		}
		if n.Started != nil && n.Ended != nil {
			x.Took = n.Ended.Sub(*n.Started)
		}
		for j, l := range n.Lines {
			x.Lines = append(x.Lines, ui.LogLine{Number: j + 1, Time: l.Time, Level: strings.ToLower(l.Category), Text: l.Text})
		}
		x.Children = logNodes(n.Children, x.ID, running)
		out = append(out, x)
	}
	return out
}

func cancelTask(r *request) error {
	id, err := spaces.ParseTaskID(r.param("task"))
	if err != nil {
		return err
	}
	if _, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Task, error) { return tx.CancelTask(id) }); err != nil {
		return err
	}
	return r.see(r.taskURL(id))
}

// taskURL is the page of a task; of a deployment its own.
func (r *request) taskURL(id spaces.TaskID) string {
	to, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (string, error) {
		d, err := tx.DeploymentOfTask(id)
		if err != nil {
			return "", err
		}
		p, err := tx.Project(d.ProjectID)
		if err != nil {
			return "", err
		}
		rel, err := tx.Release(d.ReleaseID)
		return views.DeploymentURL(r.about.Slug, p.Slug, rel.Version, d.ID.String()), err
	})
	if err != nil {
		return views.TaskURL(r.about.Slug, id.String())
	}
	return to
}

func answer(r *request) error {
	task, err := spaces.ParseTaskID(r.param("task"))
	if err != nil {
		return err
	}
	id, err := spaces.ParseInterruptionID(r.value("question"))
	if err != nil {
		return err
	}
	_, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Interruption, error) {
		return tx.AnswerInterruption(id, r.value("answer"), r.value("notes"))
	})
	if err != nil {
		return err
	}
	return r.see(r.taskURL(task))
}
