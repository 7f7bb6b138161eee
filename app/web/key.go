package web

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/people"
	"octopuses.dev/octopuses/views/ui"
)

func keyRoutes() []route {
	const p = "/admin/keys"
	return []route{
		get(p, signedIn, access.AdministerSystem, keyPage),
		post(p+"/master", signedIn, access.AdministerSystem, exchangeMasterKey),
		post(p+"/space", signedIn, access.AdministerSystem, exchangeSpaceKey),
	}
}

func keyPage(r *request) error { return r.keyPageWith(nil, nil) }

func (r *request) keyPageWith(cause error, left []string) error {
	if r.s.Keys == nil {
		return errs.New(errs.NotFound, "The keys of this server cannot be looked at.")
	}
	m := people.Keys{Left: left}
	var old []string
	m.ID, m.File, old = r.s.Keys.Master()
	for _, path := range old {
		m.Old = append(m.Old, filepath.Base(path))
	}
	all, err := r.s.Instance.Spaces(r.ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		m.Spaces = append(m.Spaces, ui.Option{Value: s.ID(), Label: s.Name, Selected: s.ID() == r.value("space")})
	}
	m.Page = r.pageFor("Keys", "")
	status := fiber.StatusOK
	if cause != nil {
		m.Errors = complaints(cause, nil)
		status = statusOf(cause, true)
	}
	switch done := r.Query("done"); {
	case done == "master":
		m.Page.Notice = &ui.NoticeProps{Tone: ui.Good, Text: "The master key was exchanged. Make a copy of it now."}
	case done != "":
		m.Page.Notice = &ui.NoticeProps{Tone: ui.Good, Text: "The key of the space was exchanged, and everything in it is sealed with the new one."}
	}
	return r.render(status, people.ShowKeys(m))
}

func exchangeMasterKey(r *request) error {
	if r.s.Keys == nil {
		return r.keyPageWith(nil, nil)
	}
	left, err := r.s.Keys.RotateMaster(r.ctx, r.system)
	if err != nil || len(left) > 0 {
		return r.keysFailed(err, left)
	}
	return r.see(views.KeysURL() + "?done=master")
}

func exchangeSpaceKey(r *request) error {
	about, err := r.s.Instance.SpaceBy(r.ctx, r.value("space"))
	if errs.KindOf(err) == errs.NotFound || strings.TrimSpace(r.value("space")) == "" {
		return r.keyPageWith(errs.New(errs.Invalid, "There is no such space."), nil)
	}
	if err != nil {
		return err
	}
	s, err := r.s.Spaces.Acquire(r.ctx, ref(about))
	if err != nil {
		return r.keysFailed(err, nil)
	}
	defer s.Release()
	actor := spaces.Server()
	actor.ID, actor.Name, actor.Via, actor.Address = r.system.ID, r.system.Name, r.system.Via, r.system.Address
	if err := s.RotateKey(r.ctx, actor); err != nil {
		return r.keysFailed(err, nil)
	}
	return r.see(fmt.Sprintf("%s?done=%s", views.KeysURL(), about.ID()))
}

// keysFailed draws the page with what went wrong, unless that is a fault of ours.
func (r *request) keysFailed(err error, left []string) error {
	if err != nil && errs.KindOf(err) == errs.Internal {
		return err
	}
	return r.keyPageWith(err, left)
}
