package rest

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

func (r *request) deployment(d spaces.Deployment, environment string) R {
	o := d.Options
	return R{"Id": d.ID.String(), "SpaceId": r.row.ID(), "ReleaseId": d.ReleaseID.String(), "EnvironmentId": d.EnvironmentID.String(), "TenantId": nil, "ProjectId": d.ProjectID.String(), "ChannelId": d.ChannelID.String(), "TaskId": d.TaskID.String(), "DeploymentProcessId": "deploymentprocess-" + d.ReleaseID.String(), "ManifestVariableSetId": nil,
		"Name": "Deploy to " + environment, "Created": stamp(&d.CreatedAt), "DeployedBy": d.CreatedBy, "DeployedById": d.CreatedByID, "DeployedToMachineIds": []string{}, "SpecificMachineIds": list(o.SpecificMachineIDs), "ExcludedMachineIds": list(o.ExcludedMachineIDs), "SkipActions": list(o.SkipActions), "FormValues": R{}, "UseGuidedFailure": o.UseGuidedFailure,
		"ForcePackageDownload": o.ForceDownload, "ForcePackageRedeployment": o.ForceRedeploy, "Comments": d.Comments, "FailureEncountered": false, "Changes": []any{}, "ChangesMarkdown": "", "Octopuses": R{"Ulid": d.ULID, "Attempt": d.Attempt},
		"Links": R{"Self": r.prefix + "/deployments/" + d.ID.String(), "Environment": r.prefix + "/environments/" + d.EnvironmentID.String(), "Project": r.prefix + "/projects/" + d.ProjectID.String(), "Release": r.prefix + "/releases/" + d.ReleaseID.String(), "Task": "/api/tasks/" + d.TaskID.String(), "Web": "/app#/" + r.row.ID() + "/deployments/" + d.ID.String()}}
}

type shownDeployment struct {
	spaces.Deployment
	environment string
}

func shown(tx *spaces.ReadTx, d spaces.Deployment) (shownDeployment, error) {
	e, err := tx.Environment(d.EnvironmentID)
	return shownDeployment{d, e.Name}, err
}

func getDeployment(r *request) (any, error) {
	d, err := view(r, func(tx *spaces.ReadTx) (shownDeployment, error) {
		id, err := spaces.ParseDeploymentID(r.params["id"])
		if err != nil {
			return shownDeployment{}, err
		}
		d, err := tx.Deployment(id)
		if err != nil {
			return shownDeployment{}, err
		}
		return shown(tx, d)
	})
	if err != nil {
		return nil, err
	}
	return r.deployment(d.Deployment, d.environment), nil
}

func (r *request) deployments(f spaces.DeploymentFilter) (any, error) {
	f.Skip, f.Take = r.number("skip"), r.number("take")
	names := map[spaces.EnvironmentID]string{}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Deployment], error) {
		es, err := tx.Environments(spaces.All)
		if err != nil {
			return spaces.Page[spaces.Deployment]{}, err
		}
		for _, e := range es.Items {
			names[e.ID] = e.Name
		}
		return tx.Deployments(f)
	})
	return pageOf(r, "Deployment", p, func(d spaces.Deployment) R { return r.deployment(d, names[d.EnvironmentID]) }), err
}

func listDeployments(r *request) (any, error) {
	return r.deployments(spaces.DeploymentFilter{IDs: r.queryList("ids"), Projects: r.queryList("projects"), Environments: r.queryList("environments"), Channels: r.queryList("channels"), TaskStates: r.queryList("taskState")})
}

func releaseDeployments(r *request) (any, error) {
	rel, err := view(r, r.findRelease)
	if err != nil {
		return nil, err
	}
	return r.deployments(spaces.DeploymentFilter{Release: rel.ID})
}

