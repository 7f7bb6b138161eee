package steps

import (
	"strconv"
	"strings"
	"unicode"
)

// Slug makes the form of a name that URLs and configuration files use: lower
// case letters and digits joined by single dashes. A name without any of them
// gives "step".
func Slug(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(name) {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			dash = b.Len() > 0
			continue
		}
		if dash {
			b.WriteByte('-')
			dash = false
		}
		b.WriteRune(r)
	}
	if b.Len() == 0 {
		return "step"
	}
	return b.String()
}

func unique(slug string, taken map[string]bool) string {
	out := slug
	for n := 2; taken[out]; n++ {
		out = slug + "-" + strconv.Itoa(n)
	}
	return out
}
