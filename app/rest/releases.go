package rest

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

func (r *request) pkg(p spaces.Package) R {
	self := r.prefix + "/packages/" + p.ID()
	return R{"Id": p.ID(), "PackageId": p.PackageID, "NuGetPackageId": p.PackageID, "FeedId": spaces.BuiltInFeed, "NuGetFeedId": spaces.BuiltInFeed, "Version": p.Version, "Title": p.PackageID, "Summary": "", "Description": "", "PackageSizeBytes": p.Size, "Hash": p.Digest, "FileExtension": p.Extension,
		"Published": p.PublishedAt.UTC().Format(time.RFC3339), "Links": R{"Self": self, "Raw": self + "/raw"}}
}

// uploadPackage streams the first file of a multipart body into the store. The
// permission is checked before the body is read.
func uploadPackage(r *request) (any, error) {
	mode, err := spaces.ParseOverwriteMode(r.query("overwriteMode"))
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(r.query("replace"), "true") {
		mode = spaces.OverwriteExisting
	}
	if _, err := view(r, func(tx *spaces.ReadTx) (struct{}, error) { return struct{}{}, tx.MayPush(mode) }); err != nil {
		return nil, err
	}
	kind, params, err := mime.ParseMediaType(r.c.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, errs.New(errs.Invalid, "The package is sent as a form with a file (multipart/form-data).").WithHint("For example: curl -H 'X-Octopus-ApiKey: …' -F 'data=@Acme.Web.1.2.3.zip' URL")
	}
	parts := multipart.NewReader(r.stream(), params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, errs.New(errs.Invalid, "The form holds no file.")
		}
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "The upload broke off or is no form: %v.", err)
		}
		if part.FileName() == "" {
			continue
		}
		return r.storePackage(part.FileName(), part, mode)
	}
}

func (r *request) storePackage(name string, in io.Reader, mode spaces.OverwriteMode) (any, error) {
	id, version, extension, err := packages.ParseFileName(name)
	if err != nil {
		return nil, err
	}
	limit := r.s.MaxPackage
	if limit == 0 {
		limit = 20 << 30
	}
	blob, err := r.space.Packages().Put(r.ctx, in, limit)
	if err != nil {
		return nil, err
	}
	if err := packages.Check(r.ctx, r.space.Packages().Path(blob.Digest), extension, packages.Limits{}); err != nil {
		if _, qerr := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) {
			return tx.Packages(spaces.PackageFilter{})
		}); qerr == nil {
			r.dropUnused(blob)
		}
		return nil, err
	}
	fresh := false
	p, err := update(r, func(tx *spaces.Tx) (p spaces.Package, err error) {
		p, fresh, err = tx.AddPackage(id, version, extension, blob, mode)
		return p, err
	})
	if err != nil {
		r.dropUnused(blob)
		return nil, err
	}
	if fresh {
		return created{r.pkg(p)}, nil
	}
	return r.pkg(p), nil
}

// dropUnused removes a refused upload unless its bytes are those of something else.
func (r *request) dropUnused(b packages.Blob) {
	used, err := spaces.View(r.ctx, r.space, spaces.Server(), func(tx *spaces.ReadTx) (bool, error) { return tx.BlobUsed(b.Digest) })
	if err == nil && !used {
		err = r.space.Packages().Remove(b.Digest)
	}
	if err != nil {
		r.s.Log.Warn("remove refused package", "space", r.row.ID(), "err", err)
	}
}

func listPackages(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) {
		return tx.Packages(spaces.PackageFilter{PackageID: r.query("nuGetPackageId"), Partial: r.query("filter"), LatestOnly: strings.EqualFold(r.query("latest"), "true"), Skip: r.number("skip"), Take: r.number("take")})
	})
	return pageOf(r, "Package", p, r.pkg), err
}

func getPackage(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Package, error) { return tx.PackageByID(r.params["id"]) })
	if err != nil {
		return nil, err
	}
	return r.pkg(p), nil
}

func deletePackage(r *request) (any, error) {
	p, err := update(r, func(tx *spaces.Tx) (spaces.Package, error) {
		p, err := tx.PackageByID(r.params["id"])
		if err != nil {
			return p, err
		}
		return p, tx.DeletePackage(p)
	})
	if err != nil {
		return nil, err
	}
	r.dropUnused(packages.Blob{Digest: p.Digest, Size: p.Size})
	return r.pkg(p), nil
}

func downloadPackage(r *request) (any, error) {
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Package, error) {
		if err := tx.MayDownload(); err != nil {
			return spaces.Package{}, err
		}
		return tx.PackageByID(r.params["id"])
	})
	if err != nil {
		return nil, err
	}
	f, err := r.space.Packages().Open(p.Digest)
	if err != nil {
		return nil, err
	}
	r.c.Set("Content-Type", "application/octet-stream")
	r.c.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": p.FileName()}))
	return sent{}, r.c.SendStream(f, int(p.Size))
}

func noDelta(r *request) (any, error) {
	return nil, errs.Missing("package to compare with", r.params["id"])
}

