package app

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
)

// The environment of a server that [crashServer] is: the stored state at which it kills
// itself, and the file to which it writes the states that it stores.
const (
	crashAt   = "CRASH_AT"
	crashSeen = "CRASH_SEEN"
)

// crashServer is "octopuses serve", with the same flags, that looks into the file of a
// space after each commit. It writes the states that are new there, one line a commit, and
// sends itself SIGKILL when the one of CRASH_AT is among them: stored, and nobody told.
func crashServer() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newSettings()
	f := flagSet(&command{name: "serve", flags: s.register})
	err := f.Parse(os.Args[1:])
	if err == nil {
		var c Config
		if c, err = s.load(os.LookupEnv); err == nil {
			c.committed = watchCommits(os.Getenv(crashAt), os.Getenv(crashSeen))
			err = serve(ctx, c, Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func watchCommits(at, file string) func(*spaces.Space) {
	var mu sync.Mutex
	seen := map[string]bool{}
	files := map[string]*sql.DB{}
	return func(s *spaces.Space) {
		mu.Lock()
		defer mu.Unlock()
		if files[s.Dir()] == nil {
			files[s.Dir()] = readOnly(s.Dir())
		}
		states, err := storedStates(files[s.Dir()], s)
		if err != nil {
			fmt.Fprintln(os.Stderr, "look at stored states:", err)
			os.Exit(1)
		}
		states = slices.DeleteFunc(states, func(x string) bool { return seen[x] })
		for _, x := range states {
			seen[x] = true
		}
		if file != "" && len(states) > 0 {
			f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err == nil {
				_, _ = f.WriteString(strings.Join(states, "\t") + "\n")
				f.Close()
			}
		}
		if slices.Contains(states, at) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// readOnly opens the file of a space beside the server that has it.
func readOnly(dir string) *sql.DB {
	db, err := sql.Open("sqlite", migrations.DSN(filepath.Join(dir, spaces.FileName), true))
	if err != nil {
		panic(err) // only for a driver that is not there
	}
	return db
}

// storedStates are the states of everything that moves, as "kind state".
func storedStates(db *sql.DB, s *spaces.Space) ([]string, error) {
	states, err := column(db, `SELECT 'promotion '||state FROM promotion
		UNION SELECT 'outbox '||kind||' '||state FROM zone_outbox
		UNION SELECT 'inbox '||kind FROM zone_inbox
		UNION SELECT 'inbound '||state FROM inbound
		UNION SELECT 'want '||state FROM zone_blob_want
		UNION SELECT 'receipt '||kind FROM receipt
		UNION SELECT 'task '||state FROM task WHERE kind = 'Deploy'
		UNION SELECT 'execution '||state FROM execution
		UNION SELECT 'interruption '||kind||' '||CASE WHEN answered_at IS NULL THEN 'open' ELSE answer END FROM interruption`)
	if err != nil {
		return nil, err
	}
	tasks, err := column(db, `SELECT 'ServerTasks-'||task_id FROM deployment`)
	if err != nil {
		return nil, err
	}
	for _, t := range tasks {
		id, err := spaces.ParseTaskID(t)
		if err != nil {
			return nil, err
		}
		work, err := spaces.View(context.Background(), s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Work, error) { return tx.Work(id) })
		if err != nil {
			return nil, err
		}
		states = append(states, "deployment "+string(work.State.Status))
		for _, st := range work.State.Steps {
			states = append(states, "step "+string(st.State))
			for _, r := range st.Runs {
				states = append(states, "run "+string(r.State))
				for _, w := range r.Works {
					states = append(states, "work "+string(w.State))
				}
			}
		}
	}
	slices.Sort(states)
	// The zero value of a state of the engine is that nothing has happened.
	return slices.DeleteFunc(slices.Compact(states), func(x string) bool { return strings.HasSuffix(x, " "+string(deploy.Waiting)) }), nil
}

// column reads the only column of a query.
func column(db *sql.DB, query string, args ...any) ([]string, error) {
	rows, err := db.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, rows.Err()
}

// process is a program that a test started.
type process struct {
	cmd  *exec.Cmd
	url  string        // of a server
	log  string        // file of what it said
	gone chan struct{} // closed when it has ended
}

// spawn starts one of the programs of [TestMain]; a server is up when this returns, and
// so is an agent that says so.
func spawn(log string, env []string, program string, args ...string) (*process, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(path, args...), log: log, gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = out
	said, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	url := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if found := serving.FindStringSubmatch(lines.Text()); found != nil {
				url <- found[1]
			}
		}
		_, _ = io.Copy(io.Discard, said)
		_ = p.cmd.Wait()
		close(p.gone)
	}()
	if args[0] == "agent" {
		return p, nil
	}
	select {
	case p.url = <-url:
		return p, nil
	case <-p.gone:
		if p.killed() { // by itself, as it was told
			return p, nil
		}
		return nil, fmt.Errorf("%s ended: %s", program, p.said())
	case <-time.After(20 * time.Second):
		p.kill()
		return nil, fmt.Errorf("%s does not serve; see %s", program, log)
	}
}

// killed tells whether a process that is gone was.
func (p *process) killed() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

// end is SIGTERM, and tells whether it ended well.
func (p *process) end() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.gone
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s", filepath.Base(p.log), p.cmd.ProcessState)
	}
	return nil
}

