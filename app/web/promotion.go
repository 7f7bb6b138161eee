package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"slices"
	"strconv"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
	pages "octopuses.dev/octopuses/views/zones"
	"octopuses.dev/octopuses/zones/bundle"
)

func promotionRoutes() []route {
	const p = "/spaces/:space/promotions"
	return []route{
		get(p, inSpace, access.ReleaseView, inbox),
		takesFile(post(p+"/import", inSpace, access.BundleImport, importBundle)),
		get(p+"/outbox", inSpace, access.ReleaseView, outbox),
		takesFile(post(p+"/outbox/receipts", inSpace, access.ReceiptImport, importReceipts)),
		get(p+"/inbox/:inbound", inSpace, access.ReleaseView, review),
		takesFile(post(p+"/inbox/:inbound/packages", inSpace, access.BundleImport, givePackage)),
		post(p+"/inbox/:inbound/packages/fetch", inSpace, access.BundleImport, fetchInbound),
		post(p+"/inbox/:inbound/accept", inSpace, access.BundleApprove, acceptInbound),
		post(p+"/inbox/:inbound/approve", inSpace, access.BundleApprove, approveInbound),
		post(p+"/inbox/:inbound/allow", inSpace, access.BundleApprove, allowRecalled),
		post(p+"/inbox/:inbound/reject", inSpace, access.BundleApprove, rejectInbound),
		get(p+"/:promotion", inSpace, access.ReleaseView, promotionPage),
		get(p+"/:promotion/bundle", inSpace, access.BundleExport, exportBundle),
		post(p+"/:promotion/recall", inSpace, access.ReleasePromote, recallPromotion),
		get(p+"/:promotion/recall", inSpace, access.BundleExport, exportRecall),
		post(p+"/:promotion/do", inSpace, access.LinkAdminister, controlMessage),
	}
}

const promotionRows = 100

func inboundTone(state string) (ui.Tone, string) {
	switch state {
	case spaces.InboundIncomplete:
		return ui.Waiting, "Packages are missing"
	case spaces.InboundAwaiting:
		return ui.Waiting, "Waits for approval"
	case spaces.InboundNeedsInput:
		return ui.Waiting, "Asks for values"
	case spaces.InboundVerified:
		return ui.Waiting, "Waits for a decision"
	case spaces.InboundRecalled:
		return ui.Bad, "Recalled"
	case "accepted":
		return ui.Good, "Accepted"
	case "rejected":
		return ui.Bad, "Rejected"
	case "superseded":
		return ui.Idle, "Superseded"
	}
	return ui.Idle, state
}

func promotionTone(state string) (ui.Tone, string) {
	switch state {
	case "preparing":
		return ui.Running, "Being prepared"
	case "queued":
		return ui.Running, "Queued"
	case "handed over":
		return ui.Waiting, "Handed over as a file"
	case "held":
		return ui.Waiting, "Held"
	case "canceled":
		return ui.Idle, "Canceled"
	case "delivered":
		return ui.Running, "In their inbox"
	case "refused":
		return ui.Bad, "Refused"
	case "rejected":
		return ui.Bad, "Rejected"
	case "superseded":
		return ui.Idle, "Superseded"
	case "recalled":
		return ui.Idle, "Recalled"
	case "accepted":
		return ui.Good, "Accepted"
	case "deploying":
		return ui.Running, "Being deployed"
	case "deployed":
		return ui.Good, "Deployed"
	case "failed":
		return ui.Bad, "Failed"
	}
	return ui.Idle, state
}

// receiptWords is what a receipt says, for people.
func receiptWords(kind string) string {
	words := map[string]string{bundle.Received: "It came and its signature holds", bundle.NeedsInput: "Values are missing", bundle.Refused: "Refused by the program", bundle.Accepted: "Accepted", bundle.Rejected: "Rejected", bundle.Superseded: "Superseded by a later release", bundle.Recalled: "Recalled",
		bundle.DeploymentQueued: "Deployment queued", bundle.DeploymentStarted: "Deployment started", bundle.DeploymentSucceeded: "Deployment succeeded", bundle.DeploymentFailed: "Deployment failed", bundle.DeploymentCanceled: "Deployment canceled"}
	if w := words[kind]; w != "" {
		return w
	}
	return kind
}

func viaWords(via string) string {
	if via == "link" {
		return "the link"
	}
	return via
}

func inboundRow(i spaces.Inbound) pages.Inbound {
	row := pages.Inbound{ID: i.ID.String(), Project: i.ProjectName, Version: i.Version, From: i.LinkName, Via: viaWords(i.Via), At: i.ReceivedAt}
	row.Tone, row.Word = inboundTone(i.State)
	switch i.State {
	case "incomplete":
		row.Asked = fmt.Sprintf("%d of %d package files are not here yet. They come over the link, or in a file.", i.Missing, i.Wanted)
	case spaces.InboundAwaiting:
		row.Asked = fmt.Sprintf("%d of %d approvals are here.", i.Approvals, i.Needed)
	case spaces.InboundNeedsInput:
		row.Asked = fmt.Sprintf("%d of its values are not set here yet.", i.Lacks)
	case "superseded":
		row.Asked = "A later release came before anybody decided."
	}
	return row
}

