package api

import (
	"bytes"
	"fmt"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

// What people decide about a release on its way between spaces, beside taking it or not.
func decisionRoutes() []Row {
	return []Row{
		post("/zones/inbox/:id/approve", InSpace, access.BundleApprove, zoneApprove),
		get("/zones/inbox/:id/approvals", InSpace, access.ReleaseView, zoneApprovals),
		post("/zones/inbox/:id/allow", InSpace, access.BundleApprove, zoneAllowRecalled),
		post("/zones/promotions/:id/recall", InSpace, access.ReleasePromote, zoneRecall),
		get("/zones/promotions/:id/recall", InSpace, access.BundleExport, zoneExportRecall),
	}
}

func (r *request) decideOn(f func(tx *spaces.Tx, id spaces.InboundID) (spaces.Inbound, error)) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	i, err := update(r, func(tx *spaces.Tx) (spaces.Inbound, error) { return f(tx, id) })
	if err != nil {
		return err
	}
	return r.ok(r.inbound(i))
}

func zoneApprove(r *request) error {
	b, err := readJSON[struct{ Comment string }](r)
	if err != nil {
		return err
	}
	return r.decideOn(func(tx *spaces.Tx, id spaces.InboundID) (spaces.Inbound, error) {
		return tx.ApproveInbound(id, b.Comment)
	})
}

func zoneAllowRecalled(r *request) error {
	b, err := readJSON[struct{ Reason string }](r)
	if err != nil {
		return err
	}
	return r.decideOn(func(tx *spaces.Tx, id spaces.InboundID) (spaces.Inbound, error) {
		return tx.AllowRecalled(id, b.Reason)
	})
}

func zoneApprovals(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	all, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Approval, error) { return tx.Approvals(id) })
	if err != nil {
		return err
	}
	items := []fields{}
	for _, a := range all {
		items = append(items, fields{"UserId": a.ActorID, "Name": a.Name, "CoreDigest": a.CoreDigest, "MessageDigest": a.Message, "Comment": a.Comment, "At": timeText(a.At)})
	}
	return r.ok(items)
}

func zoneRecall(r *request) error {
	id, err := spaces.ParsePromotionID(r.param("id"))
	if err != nil {
		return err
	}
	b, err := readJSON[struct{ Reason string }](r)
	if err != nil {
		return err
	}
	p, err := r.s.Zones.Recall(r.ctx, r.space, r.actor, id, b.Reason)
	if err != nil {
		return err
	}
	return r.ok(r.promotion(p))
}

func zoneExportRecall(r *request) error {
	id, err := spaces.ParsePromotionID(r.param("id"))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := r.s.Zones.ExportRecall(r.ctx, r.space, r.actor, id, &out); err != nil {
		return err
	}
	r.Set("Content-Type", "application/vnd.octopuses.recall")
	r.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.octrecall"`, id))
	return r.Send(out.Bytes())
}
