package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

// dataFolder is an open data folder:
//
//	instance.db    people, teams, spaces, the server's own identity
//	keys/          the master key and the key of the server's certificate
//	spaces/        one folder a space
//	lock           held by the process that serves it
type dataFolder struct {
	path    string
	masters *secrets.Masters
	keyFile string    // of the master key; "": it is given in the environment
	lock    *dataLock // nil: opened beside a running server
}

func (d *dataFolder) instanceFile() string { return filepath.Join(d.path, "instance.db") }
func (d *dataFolder) spacesFolder() string { return filepath.Join(d.path, "spaces") }
func (d *dataFolder) keysFolder() string   { return filepath.Join(d.path, "keys") }

// openData opens the data folder for the one process that serves it, and makes it if
// there is none.
func openData(c *Config) (*dataFolder, error) {
	path, err := filepath.Abs(c.Data)
	if err != nil {
		return nil, err
	}
	d := &dataFolder{path: path}
	for _, folder := range []string{d.path, d.keysFolder(), d.spacesFolder()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("the data folder cannot be used: %w", err)
		}
	}
	if d.lock, err = lockData(d.path); err != nil {
		return nil, err
	}
	// A key is made for a new folder alone. Beside an existing instance.db a new key
	// would open nothing, and hide that the right one is lost.
	_, err = os.Stat(d.instanceFile())
	if d.masters, d.keyFile, err = masterKeys(c, d, errors.Is(err, fs.ErrNotExist)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// openExistingData opens a data folder for a command that does its work beside a server
// that may be running. It makes nothing.
func openExistingData(c *Config) (*dataFolder, error) {
	path, err := filepath.Abs(c.Data)
	if err != nil {
		return nil, err
	}
	d := &dataFolder{path: path}
	if _, err := os.Stat(d.instanceFile()); err != nil {
		return nil, errs.Wrap(errs.NotFound, err, "There is no server's data in %s.", path).
			WithHint("Name the folder with --data, or start the server once.")
	}
	d.masters, d.keyFile, err = masterKeys(c, d, false)
	return d, err
}

// Close gives the folder back.
func (d *dataFolder) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}
