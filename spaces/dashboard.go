package spaces

import (
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces/access"
)

// The dashboard reads current_deployment and remote_current, which the writing
// transactions keep up, so its cost does not grow with the number of deployments.

// makeCurrent makes a new deployment the one that the dashboard shows.
func (tx *Tx) makeCurrent(id DeploymentID) error {
	_, err := tx.exec(`INSERT INTO current_deployment (project_id, environment_id, deployment_id, release_id, task_id, version, state, has_warnings, has_pending, created_at)
		SELECT d.project_id, d.environment_id, d.id, d.release_id, d.task_id, r.version, t.state, t.has_warnings_or_errors, t.has_pending_interruptions, d.created_at
		FROM deployment d JOIN release r ON r.id = d.release_id JOIN task t ON t.id = d.task_id WHERE d.id = ?
		ON CONFLICT (project_id, environment_id) DO UPDATE SET deployment_id = excluded.deployment_id, release_id = excluded.release_id, task_id = excluded.task_id, version = excluded.version,
			state = excluded.state, has_warnings = excluded.has_warnings, has_pending = excluded.has_pending, created_at = excluded.created_at, completed_at = NULL`, int64(id))
	if err != nil {
		return err
	}
	tx.changed("dashboard")
	return nil
}

// projectTask carries the state of a deployment's task over to the dashboard.
func (tx *Tx) projectTask(id TaskID) error {
	t, err := tx.task(id)
	if err != nil || t.Kind != TaskDeploy {
		return err
	}
	_, err = tx.exec(`UPDATE current_deployment SET state = ?, has_warnings = ?, has_pending = ?, completed_at = ? WHERE project_id = ? AND environment_id = ? AND task_id = ?`,
		string(t.State), t.HasWarningsOrErrors, t.HasPendingInterruptions, formatTimePtr(t.CompletedTime), int64(t.ProjectID), int64(t.EnvironmentID), int64(id))
	if err != nil {
		return err
	}
	if t.State == TaskSuccess {
		_, err = tx.exec(`UPDATE current_deployment SET succeeded_deployment_id = d.id, succeeded_release_id = d.release_id, succeeded_version = r.version
			FROM deployment d JOIN release r ON r.id = d.release_id
			WHERE d.task_id = ?1 AND current_deployment.project_id = d.project_id AND current_deployment.environment_id = d.environment_id AND COALESCE(succeeded_deployment_id, 0) <= d.id`, int64(id))
	}
	tx.changed("dashboard", "project/"+t.ProjectID.String())
	return err
}

// Cell is where a project stands in an environment.
type Cell struct {
	ProjectID        ProjectID
	EnvironmentID    EnvironmentID
	DeploymentID     DeploymentID
	ReleaseID        ReleaseID
	TaskID           TaskID
	Version          string
	State            TaskState
	HasWarnings      bool
	HasPending       bool
	CreatedAt        time.Time
	CompletedAt      *time.Time
	SucceededVersion string // the last that succeeded there; "" if none
}

// RemoteCell is where a project stands in an environment of another space, as far
// as its receipts told. It is never more than AsOf says.
type RemoteCell struct {
	ProjectID           ProjectID
	RemoteEnvironmentID int64
	ReleaseID           ReleaseID
	Version             string
	State               TaskState
	At                  time.Time // by the peer's clock
	AsOf                time.Time // when we learnt it
	Via                 string    // link, file
}

// RemoteEnvironment is an environment of another space, as its receipts name it.
type RemoteEnvironment struct {
	ID       int64
	LinkID   LinkID
	LinkName string
	Name     string
	Link     LinkHealth
}

// Column is a column of the dashboard: an environment of ours, or one of another space.
type Column struct {
	Environment EnvironmentID // 0: Remote is set
	Remote      int64
}

// Dashboard is what the dashboard of a space shows. Projects are those of the
// asked page, in the order of groups and names.
type Dashboard struct {
	Groups       []ProjectGroup
	Projects     []DashboardProject
	Total        int // projects that match, on all pages
	Environments []Environment
	Remote       []RemoteEnvironment
	Columns      []Column // of both, in the order in which releases go through them
	Cells        []Cell
	RemoteCells  []RemoteCell
}

// DashboardProject is a project as the dashboard shows it.
type DashboardProject struct {
	ID         ProjectID
	GroupID    ProjectGroupID
	Name, Slug string
	IsDisabled bool
	LinkID     LinkID
	Created    time.Time
}

// DashboardFilter chooses what the dashboard shows.
type DashboardFilter struct {
	Project     ProjectID // only this one
	Group       ProjectGroupID
	PartialName string
	Skip, Take  int // projects; Take 0: 50
}

