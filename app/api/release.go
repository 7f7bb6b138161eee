package api

import (
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

func releaseRoutes() []Row {
	return []Row{
		get("/releases", InSpace, access.ReleaseView, listReleases),
		post("/releases", InSpace, access.ReleaseCreate, createRelease),
		post("/releases/create/v1", InSpace, access.ReleaseCreate, createReleaseV1),
		get("/releases/:id", InSpace, access.ReleaseView, showRelease),
		put("/releases/:id", InSpace, access.ReleaseEdit, updateRelease),
		del("/releases/:id", InSpace, access.ReleaseDelete, deleteRelease),
		get("/releases/:id/progression", InSpace, access.ReleaseView, releaseProgression),
		get("/releases/:id/defects", InSpace, access.ReleaseView, noDefects),
		get("/releases/:id/missingpackages", InSpace, access.ReleaseView, missingPackages),
		get("/projects/:project/releases", InSpace, access.ReleaseView, listReleases),
		get("/projects/:project/releases/:version", InSpace, access.ReleaseView, showRelease),
		get("/projects/:project/progression", InSpace, access.ReleaseView, projectProgression),
	}
}

type selectedPackage struct {
	ActionName           string `json:"ActionName"`
	StepName             string `json:"StepName,omitempty"`
	Version              string `json:"Version"`
	PackageReferenceName string `json:"PackageReferenceName"`
}

type releaseResource struct {
	ID                            string            `json:"Id"`
	SpaceID                       string            `json:"SpaceId"`
	Version                       string            `json:"Version"`
	ProjectID                     string            `json:"ProjectId"`
	ChannelID                     string            `json:"ChannelId"`
	Assembled                     time.Time         `json:"Assembled"`
	ReleaseNotes                  string            `json:"ReleaseNotes"`
	IgnoreChannelRules            bool              `json:"IgnoreChannelRules"`
	ProcessSnapshotID             string            `json:"ProjectDeploymentProcessSnapshotId"`
	VariableSnapshotID            string            `json:"ProjectVariableSetSnapshotId"`
	LibraryVariableSetSnapshotIDs []string          `json:"LibraryVariableSetSnapshotIds"`
	SelectedPackages              []selectedPackage `json:"SelectedPackages"`
	SelectedGitResources          []struct{}        `json:"SelectedGitResources"`
	BuildInformation              []struct{}        `json:"BuildInformation"`
	CustomFields                  map[string]string `json:"CustomFields"`
	LastModifiedBy                string            `json:"LastModifiedBy"`
	Links                         links             `json:"Links"`
}

func (r *request) releaseResource(v spaces.Release) releaseResource {
	id := v.ID.String()
	self, project := r.in("releases", id), r.in("projects", v.ProjectID.String())
	out := releaseResource{ID: id, SpaceID: r.about.ID(), Version: v.Version, ProjectID: v.ProjectID.String(), ChannelID: v.ChannelID.String(), Assembled: v.AssembledAt, ReleaseNotes: v.Notes, IgnoreChannelRules: v.IgnoreRules,
		ProcessSnapshotID: processPrefix + id, VariableSnapshotID: variablesPrefix + id, LibraryVariableSetSnapshotIDs: []string{}, SelectedPackages: []selectedPackage{}, SelectedGitResources: []struct{}{}, BuildInformation: []struct{}{},
		CustomFields: map[string]string{}, LastModifiedBy: v.AssembledBy,
		Links: links{"Self": self, "Project": project, "Channel": r.in("channels", v.ChannelID.String()), "Progression": self + "/progression", "Deployments": self + "/deployments{?skip,take}", "DeploymentTemplate": self + "/deployments/template",
			"ProjectDeploymentProcessSnapshot": r.in("deploymentprocesses", processPrefix+id), "ProjectVariableSnapshot": r.in("variables", variablesPrefix+id), "Defects": self + "/defects",
			"Web": r.s.prefix() + "/app#/" + r.about.ID() + "/releases/" + id}}
	for _, p := range v.Packages {
		out.SelectedPackages = append(out.SelectedPackages, selectedPackage{ActionName: p.ActionName, StepName: p.ActionName, Version: p.Version, PackageReferenceName: p.ReferenceName})
	}
	return out
}

// releaseFilter reads what a list of releases asks for: of the space, of a project, of
// a channel.
func (r *request) releaseFilter(tx *spaces.ReadTx) (spaces.ReleaseFilter, error) {
	f := spaces.ReleaseFilter{IDs: r.list("ids"), SearchByVersion: r.query("searchByVersion"), Skip: r.number("skip"), Take: r.number("take")}
	if text := r.param("project"); text != "" {
		p, err := tx.ProjectBy(text)
		if err != nil {
			return f, err
		}
		f.Project = p.ID
	}
	return f, nil
}

func (r *request) releases(filter func(tx *spaces.ReadTx) (spaces.ReleaseFilter, error)) error {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Release], error) {
		f, err := filter(tx)
		if err != nil {
			return spaces.Page[spaces.Release]{}, err
		}
		p, err := tx.Releases(f)
		if err != nil {
			return p, err
		}
		return p, tx.FillPackages(p.Items)
	})
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Release", p, r.releaseResource))
}

func listReleases(r *request) error { return r.releases(r.releaseFilter) }

