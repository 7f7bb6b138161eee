package app

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/steps"
)

// shopSite is a site with two projects of some releases, an environment with an agent
// and one without a target.
type shopSite struct {
	*site
	test, production spaces.Environment
	shop             spaces.Project
	gate             string // a file that the script of a deployment waits for
}

func newShop(t *testing.T) *shopSite {
	t.Helper()
	s := &shopSite{site: newSite(t), gate: filepath.Join(t.TempDir(), "gate")}
	s.fill(func(tx *spaces.Tx) (err error) {
		if s.test, err = tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Test"}); err != nil {
			return err
		}
		s.production, err = tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Production"})
		return err
	})
	s.agent("web-01", s.test.ID)
	s.push("web", "1.0.0", "echo one\n")
	s.push("web", "1.1.0", "echo two\n")
	s.fill(func(tx *spaces.Tx) (err error) {
		for _, name := range []string{"Billing", "Web shop"} {
			p, err := tx.CreateProject(spaces.ProjectInput{Name: name})
			if err != nil {
				return err
			}
			kind, _ := steps.Lookup("Octopus.Script")
			step := kind.New("Greet")
			step.Properties.Set(steps.TargetRolesProperty, "web")
			step.Actions[0].Properties["Octopus.Action.Script.ScriptBody"] = steps.Text(fmt.Sprintf("echo begun\nn=0\nwhile [ ! -e '%s' ]; do n=$((n+1)); echo tick $n; sleep 0.05; done\necho ended", s.gate))
			if _, err := tx.SaveProcess(p.ID, 0, steps.Process{Steps: []steps.Step{step}}); err != nil {
				return err
			}
			for _, v := range []string{"1.0.0", "1.1.0"} {
				if _, err := tx.CreateRelease(spaces.ReleaseInput{Project: p.ID, Version: v}); err != nil {
					return err
				}
			}
			s.shop = p
		}
		return nil
	})
	return s
}

// push stores a package of one file.
func (s *shopSite) push(id, version, content string) {
	s.t.Helper()
	s.within(func(space *spaces.Space) error {
		blob, err := space.Packages().Put(s.t.Context(), bytes.NewReader(zipFile(s.t, content)), 1<<20)
		if err != nil {
			return err
		}
		_, err = spaces.Update(s.t.Context(), space, spaces.Server(), func(tx *spaces.Tx) (spaces.Package, error) {
			p, _, err := tx.AddPackage(id, version, ".zip", blob, spaces.FailIfExists)
			return p, err
		})
		return err
	})
}

