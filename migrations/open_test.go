package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// numbers is a file with a table of the numbers 1 to 200, open twice.
func numbers(t testing.TB) (write, read *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "space.db")
	if err := Apply(t.Context(), path, Space); err != nil {
		t.Fatal(err)
	}
	write, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	read, err = Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := errors.Join(read.Close(), write.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, q := range []string{
		`CREATE TABLE n (id INTEGER PRIMARY KEY, of INTEGER REFERENCES n (id) DEFERRABLE INITIALLY DEFERRED)`,
		`WITH RECURSIVE s (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM s WHERE v < 200) INSERT INTO n (id) SELECT v FROM s`,
	} {
		if _, err := write.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	return write, read
}

func count(t *testing.T, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string, args ...any) (n int) {
	t.Helper()
	if err := q.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenKeepsStatements(t *testing.T) {
	t.Parallel()
	write, read := numbers(t)
	const all = `SELECT count(*) FROM n WHERE id <= ?`

	t.Run("a statement inside its own rows", func(t *testing.T) {
		tx, err := read.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		const query = `SELECT id FROM n WHERE id <= ? ORDER BY id`
		outer, err := tx.QueryContext(t.Context(), query, 3)
		if err != nil {
			t.Fatal(err)
		}
		defer outer.Close()
		got := ""
		for outer.Next() {
			var id int
			if err := outer.Scan(&id); err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprint(id, ":", count(t, tx, `SELECT count(*) FROM (`+query+`)`, id), count(t, tx, query, 2), " ")
		}
		if err := outer.Err(); err != nil || got != "1:1 1 2:2 1 3:3 1 " {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("more statements than are kept", func(t *testing.T) {
		for range 2 {
			for n := range 200 {
				if got := count(t, read, fmt.Sprintf(`SELECT count(*) FROM n WHERE id <= %d`, n)); got != n {
					t.Fatalf("%d instead of %d", got, n)
				}
			}
		}
	})
	t.Run("a kept statement keeps no old picture", func(t *testing.T) {
		if got := count(t, read, all, 1000); got != 200 {
			t.Fatal(got)
		}
		rows, err := read.QueryContext(t.Context(), `SELECT id FROM n ORDER BY id`) // left in the middle
		if err != nil || !rows.Next() {
			t.Fatal(err)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := write.ExecContext(t.Context(), `INSERT INTO n (id) VALUES (201)`); err != nil {
			t.Fatal(err)
		}
		if got := count(t, read, all, 1000); got != 201 {
			t.Error(got)
		}
		var busy, log, done int
		if err := write.QueryRowContext(t.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &log, &done); err != nil || busy != 0 {
			t.Errorf("checkpoint: busy %d, %v", busy, err)
		}
	})
	t.Run("a column that appears", func(t *testing.T) {
		const query = `SELECT * FROM n WHERE id = ?`
		for want, change := range []string{`SELECT 1`, `ALTER TABLE n ADD COLUMN more TEXT`} {
			if _, err := write.ExecContext(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			rows, err := read.QueryContext(t.Context(), query, 7)
			if err != nil {
				t.Fatal(err)
			}
			columns, err := rows.Columns()
			if err := errors.Join(err, rows.Close()); err != nil || len(columns) != 2+want {
				t.Errorf("%v, %v", columns, err)
			}
		}
	})
}

func TestOpenEndsTransactions(t *testing.T) {
	t.Parallel()
	write, _ := numbers(t)
	const insert = `INSERT INTO n (id, of) VALUES (?, ?)`
	add := func(ctx context.Context, id, of int) error {
		tx, err := write.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, insert, id, of); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := add(t.Context(), 300, 299); err == nil {
		t.Error("a commit that breaks a reference succeeded")
	}
	if err := add(t.Context(), 1, 1); err == nil {
		t.Error("the same key went in twice")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := add(ctx, 301, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
	if err := add(t.Context(), 302, 1); err != nil {
		t.Errorf("the connection did not recover: %v", err)
	}
	if got := count(t, write, `SELECT count(*) FROM n WHERE id >= 300`); got != 1 {
		t.Errorf("%d rows instead of one", got)
	}
}

// BenchmarkOpen is a small query on an open file. Budget: at most half of what the same
// query costs when it is prepared each time.
func BenchmarkOpen(b *testing.B) {
	_, kept := numbers(b)
	path := ""
	if err := kept.QueryRow(`SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		b.Fatal(err)
	}
	plain, err := sql.Open("sqlite", DSN(path, true))
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	for name, db := range map[string]*sql.DB{"kept": kept, "prepared-each-time": plain} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var id int
				if err := db.QueryRow(`SELECT a.id FROM n a JOIN n b ON b.id = a.id + 1 WHERE a.id = ? ORDER BY a.id LIMIT 1`, 17).Scan(&id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What was committed is on the disk before anybody is told: a message that is acknowledged
// outlives a power cut.
func TestCommitsAreDurable(t *testing.T) {
	write, _ := numbers(t)
	var synchronous int
	var journal string
	if err := errors.Join(write.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&synchronous), write.QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&journal)); err != nil {
		t.Fatal(err)
	}
	if synchronous != 2 || journal != "wal" { // FULL: in WAL the one that syncs at each commit
		t.Errorf("synchronous is %d, the journal %s", synchronous, journal)
	}
}
