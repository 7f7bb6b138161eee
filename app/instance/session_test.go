package instance_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

// A user called "Users-1" once signed in as the user with that id.
func TestUserNameIsNoID(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	user(t, i, "ada")
	for _, name := range []string{"Users-1", "users-2", "USERS-77"} {
		_, err := i.CreateUser(context.Background(), instance.System(), instance.UserInput{Username: name, Password: password})
		if !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := i.SignIn(context.Background(), "Users-1", password, "192.0.2.1", ""); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("an id signs in: %v", err)
	}
}

func TestSessionLife(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	u := user(t, i, "ada")
	token, _, err := i.SignIn(ctx, "ADA", password, "192.0.2.1", "Firefox")
	if err != nil {
		t.Fatal(err)
	}
	s, err := i.SessionByToken(ctx, token)
	if err != nil || s.User.ID != u.ID || s.UserAgent != "Firefox" {
		t.Fatalf("%+v, %v", s, err)
	}
	other, _, err := i.SignIn(ctx, "ada", password, "192.0.2.2", "curl")
	if err != nil {
		t.Fatal(err)
	}
	o, err := i.SessionByToken(ctx, other)
	if err != nil || !s.CheckCSRF(s.CSRF) || s.CheckCSRF(o.CSRF) || s.CheckCSRF("") {
		t.Errorf("the form token does not belong to one session: %v", err)
	}
	if (instance.Session{}).CheckCSRF("") {
		t.Error("no session accepts an empty form token")
	}

	// Use keeps a session alive, for thirty days in all.
	for range 29 {
		c.Move(24 * time.Hour)
		if _, err := i.SessionByToken(ctx, token); err != nil {
			t.Fatalf("a used session ended: %v", err)
		}
	}
	if _, err := i.SessionByToken(ctx, other); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("an unused session lives on: %v", err)
	}
	c.Move(25 * time.Hour)
	if _, err := i.SessionByToken(ctx, token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a session outlives thirty days: %v", err)
	}
}

// The operator may want sessions shorter, also those that are there already.
func TestSessionsAsTheOperatorWants(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	path, masters := filepath.Join(t.TempDir(), "instance.db"), secrets.NewMasters(secrets.Master{Key: secrets.NewKey()})
	with := func(o instance.Options) *instance.Instance {
		t.Helper()
		o.Now = c.Now
		i, err := instance.Open(ctx, path, masters, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = i.Close() })
		return i
	}
	i := with(instance.Options{})
	user(t, i, "ada")
	old, _, err := i.SignIn(ctx, "ada", password, "192.0.2.1", "")
	if err != nil {
		t.Fatal(err)
	}
	short := with(instance.Options{SessionIdle: 30 * time.Minute, SessionMax: 12 * time.Hour})
	used, _, err := short.SignIn(ctx, "ada", password, "192.0.2.1", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 28 { // every 25 minutes: 11 h 40 min
		c.Move(25 * time.Minute)
		if _, err := short.SessionByToken(ctx, used); err != nil {
			t.Fatalf("a used session ended: %v", err)
		}
	}
	if _, err := short.SessionByToken(ctx, old); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("one of before, not used for hours, lives on: %v", err)
	}
	c.Move(25 * time.Minute)
	if _, err := short.SessionByToken(ctx, used); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a session outlives twelve hours: %v", err)
	}
	idle, _, err := short.SignIn(ctx, "ada", password, "192.0.2.1", "")
	if err != nil {
		t.Fatal(err)
	}
	c.Move(34 * time.Minute)
	if _, err := short.SessionByToken(ctx, idle); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a session that was not used for 34 minutes lives on: %v", err)
	}
}

func TestWhatEndsSessions(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, c := range []struct {
		name string
		end  func(i *instance.Instance, s instance.Session) error
	}{
		{"signing out", func(i *instance.Instance, s instance.Session) error { return i.SignOut(ctx, s) }},
		{"revoking it", func(i *instance.Instance, s instance.Session) error {
			return i.RevokeSession(ctx, instance.Actor{ID: s.User.APIID()}, s.User, s.ID)
		}},
		{"a new password", func(i *instance.Instance, s instance.Session) error {
			return i.SetPassword(ctx, s.User.Username, "another long password")
		}},
		{"deactivation", func(i *instance.Instance, s instance.Session) error {
			_, err := i.UpdateUser(ctx, instance.System(), s.User.ID, instance.UserInput{Username: s.User.Username})
			return err
		}},
		{"deletion", func(i *instance.Instance, s instance.Session) error {
			return i.DeleteUser(ctx, instance.System(), s.User.ID)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			i, _ := open(t)
			user(t, i, "ada")
			token, u, err := i.SignIn(ctx, "ada", password, "192.0.2.1", "")
			if err != nil {
				t.Fatal(err)
			}
			s, err := i.SessionByToken(ctx, token)
			if err != nil {
				t.Fatal(err)
			}
			if l, err := i.Sessions(ctx, u); err != nil || len(l) != 1 || l[0].ID != s.ID || l[0].CSRF != "" {
				t.Errorf("listed: %+v, %v", l, err)
			}
			if err := c.end(i, s); err != nil {
				t.Fatal(err)
			}
			if _, err := i.SessionByToken(ctx, token); !errors.Is(err, errs.Unauthenticated) {
				t.Errorf("the session lives on: %v", err)
			}
		})
	}
}