func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// crashZone is one of the two servers. Killed by itself, it comes back at once, on the
// same folder and the same ports.
type crashZone struct {
	name, data         string
	web, agents, zones string // host:port
	front              string // host:port that other zones are told; "": zones
	space, folder      string // id; name of the folder
	key                string

	mu      sync.Mutex
	running *process
	since   time.Time     // running
	ended   bool          // is not to come back
	died    chan struct{} // closed when it was killed for the first time
	dead    func()        // closes died, once
}

// run starts the server; at is where it kills itself, "" for nowhere.
func (z *crashZone) run(at, seen string) error {
	z.mu.Lock()
	died := make(chan struct{})
	z.ended, z.died, z.dead = false, died, sync.OnceFunc(func() { close(died) })
	z.mu.Unlock()
	return z.start(at, seen)
}

func (z *crashZone) start(at, seen string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.ended {
		return nil
	}
	p, err := spawn(z.data+".log", []string{"ADMIN_USERNAME=ada", "ADMIN_PASSWORD=correct-horse-battery", "ADMIN_API_KEY=" + z.key, crashAt + "=" + at, crashSeen + "=" + seen},
		"octopuses-crash", "--data", z.data, "--listen", z.web, "--agents", z.agents, "--zones", z.zones, "--zones-address", cmp.Or(z.front, z.zones))
	if err != nil {
		return err
	}
	z.running, z.since = p, time.Now()
	go func() {
		<-p.gone
		if !p.killed() {
			return
		}
		z.mu.Lock()
		ended, dead := z.ended, z.dead
		z.mu.Unlock()
		if !ended {
			dead()
			_ = z.start("", "") // the next request finds out if it does not serve
		}
	}()
	return nil
}

// diedAndCameBack returns when the server that was to kill itself has done so, and the
// next one had a moment for whatever it thinks is left to do.
func (z *crashZone) diedAndCameBack() error {
	select {
	case <-z.died:
	case <-time.After(10 * time.Second):
		return errors.New("it never was")
	}
	return z.cameBack()
}

// cameBack returns when a server that was killed serves again and had that moment.
func (z *crashZone) cameBack() error {
	err := patiently("it serves again", func() (bool, error) { return z.call(http.MethodGet, "/api/spaces", nil, nil) == nil, nil })
	z.mu.Lock()
	defer z.mu.Unlock()
	time.Sleep(time.Until(z.since.Add(300 * time.Millisecond)))
	return err
}

// kill ends the server for good, as it is.
func (z *crashZone) kill() {
	z.mu.Lock()
	z.ended = true
	p := z.running
	z.mu.Unlock()
	if p != nil {
		p.kill()
	}
}

// freePorts finds ports that nobody uses and that the system gives to nobody who asks for
// any: a killed server finds them free again.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	var out []string
	for ; len(out) < n && nextPort < 32000; nextPort++ {
		address := fmt.Sprintf("127.0.0.1:%d", nextPort)
		if l, err := listen(address, ""); err == nil {
			l.Close()
			out = append(out, address)
		}
	}
	if len(out) < n {
		t.Fatal("no ports are free")
	}
	return out
}

var (
	portsMu  sync.Mutex
	nextPort = 20000 + os.Getpid()%10000
)
