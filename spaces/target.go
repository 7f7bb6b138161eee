package spaces

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Styles of targets, as Octopus's API names them.
const (
	StyleListening = "TentaclePassive"
	StylePolling   = "TentacleActive"
)

// Health of a target, as Octopus's API names it.
const (
	Healthy     = "Healthy"
	HasWarnings = "HasWarnings"
	Unhealthy   = "Unhealthy"
	Unavailable = "Unavailable"
	Unknown     = "Unknown"
)

// Target is a machine that deployments reach, through an agent.
type Target struct {
	ID              TargetID
	Name, Slug      string
	Style           string
	URI             string // https://host:port/ of a listening agent, poll://pin/ of a polling one
	Thumbprint      string // pin of the agent's key, lower-case hex SHA-256
	IsDisabled      bool
	Health          string
	HealthSummary   string
	HealthAt        *time.Time
	AgentVersion    string
	OperatingSystem string
	Endpoint        json.RawMessage // what a client sent beyond the fields above
	Environments    []EnvironmentID
	Tags            []string
	UpdatedAt       time.Time
	UpdatedBy       string
}

// TargetInput is what a person, a client or a registering agent says of a target.
type TargetInput struct {
	Name, Slug   string
	Style        string
	URI          string
	Thumbprint   string
	IsDisabled   bool
	Endpoint     json.RawMessage
	Environments []EnvironmentID
	Tags         []string
}

const targetColumns = `t.id, t.name, t.slug, t.style, t.uri, t.thumbprint, t.is_disabled, t.health, t.health_summary, t.health_at, t.agent_version, t.operating_system, t.endpoint, t.updated_at, t.updated_by,
	(SELECT json_group_array(environment_id) FROM (SELECT te.environment_id FROM target_environment te JOIN environment e ON e.id = te.environment_id WHERE te.target_id = t.id ORDER BY e.sort_order, e.id)),
	(SELECT json_group_array(tag) FROM (SELECT tag FROM target_tag WHERE target_id = t.id ORDER BY tag))`

func scanTarget(scan func(...any) error) (Target, error) {
	var t Target
	var at, environments, tags, endpoint string
	var health nullText
	if err := scan(&t.ID, &t.Name, &t.Slug, &t.Style, &t.URI, &t.Thumbprint, &t.IsDisabled, &t.Health, &t.HealthSummary, &health, &t.AgentVersion, &t.OperatingSystem, &endpoint, &at, &t.UpdatedBy, &environments, &tags); err != nil {
		return t, err
	}
	t.UpdatedAt, t.HealthAt, t.Endpoint = parseTime(at), parseTimePtr(health), json.RawMessage(endpoint)
	if err := json.Unmarshal([]byte(environments), &t.Environments); err != nil {
		return t, err
	}
	return t, json.Unmarshal([]byte(tags), &t.Tags)
}

func (in *TargetInput) check() error {
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	c.Require(in.Style == StyleListening || in.Style == StylePolling, "Endpoint.CommunicationStyle", "'%s' targets are not supported here; use a listening (TentaclePassive) or a polling (TentacleActive) agent.", in.Style)
	c.Require(len(in.Environments) > 0, "EnvironmentIds", "A target belongs to at least one environment.")
	in.Tags = slices.DeleteFunc(slices.Clone(in.Tags), func(t string) bool { return strings.TrimSpace(t) == "" })
	c.Require(len(in.Tags) > 0, "Roles", "A target has at least one target tag, by which steps find it.")
	c.Require(len(in.Thumbprint) == 64 && strings.Trim(strings.ToLower(in.Thumbprint), "0123456789abcdef") == "", "Endpoint.Thumbprint", "The thumbprint is the SHA-256 of the agent's key: 64 hexadecimal digits.")
	in.Thumbprint = strings.ToLower(in.Thumbprint)
	if in.Style == StyleListening {
		u, err := url.Parse(in.URI)
		c.Require(err == nil && u.Scheme == "https" && u.Hostname() != "", "Endpoint.Uri", "The address of a listening agent is written https://host:10933/.")
	} else {
		in.URI = "poll://" + in.Thumbprint + "/"
	}
	if len(in.Endpoint) == 0 {
		in.Endpoint = json.RawMessage("{}")
	}
	return c.Err()
}

