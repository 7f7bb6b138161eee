package app

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"octopuses.dev/octopuses/static"
	"octopuses.dev/octopuses/views/gallery"
)

//go:embed testdata/axe/axe.min.js
var axeSource string

// finding is a rule that a page breaks, and where.
type finding struct {
	ID, Help string
	Nodes    []struct {
		Target  []any
		Summary string
	}
}

func (f finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", f.ID, f.Help)
	for i, n := range f.Nodes {
		if i == 4 {
			fmt.Fprintf(&b, "\n\t… and %d more", len(f.Nodes)-i)
			break
		}
		fmt.Fprintf(&b, "\n\t%v: %s", n.Target, strings.Join(strings.Fields(n.Summary), " "))
	}
	return b.String()
}

// axe asks axe-core about the page as it stands: all rules of WCAG 2.0 to 2.2 at levels A
// and AA, or only those that are named.
func (p *tab) axe(rules ...string) (found []finding) {
	p.t.Helper()
	run := `{ type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }`
	if len(rules) > 0 {
		b, _ := json.Marshal(rules)
		run = `{ type: 'rule', values: ` + string(b) + ` }`
	}
	if p.text(`typeof axe`) == "undefined" {
		p.eval(axeSource+"; 1", nil)
	}
	p.eval(`axe.run({ runOnly: `+run+`, resultTypes: ['violations'], elementRef: false, preload: false, iframes: false }).then((r) => r.violations.map((v) => ({ id: v.id, help: v.help, nodes: v.nodes.map((n) => ({ target: n.target, summary: n.failureSummary })) })))`, &found)
	return found
}

func prefers(theme string) chromedp.Action[chromedp.Void] {
	return call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// look says what is wrong with the page that is open: whatever hangs out of a phone of
// 360 px, what axe finds in light, and what contrasts it finds in dark. Of long lists axe
// sees the beginning: their rows are alike, and it looks at each for milliseconds.
func (p *tab) look() (wrong []string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(360, 780))
	if wide := p.text(`(() => {
		const r = document.scrollingElement;
		if (r.scrollWidth <= 360 && innerWidth <= 360) return '';
		const out = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 361 && !e.closest('.tablewrap, .picture, .rail, .tabs, pre'));
		return r.scrollWidth + ' px wide: ' + out.slice(0, 5).map((e) => e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 40)).join(' | ');
	})()`); wide != "" {
		wrong = append(wrong, "on a phone: "+wide)
	}
	p.do(chromedp.EmulateViewport(1280, 900))
	p.eval(`for (const e of document.querySelectorAll('tbody > tr:nth-child(n+16), ul > li:nth-child(n+16)')) e.remove()`, nil)
	for _, f := range p.axe() {
		wrong = append(wrong, "light: "+f.String())
	}
	p.eval(`document.documentElement.dataset.theme = 'dark'`, nil)
	for _, f := range p.axe("color-contrast") {
		wrong = append(wrong, "dark: "+f.String())
	}
	for _, c := range p.said() {
		wrong = append(wrong, "it complains: "+c)
	}
	return wrong
}

// lookers is how many tabs look at pages at once.
const lookers = 2

// testGallery looks at every page in every state.
func testGallery(t *testing.T, b *browser, s *shopSite) {
	policy := policyOf(t, s.url)
	pages := map[string][]byte{}
	var names []string
	for _, f := range gallery.Pages() {
		var out bytes.Buffer
		if err := f.Component.Render(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name)
		pages["/"+f.Name] = out.Bytes()
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, ok := strings.CutPrefix(r.URL.Path, static.Prefix); ok {
			f, _ := static.Open(name, "")
			w.Header().Set("Content-Type", f.Type)
			_, _ = w.Write(f.Body)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(pages[r.URL.Path])
	}))
	defer server.Close()
	next := make(chan string, len(names))
	for _, name := range names {
		next <- name
	}
	close(next)
	t.Run("all", func(t *testing.T) {
		for lane := range lookers {
			t.Run(fmt.Sprint(lane+1), func(t *testing.T) {
				t.Parallel()
				p := b.tab(t)
				p.do(prefers("light"))
				for name := range next {
					p.open(server.URL + "/" + url.PathEscape(name))
					p.until(`document.documentElement.classList.contains('js')`)
					for _, w := range p.look() {
						t.Errorf("%s: %s", name, w)
					}
				}
			})
		}
	})
}

// policyOf is the policy that the product's own pages have.
func policyOf(t *testing.T, at string) string {
	t.Helper()
	res, err := http.Get(at + "/signin")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	policy := res.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "script-src 'self'") {
		t.Fatalf("the policy is %q", policy)
	}
	return policy
}

// testLivePages walks from page to page, by their links, and looks at one of each kind.
func testLivePages(t *testing.T, b *browser, s *shopSite) {
	p := b.tab(t)
	p.do(prefers("light"))
	p.signIn(s.site)
	type link struct{ Path, From string }
	queue, seen := []link{{"/spaces/shop", ""}}, map[string]bool{"/": true}
	looked := 0
	for ; len(queue) > 0; looked++ {
		at := queue[0]
		queue = queue[1:]
		p.open(s.url + at.Path)
		p.until(`document.documentElement.classList.contains('js')`)
		if status := p.text(`performance.getEntriesByType('navigation')[0].responseStatus`); status != "200" {
			t.Errorf("%s has a link to %s, which answers %s", at.From, at.Path, status)
		}
		var links []string
		p.eval(`[...document.querySelectorAll('a[href]:not([download])')].map((a) => new URL(a.href)).filter((u) => u.origin === location.origin).map((u) => u.pathname + u.search)`, &links)
		for _, w := range p.look() {
			t.Errorf("%s: %s", at.Path, w)
		}
		for _, l := range links {
			if k := kindOfPage(l); !seen[k] {
				seen[k] = true
				queue = append(queue, link{l, at.Path})
			}
		}
	}
	t.Logf("%d kinds of pages", looked)
	if looked < 20 {
		t.Errorf("only %d pages were found", looked)
	}
}

var particular = regexp.MustCompile(`/[^/?]*[0-9][^/?]*|/(web-shop|billing|web)\b|=[^&]*`)

// kindOfPage is a path without what is of one project, release, task or package.
func kindOfPage(path string) string { return particular.ReplaceAllString(path, "/*") }
