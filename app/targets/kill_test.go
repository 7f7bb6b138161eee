package targets_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/agent"
	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/app/targets/targettest"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

// agentProcess is the environment variable that makes the test binary an agent.
const agentProcess = "TARGETS_TEST_AGENT"

// beAgent runs an agent until it is killed, and prints where it can be reached.
func beAgent(root string) {
	a, err := agent.Open(agent.Options{Root: root, Version: "test", Logger: quiet, Ready: func(address string) { fmt.Println(address) }})
	if err == nil {
		err = a.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// process starts an agent as a process of its own.
func process(t *testing.T, root string) (address string, kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), agentProcess+"="+root)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill() // SIGKILL: nothing is tidied up
		cmd.Wait()
	})
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the agent is not ready")
	}
	return lines.Text(), kill
}

func TestWorkOutlivesAKilledAgent(t *testing.T) {
	ways := map[string]func(t *testing.T) (root string, reach func(address string) targets.Transport){
		"listening": func(t *testing.T) (string, func(string) targets.Transport) {
			server, _ := pin.New()
			root, reg := register(t, server, "127.0.0.1:0", "")
			d := targets.NewDirectory(server, nil)
			return root, func(address string) targets.Transport {
				tr, err := d.Transport(targets.Machine{Style: "TentaclePassive", URI: "https://" + address, Thumbprint: reg.Thumbprint})
				if err != nil {
					t.Fatal(err)
				}
				return tr
			}
		},
		"polling": func(t *testing.T) (string, func(string) targets.Transport) {
			server, _ := pin.New()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			root, reg := register(t, server, "", l.Addr().String())
			hub := targets.NewHub(server, func(p string) bool { return p == reg.Thumbprint }, nil, quiet)
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			go hub.Serve(ctx, l)
			return root, func(string) targets.Transport {
				for range 500 {
					if tr, err := hub.Transport(reg.Thumbprint); err == nil {
						if _, err := tr.Hello(ctx); err == nil {
							return tr
						}
					}
					time.Sleep(10 * time.Millisecond)
				}
				t.Fatal("the agent does not connect")
				return nil
			}
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			root, reach := way(t)
			mark := filepath.Join(t.TempDir(), "runs")
			address, kill := process(t, root)
			tr := reach(address)
			s := targettest.Script(fmt.Sprintf("echo run >> %s; echo before; sleep 1.5; echo after; set_octopusvariable Result known", mark))
			if _, err := tr.Start(context.Background(), s); err != nil {
				t.Fatal(err)
			}
			var offset int64
			for offset == 0 {
				u, err := tr.Watch(context.Background(), s.ID, 0, time.Second)
				if err != nil {
					t.Fatal(err)
				}
				offset = u.Next
			}
			kill()
			if _, err := tr.Hello(context.Background()); !errors.Is(err, errs.Unavailable) {
				t.Errorf("a killed agent answers: %v", err)
			}
			address, _ = process(t, root)
			tr = reach(address)
			// The server does not know whether its Start arrived: it says it again.
			if st, err := tr.Start(context.Background(), s); err != nil || st.State != execution.Running {
				t.Errorf("after the restart it is %s, %v", st.State, err)
			}
			st, log := targettest.Finish(t, tr, s.ID)
			if st.State != execution.Succeeded || log != "Info: before\nInfo: after\n" || len(st.Outputs) != 1 || st.Outputs[0].Value != "known" {
				t.Errorf("%+v\n%s", st, log)
			}
			if b, _ := os.ReadFile(mark); string(b) != "run\n" {
				t.Errorf("it ran as %q", b)
			}
		})
	}
}

// Killed at any moment around Start, an agent runs the work once.
func TestAgentKilledWhileItStartsWork(t *testing.T) {
	server, _ := pin.New()
	root, reg := register(t, server, "127.0.0.1:0", "")
	d := targets.NewDirectory(server, nil)
	mark := filepath.Join(t.TempDir(), "runs")
	reach := func(address string) targets.Transport {
		tr, err := d.Transport(targets.Machine{Style: "TentaclePassive", URI: "https://" + address, Thumbprint: reg.Thumbprint})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Hello(context.Background()); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	const rounds = 12
	for i := range rounds {
		address, kill := process(t, root)
		tr := reach(address)
		s := targettest.Script(fmt.Sprintf("echo %d >> %s", i, mark))
		go func() {
			time.Sleep(time.Duration(i) * 400 * time.Microsecond)
			kill()
		}()
		if _, err := tr.Start(context.Background(), s); err != nil && !errors.Is(err, errs.Unavailable) {
			t.Errorf("round %d: %v", i, err)
		}
		kill()
		address, kill = process(t, root)
		tr = reach(address)
		if _, err := tr.Start(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		if st, log := targettest.Finish(t, tr, s.ID); st.State != execution.Succeeded {
			t.Errorf("round %d: %+v\n%s", i, st, log)
		}
		kill()
	}
	b, _ := os.ReadFile(mark)
	for i := range rounds {
		if n := strings.Count("\n"+string(b), fmt.Sprintf("\n%d\n", i)); n != 1 {
			t.Errorf("round %d ran %d times", i, n)
		}
	}
}
