package execution_test

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"octopuses.dev/octopuses/spaces/execution"
)

func TestMain(m *testing.M) {
	if execution.MaybeShim(os.Args) {
		return
	}
	os.Exit(m.Run())
}

var ctx = context.Background()

func workspace(t testing.TB) (*execution.Workspace, string) {
	t.Helper()
	root := t.TempDir()
	w, err := execution.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return w, root
}

func script(body string, vars map[string]execution.Variable) execution.Spec {
	return execution.Spec{Format: 1, ID: ulid.Make().String(), Kind: "script", Script: &execution.Script{Syntax: "Bash", Body: body}, Variables: vars}
}

// finish waits for the end and returns it with the whole log as "Category: text" lines.
func finish(t testing.TB, w *execution.Workspace, id string) (execution.Status, string) {
	t.Helper()
	var log strings.Builder
	var offset int64
	for range 2000 {
		u, err := w.Watch(ctx, id, offset, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range u.Entries {
			fmt.Fprintf(&log, "%s: %s\n", e.Category, e.Text)
		}
		offset = u.Next
		if u.Status.State.Final() {
			return u.Status, log.String()
		}
	}
	t.Fatal("the work does not end")
	return execution.Status{}, ""
}

func TestScriptAPI(t *testing.T) {
	w, root := workspace(t)
	s := script(`
echo "hello $(get_octopusvariable "greeting.NAME") [$(get_octopusvariable nothing)]"
echo "indexed $(get_octopusvariable "Octopus.Action[Deploy it].Output.X")"
write_highlight "look here"
write_warning "careful"
echo "to stderr" >&2
set_octopusvariable "Result" "it's \"quoted\""
set_octopusvariable "Token" "generated-secret" -sensitive
echo "now generated-secret is known"
echo "password $(get_octopusvariable Password) and #{Name | ToUpper}"
printf 'hunt'; sleep 0.05; printf 'er2hunter2\n'
echo "last line without end: end" | tr -d '\n'
`, map[string]execution.Variable{"Greeting.Name": {Value: "#{Name}!"}, "Name": {Value: "Ada"}, "Password": {Value: "hunter2hunter2", Sensitive: true}, "Octopus.Action[Deploy it].Output.X": {Value: "42"}})
	if _, err := w.Start(s); err != nil {
		t.Fatal(err)
	}
	st, log := finish(t, w, s.ID)
	if st.State != execution.Succeeded {
		t.Fatalf("%+v\n%s", st, log)
	}
	for _, want := range []string{"Info: hello Ada! []\n", "Info: indexed 42\n", "Highlight: look here\n", "Warning: careful\n", "Error: to stderr\n", "Info: now ******** is known\n", "Info: password ******** and ADA\n", "Info: ********\n", "Info: last line without end: end\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log misses %q:\n%s", want, log)
		}
	}
	if len(st.Outputs) != 2 || st.Outputs[0].Value != `it's "quoted"` || !st.Outputs[1].Sensitive || st.Outputs[1].Value != "generated-secret" {
		t.Errorf("outputs %+v", st.Outputs)
	}
	out, _ := exec.Command("grep", "-rl", "hunter2hunter2", root).Output()
	if len(out) > 0 {
		t.Errorf("the secret stays in %s", out)
	}
	again, err := w.Start(s)
	if err != nil || again.State != execution.Succeeded {
		t.Errorf("starting twice: %+v, %v", again, err)
	}
}

func TestFailuresSayWhy(t *testing.T) {
	w, _ := workspace(t)
	for body, want := range map[string]string{"exit 3": "ended with exit code 3", "fail_step 'no such shop'": "no such shop"} {
		s := script(body, nil)
		w.Start(s)
		if st, log := finish(t, w, s.ID); st.State != execution.Failed || !strings.Contains(st.Message, want) || !strings.Contains(log, want) {
			t.Errorf("%s: %+v\n%s", body, st, log)
		}
	}
	s := script("sleep 60", nil)
	s.TimeoutSeconds = 1
	w.Start(s)
	if st, _ := finish(t, w, s.ID); st.State != execution.Failed || !strings.Contains(st.Message, "1s") {
		t.Errorf("timeout: %+v", st)
	}
}

