package gallery

import (
	"bytes"
	"compress/gzip"
	"context"
	"testing"

	"github.com/PuerkitoBio/goquery"
)

// Every page must be usable with a screen reader and under a policy that allows
// no inline script or style, and stay within its weight.
func TestPages(t *testing.T) {
	names := map[string]bool{}
	for _, f := range Pages() {
		t.Run(f.Name, func(t *testing.T) {
			if names[f.Name] {
				t.Fatal("two fixtures of this name")
			}
			names[f.Name] = true
			var b, z bytes.Buffer
			if err := f.Component.Render(context.Background(), &b); err != nil {
				t.Fatal(err)
			}
			w := gzip.NewWriter(&z)
			_, _ = w.Write(b.Bytes())
			_ = w.Close()
			if z.Len() > 30<<10 { // ux.md: 30 KB for a dashboard of 50 × 5
				t.Errorf("page weighs %d bytes compressed", z.Len())
			}
			doc, err := goquery.NewDocumentFromReader(&b)
			if err != nil {
				t.Fatal(err)
			}
			for what, n := range map[string]int{"main": doc.Find("main").Length(), "h1": doc.Find("h1").Length(), "title": doc.Find("head title").Length()} {
				if n != 1 {
					t.Errorf("%d × %s, want 1", n, what)
				}
			}
			if n := doc.Find("[style], style, script:not([src]), [onclick]").Length(); n != 0 {
				t.Errorf("%d inline styles or scripts", n)
			}
			ids := map[string]bool{}
			doc.Find("[id]").Each(func(_ int, s *goquery.Selection) {
				if id := s.AttrOr("id", ""); ids[id] {
					t.Errorf("id %q twice", id)
				} else {
					ids[id] = true
				}
			})
			doc.Find("input:not([type=hidden]), select, textarea").Each(func(_ int, s *goquery.Selection) {
				if id := s.AttrOr("id", ""); id == "" || doc.Find(`label[for="`+id+`"]`).Length() != 1 {
					t.Errorf("input %q has no label", s.AttrOr("name", ""))
				}
			})
			doc.Find("form[method=post]").Each(func(_ int, s *goquery.Selection) {
				if s.Find("input[name=csrf]").Length() != 1 {
					t.Errorf("form to %s has no token against forgery", s.AttrOr("action", ""))
				}
			})
			doc.Find("button, a[href], summary").Each(func(_ int, s *goquery.Selection) {
				if s.Text() == "" && s.AttrOr("aria-label", "") == "" {
					t.Errorf("%s without a name", goquery.NodeName(s))
				}
			})
		})
	}
}
