package app

import (
	"context"
	"time"

	"octopuses.dev/octopuses/spaces"
)

// checkHealth asks the targets of all spaces for their health.
func (s *server) checkHealth(ctx context.Context) error {
	return s.nowAndThen(ctx, spaces.MarkTargets, s.cfg.HealthEvery, s.askHealth)
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
