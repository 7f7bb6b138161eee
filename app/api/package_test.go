package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/apptest"
)

// upload sends a package in chunks, as the clients do.
func upload(t testing.TB, s *apptest.Server, key, part, name string, content []byte, query string) apptest.Answer {
	t.Helper()
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		f, err := form.CreateFormFile(part, name)
		if err == nil {
			_, err = f.Write(content)
		}
		if err == nil {
			err = form.Close()
		}
		w.CloseWithError(err)
	}()
	req, err := http.NewRequest("POST", s.URL+"/api/Spaces-1/packages/raw"+query, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("X-Octopus-ApiKey", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("upload: %v", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return apptest.Answer{Status: res.StatusCode, Header: res.Header, Body: b}
}

// TestPackages goes through the life of a package: pushed, found, downloaded, replaced,
// deleted.
func TestPackages(t *testing.T) {
	s := apptest.Start(t)
	one, two := zipOf(t, "a", "one"), zipOf(t, "a", "two")
	for _, step := range []struct {
		what, part string
		content    []byte
		query      string
		status     int
	}{
		{"a new version", "file", one, "", 201},
		{"the same again", "fileToUpload", one, "", 400},
		{"the same, to be ignored", "fileToUpload", one, "?overwriteMode=IgnoreIfExists", 200},
		{"another file, to be ignored", "file", two, "?overwriteMode=ignoreifexists", 200},
		{"another file, to overwrite", "file", two, "?overwriteMode=OverwriteExisting", 201},
		{"no such mode", "file", two, "?overwriteMode=Maybe", 400},
	} {
		if a := upload(t, s, s.Key, step.part, "Acme.Web.1.0.0+build.zip", step.content, step.query); a.Status != step.status {
			t.Errorf("%s: %d instead of %d: %s", step.what, a.Status, step.status, a.Body)
		}
	}
	sum := sha256.Sum256(two)
	list := s.Must("GET", "/api/Spaces-1/packages?nuGetPackageId=acme.web&take=2147483647", nil)
	items := list["Items"].([]any)
	if len(items) != 1 {
		t.Fatalf("packages = %v", list)
	}
	found := items[0].(map[string]any)
	if found["Hash"] != hex.EncodeToString(sum[:]) || found["PackageSizeBytes"] != float64(len(two)) {
		t.Errorf("package = %v", found)
	}
	if _, there := found["ReleaseNotes"]; there {
		t.Error("ReleaseNotes breaks the Go client")
	}
	self := found["Links"].(map[string]any)["Self"].(string)
	raw := s.Do(s.Key, "GET", self+"/raw", nil)
	if raw.Status != 200 || !bytes.Equal(raw.Body, two) || !strings.Contains(raw.Header.Get("Content-Disposition"), "Acme.Web.1.0.0+build.zip") {
		t.Errorf("download: %d, %d bytes, %s", raw.Status, len(raw.Body), raw.Header.Get("Content-Disposition"))
	}
	if a := s.Do(s.Key, "DELETE", self, nil); a.Status != 200 || !bytes.HasPrefix(a.Body, []byte("{")) {
		t.Errorf("delete: %d %s", a.Status, a.Body)
	}
	refused(t, "the deleted package", s.Do(s.Key, "GET", self, nil), http.StatusNotFound)
}

func TestUploadLimits(t *testing.T) {
	s := apptest.Start(t, func(a *api.Server) { a.MaxPackage = 64 << 10 })
	big := bytes.Repeat([]byte("x"), 64<<10+1)
	for range 5 {
		refused(t, "a package that is too large", upload(t, s, s.Key, "file", "big.1.0.0.zip", big, ""), http.StatusRequestEntityTooLarge)
	}
	if a := upload(t, s, s.Key, "file", "fits.1.0.0.zip", big[:64<<10], ""); a.Status != http.StatusCreated {
		t.Errorf("a package that just fits: %d %s", a.Status, a.Body)
	}
	refused(t, "no version in the name", upload(t, s, s.Key, "file", "noversion.zip", big[:10], ""), http.StatusBadRequest)
	refused(t, "no file", s.Do(s.Key, "POST", "/api/packages/raw", []byte("{}")), http.StatusBadRequest)
	_, key := s.NewUser("stranger")
	refused(t, "a member of no space", upload(t, s, key, "file", "a.1.0.0.zip", big[:10], ""), http.StatusNotFound)
	refused(t, "no key", upload(t, s, "", "file", "a.1.0.0.zip", big, ""), http.StatusUnauthorized)
}
