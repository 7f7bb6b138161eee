package spaces

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

// Project is what teams release and deploy: a process, variables, channels and
// settings. A remote project belongs to another space: its process and variables
// come with each release, and only what is local can be edited here.
type Project struct {
	ID                      ProjectID
	ULID                    string
	Name, Slug, Description string
	GroupID                 ProjectGroupID
	LifecycleID             LifecycleID
	IsDisabled              bool
	Settings                ProjectSettings
	LinkID                  LinkID // 0: a project of this space
	RemoteULID, RemoteName  string
	Logo                    string // SHA-256 of the picture; "": none
	UpdatedAt               time.Time
	UpdatedBy               string

	process, variables DocumentID
}

// ProjectSettings is what is edited with the project and not searched by. Names
// are those of Octopus's API.
type ProjectSettings struct {
	VersioningStrategy            VersioningStrategy `json:"VersioningStrategy"`
	ReleaseNotesTemplate          string             `json:"ReleaseNotesTemplate,omitempty"`
	Templates                     []VariableTemplate `json:"Templates,omitempty"`
	TenantedDeploymentMode        string             `json:"TenantedDeploymentMode"`
	DefaultGuidedFailureMode      string             `json:"DefaultGuidedFailureMode"`
	ConnectivityPolicy            ConnectivityPolicy `json:"ProjectConnectivityPolicy"`
	DiscreteChannelRelease        bool               `json:"DiscreteChannelRelease,omitempty"`
	DefaultToSkip                 bool               `json:"DefaultToSkipIfAlreadyInstalled,omitempty"`
	AllowIgnoreChannelRules       bool               `json:"AllowIgnoreChannelRules,omitempty"`
	AutoCreateRelease             bool               `json:"AutoCreateRelease,omitempty"`
	IncludedLibraryVariableSetIDs []string           `json:"IncludedLibraryVariableSetIds,omitempty"`
	ClonedFromProjectID           string             `json:"ClonedFromProjectId,omitempty"`
	ProjectTags                   []string           `json:"ProjectTags,omitempty"`
}

// VersioningStrategy says how a release gets its version when nobody types one.
type VersioningStrategy struct {
	Template           string         `json:"Template,omitempty"`
	DonorPackage       *ActionPackage `json:"DonorPackage,omitempty"`
	DonorPackageStepID string         `json:"DonorPackageStepId,omitempty"`
}

// ConnectivityPolicy says what a deployment does about missing targets.
type ConnectivityPolicy struct {
	SkipMachineBehavior         string   `json:"SkipMachineBehavior"`
	TargetRoles                 []string `json:"TargetRoles"`
	AllowDeploymentsToNoTargets bool     `json:"AllowDeploymentsToNoTargets"`
	ExcludeUnhealthyTargets     bool     `json:"ExcludeUnhealthyTargets"`
}

// VariableTemplate asks whoever deploys a release elsewhere for a value: per
// environment, with help and, if it likes, a default. Without a default a value is
// mandatory. Names are those of Octopus's API.
type VariableTemplate struct {
	ID              string            `json:"Id"`
	Name            string            `json:"Name"`
	Label           string            `json:"Label"`
	HelpText        string            `json:"HelpText"`
	DefaultValue    string            `json:"DefaultValue,omitempty"`
	DisplaySettings map[string]string `json:"DisplaySettings"`
}

// IsSensitive reports whether the value is a secret.
func (t VariableTemplate) IsSensitive() bool {
	return t.DisplaySettings["Octopus.ControlType"] == "Sensitive"
}

// asks reports whether two templates ask for the same with the same words.
func (t VariableTemplate) asks(o VariableTemplate) bool {
	return t.Name == o.Name && t.Label == o.Label && t.HelpText == o.HelpText && t.DefaultValue == o.DefaultValue && t.IsSensitive() == o.IsSensitive()
}

// IsMandatory reports whether a deployment needs a value for it.
func (t VariableTemplate) IsMandatory() bool { return t.DefaultValue == "" }

// IsRemote reports whether the project belongs to another space.
func (p Project) IsRemote() bool { return p.LinkID != 0 }

// Scope is the project as permissions see it.
func (p Project) Scope() access.Scope { return p.scope() }

func (p Project) scope() access.Scope {
	return access.Scope{Project: p.ID.String(), ProjectGroup: p.GroupID.String()}
}

func (p Project) in(e EnvironmentID) access.Scope {
	s := p.scope()
	s.Environment = e.String()
	return s
}

// ProjectInput is what a person or a client says of a project.
type ProjectInput struct {
	Name, Slug, Description string
	GroupID                 ProjectGroupID // 0: the default group
	LifecycleID             LifecycleID    // 0: the default lifecycle
	IsDisabled              bool
	Settings                ProjectSettings
}

