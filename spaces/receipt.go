package spaces

import (
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ReceiptInput is a verified receipt as zones read it.
type ReceiptInput struct {
	Link          LinkID
	Inbox         int64
	Kind          string
	PromotionULID string
	ReleaseULID   string
	CoreDigest    string
	Reason        string
	EnvRef        string
	EnvShown      string
	EnvOrder      int
	Deployment    string
	Attempt       int
	Seq           int64
	Issued        time.Time
	Via           string
	Body          string // the predicate as JSON, for people
}

// AddReceipt stores a receipt and works out anew what depends on it. What is shown is a
// function of the set of receipts, so their order does not matter.
func (tx *Tx) AddReceipt(in ReceiptInput) error {
	l, err := tx.link(in.Link)
	if err != nil {
		return err
	}
	if !l.AcceptReceipts {
		tx.record(Event{Category: "ReceiptIgnored", Entity: "link", EntityID: in.Link.String(), Message: "A receipt from " + l.LocalName + " was not taken: receipts are not accepted from there"})
		return nil
	}
	release, err := scanRelease(tx.queryRow(`SELECT `+releaseColumns+` FROM release WHERE ulid = ?`, in.ReleaseULID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		tx.record(Event{Category: "ReceiptIgnored", Entity: "link", EntityID: in.Link.String(), Message: "A receipt from " + l.LocalName + " is about a release that is not here: " + in.ReleaseULID})
		return nil
	}
	if err != nil {
		return err
	}
	if release.CoreDigest != in.CoreDigest {
		tx.record(Event{Category: "ReceiptIgnored", Entity: "link", EntityID: in.Link.String(), Reference: in.ReleaseULID, Message: "A receipt from " + l.LocalName + " is about another content of release " + release.Version})
		return nil
	}
	_, err = tx.insert(`INSERT INTO receipt (link_id, inbox_id, release_ulid, core_digest, kind, environment_ref, environment, deployment_ulid, attempt, seq, issued_at, received_at, via, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(in.Link), in.Inbox, in.ReleaseULID, in.CoreDigest, in.Kind, in.EnvRef, in.EnvShown, in.Deployment, in.Attempt, in.Seq, formatTime(in.Issued), formatTime(tx.Now), in.Via, in.Body)
	if err != nil {
		return err
	}
	tx.record(Event{Category: "ReceiptReceived", Entity: "release", EntityID: release.ID.String(), ProjectID: release.ProjectID, Reference: in.PromotionULID, Message: fmt.Sprintf("%s says of release %s: %s %s", l.LocalName, release.Version, in.Kind, in.EnvShown)})
	if in.EnvRef != "" {
		_, err := tx.exec(`INSERT INTO remote_environment (link_id, ref, name, sort_order) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (link_id, ref) DO UPDATE SET name = ?3, sort_order = ?4`, int64(in.Link), in.EnvRef, in.EnvShown, in.EnvOrder)
		if err != nil {
			return err
		}
		if err := tx.foldRemote(release.ProjectID, in.Link, in.EnvRef); err != nil {
			return err
		}
	}
	tx.changed("dashboard", "promotions", "project/"+release.ProjectID.String())
	// Whoever tells of a promotion has its message, also where the count of what came
	// without a hole ends before it: behind one that was canceled here.
	arrived, err := list(tx.ReadTx, func(scan func(...any) error) (string, error) {
		var d string
		return d, scan(&d)
	}, `SELECT o.digest FROM zone_outbox o JOIN promotion p ON p.id = o.promotion_id WHERE o.link_id = ? AND p.ulid = ? AND o.state IN ('queued', 'held')`, int64(in.Link), in.PromotionULID)
	if err != nil {
		return err
	}
	for _, d := range arrived {
		if err := tx.Acknowledge(d); err != nil {
			return err
		}
	}
	if err := tx.foldPromotion(in.Link, in.ReleaseULID); err != nil {
		return err
	}
	return tx.goOn(release.ID)
}

// foldRemote works out where a project stands in a remote environment: the receipt with
// the highest number of the peer's last life tells.
func (tx *Tx) foldRemote(project ProjectID, link LinkID, ref string) error {
	var release ReleaseID
	var version, kind, issued, received, via string
	var seq, environment int64
	err := tx.queryRow(`SELECT r.id, r.version, c.kind, c.issued_at, c.received_at, c.via, c.seq, e.id FROM receipt c JOIN release r ON r.ulid = c.release_ulid JOIN remote_environment e ON e.link_id = c.link_id AND e.ref = c.environment_ref JOIN zone_inbox i ON i.id = c.inbox_id
		WHERE r.project_id = ? AND c.link_id = ? AND c.environment_ref = ? AND c.deployment_ulid <> '' ORDER BY i.incarnation DESC, c.seq DESC LIMIT 1`, int64(project), int64(link), ref).
		Scan(&release, &version, &kind, &issued, &received, &via, &seq, &environment)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO remote_current (project_id, remote_environment_id, release_id, version, state, at, as_of, via, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (project_id, remote_environment_id) DO UPDATE SET release_id = ?3, version = ?4, state = ?5, at = ?6, as_of = ?7, via = ?8, seq = ?9`,
		int64(project), environment, int64(release), version, string(receiptState(kind)), issued, received, via, seq)
	return err
}

// foldPromotion lets the state of promotions follow the receipts.
func (tx *Tx) foldPromotion(link LinkID, releaseULID string) error {
	type fact struct{ kind, reason string }
	facts, err := list(tx.ReadTx, func(scan func(...any) error) (fact, error) {
		var f fact
		return f, scan(&f.kind, &f.reason)
	}, `SELECT c.kind, COALESCE(json_extract(c.body, '$.reason'), '') FROM receipt c JOIN zone_inbox i ON i.id = c.inbox_id WHERE c.link_id = ? AND c.release_ulid = ? ORDER BY i.incarnation, c.seq`, int64(link), releaseULID)
	if err != nil {
		return err
	}
	state, reason := "", ""
	for _, f := range facts {
		next := map[string]PromotionState{"received": PromotionDelivered, "accepted": PromotionAccepted, "rejected": PromotionRejected, "superseded": PromotionSuperseded, "recalled": PromotionRecalled, "refused": PromotionRefused, "deployment-queued": PromotionDeploying, "deployment-started": PromotionDeploying, "deployment-succeeded": PromotionDeployed, "deployment-failed": PromotionFailed, "deployment-canceled": PromotionAccepted}[f.kind]
		if next != "" {
			state, reason = next, f.reason
		}
	}
	if state == "" {
		return nil
	}
	ids, err := list(tx.ReadTx, func(scan func(...any) error) (PromotionID, error) {
		var id PromotionID
		return id, scan(&id)
	}, `SELECT id FROM promotion WHERE link_id = ? AND release_ulid = ? AND state NOT IN ('preparing', 'canceled') ORDER BY id DESC LIMIT 1`, int64(link), releaseULID)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := tx.promotionState(id, state, reason); err != nil {
			return err
		}
	}
	return nil
}

// ReceiptFact is something that the owner of a remote project is to be told.
type ReceiptFact struct {
	EventID       EventID
	Kind          string
	LinkID        LinkID
	PromotionULID string
	ReleaseULID   string
	CoreDigest    string
	Reason        string
	EnvRef        string
	EnvShown      string
	EnvOrder      int
	Deployment    string
	Attempt       int
	Started       *time.Time
	Ended         *time.Time
	TaskID        TaskID
	Level         string
}

// receiptCursor is the name of the reader that makes receipts out of events.
const receiptCursor = "receipts"

// ReceiptFacts reads the event ledger past the stored cursor and returns what is to be
// told, with the new position for [Tx.ReceiptsMade].
func (tx *ReadTx) ReceiptFacts(limit int) (facts []ReceiptFact, position int64, err error) {
	from, err := one[int64](tx, `SELECT COALESCE((SELECT position FROM cursor WHERE name = ?), 0)`, receiptCursor)
	if err != nil {
		return nil, 0, err
	}
	position = from
	type event struct {
		id               EventID
		category, entity string
		message          string
	}
	events, err := list(tx, func(scan func(...any) error) (event, error) {
		var e event
		return e, scan(&e.id, &e.category, &e.entity, &e.message)
	}, `SELECT id, category, entity_id, message FROM event WHERE id > ? ORDER BY id LIMIT ?`, from, limit)
	if err != nil {
		return nil, 0, err
	}
	kinds := map[string]string{"BundleReceived": "received", "BundleAccepted": "accepted", "BundleRejected": "rejected", "BundleSuperseded": "superseded", "BundleRecalled": "recalled", "DeploymentStarted": "deployment-started", "DeploymentSucceeded": "deployment-succeeded", "DeploymentFailed": "deployment-failed", "DeploymentCanceled": "deployment-canceled"}
	for _, e := range events {
		position = int64(e.id)
		kind, ok := kinds[e.category]
		if !ok {
			continue
		}
		f, err := tx.receiptFact(kind, e.entity)
		if errors.Is(err, sql.ErrNoRows) {
			continue // a deployment of a project of our own, or something deleted since
		}
		if err != nil {
			return nil, 0, err
		}
		if f.Level != "none" {
			f.EventID = e.id
			facts = append(facts, f)
		}
	}
	return facts, position, nil
}

func (tx *ReadTx) receiptFact(kind, entity string) (ReceiptFact, error) {
	f := ReceiptFact{Kind: kind}
	if n, ok := cutID(prefixInbound, entity); ok {
		return f, tx.queryRow(`SELECT i.link_id, i.promotion_ulid, i.release_ulid, i.core_digest, CASE ?2 WHEN 'rejected' THEN i.reason WHEN 'recalled' THEN COALESCE((SELECT 'It is deployed to ' || group_concat(e.name, ', ') || '.' FROM current_deployment c JOIN deployment d ON d.id = c.deployment_id JOIN environment e ON e.id = c.environment_id WHERE d.release_id = i.release_id), 'It is deployed nowhere.') ELSE '' END, l.send_receipts FROM inbound i JOIN zone_link l ON l.id = i.link_id WHERE i.id = ?1`, n, kind).
			Scan(&f.LinkID, &f.PromotionULID, &f.ReleaseULID, &f.CoreDigest, &f.Reason, &f.Level)
	}
	n, _ := cutID(prefixDeployment, entity)
	var started, ended nullText
	err := tx.queryRow(`SELECT p.link_id, COALESCE((SELECT i.promotion_ulid FROM inbound i WHERE i.release_id = r.id ORDER BY i.id DESC LIMIT 1), ''), r.ulid, r.core_digest, e.ulid, e.name, e.sort_order, d.ulid, d.attempt, t.started_at, t.completed_at, t.id, l.send_receipts
		FROM deployment d JOIN release r ON r.id = d.release_id JOIN project p ON p.id = d.project_id JOIN zone_link l ON l.id = p.link_id JOIN environment e ON e.id = d.environment_id JOIN task t ON t.id = d.task_id WHERE d.id = ?`, n).
		Scan(&f.LinkID, &f.PromotionULID, &f.ReleaseULID, &f.CoreDigest, &f.EnvRef, &f.EnvShown, &f.EnvOrder, &f.Deployment, &f.Attempt, &started, &ended, &f.TaskID, &f.Level)
	f.Started, f.Ended = parseTimePtr(started), parseTimePtr(ended)
	if kind == "deployment-started" {
		f.Ended = nil
	}
	return f, err
}

// ReceiptsMade stores how far the ledger was turned into receipts, in the transaction
// that wrote them.
func (tx *Tx) ReceiptsMade(position int64) error {
	_, err := tx.exec(`INSERT INTO cursor (name, position) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET position = ?2`, receiptCursor, position)
	return err
}

// ReceiptRow is a receipt as a page shows it.
type ReceiptRow struct {
	LinkName    string
	Kind        string
	Environment string
	Attempt     int
	Seq         int64
	IssuedAt    time.Time
	ReceivedAt  time.Time
	Via         string
}

// Receipts lists what other spaces said of a release, oldest first.
func (tx *ReadTx) Receipts(r Release) ([]ReceiptRow, error) {
	if _, err := tx.mayViewRelease(r); err != nil {
		return nil, err
	}
	return list(tx, func(scan func(...any) error) (ReceiptRow, error) {
		var x ReceiptRow
		var issued, received string
		err := scan(&x.LinkName, &x.Kind, &x.Environment, &x.Attempt, &x.Seq, &issued, &received, &x.Via)
		x.IssuedAt, x.ReceivedAt = parseTime(issued), parseTime(received)
		return x, err
	}, `SELECT l.local_name, c.kind, c.environment, c.attempt, c.seq, c.issued_at, c.received_at, c.via FROM receipt c JOIN zone_link l ON l.id = c.link_id WHERE c.release_ulid = ? ORDER BY c.link_id, c.seq, c.id`, r.ULID)
}

// ReceiptPosition is how far the ledger was turned into receipts.
func (tx *ReadTx) ReceiptPosition() (int64, error) {
	return one[int64](tx, `SELECT COALESCE((SELECT position FROM cursor WHERE name = ?), 0)`, receiptCursor)
}
