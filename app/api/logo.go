package api

import (
	"io"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

func showLogo(r *request) error {
	l, err := view(r, func(tx *spaces.ReadTx) (spaces.Logo, error) {
		p, err := tx.ProjectBy(r.param("id"))
		if err != nil {
			return spaces.Logo{}, err
		}
		return tx.Logo(p.ID)
	})
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, l.Kind)
	r.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	r.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; sandbox")
	return r.Send(l.Bytes)
}

// setLogo takes a picture, as a browser sends a file.
func setLogo(r *request) error {
	// Before the body is read: who may not, is told that first.
	_, err := view(r, func(tx *spaces.ReadTx) (struct{}, error) {
		p, err := tx.ProjectBy(r.param("id"))
		if err == nil && !tx.Can(access.ProjectEdit, p.Scope()) {
			err = access.Missing(access.ProjectEdit)
		}
		return struct{}{}, err
	})
	if err != nil {
		return err
	}
	_, file, err := r.upload(spaces.MaxLogo + 1)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(file, spaces.MaxLogo+1))
	if err != nil {
		return err
	}
	if _, err := spaces.CheckLogo(b); err != nil { // an empty file takes no logo away
		return err
	}
	return r.saveLogo(b)
}

func removeLogo(r *request) error { return r.saveLogo(nil) }

func (r *request) saveLogo(b []byte) error {
	p, err := update(r, func(tx *spaces.Tx) (spaces.Project, error) {
		p, err := tx.ProjectBy(r.param("id"))
		if err != nil {
			return p, err
		}
		return tx.SetLogo(p.ID, b)
	})
	if err != nil {
		return err
	}
	return r.ok(r.projectResource(p))
}
