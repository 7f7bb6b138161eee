package feeds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces/errs"
)

// nuget is a feed as nuget.org's is, with one package and a password, whose files are on
// another host.
func nuget(t *testing.T) (*Client, Feed, *strings.Builder) {
	t.Helper()
	var heard strings.Builder // Authorization at the host of the files
	files := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard.WriteString(r.Header.Get("Authorization"))
		fmt.Fprint(w, "bytes of "+r.URL.Path)
	}))
	t.Cleanup(files.Close)
	var own *httptest.Server
	own = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != "robot" || password != "feed-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/v3/index.json":
			fmt.Fprintf(w, `{"version": "3.0.0", "resources": [{"@id": "%s/search", "@type": "SearchQueryService"}, {"@id": "%s/flat/", "@type": "PackageBaseAddress/3.0.0"}]}`, own.URL, own.URL)
		case "/flat/acme.web/index.json":
			fmt.Fprint(w, `{"versions": ["1.0.0", "1.10.0-RC.1", "1.10.0"]}`)
		case "/flat/acme.web/1.10.0/acme.web.1.10.0.nupkg", "/flat/acme.web/1.10.0-rc.1/acme.web.1.10.0-rc.1.nupkg":
			http.Redirect(w, r, files.URL+r.URL.Path, http.StatusFound)
		case "/flat/acme.web/1.0.0/acme.web.1.0.0.nupkg":
			http.Redirect(w, r, strings.Replace(files.URL, "https", "http", 1), http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(own.Close)
	roots := own.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	c := New(outbound.Guard{Local: true}, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	return c, Feed{"Acme", own.URL + "/v3/index.json", "robot", "feed-secret"}, &heard
}

func TestNuGet(t *testing.T) {
	t.Parallel()
	c, f, heard := nuget(t)
	ctx := context.Background()
	if all, err := c.Versions(ctx, f, "Acme.Web"); err != nil || strings.Join(all, " ") != "1.0.0 1.10.0-RC.1 1.10.0" {
		t.Errorf("versions: %q, %v", all, err)
	}
	if all, err := c.Versions(ctx, f, "Nothing"); err != nil || len(all) != 0 {
		t.Errorf("versions of what it has not: %q, %v", all, err)
	}
	for _, version := range []string{"1.10.0", "1.10.0-rc.1"} {
		file, err := c.Open(ctx, f, "Acme.Web", version)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil || !strings.Contains(string(b), "acme.web."+version) {
			t.Errorf("%s: %q, %v", version, b, err)
		}
	}
	if heard.Len() != 0 {
		t.Error("another host was told the password")
	}
	for what, x := range map[string]struct {
		id, version string
		kind        errs.Kind
	}{
		"a version it has not": {"Acme.Web", "3.0.0", errs.NotFound}, "a package it has not": {"Other", "1.0.0", errs.NotFound},
		"from https to http": {"Acme.Web", "1.0.0", errs.Unavailable}, "a path": {"../../v3", "1.0.0", errs.Invalid}, "no name": {"..", "1.0.0", errs.Invalid}, "no version": {"Acme.Web", "newest", errs.Invalid},
	} {
		if file, err := c.Open(ctx, f, x.id, x.version); errs.KindOf(err) != x.kind {
			t.Errorf("%s: %v, %v", what, file, err)
		}
	}
}

// What answers otherwise than a feed is named, with what to look at, and its words are not.
func TestOddFeeds(t *testing.T) {
	t.Parallel()
	c, good, _ := nuget(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/html":
			fmt.Fprint(w, "<h1>own words</h1>")
		case "/long":
			_, _ = io.Copy(w, io.LimitReader(zeros{}, maxJSON+2))
		case "/none":
			fmt.Fprint(w, `{"resources": []}`)
		case "/file":
			fmt.Fprint(w, `{"resources": [{"@id": "file:///etc/", "@type": "PackageBaseAddress/3.0.0"}]}`)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	wrong := good
	wrong.Password = "another"
	for what, f := range map[string]Feed{"refuses the name and password": wrong, "no JSON": {URI: s.URL + "/html"}, "too long": {URI: s.URL + "/long"}, "names no PackageBaseAddress": {URI: s.URL + "/none"}, "not called": {URI: s.URL + "/file"}, "500": {URI: s.URL + "/broken"}, "nothing at its address": {URI: s.URL + "/nothing"}, "cannot be reached": {URI: "http://127.0.0.1:1/"}} {
		_, err := c.Versions(context.Background(), f, "Acme.Web")
		if errs.KindOf(err) != errs.Unavailable || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "own words") {
			t.Errorf("%s: %v", what, err)
		}
	}
	// What is on this machine is not called, unless whoever runs the server says so.
	guarded := New(outbound.Guard{}, nil)
	if _, err := guarded.Versions(context.Background(), Feed{URI: s.URL + "/none"}, "Acme.Web"); errs.KindOf(err) != errs.Denied {
		t.Errorf("this machine is called: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
