package spaces

import (
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces/access"
)

// What people ask of machines and environments as a whole: how many are well, what runs
// there, what went there. Each answers from a fixed number of statements.

// HealthCount counts the targets of an environment. Those that are disabled are not
// counted by health, since no deployment asks for it.
type HealthCount struct {
	Total, Disabled int
	By              map[string]int // by health
}

// CountHealth counts the targets in each environment where the actor may see them.
func (tx *ReadTx) CountHealth() (map[EnvironmentID]HealthCount, error) {
	if !tx.Actor.System && !tx.Actor.Permissions.Any(access.MachineView) {
		return nil, access.Missing(access.MachineView)
	}
	type row struct {
		environment EnvironmentID
		health      string
		disabled    bool
		n           int
	}
	rows, err := list(tx, func(scan func(...any) error) (row, error) {
		var r row
		return r, scan(&r.environment, &r.health, &r.disabled, &r.n)
	}, `SELECT te.environment_id, t.health, t.is_disabled, count(*) FROM target t JOIN target_environment te ON te.target_id = t.id GROUP BY 1, 2, 3`)
	if err != nil {
		return nil, err
	}
	out := map[EnvironmentID]HealthCount{}
	for _, r := range rows {
		if !tx.Can(access.MachineView, access.Scope{Environment: r.environment.String()}) {
			continue
		}
		c := out[r.environment]
		if c.By == nil {
			c.By = map[string]int{}
		}
		c.Total += r.n
		if r.disabled {
			c.Disabled += r.n
		} else {
			c.By[r.health] += r.n
		}
		out[r.environment] = c
	}
	return out, nil
}

// EnvironmentUses says what keeps an environment from being deleted.
type EnvironmentUses struct {
	Documents            []Use // at most 20
	Targets, Deployments int
}

// Any reports whether something uses the environment.
func (u EnvironmentUses) Any() bool {
	return len(u.Documents) > 0 || u.Targets > 0 || u.Deployments > 0
}

// UsesOfEnvironment needs EnvironmentView.
func (tx *ReadTx) UsesOfEnvironment(id EnvironmentID) (u EnvironmentUses, err error) {
	if err := tx.require(access.EnvironmentView, access.Scope{Environment: id.String()}); err != nil {
		return u, err
	}
	if u.Documents, err = tx.usesOf("environment_id", int64(id)); err != nil {
		return u, err
	}
	err = tx.queryRow(`SELECT (SELECT count(*) FROM target_environment WHERE environment_id = ?1), (SELECT count(*) FROM deployment WHERE environment_id = ?1)`, int64(id)).Scan(&u.Targets, &u.Deployments)
	return u, err
}

// UsesOfTarget lists the documents that mention a target, at most 20. It needs to see it.
func (tx *ReadTx) UsesOfTarget(id TargetID) ([]Use, error) {
	if _, err := tx.Target(id); err != nil {
		return nil, err
	}
	return tx.usesOf("target_id", int64(id))
}

// Visit is a deployment as an environment or a target remembers it.
type Visit struct {
	DeploymentID         DeploymentID
	Project, ProjectSlug string
	Environment          string
	Version              string
	State                TaskState
	HasWarnings          bool
	HasPending           bool
	CreatedAt            time.Time
	CompletedAt          *time.Time
	scope                access.Scope
}

// visits runs a query for visits and keeps those whose deployment the actor may see.
func (tx *ReadTx) visits(query string, args ...any) ([]Visit, error) {
	all, err := list(tx, func(scan func(...any) error) (Visit, error) {
		var v Visit
		var project ProjectID
		var group ProjectGroupID
		var environment EnvironmentID
		var created string
		var completed nullText
		err := scan(&v.DeploymentID, &project, &group, &v.Project, &v.ProjectSlug, &environment, &v.Environment, &v.Version, &v.State, &v.HasWarnings, &v.HasPending, &created, &completed)
		v.CreatedAt, v.CompletedAt = parseTime(created), parseTimePtr(completed)
		v.scope = access.Scope{Project: project.String(), ProjectGroup: group.String(), Environment: environment.String()}
		return v, err
	}, query, args...)
	return slices.DeleteFunc(all, func(v Visit) bool { return !tx.Can(access.DeploymentView, v.scope) }), err
}

// RunsIn lists what runs in an environment: the last deployment of each project there,
// by name of project, at most take.
func (tx *ReadTx) RunsIn(id EnvironmentID, take int) ([]Visit, error) {
	return tx.visits(`SELECT c.deployment_id, p.id, p.project_group_id, p.name, p.slug, e.id, e.name, c.version, c.state, c.has_warnings, c.has_pending, c.created_at, c.completed_at
		FROM current_deployment c JOIN project p ON p.id = c.project_id JOIN environment e ON e.id = c.environment_id WHERE c.environment_id = ? ORDER BY p.name LIMIT ?`, int64(id), take)
}

// WentTo lists the deployments that did work on a target, newest first, at most take.
func (tx *ReadTx) WentTo(id TargetID, take int) ([]Visit, error) {
	return tx.visits(`SELECT d.id, p.id, p.project_group_id, p.name, p.slug, e.id, e.name, r.version, k.state, k.has_warnings_or_errors, k.has_pending_interruptions, d.created_at, k.completed_at
		FROM deployment d JOIN task k ON k.id = d.task_id JOIN release r ON r.id = d.release_id JOIN project p ON p.id = d.project_id JOIN environment e ON e.id = d.environment_id
		WHERE d.task_id IN (SELECT task_id FROM execution WHERE target_id = ?) ORDER BY d.id DESC LIMIT ?`, int64(id), take)
}

// LifecycleUse is a project, or a channel of it (Channel set), that goes by a lifecycle.
type LifecycleUse struct {
	Lifecycle              LifecycleID
	Project, Slug, Channel string
}

// UsesOfLifecycle lists who goes by a lifecycle, or by any (0), by name of project; what
// the actor may not see is left out. It needs LifecycleView.
func (tx *ReadTx) UsesOfLifecycle(id LifecycleID) ([]LifecycleUse, error) {
	if err := tx.require(access.LifecycleView, access.Scope{}); err != nil {
		return nil, err
	}
	type row struct {
		LifecycleUse
		scope access.Scope
	}
	rows, err := list(tx, func(scan func(...any) error) (row, error) {
		var r row
		var p ProjectID
		var g ProjectGroupID
		err := scan(&r.Lifecycle, &r.Project, &r.Slug, &r.Channel, &p, &g)
		r.scope = access.Scope{Project: p.String(), ProjectGroup: g.String()}
		return r, err
	}, `SELECT lifecycle_id, name, slug, '', id, project_group_id FROM project WHERE ?1 IN (0, lifecycle_id)
		UNION ALL SELECT c.lifecycle_id, p.name, p.slug, c.name, p.id, p.project_group_id FROM channel c JOIN project p ON p.id = c.project_id WHERE c.lifecycle_id IS NOT NULL AND ?1 IN (0, c.lifecycle_id)
		ORDER BY 2, 4`, int64(id))
	var out []LifecycleUse
	for _, r := range rows {
		if tx.Can(access.ProjectView, r.scope) {
			out = append(out, r.LifecycleUse)
		}
	}
	return out, err
}
