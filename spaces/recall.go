package spaces

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// Recall is the withdrawal of a release by the space that sent it. It ends what nobody
// decided on and stops new deployments of what was accepted, until somebody here allows
// them all the same. What runs already goes on running.
type Recall struct {
	Reason     string
	At         time.Time
	AllowedAt  *time.Time // deployments are allowed all the same
	AllowedBy  string
	AllowedWhy string
}

// Holds reports whether a recall stops deployments.
func (c *Recall) Holds() bool { return c != nil && c.AllowedAt == nil }

// Recallable reports whether a promotion left, or may yet leave, something to withdraw.
func (p Promotion) Recallable() bool {
	switch p.State {
	case PromotionPreparing, PromotionCanceled, PromotionRefused, PromotionRejected:
		return false
	}
	return p.Recalled == nil && p.Digest != ""
}

func checkReason(reason, who string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > 2000 {
		return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Reason", Message: "Say why, in at most 2,000 characters: " + who + " will read it."}}}
	}
	return nil
}

// RecallPromotion withdraws a release from the space that it was promoted to; the caller
// enqueues the message in the same transaction. It needs ReleasePromote. The promotion
// follows the receipt of the other side, as ever. Errors: [errs.Blocked] when there is
// nothing there to withdraw, [errs.Stale] when it was done already.
func (tx *Tx) RecallPromotion(id PromotionID, reason string) (Promotion, error) {
	p, err := tx.Promotion(id)
	if err != nil {
		return p, err
	}
	project, err := tx.ownProject(p.ProjectID)
	if err != nil {
		return p, err
	}
	if err := tx.require(access.ReleasePromote, project.scope()); err != nil {
		return p, err
	}
	l, err := tx.link(p.LinkID)
	if err != nil {
		return p, err
	}
	if err := l.Trusted(); err != nil {
		return p, err
	}
	switch {
	case p.Recalled != nil:
		return p, errs.New(errs.Stale, "Release %s was recalled from '%s' already.", p.Version, p.LinkName)
	case !p.Recallable():
		return p, errs.New(errs.Blocked, "The promotion of %s to '%s' is %s: there is nothing to recall.", p.Version, p.LinkName, p.State)
	}
	if err := checkReason(reason, "the other side"); err != nil {
		return p, err
	}
	if err := tx.update(`UPDATE promotion SET recall_reason = ?, recalled_at = ?, recalled_by = ?, updated_at = ?3 WHERE id = ?`, reason, formatTime(tx.Now), tx.Actor.Name, int64(id)); err != nil {
		return p, err
	}
	tx.record(Event{Category: "ReleaseRecalled", Entity: "release", EntityID: p.ReleaseID.String(), ProjectID: p.ProjectID, Reference: p.ULID, Message: fmt.Sprintf("Release %s of %s was recalled from %s: %s", p.Version, project.Name, p.LinkName, reason)})
	tx.changed("promotions", "project/"+p.ProjectID.String(), TopicLinks)
	return tx.promotion(id)
}

// RecallMessage is the newest signed recall of a release for a link.
func (tx *ReadTx) RecallMessage(link LinkID, releaseULID string) (OutboxItem, error) {
	o, err := scanOutbox(tx.queryRow(`SELECT `+outboxColumns+` FROM zone_outbox WHERE link_id = ? AND release_ulid = ? AND kind = ? ORDER BY id DESC LIMIT 1`, int64(link), releaseULID, MessageRecall).Scan)
	return o, notFound(err, "recall", releaseULID)
}

// RecallInput is a verified recall as zones read it.
type RecallInput struct {
	Link          LinkID
	ReleaseULID   string
	CoreDigest    string
	PromotionULID string
	Reason        string
}

