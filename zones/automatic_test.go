package zones_test

import (
	"fmt"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones"
)

// place is a further environment of a zone, with a target.
func (z *zone) place(name string) spaces.Environment {
	z.t.Helper()
	return update(z, func(tx *spaces.Tx) (spaces.Environment, error) {
		e, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: name})
		if err != nil {
			return e, err
		}
		_, err = tx.CreateTarget(spaces.TargetInput{Name: strings.ToLower(name), Style: spaces.StyleListening, URI: "https://localhost:9/", Thumbprint: fmt.Sprintf("%064x", int(e.ID)), Environments: []spaces.EnvironmentID{e.ID}, Tags: []string{"web"}})
		return e, err
	})
}

// phases gives the only lifecycle of a zone other phases.
func (z *zone) phases(phases ...deploy.Phase) {
	z.t.Helper()
	lc := view(z, func(tx *spaces.ReadTx) (spaces.Page[spaces.Lifecycle], error) { return tx.Lifecycles(spaces.All) }).Items[0]
	lc.Lifecycle.Phases = phases
	update(z, func(tx *spaces.Tx) (spaces.Lifecycle, error) { return tx.UpdateLifecycle(lc.ID, lc.Lifecycle) })
}

func (z *zone) deployments(r spaces.ReleaseID, e spaces.Environment) []spaces.Deployment {
	z.t.Helper()
	return view(z, func(tx *spaces.ReadTx) (spaces.Page[spaces.Deployment], error) {
		return tx.Deployments(spaces.DeploymentFilter{Release: r, Environments: []string{e.ID.String()}, Take: 10})
	}).Items
}

// only is the one deployment of a release to an environment.
func (z *zone) only(t *testing.T, r spaces.ReleaseID, e spaces.Environment) spaces.Deployment {
	t.Helper()
	all := z.deployments(r, e)
	if len(all) != 1 {
		t.Fatalf("%d deployments to %s", len(all), e.Name)
	}
	if all[0].CreatedBy != spaces.Server().Name {
		t.Errorf("deployed to %s by %s", e.Name, all[0].CreatedBy)
	}
	return all[0]
}

func automatic(name string, e spaces.Environment) deploy.Phase {
	return deploy.Phase{Name: name, AutomaticDeploymentTargets: []string{e.ID.String()}}
}

