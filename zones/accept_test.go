package zones_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/bundle"
)

// byHand is two zones linked by cards, with a shop in the first.
func byHand(t testing.TB) (dev, prod *zone, toProd, toDev spaces.Link, shop spaces.Project) {
	t.Helper()
	dev, prod = newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	toProd, toDev = trust(t, dev, prod)
	dev.lifecycle(toProd)
	return dev, prod, toProd, toDev, dev.shop()
}

func (z *zone) take(t testing.TB, file []byte) spaces.Inbound {
	t.Helper()
	in, err := z.service.Import(ctx, z.space, spacetest.Manager(), bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// back carries the receipts from one zone to another by file.
func back(t testing.TB, from *zone, link spaces.LinkID, to *zone) []byte {
	t.Helper()
	var file bytes.Buffer
	if _, err := from.service.ExportReceipts(ctx, from.space, spacetest.Manager(), link, &file); err != nil {
		t.Fatal(err)
	}
	if _, err := to.service.ImportReceipts(ctx, to.space, spacetest.Manager(), bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// A bundle holds what a release is, and nothing of the space around it, sealed or not.
func TestBundleLeavesTheRestAtHome(t *testing.T) {
	dev, prod, toProd, _, p := byHand(t)
	canaries := map[string]string{}
	mark := func(name string) string {
		canaries[name] = "canary-" + name + "-x7"
		return canaries[name]
	}
	other := update(dev, func(tx *spaces.Tx) (spaces.Channel, error) {
		return tx.CreateChannel(p.ID, spaces.ChannelInput{Name: mark("channel"), Description: mark("channel-description")})
	})
	update(dev, func(tx *spaces.Tx) (spaces.Target, error) {
		return tx.CreateTarget(spaces.TargetInput{Name: mark("target"), Style: spaces.StyleListening, URI: "https://" + mark("target-address") + ":1/", Thumbprint: strings.Repeat("b", 64), Environments: []spaces.EnvironmentID{dev.env.ID}, Tags: []string{mark("target-tag")}})
	})
	update(dev, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: mark("environment"), Description: mark("environment-description")})
	})
	update(dev, func(tx *spaces.Tx) (spaces.ProjectGroup, error) {
		return tx.CreateProjectGroup(spaces.ProjectGroupInput{Name: mark("group")})
	})
	update(dev, func(tx *spaces.Tx) (spaces.Process, error) {
		old, err := tx.Process(p.ID)
		if err != nil {
			return old, err
		}
		kind, _ := steps.Lookup("Octopus.Script")
		own := kind.New(mark("step-of-environment"))
		own.Properties.Set(steps.TargetRolesProperty, "web")
		own.Actions[0].Environments = []string{dev.env.ID.String()}
		own.Actions[0].Properties["Octopus.Action.Script.ScriptBody"] = steps.Text(mark("script-of-environment"))
		own.Actions[0].Properties["Own.Secret"] = steps.Sensitive(mark("secret-of-that-step"))
		return tx.SaveProcess(p.ID, old.Version, steps.Process{Steps: append(old.Steps, own)})
	})
	update(dev, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
		return tx.CreateLifecycle(deploy.Lifecycle{Name: mark("lifecycle"), Phases: []deploy.Phase{phase(mark("phase"), dev.env.ID.String(), "")}})
	})
	set := view(dev, func(tx *spaces.ReadTx) (spaces.VariableSet, error) { return tx.Variables(p.ID) })
	of := func(text string, sensitive bool, scope variables.Scope) variables.Variable {
		return variables.Variable{Name: "Local", Value: &text, IsSensitive: sensitive, Scope: scope}
	}
	here := variables.Scope{variables.Environment: {dev.env.ID.String()}}
	elsewhere := variables.Scope{variables.Channel: {other.ID.String()}}
	all := append(set.Set.Variables, of(mark("value-of-environment"), false, here), of(mark("secret-of-environment"), true, here), of(mark("value-of-channel"), false, elsewhere), of(mark("secret-of-channel"), true, elsewhere))
	update(dev, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(p.ID, set.Version, variables.Set{Variables: all})
	})
	r := dev.release(p, "1.0.0", []byte("package one"))
	d := update(dev, func(tx *spaces.Tx) (spaces.Deployment, error) {
		return tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: dev.env.ID, Comments: mark("comment")})
	})
	if err := spaces.Do(ctx, dev.space, spaces.Server(), func(tx *spaces.Tx) error {
		if _, err := tx.PlanWork(d.TaskID); err != nil {
			return err
		}
		if _, _, err := tx.StartTask(d.TaskID); err != nil {
			return err
		}
		return tx.FinishTask(d.TaskID, spaces.TaskSuccess, mark("error"), false)
	}); err != nil {
		t.Fatal(err)
	}
	pr, err := dev.service.Promote(ctx, dev.space, spacetest.Manager(), r.ID, toProd.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	// What was said while it was deployed there.
	logs := filepath.Join(dev.space.Dir(), "logs")
	if err := errors.Join(os.MkdirAll(logs, 0o700), os.WriteFile(filepath.Join(logs, d.TaskID.String()+".jsonl"), []byte(mark("log")), 0o600)); err != nil {
		t.Fatal(err)
	}
	file := dev.export(t, pr)
	prod.take(t, file)
	open := opened(t, prod, dev, file, true)
	for name, text := range canaries {
		if bytes.Contains(file, []byte(text)) || strings.Contains(open, text) {
			t.Errorf("the %s is in the bundle", name)
		}
	}
	if !strings.Contains(open, canary) {
		t.Error("the secret that belongs to the release is not in it, so the search proves nothing")
	}
}

