package execution

import (
	"slices"
	"strings"
	"sync"
)

// Mask is what stands where a secret was.
const Mask = "********"

// shortest is the length up to which secrets are not masked: shorter ones would tear
// holes into every line, and give themselves away by that.
const shortest = 4

// Masker replaces secrets in text. It is safe for concurrent use.
type Masker struct {
	mu       sync.RWMutex
	secrets  []string // longest first
	replacer *strings.Replacer
}

// Add takes one more secret. Of a secret of several lines each line is one as well,
// since logs are written by lines.
func (m *Masker) Add(secret string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.secrets)
	for _, part := range append([]string{secret}, strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' })...) {
		if part = strings.TrimSpace(part); len(part) >= shortest && !slices.Contains(m.secrets, part) {
			m.secrets = append(m.secrets, part)
		}
	}
	if len(m.secrets) == before {
		return
	}
	slices.SortFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(m.secrets))
	for _, s := range m.secrets {
		pairs = append(pairs, s, Mask)
	}
	m.replacer = strings.NewReplacer(pairs...)
}

// Text replaces the secrets in a text that is whole.
func (m *Masker) Text(text string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.replacer == nil {
		return text
	}
	return m.replacer.Replace(text)
}

// Cut is where a text that goes on may be cut so that no secret is torn apart.
func (m *Masker) Cut(text string) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.secrets) == 0 {
		return len(text)
	}
	cut := max(0, len(text)-len(m.secrets[0])+1)
	for moved := true; moved; {
		moved = false
		for _, s := range m.secrets {
			for from := max(0, cut-len(s)+1); from < cut; {
				i := strings.Index(text[from:min(len(text), cut+len(s)-1)], s)
				if i < 0 || from+i >= cut {
					break
				}
				if from+i+len(s) > cut {
					cut, moved = from+i, true
					break
				}
				from += i + 1
			}
		}
	}
	return cut
}
