package zones

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/zones/bundle"
)

// Import reads a bundle file, or that of a recall. Packages go into the store only once
// the signature of the bundle holds, each only if its bytes are those that were signed. It
// needs BundleImport. Importing the same file again changes nothing.
func (z *Service) Import(ctx context.Context, s *spaces.Space, actor spaces.Actor, r io.Reader) (spaces.Inbound, error) {
	if err := requireAny(actor, access.BundleImport); err != nil {
		return spaces.Inbound{}, err
	}
	r, part := startsWith(r, bundle.PartBegins)
	if part {
		return spaces.Inbound{}, errs.New(errs.Invalid, "This is one part of a bundle that was split.").WithHint("Put all its parts together first: octopuses bundle join.")
	}
	r, recall := startsWith(r, "{")
	if recall {
		return z.importRecall(ctx, s, actor, r)
	}
	var link spaces.Link
	var arrived []packages.Blob
	v, m, _, err := bundle.Read(ctx, r, func(m *bundle.Message) (*bundle.Verified, error) {
		l, card, err := z.linkOf(ctx, s, m.Envelope)
		if err != nil {
			return nil, err
		}
		link = l
		return m.Verify(card, s.ULID())
	}, func(p bundle.Package) (io.WriteCloser, error) {
		arrived = append(arrived, packages.Blob{Digest: p.Digest, Size: p.Size})
		return intoStore(ctx, s.Packages(), p), nil
	})
	if err != nil {
		z.noteRefusal(ctx, s, actor, link, err)
		return spaces.Inbound{}, err
	}
	wire, err := m.Marshal()
	if err != nil {
		return spaces.Inbound{}, err
	}
	return z.take(ctx, s, actor, link, v, wire, "file", arrived)
}

// intoStore stores what is written, if it is what its digest says.
func intoStore(ctx context.Context, store *packages.Store, p bundle.Package) io.WriteCloser {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := store.PutExpected(ctx, r, p.Digest, p.Size)
		r.CloseWithError(err)
		done <- err
	}()
	return &storing{w, done}
}

type storing struct {
	*io.PipeWriter
	done chan error
}

func (s *storing) Close() error {
	if err := s.PipeWriter.Close(); err != nil {
		return err
	}
	return <-s.done
}

// noteRefusal leaves a line in the audit for something that was refused.
func (z *Service) noteRefusal(ctx context.Context, s *spaces.Space, actor spaces.Actor, link spaces.Link, cause error) {
	err := spaces.Do(ctx, s, actor, func(tx *spaces.Tx) error {
		tx.Record(spaces.Event{Category: "BundleRefused", Entity: "link", EntityID: link.ID.String(), Message: "A bundle was refused: " + errs.TextOf(cause)})
		return nil
	})
	if err != nil {
		z.log().Error("note refusal", "space", s.ID(), "err", err)
	}
}

// take stores a verified bundle and puts it into the inbox of people, in one
// transaction.
func (z *Service) take(ctx context.Context, s *spaces.Space, actor spaces.Actor, link spaces.Link, v *bundle.Verified, wire []byte, via string, arrived []packages.Blob) (spaces.Inbound, error) {
	p := v.Promotion
	if len(p.Project.Logo) > 0 {
		if _, err := spaces.CheckLogo(p.Project.Logo); err != nil {
			err = errs.New(errs.Invalid, "The logo of the project in the bundle is none: %s", errs.TextOf(err))
			z.noteRefusal(ctx, s, actor, link, err)
			return spaces.Inbound{}, err
		}
	}
	in, err := spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Inbound, error) {
		id, duplicate, err := tx.Receive(spaces.Arrived{Link: link.ID, Incarnation: p.Link.Incarnation, Seq: p.Link.Seq, Digest: v.Digest, Kind: spaces.MessageBundle, Message: wire, Via: via, SeenInc: p.Link.Seen.Incarnation, SeenUpTo: p.Link.Seen.UpTo})
		if err != nil {
			return spaces.Inbound{}, err
		}
		input := spaces.InboundInput{Link: link.ID, Inbox: id, ReleaseULID: p.Release.ID, ProjectULID: p.Project.ID, ProjectName: p.Project.Name, Version: p.Release.Version, CoreDigest: p.Core, PromotionULID: p.Promotion, Via: via}
		for _, t := range v.Templates {
			if t.Default == "" {
				input.Asks = append(input.Asks, t.Name)
			}
		}
		seen := map[string]bool{}
		for _, pkg := range p.Packages {
			if !seen[pkg.Digest] {
				seen[pkg.Digest] = true
				b := packages.Blob{Digest: pkg.Digest, Size: pkg.Size}
				input.Packages = append(input.Packages, b)
				// What this space has from elsewhere counts where no peer asks and so none learns of
				// it; over a wire it comes again.
				if link.Mode == spaces.ModeByHand && s.Packages().Has(pkg.Digest) {
					arrived = append(arrived, b)
				}
			}
		}
		var in spaces.Inbound
		if duplicate {
			in, err = tx.InboundByRelease(link.ID, p.Release.ID)
			// Over the wire a message comes again whenever an answer was lost; a file, or the
			// other way, is somebody's doing.
			if err == nil && (via == "file" || in.Via != via) {
				tx.Record(spaces.Event{Category: "BundleReceivedAgain", Entity: "inbound", EntityID: in.ID.String(), Reference: p.Promotion, Message: fmt.Sprintf("Release %s of %s was received again from %s by %s", in.Version, in.ProjectName, link.LocalName, via)})
			}
		} else {
			in, err = tx.AddInbound(input)
		}
		if err != nil {
			return in, err
		}
		for _, b := range arrived {
			if err := tx.BlobArrived(b); err != nil {
				return in, err
			}
		}
		return tx.Inbound(in.ID)
	})
	if errors.Is(err, errs.Blocked) {
		if berr := breakOnFork(ctx, s, link, err); berr != nil {
			return in, berr
		}
		z.noteRefusal(ctx, s, actor, link, err)
	}
	return in, err
}

