package zones_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones"
)

// The review of a release tells each kind of change against the release that was accepted
// before it, of sensitive values only that they changed, and nothing of what stayed.
func TestReviewTellsEachChange(t *testing.T) {
	dev, prod, toProd, _, p := byHand(t)
	manager := spacetest.Manager()
	script := func(name, body, secret string) steps.Step {
		kind, _ := steps.Lookup("Octopus.Script")
		s := kind.New(name)
		s.Properties.Set(steps.TargetRolesProperty, "web")
		s.Actions[0].Properties["Octopus.Action.Script.ScriptBody"] = steps.Text(body)
		if secret != "" {
			s.Actions[0].Properties["Own.Secret"] = steps.Sensitive(secret)
		}
		return s
	}
	save := func(change func([]steps.Step) []steps.Step) {
		t.Helper()
		update(dev, func(tx *spaces.Tx) (spaces.Process, error) {
			old, err := tx.Process(p.ID)
			if err != nil {
				return old, err
			}
			return tx.SaveProcess(p.ID, old.Version, steps.Process{Steps: change(old.Steps)})
		})
	}
	values := func(of map[string]string, secrets map[string]string) {
		t.Helper()
		update(dev, func(tx *spaces.Tx) (spaces.VariableSet, error) {
			old, err := tx.Variables(p.ID)
			if err != nil {
				return old, err
			}
			var all []variables.Variable
			for name, text := range of {
				all = append(all, variables.Variable{Name: name, Value: &text})
			}
			for name, text := range secrets {
				all = append(all, variables.Variable{Name: name, Value: &text, IsSensitive: true})
			}
			// Without the values that its own environment must have.
			for _, v := range old.Set.Variables {
				if len(v.Scope) > 0 {
					all = append(all, v)
				}
			}
			return tx.SaveVariables(p.ID, old.Version, variables.Set{Variables: all})
		})
	}
	save(func(s []steps.Step) []steps.Step {
		return []steps.Step{script("Stays", "echo stays", "stays-secret"), script("Goes", "echo goes", ""), script("Early", "echo early", ""), script("Edited", "set -e\necho one\necho end", ""), script("Turned", "echo turned", "before-secret"), s[0]}
	})
	values(map[string]string{"Same": "same", "Edited": "one", "Gone": "gone"}, map[string]string{"Kept": "kept-secret", "Turned": "before-secret", "Opened": "opened-secret"})
	first := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.0.0", []byte("package one"), true))))

	save(func(s []steps.Step) []steps.Step {
		stays, early, edited, turned, install := s[0], s[2], s[3], s[4], s[5]
		edited.Actions[0].Properties["Octopus.Action.Script.ScriptBody"] = steps.Text("set -e\necho two\necho end")
		turned.Actions[0].Properties["Own.Secret"] = steps.Sensitive("after-secret")
		return []steps.Step{stays, edited, turned, install, early, script("New", "echo new", "new-secret")}
	})
	values(map[string]string{"Same": "same", "Edited": "two", "New": "new", "Opened": "in clear"}, map[string]string{"Kept": "kept-secret", "Turned": "after-secret", "NewSecret": "new-secret"})
	in := prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.1.0", []byte("package two"), true)))
	r, err := prod.service.Review(ctx, prod.space, manager, in.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	if r.Previous == nil || r.Previous.ID != first.ID || len(r.Warnings) != 0 {
		t.Errorf("compared with %+v, warnings %q", r.Previous, r.Warnings)
	}
	var process, values2, packages []string
	for _, d := range r.Steps {
		line := string(d.Change) + " " + d.Name
		for _, f := range d.Fields {
			if d.Change != steps.Changed {
				continue
			}
			if f.Sensitive {
				line += " (sensitive)"
			}
			for _, l := range f.Lines {
				if l.Op == '-' || l.Op == '+' {
					line += " " + string(l.Op) + l.Text
				}
			}
		}
		process = append(process, line)
	}
	for _, c := range r.Changes {
		values2 = append(values2, fmt.Sprintf("%s %s %q %q %v", c.Kind, c.Name, c.Before, c.After, c.Sensitive))
	}
	for _, c := range r.Packages {
		packages = append(packages, c.Action+" "+c.Package+" "+c.Before+" "+c.After)
		if c.BeforeDigest == c.AfterDigest {
			t.Errorf("the digests of %s are equal", c.Package)
		}
	}
	slices.Sort(values2)
	process = slices.DeleteFunc(process, func(s string) bool { return strings.HasPrefix(s, string(steps.Same)) })
	for what, x := range map[string][2][]string{
		"process":   {process, {"removed Goes", "changed Edited -echo one +echo two", "changed Turned (sensitive)", "moved Early", "added New"}},
		"variables": {values2, {`added New "" "new" false`, `added NewSecret "" "" true`, `changed Edited "one" "two" false`, `changed Opened "" "" true`, `changed Turned "" "" true`, `removed Gone "" "" false`}},
		"packages":  {packages, {"Install Shop 1.0.0 1.1.0"}},
	} {
		if !slices.Equal(x[0], x[1]) {
			t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(x[0], "\n"), strings.Join(x[1], "\n"))
		}
	}
	if told := fmt.Sprintf("%+v", r); strings.Contains(told, "-secret") {
		t.Error("a sensitive value is in the review")
	}

	// Downgraded later, it says so.
	prod.accept(t, in)
	older := prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.0.5", []byte("package three"), true)))
	if r, err = prod.service.Review(ctx, prod.space, manager, older.ID, ""); err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "older than 1.1.0") {
		t.Errorf("%q, %v", r.Warnings, err)
	}
	if slices.ContainsFunc(r.Steps, func(d steps.StepDiff) bool { return d.Change != steps.Same }) || len(r.Changes) != 0 || len(r.Packages) != 0 {
		t.Errorf("nothing was changed: %+v %+v %+v", r.Steps, r.Changes, r.Packages)
	}
}

