package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/bundle"
)

func promotionRoutes() []Row {
	return []Row{
		post("/zones/promotions", InSpace, access.ReleasePromote, zonePromote),
		get("/zones/promotions", InSpace, access.ReleaseView, zonePromotions),
		get("/zones/promotions/:id", InSpace, access.ReleaseView, zonePromotion),
		post("/zones/promotions/:id/state", InSpace, access.LinkAdminister, zonePromotionState),
		moving(get("/zones/promotions/:id/bundle", InSpace, access.BundleExport, zoneExportBundle)),
		get("/zones/inbox", InSpace, access.ReleaseView, zoneInbox),
		moving(post("/zones/inbox", InSpace, access.BundleImport, zoneImport)),
		get("/zones/inbox/:id", InSpace, access.ReleaseView, zoneReview),
		moving(post("/zones/inbox/:id/packages", InSpace, access.BundleImport, zoneGivePackage)),
		fetching(post("/zones/inbox/:id/packages/fetch", InSpace, access.BundleImport, zoneFetchPackages)),
		post("/zones/inbox/:id/accept", InSpace, access.BundleApprove, zoneAccept),
		post("/zones/inbox/:id/reject", InSpace, access.BundleApprove, zoneReject),
		moving(get("/zones/links/:id/receipts", InSpace, access.ReceiptExport, zoneExportReceipts)),
		moving(post("/zones/receipts", InSpace, access.ReceiptImport, zoneImportReceipts)),
	}
}

func (r *request) promotion(p spaces.Promotion) fields {
	out := fields{"Id": p.ID.String(), "Ulid": p.ULID, "LinkId": p.LinkID.String(), "LinkName": p.LinkName, "ReleaseId": p.ReleaseID.String(), "ProjectId": p.ProjectID.String(), "Version": p.Version, "CoreDigest": p.CoreDigest, "Digest": p.Digest, "State": p.State, "Reason": p.Reason, "ByHand": p.ByHand, "BytesTotal": p.BytesTotal, "BytesSent": p.BytesSent, "Created": timeText(p.CreatedAt), "CreatedBy": p.CreatedBy,
		"Links": links{"Self": r.in("zones", "promotions", p.ID.String()), "Bundle": r.in("zones", "promotions", p.ID.String(), "bundle")}}
	if p.Recalled != nil {
		out["Recalled"] = fields{"Reason": p.Recalled.Reason, "At": timeText(p.Recalled.At), "By": p.Recalled.By}
	}
	return out
}

func zonePromote(r *request) error {
	b, err := readJSON[struct {
		ReleaseId, Link string
		ByHand          bool
	}](r)
	if err != nil {
		return err
	}
	rid, err := spaces.ParseReleaseID(b.ReleaseId)
	if err != nil {
		return err
	}
	l, err := view(r, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy(b.Link) })
	if err != nil {
		return err
	}
	p, err := r.s.Zones.Promote(r.ctx, r.space, r.actor, rid, l.ID, b.ByHand)
	if err != nil {
		return err
	}
	return r.created(r.promotion(p))
}

func zonePromotions(r *request) error {
	all, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Promotion, error) {
		f := spaces.PromotionFilter{State: r.query("state")}
		if id := r.query("releaseId"); id != "" {
			var err error
			if f.Release, err = spaces.ParseReleaseID(id); err != nil {
				return nil, err
			}
		}
		return tx.Promotions(f)
	})
	if err != nil {
		return err
	}
	items := []fields{}
	for _, p := range all {
		items = append(items, r.promotion(p))
	}
	return r.ok(items)
}

func zonePromotion(r *request) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Promotion, error) {
		id, err := spaces.ParsePromotionID(r.param("id"))
		if err != nil {
			return spaces.Promotion{}, err
		}
		return tx.Promotion(id)
	})
	if err != nil {
		return err
	}
	return r.ok(r.promotion(p))
}

