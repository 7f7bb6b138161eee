package rest

import (
	"encoding/json"
	"strings"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

func (r *request) project(p spaces.Project) R {
	self := r.prefix + "/projects/" + p.ID.String()
	out := asMap(p.Settings)
	for k, v := range (R{"Id": p.ID.String(), "SpaceId": r.row.ID(), "Name": p.Name, "Slug": p.Slug, "Description": p.Description, "ProjectGroupId": p.GroupID.String(), "LifecycleId": p.LifecycleID.String(), "IsDisabled": p.IsDisabled,
		"DeploymentProcessId": spaces.ProcessID(p.ID), "VariableSetId": spaces.VariableSetID(p.ID), "IsVersionControlled": false, "PersistenceSettings": R{"Type": "Database"}, "IncludedLibraryVariableSetIds": list(p.Settings.IncludedLibraryVariableSetIDs), "Templates": list(p.Settings.Templates), "ProjectTags": list(p.Settings.ProjectTags),
		"ExtensionSettings": []any{}, "AutoDeployReleaseOverrides": []any{}, "ReleaseCreationStrategy": R{"ChannelId": nil, "ReleaseCreationPackage": nil}, "LastModifiedOn": stamp(&p.UpdatedAt), "LastModifiedBy": p.UpdatedBy,
		"Octopuses": R{"IsRemote": p.IsRemote(), "Link": p.LinkID.String(), "Owner": p.RemoteName, "Ulid": p.ULID},
		"Links": R{"Self": self, "Web": "/spaces/" + r.row.Slug + "/projects/" + p.Slug, "Channels": self + "/channels{/id}{?skip,take,ids,partialName}", "Releases": self + "/releases{/version}{?skip,take,searchByVersion}", "Progression": self + "/progression{?releaseHistoryCount}",
			"DeploymentProcess": r.prefix + "/deploymentprocesses/" + spaces.ProcessID(p.ID), "DeploymentSettings": self + "/deploymentsettings", "Variables": r.prefix + "/variables/" + spaces.VariableSetID(p.ID), "Summary": self + "/summary", "OrderChannels": self + "/channels/order"}}) {
		out[k] = v
	}
	return out
}

func listProjects(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Project], error) { return tx.Projects(0, r.list()) })
	return pageOf(r, "Project", p, r.project), err
}

func allProjects(r *request) (any, error) {
	return allOf(r, func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Project], error) {
		return tx.Projects(0, o)
	}, r.project)
}

func (r *request) findProject(tx *spaces.ReadTx) (spaces.Project, error) {
	return tx.ProjectBy(r.params["id"])
}

func getProject(r *request) (any, error) {
	p, err := view(r, r.findProject)
	if err != nil {
		return nil, err
	}
	return r.project(p), nil
}

type projectBody struct {
	Name, Slug, Description     string
	ProjectGroupId, LifecycleId string
	IsDisabled                  bool
}

func (r *request) projectInput(tx *spaces.ReadTx, raw json.RawMessage) (in spaces.ProjectInput, err error) {
	var b projectBody
	if err := json.Unmarshal(raw, &b); err != nil {
		return in, errs.New(errs.Invalid, "The body is not a project: %v.", err)
	}
	in = spaces.ProjectInput{Name: b.Name, Slug: b.Slug, Description: b.Description, IsDisabled: b.IsDisabled}
	if err := json.Unmarshal(raw, &in.Settings); err != nil {
		return in, errs.New(errs.Invalid, "The settings of the project are not understood: %v.", err)
	}
	if b.ProjectGroupId != "" {
		g, err := tx.ProjectGroupBy(b.ProjectGroupId)
		if err != nil {
			return in, err
		}
		in.GroupID = g.ID
	}
	if b.LifecycleId != "" {
		l, err := tx.LifecycleBy(b.LifecycleId)
		if err != nil {
			return in, err
		}
		in.LifecycleID = l.ID
	}
	return in, nil
}

func createProject(r *request) (any, error) {
	var raw json.RawMessage
	if err := r.body(&raw); err != nil {
		return nil, err
	}
	p, err := update(r, func(tx *spaces.Tx) (spaces.Project, error) {
		in, err := r.projectInput(tx.ReadTx, raw)
		if err != nil {
			return spaces.Project{}, err
		}
		return tx.CreateProject(in)
	})
	if err != nil {
		return nil, err
	}
	return created{r.project(p)}, nil
}

func updateProject(r *request) (any, error) {
	var raw json.RawMessage
	if err := r.body(&raw); err != nil {
		return nil, err
	}
	p, err := update(r, func(tx *spaces.Tx) (spaces.Project, error) {
		old, err := r.findProject(tx.ReadTx)
		if err != nil {
			return old, err
		}
		in, err := r.projectInput(tx.ReadTx, raw)
		if err != nil {
			return old, err
		}
		return tx.UpdateProject(old.ID, in)
	})
	if err != nil {
		return nil, err
	}
	return r.project(p), nil
}