func createDeployment(r *request) (any, error) {
	var b struct {
		ReleaseId, EnvironmentId, Comments string
		spaces.DeploymentOptions
		QueueTime, QueueTimeExpiry *time.Time
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	d, err := update(r, func(tx *spaces.Tx) (shownDeployment, error) {
		rid, err := spaces.ParseReleaseID(b.ReleaseId)
		if err != nil {
			return shownDeployment{}, err
		}
		if _, err := tx.Release(rid); err != nil {
			return shownDeployment{}, err
		}
		e, err := tx.EnvironmentBy(b.EnvironmentId)
		if err != nil {
			return shownDeployment{}, err
		}
		in := spaces.DeploymentInput{Release: rid, Environment: e.ID, Comments: b.Comments, Options: b.DeploymentOptions, QueueTimeExpiry: b.QueueTimeExpiry}
		if b.QueueTime != nil {
			in.QueueTime = *b.QueueTime
		}
		d, err := tx.CreateDeployment(in)
		return shownDeployment{d, e.Name}, err
	})
	if err != nil {
		return nil, err
	}
	return created{r.deployment(d.Deployment, d.environment)}, nil
}

// deployV1 makes one deployment for each environment, or none if one is refused.
func deployV1(r *request) (any, error) {
	var b struct {
		ProjectName, ReleaseVersion                                                 string
		EnvironmentNames, SkipStepNames, SpecificMachineNames, ExcludedMachineNames []string
		ForcePackageDownload, ForcePackageRedeployment                              bool
		UseGuidedFailure                                                            *bool
		Variables                                                                   map[string]string
		RunAt, NoRunAfter                                                           string
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	all, err := update(r, func(tx *spaces.Tx) ([]R, error) {
		p, err := tx.ProjectBy(b.ProjectName)
		if err != nil {
			return nil, err
		}
		rel, err := tx.ReleaseBy(p.ID, b.ReleaseVersion)
		if err != nil {
			return nil, err
		}
		if len(b.EnvironmentNames) == 0 {
			return nil, errs.New(errs.Invalid, "Name at least one environment to deploy to.")
		}
		o := spaces.DeploymentOptions{SkipActions: b.SkipStepNames, FormValues: b.Variables, ForceDownload: b.ForcePackageDownload, ForceRedeploy: b.ForcePackageRedeployment, UseGuidedFailure: b.UseGuidedFailure != nil && *b.UseGuidedFailure}
		for _, x := range []struct {
			names []string
			to    *[]string
		}{{b.SpecificMachineNames, &o.SpecificMachineIDs}, {b.ExcludedMachineNames, &o.ExcludedMachineIDs}} {
			for _, n := range x.names {
				m, err := tx.TargetBy(n)
				if err != nil {
					return nil, err
				}
				*x.to = append(*x.to, m.ID.String())
			}
		}
		out := []R{}
		for _, n := range b.EnvironmentNames {
			e, err := tx.EnvironmentBy(n)
			if err != nil {
				return nil, err
			}
			in := spaces.DeploymentInput{Release: rel.ID, Environment: e.ID, Options: o}
			if t, err := time.Parse(time.RFC3339, b.RunAt); err == nil {
				in.QueueTime = t
			}
			if t, err := time.Parse(time.RFC3339, b.NoRunAfter); err == nil {
				in.QueueTimeExpiry = &t
			}
			d, err := tx.CreateDeployment(in)
			if err != nil {
				return nil, err
			}
			out = append(out, R{"DeploymentId": d.ID.String(), "ServerTaskId": d.TaskID.String()})
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return created{R{"DeploymentServerTasks": all}}, nil
}

func (r *request) task(t spaces.Task) R {
	self := "/api/tasks/" + t.ID.String()
	var completed, duration any = "Queued", ""
	if t.CompletedTime != nil {
		completed = t.CompletedTime.UTC().Format("Monday, 02 January 2006 15:04:05 MST")
		if t.StartTime != nil {
			duration = t.CompletedTime.Sub(*t.StartTime).Round(time.Millisecond).String()
		}
	} else if t.State != spaces.Queued {
		completed = "Executing..."
	}
	return R{"Id": t.ID.String(), "SpaceId": r.row.ID(), "Name": t.Kind, "Description": t.Description, "State": string(t.State), "IsCompleted": t.State.Finished(), "FinishedSuccessfully": t.State == spaces.TaskSuccess, "HasBeenPickedUpByProcessor": t.StartTime != nil, "HasPendingInterruptions": t.HasPendingInterruptions, "HasWarningsOrErrors": t.HasWarningsOrErrors,
		"CanRerun": false, "Arguments": t.Arguments, "QueueTime": stamp(&t.QueueTime), "QueueTimeExpiry": stamp(t.QueueTimeExpiry), "StartTime": stamp(t.StartTime), "LastUpdatedTime": stamp(&t.UpdatedAt), "CompletedTime": stamp(t.CompletedTime), "Completed": completed, "Duration": duration, "ErrorMessage": t.ErrorMessage, "ServerNode": "octopuses",
		"Links": R{"Self": self, "Details": self + "/details", "Raw": self + "/raw", "Cancel": r.prefix + "/tasks/" + t.ID.String() + "/cancel", "Web": "/app#/" + r.row.ID() + "/tasks/" + t.ID.String()}}
}

func listTasks(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Task], error) {
		f := spaces.TaskFilter{IDs: r.queryList("ids"), States: r.queryList("states"), Kind: r.query("name"), Active: strings.EqualFold(r.query("active"), "true"), Interrupted: strings.EqualFold(r.query("hasPendingInterruptions"), "true"), PartialName: r.query("partialName"), Skip: r.number("skip"), Take: r.number("take")}
		if id := r.query("project"); id != "" {
			p, err := tx.ProjectBy(id)
			if err != nil {
				return spaces.Page[spaces.Task]{}, err
			}
			f.Project = p.ID
		}
		if id := r.query("environment"); id != "" {
			e, err := tx.EnvironmentBy(id)
			if err != nil {
				return spaces.Page[spaces.Task]{}, err
			}
			f.Environment = e.ID
		}
		return tx.Tasks(f)
	})
	return pageOf(r, "Task", p, r.task), err
}

func (r *request) findTask(tx *spaces.ReadTx) (spaces.Task, error) {
	id, err := spaces.ParseTaskID(r.params["id"])
	if err != nil {
		return spaces.Task{}, err
	}
	return tx.Task(id)
}

func getTask(r *request) (any, error) {
	t, err := view(r, r.findTask)
	if err != nil {
		return nil, err
	}
	return r.task(t), nil
}

func taskDetails(r *request) (any, error) {
	t, err := view(r, r.findTask)
	if err != nil {
		return nil, err
	}
	logs := []ActivityLog{}
	if r.s.Logs != nil {
		if logs, err = r.s.Logs.Details(r.ctx, r.space, t.ID); err != nil {
			return nil, err
		}
	}
	percent := 0
	if t.State.Finished() {
		percent = 100
	}
	return R{"Task": r.task(t), "ActivityLogs": logs, "PhysicalLogSize": 0, "Progress": R{"ProgressPercentage": percent, "EstimatedTimeRemaining": ""}, "Links": R{}}, nil
}

func taskRaw(r *request) (any, error) {
	t, err := view(r, r.findTask)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if r.s.Logs != nil {
		if err := r.s.Logs.Raw(r.space, t.ID, &b); err != nil {
			return nil, err
		}
	}
	r.c.Set("Content-Type", "text/plain; charset=utf-8")
	return sent{}, r.c.Send(b.Bytes())
}

func cancelTask(r *request) (any, error) {
	t, err := update(r, func(tx *spaces.Tx) (spaces.Task, error) {
		id, err := spaces.ParseTaskID(r.params["id"])
		if err != nil {
			return spaces.Task{}, err
		}
		return tx.CancelTask(id)
	})
	if err != nil {
		return nil, err
	}
	return r.task(t), nil
}

func createTask(r *request) (any, error) {
	var b struct {
		Name      string
		Arguments struct{ MachineIds []string }
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	if b.Name != spaces.TaskHealth {
		return nil, errs.New(errs.Invalid, "Tasks of kind '%s' cannot be created here.", b.Name).WithHint("Health can.")
	}
	t, err := update(r, func(tx *spaces.Tx) (spaces.Task, error) {
		var target spaces.TargetID
		if len(b.Arguments.MachineIds) == 1 {
			var err error
			if target, err = spaces.ParseTargetID(b.Arguments.MachineIds[0]); err != nil {
				return spaces.Task{}, err
			}
		}
		return tx.QueueHealthCheck(target)
	})
	if err != nil {
		return nil, err
	}
	return created{r.task(t)}, nil
}

func (r *request) interruption(i spaces.Interruption) R {
	options := R{}
	for _, c := range i.Choices {
		options[c.Value] = c.Label
	}
	return R{"Id": i.ID.String(), "SpaceId": r.row.ID(), "TaskId": i.TaskID.String(), "Title": i.Title, "Type": i.Kind, "Created": stamp(&i.CreatedAt), "IsPending": i.AnsweredAt == nil, "HasResponsibility": true, "CanTakeResponsibility": true,
		"Form":  R{"Values": R{"Result": i.Answer, "Notes": i.Notes}, "Elements": []R{{"Name": "Instructions", "Control": R{"Type": "Paragraph", "Text": i.Message}}, {"Name": "Result", "Control": R{"Type": "SubmitButtonGroup", "Options": options}}, {"Name": "Notes", "Control": R{"Type": "TextArea", "Label": "Notes"}}}},
		"Links": R{"Self": r.prefix + "/interruptions/" + i.ID.String(), "Submit": r.prefix + "/interruptions/" + i.ID.String() + "/submit"}}
}

func listInterruptions(r *request) (any, error) {
	items, err := view(r, func(tx *spaces.ReadTx) ([]R, error) {
		id, err := spaces.ParseTaskID(r.query("regarding"))
		if err != nil {
			return []R{}, nil
		}
		all, err := tx.Interruptions(id)
		out := []R{}
		for _, i := range all {
			if !strings.EqualFold(r.query("pendingOnly"), "true") || i.AnsweredAt == nil {
				out = append(out, r.interruption(i))
			}
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return r.cut("Interruption", items), nil
}

func submitInterruption(r *request) (any, error) {
	var b struct{ Result, Notes string }
	if err := r.body(&b); err != nil {
		return nil, err
	}
	i, err := update(r, func(tx *spaces.Tx) (spaces.Interruption, error) {
		id, err := spaces.ParseInterruptionID(r.params["id"])
		if err != nil {
			return spaces.Interruption{}, err
		}
		return tx.AnswerInterruption(id, b.Result, b.Notes)
	})
	if err != nil {
		return nil, err
	}
	return r.interruption(i), nil
}

func (r *request) machine(t spaces.Target) R {
	environments := []string{}
	for _, e := range t.Environments {
		environments = append(environments, e.String())
	}
	endpoint := R{}
	json.Unmarshal(t.Endpoint, &endpoint)
	for k, v := range (R{"CommunicationStyle": t.Style, "Uri": t.URI, "Thumbprint": t.Thumbprint, "Links": R{}}) {
		endpoint[k] = v
	}
	if _, ok := endpoint["TentacleVersionDetails"]; !ok {
		endpoint["TentacleVersionDetails"] = R{"UpgradeLocked": false, "Version": t.AgentVersion, "UpgradeSuggested": false, "UpgradeRequired": false}
	}
	return R{"Id": t.ID.String(), "SpaceId": r.row.ID(), "Name": t.Name, "Slug": t.Slug, "Roles": list(t.Tags), "EnvironmentIds": environments, "TenantIds": []string{}, "TenantTags": []string{}, "TenantedDeploymentParticipation": "Untenanted", "IsDisabled": t.IsDisabled, "MachinePolicyId": "MachinePolicies-1", "HealthStatus": t.Health, "StatusSummary": t.HealthSummary, "HasLatestCalamari": true, "IsInProcess": false,
		"OperatingSystem": or(t.OperatingSystem, "Unknown"), "ShellName": "Bash", "ShellVersion": "Unknown", "Architecture": "", "Thumbprint": t.Thumbprint, "Uri": t.URI, "Endpoint": endpoint, "LastModifiedOn": stamp(&t.UpdatedAt), "LastModifiedBy": t.UpdatedBy, "Links": r.self("machines", t.ID.String())}
}

func listMachines(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Target], error) {
		f := spaces.TargetFilter{ListOptions: r.list(), Thumbprint: r.query("thumbprint")}
		if e := r.queryList("environmentIds"); len(e) > 0 {
			var err error
			if f.Environment, err = spaces.ParseEnvironmentID(e[0]); err != nil {
				return spaces.Page[spaces.Target]{}, err
			}
		}
		if t := r.queryList("roles"); len(t) > 0 {
			f.Tag = t[0]
		}
		if h := r.queryList("healthStatuses"); len(h) > 0 {
			f.Health = h[0]
		}
		return tx.Targets(f)
	})
	return pageOf(r, "DeploymentTarget", p, r.machine), err
}

func allMachines(r *request) (any, error) {
	return allOf(r, func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Target], error) {
		return tx.Targets(spaces.TargetFilter{ListOptions: o})
	}, r.machine)
}

func getMachine(r *request) (any, error) {
	t, err := view(r, func(tx *spaces.ReadTx) (spaces.Target, error) { return tx.TargetBy(r.params["id"]) })
	if err != nil {
		return nil, err
	}
	return r.machine(t), nil
}

type machineBody struct {
	Name, Slug     string
	Roles          []string
	EnvironmentIds []string
	IsDisabled     bool
	Thumbprint     string
	Uri            string
	Endpoint       json.RawMessage
}

func (b machineBody) input() (spaces.TargetInput, error) {
	var e struct{ CommunicationStyle, Uri, Thumbprint string }
	if len(b.Endpoint) > 0 {
		if err := json.Unmarshal(b.Endpoint, &e); err != nil {
			return spaces.TargetInput{}, errs.New(errs.Invalid, "The endpoint is not understood: %v.", err)
		}
	}
	in := spaces.TargetInput{Name: b.Name, Slug: b.Slug, Style: e.CommunicationStyle, URI: or(e.Uri, b.Uri), Thumbprint: or(e.Thumbprint, b.Thumbprint), IsDisabled: b.IsDisabled, Endpoint: b.Endpoint, Tags: b.Roles}
	for _, id := range b.EnvironmentIds {
		n, err := spaces.ParseEnvironmentID(id)
		if err != nil {
			return in, err
		}
		in.Environments = append(in.Environments, n)
	}
	return in, nil
}

func createMachine(r *request) (any, error) {
	var b machineBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	in, err := b.input()
	if err != nil {
		return nil, err
	}
	t, err := update(r, func(tx *spaces.Tx) (spaces.Target, error) { return tx.CreateTarget(in) })
	if err != nil {
		return nil, err
	}
	return created{r.machine(t)}, nil
}

func updateMachine(r *request) (any, error) {
	var b machineBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	in, err := b.input()
	if err != nil {
		return nil, err
	}
	t, err := update(r, func(tx *spaces.Tx) (spaces.Target, error) {
		id, err := spaces.ParseTargetID(r.params["id"])
		if err != nil {
			return spaces.Target{}, err
		}
		return tx.UpdateTarget(id, in)
	})
	if err != nil {
		return nil, err
	}
	return r.machine(t), nil
}

func deleteMachine(r *request) (any, error) {
	return deleted(r, spaces.ParseTargetID, (*spaces.Tx).DeleteTarget)
}

func machineRoles(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) ([]string, error) { return tx.TargetTags() })
}

