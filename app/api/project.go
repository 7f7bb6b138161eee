package api

import (
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func projectRoutes() []Row {
	read := func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Project], error) {
		return tx.Projects(0, o)
	}
	return []Row{
		get("/projects", InSpace, access.ProjectView, func(r *request) error { return listed(r, "Project", read, r.projectResource) }),
		get("/projects/all", InSpace, access.ProjectView, func(r *request) error { return all(r, read, r.projectResource) }),
		large(post("/projects", InSpace, access.ProjectCreate, createProject)),
		get("/projects/:id", InSpace, access.ProjectView, showProject),
		large(put("/projects/:id", InSpace, access.ProjectEdit, updateProject)),
		del("/projects/:id", InSpace, access.ProjectDelete, deleteProject),
		get("/projects/:id/logo", InSpace, access.ProjectView, showLogo),
		moving(post("/projects/:id/logo", InSpace, access.ProjectEdit, setLogo)),
		moving(put("/projects/:id/logo", InSpace, access.ProjectEdit, setLogo)),
		del("/projects/:id/logo", InSpace, access.ProjectEdit, removeLogo),
		get("/projects/:id/summary", InSpace, access.ProjectView, projectSummary),
		get("/projects/:id/deploymentsettings", InSpace, access.ProjectView, showSettings),
		large(put("/projects/:id/deploymentsettings", InSpace, access.ProjectEdit, updateSettings)),
	}
}

type persistence struct {
	Type string `json:"Type"`
}

type projectResource struct {
	ID                  string      `json:"Id"`
	SpaceID             string      `json:"SpaceId"`
	Name                string      `json:"Name"`
	Slug                string      `json:"Slug"`
	Description         string      `json:"Description"`
	ProjectGroupID      string      `json:"ProjectGroupId"`
	LifecycleID         string      `json:"LifecycleId"`
	DeploymentProcessID string      `json:"DeploymentProcessId"`
	VariableSetID       string      `json:"VariableSetId"`
	IsDisabled          bool        `json:"IsDisabled"`
	IsVersionControlled bool        `json:"IsVersionControlled"`
	PersistenceSettings persistence `json:"PersistenceSettings"`
	projectSettings
	AutoDeployReleaseOverrides []struct{} `json:"AutoDeployReleaseOverrides"`
	ExtensionSettings          []struct{} `json:"ExtensionSettings"`
	ReleaseCreationStrategy    *struct{}  `json:"ReleaseCreationStrategy"`
	DeploymentChangesTemplate  string     `json:"DeploymentChangesTemplate"`
	ProjectTemplateDetails     *struct{}  `json:"ProjectTemplateDetails"`
	IsRemote                   bool       `json:"IsRemote"` // ours: it belongs to a space of another zone
	LastModifiedOn             *time.Time `json:"LastModifiedOn"`
	LastModifiedBy             string     `json:"LastModifiedBy"`
	Links                      links      `json:"Links"`
}

// projectSettings are those of spaces, every list as a list.
type projectSettings struct {
	VersioningStrategy            *spaces.VersioningStrategy `json:"VersioningStrategy"`
	ReleaseNotesTemplate          string                     `json:"ReleaseNotesTemplate"`
	Templates                     []templateResource         `json:"Templates"`
	TenantedDeploymentMode        string                     `json:"TenantedDeploymentMode"`
	DefaultGuidedFailureMode      string                     `json:"DefaultGuidedFailureMode"`
	ConnectivityPolicy            *spaces.ConnectivityPolicy `json:"ProjectConnectivityPolicy"`
	DiscreteChannelRelease        bool                       `json:"DiscreteChannelRelease"`
	DefaultToSkip                 bool                       `json:"DefaultToSkipIfAlreadyInstalled"`
	AllowIgnoreChannelRules       bool                       `json:"AllowIgnoreChannelRules"`
	AutoCreateRelease             bool                       `json:"AutoCreateRelease"`
	IncludedLibraryVariableSetIDs []string                   `json:"IncludedLibraryVariableSetIds"`
	ClonedFromProjectID           *string                    `json:"ClonedFromProjectId"`
	ProjectTags                   []string                   `json:"ProjectTags"`
}

