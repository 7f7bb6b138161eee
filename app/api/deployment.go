package api

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func deploymentRoutes() []Row {
	return []Row{
		get("/deployments", InSpace, access.DeploymentView, listDeployments),
		post("/deployments", InSpace, access.DeploymentCreate, createDeployment),
		post("/deployments/create/untenanted/v1", InSpace, access.DeploymentCreate, createDeploymentsV1),
		post("/deployments/create/tenanted/v1", InSpace, access.DeploymentCreate, unsupported("tenants", "Deploy without tenants.")),
		get("/deployments/:id", InSpace, access.DeploymentView, showDeployment),
		get("/releases/:id/deployments", InSpace, access.DeploymentView, releaseDeployments),
		get("/releases/:id/deployments/template", InSpace, access.DeploymentCreate, deploymentTemplate),
		get("/releases/:id/deployments/preview/:environment", InSpace, access.DeploymentCreate, previewDeployment),
		post("/releases/:id/deployments/previews", InSpace, access.DeploymentCreate, previewDeployments),
	}
}

type deploymentResource struct {
	ID                       string            `json:"Id"`
	SpaceID                  string            `json:"SpaceId"`
	ReleaseID                string            `json:"ReleaseId"`
	EnvironmentID            string            `json:"EnvironmentId"`
	TenantID                 *string           `json:"TenantId"`
	ProjectID                string            `json:"ProjectId"`
	ChannelID                string            `json:"ChannelId"`
	TaskID                   string            `json:"TaskId"`
	DeploymentProcessID      string            `json:"DeploymentProcessId"`
	ManifestVariableSetID    string            `json:"ManifestVariableSetId"`
	Name                     string            `json:"Name"`
	Comments                 string            `json:"Comments"`
	Created                  time.Time         `json:"Created"`
	DeployedBy               string            `json:"DeployedBy"`
	DeployedByID             string            `json:"DeployedById"`
	DeployedToMachineIDs     []string          `json:"DeployedToMachineIds"`
	SpecificMachineIDs       []string          `json:"SpecificMachineIds"`
	ExcludedMachineIDs       []string          `json:"ExcludedMachineIds"`
	SkipActions              []string          `json:"SkipActions"`
	FormValues               map[string]string `json:"FormValues"`
	UseGuidedFailure         bool              `json:"UseGuidedFailure"`
	ForcePackageDownload     bool              `json:"ForcePackageDownload"`
	ForcePackageRedeployment bool              `json:"ForcePackageRedeployment"`
	QueueTime                *time.Time        `json:"QueueTime"`
	QueueTimeExpiry          *time.Time        `json:"QueueTimeExpiry"`
	FailureEncountered       bool              `json:"FailureEncountered"`
	Changes                  []struct{}        `json:"Changes"`
	ChangesMarkdown          string            `json:"ChangesMarkdown"`
	Links                    links             `json:"Links"`
}

// deploymentResource needs the transaction for the name of the environment and the times
// of the task, as far as the caller may see them.
func (r *request) deploymentResource(tx *spaces.ReadTx, d spaces.Deployment) deploymentResource {
	release := d.ReleaseID.String()
	out := deploymentResource{ID: d.ID.String(), SpaceID: r.about.ID(), ReleaseID: release, EnvironmentID: d.EnvironmentID.String(), ProjectID: d.ProjectID.String(), ChannelID: d.ChannelID.String(), TaskID: d.TaskID.String(),
		DeploymentProcessID: processPrefix + release, ManifestVariableSetID: variablesPrefix + release, Name: "Deploy to " + d.EnvironmentID.String(), Comments: d.Comments, Created: d.CreatedAt, DeployedBy: d.CreatedBy, DeployedByID: d.CreatedByID,
		DeployedToMachineIDs: []string{}, SpecificMachineIDs: orEmpty(d.Options.SpecificMachineIDs), ExcludedMachineIDs: orEmpty(d.Options.ExcludedMachineIDs), SkipActions: orEmpty(d.Options.SkipActions), FormValues: d.Options.FormValues,
		UseGuidedFailure: d.Options.Guided(), ForcePackageDownload: d.Options.ForceDownload, ForcePackageRedeployment: d.Options.ForceRedeploy, Changes: []struct{}{},
		Links: links{"Self": r.in("deployments", d.ID.String()), "Task": r.in("tasks", d.TaskID.String()), "Release": r.in("releases", release), "Project": r.in("projects", d.ProjectID.String()), "Environment": r.in("environments", d.EnvironmentID.String()),
			"Web": r.s.prefix() + "/app#/" + r.about.ID() + "/deployments/" + d.ID.String()}}
	if out.FormValues == nil {
		out.FormValues = map[string]string{}
	}
	if e, err := tx.Environment(d.EnvironmentID); err == nil {
		out.Name = "Deploy to " + e.Name
	}
	if t, err := tx.Task(d.TaskID); err == nil {
		out.QueueTime, out.QueueTimeExpiry, out.FailureEncountered = timeOrNil(t.QueueTime), t.QueueTimeExpiry, t.State == spaces.TaskFailed
	}
	if plan, err := tx.DeploymentPlan(d.ID); err == nil && plan != nil {
		for _, t := range plan.Targets {
			out.DeployedToMachineIDs = append(out.DeployedToMachineIDs, t.ID)
		}
	}
	return out
}

