package execution

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	// Version of the program, for the log of health work. Set it before the first use.
	Version string

	root     string
	packages *packages.Store
	shim     []string // command that becomes the shim; workspace and version are appended
	shims    shims

	starting sync.Mutex // held while work is accepted and begun

	mu    sync.Mutex
	ended map[string]chan struct{} // by id: closed when a shim that we started is gone
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
	return &Workspace{root: root, packages: store, shim: []string{self, shimArgument}, shims: shims{root: root}, ended: map[string]chan struct{}{}}, nil
}

// Packages is the store from which packages are installed.
func (w *Workspace) Packages() *packages.Store { return w.packages }

// Root is the absolute path of the workspace.
func (w *Workspace) Root() string { return w.root }

func (w *Workspace) dir(id string) (string, error) {
	s := Spec{Format: Format, ID: id, Kind: "health"}
	if err := s.Check(); err != nil {
		return "", err
	}
	return filepath.Join(w.root, "work", id), nil
}

// Status tells how a piece of work is going.
func (w *Workspace) Status(id string) (Status, error) {
	dir, err := w.dir(id)
	if err != nil {
		return Status{}, err
	}
	return status(id, dir)
}

const interrupted = "The work was interrupted on the target; nobody can tell how far it came."

func status(id, dir string) (Status, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return Status{ID: id, State: Absent}, nil
	}
	if st, ok, err := readEnd(dir); err != nil || ok {
		return st, err
	}
	if alive(dir) {
		return Status{ID: id, State: Running}, nil
	}
	return stopped(id, dir)
}

// stopped is the state of work that no shim is at.
func stopped(id, dir string) (Status, error) {
	// It may have ended while we looked.
	if st, ok, err := readEnd(dir); err != nil || ok {
		return st, err
	}
	if _, err := os.Stat(filepath.Join(dir, "begun")); err == nil {
		return Status{ID: id, State: Unknown, Message: interrupted}, nil
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

// writeEnd makes an end durable. It is the last thing that is written of work.
func writeEnd(dir string, st Status) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "status.json"), b); err != nil {
		return err
	}
	return syncDir(dir)
}

// forgetSecrets takes the variables and the scripts out of the folder of ended work.
func forgetSecrets(dir string, spec Spec) error {
	spec.Variables, spec.Script, spec.Files.Custom = nil, nil, nil
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	part := filepath.Join(dir, "spec.json.part")
	return errors.Join(os.WriteFile(part, b, 0o600), os.Rename(part, filepath.Join(dir, "spec.json")), os.RemoveAll(filepath.Join(dir, "bash")))
}

func readSpec(dir string) (Spec, error) {
	var s Spec
	b, err := os.ReadFile(filepath.Join(dir, "spec.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// alive reports whether a shim holds the lock. A lock that is ours for the instant of
// looking may make begin wait for it.
func alive(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// Cancel asks work to stop. Work that has not begun never does; work that has ended
// stays as it is. The error is [errs.NotFound] for work that is not here.
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
	st, err := status(id, dir)
	if err != nil || !st.State.Final() {
		return err
	}
	// Under another name first: half a folder would look like interrupted work.
	gone := filepath.Join(w.root, "work", ".old-"+id)
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget work: %w", err)
	}
	return os.RemoveAll(gone)
}

// Sweep forgets work that ended before a time and that the server did not ask to be
// forgotten. It returns how many pieces.
func (w *Workspace) Sweep(before time.Time) (forgotten int, err error) {
	ids, err := w.ids()
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		info, err := os.Stat(filepath.Join(w.root, "work", id, "status.json"))
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		if err := w.Forget(id); err != nil {
			return forgotten, err
		}
		forgotten++
	}
	return forgotten, nil
}

// ids lists the work that is here.
func (w *Workspace) ids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(w.root, "work"))
	if err != nil {
		return nil, fmt.Errorf("list work: %w", err)
	}
	var out []string
	for _, e := range entries {
		if _, err := w.dir(e.Name()); err == nil {
			out = append(out, e.Name())
		}
	}
	return out, nil
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