// templateResource is a variable template. A default value may come as a sensitive
// value, which the rules then refuse by its name.
type templateResource struct {
	ID              string            `json:"Id"`
	Name            string            `json:"Name"`
	Label           string            `json:"Label"`
	HelpText        string            `json:"HelpText"`
	DefaultValue    any               `json:"DefaultValue"`
	DisplaySettings map[string]string `json:"DisplaySettings"`
}

func settingsOf(s spaces.ProjectSettings) projectSettings {
	out := projectSettings{VersioningStrategy: &s.VersioningStrategy, ReleaseNotesTemplate: s.ReleaseNotesTemplate, Templates: []templateResource{}, TenantedDeploymentMode: s.TenantedDeploymentMode,
		DefaultGuidedFailureMode: s.DefaultGuidedFailureMode, ConnectivityPolicy: &s.ConnectivityPolicy, DiscreteChannelRelease: s.DiscreteChannelRelease, DefaultToSkip: s.DefaultToSkip,
		AllowIgnoreChannelRules: s.AllowIgnoreChannelRules, AutoCreateRelease: s.AutoCreateRelease, IncludedLibraryVariableSetIDs: orEmpty(s.IncludedLibraryVariableSetIDs), ProjectTags: orEmpty(s.ProjectTags)}
	out.ConnectivityPolicy.TargetRoles = orEmpty(out.ConnectivityPolicy.TargetRoles)
	if s.ClonedFromProjectID != "" {
		out.ClonedFromProjectID = &s.ClonedFromProjectID
	}
	for _, t := range s.Templates {
		out.Templates = append(out.Templates, templateResource{ID: t.ID, Name: t.Name, Label: t.Label, HelpText: t.HelpText, DefaultValue: t.DefaultValue, DisplaySettings: t.DisplaySettings})
	}
	return out
}

func (s projectSettings) stored() (spaces.ProjectSettings, error) {
	out := spaces.ProjectSettings{ReleaseNotesTemplate: s.ReleaseNotesTemplate, TenantedDeploymentMode: s.TenantedDeploymentMode, DefaultGuidedFailureMode: s.DefaultGuidedFailureMode,
		DiscreteChannelRelease: s.DiscreteChannelRelease, DefaultToSkip: s.DefaultToSkip, AllowIgnoreChannelRules: s.AllowIgnoreChannelRules, AutoCreateRelease: s.AutoCreateRelease, ProjectTags: s.ProjectTags}
	if s.VersioningStrategy != nil {
		out.VersioningStrategy = *s.VersioningStrategy
	}
	if s.ConnectivityPolicy != nil {
		out.ConnectivityPolicy = *s.ConnectivityPolicy
	}
	if s.ClonedFromProjectID != nil {
		out.ClonedFromProjectID = *s.ClonedFromProjectID
	}
	if len(s.IncludedLibraryVariableSetIDs) > 0 {
		return out, errs.New(errs.Invalid, "Library variable sets are not supported here.").WithHint("Put the values into the variables of the project.")
	}
	for _, t := range s.Templates {
		v := spaces.VariableTemplate{ID: t.ID, Name: t.Name, Label: t.Label, HelpText: t.HelpText, DisplaySettings: t.DisplaySettings}
		switch d := t.DefaultValue.(type) {
		case string:
			v.DefaultValue = d
		case map[string]any:
			if set, _ := d["HasValue"].(bool); set {
				return out, errs.New(errs.Invalid, "Variable template '%s': a sensitive template has no default value.", t.Name)
			}
		}
		out.Templates = append(out.Templates, v)
	}
	return out, nil
}

