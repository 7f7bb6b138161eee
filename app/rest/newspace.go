package rest

import (
	"context"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
)

// NewSpace registers a space, makes its folder and gives it what every space has. Both
// doors and the command line use it.
func NewSpace(ctx context.Context, i *instance.Instance, reg *spaces.Registry, actor instance.Actor, in instance.SpaceInput) (instance.Space, error) {
	folder := ""
	s, err := i.CreateSpace(ctx, actor, in, func(name, slug string) (string, error) {
		var err error
		folder, err = reg.Create(ctx, name, slug)
		return folder, err
	})
	if err != nil {
		if folder != "" {
			if derr := reg.Delete(folder); derr != nil {
				return s, derr
			}
		}
		return s, err
	}
	space, err := reg.Acquire(ctx, RefOf(s))
	if err != nil {
		return s, err
	}
	defer space.Release()
	return s, spaces.Initialise(ctx, space)
}
