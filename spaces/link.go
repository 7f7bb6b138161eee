package spaces

import (
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// LinkState is where the trust between this space and a peer's stands.
type LinkState string

// The states of a link. What a person can do about each stands on its page.
const (
	LinkAwaiting LinkState = "awaiting confirmation" // the words were not compared yet
	LinkActive   LinkState = "active"
	LinkPaused   LinkState = "paused"
	LinkRevoked  LinkState = "revoked"
	LinkBroken   LinkState = "broken" // two messages for one number, or a key that changed
)

// How a link is kept.
const (
	ModeWeDial   = "we-dial"
	ModeTheyDial = "they-dial"
	ModeByHand   = "by-hand"
)

// Link is the trust between this space and one space elsewhere. What may flow is
// said for each direction; the default is nothing.
type Link struct {
	ID               LinkID
	ULID             string
	LocalName, Slug  string // ours; the peer's own name is never a key
	PeerSpace        string // ULID
	PeerIdentity     string // hex; what the words spell
	PeerName         string
	Card             []byte // the newest, as received
	CardNumber       int64
	Mode             string
	Address          string // where we dial
	ServerPin        string // of the peer's server; "" for a link by hand
	SendBundles      bool
	AcceptBundles    bool
	SendReceipts     string // none, state, summary
	AcceptReceipts   bool
	Approvals        int // people who must approve a release from there before another accepts it
	State            LinkState
	Reason           string
	ConfirmedHow     string
	NextSeq          int64
	LastDigest       string
	TheirIncarnation string
	TheirUpTo        int64 // every message of theirs up to here is applied
	AckedUpTo        int64
	LastContactAt    *time.Time
	LastError        string
	Attempts         int
	NextAt           *time.Time
	CreatedAt        time.Time
	UpdatedBy        string
}

// LinkHealth is what there is to say of how a link is.
type LinkHealth struct {
	State         LinkState
	Mode          string
	LastContactAt *time.Time
	LastError     string
}

// Silence is how long nothing may be heard of a peer that dials before that is worth a
// word: twice as long as it waits for news in one request.
const Silence = time.Minute

// Health is how the link is.
func (l Link) Health() LinkHealth { return LinkHealth{l.State, l.Mode, l.LastContactAt, l.LastError} }

// Cut reports whether an active link over the network does not work now, as far as that
// can be known here: the peer could not be reached, or has not come for too long.
func (h LinkHealth) Cut(now time.Time) bool {
	if h.State != LinkActive || h.Mode == ModeByHand {
		return false
	}
	return h.LastError != "" || h.Mode == ModeTheyDial && h.LastContactAt != nil && now.Sub(*h.LastContactAt) > Silence
}

// Usable is nil for an active link and says why not for another.
func (l Link) Usable() error {
	if l.State == LinkActive {
		return nil
	}
	e := errs.New(errs.Blocked, "The link to '%s' is %s.", l.LocalName, l.State)
	switch l.State {
	case LinkAwaiting:
		e.Hint = "Compare the words of the other side and confirm the link first."
	case LinkPaused:
		e.Hint = "Resume it on the page of the link."
	case LinkRevoked:
		e.Hint = "Link the other space again to start anew."
	case LinkBroken:
		e.Hint = l.Reason
	}
	return e
}

// Trusted is nil for a link whose files may be taken: a paused one rests on the wire only.
func (l Link) Trusted() error {
	if l.State == LinkPaused {
		return nil
	}
	return l.Usable()
}

// LinkInput is a new link as zones found it: a card whose signature holds.
type LinkInput struct {
	LocalName      string
	PeerSpace      string
	PeerIdentity   string
	PeerName       string
	Card           []byte
	CardNumber     int64
	Mode           string
	Address        string
	ServerPin      string
	SendBundles    bool
	AcceptBundles  bool
	SendReceipts   string
	AcceptReceipts bool
	State          LinkState
	ConfirmedHow   string
}

const linkColumns = `id, ulid, local_name, slug, peer_space, peer_identity, peer_name, card, card_number, mode, address, server_pin, send_bundles, accept_bundles, send_receipts, accept_receipts, approvals, state, reason, confirmed_how,
	next_seq, last_digest, their_incarnation, their_upto, acked_upto, last_contact_at, last_error, attempts, next_at, created_at, updated_by`

func scanLink(scan func(...any) error) (Link, error) {
	var l Link
	var contact, next nullText
	var created string
	err := scan(&l.ID, &l.ULID, &l.LocalName, &l.Slug, &l.PeerSpace, &l.PeerIdentity, &l.PeerName, &l.Card, &l.CardNumber, &l.Mode, &l.Address, &l.ServerPin, &l.SendBundles, &l.AcceptBundles, &l.SendReceipts, &l.AcceptReceipts, &l.Approvals, &l.State, &l.Reason, &l.ConfirmedHow,
		&l.NextSeq, &l.LastDigest, &l.TheirIncarnation, &l.TheirUpTo, &l.AckedUpTo, &contact, &l.LastError, &l.Attempts, &next, &created, &l.UpdatedBy)
	l.LastContactAt, l.NextAt, l.CreatedAt = parseTimePtr(contact), parseTimePtr(next), parseTime(created)
	return l, err
}

// CreateLink stores the trust in a peer. It needs LinkAdminister. A revoked link to
// the same space is taken up again with the new card.
func (tx *Tx) CreateLink(in LinkInput) (Link, error) {
	if err := tx.require(access.LinkAdminister, access.Scope{}); err != nil {
		return Link{}, err
	}
	var c errs.Check
	checkName(&c, "LocalName", in.LocalName, 50)
	c.Require(in.PeerSpace != tx.Space.ULID(), "Card", "This is the card of this space itself.")
	if err := c.Err(); err != nil {
		return Link{}, err
	}
	if in.SendReceipts == "" {
		in.SendReceipts = "none"
	}
	now := formatTime(tx.Now)
	if old, err := tx.linkByPeer(in.PeerSpace); err == nil {
		if old.State != LinkRevoked {
			return Link{}, errs.New(errs.Exists, "This space is already linked as '%s'.", old.LocalName)
		}
		if old.PeerIdentity != in.PeerIdentity {
			return Link{}, errs.New(errs.Blocked, "The space behind '%s' now has another identity than before.", old.LocalName).WithHint("Its key was lost or somebody pretends to be it. Ask on another channel.")
		}
		err = tx.update(`UPDATE zone_link SET local_name = ?, peer_name = ?, card = ?, card_number = ?, mode = ?, address = ?, server_pin = ?, send_bundles = ?, accept_bundles = ?, send_receipts = ?, accept_receipts = ?, state = ?, reason = '', confirmed_how = ?, updated_at = ?, updated_by = ? WHERE id = ?`,
			in.LocalName, in.PeerName, in.Card, in.CardNumber, in.Mode, in.Address, in.ServerPin, in.SendBundles, in.AcceptBundles, in.SendReceipts, in.AcceptReceipts, string(in.State), in.ConfirmedHow, now, tx.Actor.Name, int64(old.ID))
		if err != nil {
			return Link{}, taken(err, "LocalName", "A link named '%s' already exists.", in.LocalName)
		}
		return tx.linkChanged(old.ID, "LinkCreated", "was linked again")
	} else if errs.KindOf(err) != errs.NotFound {
		return Link{}, err
	}
	slug, err := tx.freeSlug("zone_link", "", in.LocalName, "")
	if err != nil {
		return Link{}, err
	}
	n, err := tx.insert(`INSERT INTO zone_link (ulid, local_name, slug, peer_space, peer_identity, peer_name, card, card_number, mode, address, server_pin, send_bundles, accept_bundles, send_receipts, accept_receipts, state, confirmed_how, created_at, updated_at, updated_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		NewULID(tx.Now), in.LocalName, slug, in.PeerSpace, in.PeerIdentity, in.PeerName, in.Card, in.CardNumber, in.Mode, in.Address, in.ServerPin, in.SendBundles, in.AcceptBundles, in.SendReceipts, in.AcceptReceipts, string(in.State), in.ConfirmedHow, now, now, tx.Actor.Name)
	if err != nil {
		return Link{}, taken(err, "LocalName", "A link named '%s' already exists.", in.LocalName)
	}
	return tx.linkChanged(LinkID(n), "LinkCreated", "was linked")
}

func (tx *Tx) linkChanged(id LinkID, category, what string, changes ...Change) (Link, error) {
	l, err := tx.link(id)
	if err != nil {
		return l, err
	}
	tx.record(Event{Category: category, Entity: "link", EntityID: id.String(), Reference: l.PeerSpace, Message: fmt.Sprintf("The space %s %s", l.LocalName, what), Changes: changes})
	tx.changed("links", "inbox", "link/"+id.String(), TopicLinks)
	return l, nil
}

// TopicLinks is the topic that tells the link worker of new messages and links.
const TopicLinks = "mailbox"

// SetLinkState confirms, pauses, resumes or revokes a link. It needs LinkAdminister.
// how says how the words were compared, when the link becomes active that way.
func (tx *Tx) SetLinkState(id LinkID, state LinkState, reason, how string) (Link, error) {
	if err := tx.require(access.LinkAdminister, access.Scope{}); err != nil {
		return Link{}, err
	}
	l, err := tx.link(id)
	if err != nil {
		return l, err
	}
	if l.State == LinkRevoked {
		return l, l.Usable()
	}
	if err := tx.update(`UPDATE zone_link SET state = ?, reason = ?, confirmed_how = CASE WHEN ? = '' THEN confirmed_how ELSE ? END, updated_at = ?, updated_by = ? WHERE id = ?`,
		string(state), reason, how, how, formatTime(tx.Now), tx.Actor.Name, int64(id)); err != nil {
		return l, err
	}
	return tx.linkChanged(id, "LinkModified", "is now "+string(state))
}

// BreakLink suspends a link whose messages contradict each other. Only the server
// does it.
func (tx *Tx) BreakLink(id LinkID, reason string) error {
	if err := tx.update(`UPDATE zone_link SET state = ?, reason = ?, updated_at = ?, updated_by = ? WHERE id = ?`, string(LinkBroken), reason, formatTime(tx.Now), tx.Actor.Name, int64(id)); err != nil {
		return err
	}
	_, err := tx.linkChanged(id, "LinkBroken", "was suspended: "+reason)
	return err
}

// LinkFlows is what may flow over a link, and its name here.
type LinkFlows struct {
	LocalName      string
	SendBundles    bool
	AcceptBundles  bool
	SendReceipts   string
	AcceptReceipts bool
	Approvals      int
}

// UpdateLink changes the local name and what may flow. It needs LinkAdminister.
func (tx *Tx) UpdateLink(id LinkID, in LinkFlows) (Link, error) {
	if err := tx.require(access.LinkAdminister, access.Scope{}); err != nil {
		return Link{}, err
	}
	old, err := tx.link(id)
	if err != nil {
		return old, err
	}
	var c errs.Check
	checkName(&c, "LocalName", in.LocalName, 50)
	c.Require(in.SendReceipts == "none" || in.SendReceipts == "state" || in.SendReceipts == "summary", "SendReceipts", "Receipts are sent at the level none, state or summary.")
	c.Require(in.Approvals >= 0 && in.Approvals <= 9, "Approvals", "Between 0 and 9 people can be asked to approve.")
	if err := c.Err(); err != nil {
		return old, err
	}
	err = tx.update(`UPDATE zone_link SET local_name = ?, send_bundles = ?, accept_bundles = ?, send_receipts = ?, accept_receipts = ?, approvals = ?, updated_at = ?, updated_by = ? WHERE id = ?`,
		in.LocalName, in.SendBundles, in.AcceptBundles, in.SendReceipts, in.AcceptReceipts, in.Approvals, formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return old, taken(err, "LocalName", "A link named '%s' already exists.", in.LocalName)
	}
	var what []Change
	say := func(field string, before, after any) {
		if before != after {
			what = append(what, Change{Field: field, Before: fmt.Sprint(before), After: fmt.Sprint(after)})
		}
	}
	say("LocalName", old.LocalName, in.LocalName)
	say("SendBundles", old.SendBundles, in.SendBundles)
	say("AcceptBundles", old.AcceptBundles, in.AcceptBundles)
	say("SendReceipts", old.SendReceipts, in.SendReceipts)
	say("AcceptReceipts", old.AcceptReceipts, in.AcceptReceipts)
	say("Approvals", old.Approvals, in.Approvals)
	return tx.linkChanged(id, "LinkModified", "may exchange other things now", what...)
}

// RenewCard stores a newer card of the peer. Only the server does it.
func (tx *Tx) RenewCard(id LinkID, card []byte, number int64, peerName, address, pin string) error {
	old, err := tx.link(id)
	if err != nil || number <= old.CardNumber {
		return err
	}
	if err := tx.update(`UPDATE zone_link SET card = ?, card_number = ?, peer_name = ?, address = CASE WHEN ? = '' THEN address ELSE ? END, server_pin = CASE WHEN ? = '' THEN server_pin ELSE ? END, updated_at = ? WHERE id = ?`,
		card, number, peerName, address, address, pin, pin, formatTime(tx.Now), int64(id)); err != nil {
		return err
	}
	if peerName != old.PeerName {
		_, err = tx.linkChanged(id, "LinkModified", fmt.Sprintf("now calls itself '%s' (before: '%s'); its name here stays", peerName, old.PeerName))
	}
	return err
}

// MoveLink stores where the peer was reached: where its card says, which its key signed.
// Only the server does it.
func (tx *Tx) MoveLink(id LinkID, address, pin string) error {
	old, err := tx.link(id)
	if err != nil || old.Address == address && old.ServerPin == pin {
		return err
	}
	if err := tx.update(`UPDATE zone_link SET address = ?, server_pin = ?, updated_at = ? WHERE id = ?`, address, pin, formatTime(tx.Now), int64(id)); err != nil {
		return err
	}
	_, err = tx.linkChanged(id, "LinkModified", fmt.Sprintf("is reached at %s now (before: %s), as its card says", address, old.Address))
	return err
}

func (tx *ReadTx) link(id LinkID) (Link, error) {
	l, err := scanLink(tx.queryRow(`SELECT `+linkColumns+` FROM zone_link WHERE id = ?`, int64(id)).Scan)
	return l, notFound(err, "link", id.String())
}

func (tx *ReadTx) linkByPeer(space string) (Link, error) {
	l, err := scanLink(tx.queryRow(`SELECT `+linkColumns+` FROM zone_link WHERE peer_space = ?`, space).Scan)
	return l, notFound(err, "link", space)
}

// Link returns one. Everybody in the space may see links.
func (tx *ReadTx) Link(id LinkID) (Link, error) { return tx.link(id) }

// LinkByPeer finds the link to a space by its ULID.
func (tx *ReadTx) LinkByPeer(space string) (Link, error) { return tx.linkByPeer(space) }

// LinkBy finds one by API id, local name or slug.
func (tx *ReadTx) LinkBy(text string) (Link, error) {
	n, _ := cutID(prefixLink, text)
	l, err := scanLink(tx.queryRow(`SELECT `+linkColumns+` FROM zone_link WHERE id = ? OR local_name = ? OR slug = ? ORDER BY id = ? DESC LIMIT 1`, n, text, text, n).Scan)
	return l, notFound(err, "link", text)
}

// Links lists all by local name.
func (tx *ReadTx) Links() ([]Link, error) {
	return list(tx, scanLink, `SELECT `+linkColumns+` FROM zone_link ORDER BY local_name`)
}

// LinkContact notes that the peer answered.
func (tx *Tx) LinkContact(id LinkID) error {
	tx.changed("links", "link/"+id.String(), "dashboard")
	return tx.update(`UPDATE zone_link SET last_contact_at = ?, last_error = '', attempts = 0, next_at = NULL WHERE id = ?`, formatTime(tx.Now), int64(id))
}

// LinkAlive notes that the peer answered, while it asked to be left alone with something
// else: why, and when that is tried again, stays.
func (tx *Tx) LinkAlive(id LinkID) error {
	return tx.update(`UPDATE zone_link SET last_contact_at = ? WHERE id = ?`, formatTime(tx.Now), int64(id))
}

// LinkFailure notes that the peer could not be reached, and when it is tried again.
func (tx *Tx) LinkFailure(id LinkID, reason string, next time.Time) error {
	tx.changed("links", "link/"+id.String(), "dashboard")
	return tx.update(`UPDATE zone_link SET last_error = ?, attempts = attempts + 1, next_at = ? WHERE id = ?`, reason, formatTime(next), int64(id))
}

// Invite is a one-time text with which another server links a space of its own.
type Invite struct {
	ID        int64
	SecretID  string
	Secret    []byte
	LocalName string
	Role      string // source, target, both: what this space is in the link
	Confirm   bool
	ExpiresAt time.Time
	UsedAt    *time.Time
	UsedBy    string
	CreatedBy string
	CreatedAt time.Time
}

// CreateInvite needs LinkAdminister. The secret is kept sealed, since the proof of
// the dialler is computed with it.
func (tx *Tx) CreateInvite(secretID string, secret []byte, localName, role string, confirm bool, expires time.Time) error {
	if err := tx.require(access.LinkAdminister, access.Scope{}); err != nil {
		return err
	}
	var c errs.Check
	checkName(&c, "LocalName", localName, 50)
	c.Require(role == "source" || role == "target" || role == "both", "Role", "This space is the source of releases, their target, or both.")
	c.Require(expires.After(tx.Now) && !expires.After(tx.Now.Add(24*time.Hour)), "Expires", "An invitation lasts at most 24 hours.")
	if err := c.Err(); err != nil {
		return err
	}
	sealed, err := tx.seal(secret, "invite/"+secretID)
	if err != nil {
		return err
	}
	_, err = tx.insert(`INSERT INTO zone_invite (secret, secret_id, local_name, role, confirm, expires_at, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		sealed, secretID, localName, role, confirm, formatTime(expires), formatTime(tx.Now), tx.Actor.Name)
	if err != nil {
		return err
	}
	tx.record(Event{Category: "LinkInvited", Entity: "link", Message: fmt.Sprintf("An invitation to link was made for '%s'", localName)})
	return nil
}

// Invite finds an invitation that can be used now. Errors: [errs.NotFound],
// [errs.Blocked] for one that was used or has expired.
func (tx *ReadTx) Invite(secretID string) (Invite, error) {
	var i Invite
	var expires, created string
	var used nullText
	err := tx.queryRow(`SELECT id, secret_id, secret, local_name, role, confirm, expires_at, used_at, used_by, created_by, created_at FROM zone_invite WHERE secret_id = ?`, secretID).
		Scan(&i.ID, &i.SecretID, &i.Secret, &i.LocalName, &i.Role, &i.Confirm, &expires, &used, &i.UsedBy, &i.CreatedBy, &created)
	if err != nil {
		return i, notFound(err, "invitation", secretID)
	}
	i.ExpiresAt, i.UsedAt, i.CreatedAt = parseTime(expires), parseTimePtr(used), parseTime(created)
	if i.UsedAt != nil {
		return i, errs.New(errs.Blocked, "This invitation was already used by %s.", i.UsedBy).WithHint("Make another one.")
	}
	if tx.Now.After(i.ExpiresAt) {
		return i, errs.New(errs.Blocked, "This invitation has expired.").WithHint("Make another one.")
	}
	i.Secret, err = tx.unseal(i.Secret, "invite/"+secretID)
	return i, err
}

// UseInvite marks an invitation as used, in the transaction that makes the link.
func (tx *Tx) UseInvite(id int64, by string) error {
	return tx.update(`UPDATE zone_invite SET used_at = ?, used_by = ?, secret = x'' WHERE id = ? AND used_at IS NULL`, formatTime(tx.Now), by, id)
}
