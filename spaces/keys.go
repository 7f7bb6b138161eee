package spaces

import (
	"context"
	"errors"
	"fmt"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

// keyring is the keys of a space at one version of its file.
type keyring struct {
	version  int64
	masterID string // of the master key that wraps them
	current  *secrets.Key
	old      *secrets.Key // nil when nothing is sealed with it any more
	first    *secrets.Key // what salts are derived from
}

func wrapPurpose(ulid, which string) string { return "space/" + ulid + which }

const (
	wrapOld   = "/old"
	wrapFirst = "/first"
)

const ringColumns = `key_version, master_key_id, wrapped_key, old_key, first_key`

// readRing unwraps the keys that a row of space_meta holds.
func (s *Space) readRing(scan func(...any) error) (*keyring, error) {
	var r keyring
	var wrapped, old, first []byte
	if err := scan(&r.version, &r.masterID, &wrapped, &old, &first); err != nil {
		return nil, fmt.Errorf("read keys of space %s: %w", s.ref.Folder, err)
	}
	master, ok := s.masters.ByID(r.masterID)
	if !ok {
		return nil, errs.New(errs.Blocked, "The secrets of space '%s' are sealed with master key %s; this server's key is %s.", s.ref.Name, r.masterID, s.masters.Current().ID()).
			WithHint("Adopt the folder with the key it was made with: octopuses space adopt FOLDER --key-file FILE")
	}
	for _, x := range []struct {
		wrapped []byte
		which   string
		to      **secrets.Key
	}{{wrapped, "", &r.current}, {old, wrapOld, &r.old}, {first, wrapFirst, &r.first}} {
		if x.wrapped == nil {
			continue
		}
		k, err := master.Unwrap(x.wrapped, wrapPurpose(s.ulid, x.which))
		if err != nil {
			return nil, errs.Wrap(errs.Blocked, err, "The key of space '%s' does not open.", s.ref.Name)
		}
		*x.to = k
	}
	if r.first == nil {
		r.first = r.current
	}
	return &r, nil
}

// keys are those of this picture of the space. Another process may have rotated them.
func (tx *ReadTx) keys() (*keyring, error) {
	known := tx.Space.ring.Load()
	var version int64
	var master string
	if err := tx.queryRow(`SELECT key_version, master_key_id FROM space_meta WHERE id = 1`).Scan(&version, &master); err != nil {
		return nil, err
	}
	if known.version == version && known.masterID == master {
		return known, nil
	}
	r, err := tx.Space.readRing(tx.queryRow(`SELECT ` + ringColumns + ` FROM space_meta WHERE id = 1`).Scan)
	if err == nil {
		tx.Space.ring.Store(r)
	}
	return r, err
}

// seal seals bytes of a row for a purpose within the space, as "deployment/7".
func (tx *Tx) seal(plain []byte, purpose string) ([]byte, error) {
	r, err := tx.keys()
	if err != nil {
		return nil, err
	}
	return r.current.Seal(plain, tx.Space.purpose(purpose)), nil
}

// unseal opens what seal made for the same purpose, also with the key before.
func (tx *ReadTx) unseal(sealed []byte, purpose string) ([]byte, error) {
	full := tx.Space.purpose(purpose)
	plain, err := tx.Space.ring.Load().open(sealed, full)
	if errors.Is(err, secrets.ErrOpen) { // perhaps the keys are others by now
		r, kerr := tx.keys()
		if kerr != nil {
			return nil, kerr
		}
		plain, err = r.open(sealed, full)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", purpose, err)
	}
	return plain, nil
}

func (s *Space) purpose(within string) string { return "space/" + s.ulid + "/" + within }

func (r *keyring) open(sealed []byte, purpose string) ([]byte, error) {
	plain, err := r.current.Open(sealed, purpose)
	if err != nil && r.old != nil {
		return r.old.Open(sealed, purpose)
	}
	return plain, err
}

// KeyState is how the keys of a space are, for an administrator.
type KeyState struct {
	Version  int64  // from 1; one more with each rotation
	MadeAt   string // RFC 3339; "" for the first
	Rotating bool   // values are left that were sealed with the key before
	MasterID string
}

// KeyState tells how the keys of the space are.
func (tx *ReadTx) KeyState() (KeyState, error) {
	var k KeyState
	// A version has two steps: exchanged, and everything sealed with it.
	err := tx.queryRow(`SELECT key_version / 2 + 1, key_made_at, old_key IS NOT NULL, master_key_id FROM space_meta WHERE id = 1`).Scan(&k.Version, &k.MadeAt, &k.Rotating, &k.MasterID)
	return k, err
}

// RotateKey gives the space a new key and seals all its values with it, some at a time, so
// that the space can be used meanwhile. The key before is forgotten when nothing is sealed
// with it any more. What a crash interrupts goes on when the space is opened. Whoever
// calls it has checked that the actor may: it is for administrators of the server.
func (s *Space) RotateKey(ctx context.Context, actor Actor) error {
	if err := s.reseal(ctx); err != nil { // of a rotation before
		return err
	}
	err := Do(ctx, s, actor, func(tx *Tx) error {
		r, err := tx.keys()
		if err != nil {
			return err
		}
		master := s.masters.Current()
		next := secrets.NewKey()
		err = tx.update(`UPDATE space_meta SET key_version = key_version + 1, key_made_at = ?, master_key_id = ?, wrapped_key = ?, old_key = ?, first_key = ? WHERE id = 1`,
			formatTime(tx.Now), master.ID(), master.Wrap(next, wrapPurpose(s.ulid, "")), master.Wrap(r.current, wrapPurpose(s.ulid, wrapOld)), master.Wrap(r.first, wrapPurpose(s.ulid, wrapFirst)))
		if err != nil {
			return err
		}
		tx.record(Event{Category: "SpaceKeyRotated", Entity: "space", EntityID: s.ID(), Message: fmt.Sprintf("The key of the space was exchanged (version %d)", (r.version+1)/2+1)})
		return nil
	})
	if err != nil {
		return err
	}
	return s.reseal(ctx)
}

// sealedRows are the values that are sealed, but for the one of space_meta.
var sealedRows = []struct{ what, query, change, purpose string }{
	{"secrets", `SELECT id, CAST(id AS TEXT), sealed FROM secret WHERE id > ? ORDER BY id LIMIT ?`, `UPDATE secret SET sealed = ? WHERE id = ?`, "secret/"},
	{"deployments", `SELECT id, 'Deployments-' || id, state FROM deployment WHERE id > ? AND state IS NOT NULL ORDER BY id LIMIT ?`, `UPDATE deployment SET state = ? WHERE id = ?`, "deployment/"},
	{"invitations", `SELECT id, secret_id, secret FROM zone_invite WHERE id > ? ORDER BY id LIMIT ?`, `UPDATE zone_invite SET secret = ? WHERE id = ?`, "invite/"},
}

// resealBatch is how many values are sealed anew in one transaction: some milliseconds.
const resealBatch = 250

// reseal seals what the key before has sealed with the current one, then forgets the one
// before. It does nothing when there is none.
func (s *Space) reseal(ctx context.Context) error {
	rotating, err := View(ctx, s, Server(), func(tx *ReadTx) (bool, error) {
		k, err := tx.KeyState()
		return k.Rotating, err
	})
	if err != nil || !rotating {
		return err
	}
	lost := 0
	for _, rows := range sealedRows {
		for after := int64(0); after >= 0; {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := Do(ctx, s, Server(), func(tx *Tx) error {
				var n int
				after, n, err = tx.resealSome(rows.query, rows.change, rows.purpose, after)
				lost += n
				return err
			})
			if err != nil {
				return fmt.Errorf("seal %s anew: %w", rows.what, err)
			}
		}
	}
	return Do(ctx, s, Server(), func(tx *Tx) error {
		identity, err := one[[]byte](tx.ReadTx, `SELECT identity FROM space_meta WHERE id = 1`)
		if err != nil {
			return err
		}
		if identity != nil {
			plain, err := tx.unseal(identity, "identity")
			if err != nil {
				return err
			}
			if identity, err = tx.seal(plain, "identity"); err != nil {
				return err
			}
		}
		if lost > 0 { // damaged before: neither key opens them
			s.log.Warn("sealed values that no key of the space opens", "count", lost)
		}
		tx.record(Event{Category: "SpaceKeyRotationEnded", Entity: "space", EntityID: s.ID(), Message: "All values are sealed with the new key of the space; the one before is forgotten"})
		return tx.update(`UPDATE space_meta SET identity = ?, old_key = NULL, key_version = key_version + 1 WHERE id = 1`, identity)
	})
}

// resealSome seals a batch of rows after a number anew. It returns the last one's, -1 when
// there are no more, and how many no key opens.
func (tx *Tx) resealSome(query, change, purpose string, after int64) (last int64, lost int, err error) {
	type row struct {
		id     int64
		name   string
		sealed []byte
	}
	rows, err := list(tx.ReadTx, func(scan func(...any) error) (row, error) {
		var r row
		return r, scan(&r.id, &r.name, &r.sealed)
	}, query, after, resealBatch)
	if err != nil {
		return after, 0, err
	}
	r, err := tx.keys()
	if err != nil {
		return after, 0, err
	}
	last = -1
	for _, x := range rows {
		last = x.id
		full := tx.Space.purpose(purpose + x.name)
		if _, err := r.current.Open(x.sealed, full); err == nil {
			continue
		}
		plain, err := r.open(x.sealed, full)
		if err != nil {
			lost++
			continue
		}
		if err := tx.update(change, r.current.Seal(plain, full), x.id); err != nil {
			return after, lost, err
		}
	}
	if len(rows) < resealBatch {
		last = -1
	}
	return last, lost, nil
}

// Rewrap wraps the keys of the space with the master key that the server uses now. It does
// nothing when they are.
func (s *Space) Rewrap(ctx context.Context) error {
	master := s.masters.Current()
	return Do(ctx, s, Server(), func(tx *Tx) error {
		r, err := tx.keys()
		if err != nil || r.masterID == master.ID() {
			return err
		}
		tx.record(Event{Category: "MasterKeyRotated", Entity: "space", EntityID: s.ID(), Message: fmt.Sprintf("The key of the space is wrapped with master key %s", master.ID())})
		return tx.rewrap(r, master)
	})
}

func (tx *Tx) rewrap(r *keyring, master secrets.Master) error {
	var old any
	if r.old != nil {
		old = master.Wrap(r.old, wrapPurpose(tx.Space.ulid, wrapOld))
	}
	return tx.update(`UPDATE space_meta SET master_key_id = ?, wrapped_key = ?, old_key = ?, first_key = ? WHERE id = 1`,
		master.ID(), master.Wrap(r.current, wrapPurpose(tx.Space.ulid, "")), old, master.Wrap(r.first, wrapPurpose(tx.Space.ulid, wrapFirst)))
}

// unlock reads who the space is and unwraps its keys, and goes on with a rotation that a
// crash interrupted.
func (s *Space) unlock(ctx context.Context) error {
	if err := s.write.QueryRowContext(ctx, `SELECT ulid FROM space_meta WHERE id = 1`).Scan(&s.ulid); err != nil {
		return fmt.Errorf("read space %s: %w", s.ref.Folder, err)
	}
	r, err := s.readRing(s.write.QueryRowContext(ctx, `SELECT `+ringColumns+` FROM space_meta WHERE id = 1`).Scan)
	if err != nil {
		return err
	}
	s.ring.Store(r)
	return nil
}
