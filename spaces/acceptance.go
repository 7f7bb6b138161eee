package spaces

import (
	"encoding/json"
	"fmt"
	"strings"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
	"octopuses.dev/octopuses/spaces/versions"
)

// Acceptance is a verified bundle, opened, with the choices of whoever accepts it.
type Acceptance struct {
	Inbound     InboundID
	LifecycleID LifecycleID    // of the remote project; 0: the default or what it has
	GroupID     ProjectGroupID // 0: the default or what it has
	Description string
	Notes       string
	Logo        []byte // nil: none
	Process     steps.Process
	Secrets     map[string]string // of the process, by path
	Variables   []OpenVariable
	Templates   []VariableTemplate
	Packages    []ReleasePackage
	Values      map[EnvironmentID]map[string]string // of templates
}

// AcceptInbound makes the release of the remote project. It needs BundleApprove. The
// project is created at the first acceptance. Errors: [errs.Blocked] when package files
// are missing or it was decided already.
func (tx *Tx) AcceptInbound(in Acceptance) (Release, error) {
	if err := tx.require(access.BundleApprove, access.Scope{}); err != nil {
		return Release{}, err
	}
	i, err := tx.inbound(in.Inbound)
	if err != nil {
		return Release{}, err
	}
	if i.State == InboundIncomplete {
		return Release{}, errs.New(errs.Blocked, "%d of %d package files of this release are not here yet.", i.Missing, i.Wanted).WithHint("Wait for the link, or bring them as files.")
	}
	if !i.Whole() {
		return Release{}, errs.New(errs.Stale, "This release is %s already.", i.State)
	}
	if err := tx.approvedByOthers(i); err != nil {
		return Release{}, err
	}
	l, err := tx.link(i.LinkID)
	if err != nil {
		return Release{}, err
	}
	if err := l.Trusted(); err != nil {
		return Release{}, err
	}
	p, err := tx.remoteProject(l, i, in)
	if err != nil {
		return Release{}, err
	}
	if _, err := tx.putLogo(p, in.Logo); err != nil {
		return Release{}, err
	}
	r, err := tx.remoteRelease(p, l, i, in)
	if err != nil {
		return Release{}, err
	}
	for e, values := range in.Values {
		if err := tx.SetTemplateValues(p.ID, e, in.Templates, values); err != nil {
			return Release{}, err
		}
	}
	err = tx.update(`UPDATE inbound SET state = 'accepted', project_id = ?, release_id = ?, decided_at = ?, decided_by = ? WHERE id = ?`, int64(p.ID), int64(r.ID), formatTime(tx.Now), tx.Actor.Name, int64(i.ID))
	if err != nil {
		return Release{}, err
	}
	tx.record(Event{Category: "BundleAccepted", Entity: "inbound", EntityID: i.ID.String(), ProjectID: p.ID, Reference: i.PromotionULID, Message: fmt.Sprintf("Release %s of %s was accepted (core %s)", i.Version, p.Name, i.CoreDigest)})
	tx.changed("promotions", "inbox", "dashboard", "project/"+p.ID.String(), TopicLinks)
	return r, nil
}

func (tx *Tx) remoteProject(l Link, i Inbound, in Acceptance) (Project, error) {
	p, err := scanProject(tx.queryRow(`SELECT `+projectColumns+` FROM project WHERE link_id = ? AND remote_ulid = ?`, int64(l.ID), i.ProjectULID).Scan)
	if err == nil {
		if in.LifecycleID != 0 && in.LifecycleID != p.LifecycleID {
			if err := tx.update(`UPDATE project SET lifecycle_id = ? WHERE id = ?`, int64(in.LifecycleID), int64(p.ID)); err != nil {
				return p, err
			}
		}
		settings := p.Settings
		settings.Templates = in.Templates
		b, err := json.Marshal(settings)
		if err != nil {
			return p, err
		}
		if err := tx.update(`UPDATE project SET settings = ?, remote_name = ?, updated_at = ?, updated_by = ? WHERE id = ?`, string(b), i.ProjectName, formatTime(tx.Now), tx.Actor.Name, int64(p.ID)); err != nil {
			return p, err
		}
		return tx.project(p.ID)
	}
	if errs.KindOf(notFound(err, "project", "")) != errs.NotFound {
		return p, err
	}
	input := ProjectInput{Name: l.LocalName + ": " + i.ProjectName, Description: in.Description, GroupID: in.GroupID, LifecycleID: in.LifecycleID}
	input.Settings.Templates = in.Templates
	if input.GroupID == 0 {
		if input.GroupID, err = one[ProjectGroupID](tx.ReadTx, `SELECT id FROM project_group ORDER BY is_default DESC, id LIMIT 1`); err != nil {
			return p, err
		}
	}
	if input.LifecycleID == 0 {
		if input.LifecycleID, err = one[LifecycleID](tx.ReadTx, `SELECT id FROM lifecycle ORDER BY is_default DESC, id LIMIT 1`); err != nil {
			return p, err
		}
	}
	return tx.createProject(input, remoteOrigin{link: l.ID, ulid: i.ProjectULID, name: i.ProjectName})
}