// Its reader may compare a release with what is deployed here instead of what was accepted
// last, and a value that moved to another place is told as that.
func TestReviewComparesWithTheDeployed(t *testing.T) {
	dev, prod, toProd, _, p := byHand(t)
	manager := spacetest.Manager()
	place := func(colour, where, keyWhere string) {
		t.Helper()
		update(dev, func(tx *spaces.Tx) (spaces.VariableSet, error) {
			old, err := tx.Variables(p.ID)
			if err != nil {
				return old, err
			}
			all := slices.DeleteFunc(old.Set.Variables, func(v variables.Variable) bool { return v.Name == "Colour" || v.Name == "Key" })
			at := func(tag string) variables.Scope { return variables.Scope{variables.Role: {tag}} }
			key := "key-secret"
			all = append(all, variables.Variable{Name: "Colour", Value: &colour, Scope: at(where)}, variables.Variable{Name: "Key", Value: &key, IsSensitive: true, Scope: at(keyWhere)})
			return tx.SaveVariables(p.ID, old.Version, variables.Set{Variables: all})
		})
	}
	changes := func(in spaces.Inbound, with string) (zones.Review, string) {
		t.Helper()
		r, err := prod.service.Review(ctx, prod.space, manager, in.ID, with)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, c := range r.Changes {
			all = append(all, fmt.Sprintf("%s %s %s→%s %s→%s %v", c.Kind, c.Name, c.Before, c.After, c.BeforeScope, c.AfterScope, c.ValueChanged))
		}
		for _, k := range r.Packages {
			all = append(all, k.Before+"→"+k.After)
		}
		slices.Sort(all)
		return r, strings.Join(all, "\n")
	}
	place("green", "web", "web")
	first := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.0.0", []byte("one"), true))))
	prod.deployed(first, spaces.TaskSuccess)
	place("green", "api", "web")
	prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.1.0", []byte("two"), true))))
	place("red", "worker", "api")
	in := prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.2.0", []byte("three"), true)))

	r, got := changes(in, "")
	if want := "1.1.0→1.2.0\nscope changed Colour green→red Role=api;→Role=worker; true\nscope changed Key → Role=web;→Role=api; false"; got != want || r.Against.Version != "1.1.0" {
		t.Errorf("against %s:\n%s\nwant\n%s", r.Against.Version, got, want)
	}
	if len(r.Deployed) != 1 || r.Deployed[0].Version != "1.0.0" || !slices.Equal(r.Deployed[0].Environments, []string{"Production"}) {
		t.Errorf("deployed: %+v", r.Deployed)
	}
	r, got = changes(in, "1.0.0")
	if want := "1.0.0→1.2.0\nscope changed Colour green→red Role=web;→Role=worker; true\nscope changed Key → Role=web;→Role=api; false"; got != want || r.Against.ID != first.ID || r.Previous.Version != "1.1.0" {
		t.Errorf("against %s:\n%s\nwant\n%s", r.Against.Version, got, want)
	}
	if _, err := prod.service.Review(ctx, prod.space, manager, in.ID, "9.9.9"); !errors.Is(err, errs.NotFound) {
		t.Errorf("compared with what is not there: %v", err)
	}
}

