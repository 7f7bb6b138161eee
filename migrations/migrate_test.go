package migrations

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
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

func open(t *testing.T, path string) *sql.DB {
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
	db := open(t, path)
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
	db := open(t, other)
	db.Exec(`CREATE TABLE t (x)`)
	db.Close()
	if err := Apply(ctx, other, Space); !errors.Is(err, errs.Invalid) {
		t.Errorf("another program's file: %v", err)
	}

	newer := filepath.Join(dir, "newer.db")
	if err := Apply(ctx, newer, Space); err != nil {
		t.Fatal(err)
	}
	db = open(t, newer)
	db.Exec(`PRAGMA user_version = 99999`)
	db.Close()
	if err := Apply(ctx, newer, Space); !errors.Is(err, errs.Blocked) {
		t.Errorf("a newer file: %v", err)
	}
	if err := Apply(ctx, newer, Instance); !errors.Is(err, errs.Invalid) {
		t.Errorf("a space opened as an instance: %v", err)
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
