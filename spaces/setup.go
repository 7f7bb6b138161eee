package spaces

import (
	"context"

	"octopuses.dev/octopuses/spaces/deploy"
)

// Initialise gives a new space what every space has: a default lifecycle and a
// default project group. Doing it twice changes nothing.
func Initialise(ctx context.Context, s *Space) error {
	return Do(ctx, s, Server(), func(tx *Tx) error {
		done, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM lifecycle)`)
		if err != nil || done {
			return err
		}
		if _, err := tx.createLifecycle(deploy.Lifecycle{Name: "Default Lifecycle", Description: "Every environment in its order, one after the other."}, true); err != nil {
			return err
		}
		_, err = tx.createProjectGroup(ProjectGroupInput{Name: "Default Project Group", Description: "Projects without a group of their own."}, true)
		return err
	})
}
