package spaces_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

// TestEditsTellWhatChanged edits one thing of each sort and reads the audit as a person
// would: field, before, after; of a secret only that it changed.
func TestEditsTellWhatChanged(t *testing.T) {
	f := newFixture(t)
	const secret, again = "swordfish-7731", "swordfish-7732"
	newest := func() string {
		t.Helper()
		e := must(t, f.Space, func(tx *spaces.Tx) ([]spaces.Event, error) { return tx.Events(spaces.EventFilter{Take: 1}) })[0]
		var out []string
		for _, c := range e.Changes {
			if c.Secret {
				out = append(out, c.Field+" changed")
			} else {
				out = append(out, fmt.Sprintf("%s: %s -> %s", c.Field, c.Before, c.After))
			}
		}
		return strings.Join(out, "\n")
	}
	do := func(what string, f2 func(tx *spaces.Tx) error, want ...string) {
		t.Helper()
		if err := spaces.Do(ctx, f.Space, spacetest.Manager(), f2); err != nil {
			t.Fatal(what, err)
		}
		if got := newest(); got != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
		}
	}
	do("environment", func(tx *spaces.Tx) error {
		_, err := tx.UpdateEnvironment(f.dev.ID, spaces.EnvironmentInput{Name: "Test", Description: "ours", UseGuidedFailure: true})
		return err
	}, "Description:  -> ours", "Name: Development -> Test", "UseGuidedFailure: false -> true")
	do("order of environments", func(tx *spaces.Tx) error {
		return tx.SortEnvironments([]spaces.EnvironmentID{f.prod.ID, f.dev.ID})
	}, "SortOrder: Test, Production -> Production, Test")
	do("target", func(tx *spaces.Tx) error {
		_, err := tx.UpdateTarget(f.targets[0].ID, spaces.TargetInput{Name: "web-1", Style: spaces.StyleListening, URI: "https://web-1:10933/", Thumbprint: strings.Repeat("0", 64), Environments: []spaces.EnvironmentID{f.dev.ID, f.prod.ID}, Tags: []string{"db", "web"}})
		return err
	}, "EnvironmentIds: Environments-1 -> Environments-2, Environments-1", "Roles: web -> db, web", "Uri: https://localhost:10933/ -> https://web-1:10933/")
	lifecycle := must(t, f.Space, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
		return tx.CreateLifecycle(deploy.Lifecycle{Name: "Slow", Phases: []deploy.Phase{{Name: "One", OptionalDeploymentTargets: []string{"Environments-1"}}}})
	})
	do("lifecycle", func(tx *spaces.Tx) error {
		in := lifecycle.Lifecycle
		in.Phases = slices.Clone(in.Phases)
		in.Phases[0].IsOptionalPhase = true
		in.Phases[0].OptionalDeploymentTargets = []string{"Environments-1", "Environments-2"}
		_, err := tx.UpdateLifecycle(lifecycle.ID, in)
		return err
	}, "Phases/One/IsOptionalPhase: false -> true", "Phases/One/OptionalDeploymentTargets: Environments-1 -> Environments-1, Environments-2")
	do("project", func(tx *spaces.Tx) error {
		_, err := tx.UpdateProject(f.project.ID, spaces.ProjectInput{Name: "Shop", Description: "sells", LifecycleID: lifecycle.ID, Settings: spaces.ProjectSettings{ReleaseNotesTemplate: "why?"}})
		return err
	}, "Description:  -> sells", "LifecycleId: Lifecycles-1 -> Lifecycles-2", "Settings/ReleaseNotesTemplate:  -> why?")
	edit := func(change func(p *steps.Process)) func(tx *spaces.Tx) error {
		return func(tx *spaces.Tx) error {
			p, err := tx.Process(f.project.ID)
			if err != nil {
				return err
			}
			change(&p.Process)
			_, err = tx.SaveProcess(f.project.ID, p.Process.Version, p.Process)
			return err
		}
	}
	do("process", edit(func(p *steps.Process) {
		p.Steps[0].Actions[0].Properties.Set("Greeting", "hello")
		p.Steps[0].Actions[0].Properties["Key"] = steps.PropertyValue{IsSensitive: true, NewValue: text(secret)}
		p.Steps[0].Properties.Set(steps.TargetRolesProperty, "db")
	}), "Steps/Deploy shop/Actions/Deploy shop/Properties/Key changed", "Steps/Deploy shop/Actions/Deploy shop/Properties/Greeting:  -> hello", "Steps/Deploy shop/Properties/Octopus.Action.TargetRoles: web -> db")
	do("secret of a process", edit(func(p *steps.Process) {
		p.Steps[0].Actions[0].Properties["Key"] = steps.PropertyValue{IsSensitive: true, NewValue: text(again)}
	}), "Steps/Deploy shop/Actions/Deploy shop/Properties/Key changed")

	save := func(version int64, all ...variables.Variable) func(tx *spaces.Tx) error {
		return func(tx *spaces.Tx) error {
			_, err := tx.SaveVariables(f.project.ID, version, variables.Set{Variables: all})
			return err
		}
	}
	inProd := variables.Scope{variables.Environment: {f.prod.ID.String()}}
	do("variables that come", save(0, variables.Variable{ID: "a", Name: "Color", Value: text("red")}, variables.Variable{ID: "b", Name: "Key", IsSensitive: true, Value: text(secret), Scope: inProd}),
		"Color:  -> red", "Key Environment=Environments-2; changed")
	do("variables that change", save(1, variables.Variable{ID: "a", Name: "Color", Value: text("blue"), Description: "of the door"}, variables.Variable{ID: "b", Name: "Key", IsSensitive: true, Value: text(again), Scope: inProd}),
		"Color: red -> blue", "Color/Description:  -> of the door", "Key Environment=Environments-2; changed")
	do("a scope of a secret", save(2, variables.Variable{ID: "a", Name: "Color", Value: text("blue"), Description: "of the door"}, variables.Variable{ID: "b", Name: "Key", IsSensitive: true}),
		"Key/Scope/Environment: Environments-2 -> ")
	do("variables that go", save(3), "Color: blue -> ", "Key changed")

	all := must(t, f.Space, func(tx *spaces.Tx) ([]spaces.Event, error) { return tx.Events(spaces.EventFilter{Take: 1000}) })
	b, err := json.Marshal(all)
	if err != nil || strings.Contains(string(b), "swordfish") {
		t.Errorf("a secret is in the audit, %v", err)
	}
}
