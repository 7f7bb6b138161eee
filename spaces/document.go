package spaces

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// Kinds of documents and snapshots.
const (
	kindProcess   = "process"
	kindVariables = "variables"
	kindLifecycle = "lifecycle"
)

// documentFormat is the format of the bodies that this program writes. A body of a
// later format is never read: the file's schema version keeps it out.
const documentFormat = 1

// Document is a version of what people edit as one whole. Body is its exact bytes.
type Document struct {
	ID        DocumentID
	Version   int64 // the optimistic lock, from 0
	Hash      string
	Body      []byte
	UpdatedAt time.Time
	UpdatedBy string
}

// docRef is one thing that a document mentions, at a JSON path.
type docRef struct {
	path        string
	environment EnvironmentID
	target      TargetID
	channel     ChannelID
	link        LinkID
}

// putSnapshot stores exact bytes once, under their SHA-256.
func (tx *Tx) putSnapshot(kind string, body []byte) (hash string, err error) {
	sum := sha256.Sum256(body)
	hash = hex.EncodeToString(sum[:])
	_, err = tx.exec(`INSERT INTO snapshot (hash, kind, format, body) VALUES (?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING`, hash, kind, documentFormat, body)
	return hash, err
}

func (tx *ReadTx) snapshot(hash string) ([]byte, error) {
	body, err := one[[]byte](tx, `SELECT body FROM snapshot WHERE hash = ?`, hash)
	if err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", hash, err)
	}
	return body, nil
}

// snapshotAs reads a snapshot into a document type of a pure room.
func snapshotAs[T any](tx *ReadTx, hash string) (T, error) {
	var v T
	body, err := tx.snapshot(hash)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("decode snapshot %s: %w", hash, err)
	}
	return v, nil
}

func (tx *Tx) createDocument(kind string, v any, refs []docRef) (DocumentID, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", kind, err)
	}
	hash, err := tx.putSnapshot(kind, body)
	if err != nil {
		return 0, err
	}
	id, err := tx.insert(`INSERT INTO document (kind, version, hash, updated_at, updated_by) VALUES (?, 0, ?, ?, ?)`, kind, hash, formatTime(tx.Now), tx.Actor.Name)
	if err != nil {
		return 0, err
	}
	return DocumentID(id), tx.writeRevision(DocumentID(id), 0, hash, refs)
}

// saveDocument writes the next version. want is the version that the editor saw;
// when another is stored the error is [errs.Stale].
func (tx *Tx) saveDocument(id DocumentID, kind string, want int64, v any, refs []docRef) (int64, error) {
	var version int64
	var old, by string
	if err := tx.queryRow(`SELECT version, hash, updated_by FROM document WHERE id = ?`, int64(id)).Scan(&version, &old, &by); err != nil {
		return 0, err
	}
	if want != version {
		return 0, errs.New(errs.Stale, "This was changed by %s in the meantime: version %d is stored, yours was made from version %d.", by, version, want).
			WithHint("Reload to see the newer version, then make your change again.")
	}
	body, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", kind, err)
	}
	hash, err := tx.putSnapshot(kind, body)
	if err != nil {
		return 0, err
	}
	version++
	if err := tx.update(`UPDATE document SET version = ?, hash = ?, updated_at = ?, updated_by = ? WHERE id = ?`, version, hash, formatTime(tx.Now), tx.Actor.Name, int64(id)); err != nil {
		return 0, err
	}
	if _, err := tx.exec(`DELETE FROM document_ref WHERE document_id = ?`, int64(id)); err != nil {
		return 0, err
	}
	return version, tx.writeRevision(id, version, hash, refs)
}

func (tx *Tx) writeRevision(id DocumentID, version int64, hash string, refs []docRef) error {
	_, err := tx.exec(`INSERT INTO document_revision (document_id, version, hash, saved_at, saved_by) VALUES (?, ?, ?, ?, ?)`, int64(id), version, hash, formatTime(tx.Now), tx.Actor.Name)
	if err != nil {
		return err
	}
	for _, r := range refs {
		_, err := tx.exec(`INSERT INTO document_ref (document_id, path, environment_id, target_id, channel_id, link_id) VALUES (?, ?, NULLIF(?, 0), NULLIF(?, 0), NULLIF(?, 0), NULLIF(?, 0))`,
			int64(id), r.path, int64(r.environment), int64(r.target), int64(r.channel), int64(r.link))
		if foreignKey(err) {
			e := errs.Wrap(errs.Invalid, err, "%s refers to %s, which does not exist in this space.", r.path, r.thing())
			e.Fields = []errs.Field{{Name: r.path, Message: e.Message}}
			e.Message = ""
			return e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r docRef) thing() string {
	switch {
	case r.environment != 0:
		return "environment " + r.environment.String()
	case r.target != 0:
		return "deployment target " + r.target.String()
	case r.channel != 0:
		return "channel " + r.channel.String()
	default:
		return "link " + r.link.String()
	}
}

// document reads the newest version.
func (tx *ReadTx) document(id DocumentID) (Document, error) {
	d := Document{ID: id}
	var at string
	err := tx.queryRow(`SELECT d.version, d.hash, s.body, d.updated_at, d.updated_by FROM document d JOIN snapshot s ON s.hash = d.hash WHERE d.id = ?`, int64(id)).
		Scan(&d.Version, &d.Hash, &d.Body, &at, &d.UpdatedBy)
	if err != nil {
		return d, fmt.Errorf("read document %d: %w", id, err)
	}
	d.UpdatedAt = parseTime(at)
	return d, nil
}

// documentAs reads the newest version into a type of a pure room.
func documentAs[T any](tx *ReadTx, id DocumentID) (T, Document, error) {
	var v T
	d, err := tx.document(id)
	if err != nil {
		return v, d, err
	}
	if err := json.Unmarshal(d.Body, &v); err != nil {
		return v, d, fmt.Errorf("decode document %d: %w", id, err)
	}
	return v, d, nil
}

// Use says that a document mentions something: whose document, and where in it.
type Use struct {
	Kind  string // process, variables, lifecycle
	Owner string // the name of the project or lifecycle
	Path  string
}

// usesOf lists which documents mention an environment, target, channel or link.
func (tx *ReadTx) usesOf(column string, id int64) ([]Use, error) {
	return list(tx, func(scan func(...any) error) (Use, error) {
		var u Use
		err := scan(&u.Kind, &u.Owner, &u.Path)
		return u, err
	}, `SELECT d.kind, COALESCE(p.name, l.name, ''), r.path FROM document_ref r JOIN document d ON d.id = r.document_id
		LEFT JOIN project p ON p.process_document_id = d.id OR p.variable_document_id = d.id
		LEFT JOIN lifecycle l ON l.document_id = d.id
		WHERE r.`+column+` = ? ORDER BY 2, 3 LIMIT 20`, id)
}

// blockedByUses explains a refused deletion by naming the documents that use it.
func blockedByUses(what string, uses []Use) error {
	e := errs.New(errs.Blocked, "%s is used:", what)
	for _, u := range uses {
		e.Message += fmt.Sprintf(" %s of '%s' (%s);", u.Kind, u.Owner, u.Path)
	}
	e.Message = e.Message[:len(e.Message)-1] + "."
	return e.WithHint("Remove it there first.")
}

// notFound turns sql.ErrNoRows into the NotFound of an entity.
func notFound(err error, entity, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return errs.Missing(entity, id)
	}
	return err
}
