package spaces

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/spaces/versions"
)

// Release is a version of a project, frozen: its process, its variables and the
// versions of its packages stay as they were when it was created.
type Release struct {
	ID           ReleaseID
	ULID         string // the same in every zone
	ProjectID    ProjectID
	ChannelID    ChannelID
	Version      string
	Notes        string
	ProcessHash  string // of the snapshot
	VariableHash string
	Templates    []VariableTemplate
	CoreDigest   string // of its promoted form; "" before the first promotion
	IgnoreRules  bool
	AssembledAt  time.Time
	AssembledBy  string
	Packages     []ReleasePackage
}

// ReleasePackage is the package version that a release holds for a reference of an
// action. The primary reference has no name.
type ReleasePackage struct {
	ActionName    string
	ReferenceName string
	PackageID     string
	Version       string
	Extension     string
	Digest        string // lower-case hex SHA-256
	Size          int64  // bytes
}

// ReleaseInput is what a person or a client says of a new release.
type ReleaseInput struct {
	Project        ProjectID
	Channel        ChannelID // 0: the default channel
	Version        string    // "": from the project's versioning strategy
	Notes          string
	Packages       []PackageChoice
	PackageVersion string // for every package without a choice; "": the newest that fits
	IgnoreRules    bool
	IgnoreIfExists bool // a taken version answers with the release that is there
}

// PackageChoice chooses a version for packages: of an action (or step), of a
// reference, of a package id, or of all when Name is "*".
type PackageChoice struct {
	Name      string // of an action, a step or a package
	Reference string // "" for any reference of that name
	Version   string
}

// ParsePackageChoice reads the forms of Octopus's CLI: "Step:1.2", "PackageId:1.2",
// "Step:Reference:1.2", "*:1.2"; "/" and "=" separate as well.
func ParsePackageChoice(text string) (PackageChoice, error) {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '=' || r == '/' })
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	switch len(parts) {
	case 2:
		return PackageChoice{Name: parts[0], Version: parts[1]}, nil
	case 3:
		return PackageChoice{Name: parts[0], Reference: parts[1], Version: parts[2]}, nil
	}
	return PackageChoice{}, errs.New(errs.Invalid, "'%s' is no choice of a package version.", text).WithHint("Write StepName:1.2.3, PackageId:1.2.3, StepName:ReferenceName:1.2.3 or *:1.2.3.")
}

const releaseColumns = `id, ulid, project_id, channel_id, version, notes, process_hash, variable_hash, templates, core_digest, ignore_rules, assembled_at, assembled_by`

func scanRelease(scan func(...any) error) (Release, error) {
	var r Release
	var at, templates string
	if err := scan(&r.ID, &r.ULID, &r.ProjectID, &r.ChannelID, &r.Version, &r.Notes, &r.ProcessHash, &r.VariableHash, &templates, &r.CoreDigest, &r.IgnoreRules, &at, &r.AssembledBy); err != nil {
		return r, err
	}
	r.AssembledAt = parseTime(at)
	return r, json.Unmarshal([]byte(templates), &r.Templates)
}

