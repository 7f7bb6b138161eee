package spaces

import (
	"fmt"
	"strings"
	"unicode"

	"octopuses.dev/octopuses/spaces/errs"
)

// checkName complains about a name that is empty, too long, or holds characters
// with which it could pretend to be another (controls, direction marks).
func checkName(c *errs.Check, field, name string, limit int) {
	c.Require(strings.TrimSpace(name) != "", field, "A name is required.")
	c.Require(len([]rune(name)) <= limit, field, "The name is longer than %d characters.", limit)
	for _, r := range name {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			c.Require(false, field, "The name holds an invisible character (U+%04X).", r)
			return
		}
	}
}

// slugOf makes the form of a name that stands in URLs: lower-case letters, digits
// and single hyphens; never empty.
func slugOf(name string) string {
	var b strings.Builder
	hyphen := false
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if hyphen && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			hyphen = false
		} else {
			hyphen = true
		}
	}
	if b.Len() == 0 {
		return "x"
	}
	return b.String()
}

// freeSlug returns wish, or slugOf(name) when wish is empty, with a number behind
// it if the table has that slug already. More is added to the condition, for slugs
// that are unique within an owner.
func (tx *Tx) freeSlug(table, wish, name string, more string, args ...any) (string, error) {
	base := slugOf(name)
	if strings.TrimSpace(wish) != "" {
		base = slugOf(wish)
	}
	slug := base
	for n := 2; ; n++ {
		taken, err := one[bool](tx.ReadTx, "SELECT EXISTS (SELECT 1 FROM "+table+" WHERE slug = ?"+more+")", append([]any{slug}, args...)...)
		if err != nil {
			return "", err
		}
		if !taken {
			return slug, nil
		}
		slug = fmt.Sprintf("%s-%d", base, n)
	}
}