// Dashboard reads the current deployments. It needs ProjectView and DeploymentView;
// what the actor may not see is left out. It costs at most seven statements.
func (tx *ReadTx) Dashboard(o DashboardFilter) (Dashboard, error) {
	var d Dashboard
	if !tx.Actor.System && !tx.Actor.Permissions.Any(access.ProjectView) {
		return d, access.Missing(access.ProjectView)
	}
	var f filter
	if o.Project != 0 {
		f.add("p.id = ?", int64(o.Project))
	}
	if o.Group != 0 {
		f.add("p.project_group_id = ?", int64(o.Group))
	}
	if o.PartialName != "" {
		f.add(`p.name LIKE ? ESCAPE '\'`, like(o.PartialName))
	}
	take := o.Take
	if take <= 0 {
		take = 50
	}
	page, err := pageOf(tx, scanDashboardProject, `p.id, p.project_group_id, p.name, p.slug, p.is_disabled, COALESCE(p.link_id, 0), p.created_at`,
		"project p JOIN project_group g ON g.id = p.project_group_id", "p.name", "g.name, p.name", f, ListOptions{Skip: o.Skip, Take: take})
	if err != nil {
		return d, err
	}
	d.Total = page.Total
	for _, p := range page.Items {
		if tx.Can(access.ProjectView, access.Scope{Project: p.ID.String(), ProjectGroup: p.GroupID.String()}) {
			d.Projects = append(d.Projects, p)
		}
	}
	if d.Groups, err = list(tx, scanProjectGroup, `SELECT `+projectGroupColumns+` FROM project_group ORDER BY name`); err != nil {
		return d, err
	}
	if d.Environments, err = list(tx, scanEnvironment, `SELECT `+environmentColumns+` FROM environment ORDER BY sort_order, id`); err != nil {
		return d, err
	}
	environments := slices.Clone(d.Environments)
	d.Environments = slices.DeleteFunc(d.Environments, func(e Environment) bool {
		return !tx.Can(access.EnvironmentView, access.Scope{Environment: e.ID.String()})
	})
	d.Remote, err = list(tx, func(scan func(...any) error) (RemoteEnvironment, error) {
		var r RemoteEnvironment
		var contact nullText
		err := scan(&r.ID, &r.LinkID, &r.LinkName, &r.Name, &r.Link.State, &r.Link.Mode, &contact, &r.Link.LastError)
		r.Link.LastContactAt = parseTimePtr(contact)
		return r, err
	}, `SELECT e.id, e.link_id, l.local_name, e.name, l.state, l.mode, l.last_contact_at, l.last_error FROM remote_environment e JOIN zone_link l ON l.id = e.link_id ORDER BY l.local_name, e.sort_order, e.id`)
	if err != nil {
		return d, err
	}
	if d.Columns, err = tx.columns(environments, d); err != nil || len(d.Projects) == 0 {
		return d, err
	}
	in, args := idsOf(d.Projects)
	cells, err := list(tx, scanCell, `SELECT project_id, environment_id, deployment_id, release_id, task_id, version, state, has_warnings, has_pending, created_at, completed_at, COALESCE(succeeded_version, '') FROM current_deployment WHERE project_id IN (`+in+`)`, args...)
	if err != nil {
		return d, err
	}
	groups := make(map[ProjectID]ProjectGroupID, len(d.Projects))
	for _, p := range d.Projects {
		groups[p.ID] = p.GroupID
	}
	for _, c := range cells {
		if tx.Can(access.DeploymentView, access.Scope{Project: c.ProjectID.String(), ProjectGroup: groups[c.ProjectID].String(), Environment: c.EnvironmentID.String()}) {
			d.Cells = append(d.Cells, c)
		}
	}
	if len(d.Remote) == 0 {
		return d, nil
	}
	d.RemoteCells, err = list(tx, func(scan func(...any) error) (RemoteCell, error) {
		var c RemoteCell
		var at, asOf string
		err := scan(&c.ProjectID, &c.RemoteEnvironmentID, &c.ReleaseID, &c.Version, &c.State, &at, &asOf, &c.Via)
		c.At, c.AsOf = parseTime(at), parseTime(asOf)
		return c, err
	}, `SELECT project_id, remote_environment_id, release_id, version, state, at, as_of, via FROM remote_current WHERE project_id IN (`+in+`)`, args...)
	return d, err
}