func (r *request) release(rel spaces.Release) R {
	self := r.prefix + "/releases/" + rel.ID.String()
	selected := []R{}
	for _, p := range rel.Packages {
		selected = append(selected, R{"ActionName": p.ActionName, "StepName": p.ActionName, "PackageReferenceName": p.ReferenceName, "Version": p.Version})
	}
	return R{"Id": rel.ID.String(), "SpaceId": r.row.ID(), "Version": rel.Version, "ProjectId": rel.ProjectID.String(), "ChannelId": rel.ChannelID.String(), "Assembled": stamp(&rel.AssembledAt), "ReleaseNotes": rel.Notes, "IgnoreChannelRules": rel.IgnoreRules,
		"ProjectDeploymentProcessSnapshotId": "deploymentprocess-" + rel.ID.String(), "ProjectVariableSetSnapshotId": "variableset-" + rel.ID.String(), "LibraryVariableSetSnapshotIds": []string{}, "SelectedPackages": selected, "SelectedGitResources": []any{}, "BuildInformation": []any{},
		"Octopuses": R{"Ulid": rel.ULID, "CoreDigest": rel.CoreDigest, "AssembledBy": rel.AssembledBy},
		"Links":     R{"Self": self, "Project": r.prefix + "/projects/" + rel.ProjectID.String(), "Progression": self + "/progression", "Deployments": self + "/deployments{?skip,take}", "DeploymentTemplate": self + "/deployments/template", "Web": "/app#/" + r.row.ID() + "/releases/" + rel.ID.String()}}
}

// withPackages fills in what lists leave out.
func (r *request) releasePage(f spaces.ReleaseFilter) (any, error) {
	f.Skip, f.Take = r.number("skip"), r.number("take")
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Release], error) { return tx.ReleasesWithPackages(f) })
	return pageOf(r, "Release", p, r.release), err
}

func listReleases(r *request) (any, error) {
	return r.releasePage(spaces.ReleaseFilter{IDs: r.queryList("ids")})
}

func projectReleases(r *request) (any, error) {
	p, err := view(r, r.findProject)
	if err != nil {
		return nil, err
	}
	return r.releasePage(spaces.ReleaseFilter{Project: p.ID, SearchByVersion: r.query("searchByVersion")})
}

func channelReleases(r *request) (any, error) {
	id, err := r.channelID()
	if err != nil {
		return nil, err
	}
	c, err := view(r, func(tx *spaces.ReadTx) (spaces.Channel, error) { return tx.Channel(id) })
	if err != nil {
		return nil, err
	}
	return r.releasePage(spaces.ReleaseFilter{Project: c.ProjectID, Channel: id, SearchByVersion: r.query("searchByVersion")})
}

func projectRelease(r *request) (any, error) {
	rel, err := view(r, func(tx *spaces.ReadTx) (spaces.Release, error) {
		p, err := r.findProject(tx)
		if err != nil {
			return spaces.Release{}, err
		}
		return tx.ReleaseBy(p.ID, r.params["version"])
	})
	if err != nil {
		return nil, err
	}
	return r.release(rel), nil
}

func (r *request) findRelease(tx *spaces.ReadTx) (spaces.Release, error) {
	id, err := spaces.ParseReleaseID(r.params["id"])
	if err != nil {
		return spaces.Release{}, err
	}
	return tx.Release(id)
}

func getRelease(r *request) (any, error) {
	rel, err := view(r, r.findRelease)
	if err != nil {
		return nil, err
	}
	return r.release(rel), nil
}