// opened is everything in a bundle, with the sealed values opened as the recipient can,
// or without them.
func opened(t testing.TB, to, from *zone, file []byte, unsealed bool) string {
	t.Helper()
	_, card := from.card()
	keys := view(to, func(tx *spaces.ReadTx) ([]byte, error) { return tx.Identity() })
	id, err := bundle.ParseIdentity(keys)
	if err != nil {
		t.Fatal(err)
	}
	v, m, _, err := bundle.Read(ctx, bytes.NewReader(file), func(m *bundle.Message) (*bundle.Verified, error) {
		return m.Verify(card, to.space.ULID())
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var envelope struct{ Payload []byte }
	if err := json.Unmarshal(m.Envelope, &envelope); err != nil || len(envelope.Payload) == 0 {
		t.Fatal(err)
	}
	secrets, err := v.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	all.Write(envelope.Payload)
	for _, blob := range m.Blobs {
		all.Write(blob)
	}
	for key, text := range secrets {
		if unsealed {
			all.WriteString(key + text)
		}
	}
	return all.String()
}

// A value that reaches a sensitive one through others leaves as the expression, never as
// what it comes to.
func TestSensitivityFollowsTheData(t *testing.T) {
	dev, prod, toProd, _, p := byHand(t)
	set := view(dev, func(tx *spaces.ReadTx) (spaces.VariableSet, error) { return tx.Variables(p.ID) })
	one, two, three := "user:#{Password}@db", "postgres://#{Login}/shop", "#{Url.Database}?ssl=1"
	all := append(set.Set.Variables, variables.Variable{Name: "Login", Value: &one}, variables.Variable{Name: "Url.Database", Value: &two}, variables.Variable{Name: "Connection", Value: &three})
	update(dev, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(p.ID, set.Version, variables.Set{Variables: all})
	})
	file := dev.export(t, dev.promote(t, p, toProd, "1.0.0", []byte("package one"), true))
	if bytes.Contains(file, []byte(canary)) || !bytes.Contains(readable(t, file), []byte(three)) {
		t.Error("the value of the expression is in the bundle, or the expression is not")
	}
	prod.accept(t, prod.take(t, file))
	if bytes.Contains(files(t, prod.space.Dir()), []byte(canary)) {
		t.Error("the value of the expression lies open at the target")
	}
}

// readable is the metadata of a bundle without its packages.
func readable(t testing.TB, file []byte) []byte {
	t.Helper()
	r, err := bundle.Inspect(ctx, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, v := range r.Bundle.Variables {
		all = append(all, v.Name+"="+v.Value+"\n"...)
	}
	return append(all, r.Bundle.Process...)
}

// What its source owns cannot be changed at the target; what is local can.
func TestRemoteProjects(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	r := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("package one"), true))))
	manager := spacetest.Manager()
	p := view(prod, func(tx *spaces.ReadTx) (spaces.Project, error) { return tx.Project(r.ProjectID) })
	if p.Name != "Dev: Shop" || !p.IsRemote() {
		t.Errorf("the project is called %s", p.Name)
	}
	channels := view(prod, func(tx *spaces.ReadTx) (spaces.Page[spaces.Channel], error) { return tx.Channels(p.ID, spaces.All) })
	for what, change := range map[string]func(tx *spaces.Tx) error{
		"process": func(tx *spaces.Tx) error { _, err := tx.SaveProcess(p.ID, 0, steps.Process{}); return err },
		"new channel": func(tx *spaces.Tx) error {
			_, err := tx.CreateChannel(p.ID, spaces.ChannelInput{Name: "x"})
			return err
		},
		"channel": func(tx *spaces.Tx) error {
			_, err := tx.UpdateChannel(channels.Items[0].ID, spaces.ChannelInput{Name: "x"})
			return err
		},
		"deleted channel": func(tx *spaces.Tx) error { return tx.DeleteChannel(channels.Items[0].ID) },
		"release": func(tx *spaces.Tx) error {
			_, err := tx.CreateRelease(spaces.ReleaseInput{Project: p.ID, Version: "9.9.9"})
			return err
		},
		"name": func(tx *spaces.Tx) error {
			_, err := tx.UpdateProject(p.ID, spaces.ProjectInput{Name: "Mine"})
			return err
		},
		"description": func(tx *spaces.Tx) error {
			_, err := tx.UpdateProject(p.ID, spaces.ProjectInput{Name: p.Name, Description: "Mine"})
			return err
		},
	} {
		if err := spaces.Do(ctx, prod.space, manager, change); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "owned by Dev") {
			t.Errorf("%s: %v", what, err)
		}
	}
	local := update(prod, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
		return tx.CreateLifecycle(deploy.Lifecycle{Name: "Local", Phases: []deploy.Phase{phase("Production", prod.env.ID.String(), "")}})
	})
	group := update(prod, func(tx *spaces.Tx) (spaces.ProjectGroup, error) {
		return tx.CreateProjectGroup(spaces.ProjectGroupInput{Name: "Shops"})
	})
	if got := update(prod, func(tx *spaces.Tx) (spaces.Project, error) {
		return tx.UpdateProject(p.ID, spaces.ProjectInput{LifecycleID: local.ID, GroupID: group.ID})
	}); got.LifecycleID != local.ID || got.GroupID != group.ID || got.Name != p.Name {
		t.Errorf("%+v", got)
	}
	own := "value of Prod"
	update(prod, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		set, err := tx.Variables(p.ID)
		if err != nil {
			return set, err
		}
		return tx.SaveVariables(p.ID, set.Version, variables.Set{Variables: []variables.Variable{{Name: "Own", Value: &own}}})
	})
}

