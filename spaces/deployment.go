package spaces

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
)

// Deployment is one execution of one release in one environment. Its task does the
// work.
type Deployment struct {
	ID            DeploymentID
	ULID          string
	ProjectID     ProjectID
	ReleaseID     ReleaseID
	EnvironmentID EnvironmentID
	ChannelID     ChannelID
	TaskID        TaskID
	Attempt       int // counts deployments of this release to this environment, from 1
	Comments      string
	Options       DeploymentOptions
	CreatedAt     time.Time
	CreatedBy     string
	CreatedByID   string
}

// DeploymentOptions are the choices of whoever deploys. Names are those of
// Octopus's API.
type DeploymentOptions struct {
	SkipActions        []string          `json:"SkipActions,omitempty"` // ids or names
	SpecificMachineIDs []string          `json:"SpecificMachineIds,omitempty"`
	ExcludedMachineIDs []string          `json:"ExcludedMachineIds,omitempty"`
	FormValues         map[string]string `json:"FormValues,omitempty"`
	// UseGuidedFailure asks a person at a failure; nil in an input is the default of the project
	// and its environment. A deployment that was made has it set.
	UseGuidedFailure *bool `json:"UseGuidedFailure,omitempty"`
	ForceDownload    bool  `json:"ForcePackageDownload,omitempty"`
	ForceRedeploy    bool  `json:"ForcePackageRedeployment,omitempty"`
}

// Guided reports whether a deployment that was made asks a person at a failure.
func (o DeploymentOptions) Guided() bool { return o.UseGuidedFailure != nil && *o.UseGuidedFailure }

// DeploymentInput is what a person or a client says of a new deployment.
type DeploymentInput struct {
	Release         ReleaseID
	Environment     EnvironmentID
	Comments        string
	Options         DeploymentOptions
	QueueTime       time.Time // zero: now
	QueueTimeExpiry *time.Time
}

const deploymentColumns = `id, ulid, project_id, release_id, environment_id, channel_id, task_id, attempt, comments, options, created_at, created_by, created_by_id`

func scanDeployment(scan func(...any) error) (Deployment, error) {
	var d Deployment
	var at, options string
	if err := scan(&d.ID, &d.ULID, &d.ProjectID, &d.ReleaseID, &d.EnvironmentID, &d.ChannelID, &d.TaskID, &d.Attempt, &d.Comments, &options, &at, &d.CreatedBy, &d.CreatedByID); err != nil {
		return d, err
	}
	d.CreatedAt = parseTime(at)
	return d, json.Unmarshal([]byte(options), &d.Options)
}

