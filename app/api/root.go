package api

import (
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/versions"
)

// compatible is the version of Octopus's API that we answer as: clients refuse whole
// features to a server that says less than 2022.3.5512.
const compatible = "2025.4.100"

func rootRoutes() []Row {
	return []Row{
		get("", Public, "", root),
		get("", InSpace, "", spaceRoot),
		get("/serverstatus", SignedIn, "", serverStatus),
		get("/octopusservernodes/ping", Public, "", func(r *request) error { return r.ok(struct{}{}) }),
	}
}

type rootResource struct {
	Application          string `json:"Application"`
	Version              string `json:"Version"`
	APIVersion           string `json:"ApiVersion"`
	ServerVersion        string `json:"ServerVersion"` // of Octopuses
	InstallationID       string `json:"InstallationId"`
	IsEarlyAccessProgram bool   `json:"IsEarlyAccessProgram"`
	HasLongTermSupport   bool   `json:"HasLongTermSupport"`
	Links                links  `json:"Links"`
}

// root is the first thing that a client reads. Its links to things of a space lead to
// the default space, for clients that know of no spaces.
func root(r *request) error {
	about, err := r.s.Instance.DefaultSpace(r.ctx)
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return err
	}
	space := r.api(about.ID())
	if err != nil {
		space = r.api() // no default: these links answer "not found"
	}
	return r.root(r.api(), space)
}

func spaceRoot(r *request) error { return r.root(r.in(), r.in()) }

func (r *request) root(self, space string) error {
	id, err := r.s.installationID(r.ctx)
	if err != nil {
		return err
	}
	out := rootResource{Application: "Octopus Deploy", Version: r.s.apiVersion(), APIVersion: "3.0.0", ServerVersion: r.s.Version, InstallationID: id, HasLongTermSupport: true, Links: links{"Self": self}}
	for _, line := range strings.Split(strings.TrimSpace(spaceTemplates), "\n") {
		name, template, _ := strings.Cut(line, " ")
		out.Links[name] = space + template
	}
	for _, line := range strings.Split(strings.TrimSpace(serverTemplates), "\n") {
		name, template, _ := strings.Cut(line, " ")
		out.Links[name] = r.api() + template
	}
	out.Links["Web"] = r.s.prefix() + "/"
	if self == space {
		out.Links["Tasks"] = space + "/tasks" + taskVariables
		out.Links["Events"] = space + "/events" + eventVariables
		out.Links["Teams"] = space + "/teams{/id}{?skip,take,ids,partialName,spaces,includeSystem}"
	}
	return r.ok(out)
}

func (s *Server) apiVersion() string {
	least, _ := versions.Parse("2022.3.5512")
	if v, err := versions.Parse(s.Version); err == nil && versions.Compare(v, least) >= 0 {
		return s.Version
	}
	return compatible
}

func serverStatus(r *request) error {
	return r.ok(map[string]any{"Id": "serverstatus", "IsInMaintenanceMode": false, "IsDatabaseEncrypted": true, "IsUpgradeAvailable": false, "MaximumAvailableVersion": r.s.Version, "Links": links{"Self": r.api("serverstatus")}})
}

const taskVariables = `{/id}{?skip,active,environment,tenant,runbook,project,name,node,running,states,hasPendingInterruptions,hasWarningsOrErrors,take,ids,partialName,spaces,includeSystem}`

const eventVariables = `{/id}{?skip,regarding,regardingAny,user,users,projects,projectGroups,environments,eventGroups,eventCategories,eventAgents,tags,tenants,from,to,internal,fromAutoId,toAutoId,documentTypes,asCsv,take,ids,spaces,includeSystem,excludeDifference}`

