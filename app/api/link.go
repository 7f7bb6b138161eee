package api

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones"
)

// Zones are ours: Octopus has nothing like them. docs/api-divergences.md lists the rows.
func linkRoutes() []Row {
	return []Row{
		get("/zones/card", InSpace, access.ReleaseView, zoneCard),
		get("/zones/links", InSpace, access.ReleaseView, zoneLinks),
		post("/zones/links/trust", InSpace, access.LinkAdminister, zoneTrust),
		post("/zones/links/invite", InSpace, access.LinkAdminister, zoneInvite),
		post("/zones/links/join", InSpace, access.LinkAdminister, zoneJoin),
		put("/zones/links/:id", InSpace, access.LinkAdminister, zoneLinkUpdate),
		post("/zones/links/:id/state", InSpace, access.LinkAdminister, zoneLinkState),
		post("/zones/links/:id/confirm", InSpace, access.LinkAdminister, zoneConfirm),
	}
}

// fields are a resource of ours that no client of Octopus's models.
type fields map[string]any

func (r *request) link(l spaces.Link) fields {
	return fields{"Id": l.ID.String(), "Ulid": l.ULID, "Name": l.LocalName, "Slug": l.Slug, "PeerSpace": l.PeerSpace, "PeerName": l.PeerName, "Words": zones.Words(l), "Mode": l.Mode, "Address": l.Address, "SendBundles": l.SendBundles, "AcceptBundles": l.AcceptBundles, "SendReceipts": l.SendReceipts, "AcceptReceipts": l.AcceptReceipts, "Approvals": l.Approvals,
		"State": string(l.State), "Reason": l.Reason, "ConfirmedHow": l.ConfirmedHow, "LastContact": l.LastContactAt, "LastError": l.LastError, "Links": links{"Self": r.in("zones", "links", l.ID.String())}}
}

func zoneCard(r *request) error {
	file, card, err := r.s.Zones.Card(r.ctx, r.space)
	if err != nil {
		return err
	}
	if strings.EqualFold(r.query("format"), "file") {
		r.Set("Content-Type", "application/vnd.octopuses.card")
		r.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.octid"`, r.about.Slug))
		return r.Send(file)
	}
	return r.ok(fields{"Space": card.Space, "Name": card.Name, "Words": card.Words(), "ShortCode": card.ShortCode(), "Card": string(file)})
}

func zoneLinks(r *request) error {
	all, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
	if err != nil {
		return err
	}
	items := []fields{}
	for _, l := range all {
		items = append(items, r.link(l))
	}
	return r.ok(items)
}

func zoneTrust(r *request) error {
	b, err := readJSON[struct{ Card, Name, Words, Compared, Role string }](r)
	if err != nil {
		return err
	}
	l, _, err := r.s.Zones.Trust(r.ctx, r.space, r.actor, zones.TrustInput{Card: []byte(b.Card), Name: b.Name, Words: b.Words, Compared: b.Compared, Role: b.Role})
	if err != nil {
		return err
	}
	return r.created(r.link(l))
}

func zoneInvite(r *request) error {
	b, err := readJSON[struct {
		Name, Role string
		Confirm    bool
		Minutes    int
	}](r)
	if err != nil {
		return err
	}
	if b.Minutes == 0 {
		b.Minutes = 60
	}
	i, err := r.s.Zones.Invite(r.ctx, r.space, r.actor, b.Name, b.Role, b.Confirm, time.Duration(b.Minutes)*time.Minute)
	if err != nil {
		return err
	}
	return r.created(fields{"Invitation": i.String()})
}

func zoneJoin(r *request) error {
	b, err := readJSON[struct{ Invitation, Name, Role string }](r)
	if err != nil {
		return err
	}
	l, err := r.s.Zones.Join(r.ctx, r.space, r.actor, b.Invitation, b.Name, b.Role)
	if err != nil {
		return err
	}
	return r.created(r.link(l))
}

func (r *request) linkID() (spaces.LinkID, error) {
	l, err := view(r, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy(r.param("id")) })
	return l.ID, err
}

// zoneLinkUpdate changes the name of a link and what may flow over it; what is left out
// stays.
func zoneLinkUpdate(r *request) error {
	b, err := readJSON[struct {
		Name, SendReceipts                         *string
		SendBundles, AcceptBundles, AcceptReceipts *bool
		Approvals                                  *int
	}](r)
	if err != nil {
		return err
	}
	l, err := update(r, func(tx *spaces.Tx) (spaces.Link, error) {
		l, err := tx.LinkBy(r.param("id"))
		if err != nil {
			return l, err
		}
		in := spaces.LinkFlows{LocalName: l.LocalName, SendBundles: l.SendBundles, AcceptBundles: l.AcceptBundles, SendReceipts: l.SendReceipts, AcceptReceipts: l.AcceptReceipts, Approvals: l.Approvals}
		given(b.Name, &in.LocalName)
		given(b.SendBundles, &in.SendBundles)
		given(b.AcceptBundles, &in.AcceptBundles)
		given(b.SendReceipts, &in.SendReceipts)
		given(b.AcceptReceipts, &in.AcceptReceipts)
		given(b.Approvals, &in.Approvals)
		return tx.UpdateLink(l.ID, in)
	})
	if err != nil {
		return err
	}
	return r.ok(r.link(l))
}

// given takes over what a body holds.
func given[T any](from *T, to *T) {
	if from != nil {
		*to = *from
	}
}

func zoneLinkState(r *request) error {
	b, err := readJSON[struct{ State, Reason string }](r)
	if err != nil {
		return err
	}
	id, err := r.linkID()
	if err != nil {
		return err
	}
	state := spaces.LinkState(b.State)
	if state != spaces.LinkActive && state != spaces.LinkPaused && state != spaces.LinkRevoked {
		return errs.New(errs.Invalid, "A link can be made active, paused or revoked.")
	}
	l, err := update(r, func(tx *spaces.Tx) (spaces.Link, error) {
		old, err := tx.Link(id)
		if err != nil {
			return old, err
		}
		if state == spaces.LinkActive && old.State == spaces.LinkAwaiting {
			return old, old.Usable() // only by comparing words
		}
		return tx.SetLinkState(id, state, b.Reason, "")
	})
	if err != nil {
		return err
	}
	return r.ok(r.link(l))
}

func zoneConfirm(r *request) error {
	b, err := readJSON[struct{ Words, Compared string }](r)
	if err != nil {
		return err
	}
	id, err := r.linkID()
	if err != nil {
		return err
	}
	l, err := r.s.Zones.Confirm(r.ctx, r.space, r.actor, id, b.Words, b.Compared)
	if err != nil {
		return err
	}
	return r.ok(r.link(l))
}
