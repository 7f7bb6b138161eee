package deploy

import (
	"fmt"
	"slices"
	"strings"
)

// Environment is what progression needs to know of an environment.
type Environment struct{ ID, Name string }

// Outcome is how a deployment ended, or that it has not.
type Outcome string

// The outcomes that progression tells apart.
const (
	OutcomeNone      Outcome = ""
	OutcomeRunning   Outcome = "Running"
	OutcomeFailed    Outcome = "Failed" // also canceled and timed out
	OutcomeSucceeded Outcome = "Succeeded"
)

// Fact is one deployment of the release in question, here or in a remote space.
// The order of facts does not matter: a success anywhere in the history counts.
type Fact struct {
	Environment string // id of an environment here; empty for a fact from a remote space
	Space       string // id of the link to the remote space; empty for a fact from here
	Remote      string // name of the environment in the remote space
	Outcome     Outcome
}

// ProgressionInput is all that progression looks at.
type ProgressionInput struct {
	Lifecycle    *Lifecycle
	Environments []Environment     // of the space, in sort order
	SpaceNames   map[string]string // names of remote spaces by link id, for sentences
	History      []Fact            // of this release
	Prevented    string            // reason why this release is kept from going further; empty if it is not
}

// PhaseState is how far a release is in a phase.
type PhaseState string

// The states of a phase.
const (
	PhasePending  PhaseState = "Pending"  // not open yet
	PhaseCurrent  PhaseState = "Current"  // open, not complete
	PhaseComplete PhaseState = "Complete" // enough successes
)

// Progress is how far a release is in its lifecycle.
type Progress struct {
	Lifecycle string // name
	Phases    []PhaseProgress
}

// PhaseProgress is how far a release is in one phase. Why is a sentence for
// people, empty when the phase is open.
type PhaseProgress struct {
	ID, Name     string
	State        PhaseState
	Open         bool // may be deployed to now
	Optional     bool
	Priority     bool
	Why          string
	Environments []EnvironmentProgress
	Spaces       []SpaceProgress
}

// EnvironmentProgress is one environment in a phase; Outcome is the best so far.
type EnvironmentProgress struct {
	ID, Name  string
	Automatic bool
	Outcome   Outcome
}

// SpaceProgress is one remote space in a phase. Why tells what its receipts
// still lack, empty when satisfied.
type SpaceProgress struct {
	ID, Name          string
	Automatic         bool
	Succeeded, Needed int
	Satisfied         bool
	Outcome           Outcome // best so far, of all environments there
	Why               string
}

// Progression works out the progress of a release. It costs time linear in
// facts plus phases times environments.
func Progression(in ProgressionInput) Progress {
	out := Progress{Lifecycle: in.Lifecycle.Name}
	local, remote := map[string]Outcome{}, map[string]map[string]Outcome{}
	for _, f := range in.History {
		if f.Space == "" {
			local[f.Environment] = better(local[f.Environment], f.Outcome)
			continue
		}
		if remote[f.Space] == nil {
			remote[f.Space] = map[string]Outcome{}
		}
		key := strings.ToLower(f.Remote)
		remote[f.Space][key] = better(remote[f.Space][key], f.Outcome)
	}

	blocker := "" // why phases from here on are closed
	for i, p := range phases(in.Lifecycle, in.Environments) {
		p.measure(in, local, remote)
		switch {
		case blocker == "" && (in.Prevented == "" || i == 0):
			p.Open = true
		case p.succeeded():
			// Once reached stays reached: what runs there must be deployable again.
			p.Open = true
		case blocker == "":
			p.Why = fmt.Sprintf("This release is kept from going further: %s", sentence(in.Prevented))
		default:
			p.Why = blocker
		}
		switch {
		case !p.Open:
			p.State = PhasePending
		case p.missing == "":
			p.State = PhaseComplete
		default:
			p.State = PhaseCurrent
		}
		if blocker == "" && !p.Optional && p.missing != "" {
			blocker = fmt.Sprintf("Phase '%s' is not complete: %s.", p.Name, p.missing)
		}
		out.Phases = append(out.Phases, p.PhaseProgress)
	}
	return out
}

