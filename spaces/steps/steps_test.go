package steps_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
)

func script(name, body string) steps.Step {
	t, _ := steps.Lookup(steps.ScriptType)
	s := t.New(name)
	t.Apply(&s, &s.Actions[0], map[string]string{"Octopus.Action.Script.ScriptBody": body, steps.TargetRolesProperty: "web"})
	return s
}

func pack(name, id string) steps.Step {
	t, _ := steps.Lookup(steps.PackageType)
	s := t.New(name)
	t.Apply(&s, &s.Actions[0], map[string]string{"Octopus.Action.Package.PackageId": id, steps.TargetRolesProperty: "web"})
	return s
}

func ids() func() string {
	n := 0
	return func() string { n++; return fmt.Sprint("id", n) }
}

func TestNewStepsAreValidOnceFilledIn(t *testing.T) {
	for _, kind := range steps.Types() {
		p := steps.Process{Steps: []steps.Step{kind.New("One")}}
		if p.Validate() == nil {
			t.Errorf("%s: an empty step is accepted", kind.Name)
		}
		values := map[string]string{}
		for _, in := range kind.Inputs {
			if in.Required && in.Feature == "" && in.Default == "" {
				values[in.Name] = "web"
			}
		}
		kind.Apply(&p.Steps[0], &p.Steps[0].Actions[0], values)
		if err := p.Validate(); err != nil {
			t.Errorf("%s: every required input is given, and yet: %v", kind.Name, err)
		}
		for _, in := range kind.Inputs {
			if got := kind.Value(&p.Steps[0], &p.Steps[0].Actions[0], in); values[in.Name] != "" && got != values[in.Name] {
				t.Errorf("%s: the form shows %q for %s, not %q", kind.Name, got, in.Name, values[in.Name])
			}
		}
	}
}