func (tx *Tx) remoteRelease(p Project, l Link, i Inbound, in Acceptance) (Release, error) {
	process := in.Process.Clone()
	err := process.MapSecrets(func(path string, v steps.PropertyValue) (steps.PropertyValue, error) {
		text, ok := in.Secrets[path]
		if !v.HasValue || !ok {
			v.HasValue, v.Secret, v.NewValue = false, 0, nil
			return v, nil
		}
		id, err := tx.putSecret(text)
		v.Secret, v.NewValue = int64(id), nil
		return v, err
	})
	if err != nil {
		return Release{}, err
	}
	body, err := json.Marshal(process)
	if err != nil {
		return Release{}, err
	}
	processHash, err := tx.putSnapshot(kindProcess, body)
	if err != nil {
		return Release{}, err
	}
	set := variables.Set{Variables: []variables.Variable{}}
	for _, v := range in.Variables {
		stored := v.Variable
		stored.Origin = l.LocalName
		if stored.IsSensitive {
			id, err := tx.putSecret(v.Plain)
			if err != nil {
				return Release{}, err
			}
			stored.Secret, stored.Value = int64(id), nil
		}
		set.Variables = append(set.Variables, stored)
	}
	set.Normalize(tx.phaseID())
	if err := set.Validate(); err != nil {
		return Release{}, err
	}
	if body, err = json.Marshal(set); err != nil {
		return Release{}, err
	}
	variableHash, err := tx.putSnapshot(kindVariables, body)
	if err != nil {
		return Release{}, err
	}
	channel, err := tx.DefaultChannel(p.ID)
	if err != nil {
		return Release{}, err
	}
	v, err := versions.Parse(i.Version)
	if err != nil {
		return Release{}, err
	}
	version, key := i.Version, v.SortKey()
	// Another release with the same number (deleted and made again at its owner) stays
	// apart and says so.
	for n := 2; ; n++ {
		other, err := tx.releaseByKey(p.ID, key)
		if errs.KindOf(err) == errs.NotFound {
			break
		}
		if err != nil {
			return Release{}, err
		}
		if other.ULID == i.ReleaseULID {
			return other, nil
		}
		base, _, _ := strings.Cut(i.Version, "+")
		version = fmt.Sprintf("%s+%d", base, n)
		key = fmt.Sprintf("%s+%d", v.SortKey(), n)
	}
	r := Release{ULID: i.ReleaseULID, ProjectID: p.ID, ChannelID: channel.ID, Version: version, Notes: in.Notes, ProcessHash: processHash, VariableHash: variableHash, Templates: in.Templates, CoreDigest: i.CoreDigest,
		AssembledAt: tx.Now, AssembledBy: l.LocalName, Packages: in.Packages}
	if r.ID, err = tx.insertRelease(r, key); err != nil {
		return Release{}, err
	}
	tx.changed("releases")
	return tx.release(r.ID)
}

// RejectInbound refuses a release with a reason that its sender hears. It needs
// BundleApprove.
func (tx *Tx) RejectInbound(id InboundID, reason string) (Inbound, error) {
	if err := tx.require(access.BundleApprove, access.Scope{}); err != nil {
		return Inbound{}, err
	}
	i, err := tx.inbound(id)
	if err != nil {
		return i, err
	}
	if !i.Whole() && i.State != InboundIncomplete {
		return i, errs.New(errs.Stale, "This release is %s already.", i.State)
	}
	if strings.TrimSpace(reason) == "" || len(reason) > 2000 {
		return i, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Reason", Message: "Say why, in at most 2,000 characters: whoever sent it will read it."}}}
	}
	if err := tx.update(`UPDATE inbound SET state = 'rejected', reason = ?, decided_at = ?, decided_by = ? WHERE id = ?`, reason, formatTime(tx.Now), tx.Actor.Name, int64(id)); err != nil {
		return i, err
	}
	tx.record(Event{Category: "BundleRejected", Entity: "inbound", EntityID: id.String(), Reference: i.PromotionULID, Message: fmt.Sprintf("Release %s of %s was rejected: %s", i.Version, i.ProjectName, reason)})
	tx.changed("promotions", "inbox", TopicLinks)
	return tx.inbound(id)
}
