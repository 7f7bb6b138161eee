package rest

import "strings"

type handler func(r *request) (any, error)

// route is a row of the table. Path segments that begin with ":" are parameters; the last
// may begin with "*" and takes the rest.
type route struct {
	method, path string
	handle       handler
}

// systemRoutes belong to the server.
var systemRoutes = []route{
	{"GET", "", root},
	{"POST", "agents/register", registerAgent},
	{"GET", "spaces", listSpaces}, {"GET", "spaces/all", allSpaces}, {"POST", "spaces", createSpace},
	{"GET", "spaces/:id", getSpace}, {"PUT", "spaces/:id", updateSpace}, {"DELETE", "spaces/:id", deleteSpace},
	{"GET", "users/me", me}, {"GET", "users", listUsers}, {"GET", "users/all", allUsers}, {"POST", "users", createUser}, {"GET", "users/:id", getUser}, {"PUT", "users/:id", updateUser}, {"DELETE", "users/:id", deleteUser},
	{"GET", "users/:id/apikeys", listKeys}, {"POST", "users/:id/apikeys", createKey}, {"GET", "users/:id/apikeys/:key", getKey}, {"DELETE", "users/:id/apikeys/:key", deleteKey}, {"GET", "users/:id/spaces", userSpaces},
	{"GET", "teams", listTeams}, {"GET", "teams/all", allTeams}, {"GET", "userroles", listRoles}, {"GET", "userroles/all", allRoles},
	{"GET", "serverstatus", serverStatus}, {"GET", "tasks", findTasks}, {"GET", "tasks/:id", findTask}, {"GET", "tasks/:id/details", findTaskDetails}, {"GET", "tasks/:id/raw", findTaskRaw}, {"POST", "tasks/:id/cancel", findTaskCancel},
}

