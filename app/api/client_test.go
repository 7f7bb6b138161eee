//lint:file-ignore SA1019 the CLI calls the older half of the client by its links, so that half is what these tests are about

package api_test

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/channels"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/client"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/core"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/deployments"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/environments"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/feeds"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/lifecycles"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/machines"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/packages"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/projectgroups"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/projects"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/releases"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/resources"
	octospaces "github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/spaces"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/tasks"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/users"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/variables"

	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/spaces"
)

const pin = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func connect(t testing.TB, s *apptest.Server, key, space string) *client.Client {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewClient(nil, u, key, space)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return c
}

// must ends the test on an error of the client.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// log is a runner's log for the tests.
type log struct{}

func (log) Details(_ context.Context, _ *spaces.Space, id spaces.TaskID) ([]api.ActivityLog, error) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return []api.ActivityLog{{ID: id.String(), Name: "Deploy", Status: "Success", Started: &at, LogElements: []api.LogElement{{OccurredAt: at, Category: "Info", MessageText: "hello from the target", Number: 1}}}}, nil
}

func (log) Raw(context.Context, *spaces.Space, spaces.TaskID) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("12:00:00 Info | hello from the target\n")), nil
}

func zipOf(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestOfficialClient takes a release from a package to a finished deployment with
// Octopus's own Go client.
func TestOfficialClient(t *testing.T) {
	s := apptest.Start(t, func(a *api.Server) { a.Logs = log{} })
	c := connect(t, s, s.Key, s.Default.ID())

	me := must[*users.User](t)(c.Users.GetMe())
	if me.Username != "admin" || !me.IsRequestor {
		t.Errorf("me = %+v", me)
	}
	lifecycle := lifecycles.NewLifecycle("Way")
	lifecycle = must[*lifecycles.Lifecycle](t)(c.Lifecycles.Add(lifecycle))
	group := must[*projectgroups.ProjectGroup](t)(c.ProjectGroups.Add(projectgroups.NewProjectGroup("Shop")))
	env := must[*environments.Environment](t)(c.Environments.Add(environments.NewEnvironment("Test")))
	prod := must[*environments.Environment](t)(c.Environments.Add(environments.NewEnvironment("Production")))
	phase := lifecycles.NewPhase("First")
	phase.OptionalDeploymentTargets = []string{env.GetID()}
	second := lifecycles.NewPhase("Second")
	second.OptionalDeploymentTargets = []string{prod.GetID()}
	lifecycle.Phases = append(lifecycle.Phases, phase, second)
	lifecycle = must[*lifecycles.Lifecycle](t)(c.Lifecycles.Update(lifecycle))
	if len(lifecycle.Phases) != 2 || lifecycle.Phases[0].OptionalDeploymentTargets[0] != env.GetID() {
		t.Fatalf("phases = %+v", lifecycle.Phases)
	}

	endpoint := machines.NewListeningTentacleEndpoint(must[*url.URL](t)(url.Parse("https://web-1.example:10933/")), pin)
	target := must[*machines.DeploymentTarget](t)(c.Machines.Add(machines.NewDeploymentTarget("web-1", endpoint, []string{env.GetID(), prod.GetID()}, []string{"web"})))
	targets := must[[]*machines.DeploymentTarget](t)(c.Machines.GetAll())
	if len(targets) != 1 || targets[0].GetID() != target.GetID() || targets[0].Endpoint.GetCommunicationStyle() != "TentaclePassive" {
		t.Errorf("targets = %+v", targets)
	}
	roles := must[[]*string](t)(c.MachineRoles.GetAll())
	if len(roles) != 1 || *roles[0] != "web" {
		t.Errorf("roles = %v", roles)
	}

	project := projects.NewProject("Web", lifecycle.GetID(), group.GetID())
	project = must[*projects.Project](t)(c.Projects.Add(project))
	byName := must[*projects.Project](t)(c.Projects.GetByIdentifier("Web"))
	if byName.GetID() != project.GetID() {
		t.Errorf("by name = %s", byName.GetID())
	}
	if in := must[[]*projects.Project](t)(c.ProjectGroups.GetProjects(group)); len(in) != 1 {
		t.Errorf("projects of the group = %d", len(in))
	}
	chans := must[[]*channels.Channel](t)(c.Projects.GetChannels(project))
	if len(chans) != 1 || !chans[0].IsDefault || chans[0].Name != "Default" {
		t.Errorf("channels = %+v", chans)
	}

	process := must[*deployments.DeploymentProcess](t)(c.DeploymentProcesses.GetByID(project.DeploymentProcessID))
	step := deployments.NewDeploymentStep("Deploy web")
	step.Properties["Octopus.Action.TargetRoles"] = core.NewPropertyValue("web", false)
	action := deployments.NewDeploymentAction("Deploy web", "Octopus.TentaclePackage")
	action.Properties["Octopus.Action.Package.PackageId"] = core.NewPropertyValue("web", false)
	action.Properties["Octopus.Action.Package.FeedId"] = core.NewPropertyValue("feeds-builtin", false)
	action.Packages = append(action.Packages, &packages.PackageReference{PackageID: "web", FeedID: "feeds-builtin", AcquisitionLocation: "Server"})
	step.Actions = append(step.Actions, action)
	process.Steps = append(process.Steps, step)
	process = must[*deployments.DeploymentProcess](t)(c.DeploymentProcesses.Update(process))
	if process.Version != 1 || process.Steps[0].Actions[0].GetID() == "" {
		t.Fatalf("process = %+v", process)
	}
	process.Version = 0
	if _, err := c.DeploymentProcesses.Update(process); err == nil {
		t.Error("an old process was saved")
	}

	password := variables.NewVariable("Password")
	password.IsSensitive, password.Type, password.Value = true, "Sensitive", "hunter2"
	password.Scope.Environments = []string{prod.GetID()}
	must[variables.VariableSet](t)(c.Variables.AddSingle(project.GetID(), password))
	plain := variables.NewVariable("Title")
	plain.Value = "Shop"
	must[variables.VariableSet](t)(c.Variables.AddSingle(project.GetID(), plain))
	set := must[variables.VariableSet](t)(c.Variables.GetAll(project.GetID()))
	if len(set.Variables) != 2 || set.Variables[0].Value != "" || set.Variables[1].Value != "Shop" || len(set.ScopeValues.Environments) != 2 {
		t.Errorf("variables = %+v %+v", set.Variables, set.ScopeValues)
	}

	file := zipOf(t, "index.html", "one")
	pkg, created, err := packages.Upload(c, s.Default.ID(), "web.1.2.3.zip", bytes.NewReader(file), packages.OverwriteModeFailIfExists)
	if err != nil || !created || pkg.PackageId != "web" || pkg.Version != "1.2.3" {
		t.Fatalf("upload: %+v %v %v", pkg, created, err)
	}
	if _, created, err = packages.Upload(c, s.Default.ID(), "web.1.2.3.zip", bytes.NewReader(file), packages.OverwriteModeIgnoreIfExists); err != nil || created {
		t.Errorf("again: created %v, %v", created, err)
	}
	if _, err := packages.UploadV2(c, s.Default.ID(), "web.1.2.4-beta.zip", bytes.NewReader(zipOf(t, "index.html", "two")), packages.OverwriteModeFailIfExists, true); err != nil {
		t.Errorf("upload with deltas: %v", err)
	}
	if list, err := packages.List(c, s.Default.ID(), "", 1<<31-1); err != nil || len(list.Items) != 2 {
		t.Errorf("packages: %v, %v", list, err)
	}
	if versions, err := feeds.SearchPackageVersions(c, s.Default.ID(), "feeds-builtin", "web", "", 10); err != nil || len(versions.Items) == 0 || versions.Items[0].Version != "1.2.3" {
		t.Errorf("versions: %+v, %v", versions, err)
	}

	command := releases.NewCreateReleaseCommandV1(s.Default.ID(), "Web")
	command.ReleaseNotes, command.Packages = "first", []string{"Deploy web:1.2.3"}
	made := must[*releases.CreateReleaseResponseV1](t)(releases.CreateReleaseV1(c, command))
	if made.ReleaseVersion != "0.0.1" {
		t.Errorf("version = %s", made.ReleaseVersion)
	}
	release := must[*releases.Release](t)(c.Releases.GetByID(made.ReleaseID))
	if release.ReleaseNotes != "first" || len(release.SelectedPackages) != 1 || release.SelectedPackages[0].Version != "1.2.3" {
		t.Errorf("release = %+v", release)
	}
	if _, err := c.DeploymentProcesses.GetByID(release.ProjectDeploymentProcessSnapshotID); err != nil {
		t.Errorf("frozen process: %v", err)
	}
	if list := must[[]*releases.Release](t)(c.Projects.GetReleases(project)); len(list) != 1 {
		t.Errorf("releases = %d", len(list))
	}

	deploy := deployments.NewCreateDeploymentUntenantedCommandV1(s.Default.ID(), "Web")
	deploy.ReleaseVersion, deploy.EnvironmentNames = "0.0.1", []string{"Production"}
	if _, err := deployments.CreateDeploymentUntenantedV1(c, deploy); err == nil || !strings.Contains(err.Error(), "may not be deployed") {
		t.Errorf("deploy past the lifecycle: %v", err)
	}
	deploy.EnvironmentNames = []string{"Test"}
	queued := must[*deployments.CreateDeploymentResponseV1](t)(deployments.CreateDeploymentUntenantedV1(c, deploy))
	task := queued.DeploymentServerTasks[0].ServerTaskID
	s.FinishTask(s.Default, task, spaces.TaskSuccess)
	waited := must[*tasksPage](t)(c.Tasks.Get(tasks.TasksQuery{IDs: []string{task}}))
	if len(waited.Items) != 1 || !*waited.Items[0].IsCompleted || !*waited.Items[0].FinishedSuccessfully {
		t.Fatalf("task = %+v", waited.Items)
	}
	details := must[*tasks.TaskDetailsResource](t)(tasks.GetDetails(c, s.Default.ID(), task))
	if len(details.ActivityLogs) != 1 || details.ActivityLogs[0].LogElements[0].MessageText != "hello from the target" {
		t.Errorf("log = %+v", details)
	}
	progression := must[*releases.LifecycleProgression](t)(c.Deployments.GetProgression(release))
	if progression.NextDeployments[0] != prod.GetID() || progression.Phases[0].Progress != "Complete" {
		t.Errorf("progression = %+v", progression)
	}
	if p := must[*projects.Progression](t)(c.Projects.GetProgression(project)); len(p.Releases) != 1 {
		t.Errorf("project progression = %+v", p)
	}
	second2 := must[*deployments.Deployment](t)(c.Deployments.Add(deployments.NewDeployment(prod.GetID(), release.GetID())))
	if canceled := must[*tasks.Task](t)(tasks.Cancel(c, s.Default.ID(), second2.TaskID)); canceled.State != "Canceled" || *canceled.FinishedSuccessfully {
		t.Errorf("cancelled = %+v", canceled)
	}
	previews := must[[]*deployments.DeploymentPreview](t)(deployments.GetReleaseDeploymentPreviews(c, s.Default.ID(), release.GetID(), []deployments.DeploymentPreviewRequest{{EnvironmentId: prod.GetID()}}, true))
	if len(previews) != 1 || len(previews[0].StepsToExecute) != 1 || previews[0].StepsToExecute[0].Machines[0].Name != "web-1" {
		t.Errorf("previews = %+v", previews)
	}
}

type tasksPage = resources.Resources[*tasks.Task]

// TestClientSpaces makes and deletes a space with the client.
func TestClientSpaces(t *testing.T) {
	s := apptest.Start(t)
	c := connect(t, s, s.Key, "")
	space := octospaces.NewSpace("Payments")
	space.SpaceManagersTeamMembers = []string{s.Admin.APIID()}
	space = must[*octospaces.Space](t)(c.Spaces.Add(space))
	if len(space.SpaceManagersTeams) != 1 || !strings.Contains(space.Links["Web"], "/app#/") {
		t.Errorf("space = %+v", space)
	}
	all := must[[]*octospaces.Space](t)(c.Spaces.GetAll())
	if len(all) != 2 {
		t.Errorf("spaces = %d", len(all))
	}
	in := connect(t, s, s.Key, space.GetID())
	must[*environments.Environment](t)(in.Environments.Add(environments.NewEnvironment("Test")))
	if err := c.Spaces.DeleteByID(space.GetID()); err == nil {
		t.Error("a space with a running queue was deleted")
	}
	space.TaskQueueStopped = true
	space = must[*octospaces.Space](t)(c.Spaces.Update(space))
	if err := c.Spaces.DeleteByID(space.GetID()); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := c.Spaces.GetByID(space.GetID()); err == nil {
		t.Error("the deleted space is there")
	}
	if n := s.Spaces.Open(); n > 1 {
		t.Errorf("%d spaces are open", n)
	}
}
