package rest

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// linkTemplates are the URI templates of a space, without its prefix. Octopus's Go client
// reads them once and builds every path of its older services from them.
var linkTemplates = map[string]string{
	"Accounts": "/accounts{/id}{?skip,take,ids,partialName,accountType}", "BuildInformation": "/build-information{/id}{?filter,packageId,latest,skip,take,overwriteMode}", "BuildInformationBulk": "/build-information/bulk{?ids}",
	"Channels": "/channels{/id}{?skip,take,ids,partialName}", "Dashboard": "/dashboard{?projectId,releaseId,selectedTenants,selectedTags,showAll,highestLatestVersionPerProjectAndEnvironment}", "DashboardDynamic": "/dashboard/dynamic{?projects,environments,includePrevious}",
	"DeploymentProcesses": "/deploymentprocesses{/id}{?skip,take,ids}", "Deployments": "/deployments{/id}{?skip,take,ids,projects,environments,tenants,channels,taskState,partialName}",
	"Environments": "/environments{/id}{?name,skip,ids,take,partialName}", "EnvironmentSortOrder": "/environments/sortorder", "EnvironmentsSummary": "/environments/summary{?ids,partialName,machinePartialName,roles,isDisabled,healthStatuses,commStyles,tenantIds,tenantTags,hideEmptyEnvironments,shellNames}",
	"Feeds": "/feeds{/id}{?skip,take,ids,partialName,feedType}", "GitCredentials": "/git-credentials{/id}{?skip,take,name}", "LibraryVariables": "/libraryvariablesets{/id}{?skip,contentType,take,ids,partialName}",
	"Lifecycles": "/lifecycles{/id}{?skip,take,ids,partialName}", "MachinePolicies": "/machinepolicies{/id}{?skip,take,ids,partialName}", "MachineRoles": "/machineroles/all",
	"Machines": "/machines{/id}{?skip,take,name,ids,partialName,roles,isDisabled,healthStatuses,commStyles,tenantIds,tenantTags,environmentIds,thumbprint,deploymentId,shellNames}", "DiscoverMachine": "/machines/discover{?host,port,type,proxyId}",
	"Packages": "/packages{/id}{?nuGetPackageId,filter,latest,skip,take,includeNotes}", "PackagesBulk": "/packages/bulk{?ids}", "PackageUpload": "/packages/raw{?replace,overwriteMode}",
	"PackageDeltaSignature": "/packages/{packageId}/{version}/delta-signature", "PackageDeltaUpload": "/packages/{packageId}/{baseVersion}/delta{?replace,overwriteMode}",
	"ProjectGroups": "/projectgroups{/id}{?skip,take,ids,partialName}", "Projects": "/projects{/id}{?name,skip,ids,clone,take,partialName,clonedFromProjectId}", "Proxies": "/proxies{/id}{?skip,take,ids,partialName}",
	"Releases": "/releases{/id}{?skip,ignoreChannelRules,take,ids}", "Runbooks": "/runbooks{/id}{?skip,take,ids,partialName,clone,projectIds}", "RunbookProcesses": "/runbookProcesses{/id}{?skip,take,ids}", "RunbookRuns": "/runbookRuns{/id}{?skip,take,ids,projects,environments,tenants,runbooks,taskState,partialName}", "RunbookSnapshots": "/runbookSnapshots{/id}{?skip,take,ids,publish}",
	"TagSets": "/tagsets{/id}{?skip,take,ids,partialName}", "TagSetSortOrder": "/tagsets/sortorder", "Tasks": "/tasks{/id}{?skip,active,environment,tenant,runbook,project,name,node,running,states,hasPendingInterruptions,hasWarningsOrErrors,take,ids,partialName,spaces,includeSystem}", "TaskTypes": "/tasks/taskTypes",
	"Tenants": "/tenants{/id}{?skip,projectId,name,tags,take,ids,clone,partialName,clonedFromTenantId}", "TenantsMissingVariables": "/tenants/variables-missing{?tenantId,projectId,environmentId,includeDetails}", "TenantVariables": "/tenantvariables/all{?projectId}", "TenantTagTest": "/tenants/tag-test{?tenantIds,tags}", "TenantsStatus": "/tenants/status",
	"Variables": "/variables{/id}{?ids}", "VariableNames": "/variables/names{?project,runbook,projectEnvironmentsFilter}", "VariablePreview": "/variables/preview{?project,runbook,environment,channel,tenant,action,machine,role}",
	"WorkerPools": "/workerpools{/id}{?name,skip,ids,take,partialName}", "WorkerPoolsSummary": "/workerpools/summary{?ids}", "WorkerPoolsSortOrder": "/workerpools/sortorder", "WorkerPoolsDynamicWorkerTypes": "/workerpools/dynamicworkertypes", "WorkerPoolsSupportedTypes": "/workerpools/supportedtypes",
	"Workers": "/workers{/id}{?skip,take,name,ids,partialName,isDisabled,healthStatuses,commStyles,workerPoolIds,thumbprint,shellNames}", "DiscoverWorker": "/workers/discover{?host,port,type,proxyId}",
	"Interruptions": "/interruptions{/id}{?skip,take,regarding,pendingOnly,ids}", "Artifacts": "/artifacts{/id}{?skip,take,regarding,ids,partialName,order}", "Certificates": "/certificates{/id}{?skip,take,search,archived,tenant,firstResult,orderBy,ids,partialName}", "ActionTemplates": "/actiontemplates{/id}{?skip,take,ids,partialName}", "ProjectTriggers": "/projecttriggers{/id}{?skip,take,ids,runbooks}",
	"RetentionDefaultConfiguration": "/retentionpolicies{/id}",
}

