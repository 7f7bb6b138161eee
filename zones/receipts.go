package zones

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/bundle"
)

// MakeReceipts turns what happened since the last call into signed receipts in the
// outbox. A receipt can be late, since it is made from the ledger, but not lost.
func (z *Service) MakeReceipts(ctx context.Context, s *spaces.Space) error {
	for {
		made, err := z.makeSome(ctx, s)
		if err != nil || !made {
			return err
		}
	}
}

func (z *Service) makeSome(ctx context.Context, s *spaces.Space) (more bool, err error) {
	id, err := z.identity(ctx, s)
	if err != nil {
		return false, err
	}
	return spaces.Update(ctx, s, spaces.Server(), func(tx *spaces.Tx) (bool, error) {
		const batch = 200
		before, err := tx.ReceiptPosition()
		if err != nil {
			return false, err
		}
		facts, position, err := tx.ReceiptFacts(batch)
		if err != nil || position == before {
			return false, err
		}
		for _, f := range facts {
			l, err := tx.Link(f.LinkID)
			if err != nil {
				return false, err
			}
			r := bundle.Receipt{Kind: f.Kind, Promotion: f.PromotionULID, Release: f.ReleaseULID, Core: f.CoreDigest, Reason: f.Reason, Deployment: f.Deployment, Attempt: f.Attempt}
			if f.EnvRef != "" {
				r.Environment = &bundle.Environment{Ref: f.EnvRef, Shown: f.EnvShown, Order: f.EnvOrder}
			}
			if f.Started != nil {
				r.Started = f.Started.UTC().Format(time.RFC3339)
			}
			if f.Ended != nil {
				r.Ended = f.Ended.UTC().Format(time.RFC3339)
			}
			if f.Level == "summary" && f.Ended != nil {
				if r.Steps, err = stepSummary(tx, f.TaskID); err != nil {
					return false, err
				}
			}
			_, err = tx.Enqueue(f.LinkID, spaces.MessageReceipt, 0, f.ReleaseULID, func(p spaces.Place) ([]byte, string, error) {
				b, err := id.SignReceipt(r, header(p, l.PeerSpace, tx.Now))
				return b, bundle.Digest(b), err
			})
			if err != nil {
				return false, err
			}
			tx.Record(spaces.Event{Category: "ReceiptSigned", Entity: "link", EntityID: f.LinkID.String(), Reference: f.PromotionULID, Message: fmt.Sprintf("A receipt for %s was signed: %s %s", l.LocalName, f.Kind, f.EnvShown)})
		}
		return true, tx.ReceiptsMade(position)
	})
}

// stepSummary tells names, states and counts; never a target's name or a value.
func stepSummary(tx *spaces.Tx, task spaces.TaskID) ([]bundle.Step, error) {
	w, err := tx.Work(task)
	if err != nil || w.Plan == nil {
		return nil, err
	}
	all, err := tx.Executions(task)
	if err != nil {
		return nil, err
	}
	var out []bundle.Step
	for i, ps := range w.Plan.Steps {
		st := bundle.Step{Name: ps.Name, State: "skipped", Targets: len(ps.Targets)}
		if i < len(w.State.Steps) {
			switch w.State.Steps[i].State {
			case deploy.Done:
				st.State = "succeeded"
			case deploy.Broken:
				st.State = "failed"
			case deploy.Canceled:
				st.State = "canceled"
			}
		}
		var seconds float64
		for _, x := range all {
			if x.StepName == ps.Name && x.StartedAt != nil && x.EndedAt != nil {
				seconds = max(seconds, x.EndedAt.Sub(*x.StartedAt).Seconds())
			}
		}
		st.Seconds = int(seconds + 0.5)
		out = append(out, st)
	}
	return out, nil
}

// ExportReceipts writes a file with all receipts for a link that its peer has not
// acknowledged. It needs ReceiptExport.
func (z *Service) ExportReceipts(ctx context.Context, s *spaces.Space, actor spaces.Actor, link spaces.LinkID, w io.Writer) (int, error) {
	if err := requireAny(actor, access.ReceiptExport); err != nil {
		return 0, err
	}
	if err := z.MakeReceipts(ctx, s); err != nil {
		return 0, err
	}
	type out struct {
		items []spaces.OutboxItem
		link  spaces.Link
	}
	o, err := spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (out, error) {
		l, err := tx.Link(link)
		if err != nil {
			return out{}, err
		}
		items, err := tx.UnackedMessages(link, spaces.MessageReceipt)
		if err != nil {
			return out{}, err
		}
		digests := make([]string, len(items))
		for i, x := range items {
			digests[i] = x.Digest
		}
		tx.Record(spaces.Event{Category: "ReceiptsExported", Entity: "link", EntityID: link.String(), Message: fmt.Sprintf("%d receipts for %s were exported as a file", len(items), l.LocalName)})
		return out{items, l}, tx.HandedOver(digests)
	})
	if err != nil {
		return 0, err
	}
	envelopes := make([][]byte, len(o.items))
	for i, x := range o.items {
		envelopes[i] = x.Message
	}
	return len(envelopes), bundle.WriteReceipts(w, s.ULID(), o.link.PeerSpace, envelopes)
}

