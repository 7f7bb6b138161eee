package instance

import (
	"context"

	"octopuses.dev/octopuses/spaces/errs"
)

// How many sign-ins wait at most, and so for some 2 s, before others are sent away.
const (
	strangersWait = 32
	knownWait     = 8
)

// lane lets passwords be hashed a few at a time. A hash takes 19 MiB and some 50 ms of a
// core: a flood of attempts must leave memory, and cores, to those who are signed in.
// Strangers have half of the cores at most. Who is signed in to the account from the same
// address has a lane of his own, which a flood from elsewhere does not fill.
type lane struct{ places, queue chan struct{} }

func newLane(places, waiting int) *lane {
	return &lane{make(chan struct{}, places), make(chan struct{}, places+waiting)}
}

// enter waits for a place; leave gives it back. Error: [errs.Busy] when too many wait.
func (l *lane) enter(ctx context.Context) (leave func(), err error) {
	full := func(cause error) error {
		return errs.Wrap(errs.Busy, cause, "Too many people sign in at once.").WithHint("Try again in a moment.")
	}
	select {
	case l.queue <- struct{}{}:
	default:
		return nil, full(nil)
	}
	select {
	case l.places <- struct{}{}:
		return func() { <-l.places; <-l.queue }, nil
	case <-ctx.Done():
		<-l.queue
		return nil, full(ctx.Err())
	}
}
