package web

import (
	"strings"
	"testing"
)

// A subscription is added, refused at the field, changed and deleted by the pages; the value
// of its header is never shown.
func TestSubscriptionPages(t *testing.T) {
	d := open(t)
	d.setUp()
	const list, add = "/spaces/payments/subscriptions", "/spaces/payments/subscriptions/new"
	if d.get("/spaces/payments/settings").Find(`a[href="`+list+`"]`).Length() != 1 || !strings.Contains(d.get(list).Find("main").Text(), "Nobody is told") {
		t.Errorf("%.900s", d.get(list).Find("main").Text())
	}
	fill := map[string]string{"name": "Failures", "uri": "nowhere", "headerKey": "X-Key", "headerValue": "t0p-secret", "timeout": "10", "enabled": "true", "groups": "DeploymentCritical"}
	bad := d.submit(add, add, fill)
	d.want(bad, 422, "")
	if bad.Find("input[name=name]").AttrOr("value", "") != "Failures" || bad.Find("select[name=groups] option[selected]").AttrOr("value", "") != "DeploymentCritical" || !strings.Contains(bad.Find("#f-uri-error").Text(), "web hook is at a URL") {
		t.Errorf("%.900s", bad.Find("main").Text())
	}
	fill["uri"] = "https://hooks.example.com/x"
	const at = list + "/Subscriptions-1"
	d.want(d.submit(add, add, fill), 303, at)
	page := d.get(at)
	if html, _ := page.Html(); strings.Contains(html, "t0p-secret") || !strings.Contains(page.Find("main").Text(), "Nothing sent yet") || page.Find("select[name=groups] option[selected]").Length() != 1 {
		t.Errorf("%.900s", page.Find("main").Text())
	}
	fill["timeout"], fill["headerValue"] = "99", ""
	d.want(d.submit(at, at, fill), 422, "")
	fill["enabled"] = ""
	fill["timeout"] = "20"
	d.want(d.submit(at, at, fill), 303, at)
	if rows := d.get(list).Find("#subscriptions tbody tr"); rows.Length() != 1 || !strings.Contains(rows.Text(), "Disabled") {
		t.Errorf("%d rows: %s", rows.Length(), rows.Text())
	}
	d.want(d.submit(at, at+"/delete", nil), 303, list)
	d.want(d.get(at), 404, "")
}
