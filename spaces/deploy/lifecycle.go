package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Lifecycle is the way of releases through environments: phases in order. A
// lifecycle without phases has one phase for each environment of the space. The
// JSON is that of Octopus's API; RemoteSpaces of a phase is ours.
type Lifecycle struct {
	ID                      string           `json:"Id,omitempty"`
	SpaceID                 string           `json:"SpaceId,omitempty"`
	Name                    string           `json:"Name"`
	Slug                    string           `json:"Slug,omitempty"`
	Description             string           `json:"Description"`
	ReleaseRetentionPolicy  *RetentionPeriod `json:"ReleaseRetentionPolicy"`
	TentacleRetentionPolicy *RetentionPeriod `json:"TentacleRetentionPolicy"`
	Phases                  []Phase          `json:"Phases"`
}

// Phase is a stage of a lifecycle. AutomaticDeploymentTargets and
// OptionalDeploymentTargets hold environment ids; both empty (and no remote
// space) means every environment that no earlier phase names.
type Phase struct {
	ID                                 string           `json:"Id"`
	Name                               string           `json:"Name"`
	AutomaticDeploymentTargets         []string         `json:"AutomaticDeploymentTargets"`
	OptionalDeploymentTargets          []string         `json:"OptionalDeploymentTargets"`
	MinimumEnvironmentsBeforePromotion int              `json:"MinimumEnvironmentsBeforePromotion"` // 0 means all
	IsOptionalPhase                    bool             `json:"IsOptionalPhase"`
	IsPriorityPhase                    bool             `json:"IsPriorityPhase"`
	ReleaseRetentionPolicy             *RetentionPeriod `json:"ReleaseRetentionPolicy"`
	TentacleRetentionPolicy            *RetentionPeriod `json:"TentacleRetentionPolicy"`
	RemoteSpaces                       []RemoteSpace    `json:"RemoteSpaces,omitempty"`
}

// RemoteSpace makes a space of another server a member of a phase. The phase is
// complete only when its receipts tell of enough successes there.
type RemoteSpace struct {
	ID                                 string   `json:"Id"`                                 // of the link to that space
	MinimumEnvironmentsBeforePromotion int      `json:"MinimumEnvironmentsBeforePromotion"` // 0 means all of Environments, or one if none are named
	Automatic                          bool     `json:"Automatic"`                          // promote as soon as the phase is reached
	Environments                       []string `json:"Environments,omitempty"`             // names of remote environments that count; empty means any
}

// RetentionPeriod says how long something is kept.
type RetentionPeriod struct {
	QuantityToKeep    int    `json:"QuantityToKeep"`
	ShouldKeepForever bool   `json:"ShouldKeepForever"`
	Unit              string `json:"Unit"`               // "Days" or "Items"
	Strategy          string `json:"Strategy,omitempty"` // "Count", "Forever" or "Default"
}

// Keep makes a period of n units; KeepForever one without end.
func Keep(n int, unit string) *RetentionPeriod {
	return &RetentionPeriod{QuantityToKeep: n, Unit: unit, Strategy: "Count"}
}

// KeepForever makes a period without end.
func KeepForever() *RetentionPeriod {
	return &RetentionPeriod{ShouldKeepForever: true, Unit: "Items", Strategy: "Forever"}
}

// Limited reports whether some policy for releases does not keep all.
func (l *Lifecycle) Limited() bool {
	limited := func(r *RetentionPeriod) bool { return r != nil && !r.ShouldKeepForever }
	return limited(l.ReleaseRetentionPolicy) || slices.ContainsFunc(l.Phases, func(p Phase) bool { return limited(p.ReleaseRetentionPolicy) })
}

// UnmarshalJSON fills in the strategy, which older clients do not send.
func (r *RetentionPeriod) UnmarshalJSON(data []byte) error {
	type plain RetentionPeriod
	if err := json.Unmarshal(data, (*plain)(r)); err != nil {
		return err
	}
	if r.Strategy == "" {
		r.Strategy = "Count"
		if r.ShouldKeepForever {
			r.Strategy = "Forever"
		}
	}
	if r.Unit == "" {
		r.Unit = "Items"
	}
	return nil
}

// MarshalJSON writes every list as a list.
func (l Lifecycle) MarshalJSON() ([]byte, error) {
	type plain Lifecycle
	l.Phases = list(l.Phases)
	return json.Marshal(plain(l))
}

