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

func machineRoutes() []Row {
	return []Row{
		get("/machines", InSpace, access.MachineView, listMachines),
		get("/machines/all", InSpace, access.MachineView, allMachines),
		get("/machines/discover", InSpace, access.MachineCreate, discoverMachine),
		post("/machines", InSpace, access.MachineCreate, createMachine),
		get("/machines/:id", InSpace, access.MachineView, showMachine),
		put("/machines/:id", InSpace, access.MachineEdit, updateMachine),
		del("/machines/:id", InSpace, access.MachineDelete, deleteMachine),
		get("/machines/:id/connection", InSpace, access.MachineView, machineConnection),
		get("/machines/:id/tasks", InSpace, access.TaskView, machineTasks),
		get("/machineroles/all", InSpace, access.MachineView, machineRoles),
	}
}

// endpoint is how a machine is reached. Uri and Thumbprint are always there: the Go
// client cannot read a listening agent, nor the list it is in, without them.
type endpoint struct {
	ID                            string   `json:"Id"`
	CommunicationStyle            string   `json:"CommunicationStyle"`
	URI                           string   `json:"Uri"`
	Thumbprint                    string   `json:"Thumbprint"`
	ProxyID                       *string  `json:"ProxyId"`
	TentacleVersionDetails        *version `json:"TentacleVersionDetails,omitempty"`
	CertificateSignatureAlgorithm string   `json:"CertificateSignatureAlgorithm,omitempty"`
	Links                         links    `json:"Links"`
}

type version struct {
	UpgradeLocked    bool   `json:"UpgradeLocked"`
	UpgradeRequired  bool   `json:"UpgradeRequired"`
	UpgradeSuggested bool   `json:"UpgradeSuggested"`
	Version          string `json:"Version"`
}

type machineResource struct {
	ID                string     `json:"Id"`
	SpaceID           string     `json:"SpaceId"`
	Name              string     `json:"Name"`
	Slug              string     `json:"Slug"`
	Roles             []string   `json:"Roles"`
	EnvironmentIDs    []string   `json:"EnvironmentIds"`
	TenantIDs         []string   `json:"TenantIds"`
	TenantTags        []string   `json:"TenantTags"`
	TenantedMode      string     `json:"TenantedDeploymentParticipation"`
	IsDisabled        bool       `json:"IsDisabled"`
	IsInProcess       bool       `json:"IsInProcess"`
	HasLatestCalamari bool       `json:"HasLatestCalamari"`
	MachinePolicyID   string     `json:"MachinePolicyId"`
	HealthStatus      string     `json:"HealthStatus"`
	Status            string     `json:"Status"`
	StatusSummary     string     `json:"StatusSummary"`
	OperatingSystem   string     `json:"OperatingSystem"`
	ShellName         string     `json:"ShellName"`
	ShellVersion      string     `json:"ShellVersion"`
	Architecture      string     `json:"Architecture"`
	Thumbprint        string     `json:"Thumbprint"`
	URI               string     `json:"Uri"`
	Endpoint          endpoint   `json:"Endpoint"`
	SkipInitialHealth bool       `json:"SkipInitialHealthCheck"`
	HealthLastChecked *time.Time `json:"HealthLastChecked"`
	LastModifiedOn    *time.Time `json:"LastModifiedOn"`
	LastModifiedBy    string     `json:"LastModifiedBy"`
	Links             links      `json:"Links"`
}

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func (r *request) machineResource(t spaces.Target) machineResource {
	self := r.in("machines", t.ID.String())
	status := map[string]string{spaces.Healthy: "Online", spaces.HasWarnings: "Online", spaces.Unhealthy: "Offline", spaces.Unavailable: "Offline"}[t.Health]
	if t.IsDisabled {
		status = "Disabled"
	}
	out := machineResource{ID: t.ID.String(), SpaceID: r.about.ID(), Name: t.Name, Slug: t.Slug, Roles: orEmpty(t.Tags), EnvironmentIDs: idStrings(t.Environments), TenantIDs: []string{}, TenantTags: []string{}, TenantedMode: "Untenanted",
		IsDisabled: t.IsDisabled, HasLatestCalamari: true, MachinePolicyID: defaultPolicy, HealthStatus: orText(t.Health, spaces.Unknown), Status: orText(status, "Unknown"), StatusSummary: t.HealthSummary,
		OperatingSystem: orText(t.OperatingSystem, "Unknown"), ShellName: "Bash", ShellVersion: "Unknown", Architecture: "Unknown", Thumbprint: t.Thumbprint, URI: t.URI, HealthLastChecked: t.HealthAt, LastModifiedOn: timeOrNil(t.UpdatedAt), LastModifiedBy: t.UpdatedBy,
		Endpoint: endpoint{ID: "endpoints-" + t.ID.String(), CommunicationStyle: t.Style, URI: t.URI, Thumbprint: t.Thumbprint, Links: links{}},
		Links:    links{"Self": self, "Connection": self + "/connection", "TasksTemplate": self + "/tasks{?skip,take}"}}
	if t.AgentVersion != "" {
		out.Endpoint.TentacleVersionDetails = &version{Version: t.AgentVersion}
	}
	return out
}

type machineInput struct {
	Name           string
	Slug           string
	Roles          []string
	EnvironmentIDs []string `json:"EnvironmentIds"`
	IsDisabled     bool
	Thumbprint     string
	URI            string          `json:"Uri"`
	Endpoint       json.RawMessage `json:"Endpoint"`
}

