package web

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"

	"octopuses.dev/octopuses/spaces"
)

func texts(p page, selector string) (out []string) {
	p.Find(selector).Each(func(_ int, s *goquery.Selection) { out = append(out, strings.TrimSpace(s.Text())) })
	return out
}

// Somebody makes stages, puts them in order, changes one and takes it away again, all
// with forms.
func TestEnvironments(t *testing.T) {
	d := open(t)
	d.setUp()
	const list = "/spaces/payments/environments"
	if e := d.get(list).Find(".empty"); e.Find("a.button").AttrOr("href", "") != "/spaces/payments/new-environment" {
		t.Errorf("an empty list teaches: %s", e.Text())
	}
	for _, n := range []string{"Test", "Production", "Staging"} {
		d.want(d.submit("/spaces/payments/new-environment", "/spaces/payments/new-environment", map[string]string{"name": n, "guided": "true"}), 303, list+"/"+strings.ToLower(n))
	}
	twice := d.submit("/spaces/payments/new-environment", "/spaces/payments/new-environment", map[string]string{"name": "Test", "description": "kept"})
	d.want(twice, 422, "")
	if twice.Find("#f-name-error").Length() != 1 || strings.TrimSpace(twice.Find("#f-description").Text()) != "kept" {
		t.Errorf("a taken name is marked and what was typed is kept: %s", twice.Find("main").Text())
	}
	order := func() string { return strings.Join(texts(d.get(list), "#environments tbody th a"), " ") }
	d.want(d.submit(list, list+"/staging/move", map[string]string{"do": "up"}), 303, list)
	if got := order(); got != "Test Staging Production" {
		t.Errorf("after Up: %s", got)
	}
	d.want(d.submit(list, list+"/test/move", map[string]string{"do": "up"}), 303, list) // the first stays first
	d.want(d.submit(list, list+"/order", map[string]string{"order": "Environments-2,Environments-1"}), 303, list)
	if got := order(); got != "Production Test Staging" {
		t.Errorf("after a drag by somebody who did not know the third: %s", got)
	}
	d.want(d.submit(list+"/test/edit", list+"/test/edit", map[string]string{"name": "Tests"}), 303, list+"/test")
	if h := d.get(list + "/test"); h.Find("h1").Text() != "Tests" || !strings.Contains(h.Find(".badge").Text(), "Guided failure") {
		t.Errorf("renamed, its URL stays: %s", h.Find("main").Text())
	}

	d.inSpace(func(tx *spaces.Tx) error {
		_, err := tx.CreateTarget(spaces.TargetInput{Name: "web-01", Style: spaces.StylePolling, Thumbprint: strings.Repeat("ab", 32), Environments: []spaces.EnvironmentID{1}, Tags: []string{"web"}})
		return err
	})
	if used := d.get(list + "/test/edit"); !strings.Contains(used.Find("main li").Text(), "1 deployment target") || used.Find(`form[action$="/delete"]`).Length() != 0 {
		t.Errorf("what uses it is said, and there is nothing to press: %s", used.Find("main").Text())
	}
	wrong := d.submit(list+"/staging/edit", list+"/staging/delete", map[string]string{"confirm": "staging"})
	d.want(wrong, 422, "")
	if wrong.Find("#f-confirm-error").Length() != 1 {
		t.Errorf("the name must be typed as it is: %s", wrong.Find("main").Text())
	}
	d.want(d.submit(list+"/staging/edit", list+"/staging/delete", map[string]string{"confirm": "Staging"}), 303, list)
	d.want(d.get(list+"/staging"), 404, "")
	if c := d.get(list).Find("#row-Environments-1 .counts"); strings.TrimSpace(c.Text()) != "1 not checked" || c.AttrOr("href", "") != "/spaces/payments/targets?environment=test" {
		t.Errorf("counts of health: %q", c.Text())
	}
}

