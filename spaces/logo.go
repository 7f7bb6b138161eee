package spaces

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	_ "image/jpeg" // registers the format
	_ "image/png"  // registers the format

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// Logo is a small picture of a project.
type Logo struct {
	Kind  string // media type
	Bytes []byte
}

// Bounds of a logo. It travels inside of the signed statement of a promotion.
const (
	MaxLogo     = 64 << 10 // bytes
	maxLogoSide = 512      // pixels
)

// CheckLogo says what picture b is: PNG or JPEG, and never one with scripts in it. Its
// pixels are not unfolded. Errors: [errs.Invalid], [errs.TooLarge].
func CheckLogo(b []byte) (Logo, error) {
	if len(b) > MaxLogo {
		return Logo{}, logoError(errs.TooLarge, "A logo has at most %d KiB.", MaxLogo>>10)
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(b))
	switch {
	case err != nil:
		return Logo{}, logoError(errs.Invalid, "A logo is a PNG or a JPEG picture.")
	case c.Width < 1 || c.Height < 1 || c.Width > maxLogoSide || c.Height > maxLogoSide:
		return Logo{}, logoError(errs.Invalid, "A logo has at most %d × %d pixels, and this has %d × %d.", maxLogoSide, maxLogoSide, c.Width, c.Height)
	}
	return Logo{"image/" + format, b}, nil
}

func logoError(kind errs.Kind, format string, args ...any) error {
	return &errs.Error{Kind: kind, Fields: []errs.Field{{Name: "Logo", Message: fmt.Sprintf(format, args...)}}}
}

// SetLogo gives a project a logo, or takes it away with none. It needs ProjectEdit. The
// logo of a remote project is its owner's: [errs.Blocked].
func (tx *Tx) SetLogo(id ProjectID, b []byte) (Project, error) {
	p, err := tx.ownProject(id)
	if err != nil {
		return p, err
	}
	if err := tx.require(access.ProjectEdit, p.scope()); err != nil {
		return p, err
	}
	changed, err := tx.putLogo(p, b)
	if err != nil || !changed {
		return p, err
	}
	what := "was given a logo"
	if len(b) == 0 {
		what = "has no logo any more"
	}
	tx.record(Event{Category: "Modified", Entity: "project", EntityID: id.String(), ProjectID: id, Message: fmt.Sprintf("Project %s %s", p.Name, what)})
	tx.changed("project/" + id.String())
	return tx.project(id)
}

// putLogo stores a logo, or none, if it is another one.
func (tx *Tx) putLogo(p Project, b []byte) (changed bool, err error) {
	if len(b) == 0 {
		if p.Logo == "" {
			return false, nil
		}
		if _, err := tx.exec(`DELETE FROM project_logo WHERE project_id = ?`, int64(p.ID)); err != nil {
			return false, err
		}
		return true, tx.update(`UPDATE project SET logo = '' WHERE id = ?`, int64(p.ID))
	}
	l, err := CheckLogo(b)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	if digest == p.Logo {
		return false, nil
	}
	if _, err := tx.exec(`INSERT INTO project_logo (project_id, kind, bytes) VALUES (?, ?, ?) ON CONFLICT (project_id) DO UPDATE SET kind = excluded.kind, bytes = excluded.bytes`, int64(p.ID), l.Kind, l.Bytes); err != nil {
		return false, err
	}
	return true, tx.update(`UPDATE project SET logo = ? WHERE id = ?`, digest, int64(p.ID))
}

// Logo is the logo of a project. It needs ProjectView. Error: [errs.NotFound] when it has
// none.
func (tx *ReadTx) Logo(id ProjectID) (Logo, error) {
	p, err := tx.Project(id)
	if err != nil {
		return Logo{}, err
	}
	return tx.logo(p)
}

func (tx *ReadTx) logo(p Project) (Logo, error) {
	var l Logo
	err := tx.queryRow(`SELECT kind, bytes FROM project_logo WHERE project_id = ?`, int64(p.ID)).Scan(&l.Kind, &l.Bytes)
	return l, notFound(err, "logo", p.Name)
}
