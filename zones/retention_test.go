package zones_test

import (
	"bytes"
	"errors"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones"
)

// Retention takes no release away that is on its way to another zone or came from one,
// and no package file of it, though the policy keeps none.
func TestRetentionKnowsPromotions(t *testing.T) {
	t.Parallel()
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	toProd, _ := trust(t, dev, prod)
	dev.lifecycle(toProd)
	p := dev.shop()
	sent := dev.release(p, "1.0.0", []byte("package one"))
	dev.deployed(sent, spaces.TaskSuccess)
	manager := spacetest.Manager()
	promotion, err := dev.service.Promote(ctx, dev.space, manager, sent.ID, toProd.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1.0.1", "1.0.2"} { // push it off the dashboard, and off the place for a rollback
		dev.deployed(dev.release(p, v, []byte("package "+v)), spaces.TaskSuccess)
	}
	unused := dev.release(p, "1.0.3", []byte("package of nobody"))

	apply := func(z *zone) spaces.ProjectRetention {
		t.Helper()
		lifecycles := update(z, func(tx *spaces.Tx) (spaces.Page[spaces.Lifecycle], error) { return tx.Lifecycles(spaces.All) })
		for _, l := range lifecycles.Items {
			l.ReleaseRetentionPolicy = deploy.Keep(0, "Items")
			update(z, func(tx *spaces.Tx) (spaces.Lifecycle, error) { return tx.UpdateLifecycle(l.ID, l.Lifecycle) })
		}
		plan, err := spaces.View(ctx, z.space, spaces.Server(), (*spaces.ReadTx).Retention)
		if err != nil || len(plan) != 1 {
			t.Fatalf("%+v, %v", plan, err)
		}
		for _, r := range plan[0].Expired {
			if err := spaces.Do(ctx, z.space, spaces.Server(), func(tx *spaces.Tx) error { return tx.ExpireRelease(r) }); err != nil {
				t.Fatal(err)
			}
		}
		return plan[0]
	}
	if plan := apply(dev); len(plan.Expired) != 1 || plan.Expired[0].ID != unused.ID {
		t.Errorf("Dev lets go %+v", plan.Expired)
	}
	gone := spaces.RetainedRelease{ID: sent.ID, Version: sent.Version, Why: "of a test"}
	if err := spaces.Do(ctx, dev.space, spaces.Server(), func(tx *spaces.Tx) error { return tx.ExpireRelease(gone) }); !errors.Is(err, errs.Blocked) {
		t.Errorf("a release on its way is deleted: %v", err)
	}

	var file bytes.Buffer
	if err := dev.service.ExportBundle(ctx, dev.space, manager, promotion.ID, true, &file); err != nil {
		t.Fatalf("after retention it cannot be carried: %v", err)
	}
	in, err := prod.service.Import(ctx, prod.space, manager, &file)
	if err != nil || !in.Whole() {
		t.Fatalf("%+v, %v", in, err)
	}
	came, err := prod.service.Accept(ctx, prod.space, manager, in.ID, zones.AcceptInput{})
	if err != nil {
		t.Fatal(err)
	}
	if plan := apply(prod); len(plan.Expired) != 0 || len(plan.Protected) != 1 || plan.Protected[0].ID != came.ID {
		t.Errorf("Prod: %+v", plan)
	}
	missing, err := spaces.View(ctx, prod.space, manager, func(tx *spaces.ReadTx) ([]spaces.ReleasePackage, error) { return tx.MissingPackages(came.ID) })
	if err != nil || len(missing) > 0 {
		t.Errorf("missing at Prod: %+v, %v", missing, err)
	}
}