func deleteProject(r *request) (any, error) {
	_, err := update(r, func(tx *spaces.Tx) (struct{}, error) {
		p, err := r.findProject(tx.ReadTx)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, tx.DeleteProject(p.ID)
	})
	return R{"Id": r.params["id"]}, err
}

func projectSettings(r *request) (any, error) {
	p, err := view(r, r.findProject)
	return R{"Id": "deploymentsettings-" + p.ID.String(), "ProjectId": p.ID.String(), "VersioningStrategy": p.Settings.VersioningStrategy, "ConnectivityPolicy": p.Settings.ConnectivityPolicy, "DefaultGuidedFailureMode": p.Settings.DefaultGuidedFailureMode, "ReleaseNotesTemplate": p.Settings.ReleaseNotesTemplate, "Links": r.self("projects", p.ID.String()+"/deploymentsettings")}, err
}

func (r *request) channel(c spaces.Channel) R {
	var lifecycle any
	if c.LifecycleID != 0 {
		lifecycle = c.LifecycleID.String()
	}
	self := r.prefix + "/channels/" + c.ID.String()
	return R{"Id": c.ID.String(), "SpaceId": r.row.ID(), "ProjectId": c.ProjectID.String(), "Name": c.Name, "Slug": c.Slug, "Description": c.Description, "LifecycleId": lifecycle, "IsDefault": c.IsDefault, "Rules": list(c.Rules), "TenantTags": []string{}, "GitReferenceRules": []any{}, "GitResourceRules": []any{}, "Type": "Lifecycle",
		"Links": R{"Self": self, "Releases": self + "/releases{?skip,take,searchByVersion}", "Project": r.prefix + "/projects/" + c.ProjectID.String(), "Projects": r.prefix + "/projects/" + c.ProjectID.String()}}
}

func projectChannels(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Channel], error) {
		p, err := r.findProject(tx)
		if err != nil {
			return spaces.Page[spaces.Channel]{}, err
		}
		return tx.Channels(p.ID, r.list())
	})
	return pageOf(r, "Channel", p, r.channel), err
}

func projectChannel(r *request) (any, error) {
	c, err := view(r, func(tx *spaces.ReadTx) (spaces.Channel, error) {
		p, err := r.findProject(tx)
		if err != nil {
			return spaces.Channel{}, err
		}
		return tx.ChannelBy(p.ID, r.params["channel"])
	})
	return r.channel(c), err
}

func listChannels(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Channel], error) { return tx.Channels(0, r.list()) })
	return pageOf(r, "Channel", p, r.channel), err
}

func allChannels(r *request) (any, error) {
	return allOf(r, func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Channel], error) {
		return tx.Channels(0, o)
	}, r.channel)
}

func (r *request) channelID() (spaces.ChannelID, error) { return spaces.ParseChannelID(r.params["id"]) }

func getChannel(r *request) (any, error) {
	c, err := view(r, func(tx *spaces.ReadTx) (spaces.Channel, error) {
		id, err := r.channelID()
		if err != nil {
			return spaces.Channel{}, err
		}
		return tx.Channel(id)
	})
	return r.channel(c), err
}

type channelBody struct {
	ProjectId, Name, Slug, Description, LifecycleId string
	IsDefault                                       bool
	Rules                                           []spaces.ChannelRule
}

func (b channelBody) input(tx *spaces.ReadTx) (spaces.ChannelInput, error) {
	in := spaces.ChannelInput{Name: b.Name, Slug: b.Slug, Description: b.Description, IsDefault: b.IsDefault, Rules: b.Rules}
	if b.LifecycleId != "" {
		l, err := tx.LifecycleBy(b.LifecycleId)
		if err != nil {
			return in, err
		}
		in.LifecycleID = l.ID
	}
	return in, nil
}

func createChannel(r *request) (any, error) {
	var b channelBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	c, err := update(r, func(tx *spaces.Tx) (spaces.Channel, error) {
		p, err := tx.ProjectBy(b.ProjectId)
		if err != nil {
			return spaces.Channel{}, err
		}
		in, err := b.input(tx.ReadTx)
		if err != nil {
			return spaces.Channel{}, err
		}
		return tx.CreateChannel(p.ID, in)
	})
	return created{r.channel(c)}, err
}

func updateChannel(r *request) (any, error) {
	var b channelBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	c, err := update(r, func(tx *spaces.Tx) (spaces.Channel, error) {
		id, err := r.channelID()
		if err != nil {
			return spaces.Channel{}, err
		}
		in, err := b.input(tx.ReadTx)
		if err != nil {
			return spaces.Channel{}, err
		}
		return tx.UpdateChannel(id, in)
	})
	return r.channel(c), err
}

