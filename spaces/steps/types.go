package steps

import (
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Kind is the sort of control an input is drawn as.
type Kind string

// The kinds of inputs.
const (
	KindText     Kind = "text"
	KindLines    Kind = "lines" // several lines of text
	KindCode     Kind = "code"  // a Bash script
	KindNumber   Kind = "number"
	KindCheckbox Kind = "checkbox" // "True" or "False"
	KindFeature  Kind = "feature"  // checkbox that turns a feature of the action on
	KindChoice   Kind = "choice"
	KindTags     Kind = "tags"    // target tags, comma separated
	KindPackage  Kind = "package" // id of a package
	KindFeed     Kind = "feed"    // id of a feed
)

// Choice is one entry of a KindChoice.
type Choice struct{ Value, Label string }

// Input is one control of a step's form. Name is the property that it edits;
// for a KindFeature the name of the feature. When Feature is set, the input
// matters only while that feature is on.
type Input struct {
	Name      string
	Kind      Kind
	Label     string
	Help      string
	Default   string
	Required  bool
	Sensitive bool // the value is never shown again
	OnStep    bool // a property of the step, not of the action
	Feature   string
	Choices   []Choice
}

// Type is a step type.
type Type struct {
	ActionType  string // as in the API
	Name        string
	Description string
	HasPackage  bool // has a primary package
	Inputs      []Input

	check func(*Step, *Action, field, *errs.Check)
}

// The names of action types that we run.
const (
	ScriptType  = "Octopus.Script"
	PackageType = "Octopus.TentaclePackage"
)

// BuiltInFeed is the id of the feed that every space has.
const BuiltInFeed = "feeds-builtin"

// Types lists the step types in the order of the "add step" page.
func Types() []*Type { return []*Type{packageType(), scriptType()} }

// Lookup finds a step type by its action type.
func Lookup(actionType string) (*Type, bool) {
	for _, t := range Types() {
		if strings.EqualFold(t.ActionType, actionType) {
			return t, true
		}
	}
	return nil, false
}

// stepInputs are the inputs that every step has.
func stepInputs() []Input {
	return []Input{
		{Name: TargetRolesProperty, Kind: KindTags, Label: "Target tags", Required: true, OnStep: true,
			Help: "The step runs on every target of the environment that carries one of these tags."},
		{Name: MaxParallelismProperty, Kind: KindText, Label: "Window size", OnStep: true,
			Help: "Roll over the targets, so many at a time. Empty: all targets at once."},
	}
}

// New makes a step of this type with defaults, not yet valid: what has no
// default is empty.
func (t *Type) New(name string) Step {
	s := Step{Name: name, Properties: Properties{}, Condition: Success, StartTrigger: StartAfterPrevious, PackageRequirement: LetOctopusDecide,
		Actions: []Action{{Name: name, ActionType: t.ActionType, Properties: Properties{}}}}
	values := map[string]string{}
	for _, in := range t.Inputs {
		if in.Default != "" {
			values[in.Name] = in.Default
		}
	}
	t.Apply(&s, &s.Actions[0], values)
	return s
}

// Apply puts the values of a submitted form into a step and one of its actions.
// Inputs that values does not name stay as they are; an empty value of a
// sensitive input keeps what is stored.
func (t *Type) Apply(s *Step, a *Action, values map[string]string) {
	if s.Properties == nil {
		s.Properties = Properties{}
	}
	if a.Properties == nil {
		a.Properties = Properties{}
	}
	for _, in := range t.Inputs {
		value, given := values[in.Name]
		if !given {
			continue
		}
		value = strings.ReplaceAll(value, "\r\n", "\n") // what browsers send
		to := a.Properties
		if in.OnStep {
			to = s.Properties
		}
		switch {
		case in.Kind == KindFeature:
			a.enable(in.Name, strings.EqualFold(value, "true"))
		case in.Sensitive && value != "":
			to[in.Name] = Sensitive(value)
		case in.Sensitive:
		default:
			to.Set(in.Name, value)
		}
	}
	if t.HasPackage {
		a.syncPackage(values)
	}
}

// Value reads what Apply wrote, for drawing the form again; always "" for a
// sensitive input.
func (t *Type) Value(s *Step, a *Action, in Input) string {
	switch {
	case in.Kind == KindFeature && a.Enabled(in.Name):
		return "True"
	case in.Kind == KindFeature:
		return "False"
	case in.Kind == KindPackage || in.Kind == KindFeed:
		if p, ok := a.Primary(); ok {
			if in.Kind == KindFeed {
				return p.FeedID
			}
			return p.PackageID
		}
	}
	if in.OnStep {
		return s.Properties.Get(in.Name)
	}
	return a.Properties.Get(in.Name)
}

const featuresProperty = "Octopus.Action.EnabledFeatures"

// Enabled reports whether a feature of the action is on.
func (a *Action) Enabled(feature string) bool {
	return slices.Contains(a.Properties.List(featuresProperty), feature)
}

func (a *Action) enable(feature string, on bool) {
	features := slices.DeleteFunc(a.Properties.List(featuresProperty), func(f string) bool { return f == feature })
	if on {
		features = append(features, feature)
	}
	a.Properties.Set(featuresProperty, strings.Join(features, ","))
}

// syncPackage keeps the primary package reference equal to the two properties
// in which Octopus repeats it.
func (a *Action) syncPackage(values map[string]string) {
	i := slices.IndexFunc(a.Packages, func(r PackageReference) bool { return r.Name == "" })
	if i < 0 {
		a.Packages = append(slices.Clone(a.Packages), PackageReference{FeedID: BuiltInFeed, AcquisitionLocation: "Server", Properties: Texts{}})
		i = len(a.Packages) - 1
	} else {
		a.Packages = slices.Clone(a.Packages)
	}
	if id, given := values[packageIDProperty]; given {
		a.Packages[i].PackageID = strings.TrimSpace(id)
	}
	if feed := values[packageFeedProperty]; feed != "" {
		a.Packages[i].FeedID = feed
	}
	a.Properties.Set(packageIDProperty, a.Packages[i].PackageID)
	a.Properties.Set(packageFeedProperty, a.Packages[i].FeedID)
}
