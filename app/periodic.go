package app

import (
	"context"
	"math/rand/v2"
	"time"

	"octopuses.dev/octopuses/spaces"
)

// periodicLook is how often the server looks whether something is due in some space.
const periodicLook = time.Minute

// nowAndThen does something in all spaces with a mark, in each once in an interval; 0 is
// never. A start opens no space for it: the first time of each is somewhere in the interval
// from then on, which also spreads the work of many spaces. do says when the next time is.
func (s *server) nowAndThen(ctx context.Context, mark string, every time.Duration, do func(ctx context.Context, ref spaces.Ref, every time.Duration) (next time.Time, err error)) error {
	if every == 0 {
		<-ctx.Done()
		return nil
	}
	next := map[string]time.Time{} // by folder
	tick := time.NewTicker(min(periodicLook, every))
	defer tick.Stop()
	for {
		refs, err := s.marked(ctx, mark)
		if err != nil && ctx.Err() == nil {
			s.log.Error("look for spaces with a mark", "mark", mark, "err", err)
		}
		known := make(map[string]time.Time, len(refs))
		for _, ref := range refs {
			at, ok := next[ref.Folder]
			switch now := time.Now(); {
			case !ok:
				at = now.Add(rand.N(every))
			case !now.Before(at):
				if at, err = do(ctx, ref, every); err != nil && ctx.Err() == nil {
					s.log.Error("what is due in a space", "mark", mark, "space", ref.ID, "err", err)
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
