package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"octopuses.dev/octopuses/spaces/errs"
)

// dataLock is held by the one process that serves a data folder.
type dataLock struct{ f *os.File }

// lockData makes sure that nobody else serves a data folder. The kernel gives the lock
// back when the process ends, however it ends. The error is errs.Busy when somebody else
// has it.
func lockData(folder string) (*dataLock, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the data folder: %w", err)
		}
		who := "another process"
		if b, err := io.ReadAll(io.LimitReader(f, 20)); err == nil && len(b) > 0 {
			who = "process " + strings.TrimSpace(string(b))
		}
		return nil, errs.New(errs.Busy, "The data folder %s is in use by %s.", folder, who).
			WithHint("Stop that server first, or choose another folder with --data.")
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return &dataLock{f}, nil
}

// Close gives the folder back. The file stays: removing it would let two processes hold
// two locks of one name.
func (l *dataLock) Close() error { return l.f.Close() }
