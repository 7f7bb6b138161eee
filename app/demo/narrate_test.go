package demo

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestNarration(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	n := NewNarrator(&out)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	n.now = func() time.Time { return now }
	n.Chapter("The Dev zone")
	err := n.Step("Push the package", func(p *Progress) error {
		p.Of(5, 10)
		p.Note("20.0 MB")
		now = now.Add(2400 * time.Millisecond)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	cause := errors.New("status 409\nthe space is stopped")
	err = n.Step("Create a release", func(*Progress) error { now = now.Add(72 * time.Second); return cause })
	if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "step 2, Create a release: ") {
		t.Errorf("the error does not say which step: %v", err)
	}
	want := "\nThe Dev zone\n 1 ✓ Push the package · 20.0 MB 2.4 s\n 2 ✗ Create a release 1 min 12 s\n     status 409\n     the space is stopped\n"
	if out.String() != want {
		t.Errorf("not on a terminal it says\n%q, want\n%q", out.String(), want)
	}
}

// On a terminal the line of a step is drawn again, with a bar, and ends as one line.
func TestNarrationOnTerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	n := &Narrator{w: &out, live: true, now: func() time.Time { now = now.Add(100 * time.Millisecond); return now }, began: now}
	err := n.Step("Promote", func(p *Progress) error {
		for _, done := range []int64{0, 30, 60, 120} {
			p.Of(done, 60)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"░   0 %", "████████████░░░░░░░░░░░░  50 %", "█ 100 %", "\x1b[32m✓\x1b[0m Promote"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q: %q", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines remain of one step", n)
	}
}
