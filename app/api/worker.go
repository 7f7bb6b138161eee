package api

import (
	"strconv"
	"strings"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// Every space has one machine policy and one worker pool; both are only read. Clients
// ask for them and expect a default.

const (
	defaultPolicy = "MachinePolicies-1"
	defaultPool   = "WorkerPools-1"
)

func itoa(n int) string { return strconv.Itoa(n) }

func workerRoutes() []Row {
	return []Row{
		get("/machinepolicies", InSpace, access.MachineView, func(r *request) error { return r.ok(pageOf(r, "MachinePolicy", slice(r, r.policies()), same)) }),
		get("/machinepolicies/all", InSpace, access.MachineView, func(r *request) error { return r.ok(r.policies()) }),
		get("/machinepolicies/:id", InSpace, access.MachineView, one("machine policy", defaultPolicy, policyName, (*request).policies)),
		get("/workerpools", InSpace, "", func(r *request) error { return r.ok(pageOf(r, "WorkerPool", slice(r, r.pools()), same)) }),
		get("/workerpools/all", InSpace, "", func(r *request) error { return r.ok(r.pools()) }),
		get("/workerpools/dynamicworkertypes", InSpace, "", func(r *request) error {
			return r.ok(map[string]any{"Id": "DynamicWorkerTypes", "WorkerTypes": []string{}, "Links": links{}})
		}),
		get("/workerpools/supportedtypes", InSpace, "", func(r *request) error { return r.ok([]string{"StaticWorkerPool"}) }),
		get("/workerpools/:id", InSpace, "", one("worker pool", defaultPool, poolName, (*request).pools)),
		get("/workerpools/:id/workers", InSpace, "", func(r *request) error { return r.ok(pageOf(r, "Worker", slice(r, []struct{}{}), same)) }),
	}
}

// one answers the only thing of its sort, by id or name.
func one[T any](entity, id, name string, all func(*request) []T) func(*request) error {
	return func(r *request) error {
		want := r.param("id")
		if list := all(r); len(list) == 1 && (strings.EqualFold(want, id) || strings.EqualFold(want, name)) {
			return r.ok(list[0])
		}
		return errs.Missing(entity, want)
	}
}

const policyName, poolName = "Default Machine Policy", "Default Worker Pool"

func (r *request) policies() []map[string]any {
	if !r.matches(policyName) || !r.asked(defaultPolicy) {
		return []map[string]any{}
	}
	script := map[string]any{"RunType": "OnlyConnectivity", "ScriptBody": nil}
	return []map[string]any{{
		"Id": defaultPolicy, "SpaceId": r.about.ID(), "Name": policyName, "Description": "Targets are asked whether they can be reached.", "IsDefault": true,
		// Times are spans of .NET, of which the Go client reads hh:mm:ss only.
		"ConnectionConnectTimeout": "00:01:00", "ConnectionRetryCountLimit": 5, "ConnectionRetrySleepInterval": "00:00:01", "ConnectionRetryTimeLimit": "00:05:00",
		"PollingRequestQueueTimeout": "00:02:00", "PollingRequestMaximumMessageProcessingTimeout": "00:10:00",
		"MachineHealthCheckPolicy":           map[string]any{"HealthCheckType": "OnlyConnectivity", "HealthCheckInterval": "01:00:00", "HealthCheckCronTimezone": "UTC", "BashHealthCheckPolicy": script, "PowerShellHealthCheckPolicy": script},
		"MachineConnectivityPolicy":          map[string]any{"MachineConnectivityBehavior": "ExpectedToBeOnline"},
		"MachineCleanupPolicy":               map[string]any{"DeleteMachinesBehavior": "DoNotDelete", "DeleteMachinesElapsedTimeSpan": "00:00:00"},
		"MachineUpdatePolicy":                map[string]any{"CalamariUpdateBehavior": "UpdateOnDeployment", "TentacleUpdateBehavior": "NeverUpdate", "KubernetesAgentUpdateBehavior": "NeverUpdate"},
		"MachinePackageCacheRetentionPolicy": map[string]any{"Strategy": "Default"},
		"Links":                              links{"Self": r.in("machinepolicies", defaultPolicy)},
	}}
}

func (r *request) pools() []map[string]any {
	if !r.matches(poolName) || !r.asked(defaultPool) {
		return []map[string]any{}
	}
	self := r.in("workerpools", defaultPool)
	return []map[string]any{{"Id": defaultPool, "SpaceId": r.about.ID(), "Name": poolName, "Slug": "default-worker-pool", "Description": "Steps run on deployment targets; this pool has no workers.", "WorkerPoolType": "StaticWorkerPool",
		"IsDefault": true, "CanAddWorkers": false, "SortOrder": 0, "Links": links{"Self": self, "Workers": self + "/workers"}}}
}