func createRelease(r *request) (any, error) {
	var b struct {
		ProjectId, ChannelId, Version, ReleaseNotes string
		IgnoreChannelRules                          bool
		SelectedPackages                            []struct{ ActionName, StepName, PackageReferenceName, Version string }
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	rel, err := update(r, func(tx *spaces.Tx) (spaces.Release, error) {
		p, err := tx.ProjectBy(b.ProjectId)
		if err != nil {
			return spaces.Release{}, err
		}
		in := spaces.ReleaseInput{Project: p.ID, Version: b.Version, Notes: b.ReleaseNotes, IgnoreRules: b.IgnoreChannelRules}
		if b.ChannelId != "" {
			if in.Channel, err = spaces.ParseChannelID(b.ChannelId); err != nil {
				return spaces.Release{}, err
			}
		}
		for _, s := range b.SelectedPackages {
			in.Packages = append(in.Packages, spaces.PackageChoice{Name: or(s.ActionName, s.StepName), Reference: s.PackageReferenceName, Version: s.Version})
		}
		return tx.CreateRelease(in)
	})
	if err != nil {
		return nil, err
	}
	return created{r.release(rel)}, nil
}

func createReleaseV1(r *request) (any, error) {
	var b struct {
		ProjectName, ChannelName, ReleaseVersion, PackageVersion, ReleaseNotes string
		Packages                                                               []string
		IgnoreIfAlreadyExists, IgnoreChannelRules                              bool
	}
	if err := r.body(&b); err != nil {
		return nil, err
	}
	rel, err := update(r, func(tx *spaces.Tx) (spaces.Release, error) {
		p, err := tx.ProjectBy(b.ProjectName)
		if err != nil {
			return spaces.Release{}, err
		}
		in := spaces.ReleaseInput{Project: p.ID, Version: b.ReleaseVersion, PackageVersion: b.PackageVersion, Notes: b.ReleaseNotes, IgnoreRules: b.IgnoreChannelRules, IgnoreIfExists: b.IgnoreIfAlreadyExists}
		if b.ChannelName != "" {
			c, err := tx.ChannelBy(p.ID, b.ChannelName)
			if err != nil {
				return spaces.Release{}, err
			}
			in.Channel = c.ID
		}
		for _, text := range b.Packages {
			choice, err := spaces.ParsePackageChoice(text)
			if err != nil {
				return spaces.Release{}, err
			}
			in.Packages = append(in.Packages, choice)
		}
		return tx.CreateRelease(in)
	})
	if err != nil {
		return nil, err
	}
	return created{R{"ReleaseId": rel.ID.String(), "ReleaseVersion": rel.Version, "AutomaticallyDeployedEnvironments": ""}}, nil
}

func updateRelease(r *request) (any, error) {
	var b struct{ ReleaseNotes string }
	if err := r.body(&b); err != nil {
		return nil, err
	}
	rel, err := update(r, func(tx *spaces.Tx) (spaces.Release, error) {
		id, err := spaces.ParseReleaseID(r.params["id"])
		if err != nil {
			return spaces.Release{}, err
		}
		return tx.UpdateRelease(id, b.ReleaseNotes)
	})
	if err != nil {
		return nil, err
	}
	return r.release(rel), nil
}

func deleteRelease(r *request) (any, error) {
	return deleted(r, spaces.ParseReleaseID, (*spaces.Tx).DeleteRelease)
}

func noDefects(r *request) (any, error) {
	_, err := view(r, r.findRelease)
	return r.page("Defect", nil, 0, 0, 30), err
}

func missingPackages(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) (R, error) {
		rel, err := r.findRelease(tx)
		if err != nil {
			return nil, err
		}
		missing, err := tx.MissingPackages(rel.ID)
		out := []R{}
		for _, p := range missing {
			out = append(out, R{"Id": p.PackageID, "Version": p.Version})
		}
		return R{"Packages": out}, err
	})
}

func releaseProgression(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) (R, error) {
		rel, err := r.findRelease(tx)
		if err != nil {
			return nil, err
		}
		progress, err := tx.Progress(rel)
		if err != nil {
			return nil, err
		}
		phases, next := []R{}, []string{}
		for _, p := range progress.Phases {
			automatic, manual := []string{}, []string{}
			for _, e := range p.Environments {
				if e.Automatic {
					automatic = append(automatic, e.ID)
				} else {
					manual = append(manual, e.ID)
				}
			}
			phases = append(phases, R{"Id": p.ID, "Name": p.Name, "Blocked": !p.Open, "Progress": string(p.State), "Deployments": []any{}, "AutomaticDeploymentTargets": automatic, "OptionalDeploymentTargets": manual, "MinimumEnvironmentsBeforePromotion": 0, "IsOptionalPhase": p.Optional, "Octopuses": R{"Why": p.Why, "Spaces": p.Spaces}})
		}
		for _, e := range progress.Next() {
			next = append(next, e.ID)
		}
		return R{"Phases": phases, "NextDeployments": next, "NextDeploymentsMinimumRequired": 0, "HasUnresolvedDefect": false, "Links": R{}}, nil
	})
}

func projectProgression(r *request) (any, error) {
	return view(r, func(tx *spaces.ReadTx) (R, error) {
		p, err := r.findProject(tx)
		if err != nil {
			return nil, err
		}
		d, err := tx.Dashboard(spaces.DashboardFilter{Project: p.ID})
		if err != nil {
			return nil, err
		}
		rels, err := tx.ReleasesWithPackages(spaces.ReleaseFilter{Project: p.ID, Take: 30})
		if err != nil {
			return nil, err
		}
		environments := []R{}
		for _, e := range d.Environments {
			environments = append(environments, R{"Id": e.ID.String(), "Name": e.Name})
		}
		items := []R{}
		for _, rel := range rels.Items {
			c, err := tx.Channel(rel.ChannelID)
			if err != nil {
				return nil, err
			}
			at := R{}
			for _, cell := range d.Cells {
				if cell.ReleaseID == rel.ID {
					at[cell.EnvironmentID.String()] = []R{r.cell(cell)}
				}
			}
			progress, err := tx.Progress(rel)
			if err != nil {
				return nil, err
			}
			next := []string{}
			for _, e := range progress.Next() {
				next = append(next, e.ID)
			}
			items = append(items, R{"Release": r.release(rel), "Channel": r.channel(c), "Deployments": at, "NextDeployments": next, "HasUnresolvedDefect": false})
		}
		return R{"Environments": environments, "LifecycleEnvironments": R{p.LifecycleID.String(): environments}, "ChannelEnvironments": R{}, "Releases": items, "Links": R{}}, nil
	})
}