func inbox(r *request) error {
	m, err := r.inboxOf()
	if err != nil {
		return err
	}
	return r.show(pages.ShowInbox(m), map[string]templ.Component{"inbox": pages.InboxRows(m)})
}

func (r *request) inboxOf() (pages.Inbox, error) {
	var m pages.Inbox
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		all, err := tx.Inbox(promotionRows)
		if err != nil {
			return struct{}{}, err
		}
		for _, i := range all {
			m.Rows = append(m.Rows, inboundRow(i))
		}
		links, err := tx.Links()
		m.Linked = slices.ContainsFunc(links, func(l spaces.Link) bool { return l.AcceptBundles })
		return struct{}{}, err
	})
	m.Page = r.pageFor("Promotions", "Promotions", "inbox", "promotions")
	m.Waiting = m.Page.Inbox
	m.CanImport, m.Why = r.can(access.BundleImport, access.Scope{})
	return m, err
}

// onlyFile is the one file of a form.
func (r *request) onlyFile() (*multipart.Part, error) {
	part, err := r.parts.NextPart()
	if err == io.EOF || err == nil && part.FileName() == "" {
		return nil, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Message: "Choose a file first."}}}
	}
	if err != nil {
		return nil, brokenUpload(err)
	}
	return part, nil
}

func importBundle(r *request) error {
	in, err := func() (spaces.Inbound, error) {
		part, err := r.onlyFile()
		if err != nil {
			return spaces.Inbound{}, err
		}
		return r.s.Zones.Import(r.ctx, r.space, r.actor, filePart{part})
	}()
	if err != nil {
		m, e := r.inboxOf()
		if e != nil {
			return e
		}
		return r.again(err, nil, func(e []ui.FieldError) templ.Component { m.Errors = e; return pages.ShowInbox(m) })
	}
	return r.see(views.InboundURL(r.about.Slug, in.ID.String()))
}

// givePackage takes a package file of an inbound release that a person brought.
func givePackage(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	awaited, err := r.s.Zones.Awaited(r.ctx, r.space, r.actor, id)
	if err != nil {
		return err
	}
	part, err := r.onlyFile()
	if err == nil {
		_, err = r.s.Zones.GivePackage(r.ctx, r.space, r.actor, awaited, part.FileName(), filePart{part})
	}
	if err != nil {
		return r.decisionFailed(err)
	}
	return r.see(views.InboundURL(r.about.Slug, id.String()))
}

func outboundRow(p spaces.Promotion, project string) pages.Outbound {
	row := pages.Outbound{ID: p.ID.String(), Project: project, Version: p.Version, To: p.LinkName, Reason: p.Reason, By: p.CreatedBy, Sent: p.BytesSent, Total: p.BytesTotal, At: p.CreatedAt}
	row.Tone, row.Word = promotionTone(p.State)
	return row
}

func outbox(r *request) error {
	m, err := r.outboxOf()
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(r.Query("new")); err == nil && n >= 0 {
		m.Page.Notice = &ui.NoticeProps{Tone: ui.Good, Text: fmt.Sprintf("The file was read: %d new receipts.", n)}
	}
	return r.show(pages.ShowOutbox(m), map[string]templ.Component{"outbox": pages.OutboxRows(m)})
}

func (r *request) outboxOf() (pages.Outbox, error) {
	var m pages.Outbox
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		all, err := tx.Promotions(spaces.PromotionFilter{Take: promotionRows})
		if err != nil {
			return struct{}{}, err
		}
		names, err := projectNames(tx)
		if err != nil {
			return struct{}{}, err
		}
		for _, p := range all {
			if x, ok := names[p.ProjectID]; ok {
				m.Rows = append(m.Rows, outboundRow(p, x.Name))
			}
		}
		return struct{}{}, nil
	})
	m.Page = r.pageFor("Promotions", "Promotions", "promotions", "outbox", "links")
	m.Waiting = m.Page.Inbox
	m.CanImport, m.Why = r.can(access.ReceiptImport, access.Scope{})
	return m, err
}

// projectNames are the projects that the person may see.
func projectNames(tx *spaces.ReadTx) (map[spaces.ProjectID]spaces.Project, error) {
	all, err := tx.Projects(0, spaces.All)
	if err != nil {
		return nil, err
	}
	out := make(map[spaces.ProjectID]spaces.Project, len(all.Items))
	for _, p := range all.Items {
		out[p.ID] = p
	}
	return out, nil
}

func importReceipts(r *request) error {
	n, err := func() (int, error) {
		part, err := r.onlyFile()
		if err != nil {
			return 0, err
		}
		return r.s.Zones.ImportReceipts(r.ctx, r.space, r.actor, io.LimitReader(filePart{part}, (bundle.MaxReceipt+1)*(bundle.MaxReceipts+1)))
	}()
	if err != nil {
		m, e := r.outboxOf()
		if e != nil {
			return e
		}
		return r.again(err, nil, func(e []ui.FieldError) templ.Component { m.Errors = e; return pages.ShowOutbox(m) })
	}
	return r.see(views.OutboxURL(r.about.Slug) + "?new=" + strconv.Itoa(n))
}