// zonePromotionState holds a promotion in the outbox, queues it again, or cancels it.
func zonePromotionState(r *request) error {
	b, err := readJSON[struct{ State string }](r)
	if err != nil {
		return err
	}
	p, err := update(r, func(tx *spaces.Tx) (spaces.Promotion, error) {
		id, err := spaces.ParsePromotionID(r.param("id"))
		if err != nil {
			return spaces.Promotion{}, err
		}
		m, err := tx.MessageOf(id)
		if err != nil {
			return spaces.Promotion{}, err
		}
		if err := tx.SetOutbox(m.ID, b.State); err != nil {
			return spaces.Promotion{}, err
		}
		return tx.Promotion(id)
	})
	if err != nil {
		return err
	}
	return r.ok(r.promotion(p))
}

func zoneExportBundle(r *request) error {
	id, err := spaces.ParsePromotionID(r.param("id"))
	if err != nil {
		return err
	}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Promotion, error) { return tx.Promotion(id) })
	if err != nil {
		return err
	}
	// The file is streamed from a pipe: it may be larger than memory.
	in, out := io.Pipe()
	space, actor, z := r.space.Hold(), r.actor, r.s.Zones
	withPackages := !strings.EqualFold(r.query("packages"), "none")
	go func() {
		defer space.Release()
		out.CloseWithError(z.ExportBundle(r.s.Base, space, actor, id, withPackages, out))
	}()
	// The first bytes come only when permission and state are good: an error can still be told.
	head := make([]byte, 512)
	n, err := io.ReadFull(in, head)
	if err != nil {
		return err
	}
	r.Set("Content-Type", "application/vnd.octopuses.bundle")
	r.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.octb"`, p.Version))
	return r.SendStream(struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head[:n]), in), in})
}

func (r *request) inbound(i spaces.Inbound) fields {
	out := fields{"Id": i.ID.String(), "LinkId": i.LinkID.String(), "LinkName": i.LinkName, "ReleaseUlid": i.ReleaseULID, "ProjectName": i.ProjectName, "Version": i.Version, "CoreDigest": i.CoreDigest, "Promotion": i.PromotionULID, "State": i.State, "Reason": i.Reason, "Received": timeText(i.ReceivedAt), "Via": i.Via, "PackagesMissing": i.Missing, "PackagesWanted": i.Wanted, "DecidedBy": i.DecidedBy, "Links": links{"Self": r.in("zones", "inbox", i.ID.String())}}
	out["ApprovalsNeeded"], out["Approvals"], out["ValuesMissing"] = i.Needed, i.Approvals, i.Lacks
	if i.Recall != nil {
		out["Recalled"] = fields{"Reason": i.Recall.Reason, "At": timeText(i.Recall.At), "AllowedBy": i.Recall.AllowedBy, "AllowedWhy": i.Recall.AllowedWhy}
	}
	if i.ProjectID != 0 {
		out["ProjectId"], out["ReleaseId"] = i.ProjectID.String(), i.ReleaseID.String()
	}
	return out
}

func zoneInbox(r *request) error {
	states := []spaces.InboundState{}
	switch s := r.query("state"); s {
	case "":
	case "undecided":
		states = spaces.Undecided
	default:
		states = append(states, s)
	}
	all, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(200, states...) })
	if err != nil {
		return err
	}
	items := []fields{}
	for _, i := range all {
		items = append(items, r.inbound(i))
	}
	return r.ok(items)
}

func zoneImport(r *request) error {
	i, err := r.s.Zones.Import(r.ctx, r.space, r.actor, r.body)
	if err != nil {
		return err
	}
	return r.created(r.inbound(i))
}

func (r *request) inboundID() (spaces.InboundID, error) { return spaces.ParseInboundID(r.param("id")) }

func zoneReview(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	v, err := r.s.Zones.Review(r.ctx, r.space, r.actor, id, r.query("compareWith"))
	if err != nil {
		return err
	}
	previous, against := "", ""
	if v.Previous != nil {
		previous, against = v.Previous.Version, v.Against.Version
	}
	return r.ok(fields{"ComparedWith": against, "Deployed": orEmpty(v.Deployed), "Inbound": r.inbound(v.Inbound), "Link": r.link(v.Link), "Words": v.Words, "Path": v.Promotion.Path, "Evidence": orEmpty(v.Evidence), "Templates": orEmpty(v.Templates), "Packages": v.Promotion.Packages, "Requires": v.Promotion.Requires, "Warnings": orEmpty(v.Warnings), "Previous": previous, "ProcessChanges": orEmpty(v.Steps), "VariableChanges": orEmpty(v.Changes), "PackageChanges": orEmpty(v.Packages)})
}