func (r *request) projectResource(p spaces.Project) projectResource {
	id := p.ID.String()
	self := r.in("projects", id)
	return projectResource{ID: id, SpaceID: r.about.ID(), Name: p.Name, Slug: p.Slug, Description: p.Description, ProjectGroupID: p.GroupID.String(), LifecycleID: p.LifecycleID.String(),
		DeploymentProcessID: spaces.ProcessID(p.ID), VariableSetID: spaces.VariableSetID(p.ID), IsDisabled: p.IsDisabled, PersistenceSettings: persistence{"Database"}, projectSettings: settingsOf(p.Settings),
		AutoDeployReleaseOverrides: []struct{}{}, ExtensionSettings: []struct{}{}, IsRemote: p.IsRemote(), LastModifiedOn: timeOrNil(p.UpdatedAt), LastModifiedBy: p.UpdatedBy,
		Links: links{"Self": self, "Logo": self + "/logo", "Channels": self + "/channels{/id}{?skip,take,ids,partialName}", "Releases": self + "/releases{/version}{?skip,take,searchByVersion}", "Progression": self + "/progression{?releaseHistoryCount}",
			"DeploymentProcess": r.in("deploymentprocesses", spaces.ProcessID(p.ID)), "DeploymentSettings": self + "/deploymentsettings", "Variables": r.in("variables", spaces.VariableSetID(p.ID)), "Summary": self + "/summary",
			"Runbooks": self + "/runbooks{/id}{?skip,take,partialName}", "Triggers": self + "/triggers{/id}{?skip,take,partialName,triggerActionType,runbooks}", "Web": r.s.prefix() + "/app#/" + r.about.ID() + "/projects/" + id}}
}

type projectInput struct {
	Name           string
	Slug           string
	Description    string
	ProjectGroupID string `json:"ProjectGroupId"`
	LifecycleID    string `json:"LifecycleId"`
	IsDisabled     bool
	projectSettings
}

// input reads what was said of a project; group and lifecycle may be named.
func (in projectInput) input(tx *spaces.ReadTx) (spaces.ProjectInput, error) {
	out := spaces.ProjectInput{Name: in.Name, Slug: in.Slug, Description: in.Description, IsDisabled: in.IsDisabled}
	var err error
	if out.Settings, err = in.stored(); err != nil {
		return out, err
	}
	if in.ProjectGroupID != "" {
		g, err := tx.ProjectGroupBy(in.ProjectGroupID)
		if err != nil {
			return out, wrongReference(err, "ProjectGroupId", "project group", in.ProjectGroupID)
		}
		out.GroupID = g.ID
	}
	if in.LifecycleID != "" {
		l, err := tx.LifecycleBy(in.LifecycleID)
		if err != nil {
			return out, wrongReference(err, "LifecycleId", "lifecycle", in.LifecycleID)
		}
		out.LifecycleID = l.ID
	}
	return out, nil
}

// wrongReference turns the NotFound of something that a body names into a complaint
// about the body: a 404 would say that the path is wrong.
func wrongReference(err error, field, entity, text string) error {
	if errs.KindOf(err) != errs.NotFound {
		return err
	}
	return &errs.Error{Kind: errs.Invalid, Err: err, Fields: []errs.Field{{Name: field, Message: "There is no " + entity + " '" + text + "'."}}}
}

func createProject(r *request) error {
	in, err := readJSON[projectInput](r)
	if err != nil {
		return err
	}
	source := r.query("clone")
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (projectResource, error) {
		var p spaces.Project
		if source != "" {
			from, err := tx.ProjectBy(source)
			if err != nil {
				return projectResource{}, err
			}
			what := spaces.ProjectInput{}
			if what, err = in.input(tx.ReadTx); err != nil {
				return projectResource{}, err
			}
			if p, err = tx.CloneProject(from.ID, what); err != nil {
				return projectResource{}, err
			}
			return r.projectResource(p), nil
		}
		what, err := in.input(tx.ReadTx)
		if err != nil {
			return projectResource{}, err
		}
		p, err = tx.CreateProject(what)
		return r.projectResource(p), err
	})
}

func showProject(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (projectResource, error) {
		p, err := tx.ProjectBy(r.param("id"))
		return r.projectResource(p), err
	})
}

func (r *request) project() (spaces.Project, error) {
	return view(r, func(tx *spaces.ReadTx) (spaces.Project, error) { return tx.ProjectBy(r.param("id")) })
}