var systemTemplates = map[string]string{
	"Spaces": "/api/spaces{/id}{?name,skip,ids,take,partialName}", "SpaceHome": "/api/{spaceId}", "Users": "/api/users{/id}{?skip,take,ids,filter}", "CurrentUser": "/api/users/me", "Teams": "/api/teams{/id}{?skip,take,ids,partialName,spaces,includeSystem}",
	"UserRoles": "/api/userroles{/id}{?skip,take,ids,partialName}", "ScopedUserRoles": "/api/scopeduserroles{/id}{?skip,take,ids,partialName,spaces,includeSystem}", "Events": "/api/events{/id}{?skip,take}", "SignIn": "/api/users/login{?returnUrl}", "SignOut": "/api/users/logout", "Register": "/api/users/register",
	"Invitations": "/api/users/invitations", "ServerStatus": "/api/serverstatus", "Web": "/app",
}

func rootDocument(s *Server, self, prefix string) R {
	links := R{"Self": self}
	for name, t := range linkTemplates {
		links[name] = prefix + t
	}
	for name, t := range systemTemplates {
		links[name] = t
	}
	if prefix == "" {
		for name := range linkTemplates {
			delete(links, name)
		}
	}
	return R{"Application": "Octopus Deploy", "Version": reportedVersion, "ApiVersion": "3.0.0", "InstallationId": s.Install, "IsEarlyAccessProgram": false, "HasLongTermSupport": true, "Octopuses": R{"Version": s.Version}, "Links": links}
}

// root answers without sign-in, as Octopus does; links to a default space are given to
// everybody, what is behind them is not.
func root(r *request) (any, error) {
	prefix := ""
	if d, err := r.s.Instance.DefaultSpace(r.ctx); err == nil {
		prefix = "/api/" + d.ID()
	}
	return rootDocument(r.s, "/api", prefix), nil
}

func spaceRoot(r *request) (any, error) { return rootDocument(r.s, r.prefix, r.prefix), nil }

func (r *request) spaceResource(s instance.Space) (R, error) {
	managers, err := r.s.Instance.Managers(r.ctx, s)
	if err != nil {
		return nil, err
	}
	members := []string{}
	for _, m := range managers {
		members = append(members, fmt.Sprintf("Users-%d", m))
	}
	return R{"Id": s.ID(), "Name": s.Name, "Slug": s.Slug, "Description": s.Description, "IsDefault": s.IsDefault, "TaskQueueStopped": s.TaskQueueStopped, "SpaceManagersTeams": []string{"teams-spacemanagers-" + s.ID()}, "SpaceManagersTeamMembers": members,
		"Links": R{"Self": "/api/spaces/" + s.ID(), "SpaceHome": "/api/" + s.ID(), "Web": "/app#/" + s.ID()}}, nil
}

// visible are the spaces that the caller may enter, and all for who may see spaces.
func (r *request) visible() ([]instance.Space, error) {
	if r.system.Permissions.Any(access.SpaceView) {
		return r.s.Instance.Spaces(r.ctx)
	}
	return r.s.Instance.SpacesOf(r.ctx, r.user.ID)
}