const projectColumns = `id, ulid, name, slug, description, project_group_id, lifecycle_id, is_disabled, settings, COALESCE(link_id, 0), COALESCE(remote_ulid, ''), COALESCE(remote_name, ''), updated_at, updated_by, process_document_id, variable_document_id, logo`

func scanProject(scan func(...any) error) (Project, error) {
	var p Project
	var at, settings string
	if err := scan(&p.ID, &p.ULID, &p.Name, &p.Slug, &p.Description, &p.GroupID, &p.LifecycleID, &p.IsDisabled, &settings, &p.LinkID, &p.RemoteULID, &p.RemoteName, &at, &p.UpdatedBy, &p.process, &p.variables, &p.Logo); err != nil {
		return p, err
	}
	p.UpdatedAt = parseTime(at)
	if err := json.Unmarshal([]byte(settings), &p.Settings); err != nil {
		return p, fmt.Errorf("decode settings of project %d: %w", p.ID, err)
	}
	return p, nil
}

func (in *ProjectInput) check(newID func() string) error {
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	s := &in.Settings
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&s.TenantedDeploymentMode, "Untenanted")
	fill(&s.DefaultGuidedFailureMode, "EnvironmentDefault")
	fill(&s.ConnectivityPolicy.SkipMachineBehavior, "None")
	if s.ConnectivityPolicy.TargetRoles == nil {
		s.ConnectivityPolicy.TargetRoles = []string{}
	}
	if s.VersioningStrategy.Template == "" && s.VersioningStrategy.DonorPackage == nil {
		s.VersioningStrategy.Template = "#{Octopus.Version.LastMajor}.#{Octopus.Version.LastMinor}.#{Octopus.Version.NextPatch}"
	}
	seen := map[string]bool{}
	for i := range s.Templates {
		t := &s.Templates[i]
		at := fmt.Sprintf("Templates[%d].Name", i)
		c.Require(t.Name != "", at, "A variable template needs a name.")
		c.Require(!seen[t.Name], at, "Two variable templates are called '%s'.", t.Name)
		seen[t.Name] = true
		fill(&t.ID, newID())
		c.Require(!t.IsSensitive() || t.DefaultValue == "", fmt.Sprintf("Templates[%d].DefaultValue", i), "A sensitive template has no default value: it would be readable by everybody.")
		if t.DisplaySettings == nil {
			t.DisplaySettings = map[string]string{"Octopus.ControlType": "SingleLineText"}
		}
	}
	return c.Err()
}

// CreateProject needs ProjectCreate in the group. The project gets an empty
// process, an empty set of variables and a default channel.
func (tx *Tx) CreateProject(in ProjectInput) (Project, error) {
	var err error
	if in.GroupID == 0 {
		if in.GroupID, err = one[ProjectGroupID](tx.ReadTx, `SELECT id FROM project_group ORDER BY is_default DESC, id LIMIT 1`); err != nil {
			return Project{}, notFound(err, "project group", "default")
		}
	}
	if in.LifecycleID == 0 {
		if in.LifecycleID, err = one[LifecycleID](tx.ReadTx, `SELECT id FROM lifecycle ORDER BY is_default DESC, id LIMIT 1`); err != nil {
			return Project{}, notFound(err, "lifecycle", "default")
		}
	}
	if err := tx.require(access.ProjectCreate, access.Scope{ProjectGroup: in.GroupID.String()}); err != nil {
		return Project{}, err
	}
	return tx.createProject(in, remoteOrigin{})
}

// remoteOrigin is where a remote project comes from; the zero value is no remote
// project.
type remoteOrigin struct {
	link       LinkID
	ulid, name string
}