func (in machineInput) input(tx *spaces.ReadTx) (spaces.TargetInput, error) {
	out := spaces.TargetInput{Name: in.Name, Slug: in.Slug, Tags: in.Roles, IsDisabled: in.IsDisabled}
	var at struct {
		CommunicationStyle string
		URI                string `json:"Uri"`
		Thumbprint         string
	}
	if len(in.Endpoint) > 0 {
		if err := decode(in.Endpoint, &at); err != nil {
			return out, err
		}
	}
	out.Style, out.URI, out.Thumbprint = at.CommunicationStyle, orText(at.URI, in.URI), orText(at.Thumbprint, in.Thumbprint)
	for _, text := range in.EnvironmentIDs {
		e, err := tx.EnvironmentBy(text)
		if err != nil {
			return out, wrongReference(err, "EnvironmentIds", "environment", text)
		}
		out.Environments = append(out.Environments, e.ID)
	}
	return out, nil
}

func (r *request) targets(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Target], error) {
	f := spaces.TargetFilter{ListOptions: o, Thumbprint: r.query("thumbprint")}
	if tags := r.list("roles"); len(tags) > 0 {
		f.Tag = tags[0]
	}
	if health := r.list("healthStatuses"); len(health) > 0 {
		f.Health = health[0]
	}
	if ids := r.list("environmentIds"); len(ids) > 0 {
		e, err := tx.EnvironmentBy(ids[0])
		if err != nil {
			return spaces.Page[spaces.Target]{}, err
		}
		f.Environment = e.ID
	}
	return tx.Targets(f)
}

func listMachines(r *request) error { return listed(r, "Machine", r.targets, r.machineResource) }
func allMachines(r *request) error  { return all(r, r.targets, r.machineResource) }

func createMachine(r *request) error {
	in, err := readJSON[machineInput](r)
	if err != nil {
		return err
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (machineResource, error) {
		what, err := in.input(tx.ReadTx)
		if err != nil {
			return machineResource{}, err
		}
		t, err := tx.CreateTarget(what)
		return r.machineResource(t), err
	})
}

func (r *request) target() (spaces.Target, error) {
	return view(r, func(tx *spaces.ReadTx) (spaces.Target, error) { return tx.TargetBy(r.param("id")) })
}

func showMachine(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	return r.ok(r.machineResource(t))
}

func updateMachine(r *request) error {
	stored, err := r.target()
	if err != nil {
		return err
	}
	in, err := readOver[machineInput](r, r.machineResource(stored))
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (machineResource, error) {
		what, err := in.input(tx.ReadTx)
		if err != nil {
			return machineResource{}, err
		}
		t, err := tx.UpdateTarget(stored.ID, what)
		return r.machineResource(t), err
	})
}

func deleteMachine(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		t, err := tx.TargetBy(r.param("id"))
		if err != nil {
			return err
		}
		return tx.DeleteTarget(t.ID)
	})
}

func machineConnection(r *request) error {
	t, err := r.target()
	if err != nil {
		return err
	}
	status := r.machineResource(t).Status
	return r.ok(map[string]any{"Id": "connection-" + t.ID.String(), "MachineId": t.ID.String(), "Status": status, "CurrentTentacleVersion": t.AgentVersion, "LastChecked": t.HealthAt, "Logs": []LogElement{}, "Links": links{"Self": r.in("machines", t.ID.String(), "connection")}})
}

func machineTasks(r *request) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Task], error) {
		t, err := tx.TargetBy(r.param("id"))
		if err != nil {
			return spaces.Page[spaces.Task]{}, err
		}
		return tx.Tasks(spaces.TaskFilter{Target: t.ID, Skip: r.number("skip"), Take: r.number("take")})
	})
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Task", p, r.taskResource))
}

// machineRoles is every target tag in use.
func machineRoles(r *request) error {
	return show(r, func(tx *spaces.ReadTx) ([]string, error) { return tx.TargetTags() })
}

// discoverMachine asks the agent at an address who it is, for a form that adds it.
func discoverMachine(r *request) error {
	host, port := r.query("host"), r.number("port")
	if host == "" || strings.ContainsAny(host, "/@?#") {
		return errs.New(errs.Invalid, "'%s' is no host.", host)
	}
	if port == 0 {
		port = 10933
	}
	if r.s.Agents == nil {
		return errs.New(errs.Unavailable, "This server cannot look for agents.").WithHint("Add the target with its address and its thumbprint.")
	}
	pin, err := r.s.Agents.Discover(r.ctx, host, port)
	if err != nil {
		return err
	}
	uri := "https://" + host + ":" + itoa(port) + "/"
	return r.ok(machineResource{SpaceID: r.about.ID(), Name: host, Roles: []string{}, EnvironmentIDs: []string{}, TenantIDs: []string{}, TenantTags: []string{}, TenantedMode: "Untenanted", MachinePolicyID: defaultPolicy, HealthStatus: spaces.Unknown, Status: "Unknown",
		Thumbprint: pin, URI: uri, Endpoint: endpoint{CommunicationStyle: spaces.StyleListening, URI: uri, Thumbprint: pin, Links: links{}}, Links: links{"Self": r.in("machines", "discover")}})
}
