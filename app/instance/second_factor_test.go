package instance_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
)

// withApp gives a person an authenticator app.
func withApp(t *testing.T, i *instance.Instance, c *clock, u instance.User) (secret string, recovery []string) {
	t.Helper()
	ctx := context.Background()
	token, _, err := i.SignIn(ctx, u.Username, password, "192.0.2.1", "")
	if err != nil {
		t.Fatal(err)
	}
	session, err := i.SessionByToken(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	if secret, _, err = i.BeginTOTP(ctx, as(t, i, u), u); err != nil {
		t.Fatal(err)
	}
	if _, err := i.ConfirmTOTP(ctx, as(t, i, u), u, session, "000000"); !errors.Is(err, errs.Invalid) {
		t.Fatalf("a wrong first code: %v", err)
	}
	if recovery, err = i.ConfirmTOTP(ctx, as(t, i, u), u, session, code(t, secret, c.Now())); err != nil {
		t.Fatal(err)
	}
	return secret, recovery
}

func code(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	text, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ticket signs in with the password and returns what awaits the second factor.
func ticket(t *testing.T, i *instance.Instance, name string) string {
	t.Helper()
	_, _, err := i.SignIn(context.Background(), name, password, "192.0.2.1", "")
	var more *instance.SecondFactorError
	if !errors.As(err, &more) {
		t.Fatalf("a sign-in without the second factor: %v", err)
	}
	return more.Ticket
}

func TestAuthenticatorApp(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	ada := user(t, i, "ada")
	secret, recovery := withApp(t, i, c, ada)
	if has, err := i.SecondFactors(ctx, ada); err != nil || !has.TOTP || has.RecoveryCodes != 10 || len(recovery) != 10 {
		t.Errorf("%+v, %v", has, err)
	}
	finish := func(ticket, code string) error {
		_, _, err := i.FinishSignIn(ctx, ticket, code, "192.0.2.1", "")
		return err
	}

	// The code that turned it on is used up, as is each after its first use.
	if err := finish(ticket(t, i, "ada"), code(t, secret, c.Now())); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a code was taken twice: %v", err)
	}
	c.Move(30 * time.Second)
	first := ticket(t, i, "ada")
	if err := finish(first, code(t, secret, c.Now())); err != nil {
		t.Errorf("the right code: %v", err)
	}
	if err := finish(first, code(t, secret, c.Now().Add(30*time.Second))); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a ticket was used twice: %v", err)
	}
	c.Move(5 * time.Minute)
	if err := finish(ticket(t, i, "ada"), code(t, secret, c.Now().Add(-20*time.Second))); err != nil {
		t.Errorf("a clock that is late by less than a period: %v", err)
	}
	c.Move(5 * time.Minute)
	if err := finish(ticket(t, i, "ada"), code(t, secret, c.Now().Add(-2*time.Minute))); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("an old code: %v", err)
	}

	if err := finish(ticket(t, i, "ada"), strings.ToLower(recovery[0])); err != nil {
		t.Errorf("a recovery code: %v", err)
	}
	if err := finish(ticket(t, i, "ada"), recovery[0]); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a recovery code was taken twice: %v", err)
	}
	late := ticket(t, i, "ada")
	c.Move(6 * time.Minute)
	if err := finish(late, recovery[1]); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a ticket that is over: %v", err)
	}

	if err := i.RemoveTOTP(ctx, as(t, i, ada), ada); err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.SignIn(ctx, "ada", password, "192.0.2.1", ""); err != nil {
		t.Errorf("after the app was removed: %v", err)
	}
	if has, err := i.SecondFactors(ctx, ada); err != nil || has.RecoveryCodes != 0 {
		t.Errorf("codes without a factor: %+v, %v", has, err)
	}
}

// Whoever knows the password gets few guesses, whatever address they come from and
// however often they begin anew.
func TestCodesAreNotGuessed(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	secret, _ := withApp(t, i, c, user(t, i, "ada"))
	c.Move(time.Minute)
	wrong := "000000"
	if wrong == code(t, secret, c.Now()) {
		wrong = "000001"
	}
	busy := false
	for n := range 20 {
		_, _, err := i.FinishSignIn(ctx, ticket(t, i, "ada"), wrong, "198.51.100."+string(rune('0'+n%10)), "")
		busy = busy || errors.Is(err, errs.Busy)
	}
	if !busy {
		t.Error("twenty wrong codes in a row were looked at")
	}
	if _, _, err := i.FinishSignIn(ctx, ticket(t, i, "ada"), code(t, secret, c.Now()), "192.0.2.1", ""); !errors.Is(err, errs.Busy) {
		t.Errorf("the right code while it has to wait: %v", err)
	}
	c.Move(time.Hour)
	if _, _, err := i.FinishSignIn(ctx, ticket(t, i, "ada"), code(t, secret, c.Now()), "192.0.2.1", ""); err != nil {
		t.Errorf("the right code afterwards: %v", err)
	}
}

func TestSecondFactorsOfOthers(t *testing.T) {
	t.Parallel()
	i, c := open(t)
	ctx := context.Background()
	ada, eve := user(t, i, "ada"), user(t, i, "eve")
	withApp(t, i, c, ada)
	if _, _, err := i.BeginTOTP(ctx, as(t, i, eve), ada); !errors.Is(err, errs.Denied) {
		t.Errorf("eve adds an app for ada: %v", err)
	}
	if err := i.RemoveTOTP(ctx, as(t, i, eve), ada); !errors.Is(err, errs.Denied) {
		t.Errorf("eve removes the app of ada: %v", err)
	}
	if _, err := i.NewRecoveryCodes(ctx, as(t, i, eve), ada); !errors.Is(err, errs.Denied) {
		t.Errorf("eve makes codes for ada: %v", err)
	}
	if err := i.RemoveSecondFactors(ctx, instance.System(), ada); err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.SignIn(ctx, "ada", password, "192.0.2.1", ""); err != nil {
		t.Errorf("after the console removed the factors: %v", err)
	}
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	i, _ := open(t)
	ctx := context.Background()
	user(t, i, "ada")
	var sessions [2]instance.Session
	var tokens [2]string
	for n := range sessions {
		var err error
		if tokens[n], _, err = i.SignIn(ctx, "ada", password, "192.0.2.1", ""); err != nil {
			t.Fatal(err)
		}
		if sessions[n], err = i.SessionByToken(ctx, tokens[n]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ current, password, field string }{{"wrong", "another long one", "Current"}, {password, "", "Password"}, {password, "short", "Password"}} {
		err := i.ChangePassword(ctx, sessions[0], c.current, c.password)
		if f := errs.FieldsOf(err); len(f) == 0 || f[0].Name != c.field {
			t.Errorf("%q → %q: %v", c.current, c.password, err)
		}
	}
	if err := i.ChangePassword(ctx, sessions[0], password, "another long one"); err != nil {
		t.Fatal(err)
	}
	if _, err := i.SessionByToken(ctx, tokens[0]); err != nil {
		t.Errorf("the session that changed it ended: %v", err)
	}
	if _, err := i.SessionByToken(ctx, tokens[1]); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("another session goes on: %v", err)
	}
	if _, _, err := i.SignIn(ctx, "ada", "another long one", "192.0.2.1", ""); err != nil {
		t.Error(err)
	}
}
