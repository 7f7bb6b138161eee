package apptest

import (
	"context"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/secrets"
)

// Keys exchanges a master key that lies in no file.
type Keys struct {
	Masters  *secrets.Masters
	Instance *instance.Instance
	Spaces   *spaces.Registry
}

// Master is that of instance.Keys.
func (k Keys) Master() (id, file string, old []string) {
	return k.Masters.Current().ID(), "(memory)", nil
}

// RotateMaster is that of instance.Keys.
func (k Keys) RotateMaster(ctx context.Context, actor instance.Actor) (left []string, err error) {
	k.Masters.Use(secrets.Master{Key: secrets.NewKey()})
	if err := k.Instance.Reseal(ctx, actor); err != nil {
		return nil, err
	}
	all, err := k.Instance.Spaces(ctx)
	for _, about := range all {
		space, err := k.Spaces.Acquire(ctx, spaces.Ref{ID: about.ID(), Folder: about.Folder, Name: about.Name, Slug: about.Slug})
		if err == nil {
			err = space.Rewrap(ctx)
			space.Release()
		}
		if err != nil {
			left = append(left, about.Name)
		}
	}
	return left, err
}
