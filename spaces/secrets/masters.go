package secrets

import (
	"maps"
	"slices"
	"sync"
)

// Masters are the master keys that a server has: the one that it uses now, and older ones
// that something may still be wrapped or sealed with while they are exchanged. It is safe
// for concurrent use.
type Masters struct {
	mu      sync.RWMutex
	current Master
	known   map[string]Master // by id, the current one too
}

// NewMasters makes a set of the one that is used and others that are only opened with.
func NewMasters(current Master, others ...Master) *Masters {
	m := &Masters{known: map[string]Master{}}
	for _, o := range others {
		m.known[o.ID()] = o
	}
	m.Use(current)
	return m
}

// Current is the key to wrap and seal with.
func (m *Masters) Current() Master {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.current
}

// Use makes a key the current one. Those before it stay known.
func (m *Masters) Use(k Master) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = k
	m.known[k.ID()] = k
}

// Know adds a key to open with.
func (m *Masters) Know(k Master) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[k.ID()] = k
}

// ByID finds a key by its [Master.ID].
func (m *Masters) ByID(id string) (Master, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	k, ok := m.known[id]
	return k, ok
}

// Open opens what any of the keys has sealed for a purpose, the current one tried first.
// The error is [ErrOpen].
func (m *Masters) Open(sealed []byte, purpose string) ([]byte, error) {
	m.mu.RLock()
	all := slices.Collect(maps.Values(m.known))
	current := m.current
	m.mu.RUnlock()
	plain, err := current.Open(sealed, purpose)
	for _, k := range all {
		if err == nil {
			break
		}
		plain, err = k.Open(sealed, purpose)
	}
	return plain, err
}

// Seal seals with the current key.
func (m *Masters) Seal(plain []byte, purpose string) []byte { return m.Current().Seal(plain, purpose) }