func TestValidate(t *testing.T) {
	const action = "Steps[0].Actions[0]"
	for _, c := range []struct {
		name  string
		step  steps.Step
		edit  func(*steps.Step, *steps.Action)
		field string
	}{
		{"script", script("A", "true"), nil, ""},
		{"package", pack("A", "web"), nil, ""},
		{"no name", script("A", "true"), func(s *steps.Step, _ *steps.Action) { s.Name = " " }, "Steps[0].Name"},
		{"brackets", script("A", "true"), func(s *steps.Step, a *steps.Action) { s.Name, a.Name = "A[1]", "A[1]" }, "Steps[0].Name"},
		{"no action", script("A", "true"), func(s *steps.Step, _ *steps.Action) { s.Actions = nil }, "Steps[0].Actions"},
		{"two alike", script("A", "true"), func(s *steps.Step, a *steps.Action) { s.Actions = append(s.Actions, *a) }, "Steps[0].Actions[1].Name"},
		{"no tags", script("A", "true"), func(s *steps.Step, _ *steps.Action) { delete(s.Properties, steps.TargetRolesProperty) }, "Steps[0].Properties[Octopus.Action.TargetRoles]"},
		{"window", script("A", "true"), func(s *steps.Step, _ *steps.Action) { s.Properties.Set(steps.MaxParallelismProperty, "0") }, "Steps[0].Properties[Octopus.Action.MaxParallelism]"},
		{"window by variable", script("A", "true"), func(s *steps.Step, _ *steps.Action) { s.Properties.Set(steps.MaxParallelismProperty, "#{W}") }, ""},
		{"condition", script("A", "true"), func(s *steps.Step, _ *steps.Action) { s.Condition = "Sometimes" }, "Steps[0].Condition"},
		{"condition without words", script("A", "true"), func(s *steps.Step, _ *steps.Action) { s.Condition = steps.Variable }, "Steps[0].Properties[Octopus.Action.ConditionVariableExpression]"},
		{"unknown type", script("A", "true"), func(_ *steps.Step, a *steps.Action) { a.ActionType = "Octopus.Helm" }, action + ".ActionType"},
		{"server", script("A", "true"), func(_ *steps.Step, a *steps.Action) { a.Properties.Set(steps.RunOnServerProperty, "True") }, action + ".Properties[Octopus.Action.RunOnServer]"},
		{"PowerShell", script("A", "true"), func(_ *steps.Step, a *steps.Action) {
			a.Properties.Set("Octopus.Action.Script.Syntax", "PowerShell")
		}, action + ".Properties[Octopus.Action.Script.Syntax]"},
		{"empty script", script("A", " "), nil, action + ".Properties[Octopus.Action.Script.ScriptBody]"},
		{"package without id", pack("A", ""), nil, action + ".Packages[0].PackageId"},
		{"no package", pack("A", "web"), func(_ *steps.Step, a *steps.Action) { a.Packages = nil }, action + ".Packages"},
		{"feature without files", pack("A", "web"), func(_ *steps.Step, a *steps.Action) {
			a.Properties.Set("Octopus.Action.EnabledFeatures", ",Octopus.Features.SubstituteInFiles")
		}, action + ".Properties[Octopus.Action.SubstituteInFiles.TargetFiles]"},
		{"relative directory", pack("A", "web"), func(_ *steps.Step, a *steps.Action) {
			a.Properties.Set("Octopus.Action.EnabledFeatures", "Octopus.Features.CustomDirectory")
			a.Properties.Set("Octopus.Action.Package.CustomInstallationDirectory", "srv")
		}, action + ".Properties[Octopus.Action.Package.CustomInstallationDirectory]"},
		{"keep", pack("A", "web"), func(_ *steps.Step, a *steps.Action) {
			a.Properties.Set("Octopuses.Action.Package.KeepVersions", "none")
		}, action + ".Properties[Octopuses.Action.Package.KeepVersions]"},
		{"PowerShell in package", pack("A", "web"), func(_ *steps.Step, a *steps.Action) {
			a.Properties.Set("Octopus.Action.CustomScripts.Deploy.ps1", "x")
		}, action + ".Properties[Octopus.Action.CustomScripts.Deploy.ps1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := steps.Process{Steps: []steps.Step{c.step}}
			if c.edit != nil {
				c.edit(&p.Steps[0], &p.Steps[0].Actions[0])
			}
			fields := errs.FieldsOf(p.Validate())
			if c.field == "" && len(fields) > 0 || c.field != "" && !slices.ContainsFunc(fields, func(f errs.Field) bool { return f.Name == c.field }) {
				t.Errorf("got %v, want a complaint about %q", fields, c.field)
			}
		})
	}
	two := steps.Process{Steps: []steps.Step{script("A", "true"), script("a", "true")}}
	if f := errs.FieldsOf(two.Validate()); len(f) != 1 || f[0].Name != "Steps[1].Name" {
		t.Errorf("two steps of one name: %v", f)
	}
}

func TestNormalizeTwiceIsOnce(t *testing.T) {
	p := steps.Process{Steps: []steps.Step{script(" Ping it! ", "true"), script("Ping: it", "true"), pack("", "web")}}
	p.Steps[0].Actions[0].Name = ""
	p.Normalize(ids())
	one, _ := json.Marshal(p)
	p.Normalize(func() string { t.Error("a new id"); return "" })
	if two, _ := json.Marshal(p); string(one) != string(two) {
		t.Errorf("changed:\n%s\n%s", one, two)
	}
	if p.Steps[0].Slug != "ping-it" || p.Steps[1].Slug != "ping-it-2" || p.Steps[0].Actions[0].Name != "Ping it!" {
		t.Errorf("slugs %q %q, name %q", p.Steps[0].Slug, p.Steps[1].Slug, p.Steps[0].Actions[0].Name)
	}
}