func channelReleases(r *request) error {
	return r.releases(func(tx *spaces.ReadTx) (spaces.ReleaseFilter, error) {
		c, err := r.channel(tx)
		return spaces.ReleaseFilter{Project: c.ProjectID, Channel: c.ID, SearchByVersion: r.query("searchByVersion"), Skip: r.number("skip"), Take: r.number("take")}, err
	})
}

// release is the one of the path: by id, or by version below its project.
func (r *request) release(tx *spaces.ReadTx) (spaces.Release, error) {
	if text := r.param("project"); text != "" {
		p, err := tx.ProjectBy(text)
		if err != nil {
			return spaces.Release{}, err
		}
		return tx.ReleaseBy(p.ID, r.param("version"))
	}
	id, err := spaces.ParseReleaseID(r.param("id"))
	if err != nil {
		return spaces.Release{}, err
	}
	return tx.Release(id)
}

func showRelease(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (releaseResource, error) {
		v, err := r.release(tx)
		return r.releaseResource(v), err
	})
}

func createRelease(r *request) error {
	in, err := readJSON[releaseResource](r)
	if err != nil {
		return err
	}
	what := spaces.ReleaseInput{Version: in.Version, Notes: in.ReleaseNotes, IgnoreRules: in.IgnoreChannelRules || r.flag("ignoreChannelRules")}
	for _, p := range in.SelectedPackages {
		name := p.ActionName
		if name == "" {
			name = p.StepName
		}
		what.Packages = append(what.Packages, spaces.PackageChoice{Name: name, Reference: p.PackageReferenceName, Version: p.Version})
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (releaseResource, error) {
		if err := r.releaseOf(tx.ReadTx, &what, in.ProjectID, in.ChannelID); err != nil {
			return releaseResource{}, err
		}
		v, err := tx.CreateRelease(what)
		return r.releaseResource(v), err
	})
}

// releaseOf finds project and channel by id, slug or name.
func (r *request) releaseOf(tx *spaces.ReadTx, in *spaces.ReleaseInput, project, channel string) error {
	p, err := tx.ProjectBy(project)
	if err != nil {
		return wrongReference(err, "ProjectId", "project", project)
	}
	in.Project = p.ID
	if channel == "" {
		return nil
	}
	c, err := tx.ChannelBy(p.ID, channel)
	if err != nil {
		return wrongReference(err, "ChannelId", "channel", channel)
	}
	in.Channel = c.ID
	return nil
}

// createReleaseV1 is what `octopus release create` sends. Only the first mention of a
// package matters to the rules, so each text is one choice.
func createReleaseV1(r *request) error {
	in, err := readJSON[struct {
		ProjectName           string
		ChannelName           string
		ReleaseVersion        string
		PackageVersion        string
		Packages              []string
		ReleaseNotes          string
		IgnoreIfAlreadyExists bool
		IgnoreChannelRules    bool
	}](r)
	if err != nil {
		return err
	}
	what := spaces.ReleaseInput{Version: in.ReleaseVersion, Notes: in.ReleaseNotes, PackageVersion: in.PackageVersion, IgnoreRules: in.IgnoreChannelRules, IgnoreIfExists: in.IgnoreIfAlreadyExists}
	for _, text := range in.Packages {
		if strings.TrimSpace(text) == "" {
			continue
		}
		choice, err := spaces.ParsePackageChoice(text)
		if err != nil {
			return err
		}
		what.Packages = append(what.Packages, choice)
	}
	type made struct {
		ReleaseID             string `json:"ReleaseId"`
		ReleaseVersion        string `json:"ReleaseVersion"`
		AutomaticallyDeployed string `json:"AutomaticallyDeployedEnvironments"` // names, with commas between
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (made, error) {
		if err := r.releaseOf(tx.ReadTx, &what, in.ProjectName, in.ChannelName); err != nil {
			return made{}, err
		}
		v, err := tx.CreateRelease(what)
		if err != nil {
			return made{}, err
		}
		to, err := tx.DeployedTo(v.ID)
		return made{ReleaseID: v.ID.String(), ReleaseVersion: v.Version, AutomaticallyDeployed: strings.Join(to, ", ")}, err
	})
}

// updateRelease changes notes: nothing else of a release ever changes.
func updateRelease(r *request) error {
	stored, err := view(r, r.release)
	if err != nil {
		return err
	}
	in, err := readOver[releaseResource](r, r.releaseResource(stored))
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (releaseResource, error) {
		v, err := tx.UpdateRelease(stored.ID, in.ReleaseNotes)
		return r.releaseResource(v), err
	})
}

func deleteRelease(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		v, err := r.release(tx.ReadTx)
		if err != nil {
			return err
		}
		return tx.DeleteRelease(v.ID)
	})
}

// noDefects answers that nothing blocks a release: we have no defects.
func noDefects(r *request) error {
	if _, err := view(r, r.release); err != nil {
		return err
	}
	return r.ok(pageOf(r, "Defect", slice(r, []struct{}{}), same))
}

func missingPackages(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (map[string]any, error) {
		v, err := r.release(tx)
		if err != nil {
			return nil, err
		}
		list, err := tx.MissingPackages(v.ID)
		type missing struct{ Id, Version string }
		return map[string]any{"Packages": each(list, func(p spaces.ReleasePackage) missing { return missing{p.PackageID, p.Version} })}, err
	})
}