// zoneGivePackage takes a package file that the release lacks, of any name.
func zoneGivePackage(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	awaited, err := r.s.Zones.Awaited(r.ctx, r.space, r.actor, id)
	if err != nil {
		return err
	}
	name, file, err := r.upload(r.s.MaxPackage)
	if err != nil {
		return err
	}
	a, err := r.s.Zones.GivePackage(r.ctx, r.space, r.actor, awaited, name, file)
	if err != nil {
		return err
	}
	return r.ok(fields{"PackageId": a.ID, "Version": a.Version, "Digest": a.Digest, "Size": a.Size})
}

// zoneFetchPackages gets the package files that the release lacks from a feed outside.
func zoneFetchPackages(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	b, err := readJSON[struct{ FeedID string }](r)
	if err != nil {
		return err
	}
	if r.s.Feeds == nil {
		return errs.New(errs.Unavailable, "This server calls no feeds.")
	}
	fetched, err := r.s.Zones.FetchPackages(r.ctx, r.space, r.actor, id, func(ctx context.Context, packageID, version string) (io.ReadCloser, error) {
		return r.s.Feeds.File(ctx, r.space, r.actor, b.FeedID, packageID, version)
	})
	if err != nil {
		return err
	}
	out := []fields{}
	for _, a := range fetched {
		out = append(out, fields{"PackageId": a.ID, "Version": a.Version, "Digest": a.Digest, "Size": a.Size})
	}
	return r.ok(out)
}

func zoneAccept(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	b, err := readJSON[struct {
		Lifecycle, ProjectGroup string
		Values                  map[string]map[string]string // environment → template → value
	}](r)
	if err != nil {
		return err
	}
	in, err := view(r, func(tx *spaces.ReadTx) (zones.AcceptInput, error) {
		in := zones.AcceptInput{Values: map[spaces.EnvironmentID]map[string]string{}}
		if b.Lifecycle != "" {
			l, err := tx.LifecycleBy(b.Lifecycle)
			if err != nil {
				return in, err
			}
			in.LifecycleID = l.ID
		}
		if b.ProjectGroup != "" {
			g, err := tx.ProjectGroupBy(b.ProjectGroup)
			if err != nil {
				return in, err
			}
			in.GroupID = g.ID
		}
		for name, values := range b.Values {
			e, err := tx.EnvironmentBy(name)
			if err != nil {
				return in, err
			}
			in.Values[e.ID] = values
		}
		return in, nil
	})
	if err != nil {
		return err
	}
	rel, err := r.s.Zones.Accept(r.ctx, r.space, r.actor, id, in)
	if err != nil {
		return err
	}
	return r.created(r.releaseResource(rel))
}

func zoneReject(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	b, err := readJSON[struct{ Reason string }](r)
	if err != nil {
		return err
	}
	i, err := update(r, func(tx *spaces.Tx) (spaces.Inbound, error) { return tx.RejectInbound(id, b.Reason) })
	if err != nil {
		return err
	}
	return r.ok(r.inbound(i))
}

func zoneExportReceipts(r *request) error {
	id, err := r.linkID()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if _, err := r.s.Zones.ExportReceipts(r.ctx, r.space, r.actor, id, &out); err != nil {
		return err
	}
	r.Set("Content-Type", "application/vnd.octopuses.receipts")
	r.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.octr"`, r.about.Slug, time.Now().UTC().Format("2006-01-02")))
	return r.Send(out.Bytes())
}

func zoneImportReceipts(r *request) error {
	n, err := r.s.Zones.ImportReceipts(r.ctx, r.space, r.actor, io.LimitReader(r.body, (bundle.MaxReceipt+1)*(bundle.MaxReceipts+1)))
	if err != nil {
		return err
	}
	return r.ok(fields{"New": n})
}