func deleteChannel(r *request) (any, error) {
	return deleted(r, spaces.ParseChannelID, (*spaces.Tx).DeleteChannel)
}

// A process has the id deploymentprocess-Projects-1; as frozen in a release it is
// deploymentprocess-Releases-1.

func (r *request) process(p spaces.Process) R {
	out := asMap(p.Process)
	id := p.Process.ID
	out["SpaceId"], out["LastModifiedOn"], out["LastModifiedBy"] = r.row.ID(), stamp(&p.UpdatedAt), p.UpdatedBy
	out["Links"] = R{"Self": r.prefix + "/deploymentprocesses/" + id, "Project": r.prefix + "/projects/" + p.ProjectID.String(), "Template": r.prefix + "/deploymentprocesses/" + id + "/template{?channel,releaseId}"}
	return out
}

func (r *request) findProcess(tx *spaces.ReadTx, id string) (spaces.Process, error) {
	rest, ok := cutFold(id, "deploymentprocess-")
	if !ok {
		return spaces.Process{}, errs.Missing("deployment process", id)
	}
	if _, frozen := cutFold(rest, "Releases-"); frozen {
		rid, err := spaces.ParseReleaseID(rest)
		if err != nil {
			return spaces.Process{}, err
		}
		rel, err := tx.Release(rid)
		if err != nil {
			return spaces.Process{}, err
		}
		frozen, err := tx.ReleaseProcess(rel)
		out := spaces.Process{Process: *frozen.Public(), ProjectID: rel.ProjectID}
		out.Process.ID, out.Process.ProjectID = id, rel.ProjectID.String()
		return out, err
	}
	pid, err := spaces.ParseProjectID(rest)
	if err != nil {
		return spaces.Process{}, err
	}
	return tx.Process(pid)
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

func getProcess(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Process, error) { return r.findProcess(tx, r.params["id"]) })
	if err != nil {
		return nil, err
	}
	return r.process(p), nil
}

func projectProcess(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Process, error) {
		p, err := r.findProject(tx)
		if err != nil {
			return spaces.Process{}, err
		}
		return tx.Process(p.ID)
	})
	if err != nil {
		return nil, err
	}
	return r.process(p), nil
}

func updateProcess(r *request) (any, error) {
	var b steps.Process
	if err := r.body(&b); err != nil {
		return nil, err
	}
	p, err := update(r, func(tx *spaces.Tx) (spaces.Process, error) {
		rest, _ := cutFold(r.params["id"], "deploymentprocess-")
		pid, err := spaces.ParseProjectID(rest)
		if err != nil {
			return spaces.Process{}, err
		}
		return tx.SaveProcess(pid, b.Version, b)
	})
	if err != nil {
		return nil, err
	}
	return r.process(p), nil
}

