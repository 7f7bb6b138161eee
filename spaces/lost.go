package spaces

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

// errLost is a value that nobody can read any more. Its row is empty.
var errLost = errors.New("lost with the master key")

func lostValue(what, where string) error {
	return errs.Wrap(errs.Blocked, errLost, "The sensitive value of %s was lost with the master key of the server.", what).
		WithHint("Enter it again in %s, then create a new release.", where)
}

// Lost is what a space has lost with the master key.
type Lost struct {
	Values []string // "Password in the variables of Shop", sorted
	Links  []string // to spaces that know this one by a key that is gone
	Tasks  int      // that were not finished, and are canceled
}

// ForgetSecrets gives a space whose master key is lost a new key of its own, and forgets
// what only the old one opens: sensitive values, the identity that other zones know it by,
// invitations, and how far unfinished deployments are. Everything else stays. It does
// nothing to a space whose key opens. The space must not be open anywhere.
func (r *Registry) ForgetSecrets(ctx context.Context, ref Ref) (Lost, error) {
	var lost Lost
	dir := r.Dir(ref.Folder)
	file := filepath.Join(dir, FileName)
	if err := migrations.Apply(ctx, file, migrations.Space); err != nil {
		return lost, fmt.Errorf("open space %s: %w", ref.Folder, err)
	}
	db, err := migrations.Open(file, false)
	if err != nil {
		return lost, fmt.Errorf("open space %s: %w", ref.Folder, err)
	}
	master, replaced := r.cfg.Masters.Current(), false
	err = func() error {
		defer db.Close()
		var ulid, id string
		if err := db.QueryRowContext(ctx, `SELECT ulid, master_key_id FROM space_meta WHERE id = 1`).Scan(&ulid, &id); err != nil {
			return err
		}
		if _, known := r.cfg.Masters.ByID(id); known {
			return nil
		}
		replaced = true
		// One statement, so that a crash leaves either a space without a key or one with a new
		// key and values that do not open with it; the latter is gone on with below.
		_, err := db.ExecContext(ctx, `UPDATE space_meta SET key_version = key_version + 2, master_key_id = ?, wrapped_key = ?, old_key = NULL, first_key = NULL, identity = NULL, card = NULL, incarnation = ? WHERE id = 1`,
			master.ID(), master.Wrap(secrets.NewKey(), wrapPurpose(ulid, "")), NewULID(r.cfg.Now()))
		return err
	}()
	if err != nil {
		return lost, fmt.Errorf("space %s: %w", ref.Folder, err)
	}
	s, err := openSpace(ctx, ref, dir, r.cfg)
	if err != nil {
		return lost, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return Update(ctx, s, Server(), func(tx *Tx) (Lost, error) { return tx.forget(replaced) })
}

// forget empties the rows that do not open and says what they were. Where the key was not
// replaced just now it goes on with what a crash interrupted, if anything.
func (tx *Tx) forget(replaced bool) (Lost, error) {
	var lost Lost
	keys, err := tx.keys()
	if err != nil {
		return lost, err
	}
	gone, left := map[int64]bool{}, 0
	type row struct {
		id     int64
		sealed []byte
	}
	scan := func(scan func(...any) error) (row, error) {
		var r row
		return r, scan(&r.id, &r.sealed)
	}
	all, err := list(tx.ReadTx, scan, `SELECT id, sealed FROM secret`)
	if err != nil {
		return lost, err
	}
	for _, r := range all {
		if _, err := keys.open(r.sealed, tx.Space.purpose(secretPurpose(SecretID(r.id)))); err == nil {
			continue
		}
		gone[r.id] = true
		if len(r.sealed) == 0 {
			continue
		}
		left++
		if err := tx.update(`UPDATE secret SET sealed = x'' WHERE id = ?`, r.id); err != nil {
			return lost, err
		}
	}
	if lost.Links, err = list(tx.ReadTx, func(scan func(...any) error) (name string, err error) { return name, scan(&name) }, `SELECT local_name FROM zone_link WHERE state <> 'revoked' AND (SELECT identity IS NULL FROM space_meta) ORDER BY local_name`); err != nil {
		return lost, err
	}
	if !replaced && left == 0 && len(lost.Links) == 0 {
		return lost, nil
	}
	for _, q := range []string{`DELETE FROM zone_invite`, `UPDATE deployment SET state = NULL`, `UPDATE zone_link SET next_seq = 1, last_digest = ''`} {
		if _, err := tx.exec(q); err != nil {
			return lost, err
		}
	}
	if _, err := tx.exec(`UPDATE zone_link SET state = 'revoked', reason = 'The keys of this space were lost with the master key of the server. Link again.' WHERE state <> 'revoked'`); err != nil {
		return lost, err
	}
	open, err := list(tx.ReadTx, func(scan func(...any) error) (id TaskID, err error) { return id, scan(&id) }, `SELECT id FROM task WHERE completed_at IS NULL`)
	if err != nil {
		return lost, err
	}
	for _, id := range open {
		if err := tx.FinishTask(id, TaskCanceled, "How far it was, was lost with the master key of the server. What became of it on the targets is not known here.", true); err != nil {
			return lost, err
		}
	}
	lost.Tasks = len(open)
	projects, err := list(tx.ReadTx, scanProject, `SELECT `+projectColumns+` FROM project ORDER BY name`)
	if err != nil {
		return lost, err
	}
	for _, p := range projects {
		set, _, err := documentAs[variables.Set](tx.ReadTx, p.variables)
		if err != nil {
			return lost, err
		}
		for _, v := range set.Variables {
			if gone[v.Secret] {
				name := v.Name
				if scope := v.Scope.String(); scope != "" {
					name += " (" + scope + ")"
				}
				lost.Values = append(lost.Values, name+" in the variables of "+p.Name)
			}
		}
		process, _, err := documentAs[steps.Process](tx.ReadTx, p.process)
		if err != nil {
			return lost, err
		}
		for _, v := range process.Secrets() {
			if gone[v.Secret] {
				lost.Values = append(lost.Values, v.Path+" in the process of "+p.Name)
			}
		}
	}
	slices.Sort(lost.Values)
	tx.record(Event{Category: "SecretsLost", Entity: "space", EntityID: tx.Space.ID(), Message: fmt.Sprintf("The master key was lost and replaced: %d sensitive values have to be entered again, %d links made again, and %d unfinished tasks were canceled", len(lost.Values), len(lost.Links), lost.Tasks)})
	return lost, nil
}
