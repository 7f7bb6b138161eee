package people

import (
	"fmt"
	"strings"

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
	return []views.Fixture{
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
