package api

import (
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
)

func processRoutes() []Row {
	return []Row{
		get("/deploymentprocesses", InSpace, access.ProcessView, listProcesses),
		get("/deploymentprocesses/:id", InSpace, access.ProcessView, showProcess),
		large(put("/deploymentprocesses/:id", InSpace, access.ProcessEdit, updateProcess)),
		get("/deploymentprocesses/:id/template", InSpace, access.ProcessView, processTemplate),
		get("/projects/:project/deploymentprocesses", InSpace, access.ProcessView, showProcess),
		large(put("/projects/:project/deploymentprocesses", InSpace, access.ProcessEdit, updateProcess)),
		get("/projects/:project/deploymentprocesses/template", InSpace, access.ProcessView, processTemplate),
	}
}

const processPrefix = "deploymentprocess-"

type processResource struct {
	ID             string       `json:"Id"`
	SpaceID        string       `json:"SpaceId"`
	ProjectID      string       `json:"ProjectId"`
	Version        int          `json:"Version"`
	LastSnapshotID *string      `json:"LastSnapshotId"`
	Steps          []steps.Step `json:"Steps"`
	LastModifiedOn *time.Time   `json:"LastModifiedOn"`
	LastModifiedBy string       `json:"LastModifiedBy"`
	Links          links        `json:"Links"`
}

func (r *request) processResource(p spaces.Process) processResource {
	id := spaces.ProcessID(p.ProjectID)
	self := r.in("deploymentprocesses", id)
	return processResource{ID: id, SpaceID: r.about.ID(), ProjectID: p.ProjectID.String(), Version: p.Version, Steps: orEmpty(p.Steps), LastModifiedOn: timeOrNil(p.UpdatedAt), LastModifiedBy: p.UpdatedBy,
		Links: links{"Self": self, "Project": r.in("projects", p.ProjectID.String()), "Template": self + "/template{?channel,releaseId}"}}
}

func listProcesses(r *request) error {
	o := r.options()
	ids := o.IDs
	o.IDs = nil
	for _, id := range ids {
		id, _ = cutPrefix(id, processPrefix)
		o.IDs = append(o.IDs, id)
	}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Process], error) {
		projects, err := tx.Projects(0, o)
		out := spaces.Page[spaces.Process]{Total: projects.Total, Skip: projects.Skip, Take: projects.Take}
		if err != nil {
			return out, err
		}
		for _, p := range projects.Items {
			process, err := tx.Process(p.ID)
			if errs.KindOf(err) == errs.Denied {
				out.Total--
				continue
			}
			if err != nil {
				return out, err
			}
			out.Items = append(out.Items, process)
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "DeploymentProcess", p, r.processResource))
}

// processProject is the project whose process the path names.
func (r *request) processProject(tx *spaces.ReadTx) (spaces.Project, error) {
	text := r.param("project")
	if text == "" {
		rest, ok := cutPrefix(r.param("id"), processPrefix)
		if !ok {
			return spaces.Project{}, errs.Missing("deployment process", r.param("id"))
		}
		text = rest
	}
	return tx.ProjectBy(text)
}

// showProcess answers the process of a project, or the one frozen in a release.
func showProcess(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (processResource, error) {
		if rest, ok := cutPrefix(r.param("id"), processPrefix); ok {
			if id, err := spaces.ParseReleaseID(rest); err == nil {
				return r.frozenProcess(tx, id)
			}
		}
		p, err := r.processProject(tx)
		if err != nil {
			return processResource{}, err
		}
		process, err := tx.Process(p.ID)
		return r.processResource(process), err
	})
}

func (r *request) frozenProcess(tx *spaces.ReadTx, id spaces.ReleaseID) (processResource, error) {
	release, err := tx.Release(id)
	if err != nil {
		return processResource{}, err
	}
	if _, err := tx.Process(release.ProjectID); err != nil { // asks for the permission
		return processResource{}, err
	}
	frozen, err := tx.ReleaseProcess(release)
	if err != nil {
		return processResource{}, err
	}
	out := r.processResource(spaces.Process{Process: *frozen.Public(), ProjectID: release.ProjectID, UpdatedAt: release.AssembledAt, UpdatedBy: release.AssembledBy})
	out.ID = processPrefix + id.String()
	self := r.in("deploymentprocesses", out.ID)
	out.Links["Self"], out.Links["Template"] = self, self+"/template{?channel,releaseId}"
	return out, nil
}

