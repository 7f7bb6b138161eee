package spaces

import (
	"errors"
	"fmt"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// goOn queues what the lifecycle of a release does by itself now: deployments to the
// automatic environments of the phases that it has reached, and promotions to their
// automatic spaces. It belongs to the transaction that brought the release there, so that
// none is lost and none happens twice. What is not allowed, as for a disabled project or a
// link that sends nothing, is told in the audit and hinders nothing else.
//
// What comes from another zone is never deployed by its arrival: its acceptance does not
// ask here.
func (tx *Tx) goOn(id ReleaseID) error {
	r, err := tx.release(id)
	if err != nil {
		return err
	}
	p, err := tx.project(r.ProjectID)
	if err != nil {
		return err
	}
	progress, err := tx.progress(p, r)
	if err != nil {
		return err
	}
	environments, links := progress.Automatic()
	if len(environments)+len(links) == 0 {
		return nil
	}
	person := tx.Actor
	tx.Actor = Server()
	defer func() { tx.Actor = person }()
	for _, text := range environments {
		n, ok := cutID(prefixEnvironment, text)
		if !ok {
			continue
		}
		err := tx.try(func() error {
			_, err := tx.CreateDeployment(DeploymentInput{Release: id, Environment: EnvironmentID(n), Comments: fmt.Sprintf("By itself, as lifecycle '%s' says.", progress.Lifecycle)})
			return err
		})
		if err = tx.left(p, r, EnvironmentID(n), "deployed", err); err != nil {
			return err
		}
	}
	if p.LinkID != 0 {
		return nil // whose owner promotes it
	}
	for _, text := range links {
		n, ok := cutID(prefixLink, text)
		if !ok {
			continue
		}
		// A promotion is no fact of the progress until a receipt comes.
		if asked, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM promotion WHERE release_id = ? AND link_id = ?)`, int64(id), n); err != nil {
			return err
		} else if asked {
			continue
		}
		err := tx.try(func() error {
			_, err := tx.CreatePromotion(id, LinkID(n), false)
			return err
		})
		if err = tx.left(p, r, 0, "promoted", err); err != nil {
			return err
		}
	}
	return nil
}

// AutomaticAtFirst names the environments that a new release of a channel is deployed to
// by itself.
func (tx *ReadTx) AutomaticAtFirst(channel ChannelID) ([]string, error) {
	c, err := tx.Channel(channel)
	if err != nil {
		return nil, err
	}
	p, err := tx.Project(c.ProjectID)
	if err != nil {
		return nil, err
	}
	progress, err := tx.progress(p, Release{ChannelID: channel})
	if err != nil {
		return nil, err
	}
	ids, _ := progress.Automatic()
	names := []string{}
	for _, text := range ids {
		n, _ := cutID(prefixEnvironment, text)
		if e, err := tx.environment(EnvironmentID(n)); err == nil && tx.Can(access.EnvironmentView, access.Scope{Environment: text}) {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// DeployedTo names the environments that a release was ever deployed to, in their order,
// as far as the actor may see deployments there.
func (tx *ReadTx) DeployedTo(id ReleaseID) ([]string, error) {
	r, err := tx.release(id)
	if err != nil {
		return nil, err
	}
	p, err := tx.project(r.ProjectID)
	if err != nil {
		return nil, err
	}
	type place struct {
		id   EnvironmentID
		name string
	}
	all, err := list(tx, func(scan func(...any) error) (place, error) {
		var e place
		return e, scan(&e.id, &e.name)
	}, `SELECT DISTINCT e.id, e.name FROM deployment d JOIN environment e ON e.id = d.environment_id WHERE d.release_id = ? ORDER BY e.sort_order, e.id`, int64(id))
	names := []string{}
	for _, e := range all {
		if tx.Can(access.DeploymentView, p.in(e.id)) {
			names = append(names, e.name)
		}
	}
	return names, err
}

// left tells why a release was not deployed or promoted by itself. Faults of ours go on.
func (tx *Tx) left(p Project, r Release, environment EnvironmentID, what string, err error) error {
	if err == nil {
		return nil
	}
	if errs.KindOf(err) == errs.Internal {
		return err
	}
	tx.record(Event{Category: "AutomaticSkipped", Entity: "release", EntityID: r.ID.String(), ProjectID: p.ID, EnvironmentID: environment, Reference: r.ULID,
		Message: fmt.Sprintf("Release %s of %s was not %s by itself: %s", r.Version, p.Name, what, errs.TextOf(err))})
	return nil
}

// try does something within the transaction, whole or not at all.
func (tx *Tx) try(f func() error) error {
	if _, err := tx.exec(`SAVEPOINT try`); err != nil {
		return err
	}
	events := len(tx.events)
	err := f()
	if err != nil {
		tx.events = tx.events[:events]
		if _, undo := tx.exec(`ROLLBACK TO try`); undo != nil {
			return errors.Join(undo, err)
		}
	}
	if _, release := tx.exec(`RELEASE try`); release != nil {
		return errors.Join(release, err)
	}
	return err
}
