package execution_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"octopuses.dev/octopuses/spaces/execution"
)

// deploy installs a package and returns how it ended, with the log.
func deploy(t *testing.T, w *execution.Workspace, p *execution.Package, change func(*execution.Spec)) (execution.Status, string) {
	t.Helper()
	s := execution.Spec{Format: 1, ID: ulid.Make().String(), Kind: "package", Package: p, Space: "S", Project: "P", Environment: "Test", StepName: "Deploy", Files: execution.FileOptions{RunPackageScripts: true}}
	if change != nil {
		change(&s)
	}
	if _, err := w.Start(s); err != nil {
		t.Fatal(err)
	}
	return finish(t, w, s.ID)
}

func at(version string, p *execution.Package) *execution.Package {
	q := *p
	q.Version = version
	return &q
}

// A version that was removed and comes again is not taken for the old one.
func TestRetentionKeepsWhatWasInstalledAgain(t *testing.T) {
	w, root := workspace(t)
	p := zipped(t, w, map[string]string{"file": "x"})
	keep := func(s *execution.Spec) { s.KeepVersions = 1 }
	var last execution.Status
	for _, v := range []string{"1.0.0", "1.1.0", "1.2.0", "1.0.0", "1.3.0"} {
		st, log := deploy(t, w, at(v, p), keep)
		if st.State != execution.Succeeded {
			t.Fatalf("%s: %+v\n%s", v, st, log)
		}
		last = st
	}
	dirs, _ := filepath.Glob(filepath.Join(root, "applications/S/Test/Shop/*"))
	if len(dirs) != 2 || filepath.Base(dirs[0]) != "1.0.0_1" || filepath.Base(dirs[1]) != "1.3.0" {
		t.Errorf("kept %v", dirs)
	}
	if len(last.Outputs) != 1 || last.Outputs[0].Value != dirs[1] {
		t.Errorf("outputs %+v", last.Outputs)
	}
}

// Another step's installation of the same package is not ours to remove.
func TestRetentionIsOfOneStep(t *testing.T) {
	w, root := workspace(t)
	p := zipped(t, w, map[string]string{"file": "x"})
	keep := func(step string) func(s *execution.Spec) {
		return func(s *execution.Spec) { s.KeepVersions, s.StepName = 1, step }
	}
	for _, v := range []string{"1.0.0", "2.0.0", "3.0.0"} { // removes 1.0.0
		deploy(t, w, at(v, p), keep("A"))
	}
	deploy(t, w, at("1.0.0", p), keep("B"))
	deploy(t, w, at("4.0.0", p), keep("A"))
	dirs, _ := filepath.Glob(filepath.Join(root, "applications/S/Test/Shop/*"))
	if got := strings.Join(bases(dirs), " "); got != "1.0.0_1 3.0.0 4.0.0" {
		t.Errorf("kept %s", got)
	}
}

func bases(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = filepath.Base(p)
	}
	return out
}

func TestInstallationDirectory(t *testing.T) {
	w, root := workspace(t)
	p := zipped(t, w, map[string]string{"new": "new", "sub/file": "#{Colour}", "Deploy.sh": `pwd; cat sub/file; echo; echo "#{Colour}"; get_octopusvariable Octopus.Action.Package.InstallationDirectoryPath`})
	to := filepath.Join(t.TempDir(), "site")
	os.MkdirAll(to, 0o755)
	os.WriteFile(filepath.Join(to, "old"), nil, 0o644)
	into := func(purge bool, dir string) func(*execution.Spec) {
		return func(s *execution.Spec) {
			s.Files.InstallTo, s.Files.Purge, s.Files.SubstituteIn = dir, purge, []string{"sub/*"}
			s.Variables = map[string]execution.Variable{"Colour": {Value: "green"}}
		}
	}
	st, log := deploy(t, w, p, into(false, to))
	if st.State != execution.Succeeded || !strings.Contains(log, "Info: "+to+"\nInfo: green\nInfo: #{Colour}\nInfo: "+to+"\n") {
		t.Errorf("%+v\n%s", st, log)
	}
	if _, err := os.Stat(filepath.Join(to, "old")); err != nil {
		t.Error("a file was removed without purging")
	}
	if st, log := deploy(t, w, p, into(true, to)); st.State != execution.Succeeded {
		t.Errorf("%+v\n%s", st, log)
	}
	if _, err := os.Stat(filepath.Join(to, "old")); err == nil {
		t.Error("purging left an old file")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"/", "relative", root, filepath.Dir(root), filepath.Join(root, "work"), filepath.Join(root, "packages", "x"), filepath.Join(root, "x", "..", "applications"), link, filepath.Join(link, "work", "x")} {
		if st, _ := deploy(t, w, p, into(true, bad)); st.State != execution.Failed || !strings.Contains(st.Message, "cannot be the installation directory") {
			t.Errorf("%s: %+v", bad, st)
		}
	}
	if !w.Packages().Has(p.Digest) {
		t.Error("a refused directory was emptied")
	}
}

