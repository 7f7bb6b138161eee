package deploy

import (
	"slices"
	"time"
)

// KeptRelease is a release as retention sees it.
type KeptRelease struct {
	ID        string
	Channel   string // id
	Assembled time.Time
	// Deployed holds, for each environment that the release was deployed to, the
	// time of the last deployment there.
	Deployed map[string]time.Time
	// Protected releases stay whatever the rules say: those on a dashboard, the
	// one before for a rollback, those of an unfinished task, and those that a
	// promotion or a receipt still names.
	Protected bool
}

// Expired lists the ids of releases of one project that the retention policies
// of their lifecycle no longer keep, in the order given. lifecycle gives the
// lifecycle of a channel; environments are those of the space in sort order.
//
// For each channel, releases that were never deployed are counted on their own,
// against the policy of the lifecycle; deployed ones are counted in each phase
// that they reached, newest deployment first, against the policy of the phase.
// Protected releases stay and are not counted, as Octopus's example has it. A
// phase without a policy has that of the nearest phase before it, else that of
// the lifecycle. A release goes only when it is over the limit in every phase
// that it reached. Source: https://octopus.com/docs/administration/retention-policies
func Expired(releases []KeptRelease, environments []Environment, lifecycle func(channel string) *Lifecycle, now time.Time) []string {
	channels := map[string][]int{}
	kept := make([]bool, len(releases))
	for i, r := range releases {
		if kept[i] = r.Protected; !kept[i] {
			channels[r.Channel] = append(channels[r.Channel], i)
		}
	}
	for channel, members := range channels {
		l := lifecycle(channel)
		if l == nil {
			for _, i := range members {
				kept[i] = true
			}
			continue
		}
		policy := l.ReleaseRetentionPolicy
		reached := map[int]bool{}
		for n, p := range phases(l, environments) {
			if len(l.Phases) > 0 && l.Phases[n].ReleaseRetentionPolicy != nil {
				policy = l.Phases[n].ReleaseRetentionPolicy
			}
			at := map[int]time.Time{}
			for _, i := range members {
				for _, e := range p.Environments {
					if t, ok := releases[i].Deployed[e.ID]; ok {
						reached[i] = true
						if t.After(at[i]) || at[i].IsZero() {
							at[i] = t
						}
					}
				}
			}
			policy.mark(kept, at, now)
		}
		undeployed := map[int]time.Time{}
		for _, i := range members {
			switch {
			case len(releases[i].Deployed) == 0:
				undeployed[i] = releases[i].Assembled
			case !reached[i]:
				kept[i] = true // deployed outside of the lifecycle as it is now: no rule speaks of it
			}
		}
		l.ReleaseRetentionPolicy.mark(kept, undeployed, now)
	}
	var out []string
	for i, r := range releases {
		if !kept[i] {
			out = append(out, r.ID)
		}
	}
	return out
}

// mark keeps those that a policy keeps; no policy keeps all.
func (r *RetentionPeriod) mark(kept []bool, at map[int]time.Time, now time.Time) {
	members := make([]int, 0, len(at))
	for i := range at {
		members = append(members, i)
	}
	slices.SortFunc(members, func(a, b int) int {
		if n := at[b].Compare(at[a]); n != 0 {
			return n
		}
		return b - a
	})
	for n, i := range members {
		switch {
		case r == nil, r.ShouldKeepForever:
			kept[i] = true
		case r.Unit == "Days":
			kept[i] = kept[i] || now.Sub(at[i]) <= time.Duration(r.QuantityToKeep)*24*time.Hour
		default:
			kept[i] = kept[i] || n < r.QuantityToKeep
		}
	}
}