// The release follows the lifecycle that whoever accepts it chose.
func TestAcceptanceChoosesTheLifecycle(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	staging := update(prod, func(tx *spaces.Tx) (spaces.Environment, error) {
		return tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Staging"})
	})
	lc := update(prod, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
		return tx.CreateLifecycle(deploy.Lifecycle{Name: "Careful", Phases: []deploy.Phase{phase("Staging", staging.ID.String(), ""), phase("Production", prod.env.ID.String(), "")}})
	})
	in := prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("package one"), true)))
	if _, err := prod.service.Accept(ctx, prod.space, spacetest.With(access.ReleaseView, access.BundleImport), in.ID, zones.AcceptInput{}); !errors.Is(err, errs.Denied) {
		t.Errorf("accepted without permission: %v", err)
	}
	r, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), in.ID, zones.AcceptInput{LifecycleID: lc.ID, Values: map[spaces.EnvironmentID]map[string]string{prod.env.ID: values, staging.ID: values}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = spaces.Update(ctx, prod.space, spacetest.Manager(), func(tx *spaces.Tx) (spaces.Deployment, error) {
		return tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: prod.env.ID})
	})
	if !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "Staging") {
		t.Errorf("deployed past the chosen lifecycle: %v", err)
	}
	if _, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), in.ID, zones.AcceptInput{}); !errors.Is(err, errs.Stale) {
		t.Errorf("accepted twice: %v", err)
	}
	// It is remembered for the project.
	again := prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.1", []byte("package two"), true)))
	next, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), again.ID, zones.AcceptInput{})
	if err != nil {
		t.Fatal(err)
	}
	if p := view(prod, func(tx *spaces.ReadTx) (spaces.Project, error) { return tx.Project(next.ProjectID) }); p.LifecycleID != lc.ID {
		t.Errorf("the second release follows %s", p.LifecycleID)
	}
}

