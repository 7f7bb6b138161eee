package web

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	pages "octopuses.dev/octopuses/views/zones"
)

// approvals fills in who approved a release, and whether the person may.
func (r *request) approvals(tx *spaces.ReadTx, m *pages.Review, in spaces.Inbound) error {
	if in.Needed == 0 {
		return nil
	}
	all, err := tx.Approvals(in.ID)
	if err != nil {
		return err
	}
	a := &m.Approvals
	a.Needed, a.CanApprove, a.Why = in.Needed, m.CanDecide && in.Whole(), m.Why
	if m.CanDecide && !in.Whole() {
		a.Why = "Its package files are not here yet."
	}
	others := 0
	for _, x := range all {
		a.All = append(a.All, pages.Approval{By: x.Name, Comment: x.Comment, At: x.At})
		if x.ActorID == r.actor.ID {
			a.CanApprove, a.Why = false, "You have approved it. Another approval must be somebody else's."
		} else {
			others++
		}
	}
	if others < in.Needed {
		m.AcceptWhy = fmt.Sprintf("%d of %d approvals of other people are here.", others, in.Needed)
	}
	return nil
}

func recallHere(in spaces.Inbound) *pages.Recall {
	if in.Recall == nil {
		return nil
	}
	return &pages.Recall{Reason: in.Recall.Reason, At: in.Recall.At, AllowedBy: in.Recall.AllowedBy, AllowedWhy: in.Recall.AllowedWhy, AllowedAt: when(in.Recall.AllowedAt)}
}

// recallOf is what the page of a promotion says of its recall, and whether there is
// something to recall.
func recallOf(p spaces.Promotion) (*pages.Recall, bool) {
	if p.Recalled != nil {
		return &pages.Recall{Reason: p.Recalled.Reason, By: p.Recalled.By, At: p.Recalled.At}, false
	}
	return nil, p.Recallable()
}

func approveInbound(r *request) error {
	return r.decide(func(tx *spaces.Tx, id spaces.InboundID) error {
		_, err := tx.ApproveInbound(id, r.value("comment"))
		return err
	})
}

func allowRecalled(r *request) error {
	return r.decide(func(tx *spaces.Tx, id spaces.InboundID) error {
		_, err := tx.AllowRecalled(id, r.value("reason"))
		return err
	})
}

func (r *request) decide(f func(tx *spaces.Tx, id spaces.InboundID) error) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	if err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return f(tx, id) }); err != nil {
		return r.decisionFailed(err)
	}
	return r.see(views.InboundURL(r.about.Slug, id.String()))
}

func recallPromotion(r *request) error {
	id, err := r.promotionID()
	if err != nil {
		return err
	}
	if _, err := r.s.Zones.Recall(r.ctx, r.space, r.actor, id, r.value("reason")); err != nil {
		switch errs.KindOf(err) {
		case errs.Invalid, errs.Blocked, errs.Stale:
			return r.promotionWith(err)
		}
		return err
	}
	return r.see(views.PromotionURL(r.about.Slug, id.String()))
}

func exportRecall(r *request) error {
	id, err := r.promotionID()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := r.s.Zones.ExportRecall(r.ctx, r.space, r.actor, id, &out); err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, "application/vnd.octopuses.recall")
	r.Attachment(id.String() + ".octrecall")
	return r.Send(out.Bytes())
}

// changeFlows stores what may go over a link.
func changeFlows(r *request) error {
	in := spaces.LinkFlows{LocalName: r.value("name"), SendBundles: r.checked("sendBundles"), AcceptBundles: r.checked("acceptBundles"), SendReceipts: r.value("sendReceipts"), AcceptReceipts: r.checked("acceptReceipts")}
	n, err := strconv.Atoi(r.value("approvals"))
	if err != nil {
		n = -1 // no number: refused with the others
	}
	in.Approvals = n
	l, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Link, error) {
		l, err := r.link(tx.ReadTx)
		if err != nil {
			return l, err
		}
		return tx.UpdateLink(l.ID, in)
	})
	return r.linkChanged(l, err)
}
