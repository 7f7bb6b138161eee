package zones_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones"
)

// as is a manager who is a certain person.
func as(name string) spaces.Actor {
	a := spacetest.Manager()
	a.ID, a.Name = "Users-"+name, name
	return a
}

func (z *zone) state(id spaces.InboundID) string {
	z.t.Helper()
	return view(z, func(tx *spaces.ReadTx) (spaces.Inbound, error) { return tx.Inbound(id) }).State
}

func (z *zone) by(t testing.TB, actor spaces.Actor, f func(tx *spaces.Tx) error) error {
	t.Helper()
	return spaces.Do(ctx, z.space, actor, f)
}

func (z *zone) receives(l spaces.LinkID, approvals int) {
	z.t.Helper()
	update(z, func(tx *spaces.Tx) (spaces.Link, error) {
		old, err := tx.Link(l)
		if err != nil {
			return old, err
		}
		return tx.UpdateLink(l, spaces.LinkFlows{LocalName: old.LocalName, SendBundles: old.SendBundles, AcceptBundles: old.AcceptBundles, SendReceipts: old.SendReceipts, AcceptReceipts: old.AcceptReceipts, Approvals: approvals})
	})
}

// Where a link asks for approvals, a release is accepted after as many other people have
// given theirs: not whoever brought it, and nobody twice.
func TestApprovals(t *testing.T) {
	dev, prod, toProd, toDev, shop := byHand(t)
	prod.receives(toDev.ID, 2)
	carrier, ada, bob, eve := as("carrier"), as("ada"), as("bob"), as("eve")
	in, err := prod.service.Import(ctx, prod.space, carrier, bytes.NewReader(dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true))))
	if err != nil || in.State != spaces.InboundAwaiting || in.Needed != 2 {
		t.Fatalf("%+v, %v", in, err)
	}
	approve := func(who spaces.Actor) error {
		return prod.by(t, who, func(tx *spaces.Tx) error { _, err := tx.ApproveInbound(in.ID, "seen"); return err })
	}
	accept := func(who spaces.Actor) error {
		_, err := prod.service.Accept(ctx, prod.space, who, in.ID, zones.AcceptInput{})
		return err
	}
	says := func(what string, err error, kind errs.Kind, text string) {
		t.Helper()
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	says("accepted without approvals", accept(eve), errs.Blocked, "2 people other than you; 0")
	says("approved by the carrier", approve(carrier), errs.Blocked, "brought this release")
	says("approved by the server", approve(spaces.Server()), errs.Blocked, "Only a person")
	viewer := as("viewer")
	viewer.Permissions = access.Set{}
	says("approved without the permission", approve(viewer), errs.Denied, "BundleApprove")
	if err := approve(ada); err != nil {
		t.Fatal(err)
	}
	key := ada
	key.Via = "key"
	says("approved twice, the second time with an API key", approve(key), errs.Stale, "already")
	if s := prod.state(in.ID); s != spaces.InboundAwaiting {
		t.Errorf("after one approval it is %s", s)
	}
	if err := approve(bob); err != nil {
		t.Fatal(err)
	}
	if s := prod.state(in.ID); s != spaces.InboundNeedsInput {
		t.Errorf("after two approvals it is %s", s)
	}
	says("accepted by one of the two", accept(bob), errs.Blocked, "1 have approved")
	if err := accept(eve); err != nil {
		t.Fatal(err)
	}
	says("approved when it was accepted", approve(as("late")), errs.Stale, "accepted already")
	all := view(prod, func(tx *spaces.ReadTx) ([]spaces.Approval, error) { return tx.Approvals(in.ID) })
	if len(all) != 2 || all[0].Name != "ada" || all[0].CoreDigest != in.CoreDigest || len(all[0].Message) != 64 || all[1].Name != "bob" || all[1].Comment != "seen" {
		t.Errorf("%+v", all)
	}

	// A release that was rejected and promoted anew is approved anew.
	next := dev.promote(t, shop, toProd, "1.1.0", []byte("two"), true)
	in = prod.take(t, dev.export(t, next))
	for _, who := range []spaces.Actor{ada, bob} {
		if err := approve(who); err != nil {
			t.Fatal(err)
		}
	}
	if err := prod.by(t, eve, func(tx *spaces.Tx) error { _, err := tx.RejectInbound(in.ID, "not today"); return err }); err != nil {
		t.Fatal(err)
	}
	again, err := dev.service.Promote(ctx, dev.space, spacetest.Manager(), next.ReleaseID, toProd.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	in = prod.take(t, dev.export(t, again))
	says("accepted with the approvals of before", accept(eve), errs.Blocked, "0 have approved")
}

// What a release still asks for is its state until it is set, here or for an earlier one.
func TestReleaseNeedsInput(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	in := prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true)))
	if in.State != spaces.InboundNeedsInput || in.Lacks != 2 {
		t.Fatalf("%+v", in)
	}
	if _, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), in.ID, zones.AcceptInput{}); err != nil { // may be filled in later
		t.Fatal(err)
	}
	next := prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.1.0", []byte("two"), true)))
	if next.State != spaces.InboundNeedsInput {
		t.Errorf("nothing is set and it is %s", next.State)
	}
	for i, name := range []string{"Url", "ApiKey"} {
		r := view(prod, func(tx *spaces.ReadTx) (spaces.Page[spaces.Release], error) {
			return tx.Releases(spaces.ReleaseFilter{})
		}).Items[0]
		err := prod.by(t, spacetest.Manager(), func(tx *spaces.Tx) error {
			return tx.SetTemplateValues(r.ProjectID, prod.env.ID, r.Templates, map[string]string{name: "set"})
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{spaces.InboundNeedsInput, spaces.InboundVerified}[i]
		if s := prod.state(next.ID); s != want {
			t.Errorf("with %s set it is %s", name, s)
		}
	}
	if last := prod.take(t, dev.export(t, dev.promote(t, shop, toProd, "1.2.0", []byte("three"), true))); last.State != spaces.InboundVerified {
		t.Errorf("with all set it comes as %s", last.State)
	}
}

// A recall ends what nobody decided on and stops deployments of what was accepted, until
// somebody there allows them; the answer says where it runs.
func TestRecall(t *testing.T) {
	for _, way := range []string{"link", "file"} {
		t.Run(way, func(t *testing.T) {
			dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
			var toProd spaces.Link
			if way == "link" {
				toProd = wired(t, dev, prod, true)
			} else {
				toProd, _ = trust(t, dev, prod)
			}
			dev.lifecycle(toProd)
			shop := dev.shop()
			toDev := view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Dev") })
			bring := func(p spaces.Promotion, version string) spaces.Inbound {
				if way == "file" {
					return prod.take(t, dev.export(t, p))
				}
				return prod.inbox(t, version)
			}
			recall := func(p spaces.Promotion) error {
				t.Helper()
				if _, err := dev.service.Recall(ctx, dev.space, spacetest.Manager(), p.ID, "It loses orders."); err != nil {
					return err
				}
				if way == "file" {
					var file bytes.Buffer
					if err := dev.service.ExportRecall(ctx, dev.space, spacetest.Manager(), p.ID, &file); err != nil {
						t.Fatal(err)
					}
					for range 2 { // twice is once
						if _, err := prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(file.Bytes())); err != nil {
							return err
						}
					}
				}
				return nil
			}
			told := func(p spaces.Promotion, state, reason string) {
				t.Helper()
				eventually(t, fmt.Sprintf("%s is %s", p.Version, state), func() bool {
					if way == "file" {
						back(t, prod, toDev.ID, dev)
					}
					now := dev.promotion(p.ID)
					return now.State == state && now.Reason == reason
				})
			}

			running := dev.promote(t, shop, toProd, "1.0.0", []byte("one"), way == "file")
			r := prod.accept(t, bring(running, "1.0.0"))
			prod.deployed(r, spaces.TaskSuccess)
			told(running, spaces.PromotionDeployed, "")
			undecided := dev.promote(t, shop, toProd, "1.1.0", []byte("two"), way == "file")
			waits := bring(undecided, "1.1.0")
			for _, p := range []spaces.Promotion{running, undecided} {
				if err := recall(p); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "what waited is recalled", func() bool { return prod.state(waits.ID) == spaces.InboundRecalled })
			told(undecided, spaces.PromotionRecalled, "It is deployed nowhere.")
			told(running, spaces.PromotionRecalled, "It is deployed to Production.")
			if _, err := prod.service.Accept(ctx, prod.space, spacetest.Manager(), waits.ID, zones.AcceptInput{}); !errors.Is(err, errs.Stale) {
				t.Errorf("a recalled release was accepted: %v", err)
			}
			deploy := func() error {
				return prod.by(t, spacetest.Manager(), func(tx *spaces.Tx) error {
					_, err := tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: prod.env.ID})
					return err
				})
			}
			if err := deploy(); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "It loses orders.") {
				t.Errorf("a recalled release is deployed: %v", err)
			}
			if err := recall(running); !errors.Is(err, errs.Stale) {
				t.Errorf("recalled twice: %v", err)
			}
			if _, err := dev.service.Promote(ctx, dev.space, spacetest.Manager(), running.ReleaseID, toProd.ID, way == "file"); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "was recalled") {
				t.Errorf("promoted after the recall: %v", err)
			}
			accepted := view(prod, func(tx *spaces.ReadTx) (spaces.Inbound, error) { return tx.InboundByRelease(toDev.ID, r.ULID) })
			allow := func(why string) error {
				return prod.by(t, spacetest.Manager(), func(tx *spaces.Tx) error { _, err := tx.AllowRecalled(accepted.ID, why); return err })
			}
			if err := allow(" "); !errors.Is(err, errs.Invalid) {
				t.Errorf("allowed without a reason: %v", err)
			}
			if err := allow("We roll back to it."); err != nil {
				t.Fatal(err)
			}
			if err := deploy(); err != nil {
				t.Errorf("it was allowed: %v", err)
			}
		})
	}
}

