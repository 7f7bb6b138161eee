package projects

import (
	"fmt"
	"time"

	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
)

// DashboardFixtures is the dashboard in its states.
func DashboardFixtures() []views.Fixture {
	empty := Dashboard{Page: views.SamplePage("Dashboard", "Dashboard"), CanCreate: true}
	forbidden := empty
	forbidden.CanCreate, forbidden.Why = false, "You need ProjectCreate; a space manager can grant it."
	none := empty
	none.Query = "zzz"
	return []views.Fixture{
		{Name: "dashboard empty", Component: Show(empty)}, {Name: "dashboard forbidden", Component: Show(forbidden)},
		{Name: "dashboard no match", Component: Show(none)},
		{Name: "dashboard usual", Component: Show(sample(2, 3))}, {Name: "dashboard huge", Component: Show(sample(5, 10))},
	}
}

func sample(groups, rows int) Dashboard {
	at := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	d := Dashboard{Page: views.SamplePage("Dashboard", "Dashboard"), CanCreate: true,
		Environments: []Column{{Name: "Development"}, {Name: "Test"}, {Name: "Staging"}, {Name: "Production EU", Zone: "eu-vault", Link: "/l", Tone: ui.Good, Word: "Active, by hand"}, {Name: "Production US", Zone: "us-east", Link: "/l", Tone: ui.Waiting, Word: "Out of reach", Heard: time.Now().Add(-3 * time.Hour)}}}
	names := []string{"Checkout", "Ledger", "Card gateway", "Payment reconciliation with a really long name", "Web shop", "Mail"}
	for g := range groups {
		grp := Group{Name: []string{"Core", "Edge", "Reports", "Tools", "Archive"}[g%5]}
		for r := range rows {
			n := g*rows + r
			row := Row{Slug: fmt.Sprint("p", n), Name: names[n%len(names)]}
			for e := range d.Environments {
				c := Cell{Version: fmt.Sprintf("2.%d.%d", 14-e, n), Href: "/d", Tone: ui.Good, Word: "Succeeded", At: at.Add(-time.Duration(n*7+e*19) * time.Hour)}
				switch {
				case (n+e)%7 == 3:
					c = Cell{}
				case (n+e)%9 == 1:
					c.Tone, c.Word = ui.Running, "Running"
				case (n+e)%8 == 2:
					c.Tone, c.Word = ui.Bad, "Failed"
				case (n+e)%11 == 4:
					c.Tone, c.Word, c.Version = ui.Waiting, "Waiting", c.Version+"-beta.1+build.20261123"
				}
				if c.Version != "" && e >= 3 {
					c.AsOf = at
					if c.Tone == ui.Good && n%3 == 2 {
						c.Tone, c.Word = ui.Idle, "Unknown"
					}
				}
				row.Cells = append(row.Cells, c)
			}
			grp.Rows = append(grp.Rows, row)
		}
		d.Groups = append(d.Groups, grp)
	}
	return d
}
