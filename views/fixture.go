package views

import (
	"github.com/a-h/templ"

	"octopuses.dev/octopuses/views/ui"
)

// Fixture is a page in one state, for the gallery: drawn from made-up data, no
// database. Each area package has Fixtures() and a line in gallery.Pages.
type Fixture struct {
	Name      string // "area/page state", as "account/keys empty"
	Component templ.Component
}

// SamplePage is the frame of fixtures: a person in a space with siblings.
func SamplePage(title, section string) Page {
	s := &Space{Slug: "payments", Name: "Payments"}
	return Page{Title: title, Section: section, Person: &Person{Name: "Ana Lovelace", Server: []ui.MenuItem{{Label: "People", Icon: "users", Href: UsersURL()}, {Label: "Audit of the server", Icon: "scroll-text", Href: AdminAuditURL()}}}, Space: s,
		Spaces: []Space{*s, {Slug: "web", Name: "Web shop"}, {Slug: "data", Name: "Data platform"}}, Running: 2, Inbox: 1, CSRF: "token"}
}
