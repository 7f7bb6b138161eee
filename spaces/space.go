package spaces

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	_ "modernc.org/sqlite" // the driver; no cgo

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/secrets"
)

// FileName is the name of a space's database in its folder.
const FileName = "space.db"

// readers is how many connections read one space at once. Four keep two cores
// busy; each costs about 60 KiB.
const readers = 4

// Space is an open space. It is taken from a [Registry], used by many goroutines
// at once, and given back with [Space.Release].
type Space struct {
	ref      Ref
	dir      string
	ulid     string
	masters  *secrets.Masters
	ring     atomic.Pointer[keyring]
	now      func() time.Time
	log      *slog.Logger
	write    *sql.DB // one connection; transactions begin immediate
	read     *sql.DB
	packages *packages.Store
	hub      *Hub
	seen     func(*Space) // Config.Committed
	audited  func() (EventReader, bool)

	taskNumbers func(ctx context.Context, ref Ref, above int64) (first, last int64, err error) // Config.TaskNumbers

	registry *Registry
	leases   int       // guarded by Registry.mu
	idleFrom time.Time // guarded by Registry.mu; when leases became 0
	name     atomic.Pointer[string]
	store    Marks           // nil: none are kept
	marks    map[string]bool // those in store; used while opening and inside writing transactions
	dated    bool            // one of marks is of the archive
}

// Ref names a space: its id on this server ("Spaces-1"), its folder's name under
// the root of the registry, its display name and its slug.
type Ref struct {
	ID     string
	Folder string
	Name   string
	Slug   string
}

// ID is the space's id on this server, as "Spaces-1".
func (s *Space) ID() string { return s.ref.ID }

// ULID is the space's id everywhere, kept by a copied folder.
func (s *Space) ULID() string { return s.ulid }

// Name is the display name by which the space was opened last.
func (s *Space) Name() string { return *s.name.Load() }

// Slug is the space's name in URLs.
func (s *Space) Slug() string { return s.ref.Slug }

// Dir is the space's folder.
func (s *Space) Dir() string { return s.dir }

// Packages is the store of package files.
func (s *Space) Packages() *packages.Store { return s.packages }

// Hub tells what changed in this space. Topics are listed in docs/design.md.
func (s *Space) Hub() *Hub { return s.hub }

// LogDir is where task logs are kept, one file a task.
func (s *Space) LogDir() string { return filepath.Join(s.dir, "logs") }

// Log is the server's log with the space's name on it.
func (s *Space) Log() *slog.Logger { return s.log }

// NewULID makes an identifier that is unique everywhere, with the time in front.
func NewULID(at time.Time) string { return ulid.MustNew(ulid.Timestamp(at), rand.Reader).String() }

// createFolder makes the folder and the file of a new space.
func createFolder(ctx context.Context, dir, id, name string, master secrets.Master, now time.Time) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return errs.New(errs.Exists, "There is already a folder %s.", filepath.Base(dir))
		}
		return fmt.Errorf("create space folder: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	for _, sub := range []string{"packages", "artifacts", "logs", "audit"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("create space folder: %w", err)
		}
	}
	file := filepath.Join(dir, FileName)
	if err := migrations.Apply(ctx, file, migrations.Space); err != nil {
		return fmt.Errorf("create space file: %w", err)
	}
	db, err := migrations.Open(file, false)
	if err != nil {
		return fmt.Errorf("open new space: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	key := secrets.NewKey()
	_, err = db.ExecContext(ctx, `INSERT INTO space_meta (id, ulid, name, incarnation, master_key_id, wrapped_key, created_at) VALUES (1, ?, ?, ?, ?, ?, ?)`,
		id, name, NewULID(now), master.ID(), master.Wrap(key, "space/"+id), formatTime(now))
	if err != nil {
		return fmt.Errorf("write new space: %w", err)
	}
	return nil
}

func openSpace(ctx context.Context, ref Ref, dir string, cfg Config) (*Space, error) {
	file := filepath.Join(dir, FileName)
	if _, err := os.Stat(file); err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The file of space '%s' is missing.", ref.Name).
			WithHint("Expected %s. Restore the folder from a backup, then open the space again.", file)
	}
	if err := migrations.Apply(ctx, file, migrations.Space); err != nil {
		return nil, fmt.Errorf("open space %s: %w", ref.Folder, err)
	}
	s := &Space{ref: ref, dir: dir, now: cfg.Now, hub: NewHub(), seen: cfg.Committed, audited: cfg.Audited, taskNumbers: cfg.TaskNumbers, masters: cfg.Masters, log: cfg.Logger.With("space", ref.ID)}
	s.name.Store(&ref.Name)
	var err error
	if s.write, err = migrations.Open(file, false); err != nil {
		return nil, fmt.Errorf("open space %s: %w", ref.Folder, err)
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = migrations.Open(file, true); err != nil {
		s.write.Close()
		return nil, fmt.Errorf("open space %s: %w", ref.Folder, err)
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.unlock(ctx); err != nil {
		return nil, errors.Join(err, s.read.Close(), s.write.Close())
	}
	if s.packages, err = packages.NewStore(filepath.Join(dir, "packages")); err != nil {
		return nil, errors.Join(err, s.read.Close(), s.write.Close())
	}
	if err := s.checkMarks(ctx, cfg.Marks); err != nil {
		return nil, errors.Join(fmt.Errorf("open space %s: %w", ref.Folder, err), s.read.Close(), s.write.Close())
	}
	if s.ring.Load().old != nil {
		if err := s.reseal(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("open space %s: %w", ref.Folder, err), s.read.Close(), s.write.Close())
		}
	}
	return s, nil
}

// close checkpoints and closes the file, after which space.db is one plain file.
func (s *Space) close() error {
	err := s.read.Close()
	if _, cerr := s.write.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); cerr != nil {
		err = errors.Join(err, fmt.Errorf("checkpoint space %s: %w", s.ref.Folder, cerr))
	}
	return errors.Join(err, s.write.Close())
}
