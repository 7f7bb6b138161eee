package web

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
)

// A logo is given, shown, refused when it is none, and removed by the pages.
func TestLogoPages(t *testing.T) {
	d := open(t)
	d.setUp()
	d.want(d.submit("/spaces/payments/projects/new", "/spaces/payments/projects", map[string]string{"name": "Shop"}), 303, "")
	const p = "/spaces/payments/projects/shop"
	const settings, to = p + "/settings", p + "/settings/logo"
	if d.get(p).Find("h1 img").Length() != 0 {
		t.Error("there is a picture before one was given")
	}
	bad := d.give(settings, to, "logo", []byte("<svg><script>alert(1)</script></svg>"))
	if d.want(bad, 422, ""); !strings.Contains(bad.Find("main").Text(), "a PNG or a JPEG") {
		t.Errorf("%.900s", bad.Find("main").Text())
	}
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewPaletted(image.Rect(0, 0, 64, 64), color.Palette{color.Black})); err != nil {
		t.Fatal(err)
	}
	d.want(d.give(settings, to, "logo", b.Bytes()), 303, settings)
	src := d.get(p).Find("h1 img").AttrOr("src", "")
	got, header := d.download(src)
	if !bytes.Equal(got, b.Bytes()) || header.Get("Content-Type") != "image/png" || !strings.Contains(header.Get("Content-Security-Policy"), "sandbox") || !strings.Contains(header.Get("Cache-Control"), "immutable") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: %d bytes, %v", src, len(got), header)
	}
	d.want(d.submit(settings, to+"/remove", nil), 303, settings)
	d.want(d.get(src), 404, "")
	if d.get(p).Find("h1 img").Length() != 0 {
		t.Error("there is a picture after it was removed")
	}
}
