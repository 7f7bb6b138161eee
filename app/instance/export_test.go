package instance

import (
	"database/sql"
	"testing"

	"octopuses.dev/octopuses/spaces/secrets"
)

// SealedColumns are those that Reseal seals anew, as table.column.
func SealedColumns() (all []string) {
	for _, c := range sealedColumns {
		all = append(all, c.table+"."+c.value)
	}
	return all
}

// CountOpening counts the sealed values that a master key opens.
func CountOpening(t *testing.T, db *sql.DB, m secrets.Master) (n int) {
	t.Helper()
	for _, c := range sealedColumns {
		rows, err := db.Query(`SELECT CAST(` + c.key + ` AS TEXT), ` + c.value + ` FROM ` + c.table)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var key string
			var sealed []byte
			if err := rows.Scan(&key, &sealed); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Open(sealed, c.purpose(key)); err == nil {
				n++
			}
		}
		rows.Close()
	}
	return n
}

// StoredPasskeys is what the file keeps of each passkey.
func (i *Instance) StoredPasskeys(t *testing.T) (all []string) {
	t.Helper()
	rows, err := i.read.Query(`SELECT credential FROM passkey`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil || len(all) == 0 {
		t.Fatal("no passkey is stored: ", err)
	}
	return all
}
