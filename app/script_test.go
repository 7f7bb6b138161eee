package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/spaces/spacetest"
)

func TestMain(m *testing.M) {
	if execution.MaybeShim(os.Args) {
		return
	}
	if site := os.Getenv(floodVariable); site != "" {
		if err := floodSignIns(site); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testscript.Main(m, map[string]func(){"octopuses": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(Main(ctx, os.Args[1:], Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}, "octopuses-crash": crashServer})
}

// TestScripts plays testdata/script, with these commands besides those of testscript:
//
//	serve NAME [FLAGS]    start a server on a free port; $URL is where it serves
//	terminate NAME        SIGTERM; it must end with status 0
//	kill-9 NAME           as it says; the server is gone when this returns
//	http STATUS METHOD URL [FILE]   the body is the standard output; FILE is sent
//	head URL              the headers of the answer are the standard output
//	hidden SECRETS PLACE...   no line of the file SECRETS is open in the files and folders
//
// [netless] holds where a program can be run without any network, by "unshare -rn".
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values["servers"] = map[string]*running{}
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("DOOR", freePorts(t, 1)[0]) // where a script may let zones connect
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": startServer,
			"terminate": func(ts *testscript.TestScript, neg bool, args []string) {
				r := named(ts, neg, args)
				ts.Check(r.cmd.Process.Signal(syscall.SIGTERM))
				r.end(ts, false)
			},
			"kill-9": func(ts *testscript.TestScript, neg bool, args []string) {
				r := named(ts, neg, args)
				ts.Check(r.cmd.Process.Kill())
				r.end(ts, true)
			},
			"http":   request,
			"head":   head,
			"hidden": hidden,
		},
		Condition: func(name string) (bool, error) {
			if name != "netless" {
				return false, fmt.Errorf("unknown condition %s", name)
			}
			err := exec.Command("unshare", "-rn", "true").Run()
			if err != nil {
				t.Logf("SKIPPED: nothing can be run without a network here: unshare: %v", err)
			}
			return err == nil, nil
		},
	})
}

// running is a server that a script started.
type running struct {
	cmd   *exec.Cmd
	ended chan error // its exit; closed
	log   string     // file of its standard error
}

var serving = regexp.MustCompile(`serves at (\S+)`)

func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: serve NAME [FLAGS]")
	}
	full := append([]string{"serve", "--data", ts.MkAbs(args[0]), "--listen", "127.0.0.1:0", "--agents", "off", "--zones", "off"}, args[1:]...)
	program, err := exec.LookPath("octopuses")
	ts.Check(err)
	r := &running{cmd: exec.Command(program, full...), ended: make(chan error, 1), log: ts.MkAbs(args[0] + ".log")}
	r.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "ADMIN_USERNAME", "ADMIN_PASSWORD", "ADMIN_API_KEY", "OCTOPUSES_MASTER_KEY", "OCTOPUSES_OLD_MASTER_KEY", "OCTOPUSES_CONFIG"} {
		r.cmd.Env = append(r.cmd.Env, name+"="+ts.Getenv(name))
	}
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	defer log.Close()
	r.cmd.Stderr = log
	out, err := r.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(r.cmd.Start())
	ts.Defer(func() { _ = r.cmd.Process.Kill() })
	url := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if found := serving.FindStringSubmatch(lines.Text()); found != nil {
				url <- found[1]
			}
		}
		close(url)
		r.ended <- r.cmd.Wait()
	}()
	select {
	case at, ok := <-url:
		if !ok {
			ts.Fatalf("%s ended before it served:\n%s", args[0], r.said())
		}
		ts.Setenv("URL", at)
	case <-time.After(30 * time.Second):
		ts.Fatalf("%s does not serve within 30 s:\n%s", args[0], r.said())
	}
	ts.Value("servers").(map[string]*running)[args[0]] = r
}

func (r *running) said() string {
	b, err := os.ReadFile(r.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (r *running) end(ts *testscript.TestScript, killed bool) {
	select {
	case err := <-r.ended:
		if err != nil && !killed {
			ts.Fatalf("the server ended with %v:\n%s", err, r.said())
		}
	case <-time.After(30 * time.Second):
		ts.Fatalf("the server did not end within 30 s:\n%s", r.said())
	}
}

func named(ts *testscript.TestScript, neg bool, args []string) *running {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: terminate NAME, kill-9 NAME")
	}
	r := ts.Value("servers").(map[string]*running)[args[0]]
	if r == nil {
		ts.Fatalf("no server %s was started", args[0])
	}
	return r
}

func head(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: head URL")
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(args[0])
	ts.Check(err)
	defer res.Body.Close()
	ts.Check(res.Header.Write(ts.Stdout()))
}

// hidden fails when a secret is open in some spelling, or when it finds no file at all.
func hidden(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: hidden SECRETS PLACE...")
	}
	found, files := "", 0
	for _, place := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(place), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			files++
			for _, secret := range strings.Fields(ts.ReadFile(args[0])) {
				for form, text := range spacetest.Spellings(secret) {
					if bytes.Contains(b, text) {
						found = fmt.Sprintf("%s is open in %s (%s)", secret, path, form)
					}
				}
			}
			return err
		}))
	}
	switch {
	case files == 0:
		ts.Fatalf("there is no file in %v", args[1:])
	case found != "" && !neg:
		ts.Fatalf("%s", found)
	case found == "" && neg:
		ts.Fatalf("nothing was found in %d files", files)
	}
}

func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: http STATUS METHOD URL [FILE]")
	}
	var body io.Reader
	kind := ""
	if len(args) == 4 && strings.HasSuffix(args[3], ".zip") { // a package, as a browser sends one
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, err := w.CreateFormFile("file", filepath.Base(args[3]))
		ts.Check(err)
		_, err = io.WriteString(part, ts.ReadFile(args[3]))
		ts.Check(err)
		ts.Check(w.Close())
		body, kind = &form, w.FormDataContentType()
	} else if len(args) == 4 {
		body = strings.NewReader(ts.ReadFile(args[3]))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, args[1], args[2], body)
	ts.Check(err)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if key := ts.Getenv("API_KEY"); key != "" {
		req.Header.Set("X-Octopus-ApiKey", key)
	}
	// A script asks a server of its own, whose certificate nobody has signed.
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	ts.Check(err)
	_, err = ts.Stdout().Write(b)
	ts.Check(err)
	if got := res.Status[:3]; got != args[0] {
		ts.Fatalf("%s %s answers %s, not %s", args[1], args[2], res.Status, args[0])
	}
}
