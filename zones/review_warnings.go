package zones

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/versions"
)

// clocksDiffer is by how much the sender's clock may be ahead of ours without a word.
const clocksDiffer = 2 * time.Minute

// warn fills in what a person should know before looking at anything else. Nothing is
// decided by it.
func (z *Service) warn(ctx context.Context, s *spaces.Space, actor spaces.Actor, r *Review) error {
	say := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	for _, t := range r.Promotion.Requires {
		if _, ok := steps.Lookup(t); !ok {
			say("This server does not know steps of type '%s'; the release cannot be deployed here.", t)
		}
	}
	version := r.Promotion.Release.Version
	if r.Previous != nil && older(version, r.Previous.Version) {
		say("It is older than %s, which was accepted before.", r.Previous.Version)
	}
	type known struct {
		process steps.Process // of the previous release
		missing int64
		first   int64 // missing
	}
	k, err := spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (k known, err error) {
		h := r.Promotion.Link
		if k.missing, k.first, err = tx.MissingBefore(r.Link.ID, h.Incarnation, h.Seq); err != nil || r.Previous == nil {
			return k, err
		}
		k.process, err = tx.ReleaseProcess(*r.Previous)
		return k, err
	})
	if err != nil {
		return err
	}
	if r.Inbound.DecidedAt == nil {
		for _, d := range slices.Backward(r.Deployed) {
			if older(version, d.Version) {
				say("It is older than %s, which is deployed to %s.", d.Version, strings.Join(d.Environments, ", "))
			}
		}
	}
	if r.Previous != nil {
		types, languages := uses(&k.process)
		newTypes, newLanguages := uses(&r.Process)
		for _, t := range without(newTypes, types) {
			say("It has a step of type '%s'; %s had none.", t, r.Previous.Version)
		}
		for _, l := range without(newLanguages, languages) {
			say("It runs scripts in %s; %s ran none.", l, r.Previous.Version)
		}
	}
	for _, e := range r.Evidence {
		if e.State != "Success" {
			say("In %s of %s it has not succeeded (%s).", e.Environment, e.SpaceName, e.State)
		}
	}
	if k.missing > 0 {
		which := fmt.Sprintf("message %d", k.first)
		if k.missing > 1 {
			which = fmt.Sprintf("%d messages, from number %d on,", k.missing, k.first)
		}
		say("Before it %s sent %s that did not come here. What they say, as a recall, is not known; or they were withdrawn.", r.Link.LocalName, which)
	}
	if text := clocks(r.Link.LocalName, r.Promotion.Link.IssuedAt(), r.Inbound.ReceivedAt); text != "" {
		say("%s", text)
	}
	return nil
}

// clocks tells of a sender's clock that is far off. That a message was made long ago is
// how things go by file; that it was made tomorrow is not.
func clocks(sender string, sent, came time.Time) string {
	ahead := sent.Sub(came)
	if ahead <= clocksDiffer {
		return ""
	}
	return fmt.Sprintf("The clocks differ: by that of %s it was sent %s after it came here.", sender, ahead.Round(time.Minute))
}

// uses lists the step types of a process and the languages of its scripts, sorted.
func uses(p *steps.Process) (types, languages []string) {
	for _, st := range p.Steps {
		for _, a := range st.Actions {
			types = append(types, a.ActionType)
			for name := range a.Properties {
				language, ok := strings.CutSuffix(name, "ScriptBody")
				if !ok {
					continue
				}
				if language = a.Properties.Get(language + "Syntax"); language == "" {
					language = "Bash"
				}
				languages = append(languages, language)
			}
		}
	}
	slices.Sort(types)
	slices.Sort(languages)
	return slices.Compact(types), slices.Compact(languages)
}

// without is what of a is not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
}

func older(a, b string) bool {
	x, err := versions.Parse(a)
	if err != nil {
		return false
	}
	y, err := versions.Parse(b)
	return err == nil && versions.Compare(x, y) < 0
}
