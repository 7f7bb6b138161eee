package app

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/steps"
)

// typescriptClient installs Octopus's TypeScript client, exactly the version of the lock
// file, into a folder that later runs find again, and returns the script that uses it.
func typescriptClient(t *testing.T) (node, script string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIPPED: there is no Node.js on this machine, so the TypeScript client is not run")
	}
	lock, err := os.ReadFile(filepath.Join("testdata", "typescript", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	folder := filepath.Join(cache, "octopuses-test", "typescript")
	known := filepath.Join(folder, "installed")
	if b, err := os.ReadFile(known); err != nil || !bytes.Equal(b, lock) {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"package.json", "package-lock.json"} {
			b, err := os.ReadFile(filepath.Join("testdata", "typescript", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		install.Dir = folder
		if out, err := install.CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: the TypeScript client cannot be installed: %v\n%s", err, out)
		}
		if err := os.WriteFile(known, lock, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join("testdata", "typescript", "deploy.js"))
	if err != nil {
		t.Fatal(err)
	}
	script = filepath.Join(folder, "deploy.js")
	if err := os.WriteFile(script, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return node, script
}

// The main job with Octopus's TypeScript client: push, release, deploy, wait, read.
func TestTypeScriptClient(t *testing.T) {
	t.Parallel()
	node, script := typescriptClient(t)
	s := newSite(t)
	var environment spaces.Environment
	s.fill(func(tx *spaces.Tx) (err error) {
		environment, err = tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Test"})
		return err
	})
	s.agent("web-01", environment.ID)
	s.fill(func(tx *spaces.Tx) error {
		p, err := tx.CreateProject(spaces.ProjectInput{Name: "Typed shop"})
		if err != nil {
			return err
		}
		kind, _ := steps.Lookup("Octopus.TentaclePackage")
		step := kind.New("Deploy typed")
		step.Properties.Set(steps.TargetRolesProperty, "web")
		step.Actions[0].Packages = []steps.PackageReference{{PackageID: "typed", FeedID: spaces.BuiltInFeed}}
		_, err = tx.SaveProcess(p.ID, 0, steps.Process{Steps: []steps.Step{step}})
		return err
	})
	file := filepath.Join(t.TempDir(), "typed.1.2.3.zip")
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.Create("PostDeploy.sh")
	if err == nil {
		_, err = w.Write([]byte("echo deployed by a typed client\n"))
	}
	if err != nil || z.Close() != nil || os.WriteFile(file, packed.Bytes(), 0o600) != nil {
		t.Fatal("write package", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, errOut bytes.Buffer
	run := exec.CommandContext(ctx, node, script, s.url, siteKey, "Shop", "Typed shop", "Test", file)
	run.Stdout, run.Stderr = &out, &errOut
	if err := run.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), errOut.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var said struct {
		User, Version, Log, Refused                                                          string
		Spaces, Projects, Environments, Lifecycles, Groups, EnvironmentsV2, Packages, States []string
		Deployment, None                                                                     bool
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &said); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for what, is := range map[string]bool{
		"user": said.User == "ada", "version": said.Version == "4.5.6", "spaces": slices.Contains(said.Spaces, "Shop"), "projects": slices.Equal(said.Projects, []string{"Typed shop"}),
		"environments": slices.Equal(said.Environments, []string{"Test"}), "lifecycles": len(said.Lifecycles) > 0, "groups": len(said.Groups) > 0, "environments of version 2": slices.Equal(said.EnvironmentsV2, []string{"Test"}), "absent things": said.None,
		"packages": slices.Equal(said.Packages, []string{"typed 1.2.3"}), "states": slices.Equal(said.States, []string{"Success"}), "deployment": said.Deployment,
		"log": strings.Contains(said.Log, "deployed by a typed client"), "refusal": strings.Contains(said.Refused, "nobody"),
	} {
		if !is {
			t.Errorf("the client does not get the right %s: %+v", what, said)
		}
	}
}