// breakOnFork suspends a link whose peer made two messages for one number.
func breakOnFork(ctx context.Context, s *spaces.Space, link spaces.Link, cause error) error {
	if !isFork(cause) {
		return nil
	}
	return spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error { return tx.BreakLink(link.ID, errs.TextOf(cause)) })
}

func isFork(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Entity == "fork"
}

// verified reads the stored message of an inbound release again.
func (z *Service) verified(ctx context.Context, s *spaces.Space, actor spaces.Actor, id spaces.InboundID) (spaces.Inbound, spaces.Link, *bundle.Verified, error) {
	type row struct {
		in      spaces.Inbound
		link    spaces.Link
		message []byte
	}
	r, err := spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (row, error) {
		var r row
		var err error
		if r.in, err = tx.Inbound(id); err != nil {
			return r, err
		}
		if r.link, err = tx.Link(r.in.LinkID); err != nil {
			return r, err
		}
		r.message, err = tx.InboxMessage(r.in.InboxID)
		return r, err
	})
	if err != nil {
		return r.in, r.link, nil, err
	}
	card, err := bundle.ParseCard(r.link.Card)
	if err != nil {
		return r.in, r.link, nil, err
	}
	v, _, err := bundle.ParseMessage(r.message, func(m *bundle.Message) (*bundle.Verified, error) { return m.Verify(card, s.ULID()) })
	return r.in, r.link, v, err
}

// AcceptInput is what whoever accepts a release chooses.
type AcceptInput struct {
	LifecycleID spaces.LifecycleID
	GroupID     spaces.ProjectGroupID
	Values      map[spaces.EnvironmentID]map[string]string // of variable templates
}

// Accept opens the sealed values and makes the release of the remote project. It needs
// BundleApprove. Nothing deploys by itself.
func (z *Service) Accept(ctx context.Context, s *spaces.Space, actor spaces.Actor, id spaces.InboundID, in AcceptInput) (spaces.Release, error) {
	if err := requireAny(actor, access.BundleApprove); err != nil {
		return spaces.Release{}, err
	}
	inbound, _, v, err := z.verified(ctx, s, actor, id)
	if err != nil {
		return spaces.Release{}, err
	}
	keys, err := z.identity(ctx, s)
	if err != nil {
		return spaces.Release{}, err
	}
	secrets, err := v.Open(keys)
	if err != nil {
		return spaces.Release{}, err
	}
	a := spaces.Acceptance{Inbound: inbound.ID, LifecycleID: in.LifecycleID, GroupID: in.GroupID, Description: v.Promotion.Project.Description, Notes: v.Promotion.Release.Notes, Logo: v.Promotion.Project.Logo, Secrets: map[string]string{}, Values: in.Values}
	if err := json.Unmarshal(v.Process, &a.Process); err != nil {
		return spaces.Release{}, fmt.Errorf("read process of bundle: %w", err)
	}
	for key, text := range secrets {
		if path, ok := strings.CutPrefix(key, "process/"); ok {
			a.Secrets[path] = text
		}
	}
	for _, b := range v.Variables {
		value := b.Value
		o := spaces.OpenVariable{Variable: variables.Variable{Name: b.Name, Value: &value, Description: b.Description, IsSensitive: b.Sensitive, Scope: variables.Scope{}, Overridable: b.Overridable}}
		for d, ids := range b.Scope {
			o.Scope[variables.Dimension(d)] = ids
		}
		if b.Sensitive {
			o.Value = nil
			o.Plain = secrets[variableKey(o.Variable)]
		}
		a.Variables = append(a.Variables, o)
	}
	for _, t := range v.Templates {
		a.Templates = append(a.Templates, spaces.VariableTemplate{Name: t.Name, Label: t.Label, HelpText: t.Help, DefaultValue: t.Default, DisplaySettings: map[string]string{"Octopus.ControlType": control(t)}})
	}
	for _, p := range v.Promotion.Packages {
		a.Packages = append(a.Packages, spaces.ReleasePackage{ActionName: p.Action, ReferenceName: p.Reference, PackageID: p.ID, Version: p.Version, Extension: p.Extension, Digest: p.Digest, Size: p.Size})
	}
	return spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Release, error) { return tx.AcceptInbound(a) })
}

func control(t bundle.Template) string {
	switch {
	case t.Sensitive:
		return "Sensitive"
	case t.Control == "":
		return "SingleLineText"
	}
	return t.Control
}
