package rest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/bundle"
)

// Registration of agents and promotion between zones: ours, not Octopus's.

// newRegistration makes a token for the command "octopuses agent register".
func newRegistration(r *request) (any, error) {
	var b struct {
		EnvironmentIds, Roles []string
		Uses                  int
		Hours                 int
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	if r.s.AgentToken == nil {
		return nil, errs.New(errs.Unavailable, "This server registers no agents.")
	}
	secret, err := update(r, func(tx *spaces.Tx) (string, error) {
		in := spaces.RegistrationInput{Tags: b.Roles, Uses: b.Uses, Lasts: time.Duration(b.Hours) * time.Hour}
		for _, id := range b.EnvironmentIds {
			e, err := tx.EnvironmentBy(id)
			if err != nil {
				return "", err
			}
			in.Environments = append(in.Environments, e.ID)
		}
		return tx.CreateRegistration(in)
	})
	if err != nil {
		return nil, err
	}
	return created{R{"Token": r.s.AgentToken(secret, r.row.ID()).String()}}, nil
}

// registerAgent is called by an agent with the secret of its token; the secret alone lets
// it in. The token names the space, so that one secret is looked for in one file.
func registerAgent(r *request) (any, error) {
	var b agent.Registration
	if err := r.body(&b); err != nil {
		return nil, err
	}
	secret, spaceID, ok := strings.Cut(b.Secret, "@")
	if !ok {
		return nil, errs.New(errs.Unauthenticated, "The registration token is not valid.")
	}
	row, err := r.s.Instance.SpaceBy(r.ctx, spaceID)
	if err != nil {
		return nil, errs.New(errs.Unauthenticated, "The registration token is unknown, used up or expired.")
	}
	if r.space, err = r.s.Spaces.Acquire(r.ctx, RefOf(row)); err != nil {
		return nil, err
	}
	actor := spaces.Actor{ID: "agent", Name: "agent " + b.Name, Via: "registration token", Address: r.c.IP()}
	in := spaces.TargetInput{Name: b.Name, Thumbprint: b.Thumbprint, URI: b.Address, Style: spaces.StylePolling}
	if b.Mode == "listening" {
		in.Style = spaces.StyleListening
	}
	t, err := spaces.Update(r.ctx, r.space, actor, func(tx *spaces.Tx) (spaces.Target, error) { return tx.RegisterTarget(secret, in) })
	if err != nil {
		return nil, err
	}
	if r.s.Registered != nil {
		r.s.Registered(t.Thumbprint)
	}
	return created{agent.Registered{MachineID: t.ID.String(), Space: row.Name, Name: t.Name}}, nil
}

func (r *request) link(l spaces.Link) R {
	return R{"Id": l.ID.String(), "Ulid": l.ULID, "Name": l.LocalName, "Slug": l.Slug, "PeerSpace": l.PeerSpace, "PeerName": l.PeerName, "Words": zones.Words(l), "Mode": l.Mode, "Address": l.Address, "SendBundles": l.SendBundles, "AcceptBundles": l.AcceptBundles, "SendReceipts": l.SendReceipts, "AcceptReceipts": l.AcceptReceipts,
		"State": string(l.State), "Reason": l.Reason, "ConfirmedHow": l.ConfirmedHow, "LastContact": stamp(l.LastContactAt), "LastError": l.LastError, "Links": r.self("zones/links", l.ID.String())}
}

func zoneCard(r *request) (any, error) {
	file, card, err := r.s.Zones.Card(r.ctx, r.space)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(r.query("format"), "file") {
		r.c.Set("Content-Type", "application/vnd.octopuses.card")
		r.c.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.octid"`, r.row.Slug))
		return sent{}, r.c.Send(file)
	}
	return R{"Space": card.Space, "Name": card.Name, "Words": card.Words(), "ShortCode": card.ShortCode(), "Card": string(file)}, nil
}

func zoneLinks(r *request) (any, error) {
	all, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
	items := []R{}
	for _, l := range all {
		items = append(items, r.link(l))
	}
	return items, err
}

func zoneTrust(r *request) (any, error) {
	var b struct{ Card, Name, Words, Compared, Role string }
	if err := r.body(&b); err != nil {
		return nil, err
	}
	l, _, err := r.s.Zones.Trust(r.ctx, r.space, r.actor, zones.TrustInput{Card: []byte(b.Card), Name: b.Name, Words: b.Words, Compared: b.Compared, Role: b.Role})
	if err != nil {
		return nil, err
	}
	return created{r.link(l)}, nil
}

func zoneInvite(r *request) (any, error) {
	var b struct {
		Name, Role string
		Confirm    bool
		Minutes    int
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	if b.Minutes == 0 {
		b.Minutes = 60
	}
	i, err := r.s.Zones.Invite(r.ctx, r.space, r.actor, b.Name, b.Role, b.Confirm, time.Duration(b.Minutes)*time.Minute)
	if err != nil {
		return nil, err
	}
	return created{R{"Invitation": i.String()}}, nil
}

func zoneJoin(r *request) (any, error) {
	var b struct{ Invitation, Name, Role string }
	if err := r.body(&b); err != nil {
		return nil, err
	}
	l, err := r.s.Zones.Join(r.ctx, r.space, r.actor, b.Invitation, b.Name, b.Role)
	if err != nil {
		return nil, err
	}
	if r.s.Linked != nil {
		r.s.Linked(RefOf(r.row))
	}
	return created{r.link(l)}, nil
}

func (r *request) linkID() (spaces.LinkID, error) {
	l, err := view(r, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy(r.params["id"]) })
	return l.ID, err
}

func zoneLinkState(r *request) (any, error) {
	var b struct{ State, Reason string }
	if err := r.body(&b); err != nil {
		return nil, err
	}
	id, err := r.linkID()
	if err != nil {
		return nil, err
	}
	state := spaces.LinkState(b.State)
	if state != spaces.LinkActive && state != spaces.LinkPaused && state != spaces.LinkRevoked {
		return nil, errs.New(errs.Invalid, "A link can be made active, paused or revoked.")
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
		return nil, err
	}
	return r.link(l), nil
}

func zoneConfirm(r *request) (any, error) {
	var b struct{ Words, Compared string }
	if err := r.body(&b); err != nil {
		return nil, err
	}
	id, err := r.linkID()
	if err != nil {
		return nil, err
	}
	l, err := r.s.Zones.Confirm(r.ctx, r.space, r.actor, id, b.Words, b.Compared)
	if err != nil {
		return nil, err
	}
	return r.link(l), nil
}

func (r *request) promotion(p spaces.Promotion) R {
	return R{"Id": p.ID.String(), "Ulid": p.ULID, "LinkId": p.LinkID.String(), "LinkName": p.LinkName, "ReleaseId": p.ReleaseID.String(), "ProjectId": p.ProjectID.String(), "Version": p.Version, "CoreDigest": p.CoreDigest, "Digest": p.Digest, "State": p.State, "Reason": p.Reason, "ByHand": p.ByHand, "BytesTotal": p.BytesTotal, "BytesSent": p.BytesSent, "Created": stamp(&p.CreatedAt), "CreatedBy": p.CreatedBy,
		"Links": R{"Self": r.prefix + "/zones/promotions/" + p.ID.String(), "Bundle": r.prefix + "/zones/promotions/" + p.ID.String() + "/bundle"}}
}

func zonePromote(r *request) (any, error) {
	var b struct {
		ReleaseId, Link string
		ByHand          bool
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	rid, err := spaces.ParseReleaseID(b.ReleaseId)
	if err != nil {
		return nil, err
	}
	l, err := view(r, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy(b.Link) })
	if err != nil {
		return nil, err
	}
	p, err := r.s.Zones.Promote(r.ctx, r.space, r.actor, rid, l.ID, b.ByHand)
	if err != nil {
		return nil, err
	}
	return created{r.promotion(p)}, nil
}

func zonePromotions(r *request) (any, error) {
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
	items := []R{}
	for _, p := range all {
		items = append(items, r.promotion(p))
	}
	return items, err
}

func zonePromotion(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Promotion, error) {
		id, err := spaces.ParsePromotionID(r.params["id"])
		if err != nil {
			return spaces.Promotion{}, err
		}
		return tx.Promotion(id)
	})
	if err != nil {
		return nil, err
	}
	return r.promotion(p), nil
}

