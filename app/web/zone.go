package web

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
	pages "octopuses.dev/octopuses/views/zones"
	"octopuses.dev/octopuses/zones"
)

func zoneRoutes() []route {
	const p = "/spaces/:space/zones"
	return []route{
		get(p, inSpace, access.ReleaseView, zoneList),
		get(p+"/card", inSpace, access.ReleaseView, zoneCard),
		get(p+"/link", inSpace, access.LinkAdminister, linkWizard),
		post(p+"/invite", inSpace, access.LinkAdminister, inviteZone),
		post(p+"/join", inSpace, access.LinkAdminister, joinZone),
		post(p+"/trust", inSpace, access.LinkAdminister, trustCard),
		get(p+"/links/:link", inSpace, access.ReleaseView, linkPage),
		post(p+"/links/:link/confirm", inSpace, access.LinkAdminister, confirmLink),
		post(p+"/links/:link/settings", inSpace, access.LinkAdminister, changeFlows),
		post(p+"/links/:link/state", inSpace, access.LinkAdminister, changeLink),
		get(p+"/links/:link/receipts", inSpace, access.ReceiptExport, exportReceipts),
	}
}

func linkTone(l spaces.Link) (ui.Tone, string) { return healthTone(l.Health(), time.Now()) }

func healthTone(l spaces.LinkHealth, now time.Time) (ui.Tone, string) {
	switch l.State {
	case spaces.LinkAwaiting:
		return ui.Waiting, "Compare the words"
	case spaces.LinkActive:
		switch {
		case l.Mode == spaces.ModeByHand:
			return ui.Good, "Active, by hand"
		case l.LastError != "":
			return ui.Waiting, "Out of reach"
		case l.Cut(now):
			return ui.Waiting, "Silent"
		}
		return ui.Good, "Active"
	case spaces.LinkPaused:
		return ui.Idle, "Paused"
	case spaces.LinkRevoked:
		return ui.Idle, "Ended"
	case spaces.LinkBroken:
		return ui.Bad, "Suspended"
	}
	return ui.Idle, string(l.State)
}

func linkRow(l spaces.Link, queue int) pages.Link {
	out := pages.Link{ID: l.ID.String(), Name: l.LocalName, Peer: l.PeerName, Reason: l.Reason, Address: l.Address, Server: l.ServerPin, Sends: l.SendBundles, Takes: l.AcceptBundles, Queue: queue, Contact: when(l.LastContactAt), LastError: l.LastError}
	out.Tone, out.Word = linkTone(l)
	var flow []string
	for _, f := range []struct {
		on   bool
		word string
	}{{l.SendBundles, "releases go there"}, {l.AcceptReceipts, "receipts come back"}, {l.AcceptBundles, "releases come from there"}, {l.SendReceipts != "none", "receipts go back"}} {
		if f.on {
			flow = append(flow, f.word)
		}
	}
	if out.Flow = strings.Join(flow, ", "); out.Flow == "" {
		out.Flow = "nothing"
	}
	switch l.Mode {
	case spaces.ModeWeDial:
		out.Mode = "this server connects"
	case spaces.ModeTheyDial:
		out.Mode = "the other server connects"
	case spaces.ModeByHand:
		out.Mode, out.Address = "as files, by hand", ""
	}
	return out
}

func zoneList(r *request) error {
	m := pages.Zones{Wall: r.Query("wall") == "true"}
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		all, err := tx.Links()
		if err != nil {
			return struct{}{}, err
		}
		queues, err := tx.QueueLengths()
		if err != nil {
			return struct{}{}, err
		}
		for _, l := range all {
			if l.State != spaces.LinkRevoked {
				m.Links = append(m.Links, linkRow(l, queues[l.ID]))
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	m.CanLink, m.Why = r.can(access.LinkAdminister, access.Scope{})
	m.Page = r.pageFor("Zones", "Zones", "links", "outbox", "promotions")
	return r.show(pages.ShowZones(m), map[string]templ.Component{"zones": pages.ZonesPart(m)})
}

func zoneCard(r *request) error {
	file, _, err := r.s.Zones.Card(r.ctx, r.space)
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, "application/vnd.octopuses.card")
	r.Attachment(r.about.Slug + ".octid")
	return r.Send(file)
}

func (r *request) wizard() (pages.Wizard, error) {
	m := pages.Wizard{Role: "target"}
	_, card, err := r.s.Zones.Card(r.ctx, r.space)
	if err != nil {
		return m, err
	}
	m.Words, m.ShortCode, m.Address = card.Words(), card.ShortCode(), card.Address
	m.Network = card.Address != ""
	m.Page = r.pageFor("Link a zone", "Zones")
	m.Page.Crumbs = []ui.Crumb{{Label: "Zones", Href: views.ZonesURL(r.about.Slug)}, {Label: "Link a zone"}}
	return m, nil
}

func linkWizard(r *request) error {
	m, err := r.wizard()
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, pages.ShowWizard(m))
}

// wizardAgain draws the wizard with what is wrong with one of its forms.
func (r *request) wizardAgain(cause error, fill func(*pages.Wizard, []ui.FieldError)) error {
	m, err := r.wizard()
	if err != nil {
		return err
	}
	return r.again(cause, nil, func(e []ui.FieldError) templ.Component { fill(&m, e); return pages.ShowWizard(m) })
}

func inviteZone(r *request) error {
	i, err := r.s.Zones.Invite(r.ctx, r.space, r.actor, r.value("name"), r.value("role"), r.checked("confirm"), time.Hour)
	if err != nil {
		return r.wizardAgain(err, func(m *pages.Wizard, e []ui.FieldError) { m.InviteErrors = e })
	}
	m, err := r.wizard()
	if err != nil {
		return err
	}
	m.Invitation = i.String() // shown this once, so not after a redirect
	return r.render(fiber.StatusOK, pages.ShowWizard(m))
}

