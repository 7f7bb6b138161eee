package execution

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

const (
	// roomShare is the share of the disk that is kept free by removing package files.
	roomShare = 0.2
	// recently is how long a package file is safe from being removed after its last
	// use: between its arrival and the work that installs it, at least.
	recently = time.Hour
)

// MakeRoom removes package files, least recently used first, while less than a fifth
// of the disk is free, and returns how many bytes it removed. Files that work of now
// or of the last hour uses stay; what is removed comes again when it is needed.
// https://octopus.com/docs/administration/retention-policies (package cache of targets)
func (w *Workspace) MakeRoom() (removed int64, err error) {
	return w.evict(time.Now().Add(-recently), func() (bool, error) {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(w.root, &disk); err != nil {
			return false, fmt.Errorf("look at disk of %s: %w", w.root, err)
		}
		return float64(disk.Bavail) >= roomShare*float64(disk.Blocks), nil
	})
}

// evict removes files that were not used since before, until there is enough room.
func (w *Workspace) evict(before time.Time, enough func() (bool, error)) (removed int64, err error) {
	if ok, err := enough(); ok || err != nil {
		return 0, err
	}
	digests, err := w.packages.Digests()
	if err != nil {
		return 0, err
	}
	used, err := w.inUse()
	if err != nil {
		return 0, err
	}
	files := make(map[string]os.FileInfo, len(digests))
	digests = slices.DeleteFunc(digests, func(d string) bool {
		info, err := os.Stat(w.packages.Path(d))
		files[d] = info
		return err != nil || used[d] || !info.ModTime().Before(before)
	})
	slices.SortFunc(digests, func(a, b string) int { return files[a].ModTime().Compare(files[b].ModTime()) })
	for _, d := range digests {
		if err := w.packages.Remove(d); err != nil {
			return removed, err
		}
		removed += files[d].Size()
		if ok, err := enough(); ok || err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// inUse lists the package files of work that has not ended.
func (w *Workspace) inUse() (map[string]bool, error) {
	used := map[string]bool{}
	ids, err := w.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		dir, err := w.dir(id)
		if err != nil {
			continue
		}
		if st, err := status(id, dir); err != nil || st.State.Final() {
			continue
		}
		if spec, err := readSpec(dir); err == nil && spec.Package != nil {
			used[spec.Package.Digest] = true
		}
	}
	return used, nil
}
