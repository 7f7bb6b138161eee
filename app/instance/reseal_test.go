package instance_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces/secrets"
)

// notSealed are the columns with bytes that are no secret, or a hash.
var notSealed = []string{"passkey.credential_id", "passkey_handle.handle", "session.token_hash", "api_key.hash"}

// Everything is sealed with the new master key, and the one before is not needed any more.
// A column that is new here must be said to be sealed, or not.
func TestReseal(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	was, next := secrets.Master{Key: secrets.NewKey()}, secrets.Master{Key: secrets.NewKey()}
	masters := secrets.NewMasters(was)
	path := filepath.Join(t.TempDir(), "instance.db")
	open := func(m *secrets.Masters) *instance.Instance {
		i, err := instance.Open(ctx, path, m, instance.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	i := open(masters)
	ada, _, err := i.EnsureAdministrator(ctx, "ada", "correct horse battery", "API-ADAADAADAADAADAADAADA1")
	if err != nil {
		t.Fatal(err)
	}
	actor := instance.Actor{ID: ada.APIID(), Name: "ada", Permissions: instance.System().Permissions}
	if err := i.SetSetting(ctx, "fact", []byte("a fact")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.BeginTOTP(ctx, actor, ada); err != nil {
		t.Fatal(err)
	}
	if _, err := i.SaveIdentityProvider(ctx, instance.System(), "", instance.IdentityProviderInput{Name: "P", Issuer: "https://id.example", ClientID: "x", ClientSecret: "the secret of the client", Scopes: "openid"}); err != nil {
		t.Fatal(err)
	}
	masters.Use(next)
	for range 2 {
		if err := i.Reseal(ctx, instance.System()); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}

	db, err := migrations.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT m.name || '.' || c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.type = 'BLOB' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(instance.SealedColumns(), column) && !slices.Contains(notSealed, column) {
			t.Errorf("%s: is it sealed with the master key? Then it belongs to sealedColumns, else to notSealed", column)
		}
	}
	for _, column := range []string{"setting.value", "totp.secret", "identity_provider.client_secret"} {
		if !slices.Contains(instance.SealedColumns(), column) {
			t.Errorf("%s is not sealed anew", column)
		}
	}
	for m, opens := range map[secrets.Master]int{was: 0, next: 3} {
		if n := instance.CountOpening(t, db, m); n != opens {
			t.Errorf("%d values open with master key %s, not %d", n, m.ID(), opens)
		}
	}
	i = open(secrets.NewMasters(next))
	defer i.Close()
	if v, err := i.Setting(ctx, "fact"); err != nil || string(v) != "a fact" {
		t.Errorf("%q, %v", v, err)
	}
}
