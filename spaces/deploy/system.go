package deploy

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Named is something with an id and a name.
type Named struct{ ID, Name string }

// Person is who created a deployment.
type Person struct{ ID, Username, DisplayName, EmailAddress string }

// ReleaseFacts are the release of a deployment and those around it.
type ReleaseFacts struct {
	ID, Number, Notes              string
	Created                        time.Time
	PreviousID, PreviousNumber     string // the release before, in the channel
	PreviousHereID, PreviousHere   string // the last other one that succeeded in the environment
	CurrentHereID, CurrentHere     string // the one in the environment when the deployment was created
	PreviousSuccessfulDeploymentID string
	DeploymentChanges, ChangesAsMD string
	Mode                           string // "Deploy", "Redeploy" or "Rollback"

}

// Facts are what the system variables of a deployment tell. What is empty gives
// no variable.
type Facts struct {
	Space, ProjectGroup, Project, Environment, Channel, Task Named
	EnvironmentSortOrder                                     int
	Release                                                  ReleaseFacts
	Deployment                                               Named
	Comments                                                 string
	Created, Queued, Expires                                 time.Time
	CreatedBy                                                Person
	ServerURI                                                string // without a slash at the end
	ProjectPath, ReleasePath, DeploymentPath                 string // of the pages, with a slash at the start
	SpecificMachines, ExcludedMachines                       []string
}

// setter takes one variable.
type setter func(name, value string, sensitive bool)

// text sets a plain variable unless it is empty.
func (set setter) text(name, value string) {
	if value != "" {
		set(name, value, false)
	}
}

func (set setter) named(prefix string, n Named) {
	set.text(prefix+".Id", n.ID)
	set.text(prefix+".Name", n.Name)
}

func (set setter) time(name string, at time.Time) {
	if !at.IsZero() {
		set(name, at.UTC().Format(time.RFC3339), false)
	}
}

// set gives the variables that are the same for every step.
// Names: https://octopus.com/docs/projects/variables/system-variables
func (f *Facts) set(p *Plan, s *State, set setter) {
	set.named("Octopus.Space", f.Space)
	set.named("Octopus.ProjectGroup", f.ProjectGroup)
	set.named("Octopus.Project", f.Project)
	set.named("Octopus.Environment", f.Environment)
	set("Octopus.Environment.SortOrder", strconv.Itoa(f.EnvironmentSortOrder), false)
	set.named("Octopus.Release.Channel", f.Channel)
	set.named("Octopus.Task", f.Task)
	set.time("Octopus.Task.QueueTime", f.Queued)
	set.time("Octopus.Task.QueueTimeExpiry", f.Expires)

	r := &f.Release
	set.text("Octopus.Release.Id", r.ID)
	set.text("Octopus.Release.Number", r.Number)
	set.text("Octopus.Release.Notes", r.Notes)
	set.time("Octopus.Release.Created", r.Created)
	set.text("Octopus.Release.Previous.Id", r.PreviousID)
	set.text("Octopus.Release.Previous.Number", r.PreviousNumber)
	set.text("Octopus.Release.PreviousForEnvironment.Id", r.PreviousHereID)
	set.text("Octopus.Release.PreviousForEnvironment.Number", r.PreviousHere)
	set.text("Octopus.Release.CurrentForEnvironment.Id", r.CurrentHereID)
	set.text("Octopus.Release.CurrentForEnvironment.Number", r.CurrentHere)

	set.named("Octopus.Deployment", f.Deployment)
	set.text("Octopus.Deployment.Comments", f.Comments)
	set.time("Octopus.Deployment.Created", f.Created)
	set.text("Octopus.Deployment.CreatedBy.Id", f.CreatedBy.ID)
	set.text("Octopus.Deployment.CreatedBy.Username", f.CreatedBy.Username)
	set.text("Octopus.Deployment.CreatedBy.DisplayName", f.CreatedBy.DisplayName)
	set.text("Octopus.Deployment.CreatedBy.EmailAddress", f.CreatedBy.EmailAddress)
	set.text("Octopus.Deployment.PreviousSuccessful.Id", r.PreviousSuccessfulDeploymentID)
	set.text("Octopus.Deployment.Changes", r.DeploymentChanges)
	set.text("Octopus.Deployment.ChangesMarkdown", r.ChangesAsMD)
	set.text("Octopus.Deployment.Mode", r.Mode)
	set("Octopus.Deployment.ForcePackageDownload", boolean(p.ForceDownload), false)
	set.text("Octopus.Deployment.SpecificMachines", strings.Join(f.SpecificMachines, ","))
	set.text("Octopus.Deployment.ExcludedMachines", strings.Join(f.ExcludedMachines, ","))
	ids := make([]string, len(p.Targets))
	machines := map[string][]string{} // tags differ by more than case
	for i, t := range p.Targets {
		ids[i] = t.ID
		for _, tag := range t.Tags {
			machines[strings.ToLower(tag)] = append(machines[strings.ToLower(tag)], t.Name)
		}
	}
	set.text("Octopus.Deployment.Machines", strings.Join(ids, ","))
	for tag, names := range machines {
		set("Octopus.Environment.MachinesInRole["+tag+"]", strings.Join(names, ","), false)
	}
	if s.Failed {
		set("Octopus.Deployment.Error", s.Error, false)
		set("Octopus.Deployment.ErrorDetail", s.Error, false)
	}

	if f.ServerURI != "" {
		set("Octopus.Web.ServerUri", f.ServerURI, false)
		set("Octopus.Web.BaseUrl", f.ServerURI, false)
	}
	set.text("Octopus.Web.ProjectLink", f.ProjectPath)
	set.text("Octopus.Web.ReleaseLink", f.ReleasePath)
	set.text("Octopus.Web.DeploymentLink", f.DeploymentPath)
}

