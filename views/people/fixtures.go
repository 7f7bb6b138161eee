package people

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
)

// Fixtures are the pages of this package in their states.
func Fixtures() []views.Fixture {
	page := func(title string) views.Page { return views.SamplePage(title, "Settings") }
	system := page("Teams of the system")
	system.Space = nil
	long := strings.Repeat("Vertriebsabrechnung", 4)
	denied := "You do not have the permission TeamEdit for this. Ask a manager of this space to grant it."
	rows := []TeamRow{{ID: "teams-everyone", Name: "Everyone", Everyone: true, BuiltIn: true, OfSystem: true}, {ID: "Teams-7", Name: "Web shop", Description: "Builds and runs the shop.", Members: 4, Groups: 1, Roles: []string{"Project lead", "Deployment creator"}}}
	var many []TeamRow
	for n := range 300 {
		many = append(many, TeamRow{ID: fmt.Sprintf("Teams-%d", n), Name: fmt.Sprintf("%s %d", long, n), Members: n})
	}
	options := []ui.Option{{Value: "1", Label: "Shop"}, {Value: "2", Label: long}}
	empty := Team{Page: page("Web shop"), ID: "Teams-7", Name: "Web shop", CanEdit: true, CanDelete: true, CanGive: true, RoleOptions: options, ProjectOptions: options, GroupOptions: options, EnvironmentOptions: options}
	usual := empty
	usual.Description, usual.People = "Builds and runs the shop.", options
	usual.Members = []Member{{ID: "Users-1", Name: "Ana Lovelace", Username: "ana"}, {ID: "Users-2", Name: long, Username: "ci", Service: true, Disabled: true}}
	usual.Groups = []Group{{ID: "9f2c4d1e-0001", Name: "Shop developers"}}
	usual.Roles = []Given{{ID: "ScopedUserRoles-1", Role: "Project lead", Description: "Edits projects.", Where: "Payments"}, {ID: "ScopedUserRoles-2", Role: "Project deployer", Where: "Payments", Limits: []string{"Project Shop", "Environment " + long}}}
	failed, mistyped, refused, everyone := usual, usual, usual, usual
	failed.Failed, failed.People, failed.User, failed.Errors = "member", nil, "anna", []ui.FieldError{{Name: "user", Message: "There is no user 'anna'."}}
	mistyped.Failed, mistyped.Errors = "delete", []ui.FieldError{{Name: "delete-name", Message: "Type Web shop to delete this team."}}
	refused.CanEdit, refused.CanDelete, refused.CanGive, refused.Why, refused.WhyNotDelete, refused.WhyNotGive = false, false, false, denied, denied, denied
	everyone.Name, everyone.BuiltIn, everyone.Everyone, everyone.Members, everyone.Page = "Everyone", true, true, nil, system
	keys := Keys{Page: page("Keys"), ID: "46dd881d8fd79ad4", File: "/var/lib/octopuses/keys/master.key", Spaces: options}
	keys.Page.Space = nil
	after, given := keys, Keys{Page: keys.Page, ID: keys.ID}
	after.Old, after.Left = []string{"master.key.old-c43a9b35b0c3dda6"}, []string{"Payments (The file of space 'Payments' is missing)"}
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	server := page("People")
	server.Space = nil
	var crowd []UserRow
	for n := range 100 {
		crowd = append(crowd, UserRow{ID: fmt.Sprintf("Users-%d", n), Username: fmt.Sprintf("user%d", n), Name: fmt.Sprintf("Person %d", n), Email: fmt.Sprintf("user%d@example.com", n), Admin: n == 0, Service: n%7 == 3, Disabled: n%9 == 4, LastSeen: at})
	}
	person := User{Page: server, ID: "Users-2", Username: "bo", Name: "Bo Lind", Email: "bo@example.com", HasPassword: true, Authenticator: true, RecoveryCodes: 9, Passkeys: []UserPasskey{{ID: "1", Name: "Phone", Added: at, Used: at}, {ID: "2", Name: "A blue security key that lies in the drawer, left", Added: at}}, Created: at, LastSeen: at, CanEdit: true,
		Teams: []TeamRef{{Name: "Everyone", Href: "/t", Where: "of the system"}, {Name: "Web shop", Href: "/t", Where: "of Payments"}}, Identities: []string{"Example Login: 9f2c4d1e"},
		Sessions: []UserSession{{ID: "a", Address: "192.0.2.7", Agent: "Firefox on Linux", Created: at, Seen: at}}, Keys: []UserKey{{ID: "1", Purpose: "Laptop", Hint: "API-KX", Created: at, LastUsed: at}}}
	robot, untouchable, mistyped2 := person, person, person
	robot.Service, robot.HasPassword, robot.Authenticator, robot.Sessions, robot.Identities, robot.Name, robot.Username, robot.NewKey = true, false, false, nil, nil, "Builds of the web shop", "ci", "API-7QHX2M4Z9K3V8T1B6N5C"
	untouchable.CanEdit, untouchable.Why, untouchable.Admin, untouchable.Disabled = false, "bo has the permission AdministerSystem, which you have not.", true, true
	mistyped2.Failed, mistyped2.Errors = "password", []ui.FieldError{{Name: "password", Message: "A password has at least 12 characters."}}
	groups := []PermissionGroup{{Name: "Deployment", Items: []ui.Option{{Value: "DeploymentView", Label: "View", Selected: true}, {Value: "DeploymentCreate", Label: "Create", Selected: true}, {Value: "DeploymentDelete", Label: "Delete"}}}, {Name: "Machine", Items: []ui.Option{{Value: "MachineView", Label: "View", Selected: true}, {Value: "MachineEdit", Label: "Edit"}}}, {Name: "Link", Items: []ui.Option{{Value: "LinkAdminister", Label: "Administer"}}}}
	role := Role{Page: server, ID: "UserRoles-1", Name: "Night shift", Description: "Deploys at night.", CanEdit: true, Space: groups, System: groups[2:], Teams: []TeamRef{{Name: "Web shop", Href: "/t", Where: "in Payments"}}}
	fixed := role
	fixed.CanEdit, fixed.BuiltIn, fixed.Why = false, true, "A built-in role stays as it is. Add one of your own with other permissions."
	through := []Through{{Role: "Project deployer", RoleHref: "/r", Team: "Web shop", TeamHref: "/t", Limits: []string{"Project Shop", "Environment " + long}}, {Role: "Project viewer", RoleHref: "/r", Team: "Everyone", TeamHref: "/t"}}
	asked := Who{Page: page("Who may"), Question: "Who has DeploymentCreate for the project Shop and the environment Production", Permissions: options, Projects: options, Environments: options, Holders: []Holder{{Name: "Bo Lind", Username: "bo", Href: "/u", Through: through}, {Name: "Builds of the web shop", Username: "ci", Service: true, Through: through[:1]}}}
	nobody := asked
	nobody.Holders = nil
	return []views.Fixture{
		{Name: "people/users usual", Component: ShowUsers(Users{Page: server, Rows: crowd[:12], CanInvite: true})}, {Name: "people/users full", Component: ShowUsers(Users{Page: server, Rows: crowd, Why: "You do not have the permission UserInvite.", Pager: ui.PagerProps{Text: "1–100 of 340", Next: "?skip=100"}})}, {Name: "people/users none", Component: ShowUsers(Users{Page: server, Query: "zzz"})},
		{Name: "people/user new failed", Component: ShowNewUser(NewUser{Page: server, Username: "bo", Errors: []ui.FieldError{{Name: "username", Message: "There is already a user called 'bo'."}}})},
		{Name: "people/user person", Component: ShowUser(person)}, {Name: "people/user service", Component: ShowUser(robot)}, {Name: "people/user denied", Component: ShowUser(untouchable)}, {Name: "people/user failed", Component: ShowUser(mistyped2)},
		{Name: "people/roles", Component: ShowRoles(Roles{Page: server, CanCreate: true, Rows: []RoleRow{{ID: "userroles-projectlead", Name: "Project lead", Description: "Edits projects and makes releases. Cannot deploy.", BuiltIn: true, Permissions: 41, Teams: 2}, {ID: "UserRoles-1", Name: long, Permissions: 3}}})},
		{Name: "people/role own", Component: ShowRole(role)}, {Name: "people/role built in", Component: ShowRole(fixed)},
		{Name: "people/permissions", Component: ShowPermissions(Permissions{Page: server, Name: "Bo Lind", Hidden: true, Areas: []Area{{Name: "The system", Roles: through[1:], Permissions: groups}, {Name: "Payments", Roles: through, Permissions: groups}}})}, {Name: "people/permissions none", Component: ShowPermissions(Permissions{Page: server, Name: "Bo Lind"})},
		{Name: "people/who", Component: ShowWho(asked)}, {Name: "people/who nobody", Component: ShowWho(nobody)},
		{Name: "people/keys", Component: ShowKeys(keys)}, {Name: "people/keys exchanged", Component: ShowKeys(after)}, {Name: "people/keys given", Component: ShowKeys(given)},
		{Name: "people/teams usual", Component: ShowTeams(Teams{Page: page("Teams"), Rows: rows, CanCreate: true})},
		{Name: "people/teams of the system", Component: ShowTeams(Teams{Page: system, Rows: rows[:1], Why: denied})},
		{Name: "people/teams full", Component: ShowTeams(Teams{Page: page("Teams"), Rows: many, CanCreate: true})},
		{Name: "people/new team failed", Component: ShowNewTeam(NewTeam{Page: page("Add a team"), Errors: []ui.FieldError{{Name: "name", Message: "A team needs a name."}}})},
		{Name: "people/team empty", Component: ShowTeam(empty)}, {Name: "people/team usual", Component: ShowTeam(usual)},
		{Name: "people/team unknown member", Component: ShowTeam(failed)}, {Name: "people/team delete mistyped", Component: ShowTeam(mistyped)},
		{Name: "people/team denied", Component: ShowTeam(refused)}, {Name: "people/team everyone", Component: ShowTeam(everyone)},
	}
}
