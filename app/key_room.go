package app

import (
	"context"
	"os"
	"strings"
	"sync"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
)

// keyRoom exchanges the master key of the server that runs, for its doors.
type keyRoom struct {
	mu       sync.Mutex // one exchange at a time
	data     *dataFolder
	instance *instance.Instance
	spaces   *spaces.Registry
}

// Master is that of instance.Keys.
func (k *keyRoom) Master() (id, file string, old []string) {
	return k.data.masters.Current().ID(), k.data.keyFile, oldMasterKeys(k.data.keyFile)
}

// RotateMaster is that of instance.Keys.
func (k *keyRoom) RotateMaster(ctx context.Context, actor instance.Actor) (left []string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, left, err = rotateMasterKey(ctx, k.data.keyFile, k.data.masters, k.instance, k.spaces, actor)
	return left, err
}

// finishKeys goes on with an exchange of the master key that a crash interrupted, or that
// the environment asks for by giving the key before as well.
func (s *server) finishKeys(ctx context.Context) error {
	d := s.data
	var left []string
	var err error
	if d.keyFile != "" {
		if _, gone := os.Lstat(d.keyFile + nextKey); gone != nil {
			return nil
		}
		_, left, err = rotateMasterKey(ctx, d.keyFile, d.masters, s.instance, s.spaces, instance.System())
	} else if s.cfg.OldMasterKey != "" {
		left, err = rewrapAll(ctx, s.instance, s.spaces, instance.System())
	} else {
		return nil
	}
	s.log.Info("master key exchanged", "key", d.masters.Current().ID(), "left", strings.Join(left, "; "))
	return err
}
