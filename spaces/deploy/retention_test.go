package deploy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The worked example of Octopus's documentation: two phases keep three; .10 to
// .15 were never deployed, .7 to .9 reached Staging, .1 to .6 both. The newest in
// each environment is on the dashboard, the one before is there for a rollback.
func TestRetentionExample(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return now.AddDate(0, 0, n-20) }
	var releases []KeptRelease
	for n := 1; n <= 15; n++ {
		r := KeptRelease{ID: fmt.Sprint(".", n), Assembled: day(n), Deployed: map[string]time.Time{}}
		if n <= 9 {
			r.Deployed["S"] = day(n)
		}
		if n <= 6 {
			r.Deployed["P"] = day(n)
		}
		r.Protected = n == 9 || n == 8 || n == 6 || n == 5
		releases = append(releases, r)
	}
	l := &Lifecycle{ReleaseRetentionPolicy: Keep(3, "Items"), Phases: []Phase{in("Staging", "S"), in("Production", "P")}}
	tell := func() string {
		return strings.Join(Expired(releases, []Environment{{"S", "Staging"}, {"P", "Production"}}, func(string) *Lifecycle { return l }, now), " ")
	}
	if got, want := tell(), ".1 .10 .11 .12"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	l.Phases[1].ReleaseRetentionPolicy = Keep(17, "Days")
	if got, want := tell(), ".1 .2 .10 .11 .12"; got != want {
		t.Errorf("with days in Production: got %s, want %s", got, want)
	}
	l.ReleaseRetentionPolicy = KeepForever()
	if got := tell(); got != "" {
		t.Errorf("kept for ever, and yet %s", got)
	}
}