func (r *request) spaceItems() ([]R, error) {
	all, err := r.visible()
	if err != nil {
		return nil, err
	}
	ids := r.queryList("ids")
	items := []R{}
	for _, s := range all {
		if p := r.query("partialName"); p != "" && !strings.Contains(strings.ToLower(s.Name), strings.ToLower(p)) {
			continue
		}
		if n := r.query("name"); n != "" && !strings.EqualFold(n, s.Name) {
			continue
		}
		if len(ids) > 0 && !containsFold(ids, s.ID()) {
			continue
		}
		x, err := r.spaceResource(s)
		if err != nil {
			return nil, err
		}
		items = append(items, x)
	}
	return items, nil
}

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

// cut takes the part of a whole list that a client asked for.
func (r *request) cut(kind string, items []R) R {
	skip, take := r.number("skip"), r.number("take")
	if take == 0 {
		take = 30
	}
	total := len(items)
	items = items[min(skip, total):min(skip+take, total)]
	return r.page(kind, items, total, skip, take)
}

func listSpaces(r *request) (any, error) {
	items, err := r.spaceItems()
	if err != nil {
		return nil, err
	}
	return r.cut("Space", items), nil
}

func allSpaces(r *request) (any, error) { return r.spaceItems() }

func (r *request) findSpace() (instance.Space, error) {
	s, err := r.s.Instance.SpaceBy(r.ctx, r.params["id"])
	if err != nil {
		return s, err
	}
	all, err := r.visible()
	if err != nil {
		return s, err
	}
	for _, v := range all {
		if v.Number == s.Number {
			return s, nil
		}
	}
	return s, errs.Missing("space", r.params["id"])
}

func getSpace(r *request) (any, error) {
	s, err := r.findSpace()
	if err != nil {
		return nil, err
	}
	return r.spaceResource(s)
}

type spaceBody struct {
	Name, Slug, Description  string
	IsDefault                bool
	TaskQueueStopped         bool
	SpaceManagersTeamMembers []string
	SpaceManagersTeams       []string
}

func (b spaceBody) input() instance.SpaceInput {
	in := instance.SpaceInput{Name: b.Name, Slug: b.Slug, Description: b.Description, IsDefault: b.IsDefault, TaskQueueStopped: b.TaskQueueStopped}
	for _, m := range b.SpaceManagersTeamMembers {
		var n int64
		if _, err := fmt.Sscanf(strings.ToLower(m), "users-%d", &n); err == nil {
			in.Managers = append(in.Managers, n)
		}
	}
	return in
}

func createSpace(r *request) (any, error) {
	var b spaceBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	in := b.input()
	for _, t := range b.SpaceManagersTeams {
		if strings.EqualFold(t, "teams-administrators") || strings.EqualFold(t, "teams-managers") || strings.EqualFold(t, "teams-everyone") {
			in.Managers = append(in.Managers, r.user.ID)
		}
	}
	s, err := NewSpace(r.ctx, r.s.Instance, r.s.Spaces, r.system, in)
	if err != nil {
		return nil, err
	}
	x, err := r.spaceResource(s)
	return created{x}, err
}

func updateSpace(r *request) (any, error) {
	s, err := r.findSpace()
	if err != nil {
		return nil, err
	}
	var b spaceBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	if s, err = r.s.Instance.UpdateSpace(r.ctx, r.system, s, b.input()); err != nil {
		return nil, err
	}
	return r.spaceResource(s)
}

func deleteSpace(r *request) (any, error) {
	s, err := r.findSpace()
	if err != nil {
		return nil, err
	}
	// The API has no field for the typed name: whoever calls it named the id.
	if err := r.s.Instance.DeleteSpace(r.ctx, r.system, s, s.Name); err != nil {
		return nil, err
	}
	return R{"Id": s.ID()}, r.s.Spaces.Delete(s.Folder)
}

func (r *request) userResource(u instance.User) R {
	self := "/api/users/" + u.APIID()
	return R{"Id": u.APIID(), "Username": u.Username, "DisplayName": u.DisplayName, "EmailAddress": u.Email, "IsActive": u.IsActive, "IsService": u.IsService, "IsRequestor": u.ID == r.user.ID, "CanPasswordBeEdited": !u.IsService, "Identities": []any{},
		"Links": R{"Self": self, "ApiKeys": self + "/apikeys{/id}{?skip,take}", "Permissions": self + "/permissions", "Spaces": self + "/spaces", "Teams": self + "/teams"}}
}

