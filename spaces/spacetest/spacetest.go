// Package spacetest gives tests a real space in a temporary folder.
package spacetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/secrets"
)

// New returns an open, initialised space that is closed with the test.
func New(t testing.TB) *spaces.Space {
	t.Helper()
	_, s := Open(t, t.TempDir(), secrets.Master{Key: secrets.NewKey()}, "Test")
	return s
}

// Open creates a space with a name in a folder of spaces, and returns its registry
// as well.
func Open(t testing.TB, root string, master secrets.Master, name string) (*spaces.Registry, *spaces.Space) {
	t.Helper()
	ctx := context.Background()
	r, err := spaces.NewRegistry(spaces.Config{Root: filepath.Join(root, "spaces"), Master: master, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := r.Create(ctx, name, "test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Acquire(ctx, spaces.Ref{ID: "Spaces-1", Folder: folder, Name: name, Slug: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Release()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := spaces.Initialise(ctx, s); err != nil {
		t.Fatal(err)
	}
	return r, s
}

// Manager may do everything in the space.
func Manager() spaces.Actor {
	return spaces.Actor{ID: "Users-1", Name: "ada", Via: "session", Permissions: access.NewSet(access.Grant{Permissions: access.SpacePermissions()})}
}

// With may do only what is named.
func With(permissions ...access.Permission) spaces.Actor {
	return spaces.Actor{ID: "Users-2", Name: "bob", Via: "session", Permissions: access.NewSet(access.Grant{Permissions: permissions})}
}
