package spaces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/secrets"
)

// Config says where spaces live and how they are opened.
type Config struct {
	Root      string           // the folder that holds one folder a space
	Master    secrets.Master   // wraps the keys of spaces; not used where Masters is set
	Masters   *secrets.Masters // nil: Master alone
	Now       func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: slog.Default
	MaxOpen   int              // idle spaces beyond this many are closed; 0: 64
	IdleAfter time.Duration    // a space unused for so long is closed; 0: 5 minutes
	Wake      func(Ref)        // told after the commit of work for the runner or the link worker; nil: nobody
	Marks     Marks            // nil: a starting server looks at no space by itself
	Notify    func(Ref)        // told after the commit of events where there are subscriptions; nil: nobody
	// Audited is the collector of the audit, if there is one: a space with events that it has
	// not got is marked. Nil: there is none.
	Audited func() (r EventReader, streamed bool)
	// TaskNumbers gives a space ids for its tasks, from first to last, all above a number.
	// It is durable when it returns. Nil: each space counts for itself.
	TaskNumbers func(ctx context.Context, ref Ref, above int64) (first, last int64, err error)
	// Committed is called after each commit, before anybody else hears of it. Nil except in
	// tests, which end the process there and look what the next one makes of the file.
	Committed func(*Space)
}

// Registry opens spaces on first use, closes idle ones and bounds how many are
// open. It knows folders, not who may enter them. It is safe for concurrent use.
type Registry struct {
	cfg Config

	mu     sync.Mutex
	open   map[string]*slot // by folder
	closed bool
}

// slot lets one caller open a file while others wait for that file only.
type slot struct {
	ready chan struct{} // closed by the opener when space or err is set
	space *Space
	err   error
}

// NewRegistry makes a registry over a folder, which is created if needed.
func NewRegistry(cfg Config) (*Registry, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.MaxOpen == 0 {
		cfg.MaxOpen = 64
	}
	if cfg.Masters == nil {
		cfg.Masters = secrets.NewMasters(cfg.Master)
	}
	if cfg.Notify == nil {
		cfg.Notify = func(Ref) {}
	}
	if cfg.Audited == nil {
		cfg.Audited = func() (EventReader, bool) { return EventReader{}, false }
	}
	if cfg.Wake == nil {
		cfg.Wake = func(Ref) {}
	}
	if cfg.IdleAfter == 0 {
		cfg.IdleAfter = 5 * time.Minute
	}
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return nil, fmt.Errorf("create folder of spaces: %w", err)
	}
	return &Registry{cfg: cfg, open: map[string]*slot{}}, nil
}

