package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
)

// The export has all that matches, beyond one batch, and nothing that a spreadsheet runs.
func TestAuditExport(t *testing.T) {
	d := open(t)
	d.setUp()
	const many = exportBatch + 5
	d.inSpace(func(tx *spaces.Tx) error {
		for n := range many {
			if _, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: fmt.Sprintf("Stage %d", n)}); err != nil {
				return err
			}
		}
		return nil
	})
	page := d.get("/spaces/payments/audit?q=stage")
	links := page.Find("a[download]")
	if links.Length() != 2 {
		t.Fatalf("%d links", links.Length())
	}
	file := d.get(links.First().AttrOr("href", ""))
	d.want(file, 200, "")
	rows, err := csv.NewReader(strings.NewReader(file.Text())).ReadAll()
	if err != nil || len(rows) != many+1 || rows[0][0] != "Id" || !strings.Contains(rows[1][5], fmt.Sprintf("Stage %d", many-1)) || !strings.Contains(file.header.Get("Content-Disposition"), "audit-payments.csv") {
		t.Errorf("%d rows of CSV, %v, %v", len(rows), err, file.header)
	}
	file = d.get(links.Last().AttrOr("href", ""))
	lines := strings.Split(strings.TrimSpace(file.Text()), "\n")
	var last exported
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != many || last.EntityID != "Environments-1" {
		t.Errorf("%d lines, %v, %+v", len(lines), err, last)
	}
	d.want(d.get("/spaces/payments/audit/export?format=xls"), 422, "")

	var b strings.Builder
	write, flush := exporter("csv", &b)
	if err := write(spaces.Event{Message: "=cmd()"}); err != nil || flush() != nil || !strings.Contains(b.String(), ",'=cmd(),") {
		t.Errorf("%v: %s", err, b.String())
	}
}
