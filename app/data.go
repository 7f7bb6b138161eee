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
	path   string
	master secrets.Master
	lock   *dataLock // nil: opened beside a running server
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
	if d.master, err = masterKey(c, d, errors.Is(err, fs.ErrNotExist)); err != nil {
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
	d.master, err = masterKey(c, d, false)
	return d, err
}

func masterKey(c *Config, d *dataFolder, create bool) (secrets.Master, error) {
	if c.MasterKey != "" {
		m, err := secrets.ParseMaster(c.MasterKey)
		if err != nil {
			return m, errs.Wrap(errs.Invalid, err, "OCTOPUSES_MASTER_KEY is not a master key.").
				WithHint("It is 32 random bytes in base64: openssl rand -base64 32.")
		}
		return m, nil
	}
	path := c.MasterFile
	if path == "" {
		path = filepath.Join(d.keysFolder(), "master.key")
	}
	m, err := secrets.LoadMaster(path, create)
	if errors.Is(err, fs.ErrNotExist) {
		return m, errs.Wrap(errs.NotFound, err, "The master key %s is missing, and without it nothing secret in %s can be read.", path, d.path).
			WithHint("Put the key back, or give it in OCTOPUSES_MASTER_KEY.")
	}
	if err != nil {
		return m, fmt.Errorf("the master key: %w", err)
	}
	return m, nil
}

// Close gives the folder back.
func (d *dataFolder) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}
