package web

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/steps"
)

// zipOf packs pairs of name and text.
func zipOf(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		f, err := w.Create(pairs[i])
		if err == nil {
			_, err = f.Write([]byte(pairs[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type file struct {
	name string
	body []byte
}

// upload posts files as the form of the page does.
func (d *door) upload(files ...file) page {
	d.t.Helper()
	const to = "/spaces/payments/packages"
	form := d.get(to).Find("#upload")
	if form.AttrOr("enctype", "") != "multipart/form-data" || form.Find("input").First().AttrOr("name", "") != "csrf" {
		d.t.Fatal("the form has no token before its files")
	}
	return d.uploadWith(form.Find("input[name=csrf]").AttrOr("value", ""), files...)
}

func (d *door) uploadWith(token string, files ...file) page {
	d.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("csrf", token)
	for _, f := range files {
		part, err := w.CreateFormFile("files", f.name)
		if err != nil {
			d.t.Fatal(err)
		}
		_, _ = part.Write(f.body)
	}
	_ = w.Close()
	req := httptest.NewRequest("POST", "/spaces/payments/packages", &b)
	req.Header.Set("Content-Type", w.FormDataContentType())
	return d.send(req)
}

// blobs are the files that the spaces keep, whole or half.
func (d *door) blobs() (out []string) {
	d.t.Helper()
	var store *packages.Store
	ctx := d.t.Context()
	about, err := d.s.Instance.SpaceBy(ctx, "payments")
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := d.s.Spaces.Acquire(ctx, ref(about))
	if err != nil {
		d.t.Fatal(err)
	}
	defer s.Release()
	store = s.Packages()
	root := filepath.Dir(filepath.Dir(store.Path(strings.Repeat("0", 64))))
	err = filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			out = append(out, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// A package is pushed by the form, looked into, compared, downloaded and deleted.
func TestPackagePages(t *testing.T) {
	d := open(t)
	d.setUp()
	const p = "/spaces/payments/packages"
	if empty := d.get(p); empty.Find(".empty").Length() != 1 || empty.Find("#f-files").Length() != 1 || !strings.Contains(empty.Find(".copy pre").Text(), "/api/Spaces-1/packages/raw") {
		t.Errorf("an empty library teaches: %s", empty.Find("main").Text())
	}
	one := zipOf(t, "run.sh", "echo one\nexit 0\n", "old.txt", "x")
	two := zipOf(t, "run.sh", "echo two\nexit 0\n", "new<b>.txt", "y")
	d.want(d.upload(file{"Acme.Web.1.9.0.zip", one}), 303, p+"/Acme.Web/1.9.0")
	d.want(d.upload(file{"Acme.Web.1.10.0+b.1.zip", two}, file{"tool.2.0.0.nupkg", one}), 303, p+"?uploaded=2")
	list := d.get(p + "?uploaded=2")
	if rows := list.Find("#packages tbody tr"); rows.Length() != 2 || !strings.Contains(rows.Eq(0).Text(), "1.10.0+b.1") || strings.TrimSpace(rows.Eq(0).Find("td.num").Eq(0).Text()) != "2" {
		t.Errorf("the list has each id once with its newest version: %s", rows.Text())
	}
	if got := d.get(p + "?q=TOO").Find("#packages tbody tr"); got.Length() != 1 {
		t.Errorf("the filter finds one: %s", got.Text())
	}
	versions := d.get(p + "/acme.web")
	if rows := versions.Find("tbody tr"); rows.Length() != 2 || !strings.Contains(rows.Eq(1).Text(), "1.9.0") || versions.Find("h1").Text() != "Acme.Web" {
		t.Errorf("versions: %s", versions.Find("main").Text())
	}
	sum := sha256.Sum256(two)
	v := d.get(p + "/Acme.Web/1.10.0+b.1")
	if text := v.Find("main").Text(); !strings.Contains(text, hex.EncodeToString(sum[:])) || !strings.Contains(text, "new<b>.txt") || !strings.Contains(text, "ada") {
		t.Errorf("the page of a version has its digest, who pushed it and what is in it: %s", text)
	}
	if got := d.get(p + "/Acme.Web/1.10.0+b.1?q=run").Find("#contents tbody tr"); got.Length() != 1 {
		t.Errorf("the filter of files finds one: %s", got.Text())
	}
	d.want(d.get(p+"/Acme.Web/1.10.0+b.1/compare?with=1.9.0"), 303, p+"/Acme.Web/1.10.0+b.1/compare/1.9.0")
	diff := d.get(p + "/Acme.Web/1.10.0+b.1/compare/1.9.0")
	if text := diff.Find("main").Text(); !strings.Contains(text, "1 file added, 1 removed, 1 changed") || diff.Find(".diff .add").Last().Text() == "" || !strings.Contains(diff.Find(".diff .del").Text(), "1-echo one") {
		t.Errorf("comparison: %s", text)
	}
	if got := d.get(p + "/tool/2.0.0/compare/2.0.0"); !strings.Contains(got.Find("main").Text(), "the same files") {
		t.Errorf("nothing differs from itself: %s", got.Find("main").Text())
	}
	res, err := d.app.Test(d.with(httptest.NewRequest("GET", p+"/Acme.Web/1.10.0+b.1/download", nil)), -1)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); !bytes.Equal(body, two) || !strings.Contains(res.Header.Get("Content-Disposition"), "Acme.Web.1.10.0+b.1.zip") {
		t.Errorf("download: %d, %d bytes, %s", res.StatusCode, len(body), res.Header.Get("Content-Disposition"))
	}
	wrong := d.submit(p+"/tool/2.0.0", p+"/tool/2.0.0/delete", map[string]string{"name": "2"})
	d.want(wrong, 422, "")
	if wrong.Find(".errors").Length() != 1 {
		t.Error("a wrong confirmation is told")
	}
	d.want(d.submit(p+"/Acme.Web/1.9.0", p+"/Acme.Web/1.9.0/delete", map[string]string{"name": "1.9.0"}), 303, p+"/Acme.Web")
	d.want(d.submit(p+"/tool/2.0.0", p+"/tool/2.0.0/delete", map[string]string{"name": "2.0.0"}), 303, p)
	d.want(d.get(p+"/tool"), 404, "")
	d.want(d.get(p+"/tool/2.0.0"), 404, "")
}

// What is refused says so with the name of the file, and leaves nothing on the disk.
func TestUploadRefused(t *testing.T) {
	d := open(t)
	d.s.MaxPackage = 64 << 10
	d.setUp()
	one, two := zipOf(t, "a", "one"), zipOf(t, "a", "two")
	d.want(d.upload(file{"web.1.0.0.zip", one}), 303, "")
	before := fmt.Sprint(d.blobs())
	d.want(d.upload(file{"web.1.0.0.zip", one}), 303, "/spaces/payments/packages/web/1.0.0") // the same again is no mistake
	for _, c := range []struct {
		what   string
		status int
		file   file
		says   string
	}{
		{"no version", 422, file{"web.zip", one}, "'web.zip' has no version"},
		{"no archive", 422, file{"web.txt", one}, "no extension of a package"},
		{"another file", 422, file{"web.1.0.0.zip", two}, "web.1.0.0.zip: web 1.0.0 is here already, with other content"},
		{"damaged", 422, file{"web.1.0.1.zip", one[:len(one)-9]}, "web.1.0.1.zip: The archive is damaged"},
		{"damaged inside", 422, file{"web.1.0.1.tar.gz", []byte("\x1f\x8b rest")}, "The archive is damaged"},
		{"too large", 413, file{"web.1.0.1.zip", bytes.Repeat([]byte("x"), 64<<10+1)}, "larger than the limit of 64 KB"},
	} {
		p := d.upload(c.file)
		if p.status != c.status || !strings.Contains(p.Find(".errors").Text(), c.says) || p.Find("#f-files").AttrOr("aria-invalid", "") != "true" {
			t.Errorf("%s: %d %s", c.what, p.status, p.Find(".errors").Text())
		}
		if now := fmt.Sprint(d.blobs()); now != before {
			t.Errorf("%s left something behind: %s, before %s", c.what, now, before)
		}
	}
	if p := d.upload(); p.status != 422 || !strings.Contains(p.Find(".errors").Text(), "Choose a file") {
		t.Errorf("no file: %d %s", p.status, p.Find(".errors").Text())
	}
	both := d.upload(file{"web.zip", one}, file{"web.2.0.0.zip", two})
	if both.status != 422 || !strings.Contains(both.Find(".notice").Text(), "web 2.0.0") || both.Find(".errors li").Length() != 1 {
		t.Errorf("one of two: %d %s", both.status, both.Find("main").Text())
	}
	before = fmt.Sprint(d.blobs())
	d.want(d.uploadWith("forged", file{"web.3.0.0.zip", zipOf(t, "a", "three")}), 403, "")
	req := httptest.NewRequest("POST", "/spaces/payments/packages", strings.NewReader("x"))
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	d.want(d.send(req), 422, "")
	cut := "--b\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n" + d.get("/account").Find("input[name=csrf]").First().AttrOr("value", "") + "\r\n--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"web.3.0.0.zip\"\r\n\r\nPK"
	req = httptest.NewRequest("POST", "/spaces/payments/packages", strings.NewReader(cut))
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	d.want(d.send(req), 422, "")
	if now := fmt.Sprint(d.blobs()); now != before {
		t.Errorf("a forged or cut upload left something behind: %s, before %s", now, before)
	}
}

// A version that a release uses stays, and the page says which release.
func TestPackageInUse(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const p, shop = "/spaces/payments/packages", "/spaces/payments/projects/web-shop"
	d.want(d.upload(file{"web.1.0.0.zip", zipOf(t, "a", "one")}), 303, "")
	d.want(d.submit("/spaces/payments/projects/new", "/spaces/payments/projects", map[string]string{"name": "Web shop"}), 303, shop)
	d.inSpace(func(tx *spaces.Tx) error {
		project, err := tx.ProjectBy("web-shop")
		if err != nil {
			return err
		}
		kind, _ := steps.Lookup("Octopus.TentaclePackage")
		step := kind.New("Deploy")
		step.Properties.Set(steps.TargetRolesProperty, "web")
		step.Actions[0].Packages = []steps.PackageReference{{PackageID: "web", FeedID: spaces.BuiltInFeed}}
		if _, err := tx.SaveProcess(project.ID, 0, steps.Process{Steps: []steps.Step{step}}); err != nil {
			return err
		}
		_, err = tx.CreateRelease(spaces.ReleaseInput{Project: project.ID, Version: "7.1.0"})
		return err
	})
	v := d.get(p + "/web/1.0.0")
	if a := v.Find("dl a"); a.Text() != "Web shop 7.1.0" || a.AttrOr("href", "") != shop+"/releases/7.1.0" {
		t.Errorf("the page names the release: %s", v.Find("dl").Text())
	}
	if b := v.Find("button.danger"); b.Length() != 1 || !strings.Contains(v.Find(".why").Text(), "A release uses it") {
		t.Errorf("it cannot be deleted, and why: %s", v.Find("main").Text())
	}
	if _, disabled := v.Find("button.danger").Attr("disabled"); !disabled {
		t.Error("the button works")
	}
	token := v.Find("input[name=csrf]").First().AttrOr("value", "")
	forced := d.send(post_(p+"/web/1.0.0/delete", map[string][]string{"csrf": {token}, "name": {"1.0.0"}}))
	if forced.status != 422 || !strings.Contains(forced.Find(".errors").Text(), "Web shop 7.1.0") {
		t.Errorf("who sends the form nevertheless: %d %s", forced.status, forced.Find("main").Text())
	}
	if got := d.get(p + "/web"); !strings.Contains(got.Find("tbody").Text(), "Web shop 7.1.0") {
		t.Errorf("the list of versions names it: %s", got.Find("tbody").Text())
	}
}

func (d *door) with(req *http.Request) *http.Request {
	for n, v := range d.cookies {
		req.AddCookie(&http.Cookie{Name: n, Value: v})
	}
	return req
}
