package app

import (
	"context"
	"time"

	"octopuses.dev/octopuses/spaces"
)

// applyRetention deletes, by a task in each space where there are some, the releases that
// no policy keeps any more.
func (s *server) applyRetention(ctx context.Context) error {
	return s.nowAndThen(ctx, spaces.MarkRetention, s.cfg.RetentionEvery, s.queueRetention)
}

// queueRetention queues the task if it has something to delete: spaces where nothing
// happens fill no task list.
func (s *server) queueRetention(ctx context.Context, ref spaces.Ref, every time.Duration) (next time.Time, err error) {
	next = time.Now().Add(every)
	stopped, err := s.queueStopped(ctx, ref)
	if err != nil || stopped {
		return next, err
	}
	return next, s.within(ctx, ref, func(space *spaces.Space) error {
		plan, err := spaces.View(ctx, space, spaces.Server(), (*spaces.ReadTx).Retention)
		if err != nil {
			return err
		}
		for _, p := range plan {
			if len(p.Expired) > 0 {
				return spaces.Do(ctx, space, spaces.Server(), (*spaces.Tx).QueueRetention)
			}
		}
		return nil
	})
}