// CreateRelease freezes the project as it is. It needs ReleaseCreate. Errors:
// [errs.Invalid] for a version or package that does not fit, [errs.Exists] for a
// taken version, [errs.Blocked] for a remote or disabled project.
func (tx *Tx) CreateRelease(in ReleaseInput) (Release, error) {
	p, err := tx.ownProject(in.Project)
	if err != nil {
		return Release{}, err
	}
	if err := tx.require(access.ReleaseCreate, p.scope()); err != nil {
		return Release{}, err
	}
	if p.IsDisabled {
		return Release{}, errs.New(errs.Blocked, "Project '%s' is disabled.", p.Name).WithHint("Enable it in its settings first.")
	}
	channel, err := tx.channelOf(p, in.Channel)
	if err != nil {
		return Release{}, err
	}
	process, doc, err := documentAs[steps.Process](tx.ReadTx, p.process)
	if err != nil {
		return Release{}, err
	}
	chosen, err := tx.choosePackages(&process, channel, in)
	if err != nil {
		return Release{}, err
	}
	vars, vdoc, err := documentAs[variables.Set](tx.ReadTx, p.variables)
	if err != nil {
		return Release{}, err
	}
	if err := vars.CheckCycles(); err != nil {
		return Release{}, err
	}
	version := strings.TrimSpace(in.Version)
	if version == "" {
		if version, err = tx.NextVersion(p, channel, chosen); err != nil {
			return Release{}, err
		}
	}
	v, err := versions.Parse(version)
	if err != nil {
		return Release{}, &errs.Error{Kind: errs.Invalid, Err: err, Fields: []errs.Field{{Name: "Version", Message: errs.TextOf(err)}}}
	}
	if old, err := tx.releaseByKey(p.ID, v.SortKey()); err == nil {
		if in.IgnoreIfExists {
			return old, nil
		}
		e := errs.New(errs.Exists, "Release %s of '%s' already exists.", old.Version, p.Name)
		e.Fields = []errs.Field{{Name: "Version", Message: e.Message}}
		e.Message = ""
		return Release{}, e.WithHint("Choose another version.")
	} else if errs.KindOf(err) != errs.NotFound {
		return Release{}, err
	}
	r := Release{ULID: NewULID(tx.Now), ProjectID: p.ID, ChannelID: channel.ID, Version: version, Notes: in.Notes, ProcessHash: doc.Hash, VariableHash: vdoc.Hash,
		Templates: p.Settings.Templates, IgnoreRules: in.IgnoreRules, AssembledAt: tx.Now, AssembledBy: tx.Actor.Name, Packages: chosen}
	if r.ID, err = tx.insertRelease(r, v.SortKey()); err != nil {
		return Release{}, err
	}
	tx.record(Event{Category: "Created", Entity: "release", EntityID: r.ID.String(), ProjectID: p.ID, Reference: r.ULID, Message: fmt.Sprintf("Release %s of %s was created", version, p.Name)})
	tx.changed("dashboard", "project/"+p.ID.String(), "releases")
	if err := tx.goOn(r.ID); err != nil {
		return Release{}, err
	}
	return tx.release(r.ID)
}

func (tx *Tx) insertRelease(r Release, sortKey string) (ReleaseID, error) {
	if r.Templates == nil {
		r.Templates = []VariableTemplate{}
	}
	templates, err := json.Marshal(r.Templates)
	if err != nil {
		return 0, fmt.Errorf("encode templates: %w", err)
	}
	n, err := tx.insert(`INSERT INTO release (ulid, project_id, channel_id, version, version_sort, notes, process_hash, variable_hash, templates, core_digest, ignore_rules, assembled_at, assembled_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ULID, int64(r.ProjectID), int64(r.ChannelID), r.Version, sortKey, r.Notes, r.ProcessHash, r.VariableHash, string(templates), r.CoreDigest, r.IgnoreRules, formatTime(r.AssembledAt), r.AssembledBy)
	if err != nil {
		return 0, err
	}
	for _, p := range r.Packages {
		_, err := tx.exec(`INSERT INTO release_package (release_id, action_name, reference_name, package_id, version, extension, digest, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			n, p.ActionName, p.ReferenceName, p.PackageID, p.Version, p.Extension, p.Digest, p.Size)
		if err != nil {
			return 0, err
		}
	}
	return ReleaseID(n), nil
}

func (tx *ReadTx) channelOf(p Project, id ChannelID) (Channel, error) {
	if id == 0 {
		return tx.DefaultChannel(p.ID)
	}
	c, err := tx.channel(id)
	if err != nil {
		return c, err
	}
	if c.ProjectID != p.ID {
		return c, errs.Missing("channel", id.String())
	}
	return c, nil
}

// choosePackages finds a version in the built-in feed for each package reference.
func (tx *ReadTx) choosePackages(process *steps.Process, channel Channel, in ReleaseInput) ([]ReleasePackage, error) {
	var c errs.Check
	var out []ReleasePackage
	used := make([]bool, len(in.Packages))
	for i := range process.Steps {
		for j := range process.Steps[i].Actions {
			step, action := &process.Steps[i], &process.Steps[i].Actions[j]
			if action.IsDisabled {
				continue
			}
			for _, ref := range action.Packages {
				want := in.PackageVersion
				best := 0
				for k, choice := range in.Packages {
					// The more precise choice wins: reference over name over "*".
					rank := choice.matches(step, action, ref)
					if rank > 0 {
						used[k] = true
					}
					if rank > best {
						best, want = rank, choice.Version
					}
				}
				pkg, err := tx.choosePackage(action.Name, ref, channel, want, in.IgnoreRules)
				if err != nil {
					if errs.KindOf(err) == errs.Internal {
						return nil, err
					}
					c.Require(false, "SelectedPackages", "%s", errs.TextOf(err))
					continue
				}
				out = append(out, ReleasePackage{ActionName: action.Name, ReferenceName: ref.Name, PackageID: pkg.PackageID, Version: pkg.Version, Extension: pkg.Extension, Digest: pkg.Digest, Size: pkg.Size})
			}
		}
	}
	for k, choice := range in.Packages {
		c.Require(used[k] || choice.Name == "*", "SelectedPackages", "No step or package of the process is called '%s'.", choice.Name)
	}
	return out, c.Err()
}