func (tx *Tx) createProject(in ProjectInput, origin remoteOrigin) (Project, error) {
	if err := in.check(tx.phaseID()); err != nil {
		return Project{}, err
	}
	if err := tx.checkProjectRefs(in); err != nil {
		return Project{}, err
	}
	slug, err := tx.freeSlug("project", in.Slug, in.Name, "")
	if err != nil {
		return Project{}, err
	}
	process, err := tx.createDocument(kindProcess, steps.Process{}, nil)
	if err != nil {
		return Project{}, err
	}
	vars, err := tx.createDocument(kindVariables, variables.Set{}, nil)
	if err != nil {
		return Project{}, err
	}
	settings, err := json.Marshal(in.Settings)
	if err != nil {
		return Project{}, fmt.Errorf("encode project settings: %w", err)
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO project (ulid, name, slug, description, project_group_id, lifecycle_id, is_disabled, process_document_id, variable_document_id, settings, link_id, remote_ulid, remote_name, created_at, updated_at, updated_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULLIF(?, 0), NULLIF(?, ''), NULLIF(?, ''), ?, ?, ?)`,
		NewULID(tx.Now), in.Name, slug, in.Description, int64(in.GroupID), int64(in.LifecycleID), in.IsDisabled, int64(process), int64(vars), string(settings), int64(origin.link), origin.ulid, origin.name, now, now, tx.Actor.Name)
	if err != nil {
		return Project{}, taken(err, "Name", "A project with the name '%s' already exists.", in.Name)
	}
	id := ProjectID(n)
	tx.record(Event{Category: "Created", Entity: "project", EntityID: id.String(), ProjectID: id, Message: fmt.Sprintf("Project %s was created", in.Name)})
	if _, err := tx.createChannel(id, ChannelInput{Name: "Default", IsDefault: true}); err != nil {
		return Project{}, err
	}
	tx.changed("projects", "dashboard")
	return tx.project(id)
}

func (tx *ReadTx) checkProjectRefs(in ProjectInput) error {
	var c errs.Check
	ok, err := one[bool](tx, `SELECT EXISTS (SELECT 1 FROM project_group WHERE id = ?)`, int64(in.GroupID))
	if err != nil {
		return err
	}
	c.Require(ok, "ProjectGroupId", "There is no project group %s.", in.GroupID)
	ok, err = one[bool](tx, `SELECT EXISTS (SELECT 1 FROM lifecycle WHERE id = ?)`, int64(in.LifecycleID))
	if err != nil {
		return err
	}
	c.Require(ok, "LifecycleId", "There is no lifecycle %s.", in.LifecycleID)
	return c.Err()
}

// UpdateProject needs ProjectEdit. Of a remote project only group, lifecycle and
// whether it is disabled are local; name, templates and settings stay its owner's.
func (tx *Tx) UpdateProject(id ProjectID, in ProjectInput) (Project, error) {
	old, err := tx.project(id)
	if err != nil {
		return Project{}, err
	}
	if err := tx.require(access.ProjectEdit, old.scope()); err != nil {
		return Project{}, err
	}
	if old.IsRemote() {
		if in.Name != "" && in.Name != old.Name || in.Description != "" && in.Description != old.Description || len(in.Settings.Templates) > 0 && !slices.EqualFunc(in.Settings.Templates, old.Settings.Templates, VariableTemplate.asks) {
			_, err := tx.ownProject(id)
			return old, err
		}
		in.Name, in.Slug, in.Description, in.Settings = old.Name, old.Slug, old.Description, old.Settings
	}
	if in.GroupID == 0 {
		in.GroupID = old.GroupID
	}
	if in.LifecycleID == 0 {
		in.LifecycleID = old.LifecycleID
	}
	if in.GroupID != old.GroupID {
		if err := tx.require(access.ProjectEdit, access.Scope{ProjectGroup: in.GroupID.String()}); err != nil {
			return Project{}, err
		}
	}
	if err := in.check(tx.phaseID()); err != nil {
		return Project{}, err
	}
	if err := tx.checkProjectRefs(in); err != nil {
		return Project{}, err
	}
	slug := old.Slug
	if in.Slug != "" && in.Slug != old.Slug {
		if slug, err = tx.freeSlug("project", in.Slug, in.Name, " AND id <> ?", int64(id)); err != nil {
			return Project{}, err
		}
	}
	settings, err := json.Marshal(in.Settings)
	if err != nil {
		return Project{}, fmt.Errorf("encode project settings: %w", err)
	}
	err = tx.update(`UPDATE project SET name = ?, slug = ?, description = ?, project_group_id = ?, lifecycle_id = ?, is_disabled = ?, settings = ?, updated_at = ?, updated_by = ? WHERE id = ?`,
		in.Name, slug, in.Description, int64(in.GroupID), int64(in.LifecycleID), in.IsDisabled, string(settings), formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return Project{}, taken(err, "Name", "A project with the name '%s' already exists.", in.Name)
	}
	made, err := tx.project(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Modified", Entity: "project", EntityID: id.String(), ProjectID: id, Message: fmt.Sprintf("Project %s was changed", in.Name), Changes: edited(old.audited(), made.audited())})
	tx.changed("projects", "dashboard", "project/"+id.String())
	return made, nil
}

// audited is what the audit tells of a project that is edited. A sensitive template has
// no value.
func (p Project) audited() map[string]any {
	return map[string]any{"Name": p.Name, "Slug": p.Slug, "Description": p.Description, "ProjectGroupId": p.GroupID.String(), "LifecycleId": p.LifecycleID.String(), "IsDisabled": p.IsDisabled, "Settings": p.Settings}
}

// DeleteProject needs ProjectDelete. It removes releases, deployments and their
// tasks; it is refused while one of them runs.
func (tx *Tx) DeleteProject(id ProjectID) error {
	p, err := tx.project(id)
	if err != nil {
		return err
	}
	if err := tx.require(access.ProjectDelete, p.scope()); err != nil {
		return err
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM task WHERE project_id = ? AND state IN ('Queued', 'Executing', 'Cancelling')`, int64(id)); err != nil {
		return err
	} else if n > 0 {
		return errs.New(errs.Blocked, "Project '%s' has %d tasks that are queued or running.", p.Name, n).WithHint("Cancel them or wait until they are done.")
	}
	// Deployments point to tasks and releases to channels, so the order matters.
	for _, query := range []string{
		`DELETE FROM current_deployment WHERE project_id = ?`, `DELETE FROM remote_current WHERE project_id = ?`,
		`DELETE FROM deployment WHERE project_id = ?`, `DELETE FROM promotion WHERE project_id = ?`, `DELETE FROM release WHERE project_id = ?`,
	} {
		if _, err := tx.exec(query, int64(id)); err != nil {
			return err
		}
	}
	for _, doc := range []DocumentID{p.process, p.variables} {
		if _, err := tx.exec(`DELETE FROM document_ref WHERE document_id = ?`, int64(doc)); err != nil {
			return err
		}
	}
	if err := tx.update(`DELETE FROM project WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	for _, doc := range []DocumentID{p.process, p.variables} {
		if err := tx.update(`DELETE FROM document WHERE id = ?`, int64(doc)); err != nil {
			return err
		}
	}
	tx.record(Event{Category: "Deleted", Entity: "project", EntityID: id.String(), Message: fmt.Sprintf("Project %s was deleted", p.Name)})
	tx.changed("projects", "dashboard")
	return nil
}

// Project returns one. It needs ProjectView; without it the project does not exist.
func (tx *ReadTx) Project(id ProjectID) (Project, error) {
	p, err := tx.project(id)
	if err != nil {
		return p, err
	}
	if !tx.Can(access.ProjectView, p.scope()) {
		if tx.Actor.Permissions.Any(access.ProjectView) {
			return Project{}, errs.Missing("project", id.String())
		}
		return Project{}, access.Missing(access.ProjectView)
	}
	return p, nil
}

// ProjectBy finds one by API id, name or slug.
func (tx *ReadTx) ProjectBy(text string) (Project, error) {
	if n, ok := cutID(prefixProject, text); ok {
		if p, err := tx.Project(ProjectID(n)); err == nil {
			return p, nil
		}
	}
	n, err := one[int64](tx, `SELECT id FROM project WHERE name = ? OR slug = ? ORDER BY name = ? DESC LIMIT 1`, text, text, text)
	if err != nil {
		return Project{}, notFound(err, "project", text)
	}
	return tx.Project(ProjectID(n))
}

func (tx *ReadTx) project(id ProjectID) (Project, error) {
	p, err := scanProject(tx.queryRow(`SELECT `+projectColumns+` FROM project WHERE id = ?`, int64(id)).Scan)
	return p, notFound(err, "project", id.String())
}

// ownProject returns a project whose process, variables and channels are made in
// this space. The error for a remote one is [errs.Blocked] and names the owner.
func (tx *ReadTx) ownProject(id ProjectID) (Project, error) {
	p, err := tx.Project(id)
	if err != nil || !p.IsRemote() {
		return p, err
	}
	owner, err := one[string](tx, `SELECT local_name FROM zone_link WHERE id = ?`, int64(p.LinkID))
	if err != nil {
		return p, err
	}
	return p, errs.New(errs.Blocked, "'%s' is owned by %s.", p.Name, owner).WithHint("Change it there and promote a new release; lifecycle and variable values can be changed here.")
}

// Projects lists those that the actor may see, by name. group 0 means all groups.
func (tx *ReadTx) Projects(group ProjectGroupID, o ListOptions) (Page[Project], error) {
	if !tx.Actor.System && !tx.Actor.Permissions.Any(access.ProjectView) {
		return Page[Project]{}, access.Missing(access.ProjectView)
	}
	var f filter
	if group != 0 {
		f.add("project_group_id = ?", int64(group))
	}
	f.ids("id", prefixProject, o.IDs)
	f.names("name", o)
	p, err := pageOf(tx, scanProject, projectColumns, "project", "name", "name, id", f, o)
	if err != nil {
		return p, err
	}
	kept := p.Items[:0]
	for _, v := range p.Items {
		if tx.Can(access.ProjectView, v.scope()) {
			kept = append(kept, v)
		}
	}
	p.Total -= len(p.Items) - len(kept)
	p.Items = kept
	return p, nil
}