// A lifecycle may deploy and promote by itself, each once and not before its phase opens.
// What another zone sends is deployed by nobody but people there, until one of them has
// begun.
func TestLifecycleGoesOnByItself(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	link := wired(t, dev, prod, true)
	dev.dial(t) // only to prepare what is promoted
	archive, second := dev.place("Archive"), prod.place("Second site")
	remote := deploy.Phase{Name: "Production", RemoteSpaces: []deploy.RemoteSpace{{ID: link.ID.String(), MinimumEnvironmentsBeforePromotion: 1, Automatic: true}}}
	dev.phases(automatic("Test", dev.env), remote, automatic("Archive", archive))
	prod.phases(automatic("Production", prod.env), automatic("Second site", second))
	back := view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Dev") }).ID
	shop := dev.shop()
	local := "https://archive.example"
	set := view(dev, func(tx *spaces.ReadTx) (spaces.VariableSet, error) { return tx.Variables(shop.ID) })
	for _, name := range []string{"Url", "ApiKey"} {
		set.Set.Variables = append(set.Set.Variables, variables.Variable{Name: name, Value: &local, IsSensitive: name == "ApiKey", Scope: variables.Scope{variables.Environment: {archive.ID.String()}}})
	}
	update(dev, func(tx *spaces.Tx) (spaces.VariableSet, error) {
		return tx.SaveVariables(shop.ID, set.Version, set.Set)
	})

	r := dev.release(shop, "1.0.0", []byte("one"))
	promotions := func() []spaces.Promotion {
		return view(dev, func(tx *spaces.ReadTx) ([]spaces.Promotion, error) { return tx.Promotions(spaces.PromotionFilter{}) })
	}
	first := dev.only(t, r.ID, dev.env)
	if n := len(promotions()); n != 0 {
		t.Fatalf("%d promotions before the test", n)
	}
	dev.ends(first.TaskID, spaces.TaskSuccess)
	if all := promotions(); len(all) != 1 || all[0].CreatedBy != spaces.Server().Name {
		t.Fatalf("promotions after the test: %+v", all)
	}

	in := prod.inbox(t, "1.0.0")
	theirs, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), in.ID, zones.AcceptInput{Values: map[spaces.EnvironmentID]map[string]string{prod.env.ID: values, second.ID: values}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(prod.deployments(theirs.ID, prod.env)); n != 0 {
		t.Fatalf("acceptance made %d deployments", n)
	}
	if n := len(dev.deployments(r.ID, archive)); n != 0 {
		t.Fatalf("%d deployments before the receipt", n)
	}
	prod.deployed(theirs, spaces.TaskSuccess)
	prod.only(t, theirs.ID, second)
	eventually(t, "the receipt opens the last phase", func() bool { return len(dev.deployments(r.ID, archive)) > 0 })
	dev.ends(dev.only(t, r.ID, archive).TaskID, spaces.TaskSuccess)

	// Again, in each place: nothing follows a second time.
	dev.deployed(r, spaces.TaskSuccess)
	prod.deployed(theirs, spaces.TaskFailed)
	prod.deployed(theirs, spaces.TaskSuccess)
	eventually(t, "the receipts are here", func() bool {
		return len(view(prod, func(tx *spaces.ReadTx) ([]spaces.OutboxItem, error) { return tx.Outbox(back, true, 100) })) == 0
	})
	dev.only(t, r.ID, archive)
	prod.only(t, theirs.ID, second)
	if n := len(promotions()); n != 1 {
		t.Errorf("%d promotions", n)
	}
}

// What a lifecycle would do by itself and may not is told, and hinders nothing.
func TestAutomaticDeploymentIsLeft(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	link := wired(t, dev, prod, true)
	bare := dev.place("Bare") // where the variables that the project asks for have no value
	remote := deploy.Phase{Name: "Production", RemoteSpaces: []deploy.RemoteSpace{{ID: link.ID.String(), MinimumEnvironmentsBeforePromotion: 1, Automatic: true}}}
	dev.phases(deploy.Phase{Name: "Test", AutomaticDeploymentTargets: []string{dev.env.ID.String(), bare.ID.String()}, MinimumEnvironmentsBeforePromotion: 1}, remote)
	shop := dev.shop()
	r := dev.release(shop, "1.0.0", []byte("one"))
	first := dev.only(t, r.ID, dev.env)
	if n := len(dev.deployments(r.ID, bare)); n != 0 {
		t.Errorf("%d deployments without values", n)
	}
	said := func(what string) {
		t.Helper()
		events := view(dev, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
			return tx.Events(spaces.EventFilter{Category: "AutomaticSkipped"})
		})
		for _, e := range events {
			if strings.Contains(e.Message, what) {
				return
			}
		}
		t.Errorf("no event tells of %q: %+v", what, events)
	}
	said("was not deployed by itself")

	update(dev, func(tx *spaces.Tx) (spaces.Link, error) {
		return tx.UpdateLink(link.ID, spaces.LinkFlows{LocalName: link.LocalName, SendReceipts: "none", AcceptReceipts: true})
	})
	dev.ends(first.TaskID, spaces.TaskSuccess)
	said("was not promoted by itself: Releases are not sent to 'Prod'.")
	if task := view(dev, func(tx *spaces.ReadTx) (spaces.Task, error) { return tx.Task(first.TaskID) }); task.State != spaces.TaskSuccess {
		t.Errorf("the deployment is %s", task.State)
	}
}
