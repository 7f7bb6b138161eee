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
