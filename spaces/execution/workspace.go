package execution

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

// Workspace is the folder of a machine's work. It is safe for concurrent use; several
// processes may look at it, one starts work.
type Workspace struct {
	root     string
	packages *packages.Store
	shim     []string // command that becomes the shim; the execution's folder is appended

	mu sync.Mutex
}

// Open opens or creates a workspace. The program itself becomes the shim, so its main
// must call [MaybeShim] first.
func Open(root string) (*Workspace, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "work"), 0o700); err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	store, err := packages.NewStore(filepath.Join(root, "packages"))
	if err != nil {
		return nil, err
	}
	return &Workspace{root: root, packages: store, shim: []string{self, shimArgument}}, nil
}

// Packages is the store from which packages are installed.
func (w *Workspace) Packages() *packages.Store { return w.packages }

func (w *Workspace) dir(id string) (string, error) {
	s := Spec{Format: Format, ID: id, Kind: "health"}
	if err := s.Check(); err != nil {
		return "", err
	}
	return filepath.Join(w.root, "work", id), nil
}

// Start accepts a piece of work and begins it. The same id again changes nothing.
// Errors: [errs.Invalid] for a spec that is not understood, [errs.NotFound] when the
// package file is not here.
func (w *Workspace) Start(spec Spec) (Status, error) {
	if err := spec.Check(); err != nil {
		return Status{}, err
	}
	if spec.Package != nil && !w.packages.Has(spec.Package.Digest) {
		return Status{}, errs.Missing("package file", spec.Package.Digest)
	}
	dir, err := w.dir(spec.ID)
	if err != nil {
		return Status{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
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
	if err := writeFile(filepath.Join(temp, "spec.json"), b); err != nil {
		return fmt.Errorf("accept work: %w", err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("accept work: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

// begin starts the shim of accepted work that has not begun and is not running.
func (w *Workspace) begin(id, dir string) (Status, error) {
	st, err := w.status(id, dir)
	if err != nil || st.State != Accepted {
		return st, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return st, fmt.Errorf("start work: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return Status{ID: id, State: Running}, nil
	}
	// The lock belongs to the open file, which the shim inherits and we close.
	cmd := exec.Command(w.shim[0], append(append([]string{}, w.shim[1:]...), w.root, dir)...)
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return st, fmt.Errorf("start work: %w", err)
	}
	go cmd.Wait()
	return Status{ID: id, State: Running}, nil
}

// Resume begins work that was accepted and never begun, as after a crash between the
// two.
func (w *Workspace) Resume() error {
	entries, err := os.ReadDir(filepath.Join(w.root, "work"))
	if err != nil {
		return fmt.Errorf("resume work: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		dir, err := w.dir(e.Name())
		if err != nil {
			os.RemoveAll(filepath.Join(w.root, "work", e.Name())) // a half accepted one
			continue
		}
		if _, err := w.begin(e.Name(), dir); err != nil {
			return err
		}
	}
	return nil
}

// Status tells how a piece of work is going.
func (w *Workspace) Status(id string) (Status, error) {
	dir, err := w.dir(id)
	if err != nil {
		return Status{}, err
	}
	return w.status(id, dir)
}

func (w *Workspace) status(id, dir string) (Status, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return Status{ID: id, State: Absent}, nil
	}
	if st, ok, err := readEnd(dir); err != nil || ok {
		return st, err
	}
	if alive(dir) {
		return Status{ID: id, State: Running}, nil
	}
	// It may have ended between the two looks.
	if st, ok, err := readEnd(dir); err != nil || ok {
		return st, err
	}
	if _, err := os.Stat(filepath.Join(dir, "begun")); err == nil {
		return Status{ID: id, State: Unknown, Message: "The work was interrupted on the target; nobody can tell how far it came."}, nil
	}
	return Status{ID: id, State: Accepted}, nil
}

func readEnd(dir string) (Status, bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, "status.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, false, nil
	}
	if err != nil {
		return Status{}, false, fmt.Errorf("read end of work: %w", err)
	}
	var st Status
	if err := json.Unmarshal(b, &st); err != nil {
		return st, false, fmt.Errorf("read end of work: %w", err)
	}
	return st, true, nil
}

// alive reports whether a shim holds the lock.
func alive(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// Watch returns the state and the log from offset on. When there is nothing new and
// the work is not at its end it waits for up to wait. The log is always read up to
// the end before a final state is told.
func (w *Workspace) Watch(ctx context.Context, id string, offset int64, wait time.Duration) (Update, error) {
	dir, err := w.dir(id)
	if err != nil {
		return Update{}, err
	}
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 40*time.Millisecond) {
		st, err := w.status(id, dir)
		if err != nil {
			return Update{}, err
		}
		entries, next, more, err := readLog(dir, offset)
		if err != nil {
			return Update{}, err
		}
		if more {
			st = Status{ID: id, State: Running} // its end is told with the rest of the log
		}
		if len(entries) > 0 || st.State.Final() || st.State == Absent || !time.Now().Before(deadline) {
			return Update{Status: st, Entries: entries, Next: next}, nil
		}
		select {
		case <-ctx.Done():
			return Update{Status: st, Next: next}, nil
		case <-time.After(pause):
		}
	}
}

// logPart is how much of a log one call returns, in bytes.
const logPart = 1 << 20

func readLog(dir string, offset int64) (entries []LogEntry, next int64, more bool, err error) {
	f, err := os.Open(filepath.Join(dir, "log.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, offset, false, nil
	}
	if err != nil {
		return nil, offset, false, fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	buf := make([]byte, logPart)
	n, err := f.ReadAt(buf, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, offset, false, fmt.Errorf("read log: %w", err)
	}
	more = n == len(buf)
	buf = buf[:n]
	end := bytes.LastIndexByte(buf, '\n') + 1
	for _, line := range bytes.Split(buf[:end], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var e LogEntry
		if json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
	return entries, offset + int64(end), more && end > 0, nil
}

// Cancel asks running work to stop. Work that is not running stays as it is.
func (w *Workspace) Cancel(id string) error {
	dir, err := w.dir(id)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return errs.Missing("execution", id)
	}
	return writeFile(filepath.Join(dir, "cancel"), nil)
}

// Forget removes the folder of ended work; that of running work stays.
func (w *Workspace) Forget(id string) error {
	dir, err := w.dir(id)
	if err != nil {
		return err
	}
	st, err := w.status(id, dir)
	if err != nil || !st.State.Final() {
		return err
	}
	return os.RemoveAll(dir)
}

func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
