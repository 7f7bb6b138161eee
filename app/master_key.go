package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

// The master key lies in one file. While it is exchanged the new one lies beside it as
// .next; those before it stay as .old-ID, for backups that were made with them.
const (
	nextKey = ".next"
	oldKey  = ".old-"
)

// masterKeys reads the master keys that a data folder may need. file is where the one in
// use lies, "" when it is given in the environment.
func masterKeys(c *Config, d *dataFolder, create bool) (masters *secrets.Masters, file string, err error) {
	if c.MasterKey != "" {
		m, err := givenKey("OCTOPUSES_MASTER_KEY", c.MasterKey)
		if err != nil {
			return nil, "", err
		}
		masters = secrets.NewMasters(m)
		if c.OldMasterKey != "" {
			if m, err = givenKey("OCTOPUSES_OLD_MASTER_KEY", c.OldMasterKey); err != nil {
				return nil, "", err
			}
			masters.Know(m)
		}
		return masters, "", nil
	}
	file = c.MasterFile
	if file == "" {
		file = filepath.Join(d.keysFolder(), "master.key")
	}
	m, err := secrets.LoadMaster(file, create)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, file, errs.Wrap(errs.NotFound, err, "The master key %s is missing, and without it nothing secret in %s can be read.", file, d.path).
			WithHint("Put the key back, or give it in OCTOPUSES_MASTER_KEY. If it is lost for good: octopuses admin replace-lost-master-key --help")
	}
	if err != nil {
		return nil, file, fmt.Errorf("the master key: %w", err)
	}
	masters = secrets.NewMasters(m)
	old, err := filepath.Glob(file + oldKey + "*")
	if err != nil {
		return nil, file, err
	}
	for _, path := range old {
		k, err := secrets.LoadMaster(path, false)
		if err != nil {
			return nil, file, fmt.Errorf("an old master key: %w", err)
		}
		masters.Know(k)
	}
	switch next, err := secrets.LoadMaster(file+nextKey, false); {
	case err == nil: // an exchange has begun: what is sealed from now on is sealed with it
		masters.Use(next)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, file, fmt.Errorf("the next master key: %w", err)
	}
	return masters, file, nil
}

func givenKey(name, text string) (secrets.Master, error) {
	m, err := secrets.ParseMaster(text)
	if err != nil {
		return m, errs.Wrap(errs.Invalid, err, "%s is not a master key.", name).WithHint("It is 32 random bytes in base64: openssl rand -base64 32.")
	}
	return m, nil
}

// rotateMasterKey exchanges the master key: a new one is made, everything that the one
// before wraps or seals is wrapped and sealed with it, and only then it takes its place.
// It may end anywhere: both keys are there, and what is opened says which one it needs.
// Only the process that serves the data folder may call it. left names the spaces that
// could not be opened; they are wrapped anew when they are.
func rotateMasterKey(ctx context.Context, file string, masters *secrets.Masters, i *instance.Instance, registry *spaces.Registry, actor instance.Actor) (id string, left []string, err error) {
	if file == "" {
		return "", nil, errs.New(errs.Blocked, "The master key of this server is given in its environment.").
			WithHint("Start it with the new key in OCTOPUSES_MASTER_KEY and the present one in OCTOPUSES_OLD_MASTER_KEY, then call this again.")
	}
	was, err := secrets.LoadMaster(file, false)
	if err != nil {
		return "", nil, fmt.Errorf("the master key: %w", err)
	}
	next, err := secrets.LoadMaster(file+nextKey, true)
	if err != nil {
		return "", nil, errs.Wrap(errs.Unavailable, err, "The new master key cannot be written beside %s.", file)
	}
	if err := syncFolder(filepath.Dir(file)); err != nil {
		return "", nil, err
	}
	masters.Use(next)
	if left, err = rewrapAll(ctx, i, registry, actor); err != nil {
		return "", left, err
	}
	if err := os.Link(file, file+oldKey+was.ID()); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", left, fmt.Errorf("keep the master key before: %w", err)
	}
	if err := os.Rename(file+nextKey, file); err != nil {
		return "", left, fmt.Errorf("put the new master key in its place: %w", err)
	}
	return next.ID(), left, syncFolder(filepath.Dir(file))
}

// rewrapAll seals and wraps with the current master key what an older one has.
func rewrapAll(ctx context.Context, i *instance.Instance, registry *spaces.Registry, actor instance.Actor) (left []string, err error) {
	if err := i.Reseal(ctx, actor); err != nil {
		return nil, err
	}
	all, err := i.Spaces(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range all {
		s, err := registry.Acquire(ctx, refOf(row))
		if err == nil {
			err = s.Rewrap(ctx)
			s.Release()
		}
		if ctx.Err() != nil {
			return left, ctx.Err()
		}
		if err != nil {
			left = append(left, fmt.Sprintf("%s (%s)", row.Name, strings.TrimSuffix(errs.TextOf(err), ".")))
		}
	}
	return left, nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// oldMasterKeys lists the files of master keys that were exchanged.
func oldMasterKeys(file string) []string {
	if file == "" {
		return nil
	}
	all, _ := filepath.Glob(file + oldKey + "*") // only a bad pattern is an error
	return all
}