func TestCancelKillsWhatTheScriptStarted(t *testing.T) {
	w, root := workspace(t)
	mark := filepath.Join(root, "mark")
	s := script(fmt.Sprintf("(sleep 2; touch %s) & echo started; wait", mark), nil)
	w.Start(s)
	time.Sleep(300 * time.Millisecond)
	if err := w.Cancel(s.ID); err != nil {
		t.Fatal(err)
	}
	if st, _ := finish(t, w, s.ID); st.State != execution.Canceled {
		t.Errorf("%+v", st)
	}
	time.Sleep(2 * time.Second)
	if _, err := os.Stat(mark); err == nil {
		t.Error("the script's child went on")
	}
}

func TestInterruptedWorkIsUnknownAndNotRunAgain(t *testing.T) {
	w, root := workspace(t)
	count := filepath.Join(root, "count")
	s := script(fmt.Sprintf("echo run >> %s; echo $PPID > %s.ppid; sleep 30", count, count), nil)
	w.Start(s)
	var pid int
	for range 200 {
		if b, err := os.ReadFile(count + ".ppid"); err == nil && len(b) > 1 {
			fmt.Sscan(string(b), &pid)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGKILL) // the shim itself, as a reboot would
	time.Sleep(100 * time.Millisecond)
	for range 2 {
		st, err := w.Start(s)
		if err != nil || st.State != execution.Unknown {
			t.Errorf("%+v, %v", st, err)
		}
		if err := w.Resume(); err != nil {
			t.Error(err)
		}
	}
	if b, _ := os.ReadFile(count); string(b) != "run\n" {
		t.Errorf("it ran as %q", b)
	}
}

func zipped(t testing.TB, w *execution.Workspace, files map[string]string) *execution.Package {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for name, content := range files {
		e, _ := z.Create(name)
		e.Write([]byte(content))
	}
	z.Close()
	f.Close()
	in, _ := os.Open(path)
	defer in.Close()
	b, err := w.Packages().Put(ctx, in, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return &execution.Package{ID: "Shop", Version: "1.0.0", Digest: b.Digest, Size: b.Size, Extension: ".zip"}
}

func TestPackageConventions(t *testing.T) {
	w, root := workspace(t)
	p := zipped(t, w, map[string]string{
		"config.txt": "colour=#{Colour}", "app/settings.json": `{"Shop":{"Port":1,"Name":"x"}}`,
		"Deploy.sh": `echo "deploying in $(basename "$PWD"): $(cat config.txt) $(cat app/settings.json)"`, "PostDeploy.sh": "echo post", "DeployFailed.sh": "echo cleaning up",
	})
	spec := execution.Spec{Format: 1, Kind: "package", Package: p, Space: "S", Project: "P", Environment: "Test", StepName: "Deploy", KeepVersions: 1,
		Variables: map[string]execution.Variable{"Colour": {Value: "green"}, "Shop:Port": {Value: "8080"}, "Shop:Name": {Value: "Storefront"}},
		Files:     execution.FileOptions{SubstituteIn: []string{"*.txt"}, StructuredConfig: []string{"**/*.json"}, RunPackageScripts: true, Custom: map[string]string{"PreDeploy": "echo pre $(cat config.txt)"}}}
	var dirs []string
	for i := range 4 {
		spec.ID = ulid.Make().String()
		if _, err := w.Start(spec); err != nil {
			t.Fatal(err)
		}
		st, log := finish(t, w, spec.ID)
		if st.State != execution.Succeeded {
			t.Fatalf("%+v\n%s", st, log)
		}
		if i == 0 && (!strings.Contains(log, "pre colour=#{Colour}") && !strings.Contains(log, "pre colour=green") || !strings.Contains(log, `deploying in 1.0.0: colour=green {"Shop":{"Port":8080,"Name":"Storefront"}}`) || !strings.Contains(log, "Info: post")) {
			t.Errorf("log:\n%s", log)
		}
		dirs, _ = filepath.Glob(filepath.Join(root, "applications/S/Test/Shop/*"))
	}
	if len(dirs) != 2 {
		t.Errorf("kept %v", dirs)
	}
	spec.ID, spec.Files.Custom = ulid.Make().String(), map[string]string{"Deploy": "exit 1"}
	w.Start(spec)
	if st, log := finish(t, w, spec.ID); st.State != execution.Failed || !strings.Contains(log, "cleaning up") {
		t.Errorf("%+v\n%s", st, log)
	}
}

// Budget: 15 ms from start to the end that a watcher sees (performance.md: median of a
// trivial task over everything).
func BenchmarkTrivialScript(b *testing.B) {
	w, _ := workspace(b)
	for b.Loop() {
		s := script("true", nil)
		if _, err := w.Start(s); err != nil {
			b.Fatal(err)
		}
		finish(b, w, s.ID)
	}
}