func joinZone(r *request) error {
	token := r.value("invitation")
	l, err := r.s.Zones.Join(r.ctx, r.space, r.actor, token, r.value("name"), r.value("role"))
	if err != nil {
		return r.wizardAgain(err, func(m *pages.Wizard, e []ui.FieldError) { m.JoinErrors, m.Token = e, token })
	}
	if r.s.Linked != nil {
		r.s.Linked(ref(r.about))
	}
	return r.see(views.LinkURL(r.about.Slug, l.ID.String()))
}

func trustCard(r *request) error {
	// A form sends line ends as CR LF; a card has one line.
	text := strings.TrimSpace(r.form.Get("card")) + "\n"
	in := zones.TrustInput{Card: []byte(text), Name: r.value("name"), Words: r.value("words"), Compared: r.value("compared"), Role: r.value("role")}
	l, card, err := r.s.Zones.Trust(r.ctx, r.space, r.actor, in)
	if err != nil {
		return r.wizardAgain(err, func(m *pages.Wizard, e []ui.FieldError) {
			m.TrustErrors, m.Card, m.Name, m.Role = e, r.form.Get("card"), in.Name, in.Role
			if card != nil {
				m.Theirs = card.Words()
			}
		})
	}
	return r.see(views.LinkURL(r.about.Slug, l.ID.String()))
}

func linkPage(r *request) error { return r.linkWith(nil) }

func (r *request) link(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy(r.param("link")) }

func (r *request) linkWith(cause error) error {
	var queue int
	l, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Link, error) {
		l, err := r.link(tx)
		if err != nil {
			return l, err
		}
		queues, err := tx.QueueLengths()
		queue = queues[l.ID]
		return l, err
	})
	if err != nil {
		return err
	}
	m := pages.LinkPage{Link: linkRow(l, queue), State: string(l.State), Words: zones.Words(l), ConfirmedHow: l.ConfirmedHow, Space: l.PeerSpace, Receipts: "none go back"}
	switch l.SendReceipts {
	case "state":
		m.Receipts = "states go back"
	case "summary":
		m.Receipts = "states go back, with names, durations and counts of steps"
	}
	m.Flows = pages.Flows{Name: l.LocalName, SendBundles: l.SendBundles, AcceptBundles: l.AcceptBundles, SendReceipts: l.SendReceipts, AcceptReceipts: l.AcceptReceipts, Approvals: l.Approvals}
	if cause != nil {
		m.Errors = complaints(cause, nil)
	}
	m.CanChange, m.Why = r.can(access.LinkAdminister, access.Scope{})
	m.CanExport, m.ExportWhy = r.can(access.ReceiptExport, access.Scope{})
	m.Page = r.pageFor(l.LocalName, "Zones", "links", "outbox")
	m.Page.Crumbs = []ui.Crumb{{Label: "Zones", Href: views.ZonesURL(r.about.Slug)}, {Label: l.LocalName}}
	status := fiber.StatusOK
	if cause != nil {
		status = statusOf(cause, true)
	}
	return r.render(status, pages.ShowLink(m))
}

// linkChanged answers a form of the link's page.
func (r *request) linkChanged(l spaces.Link, err error) error {
	switch errs.KindOf(err) {
	case errs.Invalid, errs.Blocked, errs.Stale:
		return r.linkWith(err)
	}
	if err != nil {
		return err
	}
	return r.see(views.LinkURL(r.about.Slug, l.ID.String()))
}

func confirmLink(r *request) error {
	l, err := spaces.View(r.ctx, r.space, r.actor, r.link)
	if err != nil {
		return err
	}
	l, err = r.s.Zones.Confirm(r.ctx, r.space, r.actor, l.ID, r.value("words"), r.value("compared"))
	return r.linkChanged(l, err)
}

func changeLink(r *request) error {
	to := spaces.LinkState(r.value("state"))
	l, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Link, error) {
		l, err := r.link(tx.ReadTx)
		if err != nil {
			return l, err
		}
		switch {
		case to == spaces.LinkActive && l.State == spaces.LinkPaused, to == spaces.LinkPaused && l.State == spaces.LinkActive:
		case to == spaces.LinkRevoked:
			if r.value("name") != l.LocalName {
				return l, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "name", Message: fmt.Sprintf("Type %s to end this link.", l.LocalName)}}}
			}
		default:
			return l, errs.New(errs.Blocked, "The link is %s; it cannot be made %s.", l.State, to)
		}
		return tx.SetLinkState(l.ID, to, "", "")
	})
	return r.linkChanged(l, err)
}

func exportReceipts(r *request) error {
	l, err := spaces.View(r.ctx, r.space, r.actor, r.link)
	if err != nil {
		return err
	}
	var out bytes.Buffer // at most bundle.MaxReceipts of bundle.MaxReceipt bytes, and some KiB as a rule
	n, err := r.s.Zones.ExportReceipts(r.ctx, r.space, r.actor, l.ID, &out)
	if err != nil {
		return err
	}
	if n == 0 {
		return errs.New(errs.Blocked, "There is no receipt that %s has not acknowledged.", l.LocalName)
	}
	r.Set(fiber.HeaderContentType, "application/vnd.octopuses.receipts")
	r.Attachment(fmt.Sprintf("%s-%s.octr", r.about.Slug, time.Now().UTC().Format("2006-01-02")))
	return r.Send(out.Bytes())
}
