package spaces

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
)

// ProjectRetention is what the policies of lifecycles say of the releases of a project.
type ProjectRetention struct {
	ID        ProjectID
	Name      string
	Expired   []RetainedRelease // to be deleted, oldest version first
	Protected []RetainedRelease // kept whatever the policies say
	Kept      int               // releases that a policy keeps
}

// RetainedRelease is a release and why it stays, or why it goes.
type RetainedRelease struct {
	ID      ReleaseID
	Version string
	Why     string // a clause, as "it is the current one in Production"
}

// retains reports whether the policies can let some release go.
func (tx *ReadTx) retains() (bool, error) {
	some, err := one[bool](tx, `SELECT EXISTS (SELECT 1 FROM release)`)
	if err != nil || !some {
		return false, err
	}
	all, err := tx.limited()
	return len(all) > 0, err
}

// limited are the lifecycles with a policy that does not keep all. The others never let
// a release go.
func (tx *ReadTx) limited() (map[LifecycleID]Lifecycle, error) {
	all, err := list(tx, tx.scanLifecycle, `SELECT `+lifecycleColumns+` FROM `+lifecycleFrom)
	if err != nil {
		return nil, err
	}
	out := map[LifecycleID]Lifecycle{}
	for _, l := range all {
		if l.Limited() {
			out[l.ID] = l
		}
	}
	return out, nil
}

