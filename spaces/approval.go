package spaces

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// Approval is somebody's word that a release from another space may be accepted. It is
// about one message with one content.
type Approval struct {
	ActorID    string
	Name       string
	CoreDigest string
	Message    string // digest
	Comment    string
	At         time.Time
}

// ApproveInbound adds the actor's approval. It needs BundleApprove. Errors:
// [errs.Blocked] when the link asks for none, or for whoever brought the file;
// [errs.Stale] when it is decided or approved by them already. One person counts once,
// whatever they signed in with.
func (tx *Tx) ApproveInbound(id InboundID, comment string) (Inbound, error) {
	if err := tx.require(access.BundleApprove, access.Scope{}); err != nil {
		return Inbound{}, err
	}
	i, err := tx.inbound(id)
	if err != nil {
		return i, err
	}
	importer, message, err := tx.broughtBy(i)
	if err != nil {
		return i, err
	}
	switch {
	case tx.Actor.System:
		return i, errs.New(errs.Blocked, "Only a person approves a release.")
	case i.State == InboundIncomplete:
		return i, errs.New(errs.Blocked, "%d of %d package files of this release are not here yet.", i.Missing, i.Wanted)
	case !i.Whole():
		return i, errs.New(errs.Stale, "This release is %s already.", i.State)
	case i.Needed == 0:
		return i, errs.New(errs.Blocked, "Releases from '%s' need no approval.", i.LinkName).WithHint("The page of the link says how many they need.")
	case importer != "" && importer == tx.Actor.ID:
		return i, errs.New(errs.Blocked, "You brought this release as a file, so others must approve it.")
	case len(comment) > 2000:
		return i, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Comment", Message: "A comment has at most 2,000 characters."}}}
	}
	if had, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM inbound_approval WHERE inbound_id = ? AND actor_id = ?)`, int64(id), tx.Actor.ID); err != nil {
		return i, err
	} else if had {
		return i, errs.New(errs.Stale, "You have approved this release already.").WithHint("The next approval must be somebody else's.")
	}
	_, err = tx.exec(`INSERT INTO inbound_approval (inbound_id, actor_id, name, core_digest, message, comment, at) VALUES (?, ?, ?, ?, ?, ?, ?)`, int64(id), tx.Actor.ID, tx.Actor.Name, i.CoreDigest, message, strings.TrimSpace(comment), formatTime(tx.Now))
	if err != nil {
		return i, err
	}
	tx.record(Event{Category: "BundleApproved", Entity: "inbound", EntityID: id.String(), ProjectID: i.ProjectID, Reference: i.PromotionULID, Message: fmt.Sprintf("Release %s of %s was approved (core %s, message %s)", i.Version, i.ProjectName, i.CoreDigest, message)})
	tx.changed("promotions", "inbox")
	return tx.inbound(id)
}

// Approvals lists who approved an inbound release, in their order. It needs ReleaseView.
func (tx *ReadTx) Approvals(id InboundID) ([]Approval, error) {
	if _, err := tx.Inbound(id); err != nil {
		return nil, err
	}
	return list(tx, func(scan func(...any) error) (Approval, error) {
		var a Approval
		var at string
		err := scan(&a.ActorID, &a.Name, &a.CoreDigest, &a.Message, &a.Comment, &at)
		a.At = parseTime(at)
		return a, err
	}, `SELECT actor_id, name, core_digest, message, comment, at FROM inbound_approval WHERE inbound_id = ? ORDER BY at, actor_id`, int64(id))
}

// approvedByOthers refuses an acceptance that fewer people than the link asks for have
// approved, not counting the one who accepts: four eyes need two heads.
func (tx *Tx) approvedByOthers(i Inbound) error {
	if i.Needed == 0 {
		return nil
	}
	_, message, err := tx.broughtBy(i)
	if err != nil {
		return err
	}
	n, err := one[int](tx.ReadTx, `SELECT count(*) FROM inbound_approval WHERE inbound_id = ? AND actor_id <> ? AND core_digest = ? AND message = ?`, int64(i.ID), tx.Actor.ID, i.CoreDigest, message)
	if err != nil || n >= i.Needed {
		return err
	}
	return errs.New(errs.Blocked, "Releases from '%s' are accepted after the approval of %s other than you; %d have approved this one.", i.LinkName, people(i.Needed), n).
		WithHint("Ask somebody who has the permission BundleApprove to approve it, then accept it.")
}

func people(n int) string {
	if n == 1 {
		return "1 person"
	}
	return fmt.Sprintf("%d people", n)
}

func (tx *ReadTx) broughtBy(i Inbound) (importer, message string, err error) {
	err = tx.queryRow(`SELECT i.imported_by, m.digest FROM inbound i JOIN zone_inbox m ON m.id = i.inbox_id WHERE i.id = ?`, int64(i.ID)).Scan(&importer, &message)
	return importer, message, err
}
