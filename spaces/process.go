package spaces

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
)

// Process is a project's deployment process with its version, as clients edit it.
type Process struct {
	steps.Process
	ProjectID ProjectID
	Remote    bool
	UpdatedAt time.Time
	UpdatedBy string
}

// ProcessID is the API id of a project's process.
func ProcessID(p ProjectID) string { return "deploymentprocess-" + p.String() }

// Process returns the process of a project, sensitive values left out. It needs
// ProcessView. That of a remote project is the one of its newest release.
func (tx *ReadTx) Process(project ProjectID) (Process, error) {
	p, err := tx.Project(project)
	if err != nil {
		return Process{}, err
	}
	if err := tx.require(access.ProcessView, p.scope()); err != nil {
		return Process{}, err
	}
	stored, doc, err := tx.storedProcess(p)
	if err != nil {
		return Process{}, err
	}
	out := Process{Process: *stored.Public(), ProjectID: project, Remote: p.IsRemote(), UpdatedAt: doc.UpdatedAt, UpdatedBy: doc.UpdatedBy}
	out.Process.ID, out.Process.SpaceID, out.Process.ProjectID, out.Process.Version = ProcessID(project), tx.Space.ID(), project.String(), int(doc.Version)
	return out, nil
}

func (tx *ReadTx) storedProcess(p Project) (steps.Process, Document, error) {
	if p.IsRemote() {
		hash, err := tx.lastVersion(`SELECT process_hash FROM release WHERE project_id = ? ORDER BY id DESC LIMIT 1`, int64(p.ID))
		if err != nil || hash == "" {
			return steps.Process{}, Document{}, err
		}
		v, err := snapshotAs[steps.Process](tx, hash)
		return v, Document{Hash: hash}, err
	}
	return documentAs[steps.Process](tx, p.process)
}

// SaveProcess stores the next version of a process. version is the one that the
// editor saw. Sensitive values that are sent without a new value keep theirs. It
// needs ProcessEdit. Errors: [errs.Invalid] with fields such as
// Steps[0].Actions[0].Name, [errs.Stale], [errs.Blocked] for a remote project.
func (tx *Tx) SaveProcess(project ProjectID, version int, in steps.Process) (Process, error) {
	p, err := tx.ownProject(project)
	if err != nil {
		return Process{}, err
	}
	if err := tx.require(access.ProcessEdit, p.scope()); err != nil {
		return Process{}, err
	}
	old, doc, err := tx.storedProcess(p)
	if err != nil {
		return Process{}, err
	}
	in.ID, in.SpaceID, in.ProjectID, in.Version, in.LastSnapshotID = "", "", "", 0, ""
	in.Normalize(tx.phaseID())
	in.KeepSecrets(&old)
	if err := in.Validate(); err != nil {
		return Process{}, err
	}
	var what []Change
	err = in.MapSecrets(func(path string, v steps.PropertyValue) (steps.PropertyValue, error) {
		if v.NewValue == nil {
			return v, nil
		}
		what = append(what, Change{Field: secretField(&in, path), Secret: true})
		id, err := tx.putSecret(*v.NewValue)
		v.NewValue, v.Secret, v.HasValue = nil, int64(id), true
		return v, err
	})
	if err != nil {
		return Process{}, err
	}
	refs, err := tx.processRefs(&in)
	if err != nil {
		return Process{}, err
	}
	if _, err := tx.saveDocument(p.process, kindProcess, int64(version), in, refs); err != nil {
		return Process{}, err
	}
	for _, c := range audit.Compare("Steps", old.Public().Steps, in.Public().Steps) {
		if !slices.ContainsFunc(what, func(s Change) bool { return s.Secret && strings.HasPrefix(c.Field+"/", s.Field+"/") }) {
			what = append(what, c)
		}
	}
	tx.record(Event{Category: "Modified", Entity: "process", EntityID: ProcessID(project), ProjectID: project, Message: fmt.Sprintf("The deployment process of %s was changed (version %d)", p.Name, doc.Version+1), Changes: what})
	tx.changed("project/" + project.String())
	return tx.Process(project)
}

// secretField is the path of a secret with the names of its step and action, as
// [audit.Compare] writes it.
func secretField(p *steps.Process, path string) string {
	head, name, _ := strings.Cut(path, ".Properties[")
	field := "Steps"
	var s, a int
	if n, _ := fmt.Sscanf(head, "Steps[%d].Actions[%d]", &s, &a); n > 0 && s < len(p.Steps) {
		field += "/" + p.Steps[s].Name
		if n > 1 && a < len(p.Steps[s].Actions) {
			field += "/Actions/" + p.Steps[s].Actions[a].Name
		}
	}
	return field + "/Properties/" + strings.TrimSuffix(name, "]")
}

func (tx *ReadTx) processRefs(in *steps.Process) ([]docRef, error) {
	var c errs.Check
	var out []docRef
	refs := in.Refs()
	for _, r := range refs.Environments {
		n, ok := cutID(prefixEnvironment, r.ID)
		c.Require(ok, r.Path, "'%s' is no environment of this space.", r.ID)
		out = append(out, docRef{path: r.Path, environment: EnvironmentID(n)})
	}
	for _, r := range refs.Channels {
		n, ok := cutID(prefixChannel, r.ID)
		c.Require(ok, r.Path, "'%s' is no channel of this project.", r.ID)
		out = append(out, docRef{path: r.Path, channel: ChannelID(n)})
	}
	for _, r := range refs.Feeds {
		c.Require(r.ID == "" || r.ID == BuiltInFeed, r.Path, "'%s' is no feed of this space; the built-in one is %s.", r.ID, BuiltInFeed)
	}
	return out, c.Err()
}
