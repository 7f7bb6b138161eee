package spaces

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/variables"
)

// InboundState is where a release that came in a bundle stands.
type InboundState = string

// The states of an inbound release. A rejected one is verified again when it is promoted
// anew. That of a whole one which nobody decided on tells what is next: approvals, values,
// or nothing but a decision.
const (
	InboundIncomplete InboundState = "incomplete"        // package files are missing
	InboundAwaiting   InboundState = "awaiting approval" // fewer have approved it than its link asks for
	InboundNeedsInput InboundState = "needs input"       // it asks for values that this space does not have; may be accepted
	InboundVerified   InboundState = "verified"          // a person decides
	InboundAccepted   InboundState = "accepted"
	InboundRejected   InboundState = "rejected"
	InboundSuperseded InboundState = "superseded" // a later release of the project came whole
	InboundRecalled   InboundState = "recalled"   // its sender withdrew it before anybody decided
)

// Undecided are the states of a whole release that waits for people.
var Undecided = []InboundState{InboundAwaiting, InboundNeedsInput, InboundVerified}

// WantState is where a package file that an inbound release needs stands.
type WantState = string

// The states of a wanted file.
const (
	WantMissing WantState = "missing"
	WantHere    WantState = "here"
)

// Inbound is a release that came in a bundle and waits for a decision, or got one.
type Inbound struct {
	ID            InboundID
	LinkID        LinkID
	LinkName      string
	InboxID       int64
	ReleaseULID   string
	ProjectULID   string
	ProjectName   string
	Version       string
	CoreDigest    string
	PromotionULID string
	State         InboundState
	Reason        string
	ProjectID     ProjectID // 0 before acceptance
	ReleaseID     ReleaseID
	ReceivedAt    time.Time
	Via           string
	DecidedAt     *time.Time
	DecidedBy     string
	Missing       int // package files that are not here yet
	Wanted        int
	Approvals     int // by people who may count
	Needed        int // approvals
	Lacks         int // values that it asks for and that are not here
	Recall        *Recall
}

// Whole reports whether all of it is here and nobody decided on it.
func (i Inbound) Whole() bool { return slices.Contains(Undecided, i.State) }

// The stored state is verified for all that are whole and undecided.
const inboundState = `CASE WHEN i.state <> 'verified' THEN i.state WHEN (SELECT count(*) FROM inbound_approval a WHERE a.inbound_id = i.id) < l.approvals THEN 'awaiting approval' WHEN i.lacks > 0 THEN 'needs input' ELSE 'verified' END`
const inboundColumns = `i.id, i.link_id, l.local_name, i.inbox_id, i.release_ulid, i.project_ulid, i.project_name, i.version, i.core_digest, i.promotion_ulid, ` + inboundState + `, i.reason, COALESCE(i.project_id, 0), COALESCE(i.release_id, 0), i.received_at, i.via, i.decided_at, i.decided_by,
	(SELECT count(*) FROM zone_blob_want w WHERE w.inbound_id = i.id AND w.state = 'missing'), (SELECT count(*) FROM zone_blob_want w WHERE w.inbound_id = i.id),
	(SELECT count(*) FROM inbound_approval a WHERE a.inbound_id = i.id), l.approvals, i.lacks, COALESCE(c.reason, ''), c.at, c.allowed_at, COALESCE(c.allowed_by, ''), COALESCE(c.allowed_why, '')`
const inboundFrom = `inbound i JOIN zone_link l ON l.id = i.link_id LEFT JOIN zone_recall c ON c.link_id = i.link_id AND c.release_ulid = i.release_ulid`

func scanInbound(scan func(...any) error) (Inbound, error) {
	var i Inbound
	var c Recall
	var received string
	var decided, recalled, allowed nullText
	err := scan(&i.ID, &i.LinkID, &i.LinkName, &i.InboxID, &i.ReleaseULID, &i.ProjectULID, &i.ProjectName, &i.Version, &i.CoreDigest, &i.PromotionULID, &i.State, &i.Reason, &i.ProjectID, &i.ReleaseID, &received, &i.Via, &decided, &i.DecidedBy, &i.Missing, &i.Wanted,
		&i.Approvals, &i.Needed, &i.Lacks, &c.Reason, &recalled, &allowed, &c.AllowedBy, &c.AllowedWhy)
	i.ReceivedAt, i.DecidedAt = parseTime(received), parseTimePtr(decided)
	if at := parseTimePtr(recalled); at != nil {
		c.At, c.AllowedAt = *at, parseTimePtr(allowed)
		i.Recall = &c
	}
	return i, err
}