func zipFile(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("run.sh")
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A person signs in by the form, presses Ctrl-K, types some letters of a project and
// Enter, and is there.
func testPalette(t *testing.T, b *browser, s *shopSite) {
	p := b.tab(t)
	p.open(s.url + "/spaces/shop")
	p.until(`location.pathname === '/signin' && document.activeElement.name === 'username'`)
	p.type_("ada" + kb.Tab + sitePassword + kb.Enter)
	p.until(`location.pathname === '/spaces/shop' && document.documentElement.classList.contains('js') && document.querySelector('h1') !== null`)
	p.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	p.until(`document.querySelector('.palette').open && document.activeElement.id === 'palette-q'`)
	p.type_("bill")
	p.until(`document.querySelector('.palette .on')?.textContent.startsWith('Billing')`)
	p.type_(kb.Enter)
	p.until(`location.pathname === '/spaces/shop/projects/billing' && document.querySelector('h1').textContent.includes('Billing') && document.documentElement.classList.contains('js')`)
	p.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	p.until(`document.querySelector('.palette').open`)
	p.type_(kb.Escape)
	p.until(`!document.querySelector('.palette').open && document.activeElement === document.body`)
	p.type_("?")
	p.until(`document.querySelector('dialog.keys').open`)
}

// The page of a deployment moves by itself, from its first line to its end; when the
// server is gone it says since when it is not live, and comes back with the server.
func testLive(t *testing.T, b *browser, _ *shopSite) {
	s := newShop(t) // it is stopped, so nobody else may look at it
	p := b.tab(t)
	p.harmless = func(c string) bool {
		return strings.Contains(c, "ERR_CONNECTION_REFUSED") || strings.Contains(c, "ERR_INCOMPLETE_CHUNKED") || strings.Contains(c, "ERR_EMPTY_RESPONSE") || strings.Contains(c, "ERR_CONNECTION_RESET") || strings.Contains(c, "503")
	}
	p.signIn(s.site)
	var at string
	s.fill(func(tx *spaces.Tx) error {
		r, err := tx.ReleaseBy(s.shop.ID, "1.0.0")
		if err != nil {
			return err
		}
		d, err := tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: s.test.ID})
		at = "/spaces/shop/projects/web-shop/releases/1.0.0/deployments/" + d.ID.String()
		return err
	})
	p.open(s.url + at)
	p.eval(`window.mark = 'not reloaded'`, nil)
	// Parts of the page come late, so that lines of the stream overtake them.
	p.eval(`{ const now = window.fetch; window.fetch = async (...a) => { const r = await now(...a), t = await r.text(); await new Promise((d) => setTimeout(d, 200)); return new Response(t, r); }; }`, nil)
	p.until(`document.querySelector('#log').innerText.includes('begun')`)
	if said := p.text(`document.querySelector('main').innerText`); strings.Contains(said, "Succeeded") || !strings.Contains(said, "Running") {
		t.Errorf("it has not ended, and the page says: %s", said)
	}
	// Lines come by the stream, each once; the log is not fetched again for them.
	p.until(`document.querySelector('#log').innerText.includes('tick 40')`)
	fetched, err := strconv.Atoi(p.text(`String(performance.getEntriesByType('resource').filter((r) => r.initiatorType === 'fetch' && r.name.includes('/deployments/')).length)`))
	if err != nil || fetched > 30 {
		t.Errorf("parts of the page were fetched %d times for some 40 lines, %v", fetched, err)
	}
	ticks := func() {
		t.Helper()
		list := strings.Fields(p.text(`[...document.querySelectorAll('#log li')].map((l) => l.innerText.match(/tick (\d+)/)?.[1]).filter(Boolean).join(' ')`))
		for i, tick := range list {
			if tick != fmt.Sprint(i+1) {
				t.Fatalf("the lines on the page: %v", list)
			}
		}
	}
	ticks()
	if err := os.WriteFile(s.gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.until(`document.querySelector('#log').innerText.includes('ended') && document.querySelector('#actions').innerText.includes('Deploy again') && document.querySelector('#progress').innerText.includes('Succeeded')`)
	ticks()
	s.stop()
	p.until(`document.querySelector('.lost')?.innerText.startsWith('Not live since ')`)
	s.start()
	p.until(`document.querySelector('.lost') === null`)
	// And it is live again: somebody's push shows in a list.
	if mark := p.text(`window.mark`); mark != "not reloaded" {
		t.Error("the page was loaded anew")
	}
	p.open(s.url + "/spaces/shop/packages")
	p.eval(`window.mark = 'not reloaded'`, nil)
	p.until(`performance.getEntriesByType('resource').length > 0 && document.readyState === 'complete'`)
	s.push("late", "1.0.0", "x")
	p.until(`document.querySelector('#packages').innerText.includes('late') && window.mark === 'not reloaded'`)
}

