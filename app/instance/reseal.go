package instance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
)

// Keys is the master key of a server that runs, for its doors.
type Keys interface {
	// Master names the key that is used, the file that it lies in ("" when it is given in
	// the environment), and the files of those before it.
	Master() (id, file string, old []string)
	// RotateMaster exchanges it. left says which spaces could not be opened, and why; they
	// are wrapped with the new one when they are.
	RotateMaster(ctx context.Context, actor Actor) (left []string, err error)
}

// sealedColumns are all that is sealed with the master key here: the row's key, the value,
// what it is sealed for.
var sealedColumns = []struct {
	table, key, value string
	purpose           func(key string) string
}{
	{"setting", "name", "value", func(name string) string { return "instance/setting/" + name }},
	{"totp", "user_id", "secret", func(id string) string { return totpPurpose(number(id)) }},
	{"identity_provider", "id", "client_secret", func(id string) string { return secretPurpose(number(id)) }},
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64) // of an INTEGER column
	return n
}

// Reseal seals everything here with the current master key, all of it or nothing. A value
// that no key opens is left as it is.
func (i *Instance) Reseal(ctx context.Context, actor Actor) error {
	current := i.masters.Current()
	return i.note(ctx, actor, func(tx *tx) error {
		lost := 0
		for _, c := range sealedColumns {
			rows, err := sealedRows(tx, `SELECT CAST(`+c.key+` AS TEXT), `+c.value+` FROM `+c.table+` WHERE length(`+c.value+`) > 0`)
			if err != nil {
				return fmt.Errorf("seal %s anew: %w", c.table, err)
			}
			for _, r := range rows {
				purpose := c.purpose(r.key)
				if _, err := current.Open(r.sealed, purpose); err == nil {
					continue
				}
				plain, err := i.masters.Open(r.sealed, purpose)
				if err != nil {
					lost++
					continue
				}
				if _, err := tx.Exec(`UPDATE `+c.table+` SET `+c.value+` = ? WHERE CAST(`+c.key+` AS TEXT) = ?`, current.Seal(plain, purpose), r.key); err != nil {
					return fmt.Errorf("seal %s anew: %w", c.table, err)
				}
			}
		}
		if lost > 0 {
			i.log.Warn("sealed values that no master key opens", "count", lost)
		}
		return tx.record("MasterKeyRotated", "server", "", "What the server keeps secret is sealed with master key "+current.ID())
	})
}

type sealedRow struct {
	key    string
	sealed []byte
}

func sealedRows(tx *tx, query string) ([]sealedRow, error) {
	rows, err := tx.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []sealedRow
	for rows.Next() {
		var r sealedRow
		if err := rows.Scan(&r.key, &r.sealed); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// Opens reports whether the current master key opens what is sealed here: true also where
// nothing is.
func (i *Instance) Opens(ctx context.Context) (bool, error) {
	var name string
	var sealed []byte
	err := i.read.QueryRowContext(ctx, `SELECT name, value FROM setting LIMIT 1`).Scan(&name, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	if err != nil {
		return false, storeError(err)
	}
	_, err = i.masters.Open(sealed, "instance/setting/"+name)
	return err == nil, nil
}

// Forgotten is what the server has lost with its master key.
type Forgotten struct {
	SecondFactors []string // usernames, whose authenticator apps are gone
	Providers     []string // of identities, whose client secrets are gone; disabled
}

// ForgetSecrets forgets what no known master key opens: the server's own identity, which is
// made anew, authenticator apps, and the secrets of identity providers. All sessions end.
func (i *Instance) ForgetSecrets(ctx context.Context) (Forgotten, error) {
	var f Forgotten
	err := i.update(ctx, System(), func(tx *tx) error {
		for _, c := range sealedColumns {
			rows, err := sealedRows(tx, `SELECT CAST(`+c.key+` AS TEXT), `+c.value+` FROM `+c.table+` WHERE length(`+c.value+`) > 0`)
			if err != nil {
				return err
			}
			for _, r := range rows {
				if _, err := i.masters.Open(r.sealed, c.purpose(r.key)); err == nil {
					continue
				}
				var name, query string
				switch c.table {
				case "totp":
					query = `DELETE FROM totp WHERE user_id = ?`
					if err := tx.QueryRow(`SELECT username FROM user WHERE id = ?`, number(r.key)).Scan(&name); err != nil {
						return err
					}
					f.SecondFactors = append(f.SecondFactors, name)
				case "identity_provider":
					query = `UPDATE identity_provider SET client_secret = x'', is_enabled = 0 WHERE id = ?`
					if err := tx.QueryRow(`SELECT name FROM identity_provider WHERE id = ?`, number(r.key)).Scan(&name); err != nil {
						return err
					}
					f.Providers = append(f.Providers, name)
				default:
					query = `DELETE FROM ` + c.table + ` WHERE ` + c.key + ` = ?`
				}
				if _, err := tx.Exec(query, r.key); err != nil {
					return err
				}
			}
		}
		if _, err := tx.Exec(`DELETE FROM session`); err != nil {
			return err
		}
		return tx.record("SecretsLost", "server", "", fmt.Sprintf("The master key was lost and replaced: the server has a new identity, %d authenticator apps and %d secrets of identity providers are gone", len(f.SecondFactors), len(f.Providers)))
	})
	return f, err
}
