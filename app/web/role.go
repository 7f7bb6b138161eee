package web

import (
	"slices"
	"strings"
	"unicode"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/people"
	"octopuses.dev/octopuses/views/ui"
)

func roleRoutes() []route {
	const p = "/admin/roles"
	return []route{
		get(p, signedIn, access.UserRoleView, roleList),
		get(p+"/new", signedIn, access.UserRoleEdit, newRole), post(p, signedIn, access.UserRoleEdit, createRole),
		get(p+"/:role", signedIn, access.UserRoleView, rolePage),
		post(p+"/:role", signedIn, access.UserRoleEdit, saveRole),
		post(p+"/:role/delete", signedIn, access.UserRoleEdit, deleteRole),
	}
}

func builtIn(r access.Role) bool {
	return !strings.HasPrefix(strings.ToLower(r.ID), "userroles-") || !isNumber(r.ID[len("userroles-"):])
}

func isNumber(text string) bool {
	return text != "" && strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' }) < 0
}

func roleList(r *request) error {
	all, err := r.s.Instance.Roles(r.ctx)
	if err != nil {
		return err
	}
	given, err := r.s.Instance.ScopedRoles(r.ctx)
	if err != nil {
		return err
	}
	m := people.Roles{Page: r.pageFor("Roles", "")}
	m.CanCreate, m.Why = r.canFor(access.UserRoleEdit, 0)
	for _, x := range all {
		teams := map[int64]bool{}
		for _, g := range given {
			if g.Role == x.ID {
				teams[g.TeamID] = true
			}
		}
		m.Rows = append(m.Rows, people.RoleRow{ID: x.ID, Name: x.Name, Description: x.Description, BuiltIn: builtIn(x), OfSystem: len(x.Space) == 0, Permissions: len(x.System) + len(x.Space), Teams: len(teams)})
	}
	return r.render(fiber.StatusOK, people.ShowRoles(m))
}

// permissionGroups puts permissions into groups by what they are about; held are chosen.
func permissionGroups(all []access.Permission, held func(access.Permission) bool) (groups []people.PermissionGroup) {
	for _, p := range all {
		about, does := splitPermission(string(p))
		i := slices.IndexFunc(groups, func(g people.PermissionGroup) bool { return g.Name == about })
		if i < 0 {
			i = len(groups)
			groups = append(groups, people.PermissionGroup{Name: about})
		}
		groups[i].Items = append(groups[i].Items, ui.Option{Value: string(p), Label: does, Selected: held(p)})
	}
	return groups
}

// splitPermission reads MachineView as "Machine" and "View", and VariableEditUnscoped as
// "Variable" and "Edit unscoped".
func splitPermission(p string) (about, does string) {
	for _, verb := range []string{"ViewUnscoped", "EditUnscoped", "ViewSubmitResponsible", "View", "Create", "Edit", "Delete", "Administer", "Invite", "Push", "Download", "Submit", "Cancel", "Report", "Resolve", "Promote", "Export", "Import", "Approve"} {
		if noun, ok := strings.CutSuffix(p, verb); ok && noun != "" {
			return words(noun), words(verb)
		}
	}
	if noun, ok := strings.CutPrefix(p, "Administer"); ok {
		return words(noun), "Administer"
	}
	if noun, ok := strings.CutPrefix(p, "Configure"); ok {
		return words(noun), "Configure"
	}
	return words(p), words(p)
}