// MarshalJSON writes every list as a list.
func (p Phase) MarshalJSON() ([]byte, error) {
	type plain Phase
	p.AutomaticDeploymentTargets = list(p.AutomaticDeploymentTargets)
	p.OptionalDeploymentTargets = list(p.OptionalDeploymentTargets)
	return json.Marshal(plain(p))
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Normalize trims names, gives new phases ids and fills in retention of the
// lifecycle (kept for ever). Doing it twice changes nothing more.
func (l *Lifecycle) Normalize(newID func() string) {
	l.Name = strings.TrimSpace(l.Name)
	for i := range l.Phases {
		l.Phases[i].Name = strings.TrimSpace(l.Phases[i].Name)
		if l.Phases[i].ID == "" {
			l.Phases[i].ID = newID()
		}
	}
	if l.ReleaseRetentionPolicy == nil {
		l.ReleaseRetentionPolicy = KeepForever()
	}
	if l.TentacleRetentionPolicy == nil {
		l.TentacleRetentionPolicy = KeepForever()
	}
}

// KeepRemote takes over the remote spaces of phases that were submitted without
// that field: Octopus's own clients do not know it and would drop it on every
// save. An explicit empty list clears.
func (l *Lifecycle) KeepRemote(old *Lifecycle) {
	for i := range l.Phases {
		if l.Phases[i].RemoteSpaces != nil {
			continue
		}
		for _, before := range old.Phases {
			if before.ID != "" && before.ID == l.Phases[i].ID {
				l.Phases[i].RemoteSpaces = before.RemoteSpaces
			}
		}
	}
}

// Validate returns an errs.Invalid with one complaint for each broken rule;
// fields are named like Phases[0].Name.
func (l *Lifecycle) Validate() error {
	var c errs.Check
	c.Require(strings.TrimSpace(l.Name) != "", "Name", "Please give the lifecycle a name.")
	c.Require(len(l.Phases) <= 100, "Phases", "A lifecycle has at most 100 phases.")
	l.ReleaseRetentionPolicy.check(&c, "ReleaseRetentionPolicy")
	l.TentacleRetentionPolicy.check(&c, "TentacleRetentionPolicy")
	names := map[string]bool{}
	for i, p := range l.Phases {
		at := fmt.Sprintf("Phases[%d].", i)
		name := strings.ToLower(strings.TrimSpace(p.Name))
		c.Require(name != "", at+"Name", "Please give phase %d a name.", i+1)
		c.Require(name == "" || !names[name], at+"Name", "Two phases are called '%s'.", p.Name)
		names[name] = true
		seen := map[string]bool{}
		for j, id := range p.AutomaticDeploymentTargets {
			c.Require(!seen[id], fmt.Sprintf("%sAutomaticDeploymentTargets[%d]", at, j), "Phase '%s' names an environment twice.", p.Name)
			seen[id] = true
		}
		for j, id := range p.OptionalDeploymentTargets {
			c.Require(!seen[id], fmt.Sprintf("%sOptionalDeploymentTargets[%d]", at, j), "Phase '%s' names an environment twice.", p.Name)
			seen[id] = true
		}
		minimum := p.MinimumEnvironmentsBeforePromotion
		c.Require(minimum >= 0, at+"MinimumEnvironmentsBeforePromotion", "The number of environments before promotion cannot be negative.")
		c.Require(len(seen) == 0 || minimum <= len(seen), at+"MinimumEnvironmentsBeforePromotion",
			"Phase '%s' asks for %d environments but has only %d.", p.Name, minimum, len(seen))
		p.ReleaseRetentionPolicy.check(&c, at+"ReleaseRetentionPolicy")
		p.TentacleRetentionPolicy.check(&c, at+"TentacleRetentionPolicy")
		for j, r := range p.RemoteSpaces {
			in := fmt.Sprintf("%sRemoteSpaces[%d].", at, j)
			c.Require(r.ID != "", in+"Id", "Please choose the remote space.")
			c.Require(!slices.ContainsFunc(p.RemoteSpaces[:j], func(o RemoteSpace) bool { return o.ID == r.ID }), in+"Id", "Phase '%s' names a remote space twice.", p.Name)
			n := r.MinimumEnvironmentsBeforePromotion
			c.Require(n >= 0, in+"MinimumEnvironmentsBeforePromotion", "The number of environments before promotion cannot be negative.")
			c.Require(len(r.Environments) == 0 || n <= len(r.Environments), in+"MinimumEnvironmentsBeforePromotion",
				"The remote space asks for %d environments but names only %d.", n, len(r.Environments))
		}
	}
	return c.Err()
}

func (r *RetentionPeriod) check(c *errs.Check, field string) {
	if r == nil {
		return
	}
	c.Require(r.Unit == "Days" || r.Unit == "Items", field+".Unit", "The unit of retention is Days or Items.")
	c.Require(r.QuantityToKeep >= 0, field+".QuantityToKeep", "The quantity to keep cannot be negative.")
	c.Require(slices.Contains([]string{"", "Count", "Forever", "Default"}, r.Strategy), field+".Strategy", "The strategy is Count, Forever or Default.")
}

// Ref is something that a document mentions: where, and the id.
type Ref struct{ Path, ID string }

// LifecycleRefs are all things that a lifecycle mentions.
type LifecycleRefs struct {
	Environments []Ref
	Spaces       []Ref // links to remote spaces
}

// Refs lists what the lifecycle mentions, in document order.
func (l *Lifecycle) Refs() LifecycleRefs {
	var refs LifecycleRefs
	for i, p := range l.Phases {
		for j, id := range p.AutomaticDeploymentTargets {
			refs.Environments = append(refs.Environments, Ref{fmt.Sprintf("Phases[%d].AutomaticDeploymentTargets[%d]", i, j), id})
		}
		for j, id := range p.OptionalDeploymentTargets {
			refs.Environments = append(refs.Environments, Ref{fmt.Sprintf("Phases[%d].OptionalDeploymentTargets[%d]", i, j), id})
		}
		for j, r := range p.RemoteSpaces {
			refs.Spaces = append(refs.Spaces, Ref{fmt.Sprintf("Phases[%d].RemoteSpaces[%d]", i, j), r.ID})
		}
	}
	return refs
}
