package rest

import (
	"encoding/json"
	"strings"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
)

func none(kind string) handler {
	return func(r *request) (any, error) { return r.page(kind, nil, 0, 0, 30), nil }
}

func empty(*request) (any, error) { return []R{}, nil }

func (r *request) self(collection, id string) R {
	return R{"Self": r.prefix + "/" + collection + "/" + id}
}

func (r *request) environment(e spaces.Environment) R {
	return R{"Id": e.ID.String(), "SpaceId": r.row.ID(), "Name": e.Name, "Slug": e.Slug, "Description": e.Description, "SortOrder": e.SortOrder, "UseGuidedFailure": e.UseGuidedFailure, "AllowDynamicInfrastructure": e.AllowDynamicInfrastructure,
		"ExtensionSettings": []any{}, "EnvironmentTags": []string{}, "LastModifiedOn": stamp(&e.UpdatedAt), "LastModifiedBy": e.UpdatedBy, "Links": r.self("environments", e.ID.String())}
}

func listEnvironments(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Environment], error) { return tx.Environments(r.list()) })
	return pageOf(r, "Environment", p, r.environment), err
}

// allOf answers a whole list as a bare array.
func allOf[T any](r *request, f func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[T], error), g func(T) R) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[T], error) {
		o := spaces.All
		o.IDs = r.queryList("ids")
		return f(tx, o)
	})
	items := make([]R, len(p.Items))
	for i, x := range p.Items {
		items[i] = g(x)
	}
	return items, err
}

func allEnvironments(r *request) (any, error) {
	return allOf(r, (*spaces.ReadTx).Environments, r.environment)
}

func getEnvironment(r *request) (any, error) {
	e, err := view(r, func(tx *spaces.ReadTx) (spaces.Environment, error) { return tx.EnvironmentBy(r.params["id"]) })
	return r.environment(e), err
}

type environmentBody struct {
	Name, Slug, Description    string
	SortOrder                  *int
	UseGuidedFailure           bool
	AllowDynamicInfrastructure bool
}

func (b environmentBody) input() spaces.EnvironmentInput {
	return spaces.EnvironmentInput{Name: b.Name, Slug: b.Slug, Description: b.Description, SortOrder: b.SortOrder, UseGuidedFailure: b.UseGuidedFailure, AllowDynamicInfrastructure: b.AllowDynamicInfrastructure}
}

func createEnvironment(r *request) (any, error) {
	var b environmentBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	e, err := update(r, func(tx *spaces.Tx) (spaces.Environment, error) { return tx.CreateEnvironment(b.input()) })
	return created{r.environment(e)}, err
}

func updateEnvironment(r *request) (any, error) {
	var b environmentBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	e, err := update(r, func(tx *spaces.Tx) (spaces.Environment, error) {
		id, err := spaces.ParseEnvironmentID(r.params["id"])
		if err != nil {
			return spaces.Environment{}, err
		}
		return tx.UpdateEnvironment(id, b.input())
	})
	return r.environment(e), err
}

// deleted answers a deletion; Octopus's old client takes only 200 with JSON for success.
func deleted[ID ~int64](r *request, parse func(string) (ID, error), f func(tx *spaces.Tx, id ID) error) (any, error) {
	id, err := parse(r.params["id"])
	if err != nil {
		return nil, err
	}
	_, err = update(r, func(tx *spaces.Tx) (struct{}, error) { return struct{}{}, f(tx, id) })
	return R{"Id": r.params["id"]}, err
}

func deleteEnvironment(r *request) (any, error) {
	return deleted(r, spaces.ParseEnvironmentID, (*spaces.Tx).DeleteEnvironment)
}

func sortEnvironments(r *request) (any, error) {
	var ids []string
	if err := r.body(&ids); err != nil {
		return nil, err
	}
	_, err := update(r, func(tx *spaces.Tx) (struct{}, error) {
		var order []spaces.EnvironmentID
		for _, s := range ids {
			id, err := spaces.ParseEnvironmentID(s)
			if err != nil {
				return struct{}{}, err
			}
			order = append(order, id)
		}
		return struct{}{}, tx.SortEnvironments(order)
	})
	return R{}, err
}

// asMap turns a document with its own JSON form into a resource.
func asMap(v any) R {
	b, err := json.Marshal(v)
	if err != nil {
		return R{}
	}
	out := R{}
	json.Unmarshal(b, &out)
	return out
}

func (r *request) lifecycle(l spaces.Lifecycle) R {
	out := asMap(l.Lifecycle)
	out["Id"], out["SpaceId"], out["Slug"], out["IsDefault"] = l.ID.String(), r.row.ID(), l.Slug, l.IsDefault
	out["LastModifiedOn"], out["LastModifiedBy"] = stamp(&l.UpdatedAt), l.UpdatedBy
	out["Links"] = R{"Self": r.prefix + "/lifecycles/" + l.ID.String(), "Projects": r.prefix + "/lifecycles/" + l.ID.String() + "/projects", "Preview": r.prefix + "/lifecycles/" + l.ID.String() + "/preview"}
	return out
}

