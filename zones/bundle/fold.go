package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// State is what a set of receipts tells together.
type State struct {
	Releases []ReleaseState `json:"releases"` // sorted by release, core and sender
	Gaps     []Gap          `json:"gaps"`
	Forks    []Fork         `json:"forks"`
}

// ReleaseState is where a release stands at one space. A release with two core digests
// is two.
type ReleaseState struct {
	Release     string            `json:"release"`
	Core        string            `json:"core"`
	From        string            `json:"from"`
	Decision    string            `json:"decision"` // the last kind that is not of a deployment, "" for none
	Reason      string            `json:"reason,omitempty"`
	Deployments []DeploymentState `json:"deployments"` // in the order of their first receipts
}

// DeploymentState is one attempt of a deployment.
type DeploymentState struct {
	Deployment  string      `json:"deployment"`
	Attempt     int         `json:"attempt"`
	Environment Environment `json:"environment"`
	Kind        string      `json:"kind"` // the last one
	Started     string      `json:"started,omitempty"`
	Ended       string      `json:"ended,omitempty"`
	Reason      string      `json:"reason,omitempty"`
	Steps       []Step      `json:"steps,omitempty"`
	Issued      string      `json:"issued"` // of the last receipt, by its maker's clock
}

// Gap is numbers that are missing between two receipts of one space. Bundles that the
// same space sent over the same link take numbers too.
type Gap struct {
	From        string `json:"from"`
	Incarnation string `json:"incarnation"`
	First       int64  `json:"first"`
	Last        int64  `json:"last"`
}

// Fork is two receipts in one place: the space, or a copy of it, said two things.
type Fork struct {
	From        string `json:"from"`
	Incarnation string `json:"incarnation"`
	Seq         int64  `json:"seq"`
}

// Fold works out what receipts tell together. It depends on their set alone: order and
// repetitions change nothing, and neither does anybody's clock. What a space said last,
// by its own numbers, counts.
func Fold(receipts []Receipt) State {
	type item struct {
		Receipt
		text []byte // orders two in one place
	}
	items := make([]item, 0, len(receipts))
	for _, r := range receipts {
		text, _ := json.Marshal(r)
		items = append(items, item{r, text})
	}
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(strings.Compare(a.Link.From, b.Link.From), a.place().compare(b.place()), bytes.Compare(a.text, b.text))
	})
	items = slices.CompactFunc(items, func(a, b item) bool { return bytes.Equal(a.text, b.text) })
	s := State{Releases: []ReleaseState{}, Gaps: []Gap{}, Forks: []Fork{}}
	for i, r := range items {
		if i > 0 {
			s.compare(items[i-1].Link, r.Link)
		}
		s.release(r.Receipt).take(r.Receipt)
	}
	slices.SortStableFunc(s.Releases, func(a, b ReleaseState) int {
		return cmp.Or(strings.Compare(a.Release, b.Release), strings.Compare(a.Core, b.Core), strings.Compare(a.From, b.From))
	})
	return s
}

func (r *Receipt) place() place { return place{r.Link.Incarnation, r.Link.Seq} }

// compare notes what is between two neighbours.
func (s *State) compare(before, h Header) {
	if before.From != h.From || before.Incarnation != h.Incarnation {
		return
	}
	switch {
	case before.Seq == h.Seq:
		f := Fork{h.From, h.Incarnation, h.Seq}
		if len(s.Forks) == 0 || s.Forks[len(s.Forks)-1] != f {
			s.Forks = append(s.Forks, f)
		}
	case before.Seq < h.Seq-1:
		s.Gaps = append(s.Gaps, Gap{h.From, h.Incarnation, before.Seq + 1, h.Seq - 1})
	}
}

func (s *State) release(r Receipt) *ReleaseState {
	i := slices.IndexFunc(s.Releases, func(x ReleaseState) bool {
		return x.Release == r.Release && x.Core == r.Core && x.From == r.Link.From
	})
	if i < 0 {
		i = len(s.Releases)
		s.Releases = append(s.Releases, ReleaseState{Release: r.Release, Core: r.Core, From: r.Link.From, Deployments: []DeploymentState{}})
	}
	return &s.Releases[i]
}

func (x *ReleaseState) take(r Receipt) {
	if !isDeployment(r.Kind) {
		x.Decision, x.Reason = r.Kind, r.Reason
		return
	}
	i := slices.IndexFunc(x.Deployments, func(d DeploymentState) bool { return d.Deployment == r.Deployment && d.Attempt == r.Attempt })
	if i < 0 {
		i = len(x.Deployments)
		x.Deployments = append(x.Deployments, DeploymentState{Deployment: r.Deployment, Attempt: r.Attempt})
	}
	d := &x.Deployments[i]
	d.Kind, d.Reason, d.Issued = r.Kind, r.Reason, r.Link.Issued
	if r.Environment != nil {
		d.Environment = *r.Environment
	}
	d.Started, d.Ended = cmp.Or(r.Started, d.Started), cmp.Or(r.Ended, d.Ended)
	if len(r.Steps) > 0 {
		d.Steps = r.Steps
	}
}