func (tx *ReadTx) requireAll(p access.Permission, environments []EnvironmentID) error {
	for _, e := range environments {
		if err := tx.require(p, access.Scope{Environment: e.String()}); err != nil {
			return err
		}
	}
	return nil
}

// CreateTarget needs MachineCreate in each of the environments.
func (tx *Tx) CreateTarget(in TargetInput) (Target, error) {
	if err := tx.requireAll(access.MachineCreate, in.Environments); err != nil {
		return Target{}, err
	}
	return tx.createTarget(in)
}

func (tx *Tx) createTarget(in TargetInput) (Target, error) {
	if err := in.check(); err != nil {
		return Target{}, err
	}
	slug, err := tx.freeSlug("target", in.Slug, in.Name, "")
	if err != nil {
		return Target{}, err
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO target (name, slug, style, uri, thumbprint, is_disabled, endpoint, created_at, updated_at, updated_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		in.Name, slug, in.Style, in.URI, in.Thumbprint, in.IsDisabled, string(in.Endpoint), now, now, tx.Actor.Name)
	if err != nil {
		return Target{}, tx.targetTaken(err, in)
	}
	id := TargetID(n)
	if err := tx.linkTarget(id, in); err != nil {
		return Target{}, err
	}
	tx.record(Event{Category: "Created", Entity: "deployment target", EntityID: id.String(), Message: fmt.Sprintf("Deployment target %s was added", in.Name)})
	tx.changed("targets", "target/"+id.String(), topicAgents)
	return tx.target(id)
}

func (tx *Tx) targetTaken(err error, in TargetInput) error {
	if errs.KindOf(err) != errs.Exists {
		return err
	}
	if other, qerr := one[string](tx.ReadTx, `SELECT name FROM target WHERE style = ? AND thumbprint = ? AND name <> ?`, StylePolling, in.Thumbprint, in.Name); qerr == nil && in.Style == StylePolling {
		return taken(err, "Endpoint.Thumbprint", "This agent is already registered as '%s'.", other)
	}
	return taken(err, "Name", "A deployment target named '%s' already exists.", in.Name)
}

func (tx *Tx) linkTarget(id TargetID, in TargetInput) error {
	for _, table := range []string{"target_environment", "target_tag"} {
		if _, err := tx.exec(`DELETE FROM `+table+` WHERE target_id = ?`, int64(id)); err != nil {
			return err
		}
	}
	for _, e := range in.Environments {
		_, err := tx.exec(`INSERT INTO target_environment (target_id, environment_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, int64(id), int64(e))
		if foreignKey(err) {
			return errs.New(errs.Invalid, "There is no environment %s.", e)
		}
		if err != nil {
			return err
		}
	}
	for _, tag := range in.Tags {
		if _, err := tx.exec(`INSERT INTO target_tag (target_id, tag) VALUES (?, ?) ON CONFLICT DO NOTHING`, int64(id), strings.TrimSpace(tag)); err != nil {
			return err
		}
	}
	return nil
}

// UpdateTarget needs MachineEdit in each of the environments, old and new.
func (tx *Tx) UpdateTarget(id TargetID, in TargetInput) (Target, error) {
	old, err := tx.target(id)
	if err != nil {
		return Target{}, err
	}
	if err := tx.requireAll(access.MachineEdit, append(slices.Clone(old.Environments), in.Environments...)); err != nil {
		return Target{}, err
	}
	if err := in.check(); err != nil {
		return Target{}, err
	}
	slug := old.Slug
	if in.Slug != "" && in.Slug != old.Slug {
		if slug, err = tx.freeSlug("target", in.Slug, in.Name, " AND id <> ?", int64(id)); err != nil {
			return Target{}, err
		}
	}
	err = tx.update(`UPDATE target SET name = ?, slug = ?, style = ?, uri = ?, thumbprint = ?, is_disabled = ?, endpoint = ?, updated_at = ?, updated_by = ? WHERE id = ?`,
		in.Name, slug, in.Style, in.URI, in.Thumbprint, in.IsDisabled, string(in.Endpoint), formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return Target{}, tx.targetTaken(err, in)
	}
	if err := tx.linkTarget(id, in); err != nil {
		return Target{}, err
	}
	made, err := tx.target(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Modified", Entity: "deployment target", EntityID: id.String(), Message: fmt.Sprintf("Deployment target %s was changed", in.Name), Changes: edited(old.audited(), made.audited())})
	tx.changed("targets", "target/"+id.String(), topicAgents)
	return made, nil
}

// audited is what the audit tells of a target that is edited.
func (t Target) audited() map[string]any {
	return map[string]any{"Name": t.Name, "Slug": t.Slug, "CommunicationStyle": t.Style, "Uri": t.URI, "Thumbprint": t.Thumbprint, "IsDisabled": t.IsDisabled,
		"Endpoint": t.Endpoint, "EnvironmentIds": texts(t.Environments), "Roles": t.Tags}
}

// DeleteTarget needs MachineDelete in each of its environments.
func (tx *Tx) DeleteTarget(id TargetID) error {
	t, err := tx.target(id)
	if err != nil {
		return err
	}
	if err := tx.requireAll(access.MachineDelete, t.Environments); err != nil {
		return err
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM execution x JOIN task k ON k.id = x.task_id WHERE x.target_id = ? AND k.state IN ('Executing', 'Cancelling')`, int64(id)); err != nil {
		return err
	} else if n > 0 {
		return errs.New(errs.Blocked, "Work is running on '%s'.", t.Name).WithHint("Wait until it is done, or cancel the task first.")
	}
	uses, err := tx.usesOf("target_id", int64(id))
	if err != nil {
		return err
	}
	if len(uses) > 0 {
		return blockedByUses("Deployment target '"+t.Name+"'", uses)
	}
	if err := tx.update(`DELETE FROM target WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "deployment target", EntityID: id.String(), Message: fmt.Sprintf("Deployment target %s was deleted", t.Name)})
	tx.changed("targets", topicAgents)
	return nil
}

// Target returns one. It needs MachineView in one of its environments.
func (tx *ReadTx) Target(id TargetID) (Target, error) {
	t, err := tx.target(id)
	if err != nil {
		return t, err
	}
	if !tx.canSeeTarget(t) {
		if tx.Actor.Permissions.Any(access.MachineView) {
			return Target{}, errs.Missing("deployment target", id.String())
		}
		return Target{}, access.Missing(access.MachineView)
	}
	return t, nil
}

func (tx *ReadTx) canSeeTarget(t Target) bool {
	return slices.ContainsFunc(t.Environments, func(e EnvironmentID) bool {
		return tx.Can(access.MachineView, access.Scope{Environment: e.String()})
	})
}

func (tx *ReadTx) target(id TargetID) (Target, error) {
	t, err := scanTarget(tx.queryRow(`SELECT `+targetColumns+` FROM target t WHERE t.id = ?`, int64(id)).Scan)
	return t, notFound(err, "deployment target", id.String())
}

// TargetBy finds one by API id, name or slug.
func (tx *ReadTx) TargetBy(text string) (Target, error) {
	if n, ok := cutID(prefixTarget, text); ok {
		if t, err := tx.Target(TargetID(n)); err == nil {
			return t, nil
		}
	}
	n, err := one[int64](tx, `SELECT id FROM target WHERE name = ? OR slug = ? ORDER BY name = ? DESC LIMIT 1`, text, text, text)
	if err != nil {
		return Target{}, notFound(err, "deployment target", text)
	}
	return tx.Target(TargetID(n))
}

// TargetFilter chooses targets; zero values choose all.
type TargetFilter struct {
	ListOptions
	Environment  EnvironmentID
	Tag          string
	Health       string
	Thumbprint   string
	Registration RegistrationID // only those that registered with this token
	Disabled     bool           // only disabled ones
	Enabled      bool           // only those that take work
	WorstFirst   bool           // by health, what needs a person first and disabled ones last, then by name
}

// worstFirst is the order in which health needs a person.
const worstFirst = `t.is_disabled, CASE t.health WHEN 'Unhealthy' THEN 0 WHEN 'Unavailable' THEN 1 WHEN 'HasWarnings' THEN 2 WHEN 'Unknown' THEN 3 ELSE 4 END, t.name, t.id`

// mayView lists the environments in which the actor has a permission, and tells whether
// these are all.
func (tx *ReadTx) mayView(p access.Permission) (ids []any, all bool, err error) {
	if tx.Actor.System {
		return nil, true, nil
	}
	environments, err := list(tx, func(scan func(...any) error) (EnvironmentID, error) {
		var id EnvironmentID
		return id, scan(&id)
	}, `SELECT id FROM environment`)
	for _, e := range environments {
		if tx.Can(p, access.Scope{Environment: e.String()}) {
			ids = append(ids, int64(e))
		}
	}
	return ids, len(ids) == len(environments), err
}

// Targets lists those that the actor may see, by name or as WorstFirst says.
func (tx *ReadTx) Targets(o TargetFilter) (Page[Target], error) {
	if !tx.Actor.System && !tx.Actor.Permissions.Any(access.MachineView) {
		return Page[Target]{}, access.Missing(access.MachineView)
	}
	var f filter
	f.ids("t.id", prefixTarget, o.IDs)
	f.names("t.name", o.ListOptions)
	if o.Environment != 0 {
		f.add("EXISTS (SELECT 1 FROM target_environment te WHERE te.target_id = t.id AND te.environment_id = ?)", int64(o.Environment))
	}
	if o.Tag != "" {
		f.add("EXISTS (SELECT 1 FROM target_tag tt WHERE tt.target_id = t.id AND tt.tag = ?)", o.Tag)
	}
	if o.Health != "" {
		f.add("t.health = ?", o.Health)
	}
	if o.Thumbprint != "" {
		f.add("t.thumbprint = ?", strings.ToLower(o.Thumbprint))
	}
	if o.Registration != 0 {
		f.add("t.registration_id = ?", int64(o.Registration))
	}
	if o.Disabled {
		f.add("t.is_disabled = 1")
	}
	if o.Enabled {
		f.add("t.is_disabled = 0")
	}
	// What may not be seen is left out here and not of the page, so that pages are full.
	visible, all, err := tx.mayView(access.MachineView)
	if err != nil {
		return Page[Target]{}, err
	}
	if !all {
		marks := strings.TrimSuffix(strings.Repeat("?, ", len(visible)), ", ")
		f.add("EXISTS (SELECT 1 FROM target_environment te WHERE te.target_id = t.id AND te.environment_id IN ("+marks+"))", visible...)
	}
	if !o.WorstFirst {
		return pageOf(tx, scanTarget, targetColumns, "target t", "t.name", "t.name, t.id", f, o.ListOptions)
	}
	// Sorted as ids first: the columns cost two more statements a row, and all rows are sorted.
	ids, err := pageOf(tx, func(scan func(...any) error) (int64, error) {
		var id int64
		return id, scan(&id)
	}, "t.id", "target t", "t.name", worstFirst, f, o.ListOptions)
	p := Page[Target]{Total: ids.Total, Skip: ids.Skip, Take: ids.Take}
	if err != nil || len(ids.Items) == 0 {
		return p, err
	}
	args := make([]any, len(ids.Items))
	for i, id := range ids.Items {
		args[i] = id
	}
	p.Items, err = list(tx, scanTarget, `SELECT `+targetColumns+` FROM target t WHERE t.id IN (?`+strings.Repeat(", ?", len(args)-1)+`) ORDER BY `+worstFirst, args...)
	return p, err
}

// TargetTags lists every tag in use, sorted.
func (tx *ReadTx) TargetTags() ([]string, error) {
	return list(tx, func(scan func(...any) error) (string, error) {
		var s string
		return s, scan(&s)
	}, `SELECT DISTINCT tag FROM target_tag ORDER BY tag`)
}

// SetTargetHealth stores the outcome of a health check. Only the server does it.
func (tx *Tx) SetTargetHealth(id TargetID, health, summary, agentVersion, operatingSystem string) error {
	old, err := tx.target(id)
	if err != nil {
		return err
	}
	err = tx.update(`UPDATE target SET health = ?, health_summary = ?, health_at = ?, agent_version = CASE WHEN ? = '' THEN agent_version ELSE ? END, operating_system = CASE WHEN ? = '' THEN operating_system ELSE ? END WHERE id = ?`,
		health, summary, formatTime(tx.Now), agentVersion, agentVersion, operatingSystem, operatingSystem, int64(id))
	if err != nil {
		return err
	}
	if old.Health != health {
		tx.record(Event{Category: "Machine" + health, Entity: "deployment target", EntityID: id.String(), Message: fmt.Sprintf("Deployment target %s is %s: %s", old.Name, health, summary),
			Changes: audit.Pairs("HealthStatus", old.Health, health)})
	}
	tx.changed("targets", "target/"+id.String())
	return nil
}
