package execution

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/variables"
)

// installation is a line of the journal: one package version on this machine.
type installation struct {
	Key     string    `json:"key"` // project, environment, tenant, step and package
	Version string    `json:"version"`
	Path    string    `json:"path"`
	Success bool      `json:"success"`
	At      time.Time `json:"at"`
}

// installPackage goes through the conventions in Octopus's order.
// https://octopus.com/docs/deployments/packages/package-deployment-feature-ordering
func (s *shim) installPackage(ctx context.Context) (exit int, err error) {
	p := s.spec.Package
	store, err := packages.NewStore(filepath.Join(s.root, "packages"))
	if err != nil {
		return 0, err
	}
	if err := store.Verify(ctx, p.Digest); err != nil {
		return 0, err
	}
	key := strings.Join([]string{s.spec.Space, s.spec.Project, s.spec.Environment, s.spec.Tenant, s.spec.StepName, p.ID}, "/")
	previous, err := s.lastSuccess(key)
	if err != nil {
		return 0, err
	}
	dir, err := s.newFolder()
	if err != nil {
		return 0, err
	}
	files, err := packages.Extract(ctx, store.Path(p.Digest), p.Extension, dir, packages.Limits{})
	if err != nil {
		return 0, err
	}
	s.install = dir
	s.log.say("Info", fmt.Sprintf("Extracted %s %s: %d files to %s", p.ID, p.Version, files, dir))
	s.variable("Octopus.Action.Package.InstallationDirectoryPath", dir)
	s.variable("Octopus.Tentacle.CurrentDeployment.PackageFilePath", store.Path(p.Digest))
	s.variable("OctopusOriginalPackageDirectoryPath", dir)
	if previous != nil {
		s.variable("Octopus.Tentacle.PreviousSuccessfulInstallation.OriginalInstalledPath", previous.Path)
		s.variable("Octopus.Tentacle.PreviousInstallation.OriginalInstalledPath", previous.Path)
	}
	exit, err = s.conventions(ctx, dir)
	if err != nil {
		if _, failErr := s.convention(context.WithoutCancel(ctx), "DeployFailed", s.install); failErr != nil {
			s.log.say("Error", people(failErr))
		}
	}
	jerr := s.journal(installation{Key: key, Version: p.Version, Path: dir, Success: err == nil, At: time.Now().UTC()})
	if err == nil {
		err = jerr
	}
	if err == nil {
		err = s.keepLast(key, dir)
	}
	return exit, err
}

func (s *shim) variable(name, value string) {
	s.dict.Set(name, value, false)
	s.values[name] = variables.Value{Text: value}
	s.log.outputs = append(s.log.outputs, Output{Name: strings.TrimPrefix(name, "Octopus.Action."), Value: value})
}

func (s *shim) conventions(ctx context.Context, dir string) (exit int, err error) {
	if exit, err = s.convention(ctx, "PreDeploy", dir); err != nil || s.log.skipRest {
		return exit, err
	}
	if err := s.substitute(dir); err != nil {
		return 0, err
	}
	if err := s.configure(dir); err != nil {
		return 0, err
	}
	if to := s.spec.Files.InstallTo; to != "" {
		if err := s.copyTo(ctx, dir, to); err != nil {
			return 0, err
		}
		s.install = to
		s.variable("Octopus.Action.Package.InstallationDirectoryPath", to)
	}
	for _, name := range []string{"Deploy", "PostDeploy"} {
		if exit, err = s.convention(ctx, name, s.install); err != nil || s.log.skipRest {
			return exit, err
		}
	}
	return 0, nil
}