func processTemplate(r *request) (any, error) {
	type template struct {
		process spaces.Process
		next    string
		last    string
	}
	t, err := view(r, func(tx *spaces.ReadTx) (template, error) {
		var t template
		var err error
		if t.process, err = r.findProcess(tx, r.params["id"]); err != nil {
			return t, err
		}
		p, err := tx.Project(t.process.ProjectID)
		if err != nil {
			return t, err
		}
		c, err := tx.DefaultChannel(p.ID)
		if err != nil {
			return t, err
		}
		if id := r.query("channel"); id != "" {
			if c, err = tx.ChannelBy(p.ID, id); err != nil {
				return t, err
			}
		}
		rel, err := tx.Releases(spaces.ReleaseFilter{Project: p.ID, Take: 1})
		if err == nil && len(rel.Items) > 0 {
			t.last = rel.Items[0].Version
		}
		t.next, _ = tx.NextVersion(p, c, nil)
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	packages := []R{}
	for _, ref := range t.process.Process.Refs().Packages {
		packages = append(packages, R{"StepName": ref.StepName, "ActionName": ref.ActionName, "PackageId": ref.PackageID, "FeedId": or(ref.FeedID, spaces.BuiltInFeed), "FeedName": "Octopuses Server (built-in)", "PackageReferenceName": ref.Name, "IsResolvable": true, "VersionSelectedLastRelease": nil, "FixedVersion": nil})
	}
	return R{"DeploymentProcessId": r.params["id"], "LastReleaseVersion": t.last, "NextVersionIncrement": t.next, "VersioningPackageStepName": nil, "Packages": packages, "GitResources": []any{}, "Links": R{}}, nil
}

// Variables have the id variableset-Projects-1; as frozen in a release variableset-Releases-1.

func (r *request) variableSet(tx *spaces.ReadTx, id string) (R, error) {
	rest, ok := cutFold(id, "variableset-")
	if !ok {
		return nil, errs.Missing("variable set", id)
	}
	var set variables.Set
	var version int64
	var owner spaces.ProjectID
	if _, frozen := cutFold(rest, "Releases-"); frozen {
		rid, err := spaces.ParseReleaseID(rest)
		if err != nil {
			return nil, err
		}
		rel, err := tx.Release(rid)
		if err != nil {
			return nil, err
		}
		if _, err := tx.Variables(rel.ProjectID); err != nil { // the same permission as the live ones
			return nil, err
		}
		if set, err = tx.ReleaseVariables(rel); err != nil {
			return nil, err
		}
		owner = rel.ProjectID
	} else {
		pid, err := spaces.ParseProjectID(rest)
		if err != nil {
			return nil, err
		}
		v, err := tx.Variables(pid)
		if err != nil {
			return nil, err
		}
		set, version, owner = v.Set, v.Version, pid
	}
	for i := range set.Variables {
		set.Variables[i].Secret = 0
	}
	values, err := r.scopeValues(tx, owner)
	if err != nil {
		return nil, err
	}
	return R{"Id": id, "OwnerId": owner.String(), "SpaceId": r.row.ID(), "Version": version, "Variables": list(set.Variables), "ScopeValues": values, "Links": r.self("variables", id)}, nil
}

func (r *request) scopeValues(tx *spaces.ReadTx, project spaces.ProjectID) (R, error) {
	named := func(id, name string) R { return R{"Id": id, "Name": name} }
	out := R{"TenantTags": []any{}, "Processes": []any{}}
	environments, machines, channels, actions, roles := []R{}, []R{}, []R{}, []R{}, []R{}
	es, err := tx.Environments(spaces.All)
	if err == nil {
		for _, e := range es.Items {
			environments = append(environments, named(e.ID.String(), e.Name))
		}
	}
	if ms, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.All}); err == nil {
		for _, m := range ms.Items {
			machines = append(machines, named(m.ID.String(), m.Name))
		}
	}
	cs, err := tx.Channels(project, spaces.All)
	if err != nil {
		return nil, err
	}
	for _, c := range cs.Items {
		channels = append(channels, named(c.ID.String(), c.Name))
	}
	if p, err := tx.Process(project); err == nil {
		for _, s := range p.Steps {
			for _, a := range s.Actions {
				actions = append(actions, named(a.ID, a.Name))
			}
		}
	}
	tags, err := tx.TargetTags()
	if err != nil {
		return nil, err
	}
	for _, t := range tags {
		roles = append(roles, named(t, t))
	}
	out["Environments"], out["Machines"], out["Channels"], out["Actions"], out["Roles"] = environments, machines, channels, actions, roles
	return out, nil
}

func getVariables(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) (R, error) { return r.variableSet(tx, r.params["id"]) })
}

func updateVariables(r *request) (any, error) {
	var b struct {
		Version   int64
		Variables []variables.Variable
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	return update(r, func(tx *spaces.Tx) (R, error) {
		rest, _ := cutFold(r.params["id"], "variableset-")
		pid, err := spaces.ParseProjectID(rest)
		if err != nil {
			return nil, err
		}
		if _, err := tx.SaveVariables(pid, b.Version, variables.Set{Variables: b.Variables}); err != nil {
			return nil, err
		}
		return r.variableSet(tx.ReadTx, r.params["id"])
	})
}

func variableNames(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) ([]string, error) {
		p, err := tx.ProjectBy(r.query("project"))
		if err != nil {
			return nil, err
		}
		set, err := tx.Variables(p.ID)
		seen, out := map[string]bool{}, []string{}
		for _, v := range set.Variables {
			if !seen[strings.ToLower(v.Name)] {
				seen[strings.ToLower(v.Name)] = true
				out = append(out, v.Name)
			}
		}
		return out, err
	})
}

func variablePreview(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) (R, error) {
		p, err := tx.ProjectBy(r.query("project"))
		if err != nil {
			return nil, err
		}
		ctx := variables.Context{Environment: r.query("environment"), Machine: r.query("machine"), Channel: r.query("channel"), Action: r.query("action")}
		if role := r.query("role"); role != "" {
			ctx.Roles, ctx.StepRoles = []string{role}, []string{role}
		}
		res, err := tx.PreviewVariables(p.ID, ctx)
		if err != nil {
			return nil, err
		}
		out := []R{}
		for _, n := range res.Names {
			if w := n.Winner; w != nil {
				out = append(out, R{"Name": n.Name, "Value": w.Value, "IsSensitive": w.IsSensitive, "Scope": w.Scope, "Source": R{"SetName": w.Source}, "Octopuses": R{"Why": w.Why}})
			}
		}
		return R{"Variables": out, "Links": R{}}, nil
	})
}