// A new environment is asked for its own values, and only mandatory ones hold it up.
func TestEachEnvironmentHasItsValues(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	in := spaces.ProjectInput{Name: shop.Name, Settings: shop.Settings}
	in.Settings.Templates = append(slices.Clone(in.Settings.Templates), spaces.VariableTemplate{Name: "Theme", Label: "Colours", HelpText: "As the brand book says.", DefaultValue: "blue"})
	update(dev, func(tx *spaces.Tx) (spaces.Project, error) { return tx.UpdateProject(shop.ID, in) })
	r := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("package one"), true))))
	late := update(prod, func(tx *spaces.Tx) (spaces.Environment, error) {
		e, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Later"})
		if err != nil {
			return e, err
		}
		_, err = tx.CreateTarget(spaces.TargetInput{Name: "late", Style: spaces.StyleListening, URI: "https://localhost:2/", Thumbprint: strings.Repeat("c", 64), Environments: []spaces.EnvironmentID{e.ID}, Tags: []string{"web"}})
		return e, err
	})
	try := func(e spaces.Environment) error {
		return spaces.Do(ctx, prod.space, spacetest.Manager(), func(tx *spaces.Tx) error {
			_, err := tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: e.ID})
			return err
		})
	}
	asked := func() (missing []string) {
		for _, v := range view(prod, func(tx *spaces.ReadTx) ([]spaces.TemplateValue, error) {
			p, err := tx.Project(r.ProjectID)
			if err != nil {
				return nil, err
			}
			return tx.TemplateValues(p, r, late.ID)
		}) {
			if v.Missing() {
				missing = append(missing, v.Template.Name)
			}
			if v.Template.Name == "Theme" && (v.Template.Label != "Colours" || v.Template.HelpText != "As the brand book says." || v.Template.DefaultValue != "blue") {
				t.Errorf("the template came as %+v", v.Template)
			}
			if v.Template.IsSensitive() != (v.Template.Name == "ApiKey") || v.Template.IsSensitive() && v.Value != "" {
				t.Errorf("%+v", v)
			}
		}
		return missing
	}
	if got := asked(); !slices.Equal(got, []string{"Url", "ApiKey"}) {
		t.Errorf("the new environment is asked for %q", got)
	}
	prod.deployed(r, spaces.TaskSuccess)
	if err := try(late); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "Public address") {
		t.Errorf("without values: %v", err)
	}
	if err := spaces.Do(ctx, prod.space, spacetest.Manager(), func(tx *spaces.Tx) error {
		return tx.SetTemplateValues(r.ProjectID, late.ID, r.Templates, values)
	}); err != nil {
		t.Fatal(err)
	}
	if got := asked(); len(got) != 0 {
		t.Errorf("it is still asked for %q", got)
	}
	if err := try(late); err != nil {
		t.Errorf("with values later: %v", err)
	}
}

// A rejection flows back with its reason; the release can be promoted anew.
func TestRejectionFlowsBack(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	pr := dev.promote(t, shop, toProd, "1.0.0", []byte("package one"), true)
	in := prod.take(t, dev.export(t, pr))
	reject := func(actor spaces.Actor, reason string) error {
		_, err := spaces.Update(ctx, prod.space, actor, func(tx *spaces.Tx) (spaces.Inbound, error) { return tx.RejectInbound(in.ID, reason) })
		return err
	}
	if err := reject(spacetest.With(access.ReleaseView), "no"); !errors.Is(err, errs.Denied) {
		t.Errorf("rejected without permission: %v", err)
	}
	if err := reject(spacetest.Manager(), " "); !errors.Is(err, errs.Invalid) {
		t.Errorf("rejected without a reason: %v", err)
	}
	if err := reject(spacetest.Manager(), "The licence of a library forbids it."); err != nil {
		t.Fatal(err)
	}
	if _, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), in.ID, zones.AcceptInput{}); !errors.Is(err, errs.Stale) {
		t.Errorf("a rejected release was accepted: %v", err)
	}
	back(t, prod, toDev.ID, dev)
	if got := dev.promotion(pr.ID); got.State != "rejected" || got.Reason != "The licence of a library forbids it." {
		t.Errorf("%+v", got)
	}
	if in := prod.take(t, dev.export(t, pr)); in.State != spaces.InboundRejected {
		t.Errorf("the same file again makes it %s", in.State)
	}
	again, err := dev.service.Promote(ctx, dev.space, spacetest.Manager(), pr.ReleaseID, toProd.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	if in := prod.take(t, dev.export(t, again)); in.State != "needs input" {
		t.Errorf("promoted anew it is %s", in.State)
	}
}

