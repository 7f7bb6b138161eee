package deploy

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var threeEnvironments = []Environment{{"E1", "Development"}, {"E2", "Staging"}, {"E3", "Production"}}

func ok(environment string) Fact     { return Fact{Environment: environment, Outcome: OutcomeSucceeded} }
func failed(environment string) Fact { return Fact{Environment: environment, Outcome: OutcomeFailed} }
func there(space, remote string, o Outcome) Fact {
	return Fact{Space: space, Remote: remote, Outcome: o}
}
func in(name string, environments ...string) Phase {
	return Phase{ID: name, Name: name, OptionalDeploymentTargets: environments}
}

func TestProgression(t *testing.T) {
	straight := []Phase{in("Dev", "E1"), in("Test", "E2"), in("Prod", "E3")}
	edit := func(phases []Phase, i int, f func(*Phase)) []Phase {
		phases = slices.Clone(phases)
		f(&phases[i])
		return phases
	}
	optional := func(p *Phase) { p.IsOptionalPhase = true }
	remote := []Phase{in("Dev", "E1"), {Name: "QA", RemoteSpaces: []RemoteSpace{{ID: "L1", MinimumEnvironmentsBeforePromotion: 2}}}, in("Prod", "E3")}
	fan := []Phase{{Name: "Regions", RemoteSpaces: []RemoteSpace{{ID: "US"}, {ID: "EU", Environments: []string{"Production"}}}}, in("Prod", "E3")}
	for _, c := range []struct {
		name      string
		phases    []Phase
		history   []Fact
		prevented string
		open      string // ids that may be deployed to
		states    string
		why       string // part of the sentence that refuses E3
	}{
		{"nothing yet", straight, nil, "", "E1", "Current Pending Pending", "Phase 'Dev' is not complete: it needs a successful deployment to 'Development'."},
		{"failure does not promote", straight, []Fact{failed("E1")}, "", "E1", "Current Pending Pending", "Phase 'Dev'"},
		{"success promotes", straight, []Fact{ok("E1")}, "", "E1 E2", "Complete Current Pending", "Phase 'Test'"},
		{"later failure does not take back", straight, []Fact{ok("E1"), failed("E1")}, "", "E1 E2", "Complete Current Pending", "Phase 'Test'"},
		{"all", straight, []Fact{ok("E1"), ok("E2"), ok("E3")}, "", "E1 E2 E3", "Complete Complete Complete", ""},
		{"reached stays reached", straight, []Fact{ok("E3")}, "", "E1 E3", "Current Pending Complete", ""},
		{"no phases", nil, []Fact{ok("E1")}, "", "E1 E2", "Complete Current Pending", "Phase 'Staging'"},
		{"optional never blocks", edit(straight, 1, optional), []Fact{ok("E1")}, "", "E1 E2 E3", "Complete Current Current", ""},
		{"optional first", edit(straight, 0, optional), nil, "", "E1 E2", "Current Current Pending", "Phase 'Test'"},
		{"one phase", []Phase{in("All", "E1", "E2", "E3")}, nil, "", "E1 E2 E3", "Current", ""},
		{"all needed", []Phase{in("A", "E1", "E2"), in("B", "E3")}, []Fact{ok("E1")}, "", "E1 E2", "Current Pending", "it needs successful deployments to 2 of its environments and has 1"},
		{"one is enough", edit([]Phase{in("A", "E1", "E2"), in("B", "E3")}, 0, func(p *Phase) { p.MinimumEnvironmentsBeforePromotion = 1 }), []Fact{ok("E2")}, "", "E1 E2 E3", "Complete Current", ""},
		{"deleted environment", []Phase{in("A", "E1", "E9"), in("B", "E3")}, []Fact{ok("E1")}, "", "E1 E3", "Complete Current", ""},
		{"the rest", []Phase{in("A", "E1"), in("B")}, []Fact{ok("E1")}, "", "E1 E2 E3", "Complete Current", ""},
		{"not in lifecycle", []Phase{in("A", "E1")}, nil, "", "E1", "Current", "has no phase with the environment 'Production'"},
		{"prevented", straight, []Fact{ok("E1"), ok("E2")}, "leaks memory", "E1 E2", "Complete Complete Pending", "kept from going further: Leaks memory."},
		{"prevented, first open", straight, nil, "bad", "E1", "Current Pending Pending", "Phase 'Dev'"},
		{"remote not enough", remote, []Fact{ok("E1"), there("L1", "A", OutcomeSucceeded), there("L1", "a", OutcomeSucceeded), there("L1", "B", OutcomeFailed)}, "", "E1", "Complete Current Pending", "the space 'Quality' must report 2 successful deployments there and has reported 1"},
		{"remote enough", remote, []Fact{ok("E1"), there("L1", "A", OutcomeSucceeded), there("L1", "B", OutcomeSucceeded)}, "", "E1 E3", "Complete Complete Current", ""},
		{"fan out, one missing", fan, []Fact{there("US", "x", OutcomeSucceeded), there("EU", "Test", OutcomeSucceeded)}, "", "", "Current Pending", "must report 1 successful deployment to Production"},
		{"fan out", fan, []Fact{there("US", "x", OutcomeSucceeded), there("EU", "production", OutcomeSucceeded)}, "", "E3", "Complete Current", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Progression(ProgressionInput{Lifecycle: &Lifecycle{Name: "L", Phases: c.phases}, Environments: threeEnvironments,
				SpaceNames: map[string]string{"L1": "Quality"}, History: c.history, Prevented: c.prevented})
			var open, states []string
			for _, e := range threeEnvironments {
				if ok, _ := p.MayDeploy(e.ID, e.Name); ok {
					open = append(open, e.ID)
				}
			}
			for _, ph := range p.Phases {
				states = append(states, string(ph.State))
				if ph.Open != (ph.Why == "") {
					t.Errorf("phase %s: open %v but %q", ph.Name, ph.Open, ph.Why)
				}
			}
			if got := strings.Join(open, " "); got != c.open {
				t.Errorf("open: %q, want %q", got, c.open)
			}
			if got := strings.Join(states, " "); got != c.states {
				t.Errorf("states: %q, want %q", got, c.states)
			}
			if _, why := p.MayDeploy("E3", "Production"); !strings.Contains(why, c.why) || (c.why == "") != (why == "") {
				t.Errorf("why: %q, want %q", why, c.why)
			}
		})
	}
}