// words parts a name at its capital letters: BuiltInFeed is "Built in feed".
func words(name string) string {
	var b strings.Builder
	for i, c := range name {
		if i > 0 && unicode.IsUpper(c) {
			b.WriteByte(' ')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

func (r *request) rolePageFor(title string) views.Page {
	p := r.pageFor(title, "")
	p.Crumbs = []ui.Crumb{{Label: "People", Href: views.UsersURL()}, {Label: "Roles", Href: views.RolesURL()}, {Label: title}}
	return p
}

func (r *request) role() (access.Role, error) {
	role, err := r.s.Instance.RoleBy(r.ctx, r.param("role"))
	if err != nil {
		err = errs.Missing("role", r.param("role"))
	}
	return role, err
}

func rolePage(r *request) error {
	role, err := r.role()
	if err != nil {
		return err
	}
	m, err := r.roleModel(role)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, people.ShowRole(m))
}

func (r *request) roleModel(role access.Role) (people.Role, error) {
	m := people.Role{Page: r.rolePageFor(role.Name), ID: role.ID, Name: role.Name, Description: role.Description, BuiltIn: builtIn(role)}
	m.CanEdit, m.Why = r.canFor(access.UserRoleEdit, 0)
	if m.CanEdit && m.BuiltIn {
		m.CanEdit, m.Why = false, "A built-in role stays as it is. Add one of your own with other permissions."
	}
	m.System = permissionGroups(access.SystemPermissions(), func(p access.Permission) bool { return slices.Contains(role.System, p) })
	m.Space = permissionGroups(access.SpacePermissions(), func(p access.Permission) bool { return slices.Contains(role.Space, p) })
	if !r.system.Permissions.Any(access.TeamView) {
		return m, nil
	}
	given, err := r.s.Instance.ScopedRoles(r.ctx)
	if err != nil {
		return m, err
	}
	teams, err := r.s.Instance.Teams(r.ctx)
	if err != nil {
		return m, err
	}
	known, err := r.spaceNames()
	if err != nil {
		return m, err
	}
	for _, g := range given {
		i := slices.IndexFunc(teams, func(t instance.Team) bool { return t.ID == g.TeamID })
		if g.Role != role.ID || i < 0 {
			continue
		}
		if ref, ok := known.team(teams[i]); ok {
			if where, ok := known.where(g.Space); ok {
				ref.Where = "in " + where
				m.Teams = append(m.Teams, ref)
			}
		}
	}
	return m, nil
}

func newRole(r *request) error {
	return r.render(fiber.StatusOK, people.ShowRole(r.typedRole("")))
}

// typedRole is the form of a role with what was typed.
func (r *request) typedRole(id string) people.Role {
	m := people.Role{ID: id, Name: r.value("name"), Description: r.value("description"), CanEdit: true}
	m.System = permissionGroups(access.SystemPermissions(), func(p access.Permission) bool { return slices.Contains(r.form["system"], string(p)) })
	m.Space = permissionGroups(access.SpacePermissions(), func(p access.Permission) bool { return slices.Contains(r.form["space"], string(p)) })
	m.Page = r.rolePageFor("Add a role")
	if id != "" {
		m.Page = r.rolePageFor(m.Name)
	}
	return m
}

func (r *request) roleInput() instance.RoleInput {
	in := instance.RoleInput{Name: r.value("name"), Description: r.value("description")}
	for _, p := range r.form["system"] {
		in.System = append(in.System, access.Permission(p))
	}
	for _, p := range r.form["space"] {
		in.Space = append(in.Space, access.Permission(p))
	}
	return in
}

func createRole(r *request) error {
	role, err := r.s.Instance.CreateRole(r.ctx, r.system, r.roleInput())
	if err != nil {
		return r.roleAgain("", err)
	}
	return r.see(views.RoleURL(role.ID))
}

func (r *request) roleAgain(id string, err error) error {
	return r.again(err, map[string]string{"GrantedSpacePermissions": "", "GrantedSystemPermissions": ""}, func(e []ui.FieldError) templ.Component {
		m := r.typedRole(id)
		m.Errors = e
		return people.ShowRole(m)
	})
}

func saveRole(r *request) error {
	role, err := r.role()
	if err != nil {
		return err
	}
	if _, err := r.s.Instance.UpdateRole(r.ctx, r.system, role, r.roleInput()); err != nil {
		if builtIn(role) {
			return err
		}
		return r.roleAgain(role.ID, err)
	}
	return r.see(views.RoleURL(role.ID))
}

func deleteRole(r *request) error {
	role, err := r.role()
	if err != nil {
		return err
	}
	if err := r.s.Instance.DeleteRole(r.ctx, r.system, role); err != nil {
		m, failure := r.roleModel(role)
		if failure != nil {
			return failure
		}
		return r.again(err, nil, func(e []ui.FieldError) templ.Component { m.Errors = e; return people.ShowRole(m) })
	}
	return r.see(views.RolesURL())
}
