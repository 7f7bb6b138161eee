package api

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func teamRoutes() []Row {
	var rows []Row
	for _, w := range []Who{SignedIn, InSpace} {
		rows = append(rows,
			get("/teams", w, "", listTeams), get("/teams/all", w, "", allTeams), post("/teams", w, "", createTeam),
			get("/teams/:id", w, "", showTeam), put("/teams/:id", w, "", updateTeam), del("/teams/:id", w, "", deleteTeam),
			get("/teams/:id/scopeduserroles", w, "", teamScopedRoles))
	}
	return rows
}

// namedID is a reference with a name for people.
type namedID struct {
	ID          string `json:"Id"`
	DisplayName string `json:"DisplayName"`
}

type teamResource struct {
	ID                     string    `json:"Id"`
	Name                   string    `json:"Name"`
	Description            string    `json:"Description"`
	MemberUserIDs          []string  `json:"MemberUserIds"`
	ExternalSecurityGroups []namedID `json:"ExternalSecurityGroups"`
	SpaceID                *string   `json:"SpaceId"`
	CanBeDeleted           bool      `json:"CanBeDeleted"`
	CanBeRenamed           bool      `json:"CanBeRenamed"`
	CanChangeMembers       bool      `json:"CanChangeMembers"`
	CanChangeRoles         bool      `json:"CanChangeRoles"`
	Links                  links     `json:"Links"`
}

func (r *request) teamResource(t instance.Team) teamResource {
	self := r.api("teams", t.APIID())
	own := t.Word == ""
	out := teamResource{ID: t.APIID(), Name: t.Name, Description: t.Description, MemberUserIDs: each(t.Members, userID), ExternalSecurityGroups: each(t.Groups, func(g instance.ExternalGroup) namedID { return namedID{g.ID, g.Name} }),
		CanBeDeleted: own, CanBeRenamed: own, CanChangeMembers: t.Word != "everyone", CanChangeRoles: own,
		Links: links{"Self": self, "ScopedUserRoles": self + "/scopeduserroles{?skip,take}"}}
	if t.Space != 0 {
		id := spaceID(t.Space)
		out.SpaceID = &id
	}
	return out
}

func spaceID(n int64) string { return instance.Space{Number: n}.ID() }

// teams are those that the caller may know of: his own, and with TeamView those of the
// system, or of that space; on a row of a space those of other spaces are left out.
func (r *request) teams() ([]instance.Team, error) {
	list, err := r.s.Instance.Teams(r.ctx)
	if err != nil {
		return nil, err
	}
	mine, err := r.mySpaces()
	if err != nil {
		return nil, err
	}
	out := []instance.Team{}
	for _, t := range list {
		switch {
		case t.Space == 0:
		case r.space != nil && t.Space != r.about.Number:
			continue
		case !slices.ContainsFunc(mine, func(s instance.Space) bool { return s.Number == t.Space }):
			continue
		}
		known := t.Word == "everyone" || slices.Contains(t.Members, r.user.ID) || r.system.Permissions.Any(access.TeamView)
		if !known && t.Space != 0 {
			p, err := r.s.Instance.Permissions(r.ctx, r.user.ID, t.Space)
			if err != nil {
				return nil, err
			}
			known = p.Any(access.TeamView)
		}
		if known && r.matches(t.Name) && r.asked(t.APIID()) {
			out = append(out, t)
		}
	}
	return out, nil
}

func listTeams(r *request) error {
	list, err := r.teams()
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Team", slice(r, list), r.teamResource))
}

func allTeams(r *request) error {
	list, err := r.teams()
	if err != nil {
		return err
	}
	return r.ok(each(list, r.teamResource))
}

func (r *request) team() (instance.Team, error) {
	list, err := r.teams()
	if err != nil {
		return instance.Team{}, err
	}
	want := r.param("id")
	for _, t := range list {
		if strings.EqualFold(t.APIID(), want) {
			return t, nil
		}
	}
	return instance.Team{}, errs.Missing("team", want)
}

func showTeam(r *request) error {
	t, err := r.team()
	if err != nil {
		return err
	}
	return r.ok(r.teamResource(t))
}

type teamInput struct {
	Name                   string
	Description            string
	SpaceID                string    `json:"SpaceId"`
	MemberUserIDs          []string  `json:"MemberUserIds"`
	ExternalSecurityGroups []namedID `json:"ExternalSecurityGroups"`
}

func (in teamInput) input() (instance.TeamInput, error) {
	out := instance.TeamInput{Name: in.Name, Description: in.Description}
	for _, text := range in.MemberUserIDs {
		n, err := parseUserID(text)
		if err != nil {
			return out, err
		}
		out.Members = append(out.Members, n)
	}
	for _, g := range in.ExternalSecurityGroups {
		out.Groups = append(out.Groups, instance.ExternalGroup{ID: g.ID, Name: g.DisplayName})
	}
	return out, nil
}

func parseUserID(text string) (int64, error) {
	_, digits, ok := strings.Cut(strings.ToLower(text), "users-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil {
		return 0, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "MemberUserIds", Message: "'" + text + "' is no id of a user."}}}
	}
	return n, nil
}

// spaceNumber is the space that a body names, or that of the path, or 0 for the system.
// A space that the caller may not see does not exist.
func (r *request) spaceNumber(text string) (int64, error) {
	if text == "" {
		if r.space != nil {
			return r.about.Number, nil
		}
		return 0, nil
	}
	s, err := r.mySpace(text)
	if errors.Is(err, errs.NotFound) {
		return 0, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "SpaceId", Message: "There is no space '" + text + "'."}}}
	}
	return s.Number, err
}

func createTeam(r *request) error {
	sent, err := readJSON[teamInput](r)
	if err != nil {
		return err
	}
	in, err := sent.input()
	if err != nil {
		return err
	}
	if in.Space, err = r.spaceNumber(sent.SpaceID); err != nil {
		return err
	}
	t, err := r.s.Instance.CreateTeam(r.ctx, r.system, in)
	if err != nil {
		return err
	}
	return r.created(r.teamResource(t))
}

func updateTeam(r *request) error {
	t, err := r.team()
	if err != nil {
		return err
	}
	sent, err := readOver[teamInput](r, r.teamResource(t))
	if err != nil {
		return err
	}
	in, err := sent.input()
	if err != nil {
		return err
	}
	if t, err = r.s.Instance.UpdateTeam(r.ctx, r.system, t, in); err != nil {
		return err
	}
	return r.ok(r.teamResource(t))
}

func deleteTeam(r *request) error {
	t, err := r.team()
	if err != nil {
		return err
	}
	if err := r.s.Instance.DeleteTeam(r.ctx, r.system, t); err != nil {
		return err
	}
	return r.gone()
}
