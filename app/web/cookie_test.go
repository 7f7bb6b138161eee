package web

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// Under TLS each cookie is one that a browser takes from this host alone, and one without
// the prefix, as a neighbour in the domain could have set it, is nobody.
func TestCookiesUnderTLS(t *testing.T) {
	d := open(t)
	d.s.Secure = true
	d.setUp()
	if len(d.cookies) == 0 {
		t.Fatal("there are no cookies")
	}
	for name := range d.cookies {
		if !strings.HasPrefix(name, "__Host-") {
			t.Errorf("a cookie is called %s", name)
		}
	}
	d.want(d.get("/spaces"), 200, "")
	token := d.cookies["__Host-octopuses_session"]
	res, err := d.app.Test(httptest.NewRequest("GET", "/signin", nil), -1)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	for _, c := range res.Cookies() {
		if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
			t.Errorf("%+v", c)
		}
	}
	d.cookies = map[string]string{"octopuses_session": token}
	if p := d.get("/spaces"); p.status != 303 || !strings.HasPrefix(p.location, "/signin") {
		t.Errorf("without the prefix: %d %s", p.status, p.location)
	}
}