func (p PackageChoice) matches(step *steps.Step, action *steps.Action, ref steps.PackageReference) int {
	switch {
	case p.Name == "*":
		return 1
	case p.Reference != "" && !strings.EqualFold(p.Reference, ref.Name):
		return 0
	case strings.EqualFold(p.Name, action.Name), strings.EqualFold(p.Name, step.Name):
		if p.Reference != "" {
			return 4
		}
		return 3
	case strings.EqualFold(p.Name, ref.PackageID):
		return 2
	}
	return 0
}

// choosePackage returns the wanted version, or the newest that the channel's rules
// let in: without rules the newest that is no pre-release, if there is one.
func (tx *ReadTx) choosePackage(action string, ref steps.PackageReference, channel Channel, want string, ignoreRules bool) (Package, error) {
	rule := channel.ruleFor(action, ref.Name)
	if want != "" {
		v, err := versions.Parse(want)
		if err != nil {
			return Package{}, err
		}
		p, err := tx.packageRow(ref.PackageID, v.SortKey())
		if errs.KindOf(err) == errs.NotFound {
			return p, errs.New(errs.Invalid, "Package %s %s, which step '%s' needs, is not in the built-in feed.", ref.PackageID, want, action).WithHint("Push it, or choose another version.")
		}
		if err != nil {
			return p, err
		}
		if ok, why := rule.allows(v); !ok && !ignoreRules {
			return p, errs.New(errs.Invalid, "Package %s %s does not fit channel '%s': %s", ref.PackageID, want, channel.Name, why)
		}
		return p, nil
	}
	all, err := list(tx, scanPackage, `SELECT `+packageColumns+` FROM package WHERE package_id = ? ORDER BY version_sort DESC LIMIT 1000`, ref.PackageID)
	if err != nil {
		return Package{}, err
	}
	if len(all) == 0 {
		return Package{}, errs.New(errs.Invalid, "No version of package %s, which step '%s' needs, is in the built-in feed.", ref.PackageID, action).WithHint("Push one first.")
	}
	var prerelease *Package
	for i, p := range all {
		v, err := versions.Parse(p.Version)
		if err != nil {
			continue
		}
		if ok, _ := rule.allows(v); !ok {
			continue
		}
		if rule != nil || !v.IsPrerelease() {
			return p, nil
		}
		if prerelease == nil {
			prerelease = &all[i]
		}
	}
	if prerelease != nil {
		return *prerelease, nil
	}
	return Package{}, errs.New(errs.Invalid, "No version of package %s fits the rules of channel '%s'.", ref.PackageID, channel.Name).WithHint("Push a version that does, or choose another channel.")
}

// NextVersion is the version that a new release gets when nobody types one.
func (tx *ReadTx) NextVersion(p Project, channel Channel, chosen []ReleasePackage) (string, error) {
	if donor := p.Settings.VersioningStrategy.DonorPackage; donor != nil {
		for _, pkg := range chosen {
			if strings.EqualFold(pkg.ActionName, donor.DeploymentAction) && strings.EqualFold(pkg.ReferenceName, donor.PackageReference) {
				return pkg.Version, nil
			}
		}
		return "", errs.New(errs.Blocked, "The version comes from the package of step '%s', which this process does not have.", donor.DeploymentAction).WithHint("Type a version, or change the versioning of the project.")
	}
	last, err := tx.lastVersion(`SELECT version FROM release WHERE project_id = ? ORDER BY version_sort DESC LIMIT 1`, int64(p.ID))
	if err != nil {
		return "", err
	}
	lastInChannel, err := tx.lastVersion(`SELECT version FROM release WHERE channel_id = ? ORDER BY version_sort DESC LIMIT 1`, int64(channel.ID))
	if err != nil {
		return "", err
	}
	return versions.Next(p.Settings.VersioningStrategy.Template, versions.TemplateContext{Last: last, LastInChannel: lastInChannel, Channel: channel.Name, Now: tx.Now})
}

func (tx *ReadTx) lastVersion(query string, args ...any) (string, error) {
	all, err := list(tx, func(scan func(...any) error) (string, error) {
		var s string
		return s, scan(&s)
	}, query, args...)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}

func (tx *ReadTx) releaseByKey(project ProjectID, sortKey string) (Release, error) {
	r, err := scanRelease(tx.queryRow(`SELECT `+releaseColumns+` FROM release WHERE project_id = ? AND version_sort = ?`, int64(project), sortKey).Scan)
	if err != nil {
		return r, notFound(err, "release", "")
	}
	return r, tx.fillPackages(&r)
}