func (r *request) deployments(filter func(tx *spaces.ReadTx) (spaces.DeploymentFilter, error)) error {
	return show(r, func(tx *spaces.ReadTx) (envelope[deploymentResource], error) {
		f, err := filter(tx)
		if err != nil {
			return envelope[deploymentResource]{}, err
		}
		f.Skip, f.Take = r.number("skip"), r.number("take")
		p, err := tx.Deployments(f)
		if err != nil {
			return envelope[deploymentResource]{}, err
		}
		return pageOf(r, "Deployment", p, func(d spaces.Deployment) deploymentResource { return r.deploymentResource(tx, d) }), nil
	})
}

func listDeployments(r *request) error {
	return r.deployments(func(*spaces.ReadTx) (spaces.DeploymentFilter, error) {
		return spaces.DeploymentFilter{IDs: r.list("ids"), Projects: r.list("projects"), Environments: r.list("environments"), Channels: r.list("channels"), TaskStates: r.list("taskState")}, nil
	})
}

func releaseDeployments(r *request) error {
	return r.deployments(func(tx *spaces.ReadTx) (spaces.DeploymentFilter, error) {
		release, err := r.release(tx)
		return spaces.DeploymentFilter{Release: release.ID}, err
	})
}

func showDeployment(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (deploymentResource, error) {
		id, err := spaces.ParseDeploymentID(r.param("id"))
		if err != nil {
			return deploymentResource{}, err
		}
		d, err := tx.Deployment(id)
		if err != nil {
			return deploymentResource{}, err
		}
		return r.deploymentResource(tx, d), nil
	})
}

func createDeployment(r *request) error {
	in, err := readJSON[struct {
		deploymentResource
		UseGuidedFailure *bool // left out: the default
	}](r)
	if err != nil {
		return err
	}
	what := spaces.DeploymentInput{Comments: in.Comments, QueueTimeExpiry: in.QueueTimeExpiry, Options: spaces.DeploymentOptions{SkipActions: in.SkipActions, SpecificMachineIDs: in.SpecificMachineIDs, ExcludedMachineIDs: in.ExcludedMachineIDs,
		FormValues: in.FormValues, UseGuidedFailure: in.UseGuidedFailure, ForceDownload: in.ForcePackageDownload, ForceRedeploy: in.ForcePackageRedeployment}}
	if in.TenantID != nil && *in.TenantID != "" {
		return unsupported("tenants", "Deploy without a tenant.")(r)
	}
	if in.QueueTime != nil {
		what.QueueTime = *in.QueueTime
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (deploymentResource, error) {
		var err error
		if what.Release, err = spaces.ParseReleaseID(in.ReleaseID); err == nil {
			_, err = tx.Release(what.Release)
		}
		if err != nil {
			return deploymentResource{}, wrongReference(err, "ReleaseId", "release", in.ReleaseID)
		}
		e, err := tx.EnvironmentBy(in.EnvironmentID)
		if err != nil {
			return deploymentResource{}, wrongReference(err, "EnvironmentId", "environment", in.EnvironmentID)
		}
		what.Environment = e.ID
		d, err := tx.CreateDeployment(what)
		if err != nil {
			return deploymentResource{}, err
		}
		return r.deploymentResource(tx.ReadTx, d), nil
	})
}

// dotNetTime reads the forms in which clients write a time.
type dotNetTime struct{ time.Time }