func me(r *request) (any, error) { return r.userResource(r.user), nil }

func (r *request) userItems() ([]R, error) {
	if !r.system.Permissions.Any(access.UserView) {
		return nil, access.Missing(access.UserView)
	}
	all, err := r.s.Instance.Users(r.ctx)
	if err != nil {
		return nil, err
	}
	items := []R{}
	for _, u := range all {
		if f := strings.ToLower(r.query("filter")); f == "" || strings.Contains(strings.ToLower(u.Username+" "+u.DisplayName), f) {
			items = append(items, r.userResource(u))
		}
	}
	return items, nil
}

func listUsers(r *request) (any, error) {
	items, err := r.userItems()
	if err != nil {
		return nil, err
	}
	return r.cut("User", items), nil
}

func allUsers(r *request) (any, error) { return r.userItems() }

func (r *request) findUser() (instance.User, error) {
	u, err := r.s.Instance.UserBy(r.ctx, r.params["id"])
	if err == nil && u.ID != r.user.ID && !r.system.Permissions.Any(access.UserView) {
		return u, errs.Missing("user", r.params["id"])
	}
	return u, err
}

func getUser(r *request) (any, error) {
	u, err := r.findUser()
	return r.userResource(u), err
}

type userBody struct {
	Username, DisplayName, EmailAddress, Password string
	IsActive, IsService                           bool
}

func (b userBody) input() instance.UserInput {
	return instance.UserInput{Username: b.Username, DisplayName: b.DisplayName, Email: b.EmailAddress, Password: b.Password, IsActive: b.IsActive, IsService: b.IsService}
}

func createUser(r *request) (any, error) {
	var b userBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	u, err := r.s.Instance.CreateUser(r.ctx, r.system, b.input())
	return created{r.userResource(u)}, err
}

func updateUser(r *request) (any, error) {
	u, err := r.findUser()
	if err != nil {
		return nil, err
	}
	var b userBody
	if err := r.body(&b); err != nil {
		return nil, err
	}
	u, err = r.s.Instance.UpdateUser(r.ctx, r.system, u.ID, b.input())
	return r.userResource(u), err
}

func deleteUser(r *request) (any, error) {
	u, err := r.findUser()
	if err != nil {
		return nil, err
	}
	return R{"Id": u.APIID()}, r.s.Instance.DeleteUser(r.ctx, r.system, u.ID)
}

func keyResource(k instance.APIKey, key any) R {
	return R{"Id": fmt.Sprintf("apikeys-%d", k.ID), "UserId": fmt.Sprintf("Users-%d", k.UserID), "Purpose": k.Purpose, "ApiKey": key, "Created": stamp(&k.CreatedAt), "Expires": stamp(k.ExpiresAt), "Links": R{"Self": fmt.Sprintf("/api/users/Users-%d/apikeys/apikeys-%d", k.UserID, k.ID)}}
}

func hidden(k instance.APIKey) R { return R{"HasValue": true, "Hint": k.Hint, "NewValue": nil} }

func (r *request) mayManageKeys(u instance.User) error {
	if u.ID != r.user.ID && !r.system.Permissions.Any(access.UserEdit) {
		return access.Missing(access.UserEdit)
	}
	return nil
}

func listKeys(r *request) (any, error) {
	u, err := r.findUser()
	if err == nil {
		err = r.mayManageKeys(u)
	}
	if err != nil {
		return nil, err
	}
	all, err := r.s.Instance.APIKeys(r.ctx, u)
	items := []R{}
	for _, k := range all {
		items = append(items, keyResource(k, hidden(k)))
	}
	return r.cut("ApiKey", items), err
}

func (r *request) key(u instance.User) (instance.APIKey, error) {
	var n int64
	fmt.Sscanf(strings.ToLower(r.params["key"]), "apikeys-%d", &n)
	return r.s.Instance.APIKey(r.ctx, u, n)
}

func getKey(r *request) (any, error) {
	u, err := r.findUser()
	if err == nil {
		err = r.mayManageKeys(u)
	}
	if err != nil {
		return nil, err
	}
	k, err := r.key(u)
	return keyResource(k, hidden(k)), err
}

