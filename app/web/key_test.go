package web

import (
	"strings"
	"testing"
)

// An administrator exchanges the keys by the page, which says what is used and what next.
func TestKeys(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const keys = "/admin/keys"
	id := func() string {
		t.Helper()
		p := d.get(keys)
		d.want(p, 200, "")
		return strings.TrimSpace(p.Find("main dd").First().Text())
	}
	before := id()
	d.want(d.submit(keys, keys+"/master", nil), 303, keys+"?done=master")
	if now := id(); now == before || len(now) != 16 {
		t.Errorf("the master key was %s and is %s", before, now)
	}
	d.want(d.submit(keys, keys+"/space", map[string]string{"space": "Spaces-1"}), 303, keys+"?done=Spaces-1")
	wrong := d.submit(keys, keys+"/space", map[string]string{"space": "Spaces-99"})
	d.want(wrong, 422, "")
	if text := wrong.Find(".errors").Text(); !strings.Contains(text, "no such space") {
		t.Errorf("a space that is not there: %s", text)
	}
	text := d.get("/spaces/payments/audit").Find("main").Text()
	for _, want := range []string{"The key of the space was exchanged", "All values are sealed with the new key", "is wrapped with master key"} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit does not say %q", want)
		}
	}
}