// InboundInput is a verified bundle.
type InboundInput struct {
	Link          LinkID
	Inbox         int64
	ReleaseULID   string
	ProjectULID   string
	ProjectName   string
	Version       string
	CoreDigest    string
	PromotionULID string
	Via           string
	Packages      []packages.Blob
	Asks          []string // names of its variable templates without a default
}

// importer is who brought it by hand.
func (in InboundInput) importer(a Actor) string {
	if in.Via == "link" {
		return ""
	}
	return a.ID
}

// AddInbound puts a verified bundle into the inbox of people. The same release again is
// the same entry. The error is [errs.Blocked] when the release has another core digest
// than before: a release cannot change after it left.
func (tx *Tx) AddInbound(in InboundInput) (Inbound, error) {
	l, err := tx.link(in.Link)
	if err != nil {
		return Inbound{}, err
	}
	if !l.AcceptBundles {
		return Inbound{}, errs.New(errs.Blocked, "Releases from '%s' are not accepted here.", l.LocalName).WithHint("Allow it on the page of the link.")
	}
	if core, err := one[string](tx.ReadTx, `SELECT COALESCE((SELECT core_digest FROM inbound WHERE release_ulid = ? LIMIT 1), '')`, in.ReleaseULID); err != nil {
		return Inbound{}, err
	} else if core != "" && core != in.CoreDigest {
		return Inbound{}, errs.New(errs.Blocked, "Release %s was here before with the core digest %s and now comes with %s.", in.Version, core[:12], in.CoreDigest[:12]).WithHint("A release cannot change after it left. Ask whoever sent it.")
	}
	if old, err := scanInbound(tx.queryRow(`SELECT `+inboundColumns+` FROM `+inboundFrom+` WHERE i.link_id = ? AND i.release_ulid = ?`, int64(in.Link), in.ReleaseULID).Scan); err == nil {
		if old.State == InboundRejected {
			// Sent again as a new promotion, it is up for a new decision.
			if err := tx.update(`UPDATE inbound SET state = 'verified', reason = '', decided_at = NULL, decided_by = '', promotion_ulid = ?, inbox_id = ?, imported_by = ? WHERE id = ?`, in.PromotionULID, in.Inbox, in.importer(tx.Actor), int64(old.ID)); err != nil {
				return old, err
			}
			if _, err := tx.exec(`DELETE FROM inbound_approval WHERE inbound_id = ?`, int64(old.ID)); err != nil {
				return old, err
			}
			return tx.completeness(old.ID)
		}
		tx.record(Event{Category: "BundleReceivedAgain", Entity: "inbound", EntityID: old.ID.String(), Reference: in.PromotionULID, Message: fmt.Sprintf("Release %s of %s was received again from %s", in.Version, in.ProjectName, l.LocalName)})
		return old, nil
	}
	asks, err := json.Marshal(append([]string{}, in.Asks...))
	if err != nil {
		return Inbound{}, err
	}
	n, err := tx.insert(`INSERT INTO inbound (link_id, inbox_id, release_ulid, project_ulid, project_name, version, core_digest, promotion_ulid, state, received_at, via, asks, imported_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'incomplete', ?, ?, ?, ?)`,
		int64(in.Link), in.Inbox, in.ReleaseULID, in.ProjectULID, in.ProjectName, in.Version, in.CoreDigest, in.PromotionULID, formatTime(tx.Now), in.Via, string(asks), in.importer(tx.Actor))
	if err != nil {
		return Inbound{}, err
	}
	for _, b := range in.Packages {
		_, err := tx.exec(`INSERT INTO zone_blob_want (link_id, digest, size, inbound_id, state) VALUES (?, ?, ?, ?, CASE WHEN EXISTS (SELECT 1 FROM zone_blob_known k WHERE k.link_id = ?1 AND k.digest = ?2) THEN 'here' ELSE 'missing' END) ON CONFLICT DO NOTHING`, int64(in.Link), b.Digest, b.Size, n)
		if err != nil {
			return Inbound{}, err
		}
	}
	tx.record(Event{Category: "BundleReceived", Entity: "inbound", EntityID: InboundID(n).String(), Reference: in.PromotionULID, Message: fmt.Sprintf("Release %s of %s came from %s by %s and its signature holds (core %s)", in.Version, in.ProjectName, l.LocalName, in.Via, in.CoreDigest)})
	if i, err := tx.inbound(InboundID(n)); err != nil {
		return i, err
	} else if i.Recall != nil {
		if err := tx.recalled(i); err != nil {
			return i, err
		}
	}
	return tx.completeness(InboundID(n))
}

