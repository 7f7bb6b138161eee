package infrastructure

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
)

// Fixtures are the pages of this package in their states.
func Fixtures() []views.Fixture {
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	page := func(title string) views.Page { return views.SamplePage(title, "Infrastructure") }
	const long = "A name that somebody wrote in full because it had to say everything about the machine at once"
	const denied = "You do not have the permission MachineEdit for this. Ask a manager of this space to grant it."
	health := []Count{{N: 2, Tone: ui.Bad, Word: "unhealthy"}, {N: 1, Tone: ui.Waiting, Word: "with warnings"}, {N: 140, Tone: ui.Good, Word: "healthy"}, {N: 3, Tone: ui.Idle, Word: "disabled"}}
	usual := []EnvironmentRow{{ID: "Environments-1", Slug: "dev", Name: "Development", Flags: []string{"Dynamic targets"}, Counts: health[2:], Targets: 143}, {ID: "Environments-2", Slug: "test", Name: "Test", Description: "Where testers look before anything goes further."},
		{ID: "Environments-3", Slug: "prod", Name: "Production", Description: long, Flags: []string{"Guided failure"}, Counts: health, Targets: 146}}
	var many []EnvironmentRow
	var rows []TargetRow
	var runs []Visit
	var where []Choice
	for i := range 300 {
		tone, word, sum := ui.Good, "Healthy", ""
		if i < 4 {
			tone, word, sum = ui.Bad, "Unavailable", "The agent did not answer within 10 s: dial tcp 192.0.2.17:10933: connection refused."
		}
		name := fmt.Sprintf("web-%03d", i+1)
		if i == 2 {
			name = long
		}
		rows = append(rows, TargetRow{Slug: name, Name: name, Word: word, Tone: tone, Summary: sum, Mode: []string{"Polling", "Listening"}[i%2], Version: "1.4.2", Environments: []string{"Production", "Staging"}[:1+i%2], Tags: []string{"web", "linux", "eu-central"}[:1+i%3], Checked: at})
		runs = append(runs, Visit{Project: fmt.Sprint("Project ", i+1), Environment: "Production", Version: "2026.11.3+build." + fmt.Sprint(i), Href: "/d", Tone: tone, Word: "Succeeded", At: at})
		if i < 60 {
			many = append(many, EnvironmentRow{ID: fmt.Sprint("Environments-", i+1), Slug: fmt.Sprint("e", i), Name: fmt.Sprint("Region ", i+1), Counts: health, Targets: 146})
			where = append(where, Choice{Value: fmt.Sprint("Environments-", i+1), Label: fmt.Sprint("Region ", i+1), Checked: i == 3})
		}
	}
	print := strings.Repeat("4f9ac1", 11)[:64]
	environment := Environment{Page: page("Production"), Slug: "prod", Name: "Production", Description: "What customers use.", Flags: []string{"Guided failure"}, Runs: runs[:6], Counts: health, Targets: rows[:8], TargetTotal: 146, CanEdit: true, CanAdd: true}
	full := environment
	full.Name, full.Runs, full.More, full.Targets = long, runs, true, rows[:50]
	options := []ui.Option{{Label: "Any"}, {Value: "prod", Label: "Production", Selected: true}}
	targets := Targets{Page: page("Targets"), Own: "/spaces/payments/targets", Environments: options, Tags: options[:1], Health: options[:1], Rows: rows[:100], Pager: ui.PagerProps{Text: "1–100 of 10000 targets", Next: "?skip=100"}, CanAdd: true, CanCheck: true}
	none := targets
	none.Rows, none.Pager = nil, ui.PagerProps{}
	nomatch := none
	nomatch.Filtered, nomatch.Query = true, "db"
	target := Target{Page: page("web-001"), Slug: "web-001", Name: "web-001", Tone: ui.Bad, Word: "Unavailable", Summary: rows[0].Summary, Checked: at, CanEdit: true, CanCheck: true, Visits: runs[:5],
		Checks:  []Check{{ID: "ServerTasks-81", Word: "Running", Tone: ui.Running, At: at, By: "ana"}, {ID: "ServerTasks-80", Word: "Succeeded", Tone: ui.Good, At: at, By: "Octopuses"}},
		History: []HealthChange{{At: at, Text: rows[0].Summary, Tone: ui.Bad, Word: "Unavailable"}, {At: at, Text: "Ready for work.", Tone: ui.Good, Word: "Healthy"}},
		Facts:   []ui.Pair{{Key: "Environments", Body: ui.Chips([]string{"Production"})}, {Key: "Tags", Body: ui.Chips([]string{"web", "linux"})}, {Key: "Agent", Text: "Listening: this server connects to it"}, {Key: "Thumbprint", Body: ui.Version(print)}}}
	forbidden := target
	forbidden.Disabled, forbidden.CanEdit, forbidden.CanCheck, forbidden.WhyEdit, forbidden.WhyCheck, forbidden.WhyNoHistory = true, false, false, denied, denied, denied
	forbidden.Visits, forbidden.Checks = nil, nil
	form := EnvironmentForm{Page: page("Edit Production"), Slug: "prod", Stored: "Production", Name: "Production", CanEdit: true, CanDelete: true}
	used := form
	used.Uses, used.Guided = []string{"Lifecycle of Default", "Variables of Web shop", "146 deployment targets", "2041 deployments in the history"}, true
	taken := EnvironmentForm{Page: page("Add an environment"), Name: "Production", CanEdit: true, Errors: []ui.FieldError{{Name: "name", Message: "An environment named 'Production' already exists."}}}
	edit := TargetForm{Page: page("Edit web-001"), Slug: "web-001", Stored: "web-001", Name: "web-001", Tags: "web, linux", Address: "https://web-001:10933/", Thumb: print, Environments: where[:4], Known: []string{"web", "linux", "db"}, CanEdit: true, CanDelete: true}
	wrong := edit
	wrong.Environments, wrong.Tags, wrong.Errors = where, "", []ui.FieldError{{Name: "environmentIds", Message: "A target belongs to at least one environment."}, {Name: "roles", Message: "A target has at least one target tag, by which steps find it."}}
	reg := Registration{Page: page("Add a target"), ID: "Registrations-7", Fresh: true, Polling: "octopuses agent register 'octopuses-agent:" + strings.Repeat("eyJ1cmwiOiJodHRwcz", 18) + "' && octopuses agent run", Listening: "octopuses agent register 'octopuses-agent:" + strings.Repeat("eyJ1cmwiOiJodHRwcz", 18) + "' --listen :10933 && octopuses agent run", Server: print, Environments: []string{"Production"}, Tags: []string{"web"}, UsesLeft: 1, Open: true, Expires: at}
	came := reg
	came.Fresh, came.Rows, came.Total, came.UsesLeft, came.Open = false, rows[4:5], 1, 0, false
	late := reg
	late.Fresh, late.Open = false, false
	noTLS := reg
	noTLS.Polling, noTLS.NoPolling, noTLS.Warning = "", "This server takes no polling agents.", "This server is reached without TLS at http://deploy.example:8080."
	return []views.Fixture{
		{Name: "environments empty", Component: ShowEnvironments(Environments{Page: page("Environments"), CanCreate: true})},
		{Name: "environments usual", Component: ShowEnvironments(Environments{Page: page("Environments"), Rows: usual, CanSort: true, CanCreate: true})},
		{Name: "environments full", Component: ShowEnvironments(Environments{Page: page("Environments"), Rows: many, WhyNot: denied})},
		{Name: "environment empty", Component: ShowEnvironment(Environment{Page: page("Test"), Slug: "test", Name: "Test", CanEdit: true, CanAdd: true})},
		{Name: "environment usual", Component: ShowEnvironment(environment)}, {Name: "environment full", Component: ShowEnvironment(full)},
		{Name: "environment new failed", Component: ShowEnvironmentForm(taken)}, {Name: "environment edit usual", Component: ShowEnvironmentForm(form)}, {Name: "environment edit used", Component: ShowEnvironmentForm(used)},
		{Name: "targets empty", Component: ShowTargets(none)}, {Name: "targets full", Component: ShowTargets(targets)}, {Name: "targets no match", Component: ShowTargets(nomatch)},
		{Name: "target usual", Component: ShowTarget(target)}, {Name: "target forbidden", Component: ShowTarget(forbidden)},
		{Name: "target edit usual", Component: ShowTargetForm(edit)}, {Name: "target edit failed", Component: ShowTargetForm(wrong)},
		{Name: "target new usual", Component: ShowNewTarget(NewTarget{Page: page("Add a target"), Environments: where[:5], Known: []string{"web"}, Uses: "1", Hours: "1", CanAdd: true})},
		{Name: "target registering", Component: ShowRegistration(reg)}, {Name: "target registered", Component: ShowRegistration(came)}, {Name: "target token expired", Component: ShowRegistration(late)}, {Name: "target registering without TLS", Component: ShowRegistration(noTLS)},
	}
}