// What a person should know first stands first: a gap before it, another kind of step, a
// language that was not there, that a newer one is deployed, and a clock that is ahead.
func TestReviewWarns(t *testing.T) {
	dev, prod, toProd, _, p := byHand(t)
	warnings := func(in spaces.Inbound) string {
		t.Helper()
		r, err := prod.service.Review(ctx, prod.space, spacetest.Manager(), in.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(r.Warnings, "\n")
	}
	in := prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.0.0", []byte("one"), true)))
	if got := warnings(in); got != "" {
		t.Errorf("of the first: %s", got)
	}
	prod.deployed(prod.accept(t, in), spaces.TaskSuccess)

	dev.promote(t, p, toProd, "1.1.0", []byte("lost on its way"), true)
	kind, _ := steps.Lookup("Octopus.Script")
	st := kind.New("Migrate")
	st.Properties.Set(steps.TargetRolesProperty, "web")
	st.Actions[0].Properties["Octopus.Action.Script.ScriptBody"] = steps.Text("echo migrate")
	update(dev, func(tx *spaces.Tx) (spaces.Process, error) {
		old, err := tx.Process(p.ID)
		if err != nil {
			return old, err
		}
		return tx.SaveProcess(p.ID, old.Version, steps.Process{Steps: append(old.Steps, st)})
	})
	in = prod.take(t, dev.export(t, dev.promote(t, p, toProd, "0.9.0", []byte("two"), true)))
	want := []string{"older than 1.0.0, which was accepted", "older than 1.0.0, which is deployed to Production", "step of type 'Octopus.Script'; 1.0.0 had none", "scripts in Bash; 1.0.0 ran none", "Dev sent message 2 that did not come"}
	got := warnings(in)
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("it does not warn of %q:\n%s", w, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != len(want) {
		t.Errorf("%d warnings:\n%s", n, got)
	}
	// Once it is decided on it is compared with what was before it, whatever came since.
	accepted := prod.accept(t, in)
	later := prod.accept(t, prod.take(t, dev.export(t, dev.promote(t, p, toProd, "1.5.0", []byte("later"), true))))
	if r, err := prod.service.Review(ctx, prod.space, spacetest.Manager(), in.ID, ""); err != nil || r.Previous == nil || r.Previous.Version != "1.0.0" || strings.Contains(strings.Join(r.Warnings, " "), "deployed to") {
		t.Errorf("%s, and then %s: compared with %+v, %q, %v", accepted.Version, later.Version, r.Previous, r.Warnings, err)
	}
	// More of them are missing.
	dev.promote(t, p, toProd, "2.0.0", []byte("three"), true)
	dev.promote(t, p, toProd, "2.1.0", []byte("four"), true)
	in = prod.take(t, dev.export(t, dev.promote(t, p, toProd, "2.2.0", []byte("five"), true)))
	if got := warnings(in); !strings.Contains(got, "3 messages, from number 2 on,") {
		t.Errorf("of more that are missing: %s", got)
	}
}

// A release is the same in every space: its core digest is equal at its source and at
// each of its targets, whose bundles are sealed apart.
func TestCoreIsEqualEverywhere(t *testing.T) {
	dev, prod, toProd, _, p := byHand(t)
	other := newZone(t, "Other", "Production")
	toOther, _ := trust(t, dev, other)
	both := view(dev, func(tx *spaces.ReadTx) (spaces.Page[spaces.Lifecycle], error) { return tx.Lifecycles(spaces.All) }).Items[0]
	last := &both.Lifecycle.Phases[len(both.Lifecycle.Phases)-1]
	last.RemoteSpaces = append(last.RemoteSpaces, deploy.RemoteSpace{ID: toOther.ID.String()})
	update(dev, func(tx *spaces.Tx) (spaces.Lifecycle, error) { return tx.UpdateLifecycle(both.ID, both.Lifecycle) })
	pr := dev.promote(t, p, toProd, "1.0.0", []byte("package one"), true)
	there := prod.accept(t, prod.take(t, dev.export(t, pr)))
	second, err := dev.service.Promote(ctx, dev.space, spacetest.Manager(), pr.ReleaseID, toOther.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	file := dev.export(t, second)
	elsewhere := other.accept(t, other.take(t, file))
	here := view(dev, func(tx *spaces.ReadTx) (spaces.Release, error) { return tx.Release(pr.ReleaseID) })
	if here.CoreDigest == "" || there.CoreDigest != here.CoreDigest || elsewhere.CoreDigest != here.CoreDigest || there.ULID != here.ULID || elsewhere.ULID != here.ULID {
		t.Errorf("%s %s at Dev, %s at Prod, %s at the other", here.ULID, here.CoreDigest, there.CoreDigest, elsewhere.CoreDigest)
	}
	if _, err := prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(file)); err == nil {
		t.Error("what was sealed for one is taken by another")
	}
}
