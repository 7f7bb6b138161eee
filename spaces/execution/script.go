package execution

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/variables"
)

const (
	// termGrace is how long a script has between SIGTERM and SIGKILL.
	termGrace = 5 * time.Second
	// leftBehind is how long the outputs of a script that ended are still read, when a
	// process that it left behind keeps them open.
	leftBehind = 200 * time.Millisecond
	// leastFree is the free space, in bytes, below which a machine is not healthy.
	leastFree = 500 << 20
)

// inline is a script that stands in a step: references in it are replaced, as Octopus
// does. One with a malformed reference runs as it is written.
func (s *shim) inline(body string) string {
	text, _, err := s.dict.Evaluate(body)
	var e *variables.Error
	if errors.As(err, &e) && len(e.Missing) == 0 {
		return body
	}
	return text
}

// script runs a bash script in a folder. Its exit code other than 0 is an error.
func (s *shim) script(ctx context.Context, name, body, dir string) (exit int, err error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return 0, noBash()
	}
	folder := filepath.Join(s.dir, "bash")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, err
	}
	// Values are in a file that only this user reads: a command line is for everybody.
	for file, content := range map[string]string{"bootstrap.sh": bootstrap(s.values), name + ".sh": strings.ReplaceAll(body, "\r\n", "\n")} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			return 0, err
		}
	}
	cmd := exec.Command(bash, "--noprofile", "--norc", "-c", `. "$1" && . "$2"`, name, filepath.Join(folder, "bootstrap.sh"), filepath.Join(folder, name+".sh"))
	cmd.Dir, cmd.Env = dir, environment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &stream{log: s.log, category: "Info", standard: "Info"}
	errOut := &stream{log: s.log, category: "Error", standard: "Error"}
	cmd.Stdout, cmd.Stderr = out, errOut
	cmd.WaitDelay = leftBehind
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	stopped := make(chan struct{})
	go stopGroup(ctx, cmd.Process.Pid, stopped)
	err = cmd.Wait()
	close(stopped)
	out.end()
	errOut.end()
	if cause := context.Cause(ctx); cause != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // who did not hear SIGTERM
		return -1, cause
	}
	var status *exec.ExitError
	switch {
	case errors.As(err, &status) && status.ExitCode() < 0:
		return -1, errs.New(errs.Unavailable, "The script %s was ended by a signal: %v.", name, status)
	case errors.As(err, &status):
		return status.ExitCode(), errs.New(errs.Unavailable, "The script %s ended with exit code %d.", name, status.ExitCode())
	case errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	}
	return 0, err
}

// stopGroup ends a process group when ctx ends before stopped does: kindly, then not.
func stopGroup(ctx context.Context, group int, stopped <-chan struct{}) {
	select {
	case <-stopped:
		return
	case <-ctx.Done():
	}
	syscall.Kill(-group, syscall.SIGTERM)
	select {
	case <-stopped:
	case <-time.After(termGrace):
		syscall.Kill(-group, syscall.SIGKILL)
	}
}

// environment is what a script gets of the environment of the agent: not the settings
// of the agent, which may hold keys, and not the socket on which it talks to systemd.
func environment(all []string) []string {
	out := make([]string, 0, len(all))
	for _, e := range all {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case strings.HasPrefix(name, "OCTOPUSES_"), strings.HasPrefix(name, "LISTEN_"), strings.HasPrefix(name, "WATCHDOG_"), name == "NOTIFY_SOCKET":
		default:
			out = append(out, e)
		}
	}
	return out
}

func noBash() error {
	return errs.New(errs.Unavailable, "There is no bash on this machine.").WithHint("Install bash.")
}

// health reports what the machine is and has.
func (s *shim) health(ctx context.Context) error {
	host, _ := os.Hostname()
	s.log.say("Info", fmt.Sprintf("Agent %s on %s (%s/%s)", s.version, host, runtime.GOOS, runtime.GOARCH))
	bash, err := exec.LookPath("bash")
	if err != nil {
		return noBash()
	}
	if b, err := exec.CommandContext(ctx, bash, "--noprofile", "--norc", "-c", `printf '%s' "$BASH_VERSION"`).Output(); err == nil {
		s.log.say("Info", fmt.Sprintf("bash %s at %s", b, bash))
	}
	free, err := DiskFree(s.root)
	if err != nil {
		return err
	}
	s.log.say("Info", fmt.Sprintf("%s free in %s", packages.Bytes(free), s.root))
	if free < leastFree {
		return errs.New(errs.Unavailable, "Only %s are free on the disk of %s.", packages.Bytes(free), s.root).WithHint("Free some space.")
	}
	return nil
}

// DiskFree is how many bytes an ordinary user can still write to the disk of a folder.
func DiskFree(path string) (int64, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(path, &disk); err != nil {
		return 0, fmt.Errorf("look at disk of %s: %w", path, err)
	}
	return int64(disk.Bavail) * int64(disk.Bsize), nil
}
