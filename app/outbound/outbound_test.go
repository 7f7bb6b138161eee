package outbound

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	for text, allowed := range map[string]bool{
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false, "169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "fd00:ec2::254": false, "100.100.100.200": false, "224.0.0.1": false, "ff02::1": false,
		"10.0.0.1": true, "192.168.1.1": true, "203.0.113.7": true, "2001:db8::1": true, "fd00::1": true,
	} {
		a := netip.MustParseAddr(text)
		if (Guard{}).Allows(a) != allowed {
			t.Errorf("%s is allowed: %t", text, !allowed)
		}
		if local := (Guard{Local: true}).Allows(a); local == a.Unmap().IsMulticast() {
			t.Errorf("%s where local ones are: %t", text, local)
		}
	}
}

// A name of this machine is refused like its address, and a redirect leads nowhere.
func TestClient(t *testing.T) {
	t.Parallel()
	calls := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{s.URL, "http://localhost:" + u.Port()} {
		if res, err := (Guard{}).Client(5*time.Second, nil).Get(at); err == nil || !strings.Contains(err.Error(), "not called") {
			t.Errorf("%s answers %v, %v", at, res, err)
		}
	}
	if calls != 0 {
		t.Fatal("it was called")
	}
	res, err := (Guard{Local: true}).Client(5*time.Second, nil).Get(s.URL)
	if err != nil || res.StatusCode != http.StatusFound || calls != 1 {
		t.Errorf("%v, %v, %d calls", res, err, calls)
	}
	res.Body.Close()
}
