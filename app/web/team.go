package web

import (
	"errors"
	"fmt"
	"slices"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/people"
	"octopuses.dev/octopuses/views/ui"
)

// teamRoutes are the same pages twice: in a space, with its teams and what those of the
// system may do there, and in the system.
func teamRoutes() []route {
	var rows []route
	for _, at := range []struct {
		path string
		who  who
	}{{"/spaces/:space/teams", inSpace}, {"/admin/teams", signedIn}} {
		p, w := at.path, at.who
		rows = append(rows,
			get(p, w, access.TeamView, teamList), get(p+"/new", w, access.TeamCreate, newTeam), post(p, w, access.TeamCreate, createTeam),
			get(p+"/:team", w, access.TeamView, teamPage),
			post(p+"/:team", w, access.TeamEdit, changeTeam("team", renameTeam)),
			post(p+"/:team/members", w, access.TeamEdit, changeTeam("member", addMember)), post(p+"/:team/members/remove", w, access.TeamEdit, changeTeam("member", removeMember)),
			post(p+"/:team/groups", w, access.TeamEdit, changeTeam("group", addGroup)), post(p+"/:team/groups/remove", w, access.TeamEdit, changeTeam("group", removeGroup)),
			post(p+"/:team/roles", w, access.TeamEdit, changeTeam("role", giveRole)), post(p+"/:team/roles/remove", w, access.TeamEdit, changeTeam("role", takeRole)),
			post(p+"/:team/delete", w, access.TeamDelete, changeTeam("delete", deleteTeam)))
	}
	return rows
}

// here is the number of the space of the path; 0: the system.
func (r *request) here() int64 {
	if r.space == nil {
		return 0
	}
	return r.about.Number
}

// canFor is [request.can] for what belongs to a space by number, or with 0 to the system.
// It asks as package instance does, which refuses if this is wrong.
func (r *request) canFor(p access.Permission, space int64) (ok bool, why string) {
	if r.system.Permissions.Any(p) || space != 0 && space == r.here() && r.actor.Permissions.Allows(p, access.Scope{}) {
		return true, ""
	}
	return false, errs.TextOf(access.Missing(p))
}

// team is the one of the path, if it belongs here or to the system.
func (r *request) team() (instance.Team, error) {
	t, err := r.s.Instance.TeamBy(r.ctx, r.param("team"))
	if err == nil && t.Space != 0 && t.Space != r.here() {
		err = errs.Missing("team", r.param("team"))
	}
	return t, err
}

func (r *request) teamsURL() string { return views.TeamsURL(r.slugHere()) }

func (r *request) slugHere() string {
	if r.space == nil {
		return ""
	}
	return r.about.Slug
}

func (r *request) teamsPage(title string) views.Page {
	p := r.pageFor(title, "Settings")
	name := "Teams of the system"
	if r.space != nil {
		name = "Teams"
		p.Crumbs = []ui.Crumb{{Label: "Settings", Href: views.SettingsURL(r.about.Slug)}}
	}
	if title == "" {
		p.Title = name
	} else {
		p.Crumbs = append(p.Crumbs, ui.Crumb{Label: name, Href: r.teamsURL()})
	}
	p.Crumbs = append(p.Crumbs, ui.Crumb{Label: p.Title})
	return p
}

func teamList(r *request) error {
	all, err := r.s.Instance.Teams(r.ctx)
	if err != nil {
		return err
	}
	given, err := r.s.Instance.ScopedRoles(r.ctx)
	if err != nil {
		return err
	}
	roles, err := r.roleNames()
	if err != nil {
		return err
	}
	m := people.Teams{Page: r.teamsPage("")}
	m.CanCreate, m.Why = r.canFor(access.TeamCreate, r.here())
	for _, t := range all {
		if t.Space != 0 && t.Space != r.here() {
			continue
		}
		row := people.TeamRow{ID: t.APIID(), Name: t.Name, Description: t.Description, Everyone: t.Word == "everyone", BuiltIn: t.Word != "", OfSystem: t.Space == 0, Members: len(t.Members), Groups: len(t.Groups)}
		for _, g := range given {
			if name := roles[g.Role].Name; g.TeamID == t.ID && g.Space == r.here() && name != "" && !slices.Contains(row.Roles, name) {
				row.Roles = append(row.Roles, name)
			}
		}
		m.Rows = append(m.Rows, row)
	}
	return r.render(fiber.StatusOK, people.ShowTeams(m))
}

// roleNames are all roles by API id.
func (r *request) roleNames() (map[string]access.Role, error) {
	all, err := r.s.Instance.Roles(r.ctx)
	out := map[string]access.Role{}
	for _, x := range all {
		out[x.ID] = x
	}
	return out, err
}

func newTeam(r *request) error {
	return r.render(fiber.StatusOK, people.ShowNewTeam(people.NewTeam{Page: r.teamsPage("Add a team")}))
}

func createTeam(r *request) error {
	in := instance.TeamInput{Name: r.value("name"), Description: r.value("description"), Space: r.here()}
	t, err := r.s.Instance.CreateTeam(r.ctx, r.system, in)
	if err != nil {
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			return people.ShowNewTeam(people.NewTeam{Page: r.teamsPage("Add a team"), Name: in.Name, Description: in.Description, Errors: e})
		})
	}
	return r.see(views.TeamURL(r.slugHere(), t.APIID()))
}

