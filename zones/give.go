package zones

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/zones/bundle"
)

// Awaited is a package file that a release in the inbox lacks.
type Awaited struct {
	Inbound spaces.Inbound
	bundle.Package
}

func (a Awaited) String() string {
	return fmt.Sprintf("%s %s (%s, %s)", a.ID, a.Version, packages.Bytes(a.Size), a.Digest)
}

// Awaited lists the package files that a release in the inbox lacks, or with id 0 those of
// all releases there. It needs ReleaseView.
func (z *Service) Awaited(ctx context.Context, s *spaces.Space, actor spaces.Actor, id spaces.InboundID) ([]Awaited, error) {
	lacking := map[spaces.InboundID][]string{}
	var order []spaces.InboundID
	_, err := spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (none struct{}, err error) {
		if order = []spaces.InboundID{id}; id == 0 {
			all, err := tx.Inbox(bundle.MaxBlobs, spaces.InboundIncomplete)
			if err != nil {
				return none, err
			}
			order = nil
			for _, in := range all {
				order = append(order, in.ID)
			}
		}
		for _, id := range order {
			if lacking[id], err = tx.MissingBlobs(id); err != nil {
				return none, err
			}
		}
		return none, nil
	})
	if err != nil {
		return nil, err
	}
	var out []Awaited
	for _, id := range order {
		in, _, v, err := z.verified(ctx, s, actor, id)
		if err != nil {
			return nil, err
		}
		for _, p := range v.Promotion.Packages {
			if i := slices.Index(lacking[id], p.Digest); i >= 0 {
				lacking[id] = slices.Delete(lacking[id], i, i+1)
				out = append(out, Awaited{in, p})
			}
		}
	}
	return out, nil
}

// GivePackage takes a package file that came in another way than by the link or in a
// bundle, whatever its name: by its digest it is one that awaited names, or it is refused
// and nothing of it stays. It needs BundleImport. Errors: [errs.Invalid] with the digest
// that it has and those that are awaited, [errs.Blocked] when none is.
func (z *Service) GivePackage(ctx context.Context, s *spaces.Space, actor spaces.Actor, awaited []Awaited, name string, r io.Reader) (Awaited, error) {
	if err := requireAny(actor, access.BundleImport); err != nil {
		return Awaited{}, err
	}
	if len(awaited) == 0 {
		return Awaited{}, errs.New(errs.Blocked, "No package file is awaited: all of them are here.")
	}
	var it Awaited
	var limit int64
	for _, a := range awaited {
		limit = max(limit, a.Size)
	}
	// What is longer than all of them is not stored, but read on for its digest.
	whole := sha256.New()
	in := io.TeeReader(io.LimitReader(r, bundle.MaxPackage), whole)
	b, err := s.Packages().PutChecked(ctx, io.LimitReader(in, limit+1), limit+1, func(_ string, b packages.Blob) error {
		i := slices.IndexFunc(awaited, func(a Awaited) bool { return a.Digest == b.Digest && a.Size == b.Size })
		if i >= 0 {
			it = awaited[i]
			return nil
		}
		if b.Size > limit {
			if _, err := io.Copy(io.Discard, in); err != nil {
				return err
			}
		}
		want := make([]string, len(awaited))
		for i, a := range awaited {
			want[i] = a.String()
		}
		return errs.New(errs.Invalid, "%s has the digest %x. Awaited: %s.", name, whole.Sum(nil), strings.Join(want, ", ")).WithHint("Only the very bytes that were promoted count; get the file again from where the release was made.")
	})
	if err != nil {
		return it, err
	}
	return it, spaces.Do(ctx, s, actor, func(tx *spaces.Tx) error {
		if err := tx.BlobArrived(b); err != nil {
			return err
		}
		tx.Record(spaces.Event{Category: "PackageReceived", Entity: "inbound", EntityID: it.Inbound.ID.String(), Reference: it.Inbound.PromotionULID, Message: fmt.Sprintf("The file of %s %s for release %s of %s was given by hand (%s)", it.ID, it.Version, it.Inbound.Version, it.Inbound.ProjectName, it.Digest)})
		return nil
	})
}

// FetchPackages gets all package files that an inbound release lacks by open, as from a
// feed. Those that came stay when one fails; each is checked as [Service.GivePackage] does.
func (z *Service) FetchPackages(ctx context.Context, s *spaces.Space, actor spaces.Actor, id spaces.InboundID, open func(ctx context.Context, packageID, version string) (io.ReadCloser, error)) ([]Awaited, error) {
	if err := requireAny(actor, access.BundleImport); err != nil {
		return nil, err
	}
	awaited, err := z.Awaited(ctx, s, actor, id)
	if err != nil {
		return nil, err
	}
	if len(awaited) == 0 {
		return nil, errs.New(errs.Blocked, "No package file is awaited: all of them are here.")
	}
	var came []Awaited
	for _, a := range awaited {
		file, err := open(ctx, a.ID, a.Version)
		if err != nil {
			return came, err
		}
		_, err = z.GivePackage(ctx, s, actor, []Awaited{a}, fmt.Sprintf("%s %s", a.ID, a.Version), file)
		if err := errors.Join(err, file.Close()); err != nil {
			return came, err
		}
		came = append(came, a)
	}
	return came, nil
}