// The variables of a template matter: the older half of the Go client sends only
// parameters that its template names.
const spaceTemplates = `
Accounts /accounts{/id}{?skip,take,ids,partialName,accountType}
ActionTemplates /actiontemplates{/id}{?skip,take,ids,partialName}
ActionTemplatesCategories /actiontemplates/categories
ActionTemplatesSearch /actiontemplates/search
Artifacts /artifacts{/id}{?skip,take,regarding,ids,partialName,order}
BuildInformation /build-information{/id}{?filter,packageId,latest,skip,take,overwriteMode}
BuildInformationBulk /build-information/bulk{?ids}
BuiltInFeedStats /feeds/stats
Certificates /certificates{/id}{?skip,take,search,archived,tenant,firstResult,orderBy,ids,partialName}
Channels /channels{/id}{?skip,take,ids,partialName}
Dashboard /dashboard{?projectId,releaseId,selectedTenants,selectedTags,showAll,highestLatestVersionPerProjectAndEnvironment}
DashboardDynamic /dashboard/dynamic{?projects,environments,includePrevious}
DeploymentProcesses /deploymentprocesses{/id}{?skip,take,ids}
Deployments /deployments{/id}{?skip,take,ids,projects,environments,tenants,channels,taskState,partialName}
DiscoverMachine /machines/discover{?host,port,type,proxyId}
DiscoverWorker /workers/discover{?host,port,type,proxyId}
Environments /environments{/id}{?name,skip,ids,take,partialName}
EnvironmentSortOrder /environments/sortorder
EnvironmentsSummary /environments/summary{?ids,partialName,machinePartialName,roles,isDisabled,healthStatuses,commStyles,tenantIds,tenantTags,hideEmptyEnvironments,shellNames}
Feeds /feeds{/id}{?skip,take,ids,partialName,feedType}
GitCredentials /git-credentials{/id}{?skip,take,name}
Interruptions /interruptions{/id}{?skip,take,regarding,pendingOnly,ids}
LibraryVariables /libraryvariablesets{/id}{?skip,contentType,take,ids,partialName}
Lifecycles /lifecycles{/id}{?skip,take,ids,partialName}
MachinePolicies /machinepolicies{/id}{?skip,take,ids,partialName}
MachineRoles /machineroles/all
Machines /machines{/id}{?skip,take,name,ids,partialName,roles,isDisabled,healthStatuses,commStyles,tenantIds,tenantTags,environmentIds,thumbprint,deploymentId,shellNames}
Packages /packages{/id}{?nuGetPackageId,filter,latest,skip,take,includeNotes}
PackagesBulk /packages/bulk{?ids}
PackageUpload /packages/raw{?replace,overwriteMode}
PackageDeltaSignature /packages/{packageId}/{version}/delta-signature
PackageDeltaUpload /packages/{packageId}/{baseVersion}/delta{?replace,overwriteMode}
ProjectGroups /projectgroups{/id}{?skip,take,ids,partialName}
Projects /projects{/id}{?name,skip,ids,clone,take,partialName,clonedFromProjectId}
ProjectTriggers /projecttriggers{/id}{?skip,take,ids,runbooks}
Proxies /proxies{/id}{?skip,take,ids,partialName}
Releases /releases{/id}{?skip,ignoreChannelRules,take,ids}
Runbooks /runbooks{/id}{?skip,take,ids,partialName,clone,projectIds}
RunbookProcesses /runbookProcesses{/id}{?skip,take,ids}
RunbookRuns /runbookRuns{/id}{?skip,take,ids,projects,environments,tenants,runbooks,taskState,partialName}
RunbookSnapshots /runbookSnapshots{/id}{?skip,take,ids,publish}
Subscriptions /subscriptions{/id}{?skip,take,ids,partialName,spaces}
TagSets /tagsets{/id}{?skip,take,ids,partialName}
TagSetSortOrder /tagsets/sortorder
Tenants /tenants{/id}{?skip,projectId,name,tags,take,ids,clone,partialName,clonedFromTenantId}
TenantsMissingVariables /tenants/variables-missing{?tenantId,projectId,environmentId,includeDetails}
TenantVariables /tenantvariables/all{?projectId}
TenantTagTest /tenants/tag-test{?tenantIds,tags}
TenantsStatus /tenants/status
Variables /variables{/id}{?ids}
VariableNames /variables/names{?project,runbook,projectEnvironmentsFilter}
VariablePreview /variables/preview{?project,runbook,environment,channel,tenant,action,machine,role}
WorkerPools /workerpools{/id}{?name,skip,ids,take,partialName}
WorkerPoolsSummary /workerpools/summary{?ids,partialName,machinePartialName,isDisabled,healthStatuses,commStyles,hideEmptyWorkerPools,shellNames}
WorkerPoolsSortOrder /workerpools/sortorder
WorkerPoolsDynamicWorkerTypes /workerpools/dynamicworkertypes
WorkerPoolsSupportedTypes /workerpools/supportedtypes
Workers /workers{/id}{?skip,take,name,ids,partialName,isDisabled,healthStatuses,commStyles,workerPoolIds,thumbprint,shellNames}
`

const serverTemplates = `
CurrentUser /users/me
Events /events` + eventVariables + `
EventAgents /events/agents
EventCategories /events/categories
EventDocumentTypes /events/documenttypes
EventGroups /events/groups
ScopedUserRoles /scopeduserroles{/id}{?skip,take,ids,partialName,spaces,includeSystem}
ServerStatus /serverstatus
SignIn /users/login{?returnUrl}
SignOut /users/logout
SpaceHome /{spaceId}
Spaces /spaces{/id}{?name,skip,ids,take,partialName}
Tasks /tasks` + taskVariables + `
TaskTypes /tasks/taskTypes
Teams /teams{/id}{?skip,take,ids,partialName,spaces,includeSystem}
UserRoles /userroles{/id}{?skip,take,ids,partialName}
Users /users{/id}{?skip,take,ids,filter}
`
