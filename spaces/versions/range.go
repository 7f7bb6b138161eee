package versions

import (
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Range is a set of versions in NuGet's interval notation: "[1.0,2.0)", "(,1.0]",
// "[1.0]", or a bare "1.0" that means 1.0 and everything after it. Maven's comma
// separated unions, "(,1.0],[1.2,)", are read as well.
type Range struct{ spans []span }

type span struct {
	low, high         *Version // nil: open-ended
	withLow, withHigh bool
}

func invalidRange(text string) error {
	return errs.New(errs.Invalid, "'%s' is no version range.", clip(text)).WithHint("Write it like [1.0,2.0), (,3.0], [1.2.3] or 1.0.")
}

// ParseRange reads a range. The error is [errs.Invalid].
func ParseRange(text string) (Range, error) {
	s := strings.ReplaceAll(text, " ", "")
	if s == "" || len(s) > 4*MaxLength {
		return Range{}, invalidRange(text)
	}
	if s[0] != '[' && s[0] != '(' {
		v, err := Parse(s)
		if err != nil {
			return Range{}, invalidRange(text)
		}
		return Range{[]span{{low: &v, withLow: true}}}, nil
	}
	var r Range
	for s != "" {
		end := strings.IndexAny(s, "])")
		if end < 0 || s[0] != '[' && s[0] != '(' {
			return Range{}, invalidRange(text)
		}
		sp, ok := parseSpan(s[1:end], s[0] == '[', s[end] == ']')
		if !ok {
			return Range{}, invalidRange(text)
		}
		r.spans = append(r.spans, sp)
		s = s[end+1:]
		if s != "" {
			if s[0] != ',' || len(s) == 1 {
				return Range{}, invalidRange(text)
			}
			s = s[1:]
		}
	}
	return r, nil
}

func parseSpan(inner string, withLow, withHigh bool) (span, bool) {
	low, high, two := strings.Cut(inner, ",")
	if !two {
		v, err := Parse(low)
		return span{&v, &v, true, true}, err == nil && withLow && withHigh
	}
	sp := span{withLow: withLow, withHigh: withHigh}
	for _, side := range []struct {
		text string
		to   **Version
	}{{low, &sp.low}, {high, &sp.high}} {
		if side.text == "" {
			continue
		}
		v, err := Parse(side.text)
		if err != nil {
			return sp, false
		}
		*side.to = &v
	}
	return sp, sp.low == nil || sp.high == nil || Compare(*sp.low, *sp.high) <= 0
}

// Contains reports whether v is in the range. Pre-releases are ordered like any
// version: 2.0-beta is before 2.0.
func (r Range) Contains(v Version) bool {
	for _, s := range r.spans {
		ok := true
		if s.low != nil {
			c := Compare(v, *s.low)
			ok = c > 0 || c == 0 && s.withLow
		}
		if ok && s.high != nil {
			c := Compare(v, *s.high)
			ok = c < 0 || c == 0 && s.withHigh
		}
		if ok {
			return true
		}
	}
	return false
}