type phase struct {
	PhaseProgress
	minimum int
	spaces  []RemoteSpace
	missing string // what the phase still lacks, a clause
}

// phases resolves the members of each phase, and the phases of a lifecycle
// that has none.
func phases(l *Lifecycle, environments []Environment) []phase {
	var out []phase
	if len(l.Phases) == 0 {
		for _, e := range environments {
			out = append(out, phase{PhaseProgress: PhaseProgress{ID: e.ID, Name: e.Name, Environments: []EnvironmentProgress{{ID: e.ID, Name: e.Name}}}})
		}
		return out
	}
	earlier := map[string]bool{}
	for _, p := range l.Phases {
		q := phase{minimum: p.MinimumEnvironmentsBeforePromotion, spaces: p.RemoteSpaces,
			PhaseProgress: PhaseProgress{ID: p.ID, Name: p.Name, Optional: p.IsOptionalPhase, Priority: p.IsPriorityPhase}}
		rest := len(p.AutomaticDeploymentTargets)+len(p.OptionalDeploymentTargets)+len(p.RemoteSpaces) == 0
		for _, e := range environments { // in the order of the space, not of the document
			automatic := slices.Contains(p.AutomaticDeploymentTargets, e.ID)
			if automatic || slices.Contains(p.OptionalDeploymentTargets, e.ID) || rest && !earlier[e.ID] {
				q.Environments = append(q.Environments, EnvironmentProgress{ID: e.ID, Name: e.Name, Automatic: automatic})
			}
		}
		for _, e := range q.Environments {
			earlier[e.ID] = true
		}
		out = append(out, q)
	}
	return out
}

// measure fills in outcomes and what is missing.
func (p *phase) measure(in ProgressionInput, local map[string]Outcome, remote map[string]map[string]Outcome) {
	var lacks []string
	done := 0
	for i := range p.Environments {
		e := &p.Environments[i]
		e.Outcome = local[e.ID]
		if e.Outcome == OutcomeSucceeded {
			done++
		}
	}
	need := len(p.Environments)
	if p.minimum > 0 {
		need = min(need, p.minimum) // an environment may have been deleted since
	}
	if done < need {
		if len(p.Environments) == 1 {
			lacks = append(lacks, fmt.Sprintf("it needs a successful deployment to '%s'", p.Environments[0].Name))
		} else {
			lacks = append(lacks, fmt.Sprintf("it needs successful deployments to %d of its environments and has %d", need, done))
		}
	}
	for _, r := range p.spaces {
		s := SpaceProgress{ID: r.ID, Name: in.SpaceNames[r.ID], Automatic: r.Automatic, Needed: r.MinimumEnvironmentsBeforePromotion}
		if s.Name == "" {
			s.Name = r.ID
		}
		if s.Needed == 0 {
			s.Needed = max(1, len(r.Environments))
		}
		for name, outcome := range remote[r.ID] {
			if len(r.Environments) > 0 && !slices.ContainsFunc(r.Environments, func(n string) bool { return strings.EqualFold(n, name) }) {
				continue
			}
			s.Outcome = better(s.Outcome, outcome)
			if outcome == OutcomeSucceeded {
				s.Succeeded++
			}
		}
		if s.Satisfied = s.Succeeded >= s.Needed; !s.Satisfied {
			where := "there"
			if len(r.Environments) > 0 {
				where = "to " + strings.Join(r.Environments, ", ")
			}
			lack := fmt.Sprintf("the space '%s' must report %s %s and has reported %d", s.Name, plural(s.Needed, "successful deployment"), where, s.Succeeded)
			s.Why = sentence(lack)
			lacks = append(lacks, lack)
		}
		p.Spaces = append(p.Spaces, s)
	}
	p.missing = strings.Join(lacks, "; ")
}

