package app

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is one Chromium for all tests of pages; each test has tabs of its own, with
// cookies of their own.
type browser struct{ ctx context.Context }

func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("SKIPPED: there is no Chromium on this machine; 'make test' installs it where it may")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf), chromedp.WithLogf(func(string, ...any) {}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until it is gone, and its folder can go
		end()
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &browser{ctx}
}

// tab is a tab of the browser. What a page complains about, on the console or about its
// policy, fails the test at its end.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	harmless   func(complaint string) bool // nil: nothing is
}

func (b *browser) tab(t testing.TB) *tab {
	t.Helper()
	p := &tab{t: t}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.complain(fmt.Sprint(e.ExceptionDetails.Text, " ", description(e.ExceptionDetails.Exception)))
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
				var words []string
				for _, a := range e.Args {
					words = append(words, description(a))
				}
				p.complain("console: " + strings.Join(words, " "))
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
				p.complain(e.Entry.Text + " " + e.Entry.URL)
			}
		}
	}))
	p.ctx = ctx
	t.Cleanup(func() {
		for _, c := range p.said() {
			t.Errorf("the page complains: %s", c)
		}
		cancel()
	})
	p.do(chromedp.EmulateViewport(1280, 900))
	return p
}

func description(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return string(o.Value) + o.Description
}

func (p *tab) complain(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.harmless == nil || !p.harmless(text) {
		p.complaints = append(p.complaints, text)
	}
}

// said gives what pages complained about since the last call.
func (p *tab) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.complaints
	p.complaints = nil
	return all
}

// patience is how long anything on a page may take. It is long: a page that is slow
// fails elsewhere.
const patience = 20 * time.Second

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	// Ending the context of a deadline would end the tab, so it is watched from outside.
	done := make(chan error, 1)
	go func() { done <- chromedp.Do(p.ctx, actions...) }()
	select {
	case err := <-done:
		if err != nil {
			p.t.Fatal(err)
		}
	case <-time.After(patience):
		p.t.Fatalf("the browser does not answer within %s", patience)
	}
}

func (p *tab) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// eval runs a script, waits for what it promises, and decodes that into v.
func (p *tab) eval(script string, v any) {
	p.t.Helper()
	var got []byte
	p.do(func(ctx context.Context, on *chromedp.Target) (chromedp.Void, error) {
		var err error
		got, err = chromedp.Evaluate[[]byte](script, chromedp.EvalAwaitPromise)(ctx, on)
		return chromedp.Void{}, err
	})
	if v == nil || len(got) == 0 {
		return
	}
	if err := json.Unmarshal(got, v); err != nil {
		p.t.Fatalf("%.200s gives %s: %v", script, got, err)
	}
}

// text is what a script gives, as text.
func (p *tab) text(script string) string {
	p.t.Helper()
	var v any
	p.eval(script, &v)
	if s, ok := v.(string); ok {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// until waits until a script gives true. A page that is being left answers nothing, so
// errors are asked again.
func (p *tab) until(script string) {
	p.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(15 * time.Millisecond) {
		var ok any
		if ok, err = chromedp.Run(p.ctx, chromedp.Evaluate[any](script)); err == nil && ok == true {
			return
		}
	}
	p.t.Fatalf("it never came true: %s (%v)\nat %s:\n%.1500s", script, err, p.text("location.href"), p.text("document.body.innerText"))
}

// type_ types where the focus is.
func (p *tab) type_(keys string) { p.t.Helper(); p.do(chromedp.KeyEvent(keys)) }

// signIn takes a session without the form, which has a test of its own.
func (p *tab) signIn(s *site) {
	p.t.Helper()
	token, _, err := s.server.instance.SignIn(context.Background(), "ada", sitePassword, "127.0.0.1", "test")
	if err != nil {
		p.t.Fatal(err)
	}
	p.do(call(network.SetCookie, network.SetCookieParams{Name: "octopuses_session", Value: token, URL: s.url}))
}

// call is a command of the protocol as an action.
func call[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, on *chromedp.Target) error {
		_, err := cdp.Call(ctx, on, c, params)
		return err
	})
}

// TestBrowser is what only a browser can tell: pages that move by themselves, keys,
// uploads by the script, the policy against foreign scripts, and what axe-core says.
func TestBrowser(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	shop := newShop(t)
	t.Run("together", func(t *testing.T) { // ends when the parallel ones have ended
		for name, f := range map[string]func(*testing.T, *browser, *shopSite){
			"harness": testHarness, "sign in and palette": testPalette, "live deployment": testLive, "upload": testUploadForm,
			"dashboard by arrows": testArrows, "theme": testTheme, "gallery": testGallery, "live pages": testLivePages, "add a target": testAddTarget, "passkey": testPasskey,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); f(t, b, shop) })
		}
	})
}

// What the others rely on: an error of a script, a breach of the policy and a bad
// contrast do not go unseen.
func testHarness(t *testing.T, b *browser, s *shopSite) {
	p := b.tab(t)
	p.open(s.url + "/signin")
	p.eval(`setTimeout(() => { throw new Error('seen') }); document.body.insertAdjacentHTML('beforeend', '<p id="bad" style="color: red">x</p>'); 1`, nil)
	p.until(`document.getElementById('bad') !== null`)
	var all string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(15 * time.Millisecond) {
		if all += fmt.Sprint(p.said()); strings.Contains(all, "seen") && strings.Contains(all, "Content Security Policy") {
			break
		}
	}
	if !strings.Contains(all, "seen") || !strings.Contains(all, "Content Security Policy") {
		t.Errorf("a failing script and a forbidden style went unseen: %s", all)
	}
	p.eval(`document.getElementById('bad').textContent = 'hard to read'; document.getElementById('bad').style.cssText = 'color: #eee; background: #fff'; 1`, nil)
	if found := p.axe(); len(found) == 0 {
		t.Error("a text that nobody can read went unseen")
	}
}
