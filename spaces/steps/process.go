package steps

import (
	"encoding/json"
	"slices"
	"strings"
)

// Names of the properties of a step that planning reads.
const (
	TargetRolesProperty    = "Octopus.Action.TargetRoles"                 // comma list of target tags, any of which selects
	MaxParallelismProperty = "Octopus.Action.MaxParallelism"              // window size; makes the step rolling
	ConditionProperty      = "Octopus.Action.ConditionVariableExpression" // run condition "Variable"
	RunOnServerProperty    = "Octopus.Action.RunOnServer"
)

// Condition says when a step runs, looking at the steps before it.
type Condition string

// The run conditions of a step.
const (
	Success  Condition = "Success"  // nothing has failed so far; the default
	Failure  Condition = "Failure"  // something has failed
	Always   Condition = "Always"   // whatever happened
	Variable Condition = "Variable" // an expression is truthy at that moment
)

// StartTrigger says whether a step waits for the one before it.
type StartTrigger string

// The start triggers of a step.
const (
	StartAfterPrevious StartTrigger = "StartAfterPrevious"
	StartWithPrevious  StartTrigger = "StartWithPrevious"
)

// Where the packages of a process are fetched relative to a step.
const (
	LetOctopusDecide         = "LetOctopusDecide"
	BeforePackageAcquisition = "BeforePackageAcquisition"
	AfterPackageAcquisition  = "AfterPackageAcquisition"
)

// Process is the deployment process of a project: what is done, in order.
// Version counts the saves of the document; a save with an old one is stale.
type Process struct {
	ID             string `json:"Id,omitempty"`
	SpaceID        string `json:"SpaceId,omitempty"`
	ProjectID      string `json:"ProjectId"`
	Version        int    `json:"Version"`
	LastSnapshotID string `json:"LastSnapshotId,omitempty"`
	Steps          []Step `json:"Steps"`
}

// Step is one step: its actions run in order on every target that carries one
// of its target tags. Its name is its identity in output variables.
type Step struct {
	ID                 string       `json:"Id"`
	Name               string       `json:"Name"`
	Slug               string       `json:"Slug,omitempty"`
	PackageRequirement string       `json:"PackageRequirement"`
	Properties         Properties   `json:"Properties"`
	Condition          Condition    `json:"Condition"`
	StartTrigger       StartTrigger `json:"StartTrigger"`
	Actions            []Action     `json:"Actions"`
}

// Action is one typed piece of work. Environments, ExcludedEnvironments and
// Channels hold ids and limit where it runs; empty means everywhere.
type Action struct {
	ID                            string             `json:"Id"`
	Name                          string             `json:"Name"`
	Slug                          string             `json:"Slug,omitempty"`
	ActionType                    string             `json:"ActionType"`
	Notes                         string             `json:"Notes,omitempty"`
	IsDisabled                    bool               `json:"IsDisabled"`
	IsRequired                    bool               `json:"IsRequired"`
	CanBeUsedForProjectVersioning bool               `json:"CanBeUsedForProjectVersioning"`
	Condition                     string             `json:"Condition,omitempty"`
	WorkerPoolID                  string             `json:"WorkerPoolId,omitempty"`
	WorkerPoolVariable            string             `json:"WorkerPoolVariable,omitempty"`
	StepPackageVersion            string             `json:"StepPackageVersion,omitempty"`
	Container                     *Container         `json:"Container,omitempty"`
	Environments                  []string           `json:"Environments"`
	ExcludedEnvironments          []string           `json:"ExcludedEnvironments"`
	Channels                      []string           `json:"Channels"`
	TenantTags                    []string           `json:"TenantTags"`
	Packages                      []PackageReference `json:"Packages"`
	GitDependencies               []GitDependency    `json:"GitDependencies"`
	Properties                    Properties         `json:"Properties"`
}

// Container names an execution container. We keep what clients send; no step
// type of ours runs in one.
type Container struct {
	FeedID     string `json:"FeedId,omitempty"`
	Image      string `json:"Image,omitempty"`
	GitURL     string `json:"GitUrl,omitempty"`
	Dockerfile string `json:"Dockerfile,omitempty"`
}

// PackageReference is a package that an action needs. An empty name is the
// primary package. The version is chosen when a release is created.
type PackageReference struct {
	ID                  string `json:"Id,omitempty"`
	Name                string `json:"Name"`
	PackageID           string `json:"PackageId"`
	FeedID              string `json:"FeedId"`
	AcquisitionLocation string `json:"AcquisitionLocation"`
	Version             string `json:"Version,omitempty"`
	Properties          Texts  `json:"Properties"`
}

