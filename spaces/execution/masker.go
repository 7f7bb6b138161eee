package execution

import (
	"slices"
	"strings"
	"sync"
)

// Mask is what stands where a secret was.
const Mask = "********"

// shortest is the length in bytes from which secrets are masked: shorter ones would
// tear holes into every line, and give themselves away by that.
const shortest = 4

// Masker replaces secrets in text. Secrets that overlap in the text are replaced
// together, so that no end of one is left standing. It is safe for concurrent use.
type Masker struct {
	mu      sync.RWMutex
	longest int                  // bytes of the longest secret
	heads   [1 << 16 / 64]uint64 // which first two bytes any secret has
	secrets map[[shortest]byte][]string
}

// Add takes one more secret. Of a secret of several lines each line is one as well,
// since logs are written by lines.
func (m *Masker) Add(secret string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.secrets == nil {
		m.secrets = map[[shortest]byte][]string{}
	}
	for _, part := range append([]string{secret}, strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' })...) {
		if part = strings.TrimSpace(part); len(part) < shortest {
			continue
		}
		key := [shortest]byte([]byte(part[:shortest]))
		if slices.Contains(m.secrets[key], part) {
			continue
		}
		m.secrets[key] = append(m.secrets[key], part)
		h := head(part, 0)
		m.heads[h/64] |= 1 << (h % 64)
		m.longest = max(m.longest, len(part))
	}
}

func head(text string, i int) uint16 { return uint16(text[i]) | uint16(text[i+1])<<8 }

// match is where the longest secret that begins at i ends, or i.
func (m *Masker) match(text string, i int) (end int) {
	end = i
	h := head(text, i)
	if m.heads[h/64]&(1<<(h%64)) == 0 {
		return end
	}
	for _, s := range m.secrets[[shortest]byte([]byte(text[i:i+shortest]))] {
		if i+len(s) > end && strings.HasPrefix(text[i:], s) {
			end = i + len(s)
		}
	}
	return end
}

// span is the next stretch of text, from an offset on, that is nothing but secrets;
// from < 0 when there is none.
func (m *Masker) span(text string, offset int) (from, to int) {
	for i := offset; i+shortest <= len(text); i++ {
		if to = m.match(text, i); to == i {
			continue
		}
		for j := i + 1; j < to && j+shortest <= len(text); j++ {
			to = max(to, m.match(text, j))
		}
		return i, to
	}
	return -1, -1
}

// Text replaces the secrets in a text that is whole.
func (m *Masker) Text(text string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.longest == 0 {
		return text
	}
	from, to := m.span(text, 0)
	if from < 0 {
		return text
	}
	var b strings.Builder
	done := 0
	for from >= 0 {
		b.WriteString(text[done:from])
		b.WriteString(Mask)
		done = to
		from, to = m.span(text, done)
	}
	b.WriteString(text[done:])
	return b.String()
}

// Cut is where a text that goes on may be cut so that no secret is torn apart: not
// inside of one that is there, and before one that may have begun. 0 says nowhere yet.
func (m *Masker) Cut(text string) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.longest == 0 {
		return len(text)
	}
	cut := max(0, len(text)-m.longest+1)
	for from, to := m.span(text, 0); from >= 0 && from < cut; from, to = m.span(text, to) {
		if to > cut {
			return from
		}
	}
	return cut
}

// hold is how much of a text without an end is kept before it is cut, in bytes: at
// least twice the longest secret.
func (m *Masker) hold(least int) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return max(least, 2*m.longest)
}
