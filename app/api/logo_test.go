package api_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/apptest"
)

func picture(t *testing.T, side int, encode func(*bytes.Buffer, image.Image) error) []byte {
	t.Helper()
	m := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(b *bytes.Buffer, m image.Image) error  { return png.Encode(b, m) }
func asJPEG(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) }

// A project has a picture, which is one, and nothing that a browser would run.
func TestLogo(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	s.Must("POST", "/api/Spaces-1/projects", map[string]any{"Name": "Shop"})
	const at = "/api/Spaces-1/projects/Projects-1/logo"
	send := func(file []byte) apptest.Answer {
		t.Helper()
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, err := w.CreateFormFile("fileToUpload", "logo.png")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(file)
		_ = w.Close()
		req, err := http.NewRequest("POST", s.URL+at, &b)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", w.FormDataContentType())
		req.Header.Set("X-Octopus-ApiKey", s.Key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var body bytes.Buffer
		_, _ = body.ReadFrom(res.Body)
		return apptest.Answer{Status: res.StatusCode, Body: body.Bytes()}
	}
	if a := s.Do(s.Key, "GET", at, nil); a.Status != 404 {
		t.Errorf("without one: %d %s", a.Status, a.Body)
	}
	for what, x := range map[string]struct {
		file []byte
		says string
	}{
		"a page":     {[]byte("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"), "PNG or a JPEG"},
		"nothing":    {nil, "PNG or a JPEG"},
		"too wide":   {picture(t, 513, asPNG), "at most 512 × 512 pixels"},
		"a bomb":     {picture(t, 8000, asPNG), "at most 512 × 512 pixels"},
		"too large":  {append(picture(t, 64, asPNG), make([]byte, 64<<10)...), "at most 64 KiB"},
		"half a PNG": {picture(t, 64, asPNG)[:20], "PNG or a JPEG"},
	} {
		if a := send(x.file); a.Status/100 != 4 || !strings.Contains(string(a.Body), x.says) {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	for kind, file := range map[string][]byte{"image/png": picture(t, 64, asPNG), "image/jpeg": picture(t, 512, asJPEG)} {
		if a := send(file); a.Status != 200 {
			t.Errorf("%s: %d %s", kind, a.Status, a.Body)
		}
		res, err := http.NewRequest("GET", s.URL+at, nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Header.Set("X-Octopus-ApiKey", s.Key)
		got, err := http.DefaultClient.Do(res)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, _ = b.ReadFrom(got.Body)
		_ = got.Body.Close()
		if !bytes.Equal(b.Bytes(), file) || got.Header.Get("Content-Type") != kind || got.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(got.Header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s comes back as %d bytes, %v", kind, b.Len(), got.Header)
		}
	}
	if a := s.Do(s.Key, "DELETE", at, nil); a.Status != 200 {
		t.Errorf("removed: %d %s", a.Status, a.Body)
	}
	if a := s.Do(s.Key, "GET", at, nil); a.Status != 404 {
		t.Errorf("after that: %d", a.Status)
	}
	if a := s.Do(s.Key, "GET", "/api/Spaces-1/events?regarding=Projects-1", nil); !strings.Contains(string(a.Body), "was given a logo") || !strings.Contains(string(a.Body), "has no logo any more") {
		t.Errorf("the audit: %s", a.Body)
	}
}