func zoneExportBundle(r *request) (any, error) {
	id, err := spaces.ParsePromotionID(r.params["id"])
	if err != nil {
		return nil, err
	}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Promotion, error) { return tx.Promotion(id) })
	if err != nil {
		return nil, err
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
		return nil, err
	}
	r.c.Set("Content-Type", "application/vnd.octopuses.bundle")
	r.c.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.octb"`, p.Version))
	return sent{}, r.c.SendStream(struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head[:n]), in), in})
}

func (r *request) inbound(i spaces.Inbound) R {
	out := R{"Id": i.ID.String(), "LinkId": i.LinkID.String(), "LinkName": i.LinkName, "ReleaseUlid": i.ReleaseULID, "ProjectName": i.ProjectName, "Version": i.Version, "CoreDigest": i.CoreDigest, "Promotion": i.PromotionULID, "State": i.State, "Reason": i.Reason, "Received": stamp(&i.ReceivedAt), "Via": i.Via, "PackagesMissing": i.Missing, "PackagesWanted": i.Wanted, "DecidedBy": i.DecidedBy, "Links": r.self("zones/inbox", i.ID.String())}
	if i.ProjectID != 0 {
		out["ProjectId"], out["ReleaseId"] = i.ProjectID.String(), i.ReleaseID.String()
	}
	return out
}

