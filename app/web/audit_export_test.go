package web

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/audit"
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
	var last audit.Line
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != many || last.EntityID != "Environments-1" {
		t.Errorf("%d lines, %v, %+v", len(lines), err, last)
	}
	d.want(d.get("/spaces/payments/audit/export?format=xls"), 422, "")

	var b strings.Builder
	write, flush := exporter("csv", &b)
	if err := write(audit.Line{Message: "=cmd()"}); err != nil || flush() != nil || !strings.Contains(b.String(), ",'=cmd(),") {
		t.Errorf("%v: %s", err, b.String())
	}
}

// The server's audit is searched, filtered and exported like that of a space, by those who
// may see events of the system and by nobody else.
func TestServerAudit(t *testing.T) {
	d := open(t)
	d.setUp()
	d.want(d.submit("/admin/teams/new", "/admin/teams", map[string]string{"name": "Night watch", "description": "at night"}), 303, "")
	page := d.get("/admin/audit?q=night&category=Created")
	if rows := page.Find("#audit tbody tr"); rows.Length() != 1 || !strings.Contains(rows.Text(), "Team Night watch was made") || !strings.Contains(rows.Find("details").Text(), "at night") {
		t.Fatalf("%d entries: %s", rows.Length(), rows.Text())
	}
	if rows := d.get("/admin/audit?until=2001-01-01").Find("#audit tbody tr"); rows.Length() != 0 {
		t.Errorf("%d entries of the last century", rows.Length())
	}
	file := d.get(page.Find("a[download]").Last().AttrOr("href", ""))
	d.want(file, 200, "")
	var line audit.Line
	if err := json.Unmarshal([]byte(file.Text()), &line); err != nil || line.Category != "Created" || line.SpaceID != "" || line.ChangeDetails == nil || !strings.Contains(file.header.Get("Content-Disposition"), "audit-server.jsonl") {
		t.Errorf("%v, %+v, %v", err, line, file.header)
	}
	if _, err := d.s.Instance.CreateUser(context.Background(), instance.System(), instance.UserInput{Username: "bob", Password: password, IsActive: true}); err != nil {
		t.Fatal(err)
	}
	d.cookies = map[string]string{}
	d.want(d.submit("/signin", "/signin", map[string]string{"username": "bob", "password": password}), 303, "/")
	for _, path := range []string{"/admin/audit", "/admin/audit/export?format=csv"} {
		d.want(d.get(path), 403, "")
	}
}

// An administrator sets the collector of the audit up by the page, which says how it goes
// and never shows the token.
func TestAuditStreamPage(t *testing.T) {
	d := open(t)
	d.setUp()
	const at = "/admin/audit/streaming"
	if d.get("/admin/audit").Find(`a[href="`+at+`"]`).Length() != 1 {
		t.Error("the audit does not lead there")
	}
	bad := d.submit(at, at, map[string]string{"kind": "syslog", "address": "nowhere", "enabled": "true"})
	d.want(bad, 422, "")
	if !strings.Contains(bad.Text(), "host:port") || bad.Find("input[name=address]").AttrOr("value", "") != "nowhere" {
		t.Errorf("%.600s", bad.Text())
	}
	d.want(d.submit(at, at, map[string]string{"kind": "https", "address": "https://logs.example.com/in", "token": "t0p-secret", "enabled": "true"}), 303, at)
	page := d.get(at)
	if text := page.Find("main").Text(); strings.Contains(text, "t0p-secret") || page.Find("input[name=token]").AttrOr("value", "") != "" || !strings.Contains(text, "Nothing sent yet") {
		t.Errorf("%.600s", text)
	}
	d.want(d.submit(at, at+"/delete", nil), 303, at)
	if page = d.get(at); page.Find(`form[action="`+at+`/delete"]`).Length() != 0 {
		t.Error("it is still there")
	}
}

// Archived days are listed, downloaded and, when old enough, deleted; the retention is set
// where the server's are.
func TestArchivePages(t *testing.T) {
	d := open(t)
	d.setUp()
	d.s.AuditFolder = t.TempDir()
	space, err := d.s.Spaces.Acquire(context.Background(), ref(must(d.s.Instance.SpaceBy(context.Background(), "Spaces-1"))(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer space.Release()
	tomorrow := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	n, err := space.ArchiveEvents(context.Background(), tomorrow)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	day := tomorrow.AddDate(0, 0, -1).Format(time.DateOnly)
	page := d.get("/spaces/payments/audit/archives")
	d.want(page, 200, "")
	if d.get("/spaces/payments/audit").Find(`a[href="/spaces/payments/audit/archives"]`).Length() != 1 || !strings.Contains(page.Find("#archives").Text(), day) || page.Find("#archives button[disabled]").Length() != 1 {
		t.Errorf("%.900s", page.Find("main").Text())
	}
	file := d.get(page.Find("#archives a[download]").AttrOr("href", ""))
	d.want(file, 200, "")
	if lines := strings.Count(file.Text(), "\n"); int64(lines) != n || !strings.Contains(file.header.Get("Content-Disposition"), "payments-events-"+day+".jsonl") {
		t.Errorf("%d lines, %v", lines, file.header)
	}
	d.want(d.get("/spaces/payments/audit/archives/..%2f..%2fspace.db"), 404, "")
	d.want(d.get("/admin/audit/archives/2001-01-01"), 404, "")
	bad := d.submit("/admin/audit/archives", "/admin/audit/archives", map[string]string{"eventRetentionDays": "0"})
	d.want(bad, 422, "")
	if !strings.Contains(bad.Text(), "1 to 3,650 days") {
		t.Errorf("%.900s", bad.Find("main").Text())
	}
	d.want(d.submit("/admin/audit/archives", "/admin/audit/archives", map[string]string{"eventRetentionDays": "30"}), 303, "/admin/audit/archives")
	if days, err := d.s.Instance.Retention(context.Background()); err != nil || days != 30 {
		t.Error(days, err)
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