// Create makes the folder and the file of a new space and returns the folder's
// name, which is made of slug and a part of the space's ULID.
func (r *Registry) Create(ctx context.Context, name, slug string) (folder string, err error) {
	now := r.cfg.Now()
	id := NewULID(now)
	folder = slug + "-" + FolderSuffix(id)
	dir := filepath.Join(r.cfg.Root, folder)
	if err := createFolder(ctx, dir, id, name, r.cfg.Masters.Current(), now); err != nil {
		return "", err
	}
	// What every space begins with is there before anybody knows the folder.
	unknown := r.cfg
	unknown.Marks = nil // it has no id yet to keep them by
	s, err := openSpace(ctx, Ref{Folder: folder, Name: name, Slug: slug}, dir, unknown)
	if err == nil {
		err = errors.Join(Initialise(ctx, s), s.close())
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return folder, nil
}

// Tidy removes what earlier processes left half done in the folders of spaces: uploads
// that ended with them, and parts of files that no link has gone on with for a week.
// began is when this process did.
func (r *Registry) Tidy(began time.Time) error {
	stores, err := filepath.Glob(filepath.Join(r.cfg.Root, "[^.]*", "packages"))
	if err != nil {
		return err
	}
	var all []error
	for _, dir := range stores {
		store, err := packages.NewStore(dir)
		if err == nil {
			err = store.Abandoned(began)
		}
		if err == nil {
			_, err = store.Sweep(r.cfg.Now().Add(-keepParts))
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// keepParts is how long a part of a package file waits for the rest.
const keepParts = 7 * 24 * time.Hour

// FolderSuffix is how the folder of a space with this ULID ends, so that it is found
// without opening others.
func FolderSuffix(ulid string) string {
	return strings.ToLower(ulid[max(0, len(ulid)-8):])
}

// Acquire opens a space or finds it open. The caller gives it back with
// [Space.Release]. Errors: [errs.Unavailable] when the folder is missing or the
// registry is closed, [errs.Blocked] when the master key is another.
func (r *Registry) Acquire(ctx context.Context, ref Ref) (*Space, error) {
	for {
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return nil, errs.New(errs.Unavailable, "The server is shutting down.")
		}
		sl, ok := r.open[ref.Folder]
		if ok && sl.space != nil {
			sl.space.leases++
			sl.space.name.Store(&ref.Name)
			r.mu.Unlock()
			return sl.space, nil
		}
		if !ok {
			sl = &slot{ready: make(chan struct{})}
			r.open[ref.Folder] = sl
			r.mu.Unlock()
			return r.openInto(ctx, sl, ref)
		}
		r.mu.Unlock()
		select {
		case <-sl.ready:
			if sl.err != nil {
				return nil, sl.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *Registry) openInto(ctx context.Context, sl *slot, ref Ref) (*Space, error) {
	// Another caller may wait for this file: it is opened even if the first goes away.
	space, err := openSpace(context.WithoutCancel(ctx), ref, filepath.Join(r.cfg.Root, ref.Folder), r.cfg)
	r.mu.Lock()
	if err != nil {
		sl.err = err
		delete(r.open, ref.Folder)
	} else {
		space.registry = r
		space.leases = 1
		sl.space = space
	}
	close(sl.ready)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	r.closeIdle(false)
	return space, nil
}

// Release gives the space back; it may be closed afterwards.
func (s *Space) Release() {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	s.leases--
	if s.leases == 0 {
		s.idleFrom = s.now()
	}
}

// Hold takes one more lease of an open space, for work that outlives the caller's.
func (s *Space) Hold() *Space {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	s.leases++
	return s
}

// Run closes idle spaces until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(max(r.cfg.IdleAfter/4, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.closeIdle(true)
		}
	}
}

// closeIdle closes what nobody uses: all that is idle long enough, and the longest
// idle while more than MaxOpen are open.
func (r *Registry) closeIdle(byAge bool) {
	for {
		r.mu.Lock()
		var oldest *Space
		now := r.cfg.Now()
		for _, sl := range r.open {
			s := sl.space
			if s == nil || s.leases > 0 {
				continue
			}
			if oldest == nil || s.idleFrom.Before(oldest.idleFrom) {
				oldest = s
			}
		}
		due := oldest != nil && (len(r.open) > r.cfg.MaxOpen || byAge && now.Sub(oldest.idleFrom) >= r.cfg.IdleAfter)
		if !due {
			r.mu.Unlock()
			return
		}
		r.shut(oldest)
	}
}

// shut closes an unused space and unlocks r.mu. While the file is being closed its
// slot makes newcomers wait, so that nobody opens it half closed.
func (r *Registry) shut(s *Space) error {
	sl := &slot{ready: make(chan struct{})}
	r.open[s.ref.Folder] = sl
	r.mu.Unlock()
	err := s.close()
	if err != nil {
		s.log.Error("close space", "err", err)
	}
	r.mu.Lock()
	delete(r.open, s.ref.Folder)
	close(sl.ready)
	r.mu.Unlock()
	return err
}

// Close closes a space now if nobody uses it; the error is [errs.Busy] otherwise.
// A space that is not open is no error.
func (r *Registry) CloseSpace(folder string) error {
	r.mu.Lock()
	sl, ok := r.open[folder]
	if !ok {
		r.mu.Unlock()
		return nil
	}
	if sl.space == nil || sl.space.leases > 0 {
		r.mu.Unlock()
		return errs.New(errs.Busy, "The space is in use.").WithHint("Wait until its running tasks and open pages are done, then try again.")
	}
	return r.shut(sl.space)
}

// Delete removes a space's folder for ever. It must not be in use.
func (r *Registry) Delete(folder string) error {
	if folder == "" || folder != filepath.Base(folder) {
		return fmt.Errorf("delete space: %q is no folder name", folder)
	}
	if err := r.CloseSpace(folder); err != nil {
		return err
	}
	// Renamed first: a crash in the middle must not leave half a space under its name.
	gone := filepath.Join(r.cfg.Root, ".deleted-"+folder)
	if err := os.Rename(filepath.Join(r.cfg.Root, folder), gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete space: %w", err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("delete space: %w", err)
	}
	return nil
}

// Open is how many spaces are open now.
func (r *Registry) Open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

// Close closes every space, waiting for those in use until ctx ends.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	var err error
	for {
		r.mu.Lock()
		var idle *Space
		left := 0
		for _, sl := range r.open {
			left++
			if sl.space != nil && sl.space.leases == 0 {
				idle = sl.space
			}
		}
		if idle != nil {
			err = errors.Join(err, r.shut(idle))
			continue
		}
		r.mu.Unlock()
		if left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("%d spaces were still in use", left))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Registry is where the space was taken from.
func (s *Space) Registry() *Registry { return s.registry }

// Dir is the folder of a space, open or not.
func (r *Registry) Dir(folder string) string { return filepath.Join(r.cfg.Root, folder) }
