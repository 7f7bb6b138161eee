package migrations

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
)

func TestSchemaIsCommitted(t *testing.T) {
	for name, kind := range map[string]Kind{"instance": Instance, "space": Space} {
		want, err := Schema(context.Background(), kind)
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join(name, "schema.sql"))
		if err != nil || string(have) != want {
			t.Errorf("%s/schema.sql is stale (%v); run: make generate", name, err)
		}
	}
}

func openFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", DSN(path, false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestApplyTwiceAndAfterClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a space?.db") // a path that a careless DSN would break
	for range 2 {
		if err := Apply(context.Background(), path, Space); err != nil {
			t.Fatal(err)
		}
	}
	db := openFile(t, path)
	var on, n int
	if err := db.QueryRow(`SELECT foreign_keys FROM pragma_foreign_keys`).Scan(&on); err != nil || on != 1 {
		t.Errorf("foreign keys are %d, %v", on, err)
	}
	if err := db.QueryRow(`SELECT count(*) FROM environment`).Scan(&n); err != nil {
		t.Error(err)
	}
}

func TestRefusesForeignAndNewerFiles(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()

	text := filepath.Join(dir, "text.db")
	os.WriteFile(text, []byte("this is not a database, and it is long enough to look like one: 0123456789012345678901234567890123456789"), 0o600)
	if err := Apply(ctx, text, Space); !errors.Is(err, errs.Invalid) {
		t.Errorf("a text file: %v", err)
	}

	other := filepath.Join(dir, "other.db")
	db := openFile(t, other)
	db.Exec(`CREATE TABLE t (x)`)
	db.Close()
	if err := Apply(ctx, other, Space); !errors.Is(err, errs.Invalid) {
		t.Errorf("another program's file: %v", err)
	}

	newer := filepath.Join(dir, "newer.db")
	if err := Apply(ctx, newer, Space); err != nil {
		t.Fatal(err)
	}
	db = openFile(t, newer)
	db.Exec(`PRAGMA user_version = 99999`)
	db.Close()
	if err := Apply(ctx, newer, Space); !errors.Is(err, errs.Blocked) {
		t.Errorf("a newer file: %v", err)
	}
	if err := Apply(ctx, newer, Instance); !errors.Is(err, errs.Invalid) {
		t.Errorf("a space opened as an instance: %v", err)
	}
}

func bytesOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is refused stays as it is, byte for byte.
func TestRefusedFilesAreNotChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE t (x); INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := bytesOf(t, path)
	if err := Apply(context.Background(), path, Space); !errors.Is(err, errs.Invalid) {
		t.Fatal(err)
	}
	if bytesOf(t, path) != before {
		t.Error("another program's file was changed")
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 1 {
		t.Errorf("left beside it: %v, %v", left, err)
	}
}

// A program that was killed while it made a file goes on when it starts again.
func TestMakingGoesOnAfterAKill(t *testing.T) {
	for name, undo := range map[string]string{
		"before the first table": `DROP TABLE goose_db_version; PRAGMA user_version = 0`,
		"before the version":     `PRAGMA user_version = 0`,
	} {
		path := filepath.Join(t.TempDir(), "space.db")
		if name == "before the version" {
			if err := Apply(context.Background(), path, Space); err != nil {
				t.Fatal(err)
			}
		} else {
			db := openFile(t, path)
			if _, err := db.Exec(`CREATE TABLE goose_db_version (x); PRAGMA application_id = ` + strconv.Itoa(Space.id)); err != nil {
				t.Fatal(err)
			}
			db.Close()
		}
		db := openFile(t, path)
		if _, err := db.Exec(undo); err != nil {
			t.Fatal(err)
		}
		db.Close()
		if err := Apply(context.Background(), path, Space); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, err := Version(Space)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := look(context.Background(), path, Space); err != nil || have != want {
			t.Errorf("%s: schema %d, %v", name, have, err)
		}
	}
}

func TestCopyBeforeMigrating(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "space.db")
	if err := Apply(ctx, path, Space); err != nil {
		t.Fatal(err)
	}
	db := openFile(t, path)
	count := func(path string) (n int) {
		t.Helper()
		c := openFile(t, path)
		defer c.Close()
		if err := c.QueryRow(`SELECT count(*) FROM secret`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const add = `INSERT INTO secret (sealed, created_at) VALUES (x'00', '2026-01-01T00:00:00.000Z')`
	have, err := Version(Space)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		sql  string
		want int
	}{
		{"the first time", add, 1},
		{"the file was restored, used and is migrated again", add, 2},
		{"a run was cut short in the middle", add + `; INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`, 2},
	} {
		if _, err := db.Exec(c.sql); err != nil {
			t.Fatal(err)
		}
		if err := keepCopy(ctx, db, path, have); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		kept := path + ".before-" + strconv.Itoa(have)
		if got := count(kept); got != c.want {
			t.Errorf("%s: the copy has %d rows, want %d", c.name, got, c.want)
		}
		if err := Apply(ctx, kept, Space); err != nil {
			t.Errorf("%s: the copy is no file of ours: %v", c.name, err)
		}
	}
}

// Budget: at most 1 ms for a file that is up to date (performance.md: opening a
// space answers within +5 ms).
func BenchmarkApplyNothingToDo(b *testing.B) {
	path := filepath.Join(b.TempDir(), "space.db")
	if err := Apply(context.Background(), path, Space); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Apply(context.Background(), path, Space); err != nil {
			b.Fatal(err)
		}
	}
}
