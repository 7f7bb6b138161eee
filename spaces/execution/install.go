package execution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

// failedLimit is how long the DeployFailed scripts may take. They run after a
// cancellation too, so nothing else would end them.
const failedLimit = 5 * time.Minute

// installPackage goes through the conventions in Octopus's order.
// https://octopus.com/docs/deployments/packages/package-deployment-feature-ordering
func (s *shim) installPackage(ctx context.Context) (exit int, err error) {
	p := s.spec.Package
	key := strings.Join([]string{s.spec.Space, s.spec.Project, s.spec.Environment, s.spec.Tenant, s.spec.StepName, p.ID}, "/")
	before, err := s.installations(key)
	if err != nil {
		return 0, err
	}
	dir, err := s.unfold(ctx)
	if err != nil {
		return 0, err
	}
	s.install = dir
	s.previous(before)
	s.dict.Set("OctopusOriginalPackageDirectoryPath", dir, false)
	s.installedAt(dir)
	exit, err = s.conventions(ctx, dir)
	if err != nil {
		late, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), failedLimit, errs.New(errs.Unavailable, "DeployFailed took longer than %s and was stopped.", failedLimit))
		if _, failErr := s.convention(late, "DeployFailed", s.install); failErr != nil {
			s.log.say("Error", people(failErr))
		}
		cancel()
	}
	i := installation{Key: key, Version: p.Version, Path: dir, Success: err == nil, At: time.Now().UTC()}
	if s.install != dir {
		i.Custom = s.install
	}
	if jerr := s.journal(i); jerr != nil {
		return exit, errors.Join(err, jerr)
	}
	if err == nil {
		err = s.keepLast(key, dir)
	}
	return exit, err
}

// unfold extracts the package into a folder of its own and returns it.
func (s *shim) unfold(ctx context.Context) (dir string, err error) {
	p := s.spec.Package
	store, err := packages.NewStore(filepath.Join(s.root, "packages"))
	if err != nil {
		return "", err
	}
	if err := store.Verify(ctx, p.Digest); err != nil {
		if errors.Is(err, errs.Unavailable) {
			// Gone, so that the server sends it anew.
			return "", errors.Join(errs.Wrap(errs.Unavailable, err, "The file of %s %s was damaged on the target and has been removed there.", p.ID, p.Version).WithHint("Deploy again; the package is then sent again."), store.Remove(p.Digest))
		}
		return "", err
	}
	now := time.Now()
	os.Chtimes(store.Path(p.Digest), now, now) // its last use, for MakeRoom
	parent := filepath.Join(s.root, "applications")
	for _, part := range []string{s.spec.Space, s.spec.Tenant, s.spec.Environment, p.ID} {
		if part != "" {
			parent = filepath.Join(parent, safeName(part))
		}
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	s.dropUnfinished(parent)
	temp := filepath.Join(parent, unfinished+s.spec.ID)
	files, err := packages.Extract(ctx, store.Path(p.Digest), p.Extension, temp, packages.Limits{})
	if err != nil {
		return "", err
	}
	if dir, err = s.newFolder(temp, filepath.Join(parent, safeName(p.Version))); err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	s.log.say("Info", fmt.Sprintf("Extracted %s %s: %d files to %s", p.ID, p.Version, files, dir))
	s.dict.Set("Octopus.Tentacle.CurrentDeployment.PackageFilePath", store.Path(p.Digest), false)
	return dir, nil
}

// unfinished is how the folders begin in which packages are being extracted.
const unfinished = ".new-"

// newFolder gives an extracted package its name: that of the version, and one with a
// number when a version is installed again. Another shim may do the same just now. A
// name that the journal knows is not used again, even when its folder is gone: whoever
// removes old installations by the journal would take the new one for the old.
func (s *shim) newFolder(temp, base string) (string, error) {
	all, err := s.installations("")
	if err != nil {
		return "", err
	}
	known := map[string]bool{}
	for _, i := range all {
		known[i.Path] = true
	}
	for n := 0; ; n++ {
		dir := base
		if n > 0 {
			dir = fmt.Sprintf("%s_%d", base, n)
		}
		if _, err := os.Lstat(dir); err == nil || known[dir] {
			continue
		}
		switch err := os.Rename(temp, dir); {
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrExist): // which ENOTEMPTY is too
			return "", err
		}
	}
}

// dropUnfinished removes what interrupted work left half extracted.
func (s *shim) dropUnfinished(parent string) {
	names, err := filepath.Glob(filepath.Join(parent, unfinished+"*"))
	if err != nil {
		return
	}
	for _, n := range names {
		id := strings.TrimPrefix(filepath.Base(n), unfinished)
		if !alive(filepath.Join(s.root, "work", filepath.Base(id))) {
			os.RemoveAll(n)
		}
	}
}

// installedAt tells scripts, and later steps, where the package is.
func (s *shim) installedAt(dir string) {
	s.dict.Set("Octopus.Action.Package.InstallationDirectoryPath", dir, false)
	s.evaluate()
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.outputs = append(s.log.outputs, Output{Name: "Package.InstallationDirectoryPath", Value: dir})
}

// previous tells scripts what was installed before.
func (s *shim) previous(before []installation) {
	set := func(group string, i installation) {
		s.dict.Set("Octopus.Tentacle."+group+".OriginalInstalledPath", i.Path, false)
		s.dict.Set("Octopus.Tentacle."+group+".CustomInstallationDirectory", i.Custom, false)
		s.dict.Set("Octopus.Tentacle."+group+".PackageVersion", i.Version, false)
	}
	for _, i := range before { // oldest first: the last one stays
		set("PreviousInstallation", i)
		if i.Success {
			set("PreviousSuccessfulInstallation", i)
		}
	}
}

func (s *shim) conventions(ctx context.Context, dir string) (exit int, err error) {
	if exit, err = s.convention(ctx, "PreDeploy", dir); err != nil || s.log.skip() {
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
		s.installedAt(to)
	}
	for _, name := range []string{"Deploy", "PostDeploy"} {
		if exit, err = s.convention(ctx, name, s.install); err != nil || s.log.skip() {
			return exit, err
		}
	}
	return 0, nil
}

// convention runs the step's own script of a stage and then the package's. References
// are replaced in the step's; the package's is run as it was built, unless it is
// among the files in which variables are to be replaced.
func (s *shim) convention(ctx context.Context, name, dir string) (exit int, err error) {
	if body := s.spec.Files.Custom[name]; strings.TrimSpace(body) != "" {
		s.log.say("Verbose", "Running the step's "+name+" script")
		if exit, err = s.script(ctx, name, s.inline(body), dir); err != nil || s.log.skip() {
			return exit, err
		}
	}
	if !s.spec.Files.RunPackageScripts {
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

// safeName makes one part of a path out of any text.
func safeName(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, text)
	if strings.HasPrefix(text, ".") {
		text = "_" + text[1:] // "..", and what looks like a half extracted package
	}
	return text
}