func TestAutomatic(t *testing.T) {
	l := &Lifecycle{Phases: []Phase{
		{Name: "A", AutomaticDeploymentTargets: []string{"E1"}},
		{Name: "O", AutomaticDeploymentTargets: []string{"E2"}, IsOptionalPhase: true},
		{Name: "B", AutomaticDeploymentTargets: []string{"E3"}, RemoteSpaces: []RemoteSpace{{ID: "L1", Automatic: true}, {ID: "L2"}}},
	}}
	for _, c := range []struct {
		name    string
		history []Fact
		want    string
	}{
		{"first phase", nil, "E1|"},
		{"queued", []Fact{{Environment: "E1", Outcome: OutcomeRunning}}, "|"},
		{"next phase, not the optional one", []Fact{ok("E1")}, "E3|L1"},
		{"not twice after a failure", []Fact{ok("E1"), failed("E3"), there("L1", "P", OutcomeRunning)}, "|"},
	} {
		e, s := Progression(ProgressionInput{Lifecycle: l, Environments: threeEnvironments, History: c.history}).Automatic()
		if got := strings.Join(e, " ") + "|" + strings.Join(s, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// One more success never closes anything, and what is open and reached is the
// same in whatever order the facts come.
func TestSuccessNeverClosesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Lifecycle{Name: "L"}
		for i := range rapid.IntRange(0, 4).Draw(t, "phases") {
			p := Phase{Name: string(rune('A' + i)), IsOptionalPhase: rapid.Bool().Draw(t, "optional"), MinimumEnvironmentsBeforePromotion: rapid.IntRange(0, 2).Draw(t, "minimum")}
			for _, e := range threeEnvironments {
				if rapid.Bool().Draw(t, "member") {
					p.OptionalDeploymentTargets = append(p.OptionalDeploymentTargets, e.ID)
				}
			}
			if rapid.Bool().Draw(t, "remote") {
				p.RemoteSpaces = []RemoteSpace{{ID: "L1", MinimumEnvironmentsBeforePromotion: rapid.IntRange(0, 2).Draw(t, "there")}}
			}
			l.Phases = append(l.Phases, p)
		}
		facts := rapid.SliceOfN(rapid.SampledFrom([]Fact{ok("E1"), ok("E2"), ok("E3"), failed("E1"), failed("E2"), there("L1", "a", OutcomeSucceeded), there("L1", "b", OutcomeSucceeded), there("L1", "b", OutcomeFailed)}), 0, 6).Draw(t, "facts")
		open := func(history []Fact, prevented string) (out []bool) {
			p := Progression(ProgressionInput{Lifecycle: l, Environments: threeEnvironments, History: history, Prevented: prevented})
			for _, e := range threeEnvironments {
				may, why := p.MayDeploy(e.ID, e.Name)
				if may == (why != "") {
					t.Fatalf("%s: %v, %q", e.Name, may, why)
				}
				out = append(out, may)
			}
			may, _ := p.MayPromote("L1", "one")
			return append(out, may)
		}
		reason := rapid.SampledFrom([]string{"", "bad"}).Draw(t, "prevented")
		before := open(facts, reason)
		backwards := slices.Clone(facts)
		slices.Reverse(backwards)
		if !slices.Equal(before, open(backwards, reason)) {
			t.Fatal("the order of facts matters")
		}
		for i, was := range before {
			if was && !open(append(slices.Clone(facts), ok("E2")), reason)[i] {
				t.Fatalf("a success closed place %d", i)
			}
		}
	})
}
