package api

import (
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func spaceRoutes() []Row {
	return []Row{
		get("/spaces", SignedIn, "", listSpaces),
		get("/spaces/all", SignedIn, "", allSpaces),
		post("/spaces", SignedIn, "", createSpace),
		get("/spaces/:id", SignedIn, "", showSpace),
		put("/spaces/:id", SignedIn, "", updateSpace),
		del("/spaces/:id", SignedIn, "", deleteSpace),
	}
}

type spaceResource struct {
	ID               string   `json:"Id"`
	Name             string   `json:"Name"`
	Slug             string   `json:"Slug"`
	Description      string   `json:"Description"`
	IsDefault        bool     `json:"IsDefault"`
	TaskQueueStopped bool     `json:"TaskQueueStopped"`
	ManagersTeams    []string `json:"SpaceManagersTeams"`
	Managers         []string `json:"SpaceManagersTeamMembers"`
	Links            links    `json:"Links"`
}

func managersTeam(s instance.Space) string { return "teams-spacemanagers-" + s.ID() }

func (r *request) spaceResource(s instance.Space) (spaceResource, error) {
	out := spaceResource{ID: s.ID(), Name: s.Name, Slug: s.Slug, Description: s.Description, IsDefault: s.IsDefault, TaskQueueStopped: s.TaskQueueStopped,
		ManagersTeams: []string{managersTeam(s)}, Managers: []string{},
		// The CLI panics on a Web that does not go on behind "/app#/".
		Links: links{"Self": r.api("spaces", s.ID()), "SpaceHome": r.api(s.ID()), "Web": r.s.prefix() + "/app#/" + s.ID(), "Search": r.api("spaces", s.ID(), "search") + "{?keyword}", "Logo": r.api("spaces", s.ID(), "logo")}}
	managers, err := r.s.Instance.Managers(r.ctx, s)
	for _, m := range managers {
		out.Managers = append(out.Managers, userID(m))
	}
	return out, err
}

// mySpaces are those that the caller may know of: all with SpaceView, else those that
// may be entered.
func (r *request) mySpaces() ([]instance.Space, error) {
	if r.system.Permissions.Any(access.SpaceView) {
		return r.s.Instance.Spaces(r.ctx)
	}
	return r.s.Instance.SpacesOf(r.ctx, r.user.ID)
}

func (r *request) mySpace(text string) (instance.Space, error) {
	s, err := r.s.Instance.SpaceBy(r.ctx, text)
	if err != nil {
		return s, err
	}
	mine, err := r.mySpaces()
	if err != nil {
		return s, err
	}
	if !slices.ContainsFunc(mine, func(m instance.Space) bool { return m.Number == s.Number }) {
		return s, errs.Missing("space", text)
	}
	return s, nil
}

func (r *request) spaceResources() ([]spaceResource, error) {
	mine, err := r.mySpaces()
	if err != nil {
		return nil, err
	}
	out := []spaceResource{}
	for _, s := range mine {
		if !r.matches(s.Name) || !r.asked(s.ID()) {
			continue
		}
		res, err := r.spaceResource(s)
		if err != nil {
			return nil, err
		}
		out = append(out, res)
	}
	return out, nil
}

func listSpaces(r *request) error {
	list, err := r.spaceResources()
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Space", slice(r, list), same))
}

func allSpaces(r *request) error {
	list, err := r.spaceResources()
	if err != nil {
		return err
	}
	return r.ok(list)
}

func (r *request) answerSpace(status int, s instance.Space) error {
	out, err := r.spaceResource(s)
	if err != nil {
		return err
	}
	return r.respond(status, out)
}

func showSpace(r *request) error {
	s, err := r.mySpace(r.param("id"))
	if err != nil {
		return err
	}
	return r.answerSpace(fiber.StatusOK, s)
}

// input reads what was said of a space. Teams as managers become their members of now.
func (in spaceResource) input(r *request) (instance.SpaceInput, error) {
	out := instance.SpaceInput{Name: in.Name, Slug: in.Slug, Description: in.Description, IsDefault: in.IsDefault, TaskQueueStopped: in.TaskQueueStopped}
	for _, id := range in.Managers {
		u, err := r.s.Instance.UserBy(r.ctx, id)
		if err != nil {
			return out, errs.New(errs.Invalid, "There is no user %s.", id)
		}
		out.Managers = append(out.Managers, u.ID)
	}
	for _, id := range in.ManagersTeams {
		if in.ID != "" && id == "teams-spacemanagers-"+in.ID {
			continue // the team that holds Managers itself
		}
		t, err := r.s.Instance.TeamBy(r.ctx, id)
		if err != nil {
			return out, errs.New(errs.Invalid, "There is no team %s.", id)
		}
		out.Managers = append(out.Managers, t.Members...)
	}
	slices.Sort(out.Managers)
	out.Managers = slices.Compact(out.Managers)
	return out, nil
}

func createSpace(r *request) error {
	body, err := readJSON[spaceResource](r)
	if err != nil {
		return err
	}
	body.ID = ""
	in, err := body.input(r)
	if err != nil {
		return err
	}
	var folder string
	made, err := r.s.Instance.CreateSpace(r.ctx, r.system, in, func(name, slug string) (string, error) {
		var err error
		folder, err = r.s.Spaces.Create(r.ctx, name, slug)
		return folder, err
	})
	if err != nil {
		if folder != "" {
			if derr := r.s.Spaces.Delete(folder); derr != nil {
				r.s.Log.Warn("remove folder of a space that was not created", "folder", folder, "err", derr)
			}
		}
		return err
	}
	space, err := r.s.Spaces.Acquire(r.ctx, refOf(made))
	if err != nil {
		return err
	}
	defer space.Release()
	if err := spaces.Initialise(r.ctx, space); err != nil {
		return err
	}
	return r.answerSpace(fiber.StatusCreated, made)
}

func updateSpace(r *request) error {
	s, err := r.mySpace(r.param("id"))
	if err != nil {
		return err
	}
	stored, err := r.spaceResource(s)
	if err != nil {
		return err
	}
	body, err := readOver[spaceResource](r, stored)
	if err != nil {
		return err
	}
	body.ID = s.ID()
	in, err := body.input(r)
	if err != nil {
		return err
	}
	if s, err = r.s.Instance.UpdateSpace(r.ctx, r.system, s, in); err != nil {
		return err
	}
	return r.answerSpace(fiber.StatusOK, s)
}

// deleteSpace takes the space out of the registry; its folder goes as soon as nobody
// uses it any more.
func deleteSpace(r *request) error {
	s, err := r.mySpace(r.param("id"))
	if err != nil {
		return err
	}
	if err := r.s.Instance.DeleteSpace(r.ctx, r.system, s, s.Name); err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := r.s.Spaces.Delete(s.Folder)
		if err == nil {
			if err := r.s.Instance.FolderGone(r.ctx, s.Folder); err != nil {
				return err
			}
			break
		}
		if errs.KindOf(err) != errs.Busy || try == 50 {
			// Gone for people; the folder stays for the next start to remove.
			r.s.Log.Warn("remove folder of deleted space", "folder", s.Folder, "err", err)
			break
		}
		select {
		case <-r.ctx.Done():
			try = 49
		case <-time.After(50 * time.Millisecond):
		}
	}
	return r.gone()
}