// AddRecall stores what the space of a link withdrew, also before the release itself is
// here: then it is recalled when it comes.
func (tx *Tx) AddRecall(in RecallInput) error {
	l, err := tx.link(in.Link)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO zone_recall (link_id, release_ulid, core_digest, reason, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, int64(in.Link), in.ReleaseULID, in.CoreDigest, in.Reason, formatTime(tx.Now))
	if err != nil {
		return err
	}
	i, err := tx.InboundByRelease(in.Link, in.ReleaseULID)
	if errors.Is(err, errs.NotFound) {
		tx.record(Event{Category: "RecallReceived", Entity: "link", EntityID: in.Link.String(), Reference: in.PromotionULID, Message: fmt.Sprintf("%s recalled the release %s, which is not here", l.LocalName, in.ReleaseULID)})
		return nil
	}
	if err != nil {
		return err
	}
	return tx.recalled(i)
}

// recalled applies the recall of a release that is here.
func (tx *Tx) recalled(i Inbound) error {
	if i.Whole() || i.State == InboundIncomplete {
		if err := tx.update(`UPDATE inbound SET state = 'recalled' WHERE id = ?`, int64(i.ID)); err != nil {
			return err
		}
		if _, err := tx.exec(`DELETE FROM zone_blob_want WHERE inbound_id = ? AND state = 'missing'`, int64(i.ID)); err != nil {
			return err
		}
	}
	tx.record(Event{Category: "BundleRecalled", Entity: "inbound", EntityID: i.ID.String(), ProjectID: i.ProjectID, Reference: i.PromotionULID, Message: fmt.Sprintf("Release %s of %s was recalled by %s: %s", i.Version, i.ProjectName, i.LinkName, i.Recall.Reason)})
	tx.changed("promotions", "inbox", "dashboard", TopicLinks)
	if i.ProjectID != 0 {
		tx.changed("project/" + i.ProjectID.String())
	}
	return nil
}

// AllowRecalled lets a recalled release that was accepted be deployed all the same. It
// needs BundleApprove.
func (tx *Tx) AllowRecalled(id InboundID, why string) (Inbound, error) {
	if err := tx.require(access.BundleApprove, access.Scope{}); err != nil {
		return Inbound{}, err
	}
	i, err := tx.inbound(id)
	if err != nil {
		return i, err
	}
	switch {
	case i.Recall == nil:
		return i, errs.New(errs.Blocked, "Release %s was not recalled.", i.Version)
	case !i.Recall.Holds():
		return i, errs.New(errs.Stale, "%s has allowed it already.", i.Recall.AllowedBy)
	case i.State != InboundAccepted:
		return i, errs.New(errs.Blocked, "Release %s was recalled before it was accepted.", i.Version).WithHint("Ask its owner for another release.")
	}
	if err := checkReason(why, "whoever looks into it later"); err != nil {
		return i, err
	}
	if err := tx.update(`UPDATE zone_recall SET allowed_at = ?, allowed_by = ?, allowed_why = ? WHERE link_id = ? AND release_ulid = ?`, formatTime(tx.Now), tx.Actor.Name, why, int64(i.LinkID), i.ReleaseULID); err != nil {
		return i, err
	}
	tx.record(Event{Category: "RecallOverridden", Entity: "inbound", EntityID: id.String(), ProjectID: i.ProjectID, Reference: i.PromotionULID, Message: fmt.Sprintf("Release %s of %s may be deployed although %s recalled it: %s", i.Version, i.ProjectName, i.LinkName, why)})
	tx.changed("promotions", "inbox", "dashboard")
	return tx.inbound(id)
}

// notRecalled refuses to deploy what its owner has withdrawn.
func (tx *ReadTx) notRecalled(p Project, r Release) error {
	if !p.IsRemote() {
		return nil
	}
	var reason string
	err := tx.queryRow(`SELECT reason FROM zone_recall WHERE link_id = ? AND release_ulid = ? AND allowed_at IS NULL`, int64(p.LinkID), r.ULID).Scan(&reason)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return errs.New(errs.Blocked, "Release %s was recalled by its owner: %s", r.Version, reason).WithHint("Somebody with the permission BundleApprove can allow it on its page in the inbox.")
}
