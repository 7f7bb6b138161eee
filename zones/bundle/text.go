package bundle

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

const maxName = 1000 // bytes of a text of one line

// texts collects what is wrong with the names in a statement. The first fault counts.
type texts struct {
	what string
	err  error
}

// name requires a text of one line without characters that could make it look like
// another one or break out of the line: controls, line separators, and invisible format
// characters such as direction marks. Joiners are allowed, since writing needs them.
func (t *texts) name(field, s string) {
	if t.err != nil {
		return
	}
	if len(s) > maxName {
		t.err = refuse("The %s of the %s is longer than %d bytes.", field, t.what, maxName)
	}
	for _, r := range s {
		if hidden(r) {
			t.err = refuse("The %s of the %s holds an invisible character (U+%04X).", field, t.what, r)
			return
		}
	}
}

func (t *texts) required(field, s string) {
	if t.err == nil && strings.TrimSpace(s) == "" {
		t.err = refuse("The %s has no %s.", t.what, field)
	}
	t.name(field, s)
}

func (t *texts) ulid(field, s string) {
	if t.err == nil && !isULID(s) {
		t.err = refuse("The %s of the %s is no ULID.", field, t.what)
	}
}

// time requires the one form of a time: 2006-01-02T15:04:05Z.
func (t *texts) time(field, s string) {
	if at, err := time.Parse(time.RFC3339, s); t.err == nil && (err != nil || at.UTC().Format(time.RFC3339) != s) {
		t.err = refuse("The %s of the %s is no time in UTC.", field, t.what)
	}
}

func hidden(r rune) bool {
	switch {
	case r == '\u200c' || r == '\u200d':
		return false
	case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
		return true
	}
	return false
}

// visible drops what name refuses.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if hidden(r) {
			return -1
		}
		return r
	}, s)
}

// cut shortens a text to a number of bytes, between two characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

func isULID(s string) bool {
	id, err := ulid.ParseStrict(s)
	return err == nil && id.String() == s
}

// printable is a text from elsewhere for a terminal: what could move the cursor or hide
// stands as its number.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if hidden(r) && r != '\t' {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// clip shortens a text from elsewhere for a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "…"
	}
	return printable(s)
}