func promotionPage(r *request) error { return r.promotionWith(nil) }

func (r *request) promotionID() (spaces.PromotionID, error) {
	id, err := spaces.ParsePromotionID(r.param("promotion"))
	if err != nil {
		return id, errs.Missing("promotion", r.param("promotion"))
	}
	return id, nil
}

func (r *request) promotionWith(cause error) error {
	id, err := r.promotionID()
	if err != nil {
		return err
	}
	slug := r.about.Slug
	m := pages.Promotion{}
	if cause != nil {
		m.Errors = complaints(cause, nil)
	}
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Promotion, error) {
		p, err := tx.Promotion(id)
		if err != nil {
			return p, err
		}
		project, err := tx.Project(p.ProjectID)
		if err != nil {
			return p, err
		}
		rel, err := tx.Release(p.ReleaseID)
		if err != nil {
			return p, err
		}
		m.Row = outboundRow(p, project.Name)
		m.Recall, m.Recallable = recallOf(p)
		m.CanRecall, m.RecallWhy = r.can(access.ReleasePromote, project.Scope())
		m.Release, m.Link, m.Core, m.Digest = views.ReleaseURL(slug, project.Slug, p.Version), views.LinkURL(slug, p.LinkID.String()), p.CoreDigest, p.Digest
		said, err := tx.Receipts(rel)
		if err != nil {
			return p, err
		}
		for _, x := range said {
			if x.LinkName == p.LinkName {
				m.Receipts = append(m.Receipts, pages.Receipt{Kind: receiptWords(x.Kind), Environment: x.Environment, Attempt: x.Attempt, Seq: x.Seq, Issued: x.IssuedAt, Received: x.ReceivedAt, Via: viaWords(x.Via)})
			}
		}
		l, err := tx.Link(p.LinkID)
		if err != nil {
			return p, err
		}
		item, err := tx.MessageOf(id)
		if errors.Is(err, errs.NotFound) {
			return p, nil
		}
		if err != nil {
			return p, err
		}
		if item.State == "queued" || item.State == "held" {
			m.Message, m.State = item.ID, item.State
			if item.State == "queued" && !p.ByHand {
				m.Attempts, m.LastError, m.Next = l.Attempts, l.LastError, when(l.NextAt)
			}
		}
		return p, nil
	})
	if err != nil {
		return err
	}
	m.CanControl, m.ControlWhy = r.can(access.LinkAdminister, access.Scope{})
	if m.CanExport, m.ExportWhy = r.can(access.BundleExport, access.Scope{}); m.CanExport && m.Digest == "" {
		m.CanExport, m.ExportWhy = false, "It is not signed yet."
	}
	m.Page = r.pageFor(m.Row.Project+" "+p.Version, "Promotions", "promotions", "outbox", "links")
	m.Page.Crumbs = []ui.Crumb{{Label: "Outbox", Href: views.OutboxURL(slug)}, {Label: m.Row.Project + " " + p.Version}}
	if cause != nil {
		return r.render(statusOf(cause, true), pages.ShowPromotion(m))
	}
	return r.show(pages.ShowPromotion(m), map[string]templ.Component{"promotion": pages.PromotionPart(m)})
}

func controlMessage(r *request) error {
	id, err := r.promotionID()
	if err != nil {
		return err
	}
	err = spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error {
		item, err := tx.MessageOf(id)
		if err != nil {
			return err
		}
		return tx.SetOutbox(item.ID, r.value("do"))
	})
	if err != nil {
		switch errs.KindOf(err) {
		case errs.Invalid, errs.Blocked, errs.Stale:
			return r.promotionWith(err)
		}
		return err
	}
	return r.see(views.PromotionURL(r.about.Slug, id.String()))
}

// exportBundle streams the file: it may be larger than memory.
func exportBundle(r *request) error {
	id, err := r.promotionID()
	if err != nil {
		return err
	}
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Promotion, error) { return tx.Promotion(id) })
	if err != nil {
		return err
	}
	withPackages := r.Query("packages") != "none"
	in, out := io.Pipe()
	space, actor, z := r.space.Hold(), r.actor, r.s.Zones
	base, cancel := context.WithCancel(r.s.Base)
	go func() {
		defer space.Release()
		out.CloseWithError(z.ExportBundle(base, space, actor, id, withPackages, out))
	}()
	// The first bytes come only when permission and state are good: an error can still be told.
	head := make([]byte, 512)
	n, err := io.ReadFull(in, head)
	if err != nil {
		cancel()
		return err
	}
	r.Set(fiber.HeaderContentType, "application/vnd.octopuses.bundle")
	r.Attachment(p.Version + ".octb")
	return r.SendStream(&export{io.MultiReader(bytes.NewReader(head[:n]), in), in, cancel})
}

// export ends its writer when nobody reads any more.
type export struct {
	io.Reader
	pipe   *io.PipeReader
	cancel func()
}

func (e *export) Close() error {
	e.cancel()
	return e.pipe.Close()
}