func (r *request) cell(c spaces.Cell) R {
	return R{"Id": c.DeploymentID.String(), "ProjectId": c.ProjectID.String(), "EnvironmentId": c.EnvironmentID.String(), "ReleaseId": c.ReleaseID.String(), "DeploymentId": c.DeploymentID.String(), "TaskId": c.TaskID.String(), "TenantId": nil, "ChannelId": nil, "ReleaseVersion": c.Version, "Created": stamp(&c.CreatedAt), "QueueTime": stamp(&c.CreatedAt), "StartTime": nil, "CompletedTime": stamp(c.CompletedAt), "State": string(c.State), "Duration": "", "ErrorMessage": "", "IsCurrent": true, "IsPrevious": false, "IsCompleted": c.State.Finished(), "HasPendingInterruptions": c.HasPending, "HasWarningsOrErrors": c.HasWarnings,
		"Links": R{"Self": r.prefix + "/deployments/" + c.DeploymentID.String()}}
}

func dashboard(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) (R, error) {
		f := spaces.DashboardFilter{Take: 10_000}
		if id := r.query("projectId"); id != "" {
			p, err := tx.ProjectBy(id)
			if err != nil {
				return nil, err
			}
			f.Project = p.ID
		}
		d, err := tx.Dashboard(f)
		if err != nil {
			return nil, err
		}
		projects, groups, environments, items := []R{}, []R{}, []R{}, []R{}
		for _, p := range d.Projects {
			projects = append(projects, R{"Id": p.ID.String(), "Name": p.Name, "Slug": p.Slug, "ProjectGroupId": p.GroupID.String(), "EnvironmentIds": []string{}, "IsDisabled": p.IsDisabled, "Links": R{"Self": r.prefix + "/projects/" + p.ID.String()}})
		}
		for _, g := range d.Groups {
			groups = append(groups, R{"Id": g.ID.String(), "Name": g.Name, "EnvironmentIds": []string{}, "Links": R{}})
		}
		for _, e := range d.Environments {
			environments = append(environments, R{"Id": e.ID.String(), "Name": e.Name, "Links": R{}})
		}
		for _, c := range d.Cells {
			items = append(items, r.cell(c))
		}
		return R{"Id": "dashboard", "Projects": projects, "ProjectGroups": groups, "Environments": environments, "Tenants": []any{}, "Items": items, "ProjectLimit": nil, "IsFiltered": false, "Links": R{"Self": r.prefix + "/dashboard"}}, nil
	})
}

func listEvents(r *request) (any, error) {
	items, err := view(r, func(tx *spaces.ReadTx) ([]R, error) {
		all, err := tx.Events(spaces.EventFilter{EntityID: r.query("regarding"), Category: r.query("eventCategories"), Reference: r.query("reference"), Take: 1000})
		out := []R{}
		for _, e := range all {
			out = append(out, R{"Id": e.ID.String(), "SpaceId": r.row.ID(), "Category": e.Category, "Occurred": stamp(&e.At), "UserId": e.ActorID, "Username": e.ActorName, "Message": e.Message, "RelatedDocumentIds": []string{e.EntityID}, "IpAddress": e.Address, "IdentityEstablishedWith": e.Via, "ChangeDetails": R{"Differences": e.Changes}, "Octopuses": R{"Reference": e.Reference}, "Links": R{}})
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return r.cut("Event", items), nil
}