func zoneInbox(r *request) (any, error) {
	all, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(r.query("state"), 200) })
	items := []R{}
	for _, i := range all {
		items = append(items, r.inbound(i))
	}
	return items, err
}

func zoneImport(r *request) (any, error) {
	i, err := r.s.Zones.Import(r.ctx, r.space, r.actor, r.stream())
	if err != nil {
		return nil, err
	}
	return created{r.inbound(i)}, nil
}

func (r *request) inboundID() (spaces.InboundID, error) { return spaces.ParseInboundID(r.params["id"]) }

func zoneReview(r *request) (any, error) {
	id, err := r.inboundID()
	if err != nil {
		return nil, err
	}
	v, err := r.s.Zones.Review(r.ctx, r.space, r.actor, id)
	if err != nil {
		return nil, err
	}
	previous := ""
	if v.Previous != nil {
		previous = v.Previous.Version
	}
	return R{"Inbound": r.inbound(v.Inbound), "Link": r.link(v.Link), "Words": v.Words, "Path": v.Promotion.Path, "Evidence": list(v.Evidence), "Templates": list(v.Templates), "Packages": v.Promotion.Packages, "Requires": v.Promotion.Requires, "Warnings": list(v.Warnings), "Previous": previous, "ProcessChanges": list(v.Steps), "VariableChanges": list(v.Changes), "PackageChanges": list(v.Packages)}, nil
}

func zoneAccept(r *request) (any, error) {
	id, err := r.inboundID()
	if err != nil {
		return nil, err
	}
	var b struct {
		Lifecycle, ProjectGroup string
		Values                  map[string]map[string]string // environment → template → value
	}
	if err := r.body(&b); err != nil {
		return nil, err
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
		return nil, err
	}
	rel, err := r.s.Zones.Accept(r.ctx, r.space, r.actor, id, in)
	if err != nil {
		return nil, err
	}
	return created{r.release(rel)}, nil
}

func zoneReject(r *request) (any, error) {
	id, err := r.inboundID()
	if err != nil {
		return nil, err
	}
	var b struct{ Reason string }
	if err := r.body(&b); err != nil {
		return nil, err
	}
	i, err := update(r, func(tx *spaces.Tx) (spaces.Inbound, error) { return tx.RejectInbound(id, b.Reason) })
	if err != nil {
		return nil, err
	}
	return r.inbound(i), nil
}

func zoneExportReceipts(r *request) (any, error) {
	id, err := r.linkID()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if _, err := r.s.Zones.ExportReceipts(r.ctx, r.space, r.actor, id, &out); err != nil {
		return nil, err
	}
	r.c.Set("Content-Type", "application/vnd.octopuses.receipts")
	r.c.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.octr"`, r.row.Slug, time.Now().UTC().Format("2006-01-02")))
	return sent{}, r.c.Send(out.Bytes())
}

func zoneImportReceipts(r *request) (any, error) {
	n, err := r.s.Zones.ImportReceipts(r.ctx, r.space, r.actor, io.LimitReader(r.stream(), (bundle.MaxReceipt+1)*(bundle.MaxReceipts+1)))
	if err != nil {
		return nil, err
	}
	return R{"New": n}, nil
}
