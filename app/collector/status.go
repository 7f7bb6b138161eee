package collector

import (
	"sync"
	"time"
)

// Status is how streaming goes, since the server was started.
type Status struct {
	Sent     int64     // entries
	LastSent time.Time // zero: never
	Failing  string    // why the last try failed; "": it did not
	Since    time.Time // of Failing
	NextTry  time.Time // of Failing
	Waiting  int       // spaces with entries that were not sent
}

// Gauge keeps a status for its readers. It is safe for concurrent use.
type Gauge struct {
	mu sync.Mutex
	s  Status
}

// Sent says that a batch was received.
func (g *Gauge) Sent(n int, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.s.Sent += int64(n)
	g.s.LastSent, g.s.Failing, g.s.Since, g.s.NextTry = at, "", time.Time{}, time.Time{}
}

// Failed says that one was not.
func (g *Gauge) Failed(err error, at, next time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.s.Failing == "" {
		g.s.Since = at
	}
	g.s.Failing, g.s.NextTry = err.Error(), next
}

// Status is how it goes now, but for Waiting.
func (g *Gauge) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.s
}
