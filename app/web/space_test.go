package web

import (
	"strings"
	"testing"
	"time"
)

// The audit is searched as a whole, says what a value was before, and shows no secret.
func TestSpaceAudit(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const p, audit = "/spaces/payments/projects/web-shop", "/spaces/payments/audit"
	d.want(d.submit("/spaces/payments/projects/new", "/spaces/payments/projects", map[string]string{"name": "Web shop"}), 303, p)
	d.want(d.submit(p+"/settings", p+"/settings", map[string]string{"description": "sells <things>"}), 303, "")
	d.want(d.submit(p+"/variables", p+"/variables", map[string]string{"name": "Password", "value": "s3cret-value", "sensitive": "true"}), 303, "")
	all := d.get(audit)
	if text := all.Find("#audit").Text(); !strings.Contains(text, "sells <things>") || strings.Contains(all.Text(), "s3cret-value") {
		t.Errorf("before and after stand there, and no secret: %s", text)
	}
	rows := func(query string) int { return d.get(audit + query).Find("#audit tbody tr").Length() }
	whole, today := rows(""), time.Now().UTC().Format(time.DateOnly)
	for _, c := range []struct {
		query string
		want  func(n int) bool
	}{
		{"?q=WEB+shop", func(n int) bool { return n > 0 && n < whole }},
		{"?q=100%25", func(n int) bool { return n == 0 }}, // no pattern of SQL
		{"?category=Modified", func(n int) bool { return n > 0 && n < whole }},
		{"?category=Modified&q=Environment", func(n int) bool { return n == 0 }},
		{"?from=" + today + "&until=" + today, func(n int) bool { return n > 0 }},
		{"?until=2020-01-01", func(n int) bool { return n == 0 }},
		{"?from=nonsense", func(n int) bool { return n == whole }},
	} {
		if n := rows(c.query); !c.want(n) {
			t.Errorf("%s finds %d of %d", c.query, n, whole)
		}
	}
	kept := d.get(audit + "?q=web&category=Modified&from=2020-01-01")
	if kept.Find("#f-q").AttrOr("value", "") != "web" || kept.Find("#f-category option[selected]").AttrOr("value", "") != "Modified" || kept.Find("#f-from").AttrOr("value", "") != "2020-01-01" {
		t.Error("the form keeps what was asked")
	}
}