// Retention tells which releases of the space the policies of their lifecycles let go, and
// which are kept in spite of them, for each project that has some. It needs ReleaseDelete
// for all projects. The rules of the policies are those of [deploy.Expired].
//
// Whatever they say, a release stays that is the current one in an environment or the last
// that succeeded there; that succeeded there before, for a rollback; that an unfinished
// task deploys; and that was promoted or came from another zone.
func (tx *ReadTx) Retention() ([]ProjectRetention, error) {
	if err := tx.require(access.ReleaseDelete, access.Scope{}); err != nil {
		return nil, err
	}
	limited, err := tx.limited()
	if err != nil || len(limited) == 0 {
		return nil, err
	}
	environments, err := list(tx, func(scan func(...any) error) (deploy.Environment, error) {
		var id EnvironmentID
		var e deploy.Environment
		err := scan(&id, &e.Name)
		e.ID = id.String()
		return e, err
	}, `SELECT id, name FROM environment ORDER BY sort_order, id`)
	if err != nil {
		return nil, err
	}
	type project struct {
		id        ProjectID
		name      string
		lifecycle LifecycleID
	}
	projects, err := list(tx, func(scan func(...any) error) (p project, err error) {
		return p, scan(&p.id, &p.name, &p.lifecycle)
	}, `SELECT id, name, lifecycle_id FROM project ORDER BY name`)
	if err != nil {
		return nil, err
	}
	var out []ProjectRetention
	for _, p := range projects {
		lifecycles := map[string]*deploy.Lifecycle{} // by channel
		_, err := list(tx, func(scan func(...any) error) (c ChannelID, err error) {
			var id LifecycleID
			if err = scan(&c, &id); err != nil {
				return c, err
			}
			if l, ok := limited[cmp.Or(id, p.lifecycle)]; ok {
				lifecycles[c.String()] = &l.Lifecycle
			}
			return c, nil
		}, `SELECT id, COALESCE(lifecycle_id, 0) FROM channel WHERE project_id = ?`, int64(p.id))
		if err != nil {
			return nil, err
		}
		if len(lifecycles) == 0 {
			continue
		}
		r, err := tx.retention(p.id, environments, func(channel string) *deploy.Lifecycle { return lifecycles[channel] })
		if err != nil {
			return nil, err
		}
		if r.ID, r.Name = p.id, p.name; len(r.Expired)+len(r.Protected)+r.Kept > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

// retention is [ReadTx.Retention] of one project.
func (tx *ReadTx) retention(id ProjectID, environments []deploy.Environment, lifecycle func(channel string) *deploy.Lifecycle) (ProjectRetention, error) {
	var out ProjectRetention
	why, deployed, err := tx.protected(id, environments)
	if err != nil {
		return out, err
	}
	versions := map[string]string{} // by id
	releases, err := list(tx, func(scan func(...any) error) (deploy.KeptRelease, error) {
		var id ReleaseID
		var channel ChannelID
		var version, at string
		err := scan(&id, &channel, &version, &at)
		versions[id.String()] = version
		r := deploy.KeptRelease{ID: id.String(), Channel: channel.String(), Assembled: parseTime(at), Deployed: deployed[id], Protected: why[id] != ""}
		if r.Protected {
			out.Protected = append(out.Protected, RetainedRelease{id, version, why[id]})
		}
		return r, err
	}, `SELECT id, channel_id, version, assembled_at FROM release WHERE project_id = ? ORDER BY version_sort`, int64(id))
	if err != nil {
		return out, err
	}
	for _, gone := range deploy.Expired(releases, environments, lifecycle, tx.Now) {
		n, _ := cutID(prefixRelease, gone)
		reason := "it is over the limit of each phase that it reached"
		if len(deployed[ReleaseID(n)]) == 0 {
			reason = "it was never deployed and is over the limit of its lifecycle"
		}
		out.Expired = append(out.Expired, RetainedRelease{ReleaseID(n), versions[gone], reason})
	}
	out.Kept = len(releases) - len(out.Expired) - len(out.Protected)
	return out, nil
}

// protected are the releases of a project that no policy touches, with why, and for all of
// them when they were last deployed to each environment.
func (tx *ReadTx) protected(id ProjectID, environments []deploy.Environment) (why map[ReleaseID]string, deployed map[ReleaseID]map[string]time.Time, err error) {
	names := map[string]string{}
	for _, e := range environments {
		names[e.ID] = e.Name
	}
	why, deployed = map[ReleaseID]string{}, map[ReleaseID]map[string]time.Time{}
	protect := func(r ReleaseID, reason string) {
		if why[r] == "" {
			why[r] = reason
		}
	}
	protectAll := func(reason, query string) error {
		_, err := list(tx, func(scan func(...any) error) (r ReleaseID, err error) {
			var where EnvironmentID
			if err = scan(&r, &where); err == nil {
				text := reason
				if where != 0 {
					text += names[where.String()]
				}
				protect(r, text)
			}
			return r, err
		}, query, int64(id))
		return err
	}
	if err := protectAll("it is the current one in ", `SELECT release_id, environment_id FROM current_deployment WHERE project_id = ? ORDER BY environment_id`); err != nil {
		return nil, nil, err
	}
	if err := protectAll("it is the last that succeeded in ", `SELECT succeeded_release_id, environment_id FROM current_deployment WHERE project_id = ? AND succeeded_release_id IS NOT NULL ORDER BY environment_id`); err != nil {
		return nil, nil, err
	}
	type success struct {
		release ReleaseID
		last    DeploymentID
	}
	succeeded := map[string][]success{} // by environment
	_, err = list(tx, func(scan func(...any) error) (r ReleaseID, err error) {
		var where EnvironmentID
		var at string
		var last DeploymentID
		var open bool
		if err = scan(&r, &where, &at, &last, &open); err != nil {
			return r, err
		}
		if deployed[r] == nil {
			deployed[r] = map[string]time.Time{}
		}
		deployed[r][where.String()] = parseTime(at)
		if last != 0 {
			succeeded[where.String()] = append(succeeded[where.String()], success{r, last})
		}
		if open {
			protect(r, "a deployment of it is not finished")
		}
		return r, nil
	}, `SELECT d.release_id, d.environment_id, max(d.created_at), COALESCE(max(CASE WHEN t.state = 'Success' THEN d.id END), 0), max(t.`+unfinishedSQL+`)
		FROM deployment d JOIN task t ON t.id = d.task_id WHERE d.project_id = ? GROUP BY d.release_id, d.environment_id`, int64(id))
	if err != nil {
		return nil, nil, err
	}
	for where, all := range succeeded {
		slices.SortFunc(all, func(a, b success) int { return cmp.Compare(b.last, a.last) })
		for _, s := range all[:min(2, len(all))] {
			protect(s.release, "it succeeded before the current one in "+names[where]+", for a rollback")
		}
	}
	if err := protectAll("it was promoted to another zone", `SELECT DISTINCT release_id, 0 FROM promotion WHERE project_id = ?`); err != nil {
		return nil, nil, err
	}
	return why, deployed, protectAll("it came from another zone", `SELECT DISTINCT release_id, 0 FROM inbound WHERE project_id = ? AND release_id IS NOT NULL`)
}

// QueueRetention queues a task that deletes what [ReadTx.Retention] lets go, unless one is
// under way. It needs TaskCreate.
func (tx *Tx) QueueRetention() error {
	if err := tx.require(access.TaskCreate, access.Scope{}); err != nil {
		return err
	}
	if open, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM task WHERE state IN ('Queued', 'Executing', 'Cancelling') AND kind = 'Retention')`); err != nil || open {
		return err
	}
	_, err := tx.createTask(taskInput{kind: TaskRetention, description: "Apply retention policies"})
	return err
}

// ExpireRelease deletes a release that the policies let go, with its deployments, their
// tasks and logs. What happened since they were asked counts: the error is [errs.Blocked]
// as that of [Tx.DeleteRelease]. It needs ReleaseDelete. A release that is gone already is
// no error.
func (tx *Tx) ExpireRelease(r RetainedRelease) error {
	err := tx.deleteRelease(r.ID, " by retention: "+r.Why)
	if errs.KindOf(err) == errs.NotFound {
		return nil
	}
	return err
}

// deleteTask removes a finished task that nothing refers to any more. Its log goes once
// that is durable: a crash in between leaves a file that nobody looks for.
func (tx *Tx) deleteTask(id TaskID) error {
	if _, err := tx.exec(`DELETE FROM task WHERE id = ?`, int64(id)); err != nil {
		return fmt.Errorf("delete task %s: %w", id, err)
	}
	s := tx.Space
	tx.changed("tasks")
	tx.AfterCommit(func() {
		if err := os.Remove(filepath.Join(s.LogDir(), id.String()+".jsonl")); err != nil && !os.IsNotExist(err) {
			s.log.Error("remove task log", "task", id.String(), "err", err)
		}
	})
	return nil
}