// completeness moves an entry between incomplete and verified.
func (tx *Tx) completeness(id InboundID) (Inbound, error) {
	i, err := tx.inbound(id)
	if err != nil {
		return i, err
	}
	if i.State == InboundIncomplete && i.Missing == 0 {
		if err := tx.update(`UPDATE inbound SET state = 'verified' WHERE id = ?`, int64(id)); err != nil {
			return i, err
		}
		if err := tx.countLacks(id, i.LinkID, i.ProjectULID); err != nil {
			return i, err
		}
		// An earlier release of the same project that nobody decided on is not needed any more.
		earlier, err := list(tx.ReadTx, scanInbound, `SELECT `+inboundColumns+` FROM `+inboundFrom+` WHERE i.link_id = ? AND i.project_ulid = ? AND i.id < ? AND i.state = 'verified'`, int64(i.LinkID), i.ProjectULID, int64(id))
		if err != nil {
			return i, err
		}
		for _, e := range earlier {
			if err := tx.update(`UPDATE inbound SET state = 'superseded' WHERE id = ?`, int64(e.ID)); err != nil {
				return i, err
			}
			tx.record(Event{Category: "BundleSuperseded", Entity: "inbound", EntityID: e.ID.String(), Reference: e.PromotionULID, Message: fmt.Sprintf("Release %s of %s was superseded by %s before anybody decided", e.Version, e.ProjectName, i.Version)})
		}
	}
	tx.changed("promotions", "inbox")
	return tx.inbound(id)
}