func TestConventionsThatEndEarly(t *testing.T) {
	w, _ := workspace(t)
	p := zipped(t, w, map[string]string{"PreDeploy.sh": "echo pre", "Deploy.sh": "echo deploying", "PostDeploy.sh": "echo post", "DeployFailed.sh": "echo cleaning up", "text": "#{Missing}"})
	tests := []struct {
		name   string
		change func(*execution.Spec)
		state  execution.State
		want   []string
		not    []string
	}{
		{"as usual", nil, execution.Succeeded, []string{"pre\n", "deploying\n", "post\n"}, []string{"cleaning"}},
		{"rest skipped", func(s *execution.Spec) {
			s.Files.Custom = map[string]string{"PreDeploy": "set_octopusvariable Octopus.Action.SkipRemainingConventions True"}
		}, execution.Succeeded, nil, []string{"pre\n", "deploying\n", "cleaning"}},
		{"custom script fails", func(s *execution.Spec) { s.Files.Custom = map[string]string{"Deploy": "fail_step 'no room'"} }, execution.Failed, []string{"pre\n", "no room", "cleaning up\n"}, []string{"deploying\n", "post\n"}},
		{"no value", func(s *execution.Spec) { s.Files.SubstituteIn = []string{"text"} }, execution.Failed, []string{"pre\n", "Missing", "cleaning up\n"}, []string{"deploying\n"}},
		{"scripts off", func(s *execution.Spec) { s.Files.RunPackageScripts = false }, execution.Succeeded, nil, []string{"pre\n", "deploying\n", "post\n"}},
		{"out of the package", func(s *execution.Spec) { s.Files.SubstituteIn = []string{"../*"} }, execution.Failed, []string{"leads out of the package"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, log := deploy(t, w, p, tt.change)
			if st.State != tt.state {
				t.Errorf("%+v", st)
			}
			for _, s := range tt.want {
				if !strings.Contains(log, s) {
					t.Errorf("the log misses %q", s)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(log, s) {
					t.Errorf("the log has %q", s)
				}
			}
			if t.Failed() {
				t.Log(log)
			}
		})
	}
}

func TestPreviousInstallationIsKnownToScripts(t *testing.T) {
	w, _ := workspace(t)
	p := zipped(t, w, map[string]string{"Deploy.sh": `echo "[$(get_octopusvariable Octopus.Tentacle.PreviousInstallation.PackageVersion)] [$(get_octopusvariable Octopus.Tentacle.PreviousSuccessfulInstallation.PackageVersion)]"`})
	fail := func(s *execution.Spec) { s.Files.Custom = map[string]string{"Deploy": "exit 1"} }
	_, first := deploy(t, w, at("1.0.0", p), nil)
	deploy(t, w, at("1.1.0", p), fail)
	_, third := deploy(t, w, at("1.2.0", p), nil)
	if !strings.Contains(first, "Info: [] []\n") || !strings.Contains(third, "Info: [1.1.0] [1.0.0]\n") {
		t.Errorf("%s%s", first, third)
	}
}

// A file that was damaged on the disk is not installed, and comes anew next time.
func TestDamagedPackageFile(t *testing.T) {
	w, root := workspace(t)
	p := zipped(t, w, map[string]string{"file": "x"})
	path := w.Packages().Path(p.Digest)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	st, _ := deploy(t, w, p, nil)
	if st.State != execution.Failed || !strings.Contains(st.Message, "damaged") || w.Packages().Has(p.Digest) {
		t.Errorf("%+v, kept: %v", st, w.Packages().Has(p.Digest))
	}
	if dirs, _ := filepath.Glob(filepath.Join(root, "applications/*/*/*/*")); len(dirs) > 0 {
		t.Errorf("installed %v", dirs)
	}
}

func TestHealth(t *testing.T) {
	w, root := workspace(t)
	w.Version = "1.2.3"
	s := execution.Spec{Format: 1, ID: ulid.Make().String(), Kind: "health"}
	if _, err := w.Start(s); err != nil {
		t.Fatal(err)
	}
	st, log := finish(t, w, s.ID)
	if st.State != execution.Succeeded || !strings.Contains(log, "Agent 1.2.3") || !strings.Contains(log, "bash ") || !strings.Contains(log, "free in "+root) {
		t.Errorf("%+v\n%s", st, log)
	}
}
