package execution

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// installation is a line of the journal: one package version on this machine.
type installation struct {
	Key     string    `json:"key"` // space, project, environment, tenant, step and package
	Version string    `json:"version"`
	Path    string    `json:"path"`
	Custom  string    `json:"custom,omitempty"` // where it was copied to
	Success bool      `json:"success"`
	At      time.Time `json:"at"`
}

func (s *shim) journalPath() string { return filepath.Join(s.root, "journal.jsonl") }

// journal adds a line. Processes of one machine may be here at once.
func (s *shim) journal(i installation) error {
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.journalPath(), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	// A line that a crash tore must not swallow ours.
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			b = append([]byte{'\n'}, b...)
		}
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Sync())
}

// installations lists what the journal knows under a key, oldest first; "" is all keys.
func (s *shim) installations(key string) ([]installation, error) {
	b, err := os.ReadFile(s.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []installation
	for _, line := range bytes.Split(b, []byte("\n")) {
		var i installation
		if json.Unmarshal(line, &i) == nil && (key == "" || i.Key == key) {
			out = append(out, i)
		}
	}
	return out, nil
}

// keepLast removes older installations of the same step: all but the current one, the
// last successful one before it, and as many more as are to be kept.
func (s *shim) keepLast(key, current string) error {
	if s.spec.KeepVersions <= 0 {
		return nil
	}
	lock, err := os.OpenFile(s.journalPath(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	all, err := s.installations(key)
	if err != nil {
		return err
	}
	kept, keptSuccess := 0, false
	for i := len(all) - 1; i >= 0; i-- {
		x := all[i]
		if x.Path == current || !within(filepath.Join(s.root, "applications"), x.Path) {
			continue
		}
		if _, err := os.Lstat(x.Path); err != nil {
			continue
		}
		if x.Success && !keptSuccess || kept < s.spec.KeepVersions {
			keptSuccess = keptSuccess || x.Success
			kept++
			continue
		}
		if err := os.RemoveAll(x.Path); err != nil {
			s.log.say("Warning", fmt.Sprintf("An old installation could not be removed: %v", err))
			continue
		}
		s.log.say("Verbose", "Removed the old installation "+x.Path)
	}
	return nil
}
