package spaces_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/variables"
)

// filled is a space with a package, a secret, and a task that is not finished.
func filled(t *testing.T, master secrets.Master) *spaces.Space {
	t.Helper()
	ctx := context.Background()
	_, s := spacetest.Open(t, t.TempDir(), master, "Payments")
	blob, err := s.Packages().Put(ctx, strings.NewReader("the package"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	err = spaces.Do(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) error {
		if _, _, err := tx.AddPackage("Shop", "1.0.0", ".zip", blob, spaces.FailIfExists); err != nil {
			return err
		}
		p, err := tx.CreateProject(spaces.ProjectInput{Name: "Shop"})
		if err != nil {
			return err
		}
		secret := "canary-4711"
		if _, err = tx.SaveVariables(p.ID, 0, variables.Set{Variables: []variables.Variable{{Name: "Password", Value: &secret, IsSensitive: true}}}); err != nil {
			return err
		}
		_, err = tx.CreateSubscription(spaces.SubscriptionInput{Name: "Hook", SubscriptionBody: spaces.SubscriptionBody{WebhookURI: "https://hooks.example.com"}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.ArchiveEvents(ctx, time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if err := os.WriteFile(filepath.Join(s.LogDir(), "ServerTasks-1.log"), []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := spaces.Do(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) error {
		_, err := tx.QueueHealthCheck(0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func emptyServer(t *testing.T, master secrets.Master) *spaces.Registry {
	t.Helper()
	r, err := spaces.NewRegistry(spaces.Config{Root: filepath.Join(t.TempDir(), "spaces"), Master: master, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func folders(t *testing.T, r *spaces.Registry) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(r.Dir("x")))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// A space that is backed up while it is worked in lives on another server, with its
// secrets, and runs nothing again.
func TestBackupAndANewLife(t *testing.T) {
	ctx := context.Background()
	old, other := secrets.Master{Key: secrets.NewKey()}, secrets.Master{Key: secrets.NewKey()}
	s := filled(t, old)
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := spaces.Do(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) error {
				_, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "E" + strings.Repeat("x", n%40) + string(rune('a'+n%26)) + spaces.NewULID(tx.Now)[20:]})
				return err
			}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	dir := filepath.Join(t.TempDir(), "backup")
	m, err := s.Backup(ctx, dir)
	close(stop)
	work.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if m.Space != s.ULID() || m.MasterKey != old.ID() || len(m.Files) != 4 {
		t.Errorf("%+v", m)
	}
	if _, err := s.Backup(ctx, dir); !errors.Is(err, errs.Exists) {
		t.Errorf("a backup over another one: %v", err)
	}
	if read, err := spaces.ReadBackup(ctx, dir); err != nil || read.Space != m.Space {
		t.Errorf("%+v, %v", read, err)
	}
	for _, f := range m.Files {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("canary-4711")) {
			t.Errorf("the secret lies open in %s", f.Path)
		}
	}

	r := emptyServer(t, other)
	if _, err := r.Adopt(ctx, dir, "payments", "Payments", other); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), old.ID()) {
		t.Errorf("adopted with another key: %v", err)
	}
	if got := folders(t, r); len(got) != 0 {
		t.Errorf("a refused one left %v", got)
	}
	folder, err := r.Adopt(ctx, dir, "payments", "Payments again", old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Adopt(ctx, dir, "second", "Second", old); !errors.Is(err, errs.Exists) {
		t.Errorf("one space lives twice: %v", err)
	}
	copied, err := r.Acquire(ctx, spaces.Ref{ID: "Spaces-1", Folder: folder, Name: "Payments again", Slug: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Release()
	if copied.ULID() != s.ULID() {
		t.Error("it is another space now")
	}
	type facts struct{ incarnation, secret, state string }
	read := func(s *spaces.Space) facts {
		t.Helper()
		f, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (f facts, err error) {
			if f.incarnation, err = tx.Incarnation(); err != nil {
				return f, err
			}
			if f.secret, err = tx.OpenSecret(1); err != nil { // the only one
				return f, err
			}
			task, err := tx.Task(1)
			f.state = string(task.State)
			return f, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	days, err := spaces.View(ctx, copied, spaces.Server(), (*spaces.ReadTx).Archives)
	if err != nil || len(days) != 1 {
		t.Fatalf("archived days: %+v, %v", days, err)
	}
	if b, err := os.ReadFile(filepath.Join(copied.AuditDir(), "events-"+days[0].Day+".jsonl")); err != nil || int64(len(b)) != days[0].Size {
		t.Errorf("the archive of %s has %d bytes, %v", days[0].Day, len(b), err)
	}
	hooks, err := spaces.View(ctx, copied, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Page[spaces.Subscription], error) { return tx.Subscriptions(spaces.All) })
	if err != nil || len(hooks.Items) != 1 || !hooks.Items[0].IsDisabled {
		t.Errorf("subscriptions: %+v, %v", hooks, err)
	}
	before, after := read(s), read(copied)
	if after.secret != "canary-4711" {
		t.Error("the secret does not open")
	}
	if before.incarnation == after.incarnation {
		t.Error("both lives sign as one")
	}
	if before.state != string(spaces.Queued) || after.state != string(spaces.TaskCanceled) {
		t.Errorf("the task is %s there and %s here", before.state, after.state)
	}
	file, err := copied.Packages().Open(m.Files[1].SHA256)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
}

// A backup of which a byte is wrong or missing is refused, and leaves nothing behind.
func TestDamagedBackups(t *testing.T) {
	ctx := context.Background()
	master := secrets.Master{Key: secrets.NewKey()}
	s := filled(t, master)
	dir := filepath.Join(t.TempDir(), "backup")
	m, err := s.Backup(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, bad := range map[string][]byte{"changed": append([]byte{good[0] ^ 1}, good[1:]...), "cut": good[:len(good)-1]} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := spaces.ReadBackup(ctx, dir); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), f.Path) {
				t.Errorf("%s %s: %v", f.Path, what, err)
			}
		}
		// Adopt has no manifest to go by, and still takes no package that is another.
		if strings.HasPrefix(f.Path, "packages/") {
			r := emptyServer(t, master)
			if _, err := r.Adopt(ctx, dir, "payments", "Payments", master); err == nil {
				t.Error("adopted with a damaged package")
			}
			if got := folders(t, r); len(got) != 0 {
				t.Errorf("a refused one left %v", got)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := spaces.ReadBackup(ctx, t.TempDir()); !errors.Is(err, errs.NotFound) {
		t.Errorf("an empty folder: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), bytes.Replace(text, []byte(`"space.db"`), []byte(`"../x"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := spaces.ReadBackup(ctx, dir); !errors.Is(err, errs.Invalid) {
		t.Errorf("a manifest that leads outside: %v", err)
	}
}

// The file of a deleted package is freed unless something else names its bytes.
func TestDeletedPackagesAreFreed(t *testing.T) {
	ctx := context.Background()
	s := filled(t, secrets.Master{Key: secrets.NewKey()})
	put := func(id string) spaces.Package {
		t.Helper()
		blob, err := s.Packages().Put(ctx, strings.NewReader("the package"), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		p, err := spaces.Update(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) (spaces.Package, error) {
			p, _, err := tx.AddPackage(id, "1.0.0", ".zip", blob, spaces.FailIfExists)
			return p, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	remove := func(p spaces.Package) {
		t.Helper()
		if err := spaces.Do(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) error { return tx.DeletePackage(p) }); err != nil {
			t.Fatal(err)
		}
	}
	twin := put("Twin")
	remove(twin)
	if !s.Packages().Has(twin.Digest) {
		t.Fatal("the file of another package is gone")
	}
	shop, err := spaces.View(ctx, s, spacetest.Manager(), func(tx *spaces.ReadTx) (spaces.Package, error) { return tx.Package("Shop", "1.0.0") })
	if err != nil {
		t.Fatal(err)
	}
	remove(shop)
	if s.Packages().Has(twin.Digest) {
		t.Error("the file of a deleted package stays")
	}
	put("Shop") // and can be pushed again
}