// convention runs the step's own script of a stage and then the package's.
func (s *shim) convention(ctx context.Context, name, dir string) (exit int, err error) {
	if body := s.spec.Files.Custom[name]; strings.TrimSpace(body) != "" {
		s.log.say("Verbose", "Running the step's "+name+" script")
		if exit, err = s.script(ctx, name, body, dir); err != nil || s.log.skipRest {
			return exit, err
		}
	}
	if !s.spec.Files.RunPackageScripts || dir == "" {
		return 0, nil
	}
	body, err := os.ReadFile(filepath.Join(dir, name+".sh"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	s.log.say("Verbose", "Running "+name+".sh of the package")
	return s.script(ctx, name, string(body), dir)
}

// newFolder makes the name of a folder that does not exist: one for each version, and
// another when a version is installed again.
func (s *shim) newFolder() (string, error) {
	parent := filepath.Join(s.root, "applications")
	for _, part := range []string{s.spec.Space, s.spec.Tenant, s.spec.Environment, s.spec.Package.ID} {
		if part != "" {
			parent = filepath.Join(parent, safeName(part))
		}
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	base := filepath.Join(parent, safeName(s.spec.Package.Version))
	for n := 0; ; n++ {
		dir := base
		if n > 0 {
			dir = fmt.Sprintf("%s_%d", base, n)
		}
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return dir, nil
		}
	}
}

// safeName makes one part of a path out of any text.
func safeName(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, text)
	if strings.Trim(text, ".") == "" {
		return "_"
	}
	return text
}

// matches lists the regular files under dir that a glob names, never through links.
func matches(dir, glob string) ([]string, error) {
	glob = strings.TrimPrefix(filepath.ToSlash(strings.TrimSpace(glob)), "./")
	if strings.HasPrefix(glob, "/") || slices.Contains(strings.Split(glob, "/"), "..") {
		return nil, errs.New(errs.Invalid, "'%s' leads out of the package.", glob)
	}
	names, err := doublestar.Glob(os.DirFS(dir), glob, doublestar.WithFilesOnly(), doublestar.WithNoFollow())
	if err != nil {
		return nil, errs.New(errs.Invalid, "'%s' is no pattern of file names.", glob)
	}
	return slices.DeleteFunc(names, func(n string) bool {
		info, err := os.Lstat(filepath.Join(dir, n))
		return err != nil || !info.Mode().IsRegular()
	}), nil
}

// rewrite changes a file in place, keeping its mode.
func rewrite(path string, change func([]byte) ([]byte, error)) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	out, err := change(b)
	if err != nil || bytes.Equal(out, b) {
		return err
	}
	temp := path + ".octopuses-new"
	if err := os.WriteFile(temp, out, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func (s *shim) substitute(dir string) error {
	for _, glob := range s.spec.Files.SubstituteIn {
		names, err := matches(dir, glob)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			s.log.say("Warning", fmt.Sprintf("No file matches '%s' for the replacement of variables.", glob))
		}
		for _, name := range names {
			err := rewrite(filepath.Join(dir, name), func(b []byte) ([]byte, error) {
				if !utf8.Valid(b) {
					return nil, errs.New(errs.Invalid, "%s is no UTF-8 text; variables cannot be replaced in it.", name)
				}
				text, _, err := s.dict.Evaluate(string(b))
				if err != nil {
					return nil, errs.New(errs.Invalid, "Variables in %s could not be replaced: %v.", name, err)
				}
				return []byte(text), nil
			})
			if err != nil {
				return err
			}
			s.log.say("Verbose", "Replaced variables in "+name)
		}
	}
	return nil
}

func (s *shim) configure(dir string) error {
	for _, glob := range s.spec.Files.StructuredConfig {
		names, err := matches(dir, glob)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			s.log.say("Warning", fmt.Sprintf("No file matches '%s' for JSON configuration.", glob))
		}
		for _, name := range names {
			var replaced []string
			err := rewrite(filepath.Join(dir, name), func(b []byte) (out []byte, err error) {
				if out, replaced, err = variables.ReplaceJSON(b, s.dict); err != nil {
					return nil, errs.New(errs.Invalid, "%s: %v.", name, err)
				}
				return out, nil
			})
			if err != nil {
				return err
			}
			s.log.say("Verbose", fmt.Sprintf("Put %d variables into %s: %s", len(replaced), name, strings.Join(replaced, ", ")))
		}
	}
	return nil
}

// copyTo copies the installation into a folder of the user's choice.
func (s *shim) copyTo(ctx context.Context, from, to string) error {
	if !filepath.IsAbs(to) || filepath.Clean(to) == "/" || strings.HasPrefix(filepath.Clean(s.root)+"/", filepath.Clean(to)+"/") {
		return errs.New(errs.Invalid, "'%s' cannot be the installation directory.", to)
	}
	if s.spec.Files.Purge {
		entries, err := os.ReadDir(to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	n := 0
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(dest, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			os.Remove(dest)
			return os.Symlink(target, dest)
		}
		n++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		// A new file and a rename: a running program keeps the old one.
		temp := dest + ".octopuses-new"
		if err := os.WriteFile(temp, b, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Rename(temp, dest)
	})
	if err == nil {
		s.log.say("Info", fmt.Sprintf("Copied %d files to %s", n, to))
	}
	return err
}

func (s *shim) journalPath() string { return filepath.Join(s.root, "journal.jsonl") }

func (s *shim) journal(i installation) error {
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.journalPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

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
		if json.Unmarshal(line, &i) == nil && i.Key == key {
			out = append(out, i)
		}
	}
	return out, nil
}

func (s *shim) lastSuccess(key string) (*installation, error) {
	all, err := s.installations(key)
	if err != nil {
		return nil, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Success {
			return &all[i], nil
		}
	}
	return nil, nil
}

// keepLast removes older installations of the same step: all but the current one, the
// last successful one before it, and as many more as are to be kept.
func (s *shim) keepLast(key, current string) error {
	if s.spec.KeepVersions <= 0 {
		return nil
	}
	// Processes of one machine may be here at once.
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
	kept, keepSuccess := 0, false
	for i := len(all) - 1; i >= 0; i-- {
		x := all[i]
		if x.Path == current || !strings.HasPrefix(x.Path, filepath.Join(s.root, "applications")+"/") {
			continue
		}
		if x.Success && !keepSuccess || kept < s.spec.KeepVersions {
			keepSuccess = keepSuccess || x.Success
			kept++
			continue
		}
		if _, err := os.Lstat(x.Path); err != nil {
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