func updateProcess(r *request) error {
	p, err := view(r, r.processProject)
	if err != nil {
		return err
	}
	in, err := readJSON[steps.Process](r)
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (processResource, error) {
		process, err := tx.SaveProcess(p.ID, in.Version, in)
		return r.processResource(process), err
	})
}

type templatePackage struct {
	ActionName                 string `json:"ActionName"`
	StepName                   string `json:"StepName"`
	PackageID                  string `json:"PackageId"`
	FeedID                     string `json:"FeedId"`
	FeedName                   string `json:"FeedName"`
	ProjectName                string `json:"ProjectName"`
	PackageReferenceName       string `json:"PackageReferenceName"`
	IsResolvable               bool   `json:"IsResolvable"`
	VersionSelectedLastRelease string `json:"VersionSelectedLastRelease"`
	FixedVersion               string `json:"FixedVersion,omitempty"`
}

type templateOfRelease struct {
	DeploymentProcessID       string            `json:"DeploymentProcessId"`
	LastReleaseVersion        *string           `json:"LastReleaseVersion"`
	NextVersionIncrement      string            `json:"NextVersionIncrement"`
	VersioningPackageStepName *string           `json:"VersioningPackageStepName"`
	VersioningPackageRef      *string           `json:"VersioningPackageReferenceName"`
	Packages                  []templatePackage `json:"Packages"`
	GitResources              []struct{}        `json:"GitResources"`
	Links                     links             `json:"Links"`
}

// processTemplate says what a new release needs: its next version and the packages whose
// versions are to be chosen.
func processTemplate(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (templateOfRelease, error) {
		p, err := r.processProject(tx)
		if err != nil {
			return templateOfRelease{}, err
		}
		process, err := tx.Process(p.ID)
		if err != nil {
			return templateOfRelease{}, err
		}
		channel, err := tx.DefaultChannel(p.ID)
		if text := r.query("channel"); text != "" {
			channel, err = tx.ChannelBy(p.ID, text)
		}
		if err != nil {
			return templateOfRelease{}, err
		}
		self := r.in("deploymentprocesses", spaces.ProcessID(p.ID))
		out := templateOfRelease{DeploymentProcessID: spaces.ProcessID(p.ID), Packages: []templatePackage{}, GitResources: []struct{}{}, Links: links{"Self": self + "/template"}}
		chosen := map[string]string{}
		last, err := tx.Releases(spaces.ReleaseFilter{Project: p.ID, Take: 1})
		if err != nil && errs.KindOf(err) != errs.Denied {
			return out, err
		}
		if len(last.Items) > 0 {
			release, err := tx.Release(last.Items[0].ID)
			if err != nil {
				return out, err
			}
			out.LastReleaseVersion = &release.Version
			for _, pkg := range release.Packages {
				chosen[pkg.ActionName+"\x00"+pkg.ReferenceName] = pkg.Version
			}
		}
		if donor := p.Settings.VersioningStrategy.DonorPackage; donor != nil {
			out.VersioningPackageStepName, out.VersioningPackageRef = &donor.DeploymentAction, &donor.PackageReference
		} else if out.NextVersionIncrement, err = tx.NextVersion(p, channel, nil); err != nil {
			return out, err
		}
		for _, step := range process.Steps {
			for _, action := range step.Actions {
				if action.IsDisabled {
					continue
				}
				for _, ref := range action.Packages {
					out.Packages = append(out.Packages, templatePackage{ActionName: action.Name, StepName: step.Name, PackageID: ref.PackageID, FeedID: ref.FeedID, FeedName: spaces.BuiltInFeedName, ProjectName: p.Name,
						PackageReferenceName: ref.Name, IsResolvable: !strings.Contains(ref.PackageID+ref.FeedID, "#{"), VersionSelectedLastRelease: chosen[action.Name+"\x00"+ref.Name], FixedVersion: ref.Version})
				}
			}
		}
		return out, nil
	})
}