func TestTargets(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const list = "/spaces/payments/targets"
	d.inSpace(func(tx *spaces.Tx) error {
		for i := range 250 {
			_, err := tx.CreateTarget(spaces.TargetInput{Name: fmt.Sprintf("db-%03d", i), Style: spaces.StylePolling, Thumbprint: fmt.Sprintf("%064x", i), Environments: []spaces.EnvironmentID{2}, Tags: []string{"db"}})
			if err != nil {
				return err
			}
		}
		if err := tx.SetTargetHealth(200, spaces.Unhealthy, "The disk is full.", "1.0.0", "linux/amd64"); err != nil {
			return err
		}
		return tx.SetTargetHealth(1, spaces.Healthy, "Ready.", "1.0.0", "linux/amd64")
	})
	first := d.get(list)
	if rows := first.Find("#targets tbody tr"); rows.Length() != targetPageRows || !strings.Contains(rows.First().Text(), "The disk is full.") {
		t.Errorf("%d rows, the unhealthy one first: %s", rows.Length(), rows.First().Text())
	}
	if n := first.Find(`.pager a[rel=next]`).AttrOr("href", ""); n != list+"?skip=100" {
		t.Errorf("next is %q", n)
	}
	last := d.get(list + "?skip=200")
	if rows := last.Find("#targets tbody tr"); rows.Length() != 51 || !strings.Contains(rows.Last().Text(), "web-01") || last.Find("a[rel=next]").Length() != 0 {
		t.Errorf("the last page has %d rows and ends with the healthy one", rows.Length())
	}
	for query, want := range map[string]int{"tag=web": 1, "health=Unhealthy": 1, "environment=test": 1, "q=db-24": 10, "health=Disabled": 0, "environment=production&tag=web": 0} {
		if n := d.get(list + "?" + query).Find("#targets tbody tr").Length(); n != want {
			t.Errorf("%s finds %d, want %d", query, n, want)
		}
	}
	d.want(d.get(list+"?environment=nowhere"), 404, "")

	const one = list + "/web-01"
	d.want(d.submit(one, one+"/check", nil), 303, one)
	p := d.get(one)
	if c := p.Find(`a[href="/spaces/payments/tasks/ServerTasks-1"]`); c.Length() != 1 || !strings.Contains(p.Find(".history").Text(), "Healthy") || !strings.Contains(p.Find(".facts").Text(), strings.Repeat("ab", 32)) {
		t.Errorf("the page has the task, the history and the thumbprint: %s", p.Find("main").Text())
	}
	d.want(d.submit(one, one+"/enabled", map[string]string{"enabled": "false"}), 303, one)
	if s := d.get(one).Find(".notice").Text(); !strings.Contains(s, "disabled") {
		t.Errorf("a disabled target says so: %q", s)
	}
	d.want(d.submit(one, one+"/enabled", map[string]string{"enabled": "true"}), 303, one)
	bad := d.submit(one+"/edit", one+"/edit", map[string]string{"tags": " , ", "address": "web-01"})
	d.want(bad, 422, "")
	if bad.Find("#f-roles-error").Length() != 1 || bad.Find("[aria-invalid=true]").Length() != 2 {
		t.Errorf("tags and address are marked: %s", bad.Find(".errors").Text())
	}
	d.want(d.submit(one+"/edit", one+"/edit", map[string]string{"tags": "web, linux"}), 303, one)
	if s := texts(d.get(one), ".facts .chip"); strings.Join(s, " ") != "Test linux web" {
		t.Errorf("tags now: %v", s)
	}
	d.want(d.submit(one+"/edit", one+"/delete", map[string]string{"confirm": "web-1"}), 422, "")
	d.want(d.submit(one+"/edit", one+"/delete", map[string]string{"confirm": "web-01"}), 303, list)
	d.want(d.get(one), 404, "")
	d.want(d.submit(list, list+"/check", nil), 303, "/spaces/payments/tasks/ServerTasks-2")
}

// The command is shown once; the page says when the agent has come, and no page after
// the first has the secret.
func TestAddTarget(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const form = "/spaces/payments/new-target"
	if b := d.get(form).Find("button[type=submit][disabled]"); b.Length() != 1 {
		t.Error("a server that registers no agents offers no command")
	}
	var secret string
	d.s.AgentToken = func(s, space string) AgentToken {
		secret = s
		return AgentToken{Text: "octopuses-agent:" + s + "'" + space, URL: "http://deploy.example:8080", Server: strings.Repeat("cd", 32), Polling: true}
	}
	none := d.submit(form, form, map[string]string{"uses": "3", "name": "web-02"})
	d.want(none, 422, "")
	if none.Find("#f-name-error").Length() != 1 {
		t.Errorf("several machines cannot have one name: %s", none.Find(".errors").Text())
	}
	none = d.submit(form, form, nil)
	d.want(none, 422, "")
	if none.Find("#f-environmentIds-error").Length() != 1 || none.Find("#f-roles-error").Length() != 1 {
		t.Errorf("environment and tags are needed: %s", none.Find(".errors").Text())
	}
	token := d.get(form).Find("input[name=csrf]").First().AttrOr("value", "")
	made := d.send(post_(form, url.Values{"csrf": {token}, "environment": {"Environments-1", "Environments-2"}, "tags": {"web, linux"}, "name": {"it's"}, "uses": {"1"}, "hours": {"1"}}))
	d.want(made, 200, "")
	command := made.Find(".copy pre").First().Text()
	if want := `octopuses agent register 'octopuses-agent:` + secret + `'\''Spaces-1' --name 'it'\''s' && octopuses agent run`; command != want {
		t.Errorf("the command is\n%s\nwant\n%s", command, want)
	}
	if s := made.Find(".print").Text(); s != strings.Repeat("cd", 32) || !strings.Contains(made.Find(".notice").Text(), "without TLS") {
		t.Errorf("thumbprint %q, warning %q", s, made.Find(".notice").Text())
	}
	watch := made.Find("#registered").AttrOr("data-live", "")
	if p := d.get(watch); !strings.Contains(p.Find("#registered").Text(), "Waiting for the machine") || strings.Contains(p.Text(), secret) {
		t.Errorf("it waits, without the secret: %s", p.Find("main").Text())
	}
	d.inSpace(func(tx *spaces.Tx) error {
		_, err := tx.RegisterTarget(secret, spaces.TargetInput{Name: "it's", Style: spaces.StylePolling, Thumbprint: strings.Repeat("ef", 32)})
		return err
	})
	live := httptest.NewRequest("GET", watch, nil)
	live.Header.Set("X-Fragment", "registered")
	if p := d.send(live); !strings.Contains(p.Find(".notice").Text(), "it's has registered") || p.Find("h1").Length() != 0 {
		t.Errorf("the live part says so: %s", p.Text())
	}
	d.want(d.get("/spaces/payments/registrations/Registrations-99"), 404, "")
}

// BenchmarkTargets draws the first of 100 pages of targets through the door. Budget: 40 ms.
func BenchmarkTargets(b *testing.B) {
	d := open(b)
	d.setUp()
	d.machines()
	d.inSpace(func(tx *spaces.Tx) error {
		for i := range 10_000 {
			_, err := tx.CreateTarget(spaces.TargetInput{Name: fmt.Sprintf("m-%05d", i), Style: spaces.StylePolling, Thumbprint: fmt.Sprintf("%064x", i), Environments: []spaces.EnvironmentID{1}, Tags: []string{"web", "linux"}})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for b.Loop() {
		if p := d.get("/spaces/payments/targets"); p.status != 200 {
			b.Fatal(p.status)
		}
	}
}
