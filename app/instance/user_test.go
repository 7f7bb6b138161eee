package instance_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

func TestFirstAdministrator(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	stranger := instance.Actor{Via: "session", Address: "192.0.2.1"}
	in := instance.UserInput{Username: "ada", Password: password}
	if _, err := i.CreateFirstAdministrator(ctx, stranger, "", in); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("before there is a token: %v", err)
	}
	old, err := i.SetupToken(ctx)
	if err != nil {
		t.Fatal(err)
	}
	token, err := i.SetupToken(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.CreateFirstAdministrator(ctx, stranger, old, in); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("an older token: %v", err)
	}
	// Two browsers at once: one gets it.
	var wg sync.WaitGroup
	results := make([]error, 4)
	for n := range results {
		wg.Go(func() {
			_, results[n] = i.CreateFirstAdministrator(ctx, stranger, token, instance.UserInput{Username: fmt.Sprintf("ada%d", n), Password: password})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range results {
		if err == nil {
			made++
		} else if k := errs.KindOf(err); k != errs.Unauthenticated && k != errs.Blocked {
			t.Error(err)
		}
	}
	users, err := i.Users(ctx)
	if err != nil || made != 1 || len(users) != 1 {
		t.Fatalf("%d administrators, %d users, %v", made, len(users), err)
	}
	p, err := i.SystemPermissions(ctx, users[0].ID)
	if err != nil || !p.Any(access.AdministerSystem) {
		t.Errorf("the first user does not administer the server: %v", err)
	}
}

func TestEnsureAdministratorAtEachStart(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	for start := range 3 {
		u, made, err := i.EnsureAdministrator(ctx, "admin", password, "API-OCTOPUSES0001")
		if err != nil || made != (start == 0) || u.Username != "admin" {
			t.Fatalf("start %d: %+v, %v, %v", start, u, made, err)
		}
		if start == 0 {
			if err := i.SetPassword(ctx, "admin", "replaced in the browser"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := i.SignIn(ctx, "admin", "replaced in the browser", "192.0.2.1", ""); err != nil {
		t.Errorf("a start changed the password: %v", err)
	}
	u, _, err := i.UserByAPIKey(ctx, "API-OCTOPUSES0001")
	if err != nil || u.Username != "admin" {
		t.Errorf("%+v, %v", u, err)
	}
	user(t, i, "bob")
	if _, _, err := i.EnsureAdministrator(ctx, "bob", password, "API-OCTOPUSES0001"); !errors.Is(err, errs.Exists) {
		t.Errorf("somebody else's key: %v", err)
	}
}

func TestUserInput(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	user(t, i, "ada")
	for _, c := range []struct {
		name string
		in   instance.UserInput
		want errs.Kind
	}{
		{"no name", instance.UserInput{Password: password}, errs.Invalid},
		{"a name with a line break", instance.UserInput{Username: "a\nb", Password: password}, errs.Invalid},
		{"a name that begins with a sign", instance.UserInput{Username: ".ada", Password: password}, errs.Invalid},
		{"a name of 129 letters", instance.UserInput{Username: strings.Repeat("ä", 129), Password: password}, errs.Invalid},
		{"a name that is no text", instance.UserInput{Username: "a\xff", Password: password}, errs.Invalid},
		{"a short password", instance.UserInput{Username: "bob", Password: "elevenchars"}, errs.Invalid},
		{"a password without end", instance.UserInput{Username: "bob", Password: strings.Repeat("x", 513)}, errs.Invalid},
		{"a service with a password", instance.UserInput{Username: "bob", Password: password, IsService: true}, errs.Invalid},
		{"a name taken, in other case", instance.UserInput{Username: "ADA", Password: password}, errs.Exists},
	} {
		if _, err := i.CreateUser(ctx, instance.System(), c.in); !errors.Is(err, c.want) || len(errs.FieldsOf(err)) == 0 {
			t.Errorf("%s: %v", c.name, err)
		} else if c.in.Password != "" && strings.Contains(err.Error(), c.in.Password) {
			t.Errorf("%s: the error tells the password", c.name)
		}
	}
	for _, name := range []string{"Ж", "2nd.ada_o-x+y", strings.Repeat("ä", 128), "ada@example.com"} {
		if _, err := i.CreateUser(ctx, instance.System(), instance.UserInput{Username: name, Password: password}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Nobody gets permissions of the system by acting as somebody else.
func TestNoWayUp(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	admin, _, err := i.EnsureAdministrator(ctx, "admin", password, "")
	if err != nil {
		t.Fatal(err)
	}
	manager, plain := user(t, i, "manager"), user(t, i, "plain")
	teams, err := i.TeamBy(ctx, "teams-managers")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.UpdateTeam(ctx, as(t, i, admin), teams, instance.TeamInput{Members: []int64{manager.ID}}); err != nil {
		t.Fatal(err)
	}
	administrators, err := i.TeamBy(ctx, "teams-administrators")
	if err != nil {
		t.Fatal(err)
	}
	everyone, err := i.TeamBy(ctx, "teams-everyone")
	if err != nil {
		t.Fatal(err)
	}
	m, p := as(t, i, manager), as(t, i, plain)
	for _, c := range []struct {
		name string
		try  func() error
	}{
		{"a manager sets the administrator's password", func() error {
			_, err := i.UpdateUser(ctx, m, admin.ID, instance.UserInput{Username: "admin", Password: "mine from now on", IsActive: true})
			return err
		}},
		{"a manager makes a key of the administrator", func() error {
			_, _, err := i.CreateAPIKey(ctx, m, admin, "fun", nil, "")
			return err
		}},
		{"a manager deletes the administrator", func() error { return i.DeleteUser(ctx, m, admin.ID) }},
		{"a manager joins the administrators", func() error {
			_, err := i.UpdateTeam(ctx, m, administrators, instance.TeamInput{Members: []int64{admin.ID, manager.ID}})
			return err
		}},
		{"a manager makes everyone an administrator", func() error {
			_, err := i.CreateScopedRole(ctx, m, instance.ScopedRole{TeamID: everyone.ID, Role: "userroles-systemadministrator"})
			return err
		}},
		{"a user makes users", func() error {
			_, err := i.CreateUser(ctx, p, instance.UserInput{Username: "friend", Password: password})
			return err
		}},
		{"a user sets another's password", func() error {
			_, err := i.UpdateUser(ctx, p, manager.ID, instance.UserInput{Username: "manager", Password: "mine from now on"})
			return err
		}},
		{"a user makes a team", func() error {
			_, err := i.CreateTeam(ctx, p, instance.TeamInput{Name: "Friends"})
			return err
		}},
		{"a user makes a space", func() error {
			_, err := i.CreateSpace(ctx, p, instance.SpaceInput{Name: "Mine", Managers: []int64{plain.ID}}, folder)
			return err
		}},
	} {
		if err := c.try(); !errors.Is(err, errs.Denied) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	events, err := i.Events(ctx, instance.EventFilter{Take: 100})
	denied := 0
	for _, e := range events {
		if e.Category == "Denied" {
			denied++
		}
	}
	if err != nil || denied != 9 {
		t.Errorf("the audit has %d refusals, %v", denied, err)
	}

	// One's own name cannot be changed without UserEdit, one's own password can.
	u, err := i.UpdateUser(ctx, p, plain.ID, instance.UserInput{Username: "root", DisplayName: "Plain P.", Password: "a better password", IsActive: false, IsService: true})
	if err != nil || u.Username != "plain" || u.DisplayName != "Plain P." || !u.IsActive || u.IsService {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestLastAdministratorStays(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	admin, _, err := i.EnsureAdministrator(ctx, "admin", password, "")
	if err != nil {
		t.Fatal(err)
	}
	team, err := i.TeamBy(ctx, "teams-administrators")
	if err != nil {
		t.Fatal(err)
	}
	if err := i.DeleteUser(ctx, instance.System(), admin.ID); !errors.Is(err, errs.Blocked) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := i.UpdateUser(ctx, instance.System(), admin.ID, instance.UserInput{Username: "admin"}); !errors.Is(err, errs.Blocked) {
		t.Errorf("deactivated: %v", err)
	}
	if _, err := i.UpdateTeam(ctx, as(t, i, admin), team, instance.TeamInput{}); !errors.Is(err, errs.Blocked) {
		t.Errorf("left the team: %v", err)
	}
	second := user(t, i, "second")
	if _, err := i.UpdateTeam(ctx, as(t, i, admin), team, instance.TeamInput{Members: []int64{admin.ID, second.ID}}); err != nil {
		t.Fatal(err)
	}
	if err := i.DeleteUser(ctx, as(t, i, second), admin.ID); err != nil {
		t.Errorf("with a second one: %v", err)
	}
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	u := user(t, i, "ada")
	soon := c.Now().Add(time.Hour)
	k, key, err := i.CreateAPIKey(ctx, as(t, i, u), u, "build server", &soon, "API-CHOSENBYADA1")
	if err != nil || !strings.HasPrefix(key, "API-") || key == "API-CHOSENBYADA1" || !strings.HasPrefix(key, k.Hint) || len(k.Hint) > 8 {
		t.Fatalf("%+v, %q, %v", k, key, err)
	}
	got, used, err := i.UserByAPIKey(ctx, key)
	if err != nil || got.ID != u.ID || used.ID != k.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if l, err := i.APIKeys(ctx, u); err != nil || len(l) != 1 || l[0].UsedAt == nil {
		t.Errorf("its use is not noted: %+v, %v", l, err)
	}
	for _, wrong := range []string{"", "API-", "api-" + key[4:], key + "A", key[:len(key)-1]} {
		if _, _, err := i.UserByAPIKey(ctx, wrong); !errors.Is(err, errs.Unauthenticated) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	c.Move(time.Hour + time.Second)
	if _, _, err := i.UserByAPIKey(ctx, key); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("expired: %v", err)
	}

	k, key, err = i.CreateAPIKey(ctx, as(t, i, u), u, "another", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := i.RevokeAPIKey(ctx, as(t, i, user(t, i, "bob")), u, k.ID); !errors.Is(err, errs.Denied) {
		t.Errorf("revoked by a stranger: %v", err)
	}
	if err := i.RevokeAPIKey(ctx, as(t, i, u), u, k.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.UserByAPIKey(ctx, key); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("revoked: %v", err)
	}
	_, key, err = i.CreateAPIKey(ctx, as(t, i, u), u, "a third", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.UpdateUser(ctx, instance.System(), u.ID, instance.UserInput{Username: "ada"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.UserByAPIKey(ctx, key); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("of a deactivated user: %v", err)
	}
}

// The file tells neither passwords nor keys nor the secrets of the server.
func TestSettingsAreSealed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "instance.db")
	i, err := instance.Open(ctx, path, secrets.NewMasters(secrets.Master{Key: secrets.NewKey()}), instance.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Two who make it at once get the same.
	var wg sync.WaitGroup
	got := make([]string, 4)
	for n := range got {
		wg.Go(func() {
			v, err := i.SettingOr(ctx, "identity", func() ([]byte, error) { return fmt.Appendf(nil, "key %d", n), nil })
			if err != nil {
				t.Error(err)
			}
			got[n] = string(v)
		})
	}
	wg.Wait()
	for _, v := range got {
		if v != got[0] || v == "" {
			t.Errorf("%q", got)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := instance.Open(ctx, path, secrets.NewMasters(secrets.Master{Key: secrets.NewKey()}), instance.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Setting(ctx, "identity"); !errors.Is(err, errs.Blocked) {
		t.Errorf("another master key: %v", err)
	}
}

// Budget: 60 µs, one statement; it stands before every call of a client.
func BenchmarkUserByAPIKey(b *testing.B) {
	i, _ := open(b)
	ctx := context.Background()
	u := user(b, i, "ada")
	var key string
	for n := range 1000 {
		var err error
		if _, key, err = i.CreateAPIKey(ctx, instance.System(), u, fmt.Sprint("key ", n), nil, ""); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, _, err := i.UserByAPIKey(ctx, key); err != nil {
			b.Fatal(err)
		}
	}
}