func teamPage(r *request) error {
	t, err := r.team()
	if err != nil {
		return err
	}
	m, err := r.teamModel(t)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, people.ShowTeam(m))
}

// teamModel draws a team. What was typed into a form stands in it again.
func (r *request) teamModel(t instance.Team) (people.Team, error) {
	m := people.Team{ID: t.APIID(), Name: t.Name, Description: t.Description, Everyone: t.Word == "everyone", BuiltIn: t.Word != "", User: r.value("user"), GroupID: r.value("group"), GroupName: r.value("groupName")}
	m.CanEdit, m.Why = r.canFor(access.TeamEdit, t.Space)
	m.CanDelete, m.WhyNotDelete = r.canFor(access.TeamDelete, t.Space)
	m.CanGive, m.WhyNotGive = m.CanEdit, m.Why
	m.Page = r.teamsPage(t.Name)
	for _, g := range t.Groups {
		m.Groups = append(m.Groups, people.Group{ID: g.ID, Name: g.Name})
	}
	users, err := r.s.Instance.Users(r.ctx)
	if err != nil {
		return m, err
	}
	browse := r.system.Permissions.Any(access.UserView)
	if browse {
		m.People = []ui.Option{{Label: "Choose a person", Disabled: true, Selected: m.User == ""}}
	}
	for _, u := range users {
		name := u.DisplayName
		if name == "" {
			name = u.Username
		}
		if slices.Contains(t.Members, u.ID) {
			m.Members = append(m.Members, people.Member{ID: u.APIID(), Name: name, Username: u.Username, Disabled: !u.IsActive, Service: u.IsService})
		} else if browse && u.IsActive {
			m.People = append(m.People, ui.Option{Value: u.Username, Label: name + " (" + u.Username + ")", Selected: u.Username == m.User})
		}
	}
	return m, r.teamRoles(&m, t)
}

// teamRoles adds the roles that a team has here, and those that it may be given.
func (r *request) teamRoles(m *people.Team, t instance.Team) error {
	roles, err := r.s.Instance.Roles(r.ctx)
	if err != nil {
		return err
	}
	given, err := r.s.Instance.ScopedRolesOf(r.ctx, t.ID)
	if err != nil {
		return err
	}
	m.RoleOptions = []ui.Option{{Label: "Choose a role", Disabled: true, Selected: r.value("role") == ""}} // none is given by mistake
	for _, x := range roles {
		if (len(x.Space) > 0) == (r.space != nil) {
			m.RoleOptions = append(m.RoleOptions, ui.Option{Value: x.ID, Label: x.Name, Selected: x.ID == r.value("role")})
		}
	}
	names, err := r.scopeNames(m)
	if err != nil {
		return err
	}
	mine, err := r.knownSpaces()
	if err != nil {
		return err
	}
	for _, g := range given {
		row := people.Given{ID: g.APIID(), Role: g.Role, Where: "the system"}
		if i := slices.IndexFunc(roles, func(x access.Role) bool { return x.ID == g.Role }); i >= 0 {
			row.Role, row.Description = roles[i].Name, roles[i].Description
		}
		switch {
		case r.space != nil && g.Space != r.here():
			continue
		case r.space != nil:
			row.Where = r.about.Name
		case g.Space != 0:
			i := slices.IndexFunc(mine, func(s instance.Space) bool { return s.Number == g.Space })
			if i < 0 {
				continue // a space that the person may not know of
			}
			row.Where, row.Href = mine[i].Name, views.TeamURL(mine[i].Slug, t.APIID())
		}
		for _, l := range []struct {
			what string
			ids  []string
		}{{"Project", g.Projects}, {"Project group", g.ProjectGroups}, {"Environment", g.Environments}, {"Tenant", g.Tenants}} {
			for _, id := range l.ids {
				name := names[id]
				if name == "" {
					name = id // what the person may not see, or is of another space
				}
				row.Limits = append(row.Limits, l.what+" "+name)
			}
		}
		m.Roles = append(m.Roles, row)
	}
	return nil
}

// knownSpaces are those that the person may enter, or with SpaceView all.
func (r *request) knownSpaces() ([]instance.Space, error) {
	if r.system.Permissions.Any(access.SpaceView) {
		return r.s.Instance.Spaces(r.ctx)
	}
	return r.s.Instance.SpacesOf(r.ctx, r.session.User.ID)
}

