package spaces_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/spaces/spacetest"
)

// aged is a space whose clock a test moves.
type aged struct {
	t      testing.TB
	r      *spaces.Registry
	ref    spaces.Ref
	now    time.Time
	s      *spaces.Space
	marks  *board
	reader *spaces.EventReader // the collector of the audit
}

func newAged(t testing.TB) *aged {
	a := &aged{t: t, now: time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC), marks: &board{marks: map[string]bool{}}}
	var err error
	a.r, err = spaces.NewRegistry(spaces.Config{Root: filepath.Join(t.TempDir(), "spaces"), Master: secrets.Master{Key: secrets.NewKey()}, Now: func() time.Time { return a.now }, Logger: slog.New(slog.DiscardHandler), Marks: a.marks,
		Audited: func() (spaces.EventReader, bool) {
			if a.reader == nil {
				return spaces.EventReader{}, false
			}
			return *a.reader, true
		}})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := a.r.Create(ctx, "One", "one")
	if err != nil {
		t.Fatal(err)
	}
	a.ref = spaces.Ref{ID: "Spaces-1", Folder: folder, Name: "One", Slug: "one"}
	a.open()
	t.Cleanup(func() {
		a.s.Release()
		if err := a.r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a
}

func (a *aged) open() {
	a.t.Helper()
	var err error
	if a.s, err = a.r.Acquire(ctx, a.ref); err != nil {
		a.t.Fatal(err)
	}
}

// events records some, in transactions of many.
func (a *aged) events(n int) {
	a.t.Helper()
	err := spaces.Do(ctx, a.s, spaces.Server(), func(tx *spaces.Tx) error {
		for i := range n {
			tx.Record(spaces.Event{Category: "Created", Entity: "thing", EntityID: fmt.Sprint(i), Message: fmt.Sprintf("Thing %d of %s", i, a.now.Format(time.DateOnly))})
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *aged) archive(before time.Time) int64 {
	a.t.Helper()
	n, err := a.s.ArchiveEvents(ctx, before)
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// kept are the ids of all events, in files and in the ledger; it fails when one is in both
// or out of order, and when a file is not what the space says of it.
func kept(t testing.TB, s *spaces.Space) (files, ledger []string) {
	t.Helper()
	all := must(t, s, func(tx *spaces.Tx) ([]audit.Archive, error) { return tx.Archives() })
	slices.Reverse(all)
	for _, a := range all {
		b, err := os.ReadFile(filepath.Join(s.AuditDir(), audit.FileName(a.Day)))
		sum := sha256.Sum256(b)
		if err != nil || hex.EncodeToString(sum[:]) != a.SHA256 || int64(len(b)) != a.Size {
			t.Errorf("the file of %s: %v, %d bytes of %d", a.Day, err, len(b), a.Size)
		}
		lines := bufio.NewScanner(bytes.NewReader(b))
		for lines.Scan() {
			var x audit.Line
			if err := json.Unmarshal(lines.Bytes(), &x); err != nil || x.Occurred.Format(time.DateOnly) != a.Day {
				t.Fatalf("%s has %s, %v", a.Day, lines.Bytes(), err)
			}
			files = append(files, x.ID)
		}
	}
	db, err := sql.Open("sqlite", migrations.DSN(filepath.Join(s.Dir(), spaces.FileName), true))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT 'Events-' || id FROM event ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ledger = append(ledger, id)
	}
	return files, ledger
}

func numbered(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("Events-%d", i))
	}
	return out
}

func TestArchive(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	_, first := kept(t, a.s)
	began := len(first)
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for _, n := range []int{2, 2, 4, 5} {
		a.now = day(n).Add(8 * time.Hour)
		a.events(3)
	}
	if n := a.archive(day(1)); n != 0 {
		t.Errorf("%d events before there were some", n)
	}
	a.now = day(40)
	if n := a.archive(day(5)); n != int64(began+9) {
		t.Errorf("%d events were archived", n)
	}
	files, ledger := kept(t, a.s)
	if !slices.Equal(files, numbered(1, began+9)) || !slices.Equal(ledger, numbered(began+10, began+12)) {
		t.Errorf("files have %v, the ledger %v", files, ledger)
	}
	if !a.marks.marks[spaces.ArchiveMark("2026-01-05")] || a.marks.marks[spaces.ArchiveMark("2026-01-01")] {
		t.Errorf("the marks are %v", a.marks.marks)
	}
	// The clock went back to a day that is archived: its file grows.
	a.now = day(2).Add(9 * time.Hour)
	a.events(2)
	a.now = day(41)
	a.archive(day(6))
	files, ledger = kept(t, a.s)
	slices.Sort(files)
	want := numbered(1, began+14)
	slices.Sort(want)
	if !slices.Equal(files, want) || len(ledger) != 0 {
		t.Errorf("files have %v, the ledger %v", files, ledger)
	}
	if slices.ContainsFunc(slices.Collect(func(yield func(string) bool) {
		for m := range a.marks.marks {
			if !yield(m) {
				return
			}
		}
	}), func(m string) bool { return strings.HasPrefix(m, spaces.ArchiveMark("")) }) {
		t.Errorf("an empty ledger has the marks %v", a.marks.marks)
	}
	// A file goes after 30 days, and the audit says who removed it.
	remove := func(actor spaces.Actor, day string) error {
		return spaces.Do(ctx, a.s, actor, func(tx *spaces.Tx) error { return tx.DeleteArchive(day) })
	}
	if err := remove(spacetest.Manager(), "2026-01-04"); !errors.Is(err, errs.Blocked) {
		t.Errorf("a young archive: %v", err)
	}
	a.now = day(40).Add(spaces.MinArchiveAge)
	limited := spaces.Actor{ID: "Users-2", Permissions: access.NewSet(access.Grant{Permissions: access.SpacePermissions(), Projects: []string{"Projects-1"}})}
	if err := remove(limited, "2026-01-04"); !errors.Is(err, errs.Denied) {
		t.Errorf("by somebody who sees a project: %v", err)
	}
	if _, err := spaces.View(ctx, a.s, limited, func(tx *spaces.ReadTx) ([]audit.Archive, error) { return tx.Archives() }); !errors.Is(err, errs.Denied) {
		t.Errorf("a list for somebody who sees a project: %v", err)
	}
	if err := remove(spacetest.Manager(), "2026-01-04"); err != nil {
		t.Fatal(err)
	}
	if err := remove(spacetest.Manager(), "2026-01-02"); !errors.Is(err, errs.Blocked) {
		t.Errorf("an archive that grew later: %v", err)
	}
	if _, err := os.Stat(filepath.Join(a.s.AuditDir(), "events-2026-01-04.jsonl")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	newest := must(t, a.s, func(tx *spaces.Tx) ([]spaces.Event, error) { return tx.Events(spaces.EventFilter{Category: "Deleted"}) })
	if len(newest) != 1 || newest[0].ActorName != "ada" || !strings.Contains(newest[0].Message, "2026-01-04 was deleted: 3 events") {
		t.Errorf("%+v", newest)
	}
}

// What the collector has not got stays in the ledger, however old.
func TestArchiveWaitsForTheCollector(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	_, first := kept(t, a.s)
	a.now = a.now.AddDate(0, 0, 1)
	a.reader = &spaces.EventReader{Name: "collector/x", Since: a.now}
	a.events(6)
	a.now = a.now.AddDate(1, 0, 0)
	a.archive(a.now)
	if files, ledger := kept(t, a.s); len(files) != len(first) || len(ledger) != 6 {
		t.Errorf("before it reads: %d in files, %d in the ledger", len(files), len(ledger))
	}
	err := spaces.Do(ctx, a.s, spaces.Server(), func(tx *spaces.Tx) error {
		all, err := tx.EventsFor(*a.reader, 4)
		if err != nil || len(all) != 4 {
			return fmt.Errorf("%d events: %w", len(all), err)
		}
		return tx.EventsRead(*a.reader, all[3].ID)
	})
	if err != nil {
		t.Fatal(err)
	}
	a.archive(a.now)
	if files, ledger := kept(t, a.s); len(files) != len(first)+4 || len(ledger) != 2 {
		t.Errorf("after a part: %d in files, %d in the ledger", len(files), len(ledger))
	}
	a.reader = nil
	a.archive(a.now)
	if files, ledger := kept(t, a.s); len(files) != len(first)+6 || len(ledger) != 0 {
		t.Errorf("without a collector: %d in files, %d in the ledger", len(files), len(ledger))
	}
}

// The ledger lets nothing go but what is below the horizon, and the horizon only rises to
// the end of an archive, whatever SQL is tried.
func TestLedgerLetsNothingGo(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	a.now = a.now.AddDate(0, 0, 1)
	a.events(3)
	a.archive(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	db, err := migrations.Open(filepath.Join(a.s.Dir(), spaces.FileName), false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{
		`DELETE FROM event`, `UPDATE event SET message = 'x'`,
		`INSERT OR REPLACE INTO event (id, at, actor_id, actor_name, via, address, category, entity, entity_id, message) SELECT id, at, 'Users-1', 'x', '', '', '', '', '', '' FROM event`,
		`UPDATE event_horizon SET through = 9999`, `UPDATE event_horizon SET through = 0`, `DELETE FROM event_horizon`, `INSERT OR REPLACE INTO event_horizon (id, through) VALUES (1, 9999)`,
	} {
		if _, err := db.Exec(q); err == nil {
			t.Errorf("%s went through", q)
		}
	}
	if _, ledger := kept(t, a.s); len(ledger) != 3 {
		t.Errorf("the ledger has %v", ledger)
	}
}

// archiveOf makes this test binary a process that archives a space and is killed.
const archiveOf = "ARCHIVE_OF"

func TestMain(m *testing.M) {
	if root := os.Getenv(archiveOf); root != "" {
		if err := archiveUntilKilled(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func killedConfig(root string, master secrets.Master) spaces.Config {
	return spaces.Config{Root: filepath.Join(root, "spaces"), Master: master, Logger: slog.New(slog.DiscardHandler)}
}

func archiveUntilKilled(root string) error {
	master, err := secrets.LoadMaster(filepath.Join(root, "master.key"), false)
	if err != nil {
		return err
	}
	r, err := spaces.NewRegistry(killedConfig(root, master))
	if err != nil {
		return err
	}
	folders, err := filepath.Glob(filepath.Join(root, "spaces", "*"))
	if err != nil || len(folders) != 1 {
		return fmt.Errorf("%q, %w", folders, err)
	}
	s, err := r.Acquire(ctx, spaces.Ref{ID: "Spaces-1", Folder: filepath.Base(folders[0]), Name: "One", Slug: "one"})
	if err != nil {
		return err
	}
	fmt.Println("begun")
	_, err = s.ArchiveEvents(ctx, time.Now().UTC().Truncate(24*time.Hour))
	fmt.Println("done")
	return err
}

// A process that archives is killed again and again, wherever it is: between a file and the
// deletion of what is in it, too. In the end each event is in exactly one place.
func TestArchiveIsKilled(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	master, err := secrets.LoadMaster(filepath.Join(root, "master.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	cfg := killedConfig(root, master)
	cfg.Now = func() time.Time { return now }
	r, err := spaces.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := r.Create(ctx, "One", "one")
	if err != nil {
		t.Fatal(err)
	}
	ref := spaces.Ref{ID: "Spaces-1", Folder: folder, Name: "One", Slug: "one"}
	s, err := r.Acquire(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	a := &aged{t: t, s: s}
	for range 8 {
		now = now.AddDate(0, 0, 1)
		a.now = now
		a.events(3000)
	}
	_, before := kept(t, s)
	s.Release()
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	kills, done := 0, false
	for !done && kills < 60 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), archiveOf+"="+root)
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "begun" {
			t.Fatalf("it says %q", lines.Text())
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		c.Process.Kill()
		done = lines.Scan() && lines.Text() == "done"
		c.Wait()
		kills++
	}
	if r, err = spaces.NewRegistry(cfg); err != nil {
		t.Fatal(err)
	}
	defer r.Close(context.Background())
	if s, err = r.Acquire(ctx, ref); err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if _, err := s.ArchiveEvents(ctx, now.AddDate(0, 0, 1).Truncate(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	files, ledger := kept(t, s)
	if !slices.Equal(files, before) || len(ledger) != 0 {
		t.Errorf("of %d events %d are in files and %d in the ledger", len(before), len(files), len(ledger))
	}
	t.Logf("killed %d times", kills)
}