func TestStrangerCannotEndSessions(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	user(t, i, "ada")
	bob := user(t, i, "bob")
	token, ada, err := i.SignIn(ctx, "ada", password, "192.0.2.1", "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := i.SessionByToken(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.RevokeSession(ctx, as(t, i, bob), ada, s.ID); !errors.Is(err, errs.Denied) {
		t.Errorf("as ada: %v", err)
	}
	if err := i.RevokeSession(ctx, as(t, i, bob), bob, s.ID); !errors.Is(err, errs.NotFound) {
		t.Errorf("as his own: %v", err)
	}
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	user(t, i, "ada")
	user(t, i, "bob")
	try := func(name, pw, address string) error {
		_, _, err := i.SignIn(ctx, name, pw, address, "")
		return err
	}
	for n := range 5 {
		if err := try("ada", "wrong", "198.51.100.1"); !errors.Is(err, errs.Unauthenticated) {
			t.Fatalf("attempt %d: %v", n, err)
		}
	}
	if err := try("Ada", password, "198.51.100.1"); !errors.Is(err, errs.Busy) {
		t.Errorf("the right password after five wrong ones: %v", err)
	}
	if err := try("ada", password, "192.0.2.1"); err != nil {
		t.Errorf("a stranger locked ada out: %v", err)
	}
	if err := try("bob", password, "198.51.100.1"); err != nil {
		t.Errorf("bob at the stranger's address, after few attempts: %v", err)
	}
	c.Move(2 * time.Second)
	if err := try("ada", password, "198.51.100.1"); err != nil {
		t.Errorf("after the wait: %v", err)
	}

	// One network cannot try many accounts; a customer of IPv6 has a network.
	for n := range 20 {
		if err := try(strings.Repeat("x", n+1), "wrong", "2001:db8::"+string(rune('a'+n%6))); !errors.Is(err, errs.Unauthenticated) {
			t.Fatalf("attempt %d: %v", n, err)
		}
	}
	if err := try("ada", password, "2001:db8::1:2:3:4"); !errors.Is(err, errs.Busy) {
		t.Errorf("the same network: %v", err)
	}
	if err := try("ada", password, "2001:db8:0:1::1"); err != nil {
		t.Errorf("another network: %v", err)
	}

	// The longest wait is a quarter of an hour, whatever was tried.
	for range 30 {
		_ = try("bob", "wrong", "203.0.113.9")
		c.Move(15*time.Minute - time.Second)
	}
	c.Move(15 * time.Minute)
	if err := try("bob", password, "203.0.113.9"); err != nil {
		t.Errorf("after the longest wait: %v", err)
	}
}

// Attempts at once cannot run ahead of the count by more than hash at once.
func TestThrottleHoldsAgainstAFlood(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	user(t, i, "ada")
	var wg sync.WaitGroup
	var mu sync.Mutex
	checked := 0
	for range 60 {
		wg.Go(func() {
			_, _, err := i.SignIn(context.Background(), "ada", "wrong", "198.51.100.1", "")
			if errors.Is(err, errs.Unauthenticated) {
				mu.Lock()
				checked++
				mu.Unlock()
			} else if !errors.Is(err, errs.Busy) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if checked < 5 || checked > 5+64 || checked == 60 {
		t.Errorf("%d of 60 attempts were checked", checked)
	}
}

// While strangers from everywhere try more passwords than can be hashed, some are sent away
// at once, and who is signed in from his address elsewhere gets in.
func TestKnownPeopleGetInDuringAFlood(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	user(t, i, "ada")
	ctx := context.Background()
	if _, _, err := i.SignIn(ctx, "ada", password, "192.0.2.1", ""); err != nil {
		t.Fatal(err)
	}
	flooding, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var away atomic.Int64
	for n := range 100 {
		wg.Go(func() {
			for k := 0; flooding.Err() == nil; k++ {
				_, _, err := i.SignIn(flooding, fmt.Sprintf("user%d", k), "wrong", fmt.Sprintf("198.51.%d.%d", 100+n%2, n), "")
				if errors.Is(err, errs.Busy) {
					away.Add(1)
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for away.Load() < 100 {
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		if _, _, err := i.SignIn(ctx, "ada", password, "192.0.2.1", ""); err != nil {
			t.Errorf("who is signed in there already: %v", err)
		}
	}
	stop()
	wg.Wait()
}

// Budget: 60 µs, one statement; it stands before every page.
func BenchmarkSessionByToken(b *testing.B) {
	i, _ := open(b)
	user(b, i, "ada")
	token, _, err := i.SignIn(context.Background(), "ada", password, "192.0.2.1", "")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := i.SessionByToken(context.Background(), token); err != nil {
			b.Fatal(err)
		}
	}
}
