// Package versions is about the versions of packages and releases: reading them,
// ordering them, ranges of them, and the next one of a project.
//
// A version is one of SemVer 2 (https://semver.org) or of NuGet's four numbers,
// with one to four numbers: "1", "1.2", "1.2.3-beta.1+build", "1.2.3.4". Leading
// zeros are allowed, as in "2016.01.02". Missing numbers count as zero and build
// metadata does not count at all, so "1.0" equals "1.0.0.0+x".
//
// The package is pure: no I/O, no clock.
package versions

import (
	"fmt"
	"strconv"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// MaxLength is the longest text that is read as a version, in bytes.
const MaxLength = 255

// Version is a version that was read. The zero value is "0".
type Version struct {
	numbers  [4]uint64
	count    int
	pre      []string
	metadata string
}

func invalid(text, why string) error {
	return errs.New(errs.Invalid, "'%s' is no version: %s.", clip(text), why).WithHint("Write it like 1.2.3, 1.2.3-beta.1 or 2024.1.15.2.")
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// Parse reads a version. The error is [errs.Invalid] and says what is wrong.
func Parse(text string) (Version, error) {
	var v Version
	rest := text
	if rest == "" {
		return v, invalid(text, "it is empty")
	}
	if len(rest) > MaxLength {
		return v, invalid(text, "it is longer than 255 characters")
	}
	if i := strings.IndexByte(rest, '+'); i >= 0 {
		v.metadata, rest = rest[i+1:], rest[:i]
		if err := identifiers(strings.Split(v.metadata, ".")); err != "" {
			return v, invalid(text, "after the +, "+err)
		}
	}
	if i := strings.IndexByte(rest, '-'); i >= 0 {
		v.pre, rest = strings.Split(rest[i+1:], "."), rest[:i]
		if err := identifiers(v.pre); err != "" {
			return v, invalid(text, "after the -, "+err)
		}
	}
	parts := strings.Split(rest, ".")
	if len(parts) > 4 {
		return v, invalid(text, "it has more than four numbers")
	}
	for i, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return v, invalid(text, fmt.Sprintf("'%s' is not a number", p))
		}
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return v, invalid(text, fmt.Sprintf("the number %s is too large", p))
		}
		v.numbers[i] = n
	}
	v.count = len(parts)
	return v, nil
}

func identifiers(parts []string) (complaint string) {
	for _, p := range parts {
		if p == "" {
			return "a part is empty"
		}
		for _, r := range p {
			if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-') {
				return fmt.Sprintf("the character %q is not allowed", r)
			}
		}
	}
	return ""
}

// String renders the numbers that were given, the pre-release part and the
// metadata; leading zeros are gone.
func (v Version) String() string {
	var b strings.Builder
	for i := range max(v.count, 1) {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.FormatUint(v.numbers[i], 10))
	}
	b.WriteString(v.tail())
	return b.String()
}

func (v Version) tail() string {
	s := ""
	if len(v.pre) > 0 {
		s = "-" + strings.Join(v.pre, ".")
	}
	if v.metadata != "" {
		s += "+" + v.metadata
	}
	return s
}

// Major, Minor, Patch and Revision are the numbers in their order.
func (v Version) Major() uint64    { return v.numbers[0] }
func (v Version) Minor() uint64    { return v.numbers[1] }
func (v Version) Patch() uint64    { return v.numbers[2] }
func (v Version) Revision() uint64 { return v.numbers[3] }

// IsPrerelease reports whether there is a part after a hyphen.
func (v Version) IsPrerelease() bool { return len(v.pre) > 0 }

// Prerelease is the part after the hyphen, without it.
func (v Version) Prerelease() string { return strings.Join(v.pre, ".") }

// Suffix is what rules of channels look at: the pre-release part, and the metadata
// with its plus sign.
func (v Version) Suffix() string { return strings.TrimPrefix(v.tail(), "-") }

// SortKey is a text whose byte order is the order of versions; equal versions have
// equal keys. It is stored in databases: its form must not change.
func (v Version) SortKey() string {
	var b strings.Builder
	b.Grow(48)
	for i, n := range v.numbers {
		if i > 0 {
			b.WriteByte('.')
		}
		fmt.Fprintf(&b, "%010d", n)
	}
	if len(v.pre) == 0 {
		return b.String() + "~" // after every pre-release
	}
	b.WriteByte('-')
	for i, p := range v.pre {
		if i > 0 {
			b.WriteByte('!') // before every character of an identifier: fewer parts come first
		}
		if strings.Trim(p, "0123456789") == "" && len(p) <= 20 {
			b.WriteString("0" + strings.Repeat("0", 20-len(p)) + p) // numbers come before words
		} else {
			b.WriteString("1" + strings.ToLower(p))
		}
	}
	return b.String()
}

// Compare is negative, zero or positive as a is before, equal to or after b.
func Compare(a, b Version) int { return strings.Compare(a.SortKey(), b.SortKey()) }
