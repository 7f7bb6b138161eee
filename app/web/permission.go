package web

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/people"
	"octopuses.dev/octopuses/views/ui"
)

func permissionRoutes() []route {
	return []route{get("/spaces/:space/who", inSpace, access.TeamView, whoMay)}
}

// knownNames are the spaces that a person may know of.
type knownNames struct {
	spaces []instance.Space
	teams  bool // may look at teams of the system
}

func (r *request) spaceNames() (knownNames, error) {
	mine, err := r.knownSpaces()
	return knownNames{mine, r.system.Permissions.Any(access.TeamView)}, err
}

// where names a space, or with 0 the system.
func (k knownNames) where(space int64) (string, bool) {
	if space == 0 {
		return "the system", true
	}
	i := slices.IndexFunc(k.spaces, func(s instance.Space) bool { return s.Number == space })
	if i < 0 {
		return "", false
	}
	return k.spaces[i].Name, true
}

// team is a link to a team, if its space may be known.
func (k knownNames) team(t instance.Team) (people.TeamRef, bool) {
	ref := people.TeamRef{Name: t.Name, Where: "of the system", Href: views.TeamURL("", t.APIID())}
	if t.Space == 0 {
		return ref, true
	}
	i := slices.IndexFunc(k.spaces, func(s instance.Space) bool { return s.Number == t.Space })
	if i < 0 {
		return ref, false
	}
	ref.Where, ref.Href = "of "+k.spaces[i].Name, views.TeamURL(k.spaces[i].Slug, t.APIID())
	return ref, true
}

func ownPermissions(r *request) error { return r.permissionsOf(r.session.User) }

func permissionsOfUser(r *request) error {
	u, err := r.user()
	if err != nil {
		return err
	}
	return r.permissionsOf(u)
}

func (r *request) permissionsOf(u instance.User) error {
	all, err := r.s.Instance.Holdings(r.ctx, u.ID)
	if err != nil {
		return err
	}
	known, err := r.spaceNames()
	if err != nil {
		return err
	}
	m := people.Permissions{Name: shownName(u), Own: u.ID == r.session.User.ID}
	m.Page = r.usersPage("What " + m.Name + " may do")
	m.Page.Crumbs = []ui.Crumb{{Label: "People", Href: views.UsersURL()}, {Label: m.Name, Href: views.UserURL(u.APIID())}, {Label: "Permissions"}}
	if m.Own {
		m.Page.Title, m.Page.Crumbs = "What you may do", []ui.Crumb{{Label: "Account", Href: views.AccountURL()}, {Label: "Permissions"}}
	}
	grants := map[int64][]access.Grant{}
	var order []int64
	through := map[int64][]people.Through{}
	for _, h := range all {
		if _, ok := known.where(h.Given.Space); !ok {
			m.Hidden = true
			continue
		}
		if _, seen := through[h.Given.Space]; !seen {
			order = append(order, h.Given.Space)
		}
		through[h.Given.Space] = append(through[h.Given.Space], r.through(h, known, nil))
		held := h.Role.Space
		if h.Given.Space == 0 {
			held = h.Role.System
		}
		grants[h.Given.Space] = append(grants[h.Given.Space], access.Grant{Permissions: held})
	}
	for _, space := range order {
		set := access.NewSet(grants[space]...)
		everything := access.SpacePermissions()
		if space == 0 {
			everything = access.SystemPermissions()
		}
		name, _ := known.where(space)
		if space == 0 {
			name = "The system"
		}
		m.Areas = append(m.Areas, people.Area{Name: name, Roles: through[space], Permissions: permissionGroups(everything, set.Any)})
	}
	return r.render(fiber.StatusOK, people.ShowPermissions(m))
}