// Files go up by the script, with a bar; what is refused is said on the same page, which
// keeps its place, and the same form goes through afterwards.
func testUploadForm(t *testing.T, b *browser, s *shopSite) {
	dir := t.TempDir()
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, zipFile(t, name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p := b.tab(t)
	p.harmless = func(c string) bool { return strings.Contains(c, "422") } // the browser reports the refusal
	p.signIn(s.site)
	p.open(s.url + "/spaces/shop/packages")
	p.until(`document.documentElement.classList.contains('js')`)
	p.eval(`window.mark = 'not reloaded'; window.bars = 0; new MutationObserver(() => { if (document.querySelector('#upload progress')) window.bars++ }).observe(document.body, { childList: true, subtree: true }); 1`, nil)
	p.do(chromedp.SetUploadFiles("#f-files", []string{write("tool.zip"), write("tool.1.0.0.zip")}), chromedp.Click("#upload button"))
	p.until(`document.querySelector('.errors')?.innerText.includes("'tool.zip' has no version") && document.querySelector('.notice').innerText.includes('tool 1.0.0')`)
	if mark := p.text(`window.mark + (window.bars > 0 ? ', with a bar' : ', without')`); mark != "not reloaded, with a bar" {
		t.Errorf("the refusal: %s", mark)
	}
	if p.text(`document.activeElement.id`) != "f-files" {
		t.Error("the focus is not on the field that is wrong")
	}
	p.do(chromedp.SetUploadFiles("#f-files", []string{write("tool.2.0.0.zip")}), chromedp.Click("#upload button"))
	p.until(`location.pathname === '/spaces/shop/packages/tool/2.0.0' && document.querySelector('#contents')?.innerText.includes('run.sh')`)
	// Dropped onto the form.
	p.open(s.url + "/spaces/shop/packages")
	p.until(`document.documentElement.classList.contains('js')`)
	var bytes []int
	for _, c := range zipFile(t, "dropped") {
		bytes = append(bytes, int(c))
	}
	p.eval(fmt.Sprintf(`{ const d = new DataTransfer(); d.items.add(new File([new Uint8Array(%s)], 'tool.3.0.0.zip')); document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer: d, bubbles: true, cancelable: true })) } 1`, strings.ReplaceAll(fmt.Sprint(bytes), " ", ",")), nil)
	p.until(`location.pathname === '/spaces/shop/packages/tool/3.0.0'`)
}

// Arrows walk from cell to cell of the dashboard.
func testArrows(t *testing.T, b *browser, s *shopSite) {
	p := b.tab(t)
	p.signIn(s.site)
	p.open(s.url + "/spaces/shop")
	p.until(`document.documentElement.classList.contains('js')`)
	p.eval(`document.querySelectorAll('.matrix tbody th a')[0].focus()`, nil)
	first := p.text(`document.activeElement.textContent.trim()`)
	p.type_(kb.ArrowDown)
	second := p.text(`document.activeElement.textContent.trim()`)
	p.type_(kb.ArrowUp)
	if back := p.text(`document.activeElement.textContent.trim()`); first == second || back != first {
		t.Errorf("down and up go from %q to %q to %q", first, second, back)
	}
}

// The theme changes at once, without a request, and the next page has it from the server.
func testTheme(t *testing.T, b *browser, s *shopSite) {
	p := b.tab(t)
	p.signIn(s.site)
	p.open(s.url + "/spaces/shop")
	p.until(`document.documentElement.classList.contains('js')`)
	colour := `getComputedStyle(document.documentElement).backgroundColor`
	light := p.text(colour)
	p.do(chromedp.Click(`details.menu:not(.left) > summary`), chromedp.Click(`button[data-theme-set=dark]`))
	dark := p.text(colour)
	if dark == light {
		t.Errorf("the page stays %s", light)
	}
	p.open(s.url + "/spaces/shop/projects")
	if got := p.text(`document.documentElement.dataset.theme`) + " " + p.text(colour); got != "dark "+dark {
		t.Errorf("the next page is %s, not dark %s", got, dark)
	}
	p.do(chromedp.Click(`details.menu:not(.left) > summary`), chromedp.Click(`button[data-theme-set=system]`))
	if got := p.text(colour); got != light {
		t.Errorf("the system's theme is %s, before %s", got, light)
	}
	// A system that is dark looks as the choice of dark does.
	tokens := `JSON.stringify([...document.styleSheets].flatMap((s) => [...s.cssRules]).join('') && ['--paper', '--sheet', '--sunk', '--line', '--line2', '--ink', '--ink2', '--accent', '--accent-ink', '--accent-soft', '--good', '--bad', '--run', '--wait', '--idle', '--good-soft', '--bad-soft', '--run-soft', '--wait-soft'].map((n) => getComputedStyle(document.documentElement).getPropertyValue(n)))`
	p.do(prefers("dark"))
	system := p.text(tokens)
	p.eval(`document.documentElement.dataset.theme = 'dark'`, nil)
	if chosen := p.text(tokens); chosen != system {
		t.Errorf("dark by choice is %s, by the system %s", chosen, system)
	}
}
