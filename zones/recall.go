package zones

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/bundle"
)

// Recall withdraws a promoted release with a reason: nothing more of it is deployed there
// unless somebody there allows it. It needs ReleasePromote. Like every message it goes
// over the wire by itself, or as a file of [Service.ExportRecall].
func (z *Service) Recall(ctx context.Context, s *spaces.Space, actor spaces.Actor, promotion spaces.PromotionID, reason string) (spaces.Promotion, error) {
	id, err := z.identity(ctx, s)
	if err != nil {
		return spaces.Promotion{}, err
	}
	return spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Promotion, error) {
		p, err := tx.RecallPromotion(promotion, reason)
		if err != nil {
			return p, err
		}
		l, err := tx.Link(p.LinkID)
		if err != nil {
			return p, err
		}
		_, err = tx.Enqueue(p.LinkID, spaces.MessageRecall, 0, p.ReleaseULID, func(place spaces.Place) ([]byte, string, error) {
			b, err := id.SignRecall(bundle.Recall{Promotion: p.ULID, Release: p.ReleaseULID, Core: p.CoreDigest, Reason: reason}, header(place, l.PeerSpace, tx.Now))
			return b, bundle.Digest(b), err
		})
		return p, err
	})
}

// ExportRecall writes the recall of a promotion as a file (.octrecall), which is imported
// as a bundle is. It needs BundleExport.
func (z *Service) ExportRecall(ctx context.Context, s *spaces.Space, actor spaces.Actor, promotion spaces.PromotionID, w io.Writer) error {
	item, err := spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.OutboxItem, error) {
		if err := requireAny(actor, access.BundleExport); err != nil {
			return spaces.OutboxItem{}, err
		}
		p, err := tx.Promotion(promotion)
		if err != nil {
			return spaces.OutboxItem{}, err
		}
		if p.Recalled == nil {
			return spaces.OutboxItem{}, errs.New(errs.Blocked, "Release %s was not recalled from '%s'.", p.Version, p.LinkName)
		}
		item, err := tx.RecallMessage(p.LinkID, p.ReleaseULID)
		if err != nil {
			return item, err
		}
		tx.Record(spaces.Event{Category: "RecallExported", Entity: "release", EntityID: p.ReleaseID.String(), ProjectID: p.ProjectID, Reference: p.ULID, Message: fmt.Sprintf("The recall of release %s for %s was exported as a file (sha256 of its message %s)", p.Version, p.LinkName, item.Digest)})
		return item, tx.HandedOver([]string{item.Digest})
	})
	if err != nil {
		return err
	}
	_, err = w.Write(append(bytes.Clone(item.Message), '\n'))
	return err
}

// importRecall is [Service.Import] for the file of a recall.
func (z *Service) importRecall(ctx context.Context, s *spaces.Space, actor spaces.Actor, r io.Reader) (spaces.Inbound, error) {
	var link spaces.Link
	in, err := func() (spaces.Inbound, error) {
		b, err := readAll(r, bundle.MaxReceipt+1)
		if err != nil {
			return spaces.Inbound{}, err
		}
		envelope, ok := bytes.CutSuffix(b, []byte("\n"))
		if !ok || !bundle.IsRecall(envelope) {
			return spaces.Inbound{}, errs.New(errs.Invalid, "This is neither a bundle (.octb) nor a recall (.octrecall).").WithHint("Receipts are imported in the outbox.")
		}
		l, card, err := z.linkOf(ctx, s, envelope)
		if err != nil {
			return spaces.Inbound{}, err
		}
		link = l
		c, err := bundle.VerifyRecall(envelope, card, s.ULID())
		if err != nil {
			return spaces.Inbound{}, err
		}
		if err := spaces.Do(ctx, s, actor, func(tx *spaces.Tx) error { return takeRecall(tx, l, c, envelope, "file") }); err != nil {
			return spaces.Inbound{}, err
		}
		return spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (spaces.Inbound, error) { return tx.InboundByRelease(l.ID, c.Release) })
	}()
	if errors.Is(err, errs.NotFound) { // stored all the same: it counts when the release comes
		return in, errs.New(errs.Blocked, "The release that this recalls is not here.").WithHint("Nothing else is to be done: should it come, it will be recalled.")
	}
	if err != nil {
		err = errors.Join(err, breakOnFork(ctx, s, link, err))
		z.noteRefusal(ctx, s, actor, link, err)
	}
	return in, err
}

// takeRecall stores a verified recall once.
func takeRecall(tx *spaces.Tx, l spaces.Link, c bundle.Recall, envelope []byte, via string) error {
	h := c.Link
	_, duplicate, err := tx.Receive(spaces.Arrived{Link: l.ID, Incarnation: h.Incarnation, Seq: h.Seq, Digest: bundle.Digest(envelope), Kind: spaces.MessageRecall, Message: envelope, Via: via, SeenInc: h.Seen.Incarnation, SeenUpTo: h.Seen.UpTo})
	if err != nil || duplicate {
		return err
	}
	return tx.AddRecall(spaces.RecallInput{Link: l.ID, ReleaseULID: c.Release, CoreDigest: c.Core, PromotionULID: c.Promotion, Reason: c.Reason})
}

// startsWith looks at the first bytes of what a person imports.
func startsWith(r io.Reader, prefix string) (io.Reader, bool) {
	in := bufio.NewReader(r) // one that is large enough already stays as it is
	first, _ := in.Peek(len(prefix))
	return in, string(first) == prefix
}
