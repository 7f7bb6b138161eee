package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/app/outbound"
)

// aFeed is a NuGet feed that has these files by their paths below its packages.
func aFeed(t *testing.T, id, version string, file []byte) (uri string) {
	t.Helper()
	var s *httptest.Server
	id = strings.ToLower(id)
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/index.json":
			fmt.Fprintf(w, `{"resources": [{"@id": "%s/flat/", "@type": "PackageBaseAddress/3.0.0"}]}`, s.URL)
		case "/flat/" + id + "/index.json":
			fmt.Fprintf(w, `{"versions": ["%s"]}`, version)
		case "/flat/" + id + "/" + version + "/" + id + "." + version + ".nupkg":
			_, _ = w.Write(file)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/index.json"
}

// A feed is added, refused at the field, fetched from, changed and deleted by the pages; its
// password is never shown and not taken to another address.
func TestFeedPages(t *testing.T) {
	d := open(t)
	d.setUp()
	d.s.Feeds = feeds.New(outbound.Guard{Local: true}, nil)
	const list, add = "/spaces/payments/feeds", "/spaces/payments/feeds/new"
	if g := d.get(list); !strings.Contains(g.Find("main").Text(), "Packages from elsewhere") || d.get("/spaces/payments/packages").Find(`nav a[href="`+list+`"]`).Length() != 1 {
		t.Errorf("%.900s", g.Find("main").Text())
	}
	fill := map[string]string{"name": "Acme", "uri": "nowhere", "username": "robot", "password": "t0p-secret"}
	bad := d.submit(add, add, fill)
	d.want(bad, 422, "")
	if bad.Find("input[name=name]").AttrOr("value", "") != "Acme" || !strings.Contains(bad.Find("#f-uri-error").Text(), "service index") {
		t.Errorf("%.900s", bad.Find("main").Text())
	}
	fill["uri"] = "http://feed.example/index.json"
	if bad = d.submit(add, add, fill); bad.status != 422 || !strings.Contains(bad.Find("#f-uri-error").Text(), "https alone") {
		t.Errorf("%.900s", bad.Find("main").Text())
	}
	const at = list + "/Feeds-1"
	fill["uri"] = "https://feed.example/index.json"
	d.want(d.submit(add, add, fill), 303, at)
	if html, _ := d.get(at).Html(); strings.Contains(html, "t0p-secret") {
		t.Error("the password is shown")
	}
	fill["password"], fill["uri"] = "", aFeed(t, "Acme.Web", "1.0.0", zipOf(t, "a.txt", "a"))
	if bad = d.submit(at, at, fill); bad.status != 422 || !strings.Contains(bad.Find("#f-password-error").Text(), "asked for again") {
		t.Errorf("its password goes elsewhere: %.900s", bad.Find("main").Text())
	}
	fill["username"] = ""
	d.want(d.submit(at, at, fill), 303, at)
	missing := d.submit(at, at+"/fetch", map[string]string{"packageID": "Acme.Web", "version": "9.9.9"})
	if d.want(missing, 422, ""); !strings.Contains(missing.Find("main").Text(), "has no Acme.Web 9.9.9") || missing.Find("input[name=version]").AttrOr("value", "") != "9.9.9" {
		t.Errorf("%.900s", missing.Find("main").Text())
	}
	d.want(d.submit(at, at+"/fetch", map[string]string{"packageID": "Acme.Web", "version": "1.0.0"}), 303, "/spaces/payments/packages/Acme.Web/1.0.0")
	if g := d.get("/spaces/payments/packages/Acme.Web/1.0.0"); !strings.Contains(g.Find("main").Text(), "a.txt") {
		t.Errorf("what was fetched: %.900s", g.Find("main").Text())
	}
	if rows := d.get(list).Find("#feeds tbody tr"); rows.Length() != 1 || !strings.Contains(rows.Text(), "everybody") {
		t.Errorf("%d rows: %s", rows.Length(), rows.Text())
	}
	d.want(d.submit(at, at+"/delete", nil), 303, list)
	d.want(d.get(at), 404, "")
	d.want(d.get("/spaces/payments/packages/Acme.Web/1.0.0"), 200, "")
}