func (t *dotNetTime) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil || strings.TrimSpace(text) == "" {
		return err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999 -07:00", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.Parse(layout, strings.TrimSpace(text)); err == nil {
			t.Time = at.UTC()
			return nil
		}
	}
	return errs.New(errs.Invalid, "'%s' is no time. Write it as 2026-11-23T09:00:00Z.", text)
}

type deploymentsV1 struct {
	ProjectName              string
	ReleaseVersion           string
	EnvironmentNames         []string
	SpecificMachineNames     []string
	ExcludedMachineNames     []string
	SkipStepNames            []string
	UseGuidedFailure         *bool
	ForcePackageDownload     bool
	ForcePackageRedeployment bool
	RunAt                    dotNetTime
	NoRunAfter               dotNetTime
	Variables                map[string]string
	Comments                 string
}

// createDeploymentsV1 is what `octopus release deploy` sends: one deployment for each
// environment, all of them or none.
func createDeploymentsV1(r *request) error {
	in, err := readJSON[deploymentsV1](r)
	if err != nil {
		return err
	}
	type made struct {
		DeploymentID string `json:"DeploymentId"`
		ServerTaskID string `json:"ServerTaskId"`
	}
	type answer struct {
		DeploymentServerTasks []made `json:"DeploymentServerTasks"`
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (answer, error) {
		out := answer{DeploymentServerTasks: []made{}}
		p, err := tx.ProjectBy(in.ProjectName)
		if err != nil {
			return out, wrongReference(err, "ProjectName", "project", in.ProjectName)
		}
		release, err := tx.ReleaseBy(p.ID, in.ReleaseVersion)
		if err != nil {
			return out, wrongReference(err, "ReleaseVersion", "release", in.ReleaseVersion)
		}
		what := spaces.DeploymentInput{Release: release.ID, Comments: in.Comments, QueueTime: in.RunAt.Time, QueueTimeExpiry: timeOrNil(in.NoRunAfter.Time),
			Options: spaces.DeploymentOptions{SkipActions: in.SkipStepNames, FormValues: in.Variables, UseGuidedFailure: in.UseGuidedFailure, ForceDownload: in.ForcePackageDownload, ForceRedeploy: in.ForcePackageRedeployment}}
		if what.Options.SpecificMachineIDs, err = targetIDs(tx.ReadTx, "SpecificMachineNames", in.SpecificMachineNames); err != nil {
			return out, err
		}
		if what.Options.ExcludedMachineIDs, err = targetIDs(tx.ReadTx, "ExcludedMachineNames", in.ExcludedMachineNames); err != nil {
			return out, err
		}
		if len(in.EnvironmentNames) == 0 {
			return out, errs.New(errs.Invalid, "No environment is named.").WithHint("Name at least one in EnvironmentNames.")
		}
		for _, name := range in.EnvironmentNames {
			e, err := tx.EnvironmentBy(name)
			if err != nil {
				return out, wrongReference(err, "EnvironmentNames", "environment", name)
			}
			what.Environment = e.ID
			d, err := tx.CreateDeployment(what)
			if err != nil {
				return out, err
			}
			out.DeploymentServerTasks = append(out.DeploymentServerTasks, made{d.ID.String(), d.TaskID.String()})
		}
		return out, nil
	})
}

func targetIDs(tx *spaces.ReadTx, field string, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		t, err := tx.TargetBy(name)
		if err != nil {
			return nil, wrongReference(err, field, "deployment target", name)
		}
		out = append(out, t.ID.String())
	}
	return out, nil
}

// deploymentTemplate lists where the release may go next.
func deploymentTemplate(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (map[string]any, error) {
		release, err := r.release(tx)
		if err != nil {
			return nil, err
		}
		progress, err := tx.Progress(release)
		if err != nil {
			return nil, err
		}
		living, err := tx.Variables(release.ProjectID)
		modified := err == nil && living.UpdatedAt.After(release.AssembledAt)
		to := []named{}
		for _, e := range progress.Next() {
			to = append(to, named{e.ID, e.Name})
		}
		return map[string]any{"PromoteTo": to, "TenantPromotions": []named{}, "IsVariableSetModified": modified, "IsDeploymentProcessModified": false, "IsLibraryVariableSetModified": false, "Links": links{"Self": r.in("releases", release.ID.String(), "deployments", "template")}}, nil
	})
}

