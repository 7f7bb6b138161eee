package spaces_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/variables"
)

const sealedValues = 700 // some batches

// vault is a space with many secrets, an invitation and an identity.
func vault(t *testing.T, cfg spaces.Config) (*spaces.Registry, *spaces.Space, spaces.Ref) {
	t.Helper()
	ctx := context.Background()
	cfg.Root, cfg.Logger = filepath.Join(t.TempDir(), "spaces"), slog.New(slog.DiscardHandler)
	r, err := spaces.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := r.Create(ctx, "Payments", "payments")
	if err != nil {
		t.Fatal(err)
	}
	ref := spaces.Ref{ID: "Spaces-1", Folder: folder, Name: "Payments", Slug: "payments"}
	s, err := r.Acquire(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	err = spaces.Do(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) error {
		p, err := tx.CreateProject(spaces.ProjectInput{Name: "Shop"})
		if err != nil {
			return err
		}
		var set variables.Set
		for i := range sealedValues {
			value := fmt.Sprint("canary-", i+1)
			set.Variables = append(set.Variables, variables.Variable{Name: fmt.Sprint("V", i), Value: &value, IsSensitive: true})
		}
		if _, err := tx.SaveVariables(p.ID, 0, set); err != nil {
			return err
		}
		if err := tx.SetIdentity([]byte("private")); err != nil {
			return err
		}
		return tx.CreateInvite("invite-1", []byte("proof"), "Prod", "source", false, tx.Now.Add(time.Hour))
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, s, ref
}

// opens fails unless all values of the vault open.
func opens(t *testing.T, s *spaces.Space) {
	t.Helper()
	_, err := spaces.View(context.Background(), s, spaces.Server(), func(tx *spaces.ReadTx) (struct{}, error) {
		for i := range sealedValues {
			if v, err := tx.OpenSecret(int64(i + 1)); err != nil || v != fmt.Sprint("canary-", i+1) {
				return struct{}{}, fmt.Errorf("secret %d is %q: %w", i+1, v, err)
			}
		}
		if id, err := tx.Identity(); err != nil || string(id) != "private" {
			return struct{}{}, fmt.Errorf("identity %q: %w", id, err)
		}
		if x, err := tx.Invite("invite-1"); err != nil || string(x.Secret) != "proof" {
			return struct{}{}, fmt.Errorf("invitation %q: %w", x.Secret, err)
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// sealed are the bytes of all sealed values in the file.
func sealed(t *testing.T, r *spaces.Registry, ref spaces.Ref) [][]byte {
	t.Helper()
	db, err := migrations.Open(filepath.Join(r.Dir(ref.Folder), spaces.FileName), true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT sealed FROM secret UNION ALL SELECT secret FROM zone_invite UNION ALL SELECT identity FROM space_meta UNION ALL SELECT wrapped_key FROM space_meta`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all [][]byte
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func keyState(t *testing.T, s *spaces.Space) spaces.KeyState {
	t.Helper()
	k, err := spaces.View(context.Background(), s, spaces.Server(), (*spaces.ReadTx).KeyState)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func closed(t *testing.T, r *spaces.Registry, s *spaces.Space) {
	t.Helper()
	s.Release()
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// Every value is sealed anew, the salts of commitments stay, and a space that another
// process has open goes on with the new key.
func TestRotateKey(t *testing.T) {
	ctx, master := context.Background(), secrets.Master{Key: secrets.NewKey()}
	r, s, ref := vault(t, spaces.Config{Master: master})
	defer func() { closed(t, r, s) }()
	beside, err := spaces.NewRegistry(spaces.Config{Root: filepath.Dir(r.Dir(ref.Folder)), Master: master, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := beside.Acquire(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { closed(t, beside, elsewhere) }()
	salt := func(s *spaces.Space) []byte {
		b, _ := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]byte, error) { return tx.Salt("01J", "x"), nil })
		return b
	}
	before, salted := sealed(t, r, ref), salt(s)
	for generation := int64(2); generation < 4; generation++ {
		if err := s.RotateKey(ctx, spacetest.Manager()); err != nil {
			t.Fatal(err)
		}
		if k := keyState(t, s); k.Version != generation || k.Rotating || k.MadeAt == "" || k.MasterID != master.ID() {
			t.Errorf("%+v", k)
		}
		now := sealed(t, r, ref)
		for i := range now {
			if bytes.Equal(now[i], before[i]) {
				t.Fatalf("value %d of %d is what it was", i, len(now))
			}
		}
		before = now
		opens(t, s)
		opens(t, elsewhere)
		if !bytes.Equal(salt(s), salted) || !bytes.Equal(salt(elsewhere), salted) {
			t.Error("the salts are others")
		}
	}
	// What the other process writes now opens here.
	value := "from elsewhere"
	err = spaces.Do(ctx, elsewhere, spacetest.Manager(), func(tx *spaces.Tx) error {
		p, err := tx.CreateProject(spaces.ProjectInput{Name: "Late"})
		if err != nil {
			return err
		}
		_, err = tx.SaveVariables(p.ID, 0, variables.Set{Variables: []variables.Variable{{Name: "Late", Value: &value, IsSensitive: true}}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	late, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (string, error) { return tx.OpenSecret(sealedValues + 1) })
	if err != nil || late != value {
		t.Errorf("%q, %v", late, err)
	}
}

// A rotation that ends anywhere goes on when the space is opened again, and values can be
// read and written meanwhile.
func TestRotationIsInterrupted(t *testing.T) {
	master := secrets.Master{Key: secrets.NewKey()}
	for _, after := range []int{1, 2, 3, 4, 5} {
		ctx, cancel := context.WithCancel(context.Background())
		commits := -1
		r, s, ref := vault(t, spaces.Config{Master: master, Committed: func(*spaces.Space) {
			if commits >= 0 {
				if commits++; commits == after {
					cancel()
				}
			}
		}})
		before := sealed(t, r, ref)
		commits = 0
		if err := s.RotateKey(ctx, spacetest.Manager()); !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d commits: %v", after, err)
		}
		if !keyState(t, s).Rotating {
			t.Errorf("after %d commits nothing is left to do", after)
		}
		opens(t, s)
		closed(t, r, s)
		again, err := spaces.NewRegistry(spaces.Config{Root: filepath.Dir(r.Dir(ref.Folder)), Master: master, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s, err = again.Acquire(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if k := keyState(t, s); k.Rotating || k.Version != 2 {
			t.Errorf("after %d commits and a start: %+v", after, k)
		}
		opens(t, s)
		for i, b := range sealed(t, again, ref) {
			if bytes.Equal(b, before[i]) {
				t.Fatalf("after %d commits and a start value %d is what it was", after, i)
			}
		}
		closed(t, again, s)
	}
}

// The keys of a space are wrapped with another master key, also while its own is exchanged;
// then the master key before opens nothing there.
func TestRewrap(t *testing.T) {
	ctx, old, next := context.Background(), secrets.Master{Key: secrets.NewKey()}, secrets.Master{Key: secrets.NewKey()}
	masters := secrets.NewMasters(old)
	r, s, ref := vault(t, spaces.Config{Masters: masters})
	if err := s.RotateKey(ctx, spacetest.Manager()); err != nil {
		t.Fatal(err)
	}
	masters.Use(next)
	for range 2 {
		if err := s.Rewrap(ctx); err != nil {
			t.Fatal(err)
		}
	}
	opens(t, s)
	if k := keyState(t, s); k.MasterID != next.ID() {
		t.Errorf("%+v", k)
	}
	if err := s.RotateKey(ctx, spacetest.Manager()); err != nil {
		t.Fatal(err)
	}
	opens(t, s)
	closed(t, r, s)
	for m, kind := range map[secrets.Master]errs.Kind{old: errs.Blocked, next: ""} {
		r, err := spaces.NewRegistry(spaces.Config{Root: filepath.Dir(r.Dir(ref.Folder)), Master: m, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Acquire(ctx, ref)
		if kind != "" {
			if !errors.Is(err, kind) {
				t.Errorf("with the master key before: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		opens(t, s)
		closed(t, r, s)
	}
}

// Without the master key a space loses what it alone opens, says what that was, and keeps
// the rest.
func TestForgetSecrets(t *testing.T) {
	ctx, old, next := context.Background(), secrets.Master{Key: secrets.NewKey()}, secrets.Master{Key: secrets.NewKey()}
	r, s, ref := vault(t, spaces.Config{Master: old})
	err := spaces.Do(ctx, s, spacetest.Manager(), func(tx *spaces.Tx) error {
		if _, err := tx.CreateLink(spaces.LinkInput{LocalName: "Prod", PeerSpace: "01J00000000000000000000000", Card: []byte("card"), Mode: spaces.ModeByHand, State: spaces.LinkActive}); err != nil {
			return err
		}
		_, err := tx.QueueHealthCheck(0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, r, s)
	cfg := spaces.Config{Root: filepath.Dir(r.Dir(ref.Folder)), Master: next, Logger: slog.New(slog.DiscardHandler)}
	if r, err = spaces.NewRegistry(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Acquire(ctx, ref); !errors.Is(err, errs.Blocked) {
		t.Errorf("opened with another master key: %v", err)
	}
	lost, err := r.ForgetSecrets(ctx, ref)
	if err != nil || len(lost.Values) != sealedValues || lost.Values[0] != "V0 in the variables of Shop" || fmt.Sprint(lost.Links) != "[Prod]" || lost.Tasks != 1 {
		t.Errorf("%d values, %v, %d tasks: %v", len(lost.Values), lost.Links, lost.Tasks, err)
	}
	if lost, err := r.ForgetSecrets(ctx, ref); err != nil || len(lost.Values)+len(lost.Links)+lost.Tasks != 0 {
		t.Errorf("the second time: %d values, %v, %v", len(lost.Values), lost.Links, err)
	}
	if s, err = r.Acquire(ctx, ref); err != nil {
		t.Fatal(err)
	}
	defer closed(t, r, s)
	_, err = spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (struct{}, error) {
		if _, err := tx.OpenSecret(1); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "lost with the master key") {
			t.Errorf("a lost value: %v", err)
		}
		if id, err := tx.Identity(); err != nil || id != nil {
			t.Errorf("identity %q, %v", id, err)
		}
		l, err := tx.LinkBy("Prod")
		if err != nil || l.State != spaces.LinkRevoked {
			t.Errorf("the link is %s, %v", l.State, err)
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Error(err)
	}
}
