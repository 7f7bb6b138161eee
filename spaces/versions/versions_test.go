package versions

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOrder(t *testing.T) {
	// Each version is before the next one.
	order := []string{"0.1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.0.1", "1.0.1", "1.2", "1.10", "2016.1.2", "2024.1.1-x", "2024.01.01"}
	keys := make([]string, len(order))
	for i, s := range order {
		v, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = v.SortKey()
	}
	if !slices.IsSorted(keys) {
		t.Errorf("keys are not sorted:\n%s", strings.Join(keys, "\n"))
	}
	for i := 1; i < len(keys); i++ {
		if keys[i] == keys[i-1] {
			t.Errorf("%s and %s have the same key", order[i-1], order[i])
		}
	}
}

func TestEqual(t *testing.T) {
	for _, pair := range [][2]string{{"1.0", "1.0.0.0"}, {"2016.01.02", "2016.1.2"}, {"1.0.0+a", "1.0.0+b"}, {"1.0-RC", "1.0-rc"}} {
		a, _ := Parse(pair[0])
		b, _ := Parse(pair[1])
		if Compare(a, b) != 0 {
			t.Errorf("%s and %s differ", pair[0], pair[1])
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "v1", "1.", ".1", "1..2", "1.2.3.4.5", "1.2-", "1.2-a..b", "1.2+", "1.2-ä", "99999999999", strings.Repeat("1", 300), "1 2", "latest"} {
		if v, err := Parse(s); err == nil {
			t.Errorf("%q was read as %s", s, v)
		}
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		text    string
		in, out string
	}{
		{"[1.0,2.0)", "1.0 1.9.9 2.0-beta", "0.9 2.0 1.0-beta"},
		{"(1.0,2.0]", "1.0.1 2.0", "1.0 2.0.1"},
		{"[1.2.3]", "1.2.3 1.2.3.0", "1.2.4"},
		{"(,1.0]", "0.1 1.0", "1.1"},
		{"1.0", "1.0 7", "0.9"},
		{"(,1.0],[1.2,)", "1.0 1.2 9", "1.1"},
	} {
		r, err := ParseRange(c.text)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range strings.Fields(c.in) {
			if v, _ := Parse(s); !r.Contains(v) {
				t.Errorf("%s does not contain %s", c.text, s)
			}
		}
		for _, s := range strings.Fields(c.out) {
			if v, _ := Parse(s); r.Contains(v) {
				t.Errorf("%s contains %s", c.text, s)
			}
		}
	}
	for _, s := range []string{"", "[", "[1.0", "[2.0,1.0]", "(1.0)", "[1.0,2.0)x", "[1.0],"} {
		if _, err := ParseRange(s); err == nil {
			t.Errorf("%q was read as a range", s)
		}
	}
}

func TestNext(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 5, 0, 0, time.UTC)
	for _, c := range []struct{ template, last, want string }{
		{"#{Octopus.Version.LastMajor}.#{Octopus.Version.LastMinor}.#{Octopus.Version.NextPatch}", "1.2.3", "1.2.4"},
		{"#{Octopus.Version.LastMajor}.#{Octopus.Version.LastMinor}.#{Octopus.Version.NextPatch}", "", "0.0.1"},
		{"2.1.i", "2.1.7", "2.1.8"},
		{"2.2.i", "2.1.7", "2.2.0"},
		{"2.1.c.i", "2.1.7.3", "2.1.7.4"},
		{"1.0.i", "", "1.0.1"},
		{"#{Octopus.Date.Year}.#{Octopus.Date.Month}.i", "2026.11.4", "2026.11.5"},
		{"1.i-#{Octopus.Release.Channel.Name}", "1.4", "1.5-beta"},
	} {
		got, err := Next(c.template, TemplateContext{Last: c.last, Channel: "beta", Now: now})
		if err != nil || got != c.want {
			t.Errorf("Next(%q, last %q) = %q, %v; want %q", c.template, c.last, got, err, c.want)
		}
	}
	for _, s := range []string{"#{Nope}", "#{Octopus.Version.LastMajor", "x.y"} {
		if got, err := Next(s, TemplateContext{}); err == nil {
			t.Errorf("Next(%q) = %q", s, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1.2.3", "1.2.3-beta.1+x", "2016.01.02", "1.0.0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(v.String())
		if err != nil || Compare(v, again) != 0 {
			t.Errorf("%q renders as %q, which reads as %q (%v)", s, v, again, err)
		}
	})
}