// GitDependency is kept as clients send it.
type GitDependency struct {
	Name                         string   `json:"Name"`
	RepositoryURI                string   `json:"RepositoryUri"`
	DefaultBranch                string   `json:"DefaultBranch"`
	GitCredentialType            string   `json:"GitCredentialType"`
	FilePathFilters              []string `json:"FilePathFilters,omitempty"`
	GitCredentialID              string   `json:"GitCredentialId,omitempty"`
	StepPackageInputsReferenceID string   `json:"StepPackageInputsReferenceId,omitempty"`
	GitHubConnectionID           string   `json:"GitHubConnectionId,omitempty"`
}

// MarshalJSON writes every list as a list: clients iterate without asking.
func (p Process) MarshalJSON() ([]byte, error) {
	type plain Process
	p.Steps = list(p.Steps)
	return json.Marshal(plain(p))
}

// MarshalJSON writes every list as a list and every map as an object.
func (s Step) MarshalJSON() ([]byte, error) {
	type plain Step
	s.Actions = list(s.Actions)
	if s.Properties == nil {
		s.Properties = Properties{}
	}
	return json.Marshal(plain(s))
}

// MarshalJSON writes every list as a list and every map as an object.
func (a Action) MarshalJSON() ([]byte, error) {
	type plain Action
	a.Environments, a.ExcludedEnvironments = list(a.Environments), list(a.ExcludedEnvironments)
	a.Channels, a.TenantTags = list(a.Channels), list(a.TenantTags)
	a.Packages, a.GitDependencies = list(a.Packages), list(a.GitDependencies)
	if a.Properties == nil {
		a.Properties = Properties{}
	}
	return json.Marshal(plain(a))
}

// MarshalJSON writes absent properties as an empty object.
func (r PackageReference) MarshalJSON() ([]byte, error) {
	type plain PackageReference
	if r.Properties == nil {
		r.Properties = Texts{}
	}
	return json.Marshal(plain(r))
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// TargetTags are the tags of which a target needs one for this step. None means
// that the step needs no target.
func (s *Step) TargetTags() []string { return s.Properties.List(TargetRolesProperty) }

// Primary returns the action's primary package.
func (a *Action) Primary() (PackageReference, bool) {
	for _, r := range a.Packages {
		if r.Name == "" {
			return r, true
		}
	}
	return PackageReference{}, false
}

// RunsIn reports whether the action's filters let it run for an environment and
// a channel; if not, why is a sentence for people.
func (a *Action) RunsIn(environment, channel string) (ok bool, why string) {
	switch {
	case a.IsDisabled:
		return false, "It is disabled."
	case len(a.Environments) > 0 && !slices.Contains(a.Environments, environment):
		return false, "It does not run in this environment."
	case slices.Contains(a.ExcludedEnvironments, environment):
		return false, "It is excluded from this environment."
	case len(a.Channels) > 0 && !slices.Contains(a.Channels, channel):
		return false, "It does not run for this channel."
	}
	return true, ""
}

// Action finds an action by its name, in any case, or by its id.
func (p *Process) Action(nameOrID string) (*Step, *Action) {
	for i := range p.Steps {
		for j := range p.Steps[i].Actions {
			a := &p.Steps[i].Actions[j]
			if strings.EqualFold(a.Name, nameOrID) || a.ID == nameOrID {
				return &p.Steps[i], a
			}
		}
	}
	return nil, nil
}

// Normalize fills in what a submitted document may leave out: ids of new steps,
// actions and references (from newID), the name of an only action, defaults and
// slugs. What is stored and answered is the normal form; doing it twice changes
// nothing more.
func (p *Process) Normalize(newID func() string) {
	taken := map[string]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		s.Name = strings.TrimSpace(s.Name)
		if len(s.Actions) == 1 && strings.TrimSpace(s.Actions[0].Name) == "" {
			s.Actions[0].Name = s.Name
		}
		fill(&s.ID, newID)
		or(&s.Condition, Success)
		or(&s.StartTrigger, StartAfterPrevious)
		or(&s.PackageRequirement, LetOctopusDecide)
		if s.Properties == nil {
			s.Properties = Properties{}
		}
		if s.Slug == "" || taken[s.Slug] {
			s.Slug = unique(Slug(s.Name), taken)
		}
		taken[s.Slug] = true
	}
	taken = map[string]bool{}
	for i := range p.Steps {
		for j := range p.Steps[i].Actions {
			a := &p.Steps[i].Actions[j]
			a.Name = strings.TrimSpace(a.Name)
			fill(&a.ID, newID)
			or(&a.Condition, string(Success))
			if a.Properties == nil {
				a.Properties = Properties{}
			}
			if a.Slug == "" || taken[a.Slug] {
				a.Slug = unique(Slug(a.Name), taken)
			}
			taken[a.Slug] = true
			for k := range a.Packages {
				fill(&a.Packages[k].ID, newID)
				or(&a.Packages[k].AcquisitionLocation, "Server")
			}
		}
	}
}

func fill(id *string, newID func() string) {
	if *id == "" {
		*id = newID()
	}
}

func or[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}