// spaceRoutes belong to a space.
var spaceRoutes = []route{
	{"GET", "", spaceRoot},
	{"GET", "environments", listEnvironments}, {"GET", "environments/all", allEnvironments}, {"GET", "environments/v2", listEnvironments}, {"POST", "environments", createEnvironment}, {"PUT", "environments/sortorder", sortEnvironments},
	{"GET", "environments/:id", getEnvironment}, {"PUT", "environments/:id", updateEnvironment}, {"DELETE", "environments/:id", deleteEnvironment},
	{"GET", "lifecycles", listLifecycles}, {"GET", "lifecycles/all", allLifecycles}, {"POST", "lifecycles", createLifecycle}, {"GET", "lifecycles/:id", getLifecycle}, {"PUT", "lifecycles/:id", updateLifecycle}, {"DELETE", "lifecycles/:id", deleteLifecycle}, {"GET", "lifecycles/:id/projects", lifecycleProjects},
	{"GET", "projectgroups", listGroups}, {"GET", "projectgroups/all", allGroups}, {"POST", "projectgroups", createGroup}, {"GET", "projectgroups/:id", getGroup}, {"PUT", "projectgroups/:id", updateGroup}, {"DELETE", "projectgroups/:id", deleteGroup}, {"GET", "projectgroups/:id/projects", groupProjects},
	{"GET", "projects", listProjects}, {"GET", "projects/all", allProjects}, {"POST", "projects", createProject}, {"GET", "projects/:id", getProject}, {"PUT", "projects/:id", updateProject}, {"DELETE", "projects/:id", deleteProject},
	{"GET", "projects/:id/channels", projectChannels}, {"GET", "projects/:id/channels/:channel", projectChannel}, {"GET", "projects/:id/releases", projectReleases}, {"GET", "projects/:id/releases/*version", projectRelease}, {"GET", "projects/:id/deploymentprocesses", projectProcess}, {"GET", "projects/:id/progression", projectProgression}, {"GET", "projects/:id/deploymentsettings", projectSettings},
	{"GET", "channels", listChannels}, {"GET", "channels/all", allChannels}, {"POST", "channels", createChannel}, {"GET", "channels/:id", getChannel}, {"PUT", "channels/:id", updateChannel}, {"DELETE", "channels/:id", deleteChannel}, {"GET", "channels/:id/releases", channelReleases},
	{"GET", "deploymentprocesses/:id", getProcess}, {"PUT", "deploymentprocesses/:id", updateProcess}, {"GET", "deploymentprocesses/:id/template", processTemplate},
	{"GET", "variables/names", variableNames}, {"GET", "variables/preview", variablePreview}, {"GET", "variables/:id", getVariables}, {"PUT", "variables/:id", updateVariables},
	{"POST", "packages/raw", uploadPackage}, {"GET", "packages", listPackages}, {"GET", "packages/:id/raw", downloadPackage}, {"GET", "packages/:id/:version/delta-signature", noDelta}, {"GET", "packages/*id", getPackage}, {"DELETE", "packages/*id", deletePackage},
	{"GET", "feeds", listFeeds}, {"GET", "feeds/all", allFeeds}, {"GET", "feeds/:id", getFeed}, {"GET", "feeds/:id/packages/search", searchFeed}, {"GET", "feeds/:id/packages/versions", feedVersions},
	{"POST", "releases/create/v1", createReleaseV1}, {"POST", "releases", createRelease}, {"GET", "releases", listReleases}, {"GET", "releases/:id", getRelease}, {"PUT", "releases/:id", updateRelease}, {"DELETE", "releases/:id", deleteRelease},
	{"GET", "releases/:id/progression", releaseProgression}, {"GET", "releases/:id/deployments", releaseDeployments}, {"GET", "releases/:id/defects", noDefects}, {"GET", "releases/:id/missingpackages", missingPackages},
	{"POST", "deployments/create/untenanted/v1", deployV1}, {"POST", "deployments", createDeployment}, {"GET", "deployments", listDeployments}, {"GET", "deployments/:id", getDeployment},
	{"GET", "tasks", listTasks}, {"GET", "tasks/:id", getTask}, {"GET", "tasks/:id/details", taskDetails}, {"GET", "tasks/:id/raw", taskRaw}, {"POST", "tasks/:id/cancel", cancelTask}, {"POST", "tasks", createTask},
	{"GET", "interruptions", listInterruptions}, {"POST", "interruptions/:id/submit", submitInterruption},
	{"GET", "machines", listMachines}, {"GET", "machines/all", allMachines}, {"POST", "machines", createMachine}, {"POST", "machines/registration", newRegistration}, {"GET", "machines/:id", getMachine}, {"PUT", "machines/:id", updateMachine}, {"DELETE", "machines/:id", deleteMachine}, {"GET", "machineroles/all", machineRoles},
	{"GET", "dashboard", dashboard}, {"GET", "events", listEvents},
	{"GET", "machinepolicies", listPolicies}, {"GET", "machinepolicies/all", allPolicies}, {"GET", "machinepolicies/:id", getPolicy},
	{"GET", "tenants", none("Tenant")}, {"GET", "tenants/all", empty}, {"GET", "tagsets", none("TagSet")}, {"GET", "tagsets/all", empty}, {"GET", "accounts", none("Account")}, {"GET", "accounts/all", empty}, {"GET", "libraryvariablesets", none("LibraryVariableSet")}, {"GET", "libraryvariablesets/all", empty},
	{"GET", "workerpools", none("WorkerPool")}, {"GET", "workerpools/all", empty}, {"GET", "workers", none("Worker")}, {"GET", "workers/all", empty}, {"GET", "proxies", none("Proxy")}, {"GET", "certificates", none("Certificate")}, {"GET", "runbooks", none("Runbook")}, {"GET", "artifacts", none("Artifact")},
	{"GET", "zones/card", zoneCard}, {"GET", "zones/links", zoneLinks}, {"POST", "zones/links/trust", zoneTrust}, {"POST", "zones/links/invite", zoneInvite}, {"POST", "zones/links/join", zoneJoin}, {"POST", "zones/links/:id/state", zoneLinkState}, {"POST", "zones/links/:id/confirm", zoneConfirm},
	{"GET", "zones/links/:id/receipts", zoneExportReceipts}, {"POST", "zones/receipts", zoneImportReceipts},
	{"POST", "zones/promotions", zonePromote}, {"GET", "zones/promotions", zonePromotions}, {"GET", "zones/promotions/:id", zonePromotion}, {"GET", "zones/promotions/:id/bundle", zoneExportBundle},
	{"GET", "zones/inbox", zoneInbox}, {"POST", "zones/inbox", zoneImport}, {"GET", "zones/inbox/:id", zoneReview}, {"POST", "zones/inbox/:id/accept", zoneAccept}, {"POST", "zones/inbox/:id/reject", zoneReject},
}

// match finds the row for a path.
func match(table []route, method string, parts []string) (handler, map[string]string) {
	for _, row := range table {
		if row.method != method {
			continue
		}
		if params, ok := row.match(parts); ok {
			return row.handle, params
		}
	}
	return nil, nil
}

func (row route) match(parts []string) (map[string]string, bool) {
	var want []string
	if row.path != "" {
		want = strings.Split(row.path, "/")
	}
	params := map[string]string{}
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "*"):
			if i >= len(parts) {
				return nil, false
			}
			params[w[1:]] = strings.Join(parts[i:], "/")
			return params, true
		case i >= len(parts):
			return nil, false
		case strings.HasPrefix(w, ":"):
			params[w[1:]] = parts[i]
		case !strings.EqualFold(w, parts[i]):
			return nil, false
		}
	}
	return params, len(parts) == len(want)
}
