// Package migrations brings SQLite files to the schema of this program, forward
// only. A file is looked at when it is opened: its user_version tells in
// microseconds whether anything has to be done.
//
// Before an existing file is changed a copy of it is kept beside it. Migrations run
// on a connection of their own with foreign keys off, since rebuilding a parent
// table with them on silently deletes the children; afterwards foreign_key_check
// must find nothing.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // also the driver; no cgo
	sqlite3 "modernc.org/sqlite/lib"

	"octopuses.dev/octopuses/spaces/errs"
)

//go:generate go run ./schema

//go:embed instance/0*.sql space/0*.sql
var files embed.FS

// Kind is a kind of file.
type Kind struct {
	name string // folder of its migrations
	id   int    // application_id: 'OcI' or 'OcS' and a format byte
}

// The kinds of files.
var (
	Instance = Kind{"instance", 0x4f634901}
	Space    = Kind{"space", 0x4f635301}
)

// DSN is the data source name of a file for the driver "sqlite": foreign keys on,
// patient, durable. A writer's transactions begin immediate, so that two never
// deadlock by upgrading.
func DSN(path string, readonly bool) string {
	q := url.Values{"_pragma": {"foreign_keys(1)", "busy_timeout(10000)", "synchronous(FULL)", "cache_size(-2000)"}, "_time_format": {"sqlite"}}
	if readonly {
		q["_pragma"] = append(q["_pragma"], "query_only(1)")
	} else {
		q["_pragma"] = append(q["_pragma"], "journal_mode(WAL)")
		q.Set("_txlock", "immediate")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// Version is the schema version of this program for a kind of file.
func Version(kind Kind) (int, error) {
	sub, err := fs.Sub(files, kind.name)
	if err != nil {
		return 0, err
	}
	names, err := fs.Glob(sub, "*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("no migrations for %s: %w", kind.name, err)
	}
	var n int
	if _, err := fmt.Sscanf(names[len(names)-1], "%05d", &n); err != nil {
		return 0, fmt.Errorf("migration %s has no number: %w", names[len(names)-1], err)
	}
	return n, nil
}

// Apply creates the file or brings it to the newest schema. Errors: [errs.Blocked]
// for a file of a newer program, [errs.Invalid] for a file that is not ours; neither
// is changed.
func Apply(ctx context.Context, path string, kind Kind) (err error) {
	want, err := Version(kind)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
	if err != nil && !fresh {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	have := 0
	if !fresh {
		if have, err = look(ctx, path, kind); err != nil || have == want {
			return err
		}
		if have > want {
			return errs.New(errs.Blocked, "%s was written by a newer program (schema %d, this program knows %d).", path, have, want).WithHint("Start the newer version of octopuses, or restore a backup made by this one.")
		}
	}
	db, err := open(path, url.Values{"_pragma": {"foreign_keys(0)", "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// The mark comes first: a file whose making was cut short is ours all the same.
	// Its version is 0 until everything is done, and there is nothing in it to copy.
	if have == 0 {
		if _, err := db.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, kind.id)); err != nil {
			return fmt.Errorf("mark %s: %w", path, err)
		}
	} else if err := keepCopy(ctx, db, path, have); err != nil {
		return err
	}
	return migrate(ctx, db, path, kind, want)
}

func open(path string, q url.Values) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// look reads the version of a file on a connection that writes nothing: opening a
// stranger's file with journal_mode(WAL) would already change it.
func look(ctx context.Context, path string, kind Kind) (version int, err error) {
	db, err := open(path, url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)", "query_only(1)"}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var id int
	// As statements these read the header alone; as tables they would parse the schema.
	if err = db.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err == nil {
		err = db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version)
	}
	var se *sqlite.Error
	if errors.As(err, &se) && (se.Code()&0xff == sqlite3.SQLITE_NOTADB || se.Code()&0xff == sqlite3.SQLITE_CORRUPT) {
		return 0, errs.Wrap(errs.Invalid, err, "%s is no database of this program, or it is damaged.", path).WithHint("Restore it from a backup.")
	}
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	if id != kind.id {
		return 0, errs.New(errs.Invalid, "%s is not a file of kind '%s' of this program (application id %#x).", path, kind.name, id)
	}
	return version, nil
}

// keepCopy writes a copy of the file as it was beside it. A copy that is there is
// kept when a run that was cut short made it, and replaced when it is of an earlier
// life of the file, such as before it was restored.
func keepCopy(ctx context.Context, db *sql.DB, path string, have int) error {
	copyPath := fmt.Sprintf("%s.before-%d", path, have)
	if _, err := os.Stat(copyPath); err == nil {
		var reached int
		if err := db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&reached); err != nil {
			return fmt.Errorf("copy %s before migrating: %w", filepath.Base(path), err)
		}
		if reached > have {
			return nil
		}
	}
	part := copyPath + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copy %s before migrating: %w", filepath.Base(path), err)
	}
	_, err := db.ExecContext(ctx, `VACUUM INTO ?`, part)
	if err == nil {
		err = syncFile(part) // VACUUM INTO leaves that to the system
	}
	if err == nil {
		err = os.Rename(part, copyPath)
	}
	if err == nil {
		err = syncFile(filepath.Dir(copyPath))
	}
	if err != nil {
		return fmt.Errorf("copy %s before migrating: %w", filepath.Base(path), err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func migrate(ctx context.Context, db *sql.DB, path string, kind Kind, want int) error {
	sub, err := fs.Sub(files, kind.name)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, sub, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", path, err)
	}
	rows, err := db.QueryContext(ctx, `PRAGMA foreign_key_check`)
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	broken := rows.Next()
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if broken {
		return fmt.Errorf("migrate %s: a reference is broken afterwards; the file as it was is kept beside it", path)
	}
	if _, err := db.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, want)); err != nil {
		return fmt.Errorf("mark %s: %w", path, err)
	}
	return nil
}

// Schema is the schema of a new file of a kind, as SQL in the order of names: what
// is committed as schema.sql for reviewers.
func Schema(ctx context.Context, kind Kind) (text string, err error) {
	dir, err := os.MkdirTemp("", "schema")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "schema.db")
	if err := Apply(ctx, path, kind); err != nil {
		return "", err
	}
	db, err := sql.Open("sqlite", DSN(path, true))
	if err != nil {
		return "", err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%' ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, name`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	text = "-- Generated by go generate ./migrations; do not edit.\n"
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return "", err
		}
		text += "\n" + s + ";\n"
	}
	return text, rows.Err()
}
