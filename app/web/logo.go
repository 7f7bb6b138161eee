package web

import (
	"io"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/ui"
)

// logo is the picture of a project. Its address names its digest, so it never changes.
func logo(r *request) error {
	l, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Logo, error) {
		p, err := r.project(tx)
		if err != nil {
			return spaces.Logo{}, err
		}
		return tx.Logo(p.ID)
	})
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, l.Kind)
	r.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; sandbox")
	r.Set(fiber.HeaderCacheControl, "private, max-age=31536000, immutable")
	return r.Send(l.Bytes)
}

func setLogo(r *request) error {
	part, err := r.onlyFile()
	if err != nil {
		return r.saveLogo(nil, err)
	}
	b, err := io.ReadAll(io.LimitReader(filePart{part}, spaces.MaxLogo+1))
	if err == nil {
		_, err = spaces.CheckLogo(b)
	}
	return r.saveLogo(b, err)
}

func removeLogo(r *request) error { return r.saveLogo(nil, nil) }

// saveLogo stores what was given, unless something is wrong with it already.
func (r *request) saveLogo(b []byte, wrong error) error {
	p, err := spaces.View(r.ctx, r.space, r.actor, r.project)
	if err != nil {
		return err
	}
	if wrong == nil {
		_, wrong = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Project, error) { return tx.SetLogo(p.ID, b) })
	}
	if wrong != nil {
		m, err := r.settingsOf(p, inputOf(p), projects.Settings{LogoErrors: complaints(wrong, nil)})
		if err != nil {
			return err
		}
		return r.again(wrong, nil, func([]ui.FieldError) templ.Component { return projects.ShowProjectSettings(m) })
	}
	return r.see(views.ProjectSettingsURL(r.about.Slug, p.Slug))
}
