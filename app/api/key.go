package api

import (
	"path/filepath"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func keyRoutes() []Row {
	return []Row{
		get("/server/keys", SignedIn, access.AdministerSystem, showKeys),
		moving(post("/server/keys/rotate", SignedIn, access.AdministerSystem, rotateMaster)),
		get("/spaces/:id/key", SignedIn, access.AdministerSystem, showSpaceKey),
		moving(post("/spaces/:id/key/rotate", SignedIn, access.AdministerSystem, rotateSpaceKey)),
	}
}

func (r *request) keys() (fields, error) {
	if r.s.Keys == nil {
		return nil, errs.New(errs.Unavailable, "The keys of this server cannot be looked at.")
	}
	id, file, old := r.s.Keys.Master()
	given := "file"
	if file == "" {
		given = "environment"
	}
	names := []string{}
	for _, path := range old {
		names = append(names, filepath.Base(path))
	}
	return fields{"MasterKeyId": id, "GivenBy": given, "OldKeyFiles": names}, nil
}

func showKeys(r *request) error {
	f, err := r.keys()
	if err != nil {
		return err
	}
	return r.ok(f)
}

func rotateMaster(r *request) error {
	if _, err := r.keys(); err != nil {
		return err
	}
	left, err := r.s.Keys.RotateMaster(r.ctx, r.system)
	if err != nil {
		return err
	}
	f, err := r.keys()
	if err != nil {
		return err
	}
	f["SpacesLeft"] = orEmpty(left)
	return r.ok(f)
}

// inSpaceAsServer does something of an administrator's with a space that they need not be
// able to enter.
func (r *request) inSpaceAsServer(f func(s *spaces.Space, actor spaces.Actor) error) error {
	about, err := r.s.Instance.SpaceBy(r.ctx, r.param("id"))
	if err != nil {
		return err
	}
	s, err := r.s.Spaces.Acquire(r.ctx, refOf(about))
	if err != nil {
		return err
	}
	defer s.Release()
	actor := spaces.Server()
	actor.ID, actor.Name, actor.Via, actor.Address = r.system.ID, r.system.Name, r.system.Via, r.system.Address
	if err := f(s, actor); err != nil {
		return err
	}
	k, err := spaces.View(r.ctx, s, actor, (*spaces.ReadTx).KeyState)
	if err != nil {
		return err
	}
	return r.Status(fiber.StatusOK).JSON(fields{"SpaceId": about.ID(), "Version": k.Version, "MadeAt": k.MadeAt, "Rotating": k.Rotating, "MasterKeyId": k.MasterID})
}

func showSpaceKey(r *request) error {
	return r.inSpaceAsServer(func(*spaces.Space, spaces.Actor) error { return nil })
}

func rotateSpaceKey(r *request) error {
	return r.inSpaceAsServer(func(s *spaces.Space, actor spaces.Actor) error { return s.RotateKey(r.ctx, actor) })
}