func updateProject(r *request) error {
	stored, err := r.project()
	if err != nil {
		return err
	}
	in, err := readOver[projectInput](r, r.projectResource(stored))
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (projectResource, error) {
		what, err := in.input(tx.ReadTx)
		if err != nil {
			return projectResource{}, err
		}
		p, err := tx.UpdateProject(stored.ID, what)
		return r.projectResource(p), err
	})
}

func deleteProject(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		p, err := tx.ProjectBy(r.param("id"))
		if err != nil {
			return err
		}
		return tx.DeleteProject(p.ID)
	})
}

func projectSummary(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (map[string]any, error) {
		p, err := tx.ProjectBy(r.param("id"))
		if err != nil {
			return nil, err
		}
		process, err := tx.Process(p.ID)
		return map[string]any{"HasDeploymentProcess": len(process.Steps) > 0, "HasRunbooks": false, "HasBeenSuccessfullyDeployed": false}, err
	})
}

type settingsResource struct {
	ID                        string                    `json:"Id"`
	SpaceID                   string                    `json:"SpaceId"`
	ProjectID                 string                    `json:"ProjectId"`
	ConnectivityPolicy        spaces.ConnectivityPolicy `json:"ConnectivityPolicy"`
	DefaultGuidedFailureMode  string                    `json:"DefaultGuidedFailureMode"`
	DefaultToSkip             bool                      `json:"DefaultToSkipIfAlreadyInstalled"`
	VersioningStrategy        spaces.VersioningStrategy `json:"VersioningStrategy"`
	ReleaseNotesTemplate      string                    `json:"ReleaseNotesTemplate"`
	DeploymentChangesTemplate string                    `json:"DeploymentChangesTemplate"`
	ForcePackageDownload      bool                      `json:"ForcePackageDownload"`
	Links                     links                     `json:"Links"`
}

func (r *request) settingsResource(p spaces.Project) settingsResource {
	out := settingsResource{ID: "deploymentsettings-" + p.ID.String(), SpaceID: r.about.ID(), ProjectID: p.ID.String(), ConnectivityPolicy: p.Settings.ConnectivityPolicy, DefaultGuidedFailureMode: p.Settings.DefaultGuidedFailureMode,
		DefaultToSkip: p.Settings.DefaultToSkip, VersioningStrategy: p.Settings.VersioningStrategy, ReleaseNotesTemplate: p.Settings.ReleaseNotesTemplate, Links: links{"Self": r.in("projects", p.ID.String(), "deploymentsettings")}}
	out.ConnectivityPolicy.TargetRoles = orEmpty(out.ConnectivityPolicy.TargetRoles)
	return out
}

func showSettings(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (settingsResource, error) {
		p, err := tx.ProjectBy(r.param("id"))
		return r.settingsResource(p), err
	})
}

func updateSettings(r *request) error {
	p, err := r.project()
	if err != nil {
		return err
	}
	in, err := readOver[settingsResource](r, r.settingsResource(p))
	if err != nil {
		return err
	}
	what := spaces.ProjectInput{Name: p.Name, Slug: p.Slug, Description: p.Description, GroupID: p.GroupID, LifecycleID: p.LifecycleID, IsDisabled: p.IsDisabled, Settings: p.Settings}
	what.Settings.ConnectivityPolicy, what.Settings.DefaultGuidedFailureMode, what.Settings.DefaultToSkip = in.ConnectivityPolicy, in.DefaultGuidedFailureMode, in.DefaultToSkip
	what.Settings.VersioningStrategy, what.Settings.ReleaseNotesTemplate = in.VersioningStrategy, in.ReleaseNotesTemplate
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (settingsResource, error) {
		p, err := tx.UpdateProject(p.ID, what)
		return r.settingsResource(p), err
	})
}

// cutPrefix takes a prefix off in any case: clients build such ids in lower case.
func cutPrefix(text, prefix string) (string, bool) {
	if len(text) < len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return text, false
	}
	return text[len(prefix):], true
}