func listLifecycles(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Lifecycle], error) { return tx.Lifecycles(r.list()) })
	return pageOf(r, "Lifecycle", p, r.lifecycle), err
}

func allLifecycles(r *request) (any, error) {
	return allOf(r, (*spaces.ReadTx).Lifecycles, r.lifecycle)
}

func getLifecycle(r *request) (any, error) {
	l, err := view(r, func(tx *spaces.ReadTx) (spaces.Lifecycle, error) { return tx.LifecycleBy(r.params["id"]) })
	if err != nil {
		return nil, err
	}
	return r.lifecycle(l), nil
}

func createLifecycle(r *request) (any, error) {
	var b deploy.Lifecycle
	if err := r.body(&b); err != nil {
		return nil, err
	}
	l, err := update(r, func(tx *spaces.Tx) (spaces.Lifecycle, error) { return tx.CreateLifecycle(b) })
	if err != nil {
		return nil, err
	}
	return created{r.lifecycle(l)}, nil
}

func updateLifecycle(r *request) (any, error) {
	var b deploy.Lifecycle
	if err := r.body(&b); err != nil {
		return nil, err
	}
	l, err := update(r, func(tx *spaces.Tx) (spaces.Lifecycle, error) {
		id, err := spaces.ParseLifecycleID(r.params["id"])
		if err != nil {
			return spaces.Lifecycle{}, err
		}
		return tx.UpdateLifecycle(id, b)
	})
	if err != nil {
		return nil, err
	}
	return r.lifecycle(l), nil
}

func deleteLifecycle(r *request) (any, error) {
	return deleted(r, spaces.ParseLifecycleID, (*spaces.Tx).DeleteLifecycle)
}

func lifecycleProjects(r *request) (any, error) {
	all, err := allOf(r, func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Project], error) {
		return tx.Projects(0, o)
	}, r.project)
	if err != nil {
		return nil, err
	}
	out := []R{}
	for _, p := range all.([]R) {
		if strings.EqualFold(p["LifecycleId"].(string), r.params["id"]) {
			out = append(out, p)
		}
	}
	return out, nil
}

func (r *request) group(g spaces.ProjectGroup) R {
	self := r.prefix + "/projectgroups/" + g.ID.String()
	return R{"Id": g.ID.String(), "SpaceId": r.row.ID(), "Name": g.Name, "Slug": g.Slug, "Description": g.Description, "EnvironmentIds": []string{}, "RetentionPolicyId": nil, "LastModifiedOn": stamp(&g.UpdatedAt), "LastModifiedBy": g.UpdatedBy, "Links": R{"Self": self, "Projects": self + "/projects"}}
}

func listGroups(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.ProjectGroup], error) { return tx.ProjectGroups(r.list()) })
	return pageOf(r, "ProjectGroup", p, r.group), err
}

func allGroups(r *request) (any, error) { return allOf(r, (*spaces.ReadTx).ProjectGroups, r.group) }

func getGroup(r *request) (any, error) {
	g, err := view(r, func(tx *spaces.ReadTx) (spaces.ProjectGroup, error) { return tx.ProjectGroupBy(r.params["id"]) })
	return r.group(g), err
}

func createGroup(r *request) (any, error) {
	var b spaces.ProjectGroupInput
	if err := r.body(&b); err != nil {
		return nil, err
	}
	g, err := update(r, func(tx *spaces.Tx) (spaces.ProjectGroup, error) { return tx.CreateProjectGroup(b) })
	return created{r.group(g)}, err
}

func updateGroup(r *request) (any, error) {
	var b spaces.ProjectGroupInput
	if err := r.body(&b); err != nil {
		return nil, err
	}
	g, err := update(r, func(tx *spaces.Tx) (spaces.ProjectGroup, error) {
		id, err := spaces.ParseProjectGroupID(r.params["id"])
		if err != nil {
			return spaces.ProjectGroup{}, err
		}
		return tx.UpdateProjectGroup(id, b)
	})
	return r.group(g), err
}

func deleteGroup(r *request) (any, error) {
	return deleted(r, spaces.ParseProjectGroupID, (*spaces.Tx).DeleteProjectGroup)
}

func groupProjects(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Project], error) {
		g, err := tx.ProjectGroupBy(r.params["id"])
		if err != nil {
			return spaces.Page[spaces.Project]{}, err
		}
		return tx.Projects(g.ID, r.list())
	})
	return pageOf(r, "Project", p, r.project), err
}