// through is a role that somebody has, with the names of what it is limited to as far as
// they are known.
func (r *request) through(h instance.Holding, known knownNames, names map[string]string) people.Through {
	t := people.Through{Role: h.Role.Name, Team: h.Team.Name}
	if r.system.Permissions.Any(access.UserRoleView) {
		t.RoleHref = views.RoleURL(h.Role.ID)
	}
	if ref, ok := known.team(h.Team); ok && (known.teams || h.Team.Space != 0) {
		t.TeamHref = ref.Href
	}
	for _, l := range []struct {
		what string
		ids  []string
	}{{"Project", h.Given.Projects}, {"Project group", h.Given.ProjectGroups}, {"Environment", h.Given.Environments}, {"Tenant", h.Given.Tenants}} {
		for _, id := range l.ids {
			name := names[id]
			if name == "" {
				name = id
			}
			t.Limits = append(t.Limits, l.what+" "+name)
		}
	}
	return t
}

// whoMay answers who may do something in this space, as to deploy a project to an
// environment, and through which team and role.
func whoMay(r *request) error {
	m := people.Who{}
	asked := access.Permission(r.Query("permission"))
	if asked == "" {
		asked = access.DeploymentCreate
	}
	if !access.InSpace(asked) {
		return errs.New(errs.Invalid, "There is no permission '%.50s' in a space.", string(asked))
	}
	var scope access.Scope
	var names people.Team // the lists of what a role may be limited to
	byID, err := r.scopeNames(&names)
	if err != nil {
		return err
	}
	about := []string{}
	_, err = spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		if text := r.Query("project"); text != "" {
			p, err := tx.ProjectBy(text)
			if err != nil {
				return struct{}{}, err
			}
			scope.Project, scope.ProjectGroup = p.ID.String(), p.GroupID.String()
			about = append(about, "the project "+p.Name)
		}
		if text := r.Query("environment"); text != "" {
			e, err := tx.EnvironmentBy(text)
			if err != nil {
				return struct{}{}, err
			}
			scope.Environment = e.ID.String()
			about = append(about, "the environment "+e.Name)
		}
		return struct{}{}, nil
	})
	if err != nil {
		return err
	}
	holdings, err := r.s.Instance.WhoMay(r.ctx, r.about.Number, asked, scope)
	if err != nil {
		return err
	}
	users, err := r.s.Instance.Users(r.ctx)
	if err != nil {
		return err
	}
	known, err := r.spaceNames()
	if err != nil {
		return err
	}
	for _, u := range users {
		h := people.Holder{Name: shownName(u), Username: u.Username, Service: u.IsService}
		if r.system.Permissions.Any(access.UserView) {
			h.Href = views.UserURL(u.APIID())
		}
		for _, x := range holdings {
			if x.User == u.ID {
				h.Through = append(h.Through, r.through(x, known, byID))
			}
		}
		if len(h.Through) > 0 {
			m.Holders = append(m.Holders, h)
		}
	}
	for _, p := range access.SpacePermissions() {
		m.Permissions = append(m.Permissions, ui.Option{Value: string(p), Label: permissionWords(p), Selected: p == asked})
	}
	any := func(options []ui.Option, chosen, label string) []ui.Option {
		out := []ui.Option{{Value: "", Label: label, Selected: chosen == ""}}
		for _, o := range options {
			o.Selected = o.Value == chosen
			out = append(out, o)
		}
		return out
	}
	m.Projects, m.Environments = any(names.ProjectOptions, scope.Project, "any project"), any(names.EnvironmentOptions, scope.Environment, "any environment")
	m.Question = "Who has " + string(asked)
	if len(about) > 0 {
		m.Question += " for " + strings.Join(about, " and ")
	}
	m.Page = r.pageFor("Who may", "Settings")
	m.Page.Crumbs = []ui.Crumb{{Label: "Settings", Href: views.SettingsURL(r.about.Slug)}, {Label: "Who may"}}
	return r.render(fiber.StatusOK, people.ShowWho(m))
}

func permissionWords(p access.Permission) string {
	about, does := splitPermission(string(p))
	return fmt.Sprintf("%s: %s", about, strings.ToLower(does))
}
