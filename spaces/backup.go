package spaces

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

// A backup is a folder like that of a space, with a manifest beside the file:
//
//	manifest.json   what is in it, each file with its size and SHA-256
//	space.db        one plain file, as of one moment
//	packages/ logs/ artifacts/
//
// Secrets are in it as they are in the space: sealed with its key, which is wrapped by
// the server's master key. That key is not in it.
const (
	manifestName   = "manifest.json"
	manifestFormat = "octopuses-space-backup/1"
	restoring      = ".restoring-" // in front of a folder that is not whole yet
)

// Manifest says what is in a backup.
type Manifest struct {
	Format    string       `json:"format"`
	Space     string       `json:"space"` // ULID
	Name      string       `json:"name"`
	Slug      string       `json:"slug"`
	MasterKey string       `json:"masterKey"` // id of the master key that opens its secrets
	Made      time.Time    `json:"made"`
	Files     []BackupFile `json:"files"`
}

// BackupFile is one file of a backup. Path has slashes.
type BackupFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Bytes is the size of all files together.
func (m Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Backup copies an open space into a new folder while it is worked in: the file by
// SQLite's online backup, as of one moment, then every package file that it names, and the
// logs as far as they are written. The folder appears under its name when it is whole.
// Errors: [errs.Exists] when there is something at dir.
func (s *Space) Backup(ctx context.Context, dir string) (m Manifest, err error) {
	if _, err := os.Lstat(dir); err == nil {
		return m, errs.New(errs.Exists, "There is already something at %s.", dir).WithHint("Name a folder that does not exist yet.")
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return m, fmt.Errorf("back up: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part))
		}
	}()
	m = Manifest{Format: manifestFormat, Space: s.ulid, Name: s.Name(), Slug: s.Slug(), Made: s.now().UTC()}
	file := filepath.Join(part, FileName)
	if err := copyDatabase(ctx, filepath.Join(s.dir, FileName), file); err != nil {
		return m, err
	}
	blobs, err := readCopy(ctx, file, &m)
	if err != nil {
		return m, err
	}
	b := backup{ctx: ctx, from: s.dir, to: part}
	b.hash(FileName)
	for _, digest := range blobs {
		path, rerr := filepath.Rel(s.dir, s.packages.Path(digest))
		if rerr != nil {
			return m, fmt.Errorf("back up: %w", rerr)
		}
		if b.copy(path) != digest && b.err == nil {
			return m, errs.New(errs.Blocked, "The package file %s is not what its name says.", digest).WithHint("It is damaged on the disk. Push that package again, or delete it, and back up anew.")
		}
	}
	b.tree("logs")
	b.tree("artifacts")
	b.tree("audit")
	if b.err != nil {
		return m, b.err
	}
	m.Files = b.files
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, fmt.Errorf("back up: %w", err)
	}
	if err := writeSynced(filepath.Join(part, manifestName), append(text, '\n')); err != nil {
		return m, err
	}
	if err := os.Rename(part, dir); err != nil {
		return m, fmt.Errorf("back up: %w", err)
	}
	return m, nil
}

// copyDatabase writes what is committed now. In WAL mode one step reads one snapshot, and
// writers go on.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	db, err := sql.Open("sqlite", migrations.DSN(from, true))
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		source, ok := c.(interface {
			NewBackup(string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("this SQLite has no online backup")
		}
		b, err := source.NewBackup(to)
		if err != nil {
			return err
		}
		_, err = b.Step(-1)
		return errors.Join(err, b.Finish())
	})
	if err != nil {
		return storeError(fmt.Errorf("back up %s: %w", FileName, err))
	}
	return nil
}

// readCopy checks a copied file and reads which package files belong to it.
func readCopy(ctx context.Context, file string, m *Manifest) (blobs []string, err error) {
	db, err := sql.Open("sqlite", migrations.DSN(file, false))
	if err != nil {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	var sound string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&sound); err != nil || sound != "ok" {
		return nil, errors.Join(err, errs.New(errs.Blocked, "The copy of %s is damaged: %s.", FileName, sound))
	}
	var ulid string
	if err := db.QueryRowContext(ctx, `SELECT ulid, master_key_id FROM space_meta WHERE id = 1`).Scan(&ulid, &m.MasterKey); err != nil {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	if ulid != m.Space {
		return nil, errs.New(errs.Blocked, "The file is of another space (%s) than it should be (%s).", ulid, m.Space)
	}
	rows, err := db.QueryContext(ctx, `SELECT digest FROM package_blob ORDER BY digest`)
	if err != nil {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var d string
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		blobs = append(blobs, d)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	// One plain file, without a log beside it.
	_, err = db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return blobs, err
}

// backup copies files until the first error, which it keeps.
type backup struct {
	ctx      context.Context
	from, to string
	files    []BackupFile
	err      error
}

// copy copies a file and returns its SHA-256.
func (b *backup) copy(path string) (digest string) {
	if b.err != nil {
		return ""
	}
	in, err := os.Open(filepath.Join(b.from, path))
	if err != nil {
		b.err = fmt.Errorf("back up: %w", err)
		return ""
	}
	defer in.Close()
	target := filepath.Join(b.to, path)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		b.err = fmt.Errorf("back up: %w", err)
		return ""
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		b.err = fmt.Errorf("back up: %w", err)
		return ""
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), readerOf{b.ctx, in})
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		b.err = fmt.Errorf("back up: %w", err)
		return ""
	}
	digest = hex.EncodeToString(h.Sum(nil))
	b.files = append(b.files, BackupFile{filepath.ToSlash(path), n, digest})
	return digest
}

