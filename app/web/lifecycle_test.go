package web

import (
	"net/url"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
)

// A lifecycle is built phase by phase with buttons of one form, saved once, and not over
// somebody else's.
func TestLifecycles(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const p = "/spaces/payments/lifecycles"
	if list := d.get(p); list.Find("section.lifecycle").Length() != 1 || !strings.Contains(list.Find("main").Text(), "default") {
		t.Errorf("the list: %s", list.Find("main").Text())
	}
	form := d.get(p + "/new")
	csrf := form.Find("input[name=csrf]").First().AttrOr("value", "")
	v := url.Values{"csrf": {csrf}, "do": {"add"}, "version": {"0"}, "phases": {"1"}, "name": {"Careful"}, "phase.0.name": {"Test first"}, "phase.0.manual": {"Environments-1"}}
	added := d.send(post_(p, v))
	d.want(added, 200, "")
	if added.Find("fieldset.phase").Length() != 2 || !strings.Contains(added.Find(".notice").Text(), "not saved") || added.Find(`select[name="phase.0.manual"] option[selected]`).Text() != "Test" {
		t.Fatalf("adding a phase: %s", added.Find("main").Text())
	}
	if d.get(p).Find("section.lifecycle").Length() != 1 {
		t.Error("adding a phase saved something")
	}
	v.Set("phases", "2")
	v.Set("phase.1.manual", "Environments-2")
	v.Set("do", "save")
	bad := d.send(post_(p, v)) // the second phase has no name
	d.want(bad, 422, "")
	if bad.Find("fieldset.phase").Length() != 2 || bad.Find(".errors li").Length() != 1 || bad.Find("[aria-invalid=true]").AttrOr("name", "") != "phase.1.name" || bad.Find(".errors a").AttrOr("href", "") != "#f-phase.1.name" {
		t.Errorf("a phase without a name: %s", bad.Find(".errors").Text())
	}
	v.Set("phase.1.name", "Then live")
	v.Set("phase.1.optional", "true")
	made := d.send(post_(p, v))
	d.want(made, 303, p+"/Lifecycles-2")

	page := d.get(made.location)
	if page.Find(`input[name="phase.1.name"]`).AttrOr("value", "") != "Then live" || page.Find(`input[name="phase.1.optional"][checked]`).Length() != 1 {
		t.Error("what was saved is not shown")
	}
	if picture := d.get(p).Find("section.lifecycle").First(); !strings.Contains(picture.Find(".picture").Text(), "Production") {
		t.Errorf("the picture: %s", picture.Text())
	}
	up := d.submit(made.location, made.location, map[string]string{"do": "up.1"})
	if d.want(up, 200, ""); up.Find(`input[name="phase.0.name"]`).AttrOr("value", "") != "Then live" {
		t.Error("a phase does not move")
	}

	// Two people at once: the second one sees that, and loses nothing.
	version := page.Find("input[name=version]").AttrOr("value", "")
	d.want(d.submit(made.location, made.location, map[string]string{"do": "save", "description": "of the first"}), 303, made.location)
	late := url.Values{"csrf": {csrf}, "do": {"save"}, "version": {version}, "phases": {"1"}, "name": {"Careful"}, "description": {"of the second"}, "phase.0.name": {"One"}}
	stale := d.send(post_(made.location, late))
	d.want(stale, 422, "")
	if !strings.Contains(stale.Find(".errors").Text(), "ada changed this lifecycle") || stale.Find("#f-description").AttrOr("value", "") != "of the second" {
		t.Errorf("a stale save: %s", stale.Find(".errors").Text())
	}

	d.inSpace(func(tx *spaces.Tx) error {
		_, err := tx.CreateProject(spaces.ProjectInput{Name: "Shop", LifecycleID: 2})
		return err
	})
	if used := d.get(made.location); !strings.Contains(used.Find("main").Text(), "Shop") || used.Find(`form[action$="/delete"]`).Length() != 0 {
		t.Error("a lifecycle in use can be deleted")
	}
	d.want(d.send(post_(made.location+"/delete", url.Values{"csrf": {csrf}, "name": {"Careful"}})), 422, "")
	d.inSpace(func(tx *spaces.Tx) error {
		p, err := tx.ProjectBy("shop")
		if err != nil {
			return err
		}
		return tx.DeleteProject(p.ID)
	})
	d.want(d.send(post_(made.location+"/delete", url.Values{"csrf": {csrf}, "name": {"careful"}})), 422, "")
	d.want(d.submit(made.location, made.location+"/delete", map[string]string{"name": "Careful"}), 303, p)
}

// Who makes a release is told before where the lifecycle deploys it by itself, and it is.
func TestAutomaticIsAnnounced(t *testing.T) {
	d := open(t)
	d.setUp()
	d.machines()
	const p = "/spaces/payments/projects/shop"
	d.want(d.submit("/spaces/payments/projects/new", "/spaces/payments/projects", map[string]string{"name": "Shop"}), 303, p)
	step := p + "/process/new?type=Octopus.Script"
	d.want(d.submit(step, step, map[string]string{"name": "Install", "Octopus.Action.TargetRoles": "web", "Octopus.Action.Script.ScriptBody": "echo one"}), 303, "")
	if text := d.get(p + "/new-release").Find("main").Text(); strings.Contains(text, "by itself") {
		t.Error("announced without an automatic phase")
	}
	d.inSpace(func(tx *spaces.Tx) error {
		e, err := tx.EnvironmentBy("Test")
		if err != nil {
			return err
		}
		all, err := tx.Lifecycles(spaces.All)
		if err != nil {
			return err
		}
		l := all.Items[0].Lifecycle
		l.Phases = []deploy.Phase{{Name: "Test", AutomaticDeploymentTargets: []string{e.ID.String()}}}
		_, err = tx.UpdateLifecycle(all.Items[0].ID, l)
		return err
	})
	if text := d.get(p + "/new-release").Find("main").Text(); !strings.Contains(text, "deployed to Test by itself") {
		t.Errorf("the form says %s", text)
	}
	d.want(d.submit(p+"/new-release", p+"/new-release", map[string]string{"version": "1.0.0"}), 303, p+"/releases/1.0.0")
	if text := d.get(p + "/releases/1.0.0").Find("#places").Text(); !strings.Contains(text, "Queued") {
		t.Errorf("the release: %s", text)
	}
}
