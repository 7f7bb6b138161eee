package spaces

import (
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// A link is a pair of mailboxes. What leaves is written into the outbox by the
// transaction that has something to tell; what arrives is written into the inbox by the
// transaction that acts on it. Numbers have no holes on the sender's side.

// Place is the place of a new message in the sequence of a link.
type Place struct {
	Incarnation     string
	Seq             int64
	Prev            string // digest of the message before
	SeenIncarnation string // of the peer
	SeenUpTo        int64
}

// Message kinds.
const (
	MessageBundle  = "bundle"
	MessageReceipt = "receipt"
	MessageRecall  = "recall"
)

// OutboxState is where a message on its way out stands.
type OutboxState = string

// The states of a message in the outbox. A held one can be queued again; the last three
// are final.
const (
	OutboxQueued   OutboxState = "queued"
	OutboxHeld     OutboxState = "held"
	OutboxAcked    OutboxState = "acked" // durably at the peer's
	OutboxRefused  OutboxState = "refused"
	OutboxCanceled OutboxState = "canceled"
)

// OutboxItem is a message on its way out.
type OutboxItem struct {
	ID           int64
	LinkID       LinkID
	Incarnation  string
	Seq          int64
	Digest       string
	Kind         string
	Message      []byte
	PromotionID  PromotionID // 0: none
	ReleaseULID  string
	State        OutboxState
	Attempts     int
	NextAt       time.Time
	LastError    string
	HandedOverAt *time.Time
	AckedAt      *time.Time
	CreatedAt    time.Time
}

const outboxColumns = `id, link_id, incarnation, seq, digest, kind, message, COALESCE(promotion_id, 0), release_ulid, state, attempts, next_at, last_error, handed_over_at, acked_at, created_at`

func scanOutbox(scan func(...any) error) (OutboxItem, error) {
	var o OutboxItem
	var next, created string
	var handed, acked nullText
	err := scan(&o.ID, &o.LinkID, &o.Incarnation, &o.Seq, &o.Digest, &o.Kind, &o.Message, &o.PromotionID, &o.ReleaseULID, &o.State, &o.Attempts, &next, &o.LastError, &handed, &acked, &created)
	o.NextAt, o.HandedOverAt, o.AckedAt, o.CreatedAt = parseTime(next), parseTimePtr(handed), parseTimePtr(acked), parseTime(created)
	return o, err
}

// Enqueue takes the next place in a link's sequence and stores the message that build
// makes for it. build signs, which takes some 30 µs; it does nothing slower.
func (tx *Tx) Enqueue(link LinkID, kind string, promotion PromotionID, releaseULID string, build func(Place) (message []byte, digest string, err error)) (OutboxItem, error) {
	l, err := tx.link(link)
	if err != nil {
		return OutboxItem{}, err
	}
	incarnation, err := tx.Incarnation()
	if err != nil {
		return OutboxItem{}, err
	}
	message, digest, err := build(Place{incarnation, l.NextSeq, l.LastDigest, l.TheirIncarnation, l.TheirUpTo})
	if err != nil {
		return OutboxItem{}, err
	}
	n, err := tx.insert(`INSERT INTO zone_outbox (link_id, incarnation, seq, digest, kind, message, promotion_id, release_ulid, state, next_at, created_at) VALUES (?, ?, ?, ?, ?, ?, NULLIF(?, 0), ?, 'queued', ?, ?)`,
		int64(link), incarnation, l.NextSeq, digest, kind, message, int64(promotion), releaseULID, formatTime(tx.Now), formatTime(tx.Now))
	if err != nil {
		return OutboxItem{}, err
	}
	if err := tx.update(`UPDATE zone_link SET next_seq = next_seq + 1, last_digest = ? WHERE id = ?`, digest, int64(link)); err != nil {
		return OutboxItem{}, err
	}
	tx.changed("outbox", "link/"+link.String(), TopicLinks)
	return scanOutbox(tx.queryRow(`SELECT `+outboxColumns+` FROM zone_outbox WHERE id = ?`, n).Scan)
}

// Outbox lists the messages of a link, or of all for link 0, newest first; open leaves
// out what is done.
func (tx *ReadTx) Outbox(link LinkID, open bool, take int) ([]OutboxItem, error) {
	if err := tx.require(access.ProjectView, access.Scope{}); err != nil {
		return nil, err
	}
	var f filter
	if link != 0 {
		f.add("link_id = ?", int64(link))
	}
	if open {
		f.add("state IN ('queued', 'held')")
	}
	return list(tx, scanOutbox, `SELECT `+outboxColumns+` FROM zone_outbox`+f.sql()+` ORDER BY id DESC LIMIT ?`, append(f.args, take)...)
}

// MessageOf returns the newest message of a promotion. It needs ReleaseView.
func (tx *ReadTx) MessageOf(id PromotionID) (OutboxItem, error) {
	if _, err := tx.Promotion(id); err != nil {
		return OutboxItem{}, err
	}
	o, err := scanOutbox(tx.queryRow(`SELECT `+outboxColumns+` FROM zone_outbox WHERE promotion_id = ? ORDER BY id DESC LIMIT 1`, int64(id)).Scan)
	return o, notFound(err, "message", id.String())
}

// QueueLengths counts the messages that wait to be taken, by link.
func (tx *ReadTx) QueueLengths() (map[LinkID]int, error) {
	type row struct {
		link LinkID
		n    int
	}
	all, err := list(tx, func(scan func(...any) error) (row, error) {
		var r row
		return r, scan(&r.link, &r.n)
	}, `SELECT link_id, count(*) FROM zone_outbox WHERE state IN ('queued', 'held') GROUP BY link_id`)
	out := make(map[LinkID]int, len(all))
	for _, r := range all {
		out[r.link] = r.n
	}
	return out, err
}

// Deliverable lists what is to be sent over a link now, in its order.
func (tx *ReadTx) Deliverable(link LinkID) ([]OutboxItem, error) {
	return list(tx, scanOutbox, `SELECT `+outboxColumns+` FROM zone_outbox WHERE link_id = ? AND state = 'queued' ORDER BY seq`, int64(link))
}

// UnackedMessages lists what the peer has not acknowledged, in its order, of one kind.
func (tx *ReadTx) UnackedMessages(link LinkID, kind string) ([]OutboxItem, error) {
	return list(tx, scanOutbox, `SELECT `+outboxColumns+` FROM zone_outbox WHERE link_id = ? AND kind = ? AND state IN ('queued', 'held') ORDER BY seq`, int64(link), kind)
}

// Acknowledge marks a message as durably received by the peer.
func (tx *Tx) Acknowledge(digest string) error {
	o, err := scanOutbox(tx.queryRow(`SELECT `+outboxColumns+` FROM zone_outbox WHERE digest = ?`, digest).Scan)
	if err != nil {
		return notFound(err, "message", digest)
	}
	if o.State == OutboxAcked {
		return nil
	}
	if err := tx.update(`UPDATE zone_outbox SET state = 'acked', acked_at = ?, last_error = '' WHERE id = ?`, formatTime(tx.Now), o.ID); err != nil {
		return err
	}
	if o.PromotionID != 0 {
		if err := tx.promotionState(o.PromotionID, PromotionDelivered, "", PromotionQueued, PromotionHandedOver, PromotionHeld); err != nil {
			return err
		}
	}
	tx.changed("outbox", "link/"+o.LinkID.String())
	return nil
}

// AcknowledgeUpTo takes the peer's word, which its own messages carry, that it has all
// of ours up to a number.
func (tx *Tx) AcknowledgeUpTo(link LinkID, incarnation string, seq int64) error {
	open, err := list(tx.ReadTx, func(scan func(...any) error) (string, error) {
		var d string
		return d, scan(&d)
	}, `SELECT digest FROM zone_outbox WHERE link_id = ? AND incarnation = ? AND seq <= ? AND state IN ('queued', 'held')`, int64(link), incarnation, seq)
	if err != nil {
		return err
	}
	for _, d := range open {
		if err := tx.Acknowledge(d); err != nil {
			return err
		}
	}
	return nil
}

// MessageRefused stores the peer's final refusal of a message.
func (tx *Tx) MessageRefused(digest, reason string) error {
	o, err := scanOutbox(tx.queryRow(`SELECT `+outboxColumns+` FROM zone_outbox WHERE digest = ?`, digest).Scan)
	if err != nil {
		return notFound(err, "message", digest)
	}
	if err := tx.update(`UPDATE zone_outbox SET state = 'refused', last_error = ? WHERE id = ?`, reason, o.ID); err != nil {
		return err
	}
	tx.record(Event{Category: "MessageRefused", Entity: "link", EntityID: o.LinkID.String(), Message: fmt.Sprintf("The peer refused message %d (%s): %s", o.Seq, o.Kind, reason)})
	tx.changed("outbox", "link/"+o.LinkID.String())
	if o.PromotionID != 0 {
		return tx.promotionState(o.PromotionID, PromotionRefused, reason, PromotionQueued, PromotionHandedOver)
	}
	return nil
}

// HandedOver notes that messages left as a file.
func (tx *Tx) HandedOver(digests []string) error {
	for _, d := range digests {
		if _, err := tx.exec(`UPDATE zone_outbox SET handed_over_at = ? WHERE digest = ?`, formatTime(tx.Now), d); err != nil {
			return err
		}
	}
	return nil
}

// SetOutbox holds, retries or cancels a queued message. It needs LinkAdminister.
func (tx *Tx) SetOutbox(id int64, state OutboxState) error {
	if err := tx.require(access.LinkAdminister, access.Scope{}); err != nil {
		return err
	}
	if state != OutboxQueued && state != OutboxHeld && state != OutboxCanceled {
		return errs.New(errs.Invalid, "A message can be queued, held or canceled.")
	}
	o, err := scanOutbox(tx.queryRow(`SELECT `+outboxColumns+` FROM zone_outbox WHERE id = ?`, id).Scan)
	if err != nil {
		return notFound(err, "message", fmt.Sprint(id))
	}
	if o.State != OutboxQueued && o.State != OutboxHeld {
		return errs.New(errs.Blocked, "The message is %s already.", o.State)
	}
	if err := tx.update(`UPDATE zone_outbox SET state = ? WHERE id = ?`, state, id); err != nil {
		return err
	}
	if err := tx.update(`UPDATE zone_link SET next_at = NULL WHERE id = ?`, int64(o.LinkID)); err != nil {
		return err
	}
	if o.PromotionID != 0 {
		to := map[OutboxState]PromotionState{OutboxQueued: PromotionQueued, OutboxHeld: PromotionHeld, OutboxCanceled: PromotionCanceled}[state]
		if p, err := tx.promotion(o.PromotionID); err != nil {
			return err
		} else if p.ByHand && state == OutboxQueued {
			to = PromotionHandedOver // it waits for whoever carries it, as before
		}
		if err := tx.promotionState(o.PromotionID, to, "", PromotionQueued, PromotionHeld, PromotionHandedOver); err != nil {
			return err
		}
	}
	tx.record(Event{Category: "OutboxModified", Entity: "link", EntityID: o.LinkID.String(), Message: fmt.Sprintf("Message %d in the outbox is now %s", o.Seq, state)})
	tx.changed("outbox", "link/"+o.LinkID.String(), TopicLinks)
	return nil
}

// Arrived is a message that came over a link and whose signature holds.
type Arrived struct {
	Link        LinkID
	Incarnation string
	Seq         int64
	Digest      string
	Kind        string
	Message     []byte
	Via         string // link, file
	SeenInc     string
	SeenUpTo    int64
}

// Receive stores a message once. duplicate is true when it was here already, in which
// case nothing is to be done. The error is [errs.Blocked] when the peer made two messages
// for one number: the link is then suspended by the caller.
func (tx *Tx) Receive(a Arrived) (id int64, duplicate bool, err error) {
	if have, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM zone_inbox WHERE digest = ?)`, a.Digest); err != nil || have {
		if err == nil {
			err = tx.AcknowledgeUpTo(a.Link, a.SeenInc, a.SeenUpTo)
		}
		return 0, true, err
	}
	if other, err := one[string](tx.ReadTx, `SELECT COALESCE((SELECT digest FROM zone_inbox WHERE link_id = ? AND incarnation = ? AND seq = ?), '')`, int64(a.Link), a.Incarnation, a.Seq); err != nil {
		return 0, false, err
	} else if other != "" {
		e := errs.New(errs.Blocked, "The other side made two messages with the number %d (%s and %s).", a.Seq, other[:12], a.Digest[:12])
		e.Entity = "fork"
		return 0, false, e.WithHint("A copy of its space may be running twice. Ask its operator.")
	}
	id, err = tx.insert(`INSERT INTO zone_inbox (link_id, incarnation, seq, digest, kind, message, via, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(a.Link), a.Incarnation, a.Seq, a.Digest, a.Kind, a.Message, a.Via, formatTime(tx.Now))
	if err != nil {
		return 0, false, err
	}
	if err := tx.AcknowledgeUpTo(a.Link, a.SeenInc, a.SeenUpTo); err != nil {
		return 0, false, err
	}
	// What is whole up to here is what the next message of ours acknowledges.
	_, err = tx.exec(`UPDATE zone_link SET their_upto = CASE WHEN their_incarnation = ?2 THEN their_upto ELSE 0 END, their_incarnation = ?2 WHERE id = ?1`, int64(a.Link), a.Incarnation)
	if err != nil {
		return 0, false, err
	}
	_, err = tx.exec(`UPDATE zone_link SET their_upto = (SELECT COALESCE(max(n), 0) FROM (
		WITH RECURSIVE run(n) AS (SELECT their_upto FROM zone_link WHERE id = ?1 UNION ALL SELECT n + 1 FROM run WHERE EXISTS (SELECT 1 FROM zone_inbox i WHERE i.link_id = ?1 AND i.incarnation = ?2 AND i.seq = n + 1)) SELECT n FROM run)) WHERE id = ?1`,
		int64(a.Link), a.Incarnation)
	return id, false, err
}

// MissingBefore tells how many messages of a peer's life with a lower number than seq did
// not come here, and the first of them.
func (tx *ReadTx) MissingBefore(link LinkID, incarnation string, seq int64) (n, first int64, err error) {
	err = tx.queryRow(`WITH have(seq, next) AS (
			SELECT seq, LEAD(seq, 1, ?3) OVER (ORDER BY seq) FROM (SELECT 0 AS seq UNION ALL SELECT seq FROM zone_inbox WHERE link_id = ?1 AND incarnation = ?2 AND seq < ?3))
		SELECT COALESCE(sum(next - seq - 1), 0), COALESCE(min(seq) + 1, 0) FROM have WHERE next > seq + 1`, int64(link), incarnation, seq).Scan(&n, &first)
	return n, first, err
}

// InboxMessage is a stored message as it arrived.
func (tx *ReadTx) InboxMessage(id int64) ([]byte, error) {
	return one[[]byte](tx, `SELECT message FROM zone_inbox WHERE id = ?`, id)
}