// hash notes a file that is there already.
func (b *backup) hash(path string) {
	digest, n, err := fileDigest(b.ctx, filepath.Join(b.to, path))
	if err != nil && b.err == nil {
		b.err = err
	}
	b.files = append(b.files, BackupFile{filepath.ToSlash(path), n, digest})
}

// tree copies all files below a folder. One that is gone meanwhile was not part of the
// moment.
func (b *backup) tree(folder string) {
	err := filepath.WalkDir(filepath.Join(b.from, folder), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(b.from, path)
		if err != nil {
			return err
		}
		if b.copy(rel); errors.Is(b.err, fs.ErrNotExist) {
			b.err = nil
		}
		return b.err
	})
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("back up: %w", err)
	}
}

type readerOf struct {
	ctx context.Context
	r   io.Reader
}

func (r readerOf) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func fileDigest(ctx context.Context, path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, readerOf{ctx, f})
	return hex.EncodeToString(h.Sum(nil)), n, err
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// ReadBackup reads a backup's manifest and checks every file that it names.
func ReadBackup(ctx context.Context, dir string) (Manifest, error) {
	var m Manifest
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return m, errs.Wrap(errs.NotFound, err, "There is no backup in %s: %s is missing.", dir, manifestName).
			WithHint("A folder of a space that was copied by hand is brought in with 'octopuses space adopt'.")
	}
	if err := json.Unmarshal(b, &m); err != nil || m.Format != manifestFormat {
		return m, errs.New(errs.Invalid, "%s in %s is not one of a backup that this program reads.", manifestName, dir)
	}
	for _, f := range m.Files {
		path := filepath.FromSlash(f.Path)
		if !filepath.IsLocal(path) {
			return m, errs.New(errs.Invalid, "The backup names a file outside of its folder: %s.", f.Path)
		}
		digest, size, err := fileDigest(ctx, filepath.Join(dir, path))
		if err != nil {
			return m, errs.Wrap(errs.Invalid, err, "The backup in %s is not whole: %s cannot be read.", dir, f.Path).WithHint("Take another copy of it.")
		}
		if size != f.Size || digest != f.SHA256 {
			return m, errs.New(errs.Invalid, "The backup in %s is damaged: %s is not what was written.", dir, f.Path).WithHint("Take another copy of it.")
		}
	}
	if !slices.ContainsFunc(m.Files, func(f BackupFile) bool { return f.Path == FileName }) {
		return m, errs.New(errs.Invalid, "The backup in %s has no %s.", dir, FileName)
	}
	return m, nil
}

// Foreign is a folder of a space that no registry knows.
type Foreign struct {
	ULID, Name, MasterKey string
}