// CreateDeployment queues a deployment. It needs DeploymentCreate for the project
// in the environment. Errors: [errs.Blocked] when the lifecycle does not let the
// release go there, when something is missing (package, target, mandatory value),
// or when the project is disabled; [errs.Invalid] for options that name nothing.
func (tx *Tx) CreateDeployment(in DeploymentInput) (Deployment, error) {
	r, err := tx.release(in.Release)
	if err != nil {
		return Deployment{}, err
	}
	p, err := tx.Project(r.ProjectID)
	if err != nil {
		return Deployment{}, err
	}
	e, err := tx.environment(in.Environment)
	if err != nil {
		return Deployment{}, err
	}
	if err := tx.require(access.DeploymentCreate, p.in(e.ID)); err != nil {
		return Deployment{}, err
	}
	if p.IsDisabled {
		return Deployment{}, errs.New(errs.Blocked, "Project '%s' is disabled.", p.Name).WithHint("Enable it in its settings first.")
	}
	progress, err := tx.progress(p, r)
	if err != nil {
		return Deployment{}, err
	}
	if ok, why := progress.MayDeploy(e.ID.String(), e.Name); !ok {
		return Deployment{}, errs.New(errs.Blocked, "Release %s may not be deployed to '%s'. %s", r.Version, e.Name, why)
	}
	if err := tx.readyToDeploy(p, r, e); err != nil {
		return Deployment{}, err
	}
	d := Deployment{ULID: NewULID(tx.Now), ProjectID: p.ID, ReleaseID: r.ID, EnvironmentID: e.ID, ChannelID: r.ChannelID, Options: in.Options}
	if d.Options.UseGuidedFailure == nil {
		guided := p.guided(e)
		d.Options.UseGuidedFailure = &guided
	}
	// Planned for real when it starts; now only to refuse what could not run.
	if _, err := tx.planDeployment(p, r, e, d); err != nil {
		return Deployment{}, err
	}
	options, err := json.Marshal(d.Options)
	if err != nil {
		return Deployment{}, fmt.Errorf("encode options: %w", err)
	}
	task, err := tx.createTask(taskInput{kind: TaskDeploy, description: fmt.Sprintf("Deploy %s release %s to %s", p.Name, r.Version, e.Name), project: p.ID, environment: e.ID,
		tag: p.ID.String() + "/" + e.ID.String(), queueAt: in.QueueTime, queueExpires: in.QueueTimeExpiry})
	if err != nil {
		return Deployment{}, err
	}
	attempt, err := one[int](tx.ReadTx, `SELECT count(*) + 1 FROM deployment WHERE release_id = ? AND environment_id = ?`, int64(r.ID), int64(e.ID))
	if err != nil {
		return Deployment{}, err
	}
	n, err := tx.insert(`INSERT INTO deployment (ulid, project_id, release_id, environment_id, channel_id, task_id, attempt, comments, options, created_at, created_by, created_by_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.ULID, int64(p.ID), int64(r.ID), int64(e.ID), int64(r.ChannelID), int64(task), attempt, in.Comments, string(options), formatTime(tx.Now), tx.Actor.Name, tx.Actor.ID)
	if err != nil {
		return Deployment{}, err
	}
	if err := tx.update(`UPDATE task SET arguments = json_object('DeploymentId', ?) WHERE id = ?`, DeploymentID(n).String(), int64(task)); err != nil {
		return Deployment{}, err
	}
	if err := tx.makeCurrent(DeploymentID(n)); err != nil {
		return Deployment{}, err
	}
	t, err := tx.task(task)
	if err != nil {
		return Deployment{}, err
	}
	if err := tx.deploymentEvent(t, "DeploymentQueued", "was queued"); err != nil {
		return Deployment{}, err
	}
	return tx.deployment(DeploymentID(n))
}

func (p Project) guided(e Environment) bool {
	switch p.Settings.DefaultGuidedFailureMode {
	case "On":
		return true
	case "Off":
		return false
	}
	return e.UseGuidedFailure
}

// readyToDeploy refuses a deployment of what was recalled, and one that would fail for
// want of a package file or a mandatory value.
func (tx *ReadTx) readyToDeploy(p Project, r Release, e Environment) error {
	if err := tx.notRecalled(p, r); err != nil {
		return err
	}
	missing, err := tx.MissingPackages(r.ID)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return errs.New(errs.Blocked, "Package %s %s (sha256 %s) of release %s is not here yet.", missing[0].PackageID, missing[0].Version, missing[0].Digest, r.Version).
			WithHint("Wait until it has arrived over the link, or bring it as a file.")
	}
	values, err := tx.TemplateValues(p, r, e.ID)
	if err != nil {
		return err
	}
	var c errs.Check
	for _, v := range values {
		c.Require(!v.Missing(), v.Template.Name, "'%s' needs a value in '%s' before release %s can be deployed there.", v.Template.shown(), e.Name, r.Version)
	}
	if err := c.Err(); err != nil {
		return errs.New(errs.Blocked, "%s", errs.TextOf(err)).WithHint("Set it in the variables of '%s'.", p.Name)
	}
	return nil
}

func (t VariableTemplate) shown() string {
	if t.Label != "" {
		return t.Label
	}
	return t.Name
}

// planDeployment works out what a deployment would do now.
func (tx *ReadTx) planDeployment(p Project, r Release, e Environment, d Deployment) (*deploy.Plan, error) {
	process, err := tx.ReleaseProcess(r)
	if err != nil {
		return nil, err
	}
	in := deploy.Input{Deployment: d.ULID, Process: &process, Environment: deploy.Environment{ID: e.ID.String(), Name: e.Name}, Channel: r.ChannelID.String(),
		SkipActions: d.Options.SkipActions, OnlyTargets: d.Options.SpecificMachineIDs, ExcludeTargets: d.Options.ExcludedMachineIDs,
		AllowNoTargets: p.Settings.ConnectivityPolicy.AllowDeploymentsToNoTargets, ExcludeUnhealthy: p.Settings.ConnectivityPolicy.ExcludeUnhealthyTargets,
		SkipUnavailable: p.Settings.ConnectivityPolicy.SkipMachineBehavior == "SkipUnavailableMachines", GuidedFailure: d.Options.Guided(),
		ForceDownload: d.Options.ForceDownload, ForceRedeploy: d.Options.ForceRedeploy}
	targets, err := list(tx, scanTarget, `SELECT `+targetColumns+` FROM target t JOIN target_environment x ON x.target_id = t.id WHERE x.environment_id = ? ORDER BY t.name`, int64(e.ID))
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		in.Targets = append(in.Targets, deploy.Target{ID: t.ID.String(), Name: t.Name, Tags: t.Tags, Disabled: t.IsDisabled, Health: t.Health})
	}
	for _, pkg := range r.Packages {
		in.Packages = append(in.Packages, deploy.Package{ActionName: pkg.ActionName, Reference: pkg.ReferenceName, ID: pkg.PackageID, Version: pkg.Version, FeedID: BuiltInFeed, Digest: pkg.Digest, Size: pkg.Size, Extension: pkg.Extension})
	}
	dict, err := tx.deploymentDictionary(p, r, e)
	if err != nil {
		return nil, err
	}
	in.Evaluate = func(text string) (string, error) {
		out, _, err := dict.Evaluate(text)
		return out, err
	}
	return deploy.NewPlan(in)
}

// PreviewPlan is what a deployment of a release would do now, for the page that
// asks before. It needs DeploymentCreate, and has the errors of CreateDeployment.
func (tx *ReadTx) PreviewPlan(release ReleaseID, environment EnvironmentID, options DeploymentOptions) (*deploy.Plan, error) {
	r, err := tx.release(release)
	if err != nil {
		return nil, err
	}
	p, err := tx.Project(r.ProjectID)
	if err != nil {
		return nil, err
	}
	e, err := tx.environment(environment)
	if err != nil {
		return nil, err
	}
	if err := tx.require(access.DeploymentCreate, p.in(e.ID)); err != nil {
		return nil, err
	}
	return tx.planDeployment(p, r, e, Deployment{ULID: NewULID(tx.Now), Options: options})
}

// Progress is how far a release is in its lifecycle. It needs ReleaseView. Environments
// that the actor may not see are left out, and phases that had only those.
func (tx *ReadTx) Progress(r Release) (deploy.Progress, error) {
	p, err := tx.mayViewRelease(r)
	if err != nil {
		return deploy.Progress{}, err
	}
	progress, err := tx.progress(p, r)
	if err != nil {
		return progress, err
	}
	kept := progress.Phases[:0]
	for _, phase := range progress.Phases {
		had := len(phase.Environments)
		phase.Environments = slices.DeleteFunc(phase.Environments, func(e deploy.EnvironmentProgress) bool {
			return !tx.Can(access.EnvironmentView, access.Scope{Environment: e.ID})
		})
		if had == 0 || len(phase.Environments)+len(phase.Spaces) > 0 {
			kept = append(kept, phase)
		}
	}
	progress.Phases = kept
	return progress, nil
}

func (tx *ReadTx) progress(p Project, r Release) (deploy.Progress, error) {
	channel, err := tx.channel(r.ChannelID)
	if err != nil {
		return deploy.Progress{}, err
	}
	id := p.LifecycleID
	if channel.LifecycleID != 0 {
		id = channel.LifecycleID
	}
	l, err := tx.lifecycle(id)
	if err != nil {
		return deploy.Progress{}, err
	}
	in := deploy.ProgressionInput{Lifecycle: &l.Lifecycle, SpaceNames: map[string]string{}}
	in.Environments, err = list(tx, func(scan func(...any) error) (deploy.Environment, error) {
		var eid EnvironmentID
		var e deploy.Environment
		err := scan(&eid, &e.Name)
		e.ID = eid.String()
		return e, err
	}, `SELECT id, name FROM environment ORDER BY sort_order, id`)
	if err != nil {
		return deploy.Progress{}, err
	}
	in.History, err = list(tx, func(scan func(...any) error) (deploy.Fact, error) {
		var eid EnvironmentID
		var state TaskState
		err := scan(&eid, &state)
		return deploy.Fact{Environment: eid.String(), Outcome: outcomeOf(state)}, err
	}, `SELECT d.environment_id, t.state FROM deployment d JOIN task t ON t.id = d.task_id WHERE d.release_id = ?`, int64(r.ID))
	if err != nil {
		return deploy.Progress{}, err
	}
	links, err := list(tx, func(scan func(...any) error) ([2]string, error) {
		var id LinkID
		var name string
		err := scan(&id, &name)
		return [2]string{id.String(), name}, err
	}, `SELECT id, local_name FROM zone_link`)
	if err != nil {
		return deploy.Progress{}, err
	}
	for _, l := range links {
		in.SpaceNames[l[0]] = l[1]
	}
	remote, err := tx.RemoteDeployments(r.ULID)
	if err != nil {
		return deploy.Progress{}, err
	}
	for _, d := range remote {
		in.History = append(in.History, deploy.Fact{Space: d.LinkID.String(), Remote: d.Environment, Outcome: outcomeOf(d.State)})
	}
	return deploy.Progression(in), nil
}

func outcomeOf(s TaskState) deploy.Outcome {
	switch s {
	case TaskSuccess:
		return deploy.OutcomeSucceeded
	case TaskFailed, TaskCanceled, TaskTimedOut:
		return deploy.OutcomeFailed
	}
	return deploy.OutcomeRunning
}

func (tx *Tx) deploymentEvent(t Task, category, what string) error {
	d, err := scanDeployment(tx.queryRow(`SELECT `+deploymentColumns+` FROM deployment WHERE task_id = ?`, int64(t.ID)).Scan)
	if err != nil {
		return err
	}
	tx.record(Event{Category: category, Entity: "deployment", EntityID: d.ID.String(), ProjectID: d.ProjectID, EnvironmentID: d.EnvironmentID, Reference: d.ULID, Message: t.Description + " " + what})
	return nil
}

func (tx *ReadTx) deployment(id DeploymentID) (Deployment, error) {
	d, err := scanDeployment(tx.queryRow(`SELECT `+deploymentColumns+` FROM deployment WHERE id = ?`, int64(id)).Scan)
	return d, notFound(err, "deployment", id.String())
}

// Deployment returns one. It needs DeploymentView for its project and environment.
func (tx *ReadTx) Deployment(id DeploymentID) (Deployment, error) {
	d, err := tx.deployment(id)
	if err != nil {
		return d, err
	}
	return d, tx.mayViewDeployment(d)
}

func (tx *ReadTx) mayViewDeployment(d Deployment) error {
	p, err := tx.Project(d.ProjectID)
	if err != nil {
		return err
	}
	return tx.require(access.DeploymentView, p.in(d.EnvironmentID))
}

// DeploymentOfTask returns the deployment that a task does.
func (tx *ReadTx) DeploymentOfTask(id TaskID) (Deployment, error) {
	d, err := scanDeployment(tx.queryRow(`SELECT `+deploymentColumns+` FROM deployment WHERE task_id = ?`, int64(id)).Scan)
	if err != nil {
		return d, notFound(err, "deployment", id.String())
	}
	return d, tx.mayViewDeployment(d)
}

// DeploymentFilter chooses deployments; empty lists choose all.
type DeploymentFilter struct {
	IDs          []string
	Projects     []string
	Environments []string
	Channels     []string
	Release      ReleaseID
	TaskStates   []string
	Skip, Take   int
}

// Deployments lists those that the actor may see, newest first.
func (tx *ReadTx) Deployments(o DeploymentFilter) (Page[Deployment], error) {
	if !tx.Actor.System && !tx.Actor.Permissions.Any(access.DeploymentView) {
		return Page[Deployment]{}, access.Missing(access.DeploymentView)
	}
	var f filter
	f.ids("id", prefixDeployment, o.IDs)
	f.ids("project_id", prefixProject, o.Projects)
	f.ids("environment_id", prefixEnvironment, o.Environments)
	f.ids("channel_id", prefixChannel, o.Channels)
	if o.Release != 0 {
		f.add("release_id = ?", int64(o.Release))
	}
	for _, s := range o.TaskStates {
		f.add("EXISTS (SELECT 1 FROM task t WHERE t.id = task_id AND t.state = ?)", s)
	}
	p, err := pageOf(tx, scanDeployment, deploymentColumns, "deployment", "ulid", "id DESC", f, ListOptions{Skip: o.Skip, Take: o.Take})
	if err != nil {
		return p, err
	}
	kept := slices.DeleteFunc(p.Items, func(d Deployment) bool { return tx.mayViewDeployment(d) != nil })
	p.Total -= len(p.Items) - len(kept)
	p.Items = kept
	return p, nil
}

// What follows is for the runner, which acts as [Server].

// Work is all that the runner needs of a deployment: what it is of, what it will
// do, and how far it is. Plan is nil before the first [Tx.PlanWork].
type Work struct {
	Task        Task
	Deployment  Deployment
	Project     Project
	Release     Release
	Environment Environment
	Channel     Channel
	Process     steps.Process
	Plan        *deploy.Plan
	State       deploy.State
}

// Work reads the work of a task.
func (tx *ReadTx) Work(task TaskID) (Work, error) {
	var w Work
	var err error
	if w.Task, err = tx.task(task); err != nil {
		return w, err
	}
	if w.Deployment, err = tx.DeploymentOfTask(task); err != nil {
		return w, err
	}
	if w.Project, err = tx.project(w.Deployment.ProjectID); err != nil {
		return w, err
	}
	if w.Release, err = tx.release(w.Deployment.ReleaseID); err != nil {
		return w, err
	}
	if w.Environment, err = tx.environment(w.Deployment.EnvironmentID); err != nil {
		return w, err
	}
	if w.Channel, err = tx.channel(w.Deployment.ChannelID); err != nil {
		return w, err
	}
	if w.Process, err = tx.ReleaseProcess(w.Release); err != nil {
		return w, err
	}
	var plan nullText
	var state []byte
	if err := tx.queryRow(`SELECT plan, state FROM deployment WHERE id = ?`, int64(w.Deployment.ID)).Scan(&plan, &state); err != nil {
		return w, err
	}
	if plan.Valid {
		if err := json.Unmarshal([]byte(plan.String), &w.Plan); err != nil {
			return w, fmt.Errorf("decode plan: %w", err)
		}
	}
	if state != nil {
		b, err := tx.unseal(state, "deployment/"+w.Deployment.ID.String())
		if err != nil {
			return w, err
		}
		if err := json.Unmarshal(b, &w.State); err != nil {
			return w, fmt.Errorf("decode state: %w", err)
		}
	}
	return w, nil
}

// PlanWork decides and stores what the deployment will do, before anything runs.
// Planning twice keeps the first plan.
func (tx *Tx) PlanWork(task TaskID) (Work, error) {
	w, err := tx.Work(task)
	if err != nil || w.Plan != nil {
		return w, err
	}
	if err := tx.readyToDeploy(w.Project, w.Release, w.Environment); err != nil {
		return w, err
	}
	if w.Plan, err = tx.planDeployment(w.Project, w.Release, w.Environment, w.Deployment); err != nil {
		return w, err
	}
	b, err := json.Marshal(w.Plan)
	if err != nil {
		return w, fmt.Errorf("encode plan: %w", err)
	}
	return w, tx.update(`UPDATE deployment SET plan = ? WHERE id = ?`, string(b), int64(w.Deployment.ID))
}

// SaveState stores how far a deployment is. It is written before the commands that
// belong to it are performed.
func (tx *Tx) SaveState(id DeploymentID, state deploy.State) error {
	b, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	d, err := tx.deployment(id)
	if err != nil {
		return err
	}
	tx.changed("task/" + d.TaskID.String())
	sealed, err := tx.seal(b, "deployment/"+id.String())
	if err != nil {
		return err
	}
	return tx.update(`UPDATE deployment SET state = ? WHERE id = ?`, sealed, int64(id))
}

// DeploymentPlan is what a deployment will do or did; nil before it started. It
// needs DeploymentView.
func (tx *ReadTx) DeploymentPlan(id DeploymentID) (*deploy.Plan, error) {
	if _, err := tx.Deployment(id); err != nil {
		return nil, err
	}
	plan, err := one[nullText](tx, `SELECT plan FROM deployment WHERE id = ?`, int64(id))
	if err != nil || !plan.Valid {
		return nil, err
	}
	var out *deploy.Plan
	return out, json.Unmarshal([]byte(plan.String), &out)
}

// DeploymentState is how far a deployment is, without its output values. It needs
// DeploymentView.
func (tx *ReadTx) DeploymentState(id DeploymentID) (deploy.State, error) {
	d, err := tx.Deployment(id)
	if err != nil {
		return deploy.State{}, err
	}
	w, err := tx.Work(d.TaskID)
	w.State.Outputs = nil
	return w.State, err
}
