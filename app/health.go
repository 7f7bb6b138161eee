package app

import (
	"context"
	"math/rand/v2"
	"time"

	"octopuses.dev/octopuses/spaces"
)

// healthLook is how often the server looks whether some space's targets are to be asked.
const healthLook = time.Minute

// checkHealth asks the targets of all spaces for their health, each space once in an
// interval. A start opens no space for it: the first time of each is somewhere in the
// interval from then on, which also spreads the work of many spaces.
func (s *server) checkHealth(ctx context.Context) error {
	every := s.cfg.HealthEvery
	if every == 0 {
		<-ctx.Done()
		return nil
	}
	next := map[string]time.Time{} // by folder
	tick := time.NewTicker(min(healthLook, every))
	defer tick.Stop()
	for {
		refs, err := s.marked(ctx, spaces.MarkTargets)
		if err != nil && ctx.Err() == nil {
			s.log.Error("look for targets", "err", err)
		}
		known := make(map[string]time.Time, len(refs))
		for _, ref := range refs {
			at, ok := next[ref.Folder]
			switch now := time.Now(); {
			case !ok:
				at = now.Add(rand.N(every))
			case !now.Before(at):
				if at, err = s.askHealth(ctx, ref, every); err != nil && ctx.Err() == nil {
					s.log.Error("check health of a space", "space", ref.ID, "err", err)
				}
			}
			known[ref.Folder] = at
		}
		next = known // of spaces that are gone nothing is kept
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// askHealth queues a check of a space's targets if one is due, and says when the next is.
func (s *server) askHealth(ctx context.Context, ref spaces.Ref, every time.Duration) (next time.Time, err error) {
	next = time.Now().Add(every)
	stopped, err := s.queueStopped(ctx, ref)
	if err != nil || stopped {
		return next, err
	}
	err = s.within(ctx, ref, func(space *spaces.Space) error {
		next, err = spaces.Update(ctx, space, spaces.Server(), func(tx *spaces.Tx) (time.Time, error) { return tx.QueueDueHealthCheck(every) })
		return err
	})
	return next, err
}
