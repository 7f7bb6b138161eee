package execution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/variables"
)

// shimArgument makes the program a shim.
const shimArgument = "execution-shim"

// MaybeShim does work, one piece after the other, and returns true if the program was
// started for that. It is the first thing that main calls.
func MaybeShim(args []string) bool {
	if len(args) != 4 || args[1] != shimArgument {
		return false
	}
	if err := serveShim(args[2], args[3]); err != nil {
		// This is the execution's shim.err; the missing end of the work tells the rest.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// serveShim does what it is given on file 3 until nobody is there to give more. Nothing of
// one piece of work is known to the next.
func serveShim(root, version string) error {
	syscall.CloseOnExec(3) // a script has nothing to say here
	file := os.NewFile(3, "socket")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return err
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("a shim is started by an agent only")
	}
	for {
		dir, lock, err := receive(socket)
		if err != nil || dir == "" {
			return err
		}
		if err := os.Chdir(dir); err != nil {
			return err
		}
		if err := (&shim{root: root, dir: dir, version: version}).run(); err != nil {
			return err
		}
		lock.Close()
		if _, err := socket.Write([]byte{0}); err != nil {
			return nil // who gave it is gone, and can read the end
		}
	}
}

// shim does one piece of work in the folder of its execution.
type shim struct {
	root, dir, version string

	spec    Spec
	log     *logger
	dict    *variables.Dictionary
	values  map[string]variables.Value
	install string // folder of the package while it is being installed
}

// errCanceled is the error of work that somebody stopped.
var errCanceled = errors.New("canceled")

func (s *shim) run() (err error) {
	if s.spec, err = readSpec(s.dir); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(s.dir, "log.jsonl"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := s.markBegun(); err != nil {
		return err
	}
	s.log = newLogger(file, &Masker{})
	s.dict = variables.NewDictionary()
	for name, v := range s.spec.Variables {
		s.dict.Set(name, v.Value, v.Sensitive)
		if v.Sensitive {
			s.log.mask.Add(v.Value)
		}
	}
	s.machine()
	s.evaluate()
	done := make(chan struct{})
	go s.log.flushEvery(10*time.Millisecond, done)

	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if s.spec.TimeoutSeconds > 0 {
		limit := time.Duration(s.spec.TimeoutSeconds) * time.Second
		time.AfterFunc(limit, func() {
			cancel(errs.New(errs.Unavailable, "It took longer than the limit of %s and was stopped.", limit))
		})
	}
	if s.canceled() {
		cancel(errCanceled)
	}
	go s.watchCancel(cancel, done)

	started := time.Now().UTC()
	code, err := s.work(ctx)
	close(done)
	return s.end(ctx, started, code, err)
}

// markBegun says that from here on something may have happened. The mark stands before
// anything does, also after a power cut; a second shim finds it and refuses.
func (s *shim) markBegun() error {
	f, err := os.OpenFile(filepath.Join(s.dir, "begun"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("the work has begun before")
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(s.dir))
}

// end writes how the work ended: log, then secrets away, then the status.
func (s *shim) end(ctx context.Context, started time.Time, code int, err error) error {
	ended := time.Now().UTC()
	st := Status{ID: s.spec.ID, State: Succeeded, ExitCode: code, Started: &started, Ended: &ended, Outputs: s.log.outputs}
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errCanceled):
		st.State, st.Message = Canceled, "It was cancelled."
	case err != nil:
		st.State, st.Message = Failed, s.log.mask.Text(people(err))
		if s.log.result != "" {
			st.Message = s.log.result
		}
		s.log.say("Error", st.Message)
	}
	st.Warnings = s.log.warnings
	if err := s.log.close(); err != nil {
		return err
	}
	if err := forgetSecrets(s.dir, s.spec); err != nil {
		return err
	}
	return writeEnd(s.dir, st)
}

// machine sets what only the machine knows.
func (s *shim) machine() {
	host, _ := os.Hostname()
	for name, text := range map[string]string{
		"Octopus.Machine.Hostname":                        host,
		"Octopus.Tentacle.Agent.ApplicationDirectoryPath": filepath.Join(s.root, "applications"),
	} {
		if _, given := s.dict.Get(name); !given {
			s.dict.Set(name, text, false)
		}
	}
}

// evaluate works out the values of all variables, and which are not to be shown.
func (s *shim) evaluate() {
	s.values = s.dict.Export()
	for _, v := range s.values {
		if v.Sensitive {
			s.log.mask.Add(v.Text)
		}
	}
}

// people is the text of an error for a log: that of our errors, or the error itself.
func people(err error) string {
	if errs.KindOf(err) != errs.Internal {
		return errs.TextOf(err)
	}
	return err.Error()
}

func (s *shim) canceled() bool {
	_, err := os.Stat(filepath.Join(s.dir, "cancel"))
	return err == nil
}

func (s *shim) watchCancel(cancel context.CancelCauseFunc, done <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if s.canceled() {
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
		return s.script(ctx, "Script", s.inline(s.spec.Script.Body), dir)
	case "package":
		return s.installPackage(ctx)
	default:
		return 0, s.health(ctx)
	}
}
