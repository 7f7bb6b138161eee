package lifecycles

import (
	"strings"

	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
)

// Fixtures are the pages of this package in their states.
func Fixtures() []views.Fixture {
	page := func(title string) views.Page { return views.SamplePage(title, "Library") }
	stages := []ui.Stage{{Name: "Build", Boxes: []ui.Box{{Name: "Development", State: "by hand"}, {Name: "Test", State: "by itself"}}}, {Name: "Live", Boxes: []ui.Box{{Name: "Prod", State: "another zone", Remote: true}}}}
	uses := []Use{{"Web shop", "/p"}, {strings.Repeat("Vertriebsabrechnung", 4), "/q"}}
	environments := []ui.Option{{Value: "Environments-1", Label: "Development", Selected: true}, {Value: "Environments-2", Label: "Test"}}
	phase := Phase{ID: "1", Name: "Build", Minimum: "0", Manual: environments, Automatic: environments, Remote: []ui.Option{{Value: "Links-1", Label: "Prod"}}}
	second := phase
	second.Name, second.Optional = "Live", true
	editor := Editor{Page: page("Default lifecycle"), ID: "Lifecycles-1", Name: "Default", Version: 3, Phases: []Phase{phase, second}, CanEdit: true, Projects: uses}
	changed, failed, denied := editor, editor, editor
	changed.Changed, changed.Projects, changed.CanDelete = true, nil, true
	failed.Errors = []ui.FieldError{{Name: "name", Message: "A lifecycle needs a name."}}
	denied.CanEdit, denied.Why = false, "You do not have the permission LifecycleEdit for this. Ask a manager of this space to grant it."
	return []views.Fixture{
		{Name: "lifecycles/list usual", Component: ShowList(List{Page: page("Lifecycles"), CanCreate: true, Rows: []Row{{ID: "Lifecycles-1", Name: "Default", IsDefault: true}, {ID: "Lifecycles-2", Name: "To production", Description: "Through the other zone.", Stages: stages, Projects: uses}}})},
		{Name: "lifecycles/editor usual", Component: ShowEditor(editor)}, {Name: "lifecycles/editor changed", Component: ShowEditor(changed)},
		{Name: "lifecycles/editor failed", Component: ShowEditor(failed)}, {Name: "lifecycles/editor denied", Component: ShowEditor(denied)},
		{Name: "lifecycles/editor new", Component: ShowEditor(Editor{Page: page("Add a lifecycle"), CanEdit: true})},
	}
}