func (tx *ReadTx) release(id ReleaseID) (Release, error) {
	r, err := scanRelease(tx.queryRow(`SELECT `+releaseColumns+` FROM release WHERE id = ?`, int64(id)).Scan)
	if err != nil {
		return r, notFound(err, "release", id.String())
	}
	return r, tx.fillPackages(&r)
}

func (tx *ReadTx) fillPackages(r *Release) (err error) {
	r.Packages, err = list(tx, func(scan func(...any) error) (ReleasePackage, error) {
		var p ReleasePackage
		err := scan(&p.ActionName, &p.ReferenceName, &p.PackageID, &p.Version, &p.Extension, &p.Digest, &p.Size)
		return p, err
	}, `SELECT action_name, reference_name, package_id, version, extension, digest, size FROM release_package WHERE release_id = ? ORDER BY action_name, reference_name`, int64(r.ID))
	return err
}

func (tx *ReadTx) mayViewRelease(r Release) (Project, error) {
	p, err := tx.Project(r.ProjectID)
	if err != nil {
		return p, err
	}
	return p, tx.require(access.ReleaseView, p.scope())
}

// Release returns one. It needs ReleaseView.
func (tx *ReadTx) Release(id ReleaseID) (Release, error) {
	r, err := tx.release(id)
	if err != nil {
		return r, err
	}
	_, err = tx.mayViewRelease(r)
	return r, err
}

// ReleaseBy finds a project's release by version or API id.
func (tx *ReadTx) ReleaseBy(project ProjectID, text string) (Release, error) {
	if n, ok := cutID(prefixRelease, text); ok {
		r, err := tx.Release(ReleaseID(n))
		if err == nil && r.ProjectID != project {
			err = errs.Missing("release", text)
		}
		return r, err
	}
	v, err := versions.Parse(text)
	if err != nil {
		return Release{}, errs.Missing("release", text)
	}
	r, err := tx.releaseByKey(project, v.SortKey())
	if err != nil {
		return r, notFoundAs(err, "release", text)
	}
	_, err = tx.mayViewRelease(r)
	return r, err
}

func notFoundAs(err error, entity, id string) error {
	if errs.KindOf(err) == errs.NotFound {
		return errs.Missing(entity, id)
	}
	return err
}

// ReleaseFilter chooses releases; zero values choose all.
type ReleaseFilter struct {
	IDs             []string
	Project         ProjectID
	Channel         ChannelID
	SearchByVersion string // part of the version
	Skip, Take      int
}

// Releases lists those that the actor may see, newest version first in a project
// and newest first over all. Their Packages are left out.
func (tx *ReadTx) Releases(o ReleaseFilter) (Page[Release], error) {
	if o.Project != 0 {
		p, err := tx.Project(o.Project)
		if err != nil {
			return Page[Release]{}, err
		}
		if err := tx.require(access.ReleaseView, p.scope()); err != nil {
			return Page[Release]{}, err
		}
	} else if err := tx.require(access.ReleaseView, access.Scope{}); err != nil {
		return Page[Release]{}, err
	}
	var f filter
	f.ids("id", prefixRelease, o.IDs)
	order := "id DESC"
	if o.Project != 0 {
		f.add("project_id = ?", int64(o.Project))
		order = "version_sort DESC"
	}
	if o.Channel != 0 {
		f.add("channel_id = ?", int64(o.Channel))
	}
	if o.SearchByVersion != "" {
		f.add(`version LIKE ? ESCAPE '\'`, like(o.SearchByVersion))
	}
	p, err := pageOf(tx, scanRelease, releaseColumns, "release", "version", order, f, ListOptions{Skip: o.Skip, Take: o.Take})
	if err != nil || o.Project != 0 {
		return p, err
	}
	kept := p.Items[:0]
	for _, r := range p.Items {
		if _, err := tx.mayViewRelease(r); err == nil {
			kept = append(kept, r)
		}
	}
	p.Total -= len(p.Items) - len(kept)
	p.Items = kept
	return p, nil
}

