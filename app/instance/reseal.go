package instance

import (
	"context"
	"fmt"
	"strconv"
)

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
