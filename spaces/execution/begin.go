package execution

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// stale is how long accepted work may wait for an agent that is down. Later nobody
// expects it any more, and it ends without having begun.
const stale = 15 * time.Minute

// Start accepts a piece of work and begins it. The same id again changes nothing.
// Errors: [errs.Invalid] for a spec that is not understood, [errs.NotFound] when the
// package file is not here; any other error says that nothing was accepted.
func (w *Workspace) Start(spec Spec) (Status, error) {
	if err := spec.Check(); err != nil {
		return Status{}, err
	}
	dir, err := w.dir(spec.ID)
	if err != nil {
		return Status{}, err
	}
	w.starting.Lock()
	defer w.starting.Unlock()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if spec.Package != nil && !w.packages.Has(spec.Package.Digest) {
			return Status{}, errs.Missing("package file", spec.Package.Digest)
		}
		if err := accept(dir, spec); err != nil {
			return Status{}, err
		}
	}
	return w.begin(spec.ID, dir)
}

// accept writes the spec into a new folder, whole or not at all.
func accept(dir string, spec Spec) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return fmt.Errorf("accept work: %w", err)
	}
	defer os.RemoveAll(temp)
	b, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("accept work: %w", err)
	}
	if err := errors.Join(writeFile(filepath.Join(temp, "spec.json"), b), syncDir(temp)); err != nil {
		return fmt.Errorf("accept work: %w", err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("accept work: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

// begin starts the shim of accepted work that has not begun and is not running. Work
// for which no shim can be started has failed, since nothing has happened.
func (w *Workspace) begin(id, dir string) (Status, error) {
	st, err := status(id, dir)
	if err != nil || st.State != Accepted {
		return st, err
	}
	lock, err := w.lock(dir)
	if err != nil {
		return st, err
	}
	if lock == nil {
		return Status{ID: id, State: Running}, nil
	}
	defer lock.Close()
	if st, err = stopped(id, dir); err != nil || st.State != Accepted {
		return st, err
	}
	stderr, err := os.OpenFile(filepath.Join(dir, "shim.err"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return w.neverBegun(id, dir, err.Error())
	}
	defer stderr.Close()
	gone := make(chan struct{})
	w.mu.Lock()
	w.ended[id] = gone
	w.mu.Unlock()
	left := func() {
		w.mu.Lock()
		if w.ended[id] == gone {
			delete(w.ended, id)
		}
		w.mu.Unlock()
		close(gone)
	}
	command := append(append([]string{}, w.shim...), w.root, w.Version)
	if err := w.shims.do(command, dir, lock, stderr, func(fresh bool, err error) {
		w.reap(id, dir, fresh, err)
		left()
	}); err != nil {
		left()
		return w.neverBegun(id, dir, err.Error())
	}
	return Status{ID: id, State: Running}, nil
}

// lock takes the lock of work, or returns nil when a shim holds it. Who merely looks
// holds it too, for an instant.
func (w *Workspace) lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start work: %w", err)
	}
	for range 50 {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return f, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, f.Close()
}

// reap looks at what a shim that is gone left. One that failed before it began leaves
// no end; it is written for it, unless it had been killed while it rested.
func (w *Workspace) reap(id, dir string, fresh bool, err error) {
	if err == nil {
		return
	}
	w.starting.Lock()
	defer w.starting.Unlock()
	if st, serr := stopped(id, dir); serr != nil || st.State != Accepted {
		return
	}
	if _, serr := os.Stat(dir); serr != nil {
		return // forgotten
	}
	if !fresh {
		w.begin(id, dir) // what cannot be begun is settled there
		return
	}
	why := err.Error()
	if b, _ := os.ReadFile(filepath.Join(dir, "shim.err")); len(b) > 0 {
		why = strings.TrimSpace(string(b[:min(len(b), 1000)]))
	}
	w.neverBegun(id, dir, why)
}

// neverBegun ends work of which nothing has happened.
func (w *Workspace) neverBegun(id, dir, why string) (Status, error) {
	now := time.Now().UTC()
	return w.settle(id, dir, Status{State: Failed, Message: "The work could not be begun on the target: " + why + ".", Ended: &now})
}

func (w *Workspace) settle(id, dir string, st Status) (Status, error) {
	st.ID = id
	if spec, err := readSpec(dir); err == nil {
		if err := forgetSecrets(dir, spec); err != nil {
			return st, fmt.Errorf("end work: %w", err)
		}
	}
	if err := writeEnd(dir, st); err != nil {
		return st, fmt.Errorf("end work: %w", err)
	}
	return st, nil
}

// Resume takes up what an earlier process left, as after a crash: work that was
// accepted and never begun is begun, or given up if that is long ago; interrupted work
// gets its end, which is unknown; running work runs on. Of ended and interrupted work
// no secret stays behind.
func (w *Workspace) Resume() error {
	entries, err := os.ReadDir(filepath.Join(w.root, "work"))
	if err != nil {
		return fmt.Errorf("resume work: %w", err)
	}
	w.starting.Lock()
	defer w.starting.Unlock()
	for _, e := range entries {
		id := e.Name()
		dir, err := w.dir(id)
		if err != nil {
			os.RemoveAll(filepath.Join(w.root, "work", id)) // half accepted or half forgotten
			continue
		}
		st, err := status(id, dir)
		if err != nil {
			return err
		}
		switch info, serr := os.Stat(filepath.Join(dir, "spec.json")); {
		case st.State == Unknown:
			if _, ended, _ := readEnd(dir); !ended {
				now := time.Now().UTC()
				st.Ended = &now
				_, err = w.settle(id, dir, st)
			}
		case st.State == Accepted && (serr != nil || time.Since(info.ModTime()) > stale):
			_, err = w.neverBegun(id, dir, "the agent was down when it was to begin")
		case st.State == Accepted:
			_, err = w.begin(id, dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