func createKey(r *request) (any, error) {
	u, err := r.findUser()
	if err != nil {
		return nil, err
	}
	var b struct {
		Purpose string
		Expires *time.Time
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	k, key, err := r.s.Instance.CreateAPIKey(r.ctx, r.system, u, b.Purpose, b.Expires, "")
	return created{keyResource(k, key)}, err
}

func deleteKey(r *request) (any, error) {
	u, err := r.findUser()
	if err != nil {
		return nil, err
	}
	k, err := r.key(u)
	if err != nil {
		return nil, err
	}
	return R{"Id": fmt.Sprintf("apikeys-%d", k.ID)}, r.s.Instance.RevokeAPIKey(r.ctx, r.system, u, k.ID)
}

func userSpaces(r *request) (any, error) {
	u, err := r.findUser()
	if err != nil {
		return nil, err
	}
	all, err := r.s.Instance.SpacesOf(r.ctx, u.ID)
	items := []R{}
	for _, s := range all {
		x, err := r.spaceResource(s)
		if err != nil {
			return nil, err
		}
		items = append(items, x)
	}
	return items, err
}

func (r *request) teamItems() ([]R, error) {
	if !r.system.Permissions.Any(access.TeamView) {
		return nil, access.Missing(access.TeamView)
	}
	all, err := r.s.Instance.Teams(r.ctx)
	items := []R{}
	for _, t := range all {
		members := []string{}
		for _, m := range t.Members {
			members = append(members, fmt.Sprintf("Users-%d", m))
		}
		items = append(items, R{"Id": t.APIID(), "Name": t.Name, "Description": t.Description, "MemberUserIds": members, "ExternalSecurityGroups": []any{}, "SpaceId": nil, "CanBeDeleted": false, "CanBeRenamed": false, "CanChangeMembers": true, "CanChangeRoles": false, "Links": R{"Self": "/api/teams/" + t.APIID()}})
	}
	return items, err
}

func listTeams(r *request) (any, error) {
	items, err := r.teamItems()
	if err != nil {
		return nil, err
	}
	return r.cut("Team", items), nil
}

func allTeams(r *request) (any, error) { return r.teamItems() }

func roleItems() []R {
	items := []R{}
	for _, x := range access.Roles() {
		items = append(items, R{"Id": x.ID, "Name": x.Name, "Description": x.Description, "CanBeDeleted": false, "GrantedSystemPermissions": list(x.System), "GrantedSpacePermissions": list(x.Space), "SupportedRestrictions": []string{}, "Links": R{"Self": "/api/userroles/" + x.ID}})
	}
	return items
}

func listRoles(r *request) (any, error) { return r.cut("UserRole", roleItems()), nil }
func allRoles(r *request) (any, error)  { return roleItems(), nil }

func serverStatus(r *request) (any, error) {
	return R{"IsDatabaseEncrypted": true, "IsInMaintenanceMode": false, "Id": "serverstatus", "Links": R{"Self": "/api/serverstatus"}}, nil
}

// A task at server level is looked for in the spaces that the caller may enter: clients
// ask there with the id alone. Ids of tasks are counted in each space, so the space that
// a client means is the default one if that has it.
func (r *request) inSpaces(f func() (any, error)) (any, error) {
	all, err := r.s.Instance.SpacesOf(r.ctx, r.user.ID)
	if err != nil {
		return nil, err
	}
	err = errs.Missing("task", r.params["id"])
	for _, first := range []bool{true, false} {
		for _, s := range all {
			if s.IsDefault != first {
				continue
			}
			if eerr := r.s.enter(r, s.ID()); eerr != nil {
				return nil, eerr
			}
			v, ferr := f()
			if ferr == nil {
				return v, nil
			}
			if errs.KindOf(ferr) != errs.NotFound {
				return nil, ferr
			}
			r.space.Release()
			r.space = nil
		}
	}
	return nil, err
}

func findTask(r *request) (any, error) { return r.inSpaces(func() (any, error) { return getTask(r) }) }
func findTaskDetails(r *request) (any, error) {
	return r.inSpaces(func() (any, error) { return taskDetails(r) })
}
func findTaskRaw(r *request) (any, error) {
	return r.inSpaces(func() (any, error) { return taskRaw(r) })
}
func findTaskCancel(r *request) (any, error) {
	return r.inSpaces(func() (any, error) { return cancelTask(r) })
}

func findTasks(r *request) (any, error) {
	if err := r.s.enter(r, ""); err != nil {
		return nil, err
	}
	return listTasks(r)
}
