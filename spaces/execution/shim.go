package execution

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/variables"
)

// shimArgument makes the program a shim.
const shimArgument = "execution-shim"

// MaybeShim does one piece of work and returns true if the program was started for
// that. It is the first thing that main calls.
func MaybeShim(args []string) bool {
	if len(args) != 4 || args[1] != shimArgument {
		return false
	}
	syscall.CloseOnExec(3) // the lock: children that stay must not hold it
	s := &shim{root: args[2], dir: args[3]}
	if err := s.run(); err != nil {
		// Nobody listens; the missing end of the work tells it.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// shim does one piece of work in the folder of its execution.
type shim struct {
	root, dir string
	spec      Spec
	log       *logger
	dict      *variables.Dictionary
	values    map[string]variables.Value
	install   string // folder of the package while it is being installed
}

// errCanceled is the error of work that somebody stopped.
var errCanceled = errors.New("canceled")

func (s *shim) run() error {
	b, err := os.ReadFile(filepath.Join(s.dir, "spec.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &s.spec); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(s.dir, "log.jsonl"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := writeFile(filepath.Join(s.dir, "begun"), nil); err != nil {
		return err
	}
	mask := &Masker{}
	s.dict = variables.NewDictionary()
	for name, v := range s.spec.Variables {
		s.dict.Set(name, v.Value, v.Sensitive)
		if v.Sensitive {
			mask.Add(v.Value)
		}
	}
	s.values = s.dict.Export()
	for _, v := range s.values {
		if v.Sensitive {
			mask.Add(v.Text)
		}
	}
	s.log = newLogger(file, mask)
	done := make(chan struct{})
	go s.log.flushEvery(15*time.Millisecond, done)

	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if s.spec.TimeoutSeconds > 0 {
		limit := time.Duration(s.spec.TimeoutSeconds) * time.Second
		time.AfterFunc(limit, func() {
			cancel(errs.New(errs.Unavailable, "It took longer than the limit of %s and was stopped.", limit))
		})
	}
	go s.watchCancel(cancel, done)

	started := time.Now().UTC()
	code, err := s.work(ctx)
	close(done)
	ended := time.Now().UTC()
	st := Status{ID: s.spec.ID, State: Succeeded, ExitCode: code, Started: &started, Ended: &ended, Outputs: s.log.outputs}
	switch {
	case errors.Is(context.Cause(ctx), errCanceled):
		st.State, st.Message = Canceled, "It was cancelled."
	case err != nil:
		st.State, st.Message = Failed, mask.Text(people(err))
		if s.log.result != "" {
			st.Message = s.log.result
		}
		s.log.say("Error", st.Message)
	}
	st.Warnings = s.log.warnings
	if err := s.log.close(); err != nil {
		return err
	}
	if err := s.forgetSecrets(); err != nil {
		return err
	}
	if b, err = json.Marshal(st); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(s.dir, "status.json"), b); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// people is the text of an error for a log: that of our errors, or the error itself.
func people(err error) string {
	if errs.KindOf(err) != errs.Internal {
		return errs.TextOf(err)
	}
	return err.Error()
}

// forgetSecrets takes the variables out of the folder.
func (s *shim) forgetSecrets() error {
	s.spec.Variables = nil
	b, err := json.Marshal(s.spec)
	if err != nil {
		return err
	}
	return errors.Join(writeFile(filepath.Join(s.dir, "spec.json"), b), os.RemoveAll(filepath.Join(s.dir, "bash")))
}

func (s *shim) watchCancel(cancel context.CancelCauseFunc, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(100 * time.Millisecond):
			if _, err := os.Stat(filepath.Join(s.dir, "cancel")); err == nil {
				cancel(errCanceled)
				return
			}
		}
	}
}

func (s *shim) work(ctx context.Context) (exit int, err error) {
	switch s.spec.Kind {
	case "script":
		dir := filepath.Join(s.dir, "cwd")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return 0, err
		}
		return s.script(ctx, "Script", s.spec.Script.Body, dir)
	case "package":
		return s.installPackage(ctx)
	default:
		return 0, s.health(ctx)
	}
}

// script runs a bash script in a folder. Its exit code other than 0 is an error.
func (s *shim) script(ctx context.Context, name, body, dir string) (exit int, err error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return 0, errs.New(errs.Unavailable, "There is no bash on this machine.").WithHint("Install bash.")
	}
	folder := filepath.Join(s.dir, "bash")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, err
	}
	// References in the script itself are replaced as well, as Octopus does.
	text, _, everr := s.dict.Evaluate(body)
	var e *variables.Error
	if errors.As(everr, &e) && len(e.Missing) == 0 {
		text = body
	}
	for file, content := range map[string]string{"bootstrap.sh": bootstrap(s.values), name + ".sh": strings.ReplaceAll(text, "\r\n", "\n")} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			return 0, err
		}
	}
	cmd := exec.Command(bash, "--noprofile", "--norc", "-c", `. "$1" && . "$2"`, name, filepath.Join(folder, "bootstrap.sh"), filepath.Join(folder, name+".sh"))
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &stream{log: s.log, category: "Info", standard: "Info"}
	errOut := &stream{log: s.log, category: "Error", standard: "Error"}
	cmd.Stdout, cmd.Stderr = out, errOut
	// A process that the script left behind may keep the pipes open; it is not waited for.
	cmd.WaitDelay = 200 * time.Millisecond
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	stopped := make(chan struct{})
	go func() {
		select {
		case <-stopped:
		case <-ctx.Done():
			syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			select {
			case <-stopped:
			case <-time.After(5 * time.Second):
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			}
		}
	}()
	err = cmd.Wait()
	close(stopped)
	out.end()
	errOut.end()
	if cause := context.Cause(ctx); cause != nil {
		return -1, cause
	}
	var status *exec.ExitError
	switch {
	case errors.As(err, &status):
		return status.ExitCode(), errs.New(errs.Unavailable, "The script %s ended with exit code %d.", name, status.ExitCode())
	case errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	}
	return 0, err
}

// health reports what the machine is and has.
func (s *shim) health(ctx context.Context) error {
	if _, err := exec.LookPath("bash"); err != nil {
		return errs.New(errs.Unavailable, "There is no bash on this machine.").WithHint("Install bash.")
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.root, &disk); err != nil {
		return err
	}
	free := int64(disk.Bavail) * int64(disk.Bsize)
	s.log.say("Info", fmt.Sprintf("%s free in %s", packages.Bytes(free), s.root))
	if free < 500<<20 {
		return errs.New(errs.Unavailable, "Only %s are free on the disk of %s.", packages.Bytes(free), s.root).WithHint("Free some space.")
	}
	return nil
}