// columns puts remote environments behind the last environment of ours that some
// lifecycle has a release go through before, or together with, their space; those of
// spaces in no lifecycle come last.
func (tx *ReadTx) columns(all []Environment, d Dashboard) ([]Column, error) {
	behind := map[LinkID]int{} // index in all, from 1; 0: before all
	if len(d.Remote) > 0 {
		lifecycles, err := list(tx, tx.scanLifecycle, `SELECT `+lifecycleColumns+` FROM `+lifecycleFrom)
		if err != nil {
			return nil, err
		}
		place := map[string]int{}
		for i, e := range all {
			place[e.ID.String()] = i + 1
		}
		for _, l := range lifecycles {
			reached := 0
			for _, p := range l.Phases {
				if len(p.AutomaticDeploymentTargets)+len(p.OptionalDeploymentTargets)+len(p.RemoteSpaces) == 0 {
					reached = len(all) // all the others
				}
				for _, id := range slices.Concat(p.AutomaticDeploymentTargets, p.OptionalDeploymentTargets) {
					reached = max(reached, place[id])
				}
				for _, r := range p.RemoteSpaces {
					if n, ok := cutID(prefixLink, r.ID); ok {
						behind[LinkID(n)] = max(behind[LinkID(n)], reached)
					}
				}
			}
		}
	}
	var out []Column
	remotes := func(at int) {
		for _, r := range d.Remote {
			if place, known := behind[r.LinkID]; known && place == at || !known && at == len(all)+1 {
				out = append(out, Column{Remote: r.ID})
			}
		}
	}
	remotes(0)
	for i, e := range all {
		if slices.ContainsFunc(d.Environments, func(v Environment) bool { return v.ID == e.ID }) {
			out = append(out, Column{Environment: e.ID})
		}
		remotes(i + 1)
	}
	remotes(len(all) + 1)
	return out, nil
}

func idsOf(projects []DashboardProject) (marks string, args []any) {
	for i, p := range projects {
		if i > 0 {
			marks += ", "
		}
		marks += "?"
		args = append(args, int64(p.ID))
	}
	return marks, args
}

func scanDashboardProject(scan func(...any) error) (DashboardProject, error) {
	var p DashboardProject
	var at string
	err := scan(&p.ID, &p.GroupID, &p.Name, &p.Slug, &p.IsDisabled, &p.LinkID, &at)
	p.Created = parseTime(at)
	return p, err
}

func scanCell(scan func(...any) error) (Cell, error) {
	var c Cell
	var created string
	var completed nullText
	err := scan(&c.ProjectID, &c.EnvironmentID, &c.DeploymentID, &c.ReleaseID, &c.TaskID, &c.Version, &c.State, &c.HasWarnings, &c.HasPending, &created, &completed, &c.SucceededVersion)
	c.CreatedAt, c.CompletedAt = parseTime(created), parseTimePtr(completed)
	return c, err
}

// RemoteDeployment is a deployment in another space, folded from its receipts.
type RemoteDeployment struct {
	LinkID      LinkID
	Environment string // as the peer shows it
	Deployment  string // ULID there
	Attempt     int
	State       TaskState
	At          time.Time // by the peer's clock
	AsOf        time.Time // when we learnt it
	Via         string
}

// RemoteDeployments folds the receipts for a release into its deployments in other
// spaces, oldest first. Receipts may have come in any order and more than once.
func (tx *ReadTx) RemoteDeployments(releaseULID string) ([]RemoteDeployment, error) {
	type receipt struct {
		RemoteDeployment
		seq int64
	}
	all, err := list(tx, func(scan func(...any) error) (receipt, error) {
		var r receipt
		var kind, at, asOf string
		err := scan(&r.LinkID, &r.Environment, &r.Deployment, &r.Attempt, &kind, &at, &asOf, &r.Via, &r.seq)
		r.State, r.At, r.AsOf = receiptState(kind), parseTime(at), parseTime(asOf)
		return r, err
	}, `SELECT link_id, environment, deployment_ulid, attempt, kind, issued_at, received_at, via, seq FROM receipt WHERE release_ulid = ? AND deployment_ulid <> '' ORDER BY link_id, seq, id`, releaseULID)
	if err != nil {
		return nil, err
	}
	// Of each deployment the receipt with the highest seq says how it is.
	at := map[string]int{}
	var out []RemoteDeployment
	for _, r := range all {
		key := r.LinkID.String() + "/" + r.Deployment
		if i, ok := at[key]; ok {
			out[i] = r.RemoteDeployment
			continue
		}
		at[key] = len(out)
		out = append(out, r.RemoteDeployment)
	}
	return out, nil
}

// receiptState is the state of a deployment that a kind of receipt tells.
func receiptState(kind string) TaskState {
	switch kind {
	case "deployment-queued":
		return Queued
	case "deployment-started":
		return Executing
	case "deployment-succeeded":
		return TaskSuccess
	case "deployment-failed":
		return TaskFailed
	case "deployment-canceled":
		return TaskCanceled
	}
	return ""
}