// A recall that arrives before its release counts when that comes; one of somebody else,
// or changed, counts nothing.
func TestRecallComesFirst(t *testing.T) {
	dev, prod, toProd, _, shop := byHand(t)
	p := dev.promote(t, shop, toProd, "1.0.0", []byte("one"), true)
	bundle := dev.export(t, p)
	if _, err := dev.service.Recall(ctx, dev.space, spacetest.Manager(), p.ID, " "); !errors.Is(err, errs.Invalid) {
		t.Errorf("recalled without a reason: %v", err)
	}
	if _, err := dev.service.Recall(ctx, dev.space, spacetest.Manager(), p.ID, "A mistake."); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := dev.service.ExportRecall(ctx, dev.space, spacetest.Manager(), p.ID, &file); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < file.Len()*8; i += 7 {
		b := bytes.Clone(file.Bytes())
		b[i/8] ^= 1 << (i % 8)
		if _, err := prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(b)); err == nil || strings.Contains(err.Error(), "is not here") {
			t.Fatalf("bit %d does not matter: %v", i, err)
		}
	}
	other := newZone(t, "Other", "X")
	if _, err := other.service.Import(ctx, other.space, spacetest.Manager(), bytes.NewReader(file.Bytes())); !errors.Is(err, errs.Invalid) {
		t.Errorf("taken by another space: %v", err)
	}
	if _, err := prod.service.Import(ctx, prod.space, spacetest.Manager(), bytes.NewReader(file.Bytes())); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "is not here") {
		t.Errorf("%v", err)
	}
	if in := prod.take(t, bundle); in.State != spaces.InboundRecalled || in.Recall == nil || in.Recall.Reason != "A mistake." {
		t.Errorf("%+v", in)
	}
}