// The built-in feed exists in every space and cannot be changed.
func (r *request) feed() R {
	self := r.prefix + "/feeds/" + spaces.BuiltInFeed
	return R{"Id": spaces.BuiltInFeed, "SpaceId": r.row.ID(), "Name": "Octopuses Server (built-in)", "Slug": "built-in", "FeedType": "BuiltIn", "PackageAcquisitionLocationOptions": []string{"Server", "ExecutionTarget"}, "IsBuiltInRepoSyncEnabled": false,
		"Links": R{"Self": self, "SearchPackagesTemplate": self + "/packages/search{?term,take,skip}", "SearchPackageVersionsTemplate": self + "/packages/versions{?packageId,take,skip,includePreRelease,versionRange,preReleaseTag,includeReleaseNotes,filter}"}}
}

func (r *request) feedItems() []R {
	if t := r.query("feedType"); t != "" && !strings.EqualFold(t, "BuiltIn") {
		return []R{}
	}
	if ids := r.queryList("ids"); len(ids) > 0 && !containsFold(ids, spaces.BuiltInFeed) {
		return []R{}
	}
	if p := r.query("partialName"); p != "" && !strings.Contains("octopuses server (built-in)", strings.ToLower(p)) {
		return []R{}
	}
	return []R{r.feed()}
}

func listFeeds(r *request) (any, error) { return r.cut("Feed", r.feedItems()), nil }
func allFeeds(r *request) (any, error)  { return r.feedItems(), nil }

func (r *request) checkFeed() error {
	if !strings.EqualFold(r.params["id"], spaces.BuiltInFeed) {
		return errs.Missing("feed", r.params["id"])
	}
	return nil
}

func getFeed(r *request) (any, error) { return r.feed(), r.checkFeed() }

func searchFeed(r *request) (any, error) {
	if err := r.checkFeed(); err != nil {
		return nil, err
	}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) {
		return tx.Packages(spaces.PackageFilter{Partial: r.query("term"), LatestOnly: true, Skip: r.number("skip"), Take: r.number("take")})
	})
	return pageOf(r, "PackageDescription", p, func(p spaces.Package) R {
		return R{"Id": p.PackageID, "Name": p.PackageID, "Description": "", "LatestVersion": p.Version, "Links": R{}}
	}), err
}

func feedVersions(r *request) (any, error) {
	if err := r.checkFeed(); err != nil {
		return nil, err
	}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) {
		return tx.Packages(spaces.PackageFilter{PackageID: r.query("packageId"), Skip: r.number("skip"), Take: r.number("take")})
	})
	return pageOf(r, "PackageVersion", p, func(p spaces.Package) R {
		return R{"Id": p.ID(), "FeedId": spaces.BuiltInFeed, "PackageId": p.PackageID, "Version": p.Version, "Title": p.PackageID, "Published": stamp(&p.PublishedAt), "SizeBytes": p.Size, "Links": R{}}
	}), err
}

// The machine policy that every target has; it cannot be changed in this version.
func (r *request) policy() R {
	return R{"Id": "MachinePolicies-1", "SpaceId": r.row.ID(), "Name": "Default Machine Policy", "Description": "", "IsDefault": true,
		"MachineHealthCheckPolicy":  R{"HealthCheckInterval": "01:00:00", "HealthCheckCronTimezone": "UTC", "HealthCheckType": "RunScript", "BashHealthCheckPolicy": R{"RunType": "InheritFromDefault"}, "PowerShellHealthCheckPolicy": R{"RunType": "InheritFromDefault"}},
		"MachineConnectivityPolicy": R{"MachineConnectivityBehavior": "ExpectedToBeOnline"}, "MachineCleanupPolicy": R{"DeleteMachinesBehavior": "DoNotDelete", "DeleteMachinesElapsedTimeSpan": "00:00:00"},
		"MachineUpdatePolicy":      R{"CalamariUpdateBehavior": "UpdateOnDeployment", "TentacleUpdateBehavior": "NeverUpdate"},
		"ConnectionConnectTimeout": "00:01:00", "ConnectionRetrySleepInterval": "00:00:01", "ConnectionRetryTimeLimit": "00:05:00", "ConnectionRetryCountLimit": 5, "PollingRequestQueueTimeout": "00:02:00", "Links": r.self("machinepolicies", "MachinePolicies-1")}
}

func listPolicies(r *request) (any, error) { return r.cut("MachinePolicy", []R{r.policy()}), nil }
func allPolicies(r *request) (any, error)  { return []R{r.policy()}, nil }

func getPolicy(r *request) (any, error) {
	if !strings.EqualFold(r.params["id"], "MachinePolicies-1") {
		return nil, errs.Missing("machine policy", r.params["id"])
	}
	return r.policy(), nil
}