// LookAt reads whose folder it is. The error is [errs.NotFound] when it is no space's.
func LookAt(ctx context.Context, dir string) (f Foreign, err error) {
	file := filepath.Join(dir, FileName)
	if _, err := os.Stat(file); err != nil {
		return f, errs.Wrap(errs.NotFound, err, "There is no space in %s: %s is missing.", dir, FileName)
	}
	db, err := sql.Open("sqlite", migrations.DSN(file, true))
	if err != nil {
		return f, fmt.Errorf("look at %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, `SELECT ulid, name, master_key_id FROM space_meta WHERE id = 1`).Scan(&f.ULID, &f.Name, &f.MasterKey)
	if err != nil {
		return f, errs.Wrap(errs.Invalid, err, "%s in %s is not the file of a space, or is damaged.", FileName, dir)
	}
	return f, nil
}

// Adopt copies the folder of a space, or a backup, among the spaces of this registry and
// begins a new life of it there: its key is wrapped with this server's master key, its
// messages to other zones get a new incarnation, and what was running is not run again.
// was is the master key that wrapped its key before. It returns the folder's name; who
// registers it calls [Registry.Forsake] when that fails. Errors: [errs.Exists] when the
// space is here already, [errs.Blocked] for another master key.
func (r *Registry) Adopt(ctx context.Context, dir, slug, name string, was secrets.Master) (folder string, err error) {
	about, err := LookAt(ctx, dir)
	if err != nil {
		return "", err
	}
	if about.MasterKey != was.ID() {
		return "", errs.New(errs.Blocked, "The secrets of this space are sealed with master key %s; the given one is %s.", about.MasterKey, was.ID()).
			WithHint("Give the master key of the server that it comes from: --key-file FILE (its keys/master.key).")
	}
	if here, err := filepath.Glob(filepath.Join(r.cfg.Root, "[^.]*-"+FolderSuffix(about.ULID))); err != nil || len(here) > 0 {
		return "", errors.Join(err, errs.New(errs.Exists, "This space is here already, in %s.", strings.Join(here, ", ")).
			WithHint("One space cannot live twice on a server. Delete that one first."))
	}
	folder = slug + "-" + FolderSuffix(about.ULID)
	part := filepath.Join(r.cfg.Root, restoring+folder)
	if err := os.RemoveAll(part); err != nil { // left by somebody who was killed
		return "", fmt.Errorf("adopt space: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part))
		}
	}()
	if err := os.Mkdir(part, 0o700); err != nil {
		return "", fmt.Errorf("adopt space: %w", err)
	}
	if err := copyDatabase(ctx, filepath.Join(dir, FileName), filepath.Join(part, FileName)); err != nil {
		return "", err
	}
	b := backup{ctx: ctx, from: dir, to: part}
	for _, sub := range []string{"packages", "logs", "artifacts", "audit"} {
		if err := os.MkdirAll(filepath.Join(part, sub), 0o700); err != nil {
			return "", fmt.Errorf("adopt space: %w", err)
		}
		b.tree(sub)
	}
	if b.err != nil {
		return "", b.err
	}
	if err := r.newLife(ctx, part, Ref{Folder: folder, Name: name, Slug: slug}, was); err != nil {
		return "", err
	}
	if err := os.Rename(part, filepath.Join(r.cfg.Root, folder)); err != nil {
		return "", fmt.Errorf("adopt space: %w", err)
	}
	return folder, nil
}

// newLife makes a copied space one of this server.
func (r *Registry) newLife(ctx context.Context, dir string, ref Ref, was secrets.Master) (err error) {
	file := filepath.Join(dir, FileName)
	if err := migrations.Apply(ctx, file, migrations.Space); err != nil {
		return fmt.Errorf("adopt space: %w", err)
	}
	alone := r.cfg
	alone.Marks, alone.Masters, alone.Committed = nil, secrets.NewMasters(was), nil
	s, err := openSpace(ctx, ref, dir, alone)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	blobs, err := View(ctx, s, Server(), func(tx *ReadTx) ([]string, error) {
		return list(tx, func(scan func(...any) error) (d string, err error) { return d, scan(&d) }, `SELECT digest FROM package_blob`)
	})
	if err != nil {
		return err
	}
	for _, d := range blobs {
		if err := s.packages.Verify(ctx, d); err != nil {
			return err
		}
	}
	return Do(ctx, s, Server(), func(tx *Tx) error {
		keys, err := tx.keys()
		if err != nil {
			return err
		}
		if err := tx.rewrap(keys, r.cfg.Masters.Current()); err != nil {
			return err
		}
		s.masters.Use(r.cfg.Masters.Current()) // what follows reads its keys again
		_, err = tx.exec(`UPDATE space_meta SET name = ?, incarnation = ?, card = NULL, task_next = 1, task_last = 0 WHERE id = 1`, ref.Name, NewULID(tx.Now))
		if err != nil {
			return err
		}
		// A sequence belongs to one life. What the last one had queued keeps its numbers: the
		// life that it was copied from may have sent it, and then it is the same message.
		if _, err := tx.exec(`UPDATE zone_link SET next_seq = 1, last_digest = ''`); err != nil {
			return err
		}
		open, err := list(tx.ReadTx, func(scan func(...any) error) (id TaskID, err error) { return id, scan(&id) }, `SELECT id FROM task WHERE completed_at IS NULL`)
		if err != nil {
			return err
		}
		for _, id := range open {
			if err := tx.FinishTask(id, TaskCanceled, "It was not finished when this space was copied. What became of it on the targets is not known here.", true); err != nil {
				return err
			}
		}
		// Whoever is told of the life that was copied would be told twice, and of the past again.
		if _, err := tx.exec(`UPDATE subscription SET is_disabled = 1`); err != nil {
			return err
		}
		tx.record(Event{Category: "SpaceAdopted", Entity: "space", EntityID: s.ulid, Message: fmt.Sprintf("The space %s began a new life here from a copy; %d unfinished tasks were not run again, and its subscriptions are disabled", ref.Name, len(open))})
		return nil
	})
}

// Forsake removes a folder that Adopt made and that nobody registered.
func (r *Registry) Forsake(folder string) error { return r.Delete(folder) }
