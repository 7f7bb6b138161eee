package execution

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/variables"
)

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
	if err := s.checkDestination(to); err != nil {
		return err
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
		s.log.say("Verbose", fmt.Sprintf("Emptied %s", to))
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
		return copyFile(path, dest)
	})
	if err == nil {
		s.log.say("Info", fmt.Sprintf("Copied %d files to %s", n, to))
	}
	return err
}

// checkDestination refuses folders that must not be written into, nor emptied: the
// root, whatever contains the workspace, and what the workspace keeps for itself.
func (s *shim) checkDestination(to string) error {
	refuse := errs.New(errs.Invalid, "'%s' cannot be the installation directory.", to).WithHint("Choose an absolute path that neither contains nor is in the agent's own folders.")
	if !filepath.IsAbs(to) {
		return refuse
	}
	root, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return err
	}
	real, err := resolve(filepath.Clean(to))
	if err != nil {
		return err
	}
	if real == "/" || within(real, root) {
		return refuse
	}
	for _, own := range []string{"work", "packages", "applications"} {
		if within(filepath.Join(root, own), real) {
			return refuse
		}
	}
	return nil
}

// within reports whether path is dir or lies in it.
func within(dir, path string) bool {
	return strings.HasPrefix(path+"/", strings.TrimSuffix(dir, "/")+"/")
}

// resolve follows the links of as much of a path as there is.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return real, err
	}
	parent, err := resolve(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// copyFile makes a new file and renames it: a running program keeps the old one.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	temp := to + ".octopuses-new"
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		os.Remove(temp)
		return err
	}
	return os.Rename(temp, to)
}