// setSteps gives the variables about every step and action, as they are now.
func (p *Plan) setSteps(s *State, set setter) {
	for i := range p.Steps {
		ps := &p.Steps[i]
		at := "Octopus.Step[" + ps.Name + "]"
		set.named(at, Named{ps.ID, ps.Name})
		set(at+".Number", strconv.Itoa(ps.Number), false)
		state := Waiting
		if i < len(s.Steps) {
			state = s.Steps[i].State
			if state == Broken {
				set(at+".Status.Error", s.Error, false)
			}
		}
		set(at+".Status.Code", statusCode(state), false)
		for j := range ps.Actions {
			a := &ps.Actions[j]
			at := "Octopus.Action[" + a.Name + "]"
			set.named(at, Named{a.ID, a.Name})
			set(at+".Number", a.Number, false)
			set(at+".IsSkipped", boolean(a.Skip != "" || ps.Skip != "" || state == Skipped), false)
			set.text(at+".TargetRoles", strings.Join(ps.Tags, ","))
			a.setPackages(at, set)
		}
	}
}

// setPackages gives the variables about the packages of an action under the
// prefix Octopus.Action[Name] or Octopus.Action.
func (a *PlannedAction) setPackages(at string, set setter) {
	for _, pkg := range a.Packages {
		prefix := at + ".Package"
		if pkg.Reference != "" {
			prefix += "[" + pkg.Reference + "]"
		}
		set(prefix+".PackageId", pkg.ID, false)
		set(prefix+".PackageVersion", pkg.Version, false)
		set.text(prefix+".FeedId", pkg.FeedID)
	}
}

// setCurrent gives the variables about the step, the action and the target that
// run; target may be nil while a condition of a step is decided.
func (p *Plan) setCurrent(step, action int, target *Target, set setter) {
	ps := &p.Steps[step]
	set.named("Octopus.Step", Named{ps.ID, ps.Name})
	set("Octopus.Step.Number", strconv.Itoa(ps.Number), false)
	set.text("Octopus.Action.TargetRoles", strings.Join(ps.Tags, ","))
	if action >= 0 {
		a := &ps.Actions[action]
		set.named("Octopus.Action", Named{a.ID, a.Name})
		set("Octopus.Action.Number", a.Number, false)
		a.setPackages("Octopus.Action", set)
	}
	if target != nil {
		set.named("Octopus.Machine", Named{target.ID, target.Name})
		set.text("Octopus.Machine.Roles", strings.Join(target.Tags, ","))
		var targeted []string
		for _, tag := range target.Tags {
			if tagged([]string{tag}, ps.Tags) {
				targeted = append(targeted, tag)
			}
		}
		set.text("Octopus.Tentacle.CurrentDeployment.TargetedRoles", strings.Join(targeted, ","))
	}
}

// setOutputs gives the output variables of earlier actions as a target sees
// them. Without a machine in its name a variable has the value of this very
// target; else, where Octopus leaves it to chance, that of the first machine by
// name.
func (s *State) setOutputs(target string, set setter) {
	outputs := slices.Clone(s.Outputs)
	slices.SortStableFunc(outputs, func(a, b Output) int {
		// Later calls to set win, so the best comes last.
		if mine := (a.Target == target); mine != (b.Target == target) {
			if mine {
				return 1
			}
			return -1
		}
		return strings.Compare(strings.ToLower(b.Machine), strings.ToLower(a.Machine))
	})
	for _, o := range outputs {
		set("Octopus.Action["+o.Action+"].Output["+o.Machine+"]."+o.Name, o.Value, o.Sensitive)
		set("Octopus.Action["+o.Action+"].Output."+o.Name, o.Value, o.Sensitive)
	}
}

// statusCode is what Octopus calls a state.
func statusCode(w WorkState) string {
	switch w {
	case Waiting:
		return "Pending"
	case Starting, Working, Asking:
		return "Running"
	case Excluded:
		return "Abandoned"
	}
	return string(w)
}

func boolean(b bool) string {
	if b {
		return "True"
	}
	return "False"
}
