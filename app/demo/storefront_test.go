package demo

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"octopuses.dev/octopuses/spaces/execution"
)

// The test itself is the program in the packages that it builds.
func TestMain(m *testing.M) {
	if execution.MaybeShim(os.Args) {
		return
	}
	if len(os.Args) > 3 && os.Args[1] == "demo-storefront" {
		os.Exit(storefrontProgram(os.Args[3:]))
	}
	os.Exit(m.Run())
}

// storefrontProgram is the command demo-storefront: --config FILE [--check DURATION].
func storefrontProgram(args []string) int {
	ctx := context.Background()
	var err error
	if len(args) == 3 && args[1] == "--check" {
		var patience time.Duration
		if patience, err = time.ParseDuration(args[2]); err == nil {
			var answer string
			if answer, err = Check(ctx, args[0], patience); err == nil {
				fmt.Println(answer)
			}
		}
	} else {
		err = Serve(ctx, args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func contents(t *testing.T, path string) map[string]string {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name] = string(b)
		if want := f.Name == program; (f.Mode().Perm()&0o111 != 0) != want {
			t.Errorf("%s has mode %v", f.Name, f.Mode())
		}
	}
	return out
}

func TestPackages(t *testing.T) {
	t.Parallel()
	folder, again := t.TempDir(), t.TempDir()
	differ := map[string]string{"1.1.0": "VERSION assets/mark.svg assets/store.css catalogue.json", "1.2.0": "VERSION templates/index.html"}
	var before map[string]string
	for _, v := range PackageVersions {
		path, err := BuildPackage(v, folder)
		if err != nil {
			t.Fatal(err)
		}
		if want := "Storefront." + v + ".zip"; filepath.Base(path) != want {
			t.Errorf("the file is %s, want %s", filepath.Base(path), want)
		}
		second, err := BuildPackage(v, again)
		if err != nil {
			t.Fatal(err)
		}
		if !sameFile(t, path, second) {
			t.Errorf("%s is another file each time", v)
		}
		now := contents(t, path)
		var changed []string
		for _, name := range []string{"VERSION", "appsettings.json", "assets/mark.svg", "assets/store.css", "catalogue.json", "config/release.env", program, "templates/index.html"} {
			if now[name] == "" {
				t.Errorf("%s lacks %s", v, name)
			}
			if before != nil && now[name] != before[name] {
				changed = append(changed, name)
			}
		}
		if got := strings.Join(changed, " "); before != nil && got != differ[v] {
			t.Errorf("%s changes %q, want %q", v, got, differ[v])
		}
		before = now
	}
	if _, err := BuildPackage("1.0.0", folder); err == nil {
		t.Error("a package was written over another")
	}
	for _, bad := range []string{"0.9.0", "new"} {
		if path, err := BuildPackage(bad, folder); err == nil {
			t.Errorf("version %s was built as %s", bad, path)
		}
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

func port(t *testing.T) string {
	t.Helper()
	address, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// TestProcess deploys two versions one over the other as a target does: package step with
// substitution and JSON configuration, then both scripts.
func TestProcess(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	root, state, listen := t.TempDir(), t.TempDir(), port(t)
	work, err := execution.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]execution.Variable{
		"Octopus.Environment.Name": {Value: "Test"}, "Octopus.Machine.Name": {Value: "web-01"}, "Octopus.Project.Name": {Value: "Storefront"},
		ListenVariable: {Value: listen}, GreetingVariable: {Value: "Hello from #{Octopus.Environment.Name} & <you>."}, CurrencyVariable: {Value: "CHF"},
		OwnerVariable: {Value: strconv.Itoa(os.Getpid())}, ProviderVariable: {Value: "acme"}, KeyVariable: {Value: "s3cret-of-test", Sensitive: true},
		StateVariable: {Value: state},
	}
	t.Cleanup(func() {
		if pid, err := strconv.Atoi(readFile(t, filepath.Join(state, "storefront.pid"))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	old := 0
	for _, version := range PackageVersions[:2] {
		path, err := BuildPackage(version, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := work.Packages().Put(context.Background(), f, 1<<30)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		variables["Octopus.Release.Number"] = execution.Variable{Value: version + "-r"}
		spec := func(step, kind string) execution.Spec {
			return execution.Spec{Format: execution.Format, ID: ulid.Make().String(), Task: "ServerTasks-1", Step: step, Action: step, StepName: step, Kind: kind, Variables: variables, TimeoutSeconds: 60}
		}
		deploy := spec(DeployStep, "package")
		deploy.Package = &execution.Package{ID: PackageID, Version: version, Digest: blob.Digest, Size: blob.Size, Extension: ".zip"}
		deploy.Files = execution.FileOptions{SubstituteIn: []string{"config/release.env"}, StructuredConfig: []string{"appsettings.json"}}
		for _, o := range perform(t, work, deploy).Outputs {
			variables["Octopus.Action["+DeployStep+"].Output."+o.Name] = execution.Variable{Value: o.Value}
		}
		for _, script := range []struct{ step, body string }{{StartStep, StartScript}, {SmokeStep, SmokeScript}} {
			s := spec(script.step, "script")
			s.Script = &execution.Script{Syntax: "Bash", Body: script.body}
			perform(t, work, s)
		}

		var got Status
		if err := json.Unmarshal([]byte(get(t, "http://"+listen+"/api/status")), &got); err != nil {
			t.Fatal(err)
		}
		want := Status{Version: version, Release: version + "-r", Environment: "Test", Machine: "web-01", Greeting: "Hello from Test & <you>.", Payments: "acme", Key: mark("s3cret-of-test")}
		if got != want {
			t.Errorf("the application says %+v, want %+v", got, want)
		}
		process, err := strconv.Atoi(readFile(t, filepath.Join(state, "storefront.pid")))
		if err != nil {
			t.Fatal(err)
		}
		if old != 0 && !ended(old) {
			t.Errorf("process %d of the old version still runs", old)
		}
		old = process
	}
	page := get(t, "http://"+listen+"/")
	for _, want := range []string{"Test · 1.1.0", "Hello from Test &amp; &lt;you&gt;.", "Desk lamp Lund", "210 CHF", "key " + mark("s3cret-of-test") + "…"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "s3cret-of") {
		t.Error("the page shows the payment key")
	}
	if css := get(t, "http://"+listen+"/assets/store.css"); !strings.Contains(css, "prefers-color-scheme: dark") {
		t.Error("the style sheet has no dark colours")
	}
	if res, err := http.Get("http://" + listen + "/assets/../appsettings.json"); err != nil || res.StatusCode == http.StatusOK {
		t.Errorf("the settings are served: %v", err)
	}
}

// ended reports whether a process is gone. Nobody may have waited for it yet.
func ended(pid int) bool {
	b, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(strings.TrimSpace(string(b)), "Z")
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Log(err)
	}
	return strings.TrimSpace(string(b))
}

// perform does a piece of work to its end, which must be success.
func perform(t *testing.T, w *execution.Workspace, s execution.Spec) execution.Status {
	t.Helper()
	if _, err := w.Start(s); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for offset := int64(0); ; {
		u, err := w.Watch(context.Background(), s.ID, offset, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range u.Entries {
			fmt.Fprintln(&log, e.Category, e.Text)
		}
		offset = u.Next
		if !u.Status.State.Final() {
			continue
		}
		if strings.Contains(log.String(), "s3cret-of") {
			t.Errorf("%s: the log shows a secret", s.Step)
		}
		if u.Status.State != execution.Succeeded {
			t.Fatalf("%s: %+v\n%s", s.Step, u.Status, log.String())
		}
		return u.Status
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, res.Status, err)
	}
	return string(b)
}

// unpacked is a version in a folder, as nobody deployed it.
func unpacked(t *testing.T, listen, owner string) string {
	t.Helper()
	folder := t.TempDir()
	files, err := filesOf("1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range files {
		b, err := payload.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(strings.ReplaceAll(string(b), "127.0.0.1:5000", listen), `"Owner": 0`, `"Owner": `+owner)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "VERSION"), []byte("1.0.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "appsettings.json")
}

func TestSmokeTestFails(t *testing.T) {
	t.Parallel()
	config := unpacked(t, port(t), "0")
	if s, err := Check(context.Background(), config, 150*time.Millisecond); err == nil || !strings.Contains(err.Error(), "does not serve") {
		t.Errorf("nobody serves, but: %s, %v", s, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, config) }()
	if _, err := Check(ctx, config, 10*time.Second); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "VERSION"), []byte("9.9.9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(ctx, config, 150*time.Millisecond); err == nil || !strings.Contains(err.Error(), "storefront 9.9.9 does not serve") {
		t.Errorf("the old version passes for the new one: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// An application whose owner is gone ends, so that a killed demonstration leaves nothing.
func TestStorefrontEndsWithItsOwner(t *testing.T) {
	t.Parallel()
	owner := exec.Command("sleep", "300")
	if err := owner.Start(); err != nil {
		t.Skip("there is no sleep:", err)
	}
	config := unpacked(t, port(t), strconv.Itoa(owner.Process.Pid))
	served := make(chan error, 1)
	go func() { served <- Serve(context.Background(), config) }()
	if _, err := Check(context.Background(), config, 10*time.Second); err != nil {
		t.Error(err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // its end is what we wanted
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on without its owner")
	}
}
