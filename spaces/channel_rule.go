package spaces

import (
	"fmt"
	"regexp"
	"strings"

	"octopuses.dev/octopuses/spaces/versions"
)

// ruleFor is the channel's rule for a package reference of an action, or nil.
func (c Channel) ruleFor(action, reference string) *ChannelRule {
	for i, r := range c.Rules {
		for _, p := range r.ActionPackages {
			if strings.EqualFold(p.DeploymentAction, action) && strings.EqualFold(p.PackageReference, reference) {
				return &c.Rules[i]
			}
		}
	}
	return nil
}

// allows reports whether a version fits; if not, why is a sentence. No rule lets
// everything in.
func (r *ChannelRule) allows(v versions.Version) (ok bool, why string) {
	if r == nil {
		return true, ""
	}
	if r.VersionRange != "" {
		rng, err := versions.ParseRange(r.VersionRange)
		if err != nil {
			return false, fmt.Sprintf("its range '%s' is no version range.", r.VersionRange)
		}
		if !rng.Contains(v) {
			return false, fmt.Sprintf("it is not in the range %s.", r.VersionRange)
		}
	}
	if r.Tag != "" {
		re, err := regexp.Compile(r.Tag)
		if err != nil {
			return false, fmt.Sprintf("its expression '%s' is no regular expression.", r.Tag)
		}
		if !re.MatchString(v.Suffix()) {
			return false, fmt.Sprintf("its pre-release part '%s' does not match %s.", v.Suffix(), r.Tag)
		}
	}
	return true, ""
}