// A submitted document cannot reach the secret of another.
func TestKeepSecrets(t *testing.T) {
	with := func(v steps.PropertyValue) *steps.Process {
		p := &steps.Process{Steps: []steps.Step{script("A", "true")}}
		p.Steps[0].ID, p.Steps[0].Actions[0].ID = "s1", "a1"
		p.Steps[0].Actions[0].Properties["Password"] = v
		return p
	}
	stored := with(steps.PropertyValue{IsSensitive: true, HasValue: true, Secret: 7})
	for _, c := range []struct{ name, in, want string }{
		{"keep", `{"HasValue":true,"Hint":null,"NewValue":null}`, "[{Steps[0].Actions[0].Properties[Password] 7}]"},
		{"keep with a foreign number", `{"HasValue":true,"Secret":9}`, "[{Steps[0].Actions[0].Properties[Password] 7}]"},
		{"new", `{"HasValue":true,"NewValue":"x","Secret":9}`, "[{Steps[0].Actions[0].Properties[Password] 0}]"},
		{"new, as some clients say it", `{"HasValue":false,"NewValue":"x"}`, "[{Steps[0].Actions[0].Properties[Password] 0}]"},
		{"clear", `{"HasValue":false,"Secret":7}`, "[]"},
	} {
		var v steps.PropertyValue
		if err := json.Unmarshal([]byte(c.in), &v); err != nil {
			t.Fatal(err)
		}
		p := with(v)
		p.KeepSecrets(stored)
		if got := fmt.Sprint(p.Secrets()); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	stolen := with(steps.PropertyValue{IsSensitive: true, HasValue: true, Secret: 7})
	stolen.Steps[0].Actions[0].ID = "a2"
	stolen.KeepSecrets(stored)
	if len(stolen.Secrets()) != 0 {
		t.Error("a new action took over the secret of another")
	}
	out, _ := json.Marshal(stored.Public())
	if strings.Contains(string(out), "Secret") {
		t.Errorf("the number of a secret leaves the server: %s", out)
	}
	if len(stored.Secrets()) != 1 {
		t.Error("Public changed the original")
	}
}

func TestDiff(t *testing.T) {
	build := func(s ...steps.Step) *steps.Process {
		p := &steps.Process{Steps: s}
		for i := range p.Steps {
			p.Steps[i].ID = "s-" + strings.ToLower(p.Steps[i].Name)
		}
		return p
	}
	tell := func(d []steps.StepDiff) string {
		var b strings.Builder
		for _, s := range d {
			if s.Change != steps.Same {
				fmt.Fprintf(&b, "%s %s %d-%d\n", s.Change, s.Name, s.From, s.To)
			}
			if s.Change != steps.Changed && s.Change != steps.Moved {
				continue
			}
			for _, f := range s.Fields {
				switch {
				case f.Sensitive:
					fmt.Fprintf(&b, "  %s changed\n", f.Name)
				case f.Lines != nil:
					fmt.Fprintf(&b, "  %s\n", f.Name)
					for _, l := range f.Lines {
						fmt.Fprintf(&b, "  %c %s\n", l.Op, l.Text)
					}
				default:
					fmt.Fprintf(&b, "  %s: %s > %s\n", f.Name, f.Old, f.New)
				}
			}
		}
		return b.String()
	}
	a := build(script("A", "one\ntwo\nthree\n"), script("B", "b"), pack("C", "web"))
	if got := tell(steps.Diff(a, a.Clone())); got != "" {
		t.Errorf("a process differs from itself:\n%s", got)
	}
	b := build(pack("C", "web"), script("A", "one\n2\nthree\n"), script("D", "d"))
	b.Steps[0].Actions[0].Properties["Key"] = steps.PropertyValue{IsSensitive: true, HasValue: true, Secret: 3}
	want := `removed B 2-0
changed C 3-1
  Key changed
moved A 1-2
  Script
    one
  - two
  + 2
    three
added D 0-3
`
	if got := tell(steps.Diff(a, b)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("a\nb", "a\nc")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, l := range steps.Lines(a, b) {
			if l.Op != '@' && l.Op != ' ' && l.Op != '+' && l.Op != '-' {
				t.Fatalf("op %q", l.Op)
			}
		}
		if a == b && len(steps.Lines(a, b)) > 0 {
			t.Fatal("equal texts differ")
		}
	})
}

func TestHugeDiffIsQuick(t *testing.T) {
	a, b := strings.Repeat("x\n", 100_000), strings.Repeat("y\n", 100_000)
	if n := len(steps.Lines(a, b)); n != 200_000 {
		t.Errorf("%d lines", n)
	}
}