// scopeNames fills the lists of what a role may be limited to, and returns the names of
// what the person may see by API id.
func (r *request) scopeNames(m *people.Team) (map[string]string, error) {
	names := map[string]string{}
	if r.space == nil {
		return names, nil
	}
	option := func(to *[]ui.Option, field, id, name string) {
		names[id] = name
		*to = append(*to, ui.Option{Value: id, Label: name, Selected: slices.Contains(r.form[field], id)})
	}
	unless := func(err error) error {
		if errors.Is(err, errs.Denied) {
			return nil
		}
		return err
	}
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (none struct{}, err error) {
		projects, err := tx.Projects(0, spaces.All)
		if unless(err) != nil {
			return none, err
		}
		groups, err := tx.ProjectGroups(spaces.All)
		if unless(err) != nil {
			return none, err
		}
		environments, err := tx.Environments(spaces.All)
		if unless(err) != nil {
			return none, err
		}
		for _, p := range projects.Items {
			option(&m.ProjectOptions, "projects", p.ID.String(), p.Name)
		}
		for _, g := range groups.Items {
			option(&m.GroupOptions, "groups", g.ID.String(), g.Name)
		}
		for _, e := range environments.Items {
			option(&m.EnvironmentOptions, "environments", e.ID.String(), e.Name)
		}
		return none, nil
	})
	return names, err
}

// changeTeam answers a form of the page of a team; do says what it changes.
func changeTeam(form string, do func(*request, instance.Team) error) func(*request) error {
	return func(r *request) error {
		t, err := r.team()
		if err != nil {
			return err
		}
		err = do(r, t)
		if err == nil {
			if form == "delete" {
				return r.see(r.teamsURL())
			}
			return r.see(views.TeamURL(r.slugHere(), t.APIID()))
		}
		m, failure := r.teamModel(t)
		if failure != nil {
			return failure
		}
		if form == "team" {
			m.Name, m.Description = r.value("name"), r.value("description")
		}
		rename := map[string]string{"UserRoleId": "role", "SpaceId": "", "SpaceManagersTeamMembers": "", "ExternalSecurityGroups": "group"}
		return r.again(err, rename, func(e []ui.FieldError) templ.Component {
			m.Failed, m.Errors = form, e
			return people.ShowTeam(m)
		})
	}
}

// saveTeam stores a team as read with what change does to it.
func (r *request) saveTeam(t instance.Team, change func(*instance.TeamInput)) error {
	in := instance.TeamInput{Name: t.Name, Description: t.Description, Space: t.Space, Members: slices.Clone(t.Members), Groups: slices.Clone(t.Groups)}
	change(&in)
	_, err := r.s.Instance.UpdateTeam(r.ctx, r.system, t, in)
	return err
}

func renameTeam(r *request, t instance.Team) error {
	return r.saveTeam(t, func(in *instance.TeamInput) { in.Name, in.Description = r.value("name"), r.value("description") })
}

func wrongField(name, format string, args ...any) error {
	return &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: name, Message: fmt.Sprintf(format, args...)}}}
}

func addMember(r *request, t instance.Team) error {
	if ok, _ := r.canFor(access.TeamEdit, t.Space); !ok { // before telling who is known here
		return access.Missing(access.TeamEdit)
	}
	u, err := r.s.Instance.UserBy(r.ctx, r.value("user"))
	if errors.Is(err, errs.NotFound) {
		return wrongField("user", "There is no user '%s'.", r.value("user"))
	}
	if err != nil {
		return err
	}
	return r.saveTeam(t, func(in *instance.TeamInput) { in.Members = append(in.Members, u.ID) })
}

func removeMember(r *request, t instance.Team) error {
	return r.saveTeam(t, func(in *instance.TeamInput) {
		in.Members = slices.DeleteFunc(in.Members, func(n int64) bool { return instance.User{ID: n}.APIID() == r.value("id") })
	})
}

func addGroup(r *request, t instance.Team) error {
	return r.saveTeam(t, func(in *instance.TeamInput) {
		in.Groups = append(in.Groups, instance.ExternalGroup{ID: r.value("group"), Name: r.value("groupName")})
	})
}

func removeGroup(r *request, t instance.Team) error {
	return r.saveTeam(t, func(in *instance.TeamInput) {
		in.Groups = slices.DeleteFunc(in.Groups, func(g instance.ExternalGroup) bool { return g.ID == r.value("id") })
	})
}

func giveRole(r *request, t instance.Team) error {
	_, err := r.s.Instance.CreateScopedRole(r.ctx, r.system, instance.ScopedRole{TeamID: t.ID, Role: r.value("role"), Space: r.here(), Projects: r.form["projects"], ProjectGroups: r.form["groups"], Environments: r.form["environments"]})
	return err
}

func takeRole(r *request, t instance.Team) error {
	g, err := r.s.Instance.ScopedRoleBy(r.ctx, r.value("id"))
	if err != nil {
		return err
	}
	mine, err := r.knownSpaces()
	if err != nil {
		return err
	}
	hidden := g.Space != 0 && !slices.ContainsFunc(mine, func(s instance.Space) bool { return s.Number == g.Space })
	if g.TeamID != t.ID || r.space != nil && g.Space != r.here() || r.space == nil && hidden {
		return errs.Missing("scoped user role", r.value("id"))
	}
	return r.s.Instance.DeleteScopedRole(r.ctx, r.system, g)
}

func deleteTeam(r *request, t instance.Team) error {
	if r.value("name") != t.Name {
		return wrongField("delete-name", "Type %s to delete this team.", t.Name)
	}
	return r.s.Instance.DeleteTeam(r.ctx, r.system, t)
}