type previewMachine struct {
	ID                string `json:"Id"`
	Name              string `json:"Name"`
	HasLatestCalamari bool   `json:"HasLatestCalamari"`
	HealthStatus      string `json:"HealthStatus"`
}

type previewStep struct {
	ActionID                string           `json:"ActionId"`
	ActionName              string           `json:"ActionName"`
	ActionNumber            string           `json:"ActionNumber"`
	Roles                   []string         `json:"Roles"`
	MachineNames            []string         `json:"MachineNames"`
	Machines                []previewMachine `json:"Machines"`
	CanBeSkipped            bool             `json:"CanBeSkipped"`
	IsDisabled              bool             `json:"IsDisabled"`
	HasNoApplicableMachines bool             `json:"HasNoApplicableMachines"`
	UnavailableMachines     []named          `json:"UnavailableMachines"`
	ExcludedMachines        []named          `json:"ExcludedMachines"`
}

type form struct {
	Values   map[string]string `json:"Values"`
	Elements []formElement     `json:"Elements"`
}

type formElement struct {
	Name            string `json:"Name"`
	Control         any    `json:"Control"`
	IsValueRequired bool   `json:"IsValueRequired"`
}

type previewResource struct {
	StepsToExecute                []previewStep `json:"StepsToExecute"`
	Form                          form          `json:"Form"`
	UseGuidedFailureModeByDefault bool          `json:"UseGuidedFailureModeByDefault"`
	WarningMessages               []string      `json:"WarningMessages,omitempty"` // ours
	Links                         links         `json:"Links"`
}

// preview is what a deployment would do. One that could not run is no error here: its
// steps are left out and the reason is a warning.
func (r *request) preview(tx *spaces.ReadTx, release spaces.Release, environment string) (previewResource, error) {
	out := previewResource{StepsToExecute: []previewStep{}, Form: form{Values: map[string]string{}, Elements: []formElement{}}, Links: links{}}
	e, err := tx.EnvironmentBy(environment)
	if err != nil {
		return out, err
	}
	p, err := tx.Project(release.ProjectID)
	if err != nil {
		return out, err
	}
	out.UseGuidedFailureModeByDefault = p.Settings.DefaultGuidedFailureMode == "On" || p.Settings.DefaultGuidedFailureMode != "Off" && e.UseGuidedFailure
	plan, err := tx.PreviewPlan(release.ID, e.ID, spaces.DeploymentOptions{})
	if kind := errs.KindOf(err); kind == errs.Blocked || kind == errs.Invalid {
		out.WarningMessages = []string{errs.TextOf(err)}
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.WarningMessages = plan.Warnings
	machines := map[string]previewMachine{}
	for _, t := range plan.Targets {
		machines[t.ID] = previewMachine{t.ID, t.Name, true, t.Health}
	}
	for _, step := range plan.Steps {
		for _, action := range step.Actions {
			s := previewStep{ActionID: action.ID, ActionName: action.Name, ActionNumber: action.Number, Roles: orEmpty(step.Tags), MachineNames: []string{}, Machines: []previewMachine{}, CanBeSkipped: !action.Required,
				HasNoApplicableMachines: len(step.Targets) == 0, UnavailableMachines: []named{}, ExcludedMachines: []named{}}
			if step.Skip != "" || action.Skip != "" {
				s.IsDisabled = true
				if !r.flag("includeDisabledSteps") {
					continue
				}
			}
			for _, id := range step.Targets {
				s.Machines = append(s.Machines, machines[id])
				s.MachineNames = append(s.MachineNames, machines[id].Name)
			}
			out.StepsToExecute = append(out.StepsToExecute, s)
		}
	}
	return out, nil
}

func previewDeployment(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (previewResource, error) {
		release, err := r.release(tx)
		if err != nil {
			return previewResource{}, err
		}
		return r.preview(tx, release, r.param("environment"))
	})
}

func previewDeployments(r *request) error {
	in, err := readJSON[struct {
		DeploymentPreviews []struct {
			EnvironmentID string `json:"EnvironmentId"`
		}
	}](r)
	if err != nil {
		return err
	}
	return show(r, func(tx *spaces.ReadTx) ([]previewResource, error) {
		release, err := r.release(tx)
		if err != nil {
			return nil, err
		}
		out := []previewResource{}
		for _, want := range in.DeploymentPreviews {
			p, err := r.preview(tx, release, want.EnvironmentID)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		return out, nil
	})
}