// UpdateRelease changes notes; nothing else of a release can change. It needs
// ReleaseEdit.
func (tx *Tx) UpdateRelease(id ReleaseID, notes string) (Release, error) {
	r, err := tx.release(id)
	if err != nil {
		return r, err
	}
	p, err := tx.mayViewRelease(r)
	if err != nil {
		return r, err
	}
	if err := tx.require(access.ReleaseEdit, p.scope()); err != nil {
		return r, err
	}
	if err := tx.update(`UPDATE release SET notes = ? WHERE id = ?`, notes, int64(id)); err != nil {
		return r, err
	}
	tx.record(Event{Category: "Modified", Entity: "release", EntityID: id.String(), ProjectID: p.ID, Reference: r.ULID, Message: fmt.Sprintf("Release %s of %s was changed", r.Version, p.Name), Changes: audit.Pairs("ReleaseNotes", r.Notes, notes)})
	tx.changed("project/" + p.ID.String())
	return tx.release(id)
}

// DeleteRelease needs ReleaseDelete. With the release go its deployments, their tasks and
// logs. A release that is deployed somewhere now, that a task is at work with, or that was
// promoted, stays: [errs.Blocked].
func (tx *Tx) DeleteRelease(id ReleaseID) error { return tx.deleteRelease(id, "") }

// deleteRelease says in the audit why; "" when somebody just asked for it.
func (tx *Tx) deleteRelease(id ReleaseID, why string) error {
	r, err := tx.release(id)
	if err != nil {
		return err
	}
	p, err := tx.mayViewRelease(r)
	if err != nil {
		return err
	}
	if err := tx.require(access.ReleaseDelete, p.scope()); err != nil {
		return err
	}
	if where, err := one[string](tx.ReadTx, `SELECT COALESCE((SELECT e.name FROM current_deployment c JOIN environment e ON e.id = c.environment_id WHERE c.project_id = ?2 AND (c.release_id = ?1 OR c.succeeded_release_id = ?1) LIMIT 1), '')`, int64(id), int64(p.ID)); err != nil {
		return err
	} else if where != "" {
		return errs.New(errs.Blocked, "Release %s is the current one in '%s'.", r.Version, where).WithHint("Deploy another release there first.")
	}
	if busy, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM deployment d JOIN task t ON t.id = d.task_id WHERE d.release_id = ? AND t.`+unfinishedSQL+`)`, int64(id)); err != nil {
		return err
	} else if busy {
		return errs.New(errs.Blocked, "A deployment of release %s is not finished.", r.Version).WithHint("Wait for its end, or cancel it.")
	}
	if promoted, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM promotion WHERE release_id = ?1) OR EXISTS (SELECT 1 FROM inbound WHERE release_id = ?1)`, int64(id)); err != nil {
		return err
	} else if promoted {
		return errs.New(errs.Blocked, "Release %s took part in a promotion between zones and is kept as its record.", r.Version)
	}
	tasks, err := list(tx.ReadTx, func(scan func(...any) error) (id TaskID, err error) { return id, scan(&id) }, `SELECT task_id FROM deployment WHERE release_id = ?`, int64(id))
	if err != nil {
		return err
	}
	if err := tx.update(`DELETE FROM release WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	for _, t := range tasks {
		if err := tx.deleteTask(t); err != nil {
			return err
		}
	}
	for _, k := range r.Packages {
		if err := tx.dropUnusedBlob(k.Digest); err != nil {
			return err
		}
	}
	tx.record(Event{Category: "Deleted", Entity: "release", EntityID: id.String(), ProjectID: p.ID, Reference: r.ULID, Message: fmt.Sprintf("Release %s of %s was deleted%s", r.Version, p.Name, why)})
	tx.changed("project/"+p.ID.String(), "releases")
	return nil
}

// ReleaseProcess is the process as frozen in a release.
func (tx *ReadTx) ReleaseProcess(r Release) (steps.Process, error) {
	return snapshotAs[steps.Process](tx, r.ProcessHash)
}

// ReleaseVariables are the variables as frozen in a release; sensitive ones hold
// the number of their secret only.
func (tx *ReadTx) ReleaseVariables(r Release) (variables.Set, error) {
	return snapshotAs[variables.Set](tx, r.VariableHash)
}

// MissingPackages lists the packages of a release whose files are not here.
func (tx *ReadTx) MissingPackages(id ReleaseID) ([]ReleasePackage, error) {
	return list(tx, func(scan func(...any) error) (ReleasePackage, error) {
		var p ReleasePackage
		err := scan(&p.ActionName, &p.ReferenceName, &p.PackageID, &p.Version, &p.Extension, &p.Digest, &p.Size)
		return p, err
	}, `SELECT action_name, reference_name, package_id, version, extension, digest, size FROM release_package rp WHERE release_id = ? AND NOT EXISTS (SELECT 1 FROM package_blob b WHERE b.digest = rp.digest)`, int64(id))
}

// Blob returns the stored file of a package.
func (p ReleasePackage) Blob() packages.Blob { return packages.Blob{Digest: p.Digest, Size: p.Size} }
