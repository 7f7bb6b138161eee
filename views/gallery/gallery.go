// Package gallery draws every page in every state from fixtures: for the tests
// that look at all of them, and for eyes.
package gallery

import (
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/infrastructure"
	"octopuses.dev/octopuses/views/lifecycles"
	"octopuses.dev/octopuses/views/packages"
	"octopuses.dev/octopuses/views/people"
	"octopuses.dev/octopuses/views/projects"
	"octopuses.dev/octopuses/views/zones"
)

// Pages are all fixtures. An area adds its line here.
func Pages() []views.Fixture {
	p := views.SamplePage("Not found", "")
	all := []views.Fixture{
		{Name: "kit", Component: kit()},
		{Name: "error 404", Component: views.ErrorPage(p, views.Failure{Status: 404, Title: "Not found", Text: "There is no such page, or none that you may see.", RequestID: "01KAV2"})},
		{Name: "error signed out", Component: views.ErrorPage(views.Page{Title: "Something broke"}, views.Failure{Status: 500, Title: "Something broke", Text: "The fault is ours. It is in the log of the server.", RequestID: "01KAV3"})},
	}
	all = append(all, account.Fixtures()...)
	all = append(all, projects.DashboardFixtures()...)
	all = append(all, packages.Fixtures()...)
	all = append(all, zones.Fixtures()...)
	all = append(all, infrastructure.Fixtures()...)
	all = append(all, lifecycles.Fixtures()...)
	all = append(all, people.Fixtures()...)
	return all
}