// countLacks works out how many of the values that a release asks for are not set in its
// project here, which may not exist yet, for any environment. Where they are missing for
// one is told when it is deployed there.
func (tx *Tx) countLacks(id InboundID, link LinkID, projectULID string) error {
	var asks []string
	text, err := one[string](tx.ReadTx, `SELECT asks FROM inbound WHERE id = ?`, int64(id))
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), &asks); err != nil {
		return fmt.Errorf("read what is asked for: %w", err)
	}
	var have variables.Set
	if len(asks) > 0 {
		p, err := scanProject(tx.queryRow(`SELECT `+projectColumns+` FROM project WHERE link_id = ? AND remote_ulid = ?`, int64(link), projectULID).Scan)
		if err == nil {
			have, _, err = documentAs[variables.Set](tx.ReadTx, p.variables)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	lacks := 0
	for _, name := range asks {
		if !slices.ContainsFunc(have.Variables, func(v variables.Variable) bool { return strings.EqualFold(v.Name, name) }) {
			lacks++
		}
	}
	return tx.update(`UPDATE inbound SET lacks = ? WHERE id = ?`, lacks, int64(id))
}

// valuesChanged looks again at what waits for values of a remote project.
func (tx *Tx) valuesChanged(p Project) error {
	waiting, err := list(tx.ReadTx, func(scan func(...any) error) (InboundID, error) {
		var id InboundID
		return id, scan(&id)
	}, `SELECT id FROM inbound WHERE link_id = ? AND project_ulid = ? AND state = 'verified'`, int64(p.LinkID), p.RemoteULID)
	if err != nil {
		return err
	}
	for _, id := range waiting {
		if err := tx.countLacks(id, p.LinkID, p.RemoteULID); err != nil {
			return err
		}
		tx.changed("inbox")
	}
	return nil
}

// Wanted is a package file that an inbound release of a link needs.
type Wanted struct {
	Digest string
	Size   int64
}

// Wants lists the missing package files of a link: what may be asked for and offered
// over it, and nothing else.
func (tx *ReadTx) Wants(link LinkID) ([]Wanted, error) {
	return list(tx, func(scan func(...any) error) (Wanted, error) {
		var w Wanted
		return w, scan(&w.Digest, &w.Size)
	}, `SELECT DISTINCT digest, size FROM zone_blob_want WHERE link_id = ? AND state = 'missing' ORDER BY size, digest`, int64(link))
}

// MissingBlobs are the digests of the package files that an inbound release lacks.
func (tx *ReadTx) MissingBlobs(id InboundID) ([]string, error) {
	return list(tx, func(scan func(...any) error) (string, error) {
		var d string
		return d, scan(&d)
	}, `SELECT digest FROM zone_blob_want WHERE inbound_id = ? AND state = 'missing' ORDER BY digest`, int64(id))
}

// BlobArrived notes that a package file is in the store. It counts for every link and
// release that wants these bytes.
func (tx *Tx) BlobArrived(b packages.Blob) error {
	if err := tx.addBlob(b); err != nil {
		return err
	}
	waiting, err := list(tx.ReadTx, func(scan func(...any) error) (InboundID, error) {
		var id InboundID
		return id, scan(&id)
	}, `SELECT inbound_id FROM zone_blob_want WHERE digest = ? AND state = 'missing'`, b.Digest)
	if err != nil {
		return err
	}
	if _, err := tx.exec(`INSERT INTO zone_blob_known (link_id, digest) SELECT DISTINCT link_id, digest FROM zone_blob_want WHERE digest = ? ON CONFLICT DO NOTHING`, b.Digest); err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE zone_blob_want SET state = 'here' WHERE digest = ?`, b.Digest); err != nil {
		return err
	}
	for _, id := range waiting {
		if _, err := tx.completeness(id); err != nil {
			return err
		}
	}
	return nil
}

// KnowsBlob notes that the peer of a link has a package file: a basis for recipes.
func (tx *Tx) KnowsBlob(link LinkID, digest string) error {
	_, err := tx.exec(`INSERT INTO zone_blob_known (link_id, digest) VALUES (?, ?) ON CONFLICT DO NOTHING`, int64(link), digest)
	return err
}

// KnownBlobs lists the files that the peer of a link is known to have, of packages with
// one of these ids, newest first.
func (tx *ReadTx) KnownBlobs(link LinkID, packageID string) ([]packages.Blob, error) {
	return list(tx, func(scan func(...any) error) (packages.Blob, error) {
		var b packages.Blob
		return b, scan(&b.Digest, &b.Size)
	}, `SELECT DISTINCT k.digest, b.size FROM zone_blob_known k JOIN package_blob b ON b.digest = k.digest JOIN release_package rp ON rp.digest = k.digest WHERE k.link_id = ? AND rp.package_id = ? ORDER BY rp.release_id DESC LIMIT 4`, int64(link), packageID)
}

func (tx *ReadTx) inbound(id InboundID) (Inbound, error) {
	i, err := scanInbound(tx.queryRow(`SELECT `+inboundColumns+` FROM `+inboundFrom+` WHERE i.id = ?`, int64(id)).Scan)
	return i, notFound(err, "inbound release", id.String())
}

// Inbound returns one. It needs ReleaseView, of the project if it has become one.
func (tx *ReadTx) Inbound(id InboundID) (Inbound, error) {
	sight, err := tx.sight(access.ReleaseView)
	if err != nil {
		return Inbound{}, err
	}
	i, err := tx.inbound(id)
	if err != nil {
		return i, err
	}
	if ok, err := sight.of(i.ProjectID, 0); err != nil || !ok {
		return Inbound{}, cmp.Or(err, error(errs.Missing("inbound release", id.String())))
	}
	return i, nil
}

// Inbox lists what came and the actor may see, newest first: what is in one of the
// states, or all.
func (tx *ReadTx) Inbox(take int, states ...InboundState) ([]Inbound, error) {
	sight, err := tx.sight(access.ReleaseView)
	if err != nil {
		return nil, err
	}
	wanted, err := json.Marshal(append([]string{}, states...))
	if err != nil {
		return nil, err
	}
	found, err := list(tx, scanInbound, `SELECT `+inboundColumns+` FROM `+inboundFrom+` WHERE ?1 = '[]' OR `+inboundState+` IN (SELECT value FROM json_each(?1)) ORDER BY i.id DESC LIMIT ?2`, string(wanted), take)
	if err != nil {
		return nil, err
	}
	return seen(sight, found, func(i Inbound) (ProjectID, EnvironmentID) { return i.ProjectID, 0 })
}

// InboundByRelease finds the entry of a release of a link.
func (tx *ReadTx) InboundByRelease(link LinkID, releaseULID string) (Inbound, error) {
	i, err := scanInbound(tx.queryRow(`SELECT `+inboundColumns+` FROM `+inboundFrom+` WHERE i.link_id = ? AND i.release_ulid = ?`, int64(link), releaseULID).Scan)
	return i, notFound(err, "inbound release", releaseULID)
}

// PreviousAccepted is the release of the same project that was accepted last before an
// inbound one was decided on, or until now; nil for none.
func (tx *ReadTx) PreviousAccepted(in Inbound) (*Release, error) {
	ids, err := list(tx, func(scan func(...any) error) (ReleaseID, error) {
		var id ReleaseID
		return id, scan(&id)
	}, `SELECT release_id FROM inbound WHERE link_id = ?1 AND project_ulid = ?2 AND state = 'accepted' AND release_id IS NOT NULL AND id <> ?3 AND (?4 IS NULL OR (decided_at, id) < (?4, ?3)) ORDER BY decided_at DESC, id DESC LIMIT 1`, int64(in.LinkID), in.ProjectULID, int64(in.ID), formatTimePtr(in.DecidedAt))
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	r, err := tx.release(ids[0])
	return &r, err
}

// RecentBlobs lists files that came over a link or that its peer is known to have,
// newest first, and that are here.
func (tx *ReadTx) RecentBlobs(link LinkID, take int) ([]string, error) {
	return list(tx, func(scan func(...any) error) (string, error) {
		var d string
		return d, scan(&d)
	}, `SELECT k.digest FROM zone_blob_known k JOIN package_blob b ON b.digest = k.digest WHERE k.link_id = ? ORDER BY b.created_at DESC, k.digest LIMIT ?`, int64(link), take)
}

// Offer is a package file that a link's peer may fetch, and files that could help it.
type Offer struct {
	Size  int64
	Basis []string
}

// Offered finds a file of a release that was promoted over a link. Anything else is
// [errs.NotFound], whether it is here or not: a peer learns nothing of other files.
func (tx *ReadTx) Offered(link LinkID, digest string) (Offer, error) {
	var o Offer
	err := tx.queryRow(`SELECT rp.size FROM release_package rp JOIN promotion p ON p.release_id = rp.release_id WHERE p.link_id = ? AND rp.digest = ? AND p.state <> 'canceled' LIMIT 1`, int64(link), digest).Scan(&o.Size)
	if err != nil {
		return o, notFound(err, "package file", digest)
	}
	o.Basis, err = tx.RecentBlobs(link, 8)
	return o, err
}

// BlobSent notes that the peer fetched a file, and what that cost on the wire.
func (tx *Tx) BlobSent(link LinkID, digest string, bytes int64) error {
	_, err := tx.exec(`UPDATE promotion SET bytes_sent = bytes_sent + ?, updated_at = ? WHERE link_id = ? AND release_id IN (SELECT release_id FROM release_package WHERE digest = ?) AND state IN ('queued', 'delivered')`, bytes, formatTime(tx.Now), int64(link), digest)
	if err != nil {
		return err
	}
	tx.changed("promotions")
	return tx.KnowsBlob(link, digest)
}
