package instance_test

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/secrets"
)

const password = "correct horse battery"

// clock is moved by tests; nobody sleeps.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Move(d time.Duration) {
	c.mu.Lock()
	c.at = c.at.Add(d)
	c.mu.Unlock()
}

// open makes a server's file in a temporary folder.
func open(t testing.TB) (*instance.Instance, *clock) {
	t.Helper()
	c := &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	i, err := instance.Open(context.Background(), filepath.Join(t.TempDir(), "instance.db"), secrets.NewMasters(secrets.Master{Key: secrets.NewKey()}), instance.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i, c
}

// user makes a person with the password of these tests.
func user(t testing.TB, i *instance.Instance, name string) instance.User {
	t.Helper()
	u, err := i.CreateUser(context.Background(), instance.System(), instance.UserInput{Username: name, Password: password, IsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// as is a person who acts, with what that person may do in the system.
func as(t testing.TB, i *instance.Instance, u instance.User) instance.Actor {
	t.Helper()
	p, err := i.SystemPermissions(context.Background(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	return instance.Actor{ID: u.APIID(), Name: u.Username, Via: "session", Permissions: p}
}

// folder makes none; names of folders are unique, as real ones are.
func folder(_, slug string) (string, error) { return slug + "-" + rand.Text()[:8], nil }
