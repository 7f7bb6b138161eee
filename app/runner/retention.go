package runner

import (
	"context"
	"fmt"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

// retention deletes the releases that no policy keeps any more, each in a transaction of
// its own so that others get to write in between. Done again after a crash, it goes on.
func (t *run) retention(ctx context.Context) error {
	plan, err := spaces.View(ctx, t.space, spaces.Server(), (*spaces.ReadTx).Retention)
	if err != nil {
		return err
	}
	deleted := 0
	for _, p := range plan {
		t.log.once(-1, "Info", fmt.Sprintf("%s: %d releases are over the limit, %d are kept by a policy, %d whatever the policies say.", p.Name, len(p.Expired), p.Kept, len(p.Protected)))
		for _, r := range p.Protected {
			t.log.once(-1, "Verbose", fmt.Sprintf("%s %s is kept: %s.", p.Name, r.Version, r.Why))
		}
		for _, r := range p.Expired {
			if ctx.Err() != nil {
				return nil
			}
			canceled, err := spaces.Update(ctx, t.space, spaces.Server(), func(tx *spaces.Tx) (bool, error) {
				task, err := tx.Task(t.task.ID)
				if err != nil {
					return false, err
				}
				if task.State == spaces.Cancelling {
					return true, tx.FinishTask(task.ID, spaces.TaskCanceled, "Cancelled by "+task.CanceledBy+".", false)
				}
				return false, tx.ExpireRelease(r)
			})
			switch {
			case errs.KindOf(err) == errs.Blocked: // since the plan was made
				t.log.once(-1, "Info", fmt.Sprintf("%s %s is kept: %s", p.Name, r.Version, errs.TextOf(err)))
			case err != nil:
				return err
			case canceled:
				t.log.once(-1, "Info", fmt.Sprintf("Cancelled; %d releases were deleted before.", deleted))
				return nil
			default:
				deleted++
				t.log.once(-1, "Info", fmt.Sprintf("%s %s was deleted: %s.", p.Name, r.Version, r.Why))
			}
		}
	}
	return spaces.Do(ctx, t.space, spaces.Server(), func(tx *spaces.Tx) error {
		return tx.FinishTask(t.task.ID, spaces.TaskSuccess, "", false)
	})
}