// ImportReceipts reads a file of receipts. All of it is verified before any of it
// counts. It needs ReceiptImport. It returns how many were new.
func (z *Service) ImportReceipts(ctx context.Context, s *spaces.Space, actor spaces.Actor, r io.Reader) (added int, err error) {
	if err := requireAny(actor, access.ReceiptImport); err != nil {
		return 0, err
	}
	_, _, envelopes, err := bundle.ReadReceipts(r)
	if err != nil {
		return 0, err
	}
	type one struct {
		link     spaces.Link
		receipt  bundle.Receipt
		envelope []byte
	}
	var all []one
	for _, e := range envelopes {
		l, card, err := z.linkOf(ctx, s, e)
		if err != nil {
			return 0, err
		}
		rc, err := bundle.VerifyReceipt(e, card, s.ULID())
		if err != nil {
			return 0, err
		}
		all = append(all, one{l, rc, e})
	}
	added, err = spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (int, error) {
		n := 0
		for _, x := range all {
			fresh, err := takeReceipt(tx, x.link, x.receipt, x.envelope, "file")
			if err != nil {
				return 0, err
			}
			if fresh {
				n++
			}
		}
		return n, nil
	})
	if err != nil && len(all) > 0 { // a file is of one space
		err = errors.Join(err, breakOnFork(ctx, s, all[0].link, err))
	}
	return added, err
}

// takeReceipt stores a verified receipt once.
func takeReceipt(tx *spaces.Tx, l spaces.Link, r bundle.Receipt, envelope []byte, via string) (fresh bool, err error) {
	h := r.Link
	id, duplicate, err := tx.Receive(spaces.Arrived{Link: l.ID, Incarnation: h.Incarnation, Seq: h.Seq, Digest: bundle.Digest(envelope), Kind: spaces.MessageReceipt, Message: envelope, Via: via, SeenInc: h.Seen.Incarnation, SeenUpTo: h.Seen.UpTo})
	if err != nil || duplicate {
		return false, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	in := spaces.ReceiptInput{Link: l.ID, Inbox: id, Kind: r.Kind, PromotionULID: r.Promotion, ReleaseULID: r.Release, CoreDigest: r.Core, Reason: r.Reason, Deployment: r.Deployment, Attempt: r.Attempt, Seq: h.Seq, Issued: h.IssuedAt(), Via: via, Body: string(body)}
	if r.Environment != nil {
		in.EnvRef, in.EnvShown, in.EnvOrder = r.Environment.Ref, r.Environment.Shown, r.Environment.Order
	}
	return true, tx.AddReceipt(in)
}

// ReceiveMessage takes one message that came over the wire from a link's peer.
func (z *Service) ReceiveMessage(ctx context.Context, s *spaces.Space, link spaces.Link, message []byte) (digest string, err error) {
	if err := link.Usable(); err != nil {
		return "", err
	}
	card, err := bundle.ParseCard(link.Card)
	if err != nil {
		return "", err
	}
	actor := spaces.Server()
	actor.ID, actor.Name, actor.Via = link.ID.String(), link.LocalName, "link"
	if bundle.IsRecall(message) {
		c, err := bundle.VerifyRecall(message, card, s.ULID())
		if err != nil {
			return "", err
		}
		err = spaces.Do(ctx, s, actor, func(tx *spaces.Tx) error { return takeRecall(tx, link, c, message, "link") })
		return bundle.Digest(message), errors.Join(err, breakOnFork(ctx, s, link, err))
	}
	if len(message) > 0 && message[0] == '{' {
		r, err := bundle.VerifyReceipt(message, card, s.ULID())
		if err != nil {
			return "", err
		}
		err = spaces.Do(ctx, s, actor, func(tx *spaces.Tx) error {
			_, err := takeReceipt(tx, link, r, message, "link")
			return err
		})
		return bundle.Digest(message), errors.Join(err, breakOnFork(ctx, s, link, err))
	}
	v, m, err := bundle.ParseMessage(message, func(m *bundle.Message) (*bundle.Verified, error) { return m.Verify(card, s.ULID()) })
	if err != nil {
		z.noteRefusal(ctx, s, actor, link, err)
		return "", err
	}
	if !link.AcceptBundles {
		return "", errs.New(errs.Blocked, "Releases are not accepted over this link.")
	}
	_, err = z.take(ctx, s, actor, link, v, message, "link", nil)
	return m.Digest(), err
}