func (p *phase) succeeded() bool {
	return slices.ContainsFunc(p.Environments, func(e EnvironmentProgress) bool { return e.Outcome == OutcomeSucceeded }) ||
		slices.ContainsFunc(p.Spaces, func(s SpaceProgress) bool { return s.Outcome == OutcomeSucceeded })
}

// MayDeploy reports whether the release may be deployed to an environment now;
// if not, why is a sentence for people. It is the one rule that refuses a
// forbidden deployment, at every door.
func (p Progress) MayDeploy(environment, name string) (ok bool, why string) {
	for _, ph := range p.Phases {
		for _, e := range ph.Environments {
			if e.ID != environment {
				continue
			}
			if ph.Open {
				return true, ""
			}
			if why == "" {
				why = fmt.Sprintf("This release cannot be deployed to '%s' yet. %s", e.Name, ph.Why)
			}
		}
	}
	if why == "" {
		why = fmt.Sprintf("The lifecycle '%s' has no phase with the environment '%s'.", p.Lifecycle, name)
	}
	return false, why
}

// MayPromote is MayDeploy for a remote space, named by the id of its link.
func (p Progress) MayPromote(space, name string) (ok bool, why string) {
	for _, ph := range p.Phases {
		for _, s := range ph.Spaces {
			if s.ID != space {
				continue
			}
			if ph.Open {
				return true, ""
			}
			if why == "" {
				why = fmt.Sprintf("This release cannot be promoted to '%s' yet. %s", s.Name, ph.Why)
			}
		}
	}
	if why == "" {
		why = fmt.Sprintf("The lifecycle '%s' has no phase with the space '%s'.", p.Lifecycle, name)
	}
	return false, why
}

// Next lists the environments where the release has not succeeded and may go
// now, in order.
func (p Progress) Next() []EnvironmentProgress {
	var out []EnvironmentProgress
	for _, ph := range p.Phases {
		for _, e := range ph.Environments {
			if ph.Open && e.Outcome != OutcomeSucceeded && !slices.ContainsFunc(out, func(o EnvironmentProgress) bool { return o.ID == e.ID }) {
				out = append(out, e)
			}
		}
	}
	return out
}

// NextSpaces lists the remote spaces to which the release may be promoted now
// and whose receipts do not satisfy their phase yet.
func (p Progress) NextSpaces() []SpaceProgress {
	var out []SpaceProgress
	for _, ph := range p.Phases {
		for _, s := range ph.Spaces {
			if ph.Open && !s.Satisfied && !slices.ContainsFunc(out, func(o SpaceProgress) bool { return o.ID == s.ID }) {
				out = append(out, s)
			}
		}
	}
	return out
}

// Automatic lists environments to queue and spaces to promote to by themselves:
// automatic members of open, incomplete phases that have no deployment yet.
// Optional phases never start by themselves. Asking twice does no harm: what
// was queued has a fact.
func (p Progress) Automatic() (environments, spaces []string) {
	for _, ph := range p.Phases {
		if !ph.Open || ph.Optional {
			continue
		}
		for _, e := range ph.Environments {
			if e.Automatic && e.Outcome == OutcomeNone && !slices.Contains(environments, e.ID) {
				environments = append(environments, e.ID)
			}
		}
		for _, s := range ph.Spaces {
			if s.Automatic && s.Outcome == OutcomeNone && !slices.Contains(spaces, s.ID) {
				spaces = append(spaces, s.ID)
			}
		}
	}
	return environments, spaces
}

var rank = map[Outcome]int{OutcomeNone: 0, OutcomeFailed: 1, OutcomeRunning: 2, OutcomeSucceeded: 3}

func better(a, b Outcome) Outcome {
	if rank[b] > rank[a] {
		return b
	}
	return a
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// sentence makes a clause a sentence: a capital and a full stop.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	if s[0] >= 'a' && s[0] <= 'z' {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}