// The same bundle by wire and by file at one instant is one import.
func TestTwiceIsOnce(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	l := wired(t, dev, prod, true)
	dev.lifecycle(l)
	p := dev.shop()
	r := dev.release(p, "1.0.0", bytes.Repeat([]byte("package"), 1000))
	dev.deployed(r, spaces.TaskSuccess)
	pr, err := dev.service.Promote(ctx, dev.space, spacetest.Manager(), r.ID, l.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	file := dev.export(t, pr)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(file)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	prod.inbox(t, "1.0.0")
	if n := len(view(prod, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10) })); n != 1 {
		t.Errorf("%d entries in the inbox", n)
	}
	count := func(category string) int {
		return len(view(prod, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
			return tx.Events(spaces.EventFilter{Category: category})
		}))
	}
	if count("BundleReceived") != 1 || count("BundleReceivedAgain") < 3 {
		t.Errorf("received %d times, again %d times", count("BundleReceived"), count("BundleReceivedAgain"))
	}
	// Afterwards too, and it makes no second release.
	prod.accept(t, prod.take(t, file))
	if in := prod.take(t, file); in.State != "accepted" {
		t.Errorf("imported again it is %s", in.State)
	}
}

// A package file is taken by its bytes, whichever way and under whatever name it comes.
func TestPackagesComeFromAnywhere(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	light := func(pr spaces.Promotion) []byte {
		var b bytes.Buffer
		if err := dev.service.ExportBundle(ctx, dev.space, spacetest.Manager(), pr.ID, false, &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	first := dev.promote(t, shop, toProd, "1.0.0", []byte("package one"), true)
	in := prod.take(t, light(first))
	if in.State != "incomplete" || in.Missing != 1 {
		t.Fatalf("%+v", in)
	}
	if _, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), in.ID, zones.AcceptInput{}); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "1 of 1 package files") {
		t.Errorf("accepted without its package: %v", err)
	}
	push := func(name string, content string) {
		t.Helper()
		b, err := prod.space.Packages().Put(ctx, strings.NewReader(content), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		update(prod, func(tx *spaces.Tx) (spaces.Package, error) {
			p, _, err := tx.AddPackage(name, "7.7.7", ".zip", b, spaces.FailIfExists)
			return p, err
		})
	}
	state := func() string {
		return view(prod, func(tx *spaces.ReadTx) (spaces.Inbound, error) { return tx.Inbound(in.ID) }).State
	}
	push("Shop", "other bytes")
	if state() != "incomplete" {
		t.Error("other bytes under the right name were taken")
	}
	push("SomethingElse", "package one")
	if state() != "needs input" {
		t.Error("the right bytes under another name were not taken")
	}
	// It was here before, from elsewhere.
	push("Before", "package zero")
	if in := prod.take(t, light(dev.promote(t, shop, toProd, "1.5.0", []byte("package zero"), true))); in.State != "needs input" || in.Missing != 0 {
		t.Errorf("what is here already is missed: %+v", in)
	}
	// By a bundle with it, after one without.
	second := dev.promote(t, shop, toProd, "2.0.0", []byte("package two"), true)
	if in := prod.take(t, light(second)); in.State != "incomplete" {
		t.Errorf("%+v", in)
	}
	if in := prod.take(t, dev.export(t, second)); in.State != "needs input" {
		t.Errorf("%+v", in)
	}
}

// A bundle for one space is refused by every other.
func TestBundleForSomebodyElse(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	other := newZone(t, "Other", "Production")
	trust(t, dev, other)
	file := dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("package one"), true))
	for name, z := range map[string]*zone{"another space that trusts the sender": other, "the sender itself": dev} {
		before := files(t, z.space.Dir())
		if _, err := z.service.Import(ctx, z.space, spacetest.Manager(), bytes.NewReader(file)); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "another space") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(view(z, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10) })); n != 0 {
			t.Errorf("%s has it in the inbox", name)
		}
		if z == other && bytes.Contains(before, []byte("package one")) != bytes.Contains(files(t, z.space.Dir()), []byte("package one")) {
			t.Errorf("%s stored its package", name)
		}
	}
	if _, err := prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(file)); err != nil {
		t.Error(err)
	}
}

// A release that a later one overtook before anybody decided is no longer up for a
// decision, and its sender hears so.
func TestSuperseded(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	first := dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true)
	old := prod.take(t, dev.export(t, first))
	second := prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.1.0", []byte("two"), true)))
	if _, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), old.ID, zones.AcceptInput{}); !errors.Is(err, errs.Stale) {
		t.Errorf("a superseded release was accepted: %v", err)
	}
	prod.accept(t, second)
	back(t, prod, toDev.ID, dev)
	if got := dev.promotion(first.ID); got.State != spaces.PromotionSuperseded {
		t.Errorf("the sender reads %s", got.State)
	}
}
