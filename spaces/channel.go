package spaces

import (
	"encoding/json"
	"fmt"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// Channel is a stream of a project's releases, with rules for the packages that
// they may hold and, if it likes, a lifecycle of its own.
type Channel struct {
	ID                      ChannelID
	ProjectID               ProjectID
	Name, Slug, Description string
	LifecycleID             LifecycleID // 0: the project's
	IsDefault               bool
	Rules                   []ChannelRule
	UpdatedAt               time.Time
	UpdatedBy               string
}

// ChannelRule limits the versions of packages: a range in NuGet's notation and a
// regular expression over the pre-release tag. Names are those of Octopus's API.
type ChannelRule struct {
	ID             string          `json:"Id"`
	ActionPackages []ActionPackage `json:"ActionPackages"`
	VersionRange   string          `json:"VersionRange,omitempty"`
	Tag            string          `json:"Tag,omitempty"`
}

// ActionPackage names a package reference of an action.
type ActionPackage struct {
	DeploymentAction string `json:"DeploymentAction"`
	PackageReference string `json:"PackageReference"`
}

// ChannelInput is what a person or a client says of a channel.
type ChannelInput struct {
	Name, Slug, Description string
	LifecycleID             LifecycleID
	IsDefault               bool
	Rules                   []ChannelRule
}

const channelColumns = `id, project_id, name, slug, description, COALESCE(lifecycle_id, 0), is_default, rules, updated_at, updated_by`

func scanChannel(scan func(...any) error) (Channel, error) {
	var c Channel
	var at, rules string
	if err := scan(&c.ID, &c.ProjectID, &c.Name, &c.Slug, &c.Description, &c.LifecycleID, &c.IsDefault, &rules, &at, &c.UpdatedBy); err != nil {
		return c, err
	}
	c.UpdatedAt = parseTime(at)
	if err := json.Unmarshal([]byte(rules), &c.Rules); err != nil {
		return c, fmt.Errorf("decode rules of channel %d: %w", c.ID, err)
	}
	return c, nil
}

// CreateChannel needs ProjectEdit. A new default channel takes that place from the
// old one.
func (tx *Tx) CreateChannel(project ProjectID, in ChannelInput) (Channel, error) {
	p, err := tx.ownProject(project)
	if err != nil {
		return Channel{}, err
	}
	if err := tx.require(access.ProjectEdit, p.scope()); err != nil {
		return Channel{}, err
	}
	return tx.createChannel(project, in)
}

func (tx *Tx) createChannel(project ProjectID, in ChannelInput) (Channel, error) {
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	if err := c.Err(); err != nil {
		return Channel{}, err
	}
	slug, err := tx.freeSlug("channel", in.Slug, in.Name, " AND project_id = ?", int64(project))
	if err != nil {
		return Channel{}, err
	}
	if in.IsDefault {
		if _, err := tx.exec(`UPDATE channel SET is_default = 0 WHERE project_id = ?`, int64(project)); err != nil {
			return Channel{}, err
		}
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO channel (project_id, name, slug, description, lifecycle_id, is_default, rules, created_at, updated_at, updated_by) VALUES (?, ?, ?, ?, NULLIF(?, 0), ?, ?, ?, ?, ?)`,
		int64(project), in.Name, slug, in.Description, int64(in.LifecycleID), in.IsDefault, rulesText(tx, in.Rules), now, now, tx.Actor.Name)
	if err != nil {
		return Channel{}, taken(err, "Name", "This project already has a channel named '%s'.", in.Name)
	}
	id := ChannelID(n)
	tx.record(Event{Category: "Created", Entity: "channel", EntityID: id.String(), ProjectID: project, Message: fmt.Sprintf("Channel %s was created", in.Name)})
	tx.changed("project/" + project.String())
	return tx.channel(id)
}

func rulesText(tx *Tx, rules []ChannelRule) string {
	out := make([]ChannelRule, 0, len(rules))
	for _, r := range rules {
		if r.ID == "" {
			r.ID = NewULID(tx.Now)
		}
		if r.ActionPackages == nil {
			r.ActionPackages = []ActionPackage{}
		}
		out = append(out, r)
	}
	b, _ := json.Marshal(out)
	return string(b)
}

// UpdateChannel needs ProjectEdit.
func (tx *Tx) UpdateChannel(id ChannelID, in ChannelInput) (Channel, error) {
	old, err := tx.channel(id)
	if err != nil {
		return Channel{}, err
	}
	p, err := tx.ownProject(old.ProjectID)
	if err != nil {
		return Channel{}, err
	}
	if err := tx.require(access.ProjectEdit, p.scope()); err != nil {
		return Channel{}, err
	}
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	c.Require(in.IsDefault || !old.IsDefault, "IsDefault", "A project has one default channel. Make another channel the default instead.")
	if err := c.Err(); err != nil {
		return Channel{}, err
	}
	if in.IsDefault && !old.IsDefault {
		if _, err := tx.exec(`UPDATE channel SET is_default = 0 WHERE project_id = ?`, int64(old.ProjectID)); err != nil {
			return Channel{}, err
		}
	}
	err = tx.update(`UPDATE channel SET name = ?, description = ?, lifecycle_id = NULLIF(?, 0), is_default = ?, rules = ?, updated_at = ?, updated_by = ? WHERE id = ?`,
		in.Name, in.Description, int64(in.LifecycleID), in.IsDefault, rulesText(tx, in.Rules), formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return Channel{}, taken(err, "Name", "This project already has a channel named '%s'.", in.Name)
	}
	made, err := tx.channel(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Modified", Entity: "channel", EntityID: id.String(), ProjectID: old.ProjectID, Message: fmt.Sprintf("Channel %s was changed", in.Name), Changes: edited(old.audited(), made.audited())})
	tx.changed("project/" + old.ProjectID.String())
	return made, nil
}

// audited is what the audit tells of a channel that is edited.
func (c Channel) audited() map[string]any {
	return map[string]any{"Name": c.Name, "Description": c.Description, "LifecycleId": c.LifecycleID.String(), "IsDefault": c.IsDefault, "Rules": c.Rules}
}

// DeleteChannel needs ProjectEdit; the default channel and one with releases stay.
func (tx *Tx) DeleteChannel(id ChannelID) error {
	c, err := tx.channel(id)
	if err != nil {
		return err
	}
	p, err := tx.ownProject(c.ProjectID)
	if err != nil {
		return err
	}
	if err := tx.require(access.ProjectEdit, p.scope()); err != nil {
		return err
	}
	if c.IsDefault {
		return errs.New(errs.Blocked, "'%s' is the default channel.", c.Name).WithHint("Make another channel the default first.")
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM release WHERE channel_id = ?`, int64(id)); err != nil {
		return err
	} else if n > 0 {
		return errs.New(errs.Blocked, "Channel '%s' has %d releases.", c.Name, n).WithHint("Delete them first.")
	}
	uses, err := tx.usesOf("channel_id", int64(id))
	if err != nil {
		return err
	}
	if len(uses) > 0 {
		return blockedByUses("Channel '"+c.Name+"'", uses)
	}
	if err := tx.update(`DELETE FROM channel WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "channel", EntityID: id.String(), ProjectID: c.ProjectID, Message: fmt.Sprintf("Channel %s was deleted", c.Name)})
	tx.changed("project/" + c.ProjectID.String())
	return nil
}

func (tx *ReadTx) channel(id ChannelID) (Channel, error) {
	c, err := scanChannel(tx.queryRow(`SELECT `+channelColumns+` FROM channel WHERE id = ?`, int64(id)).Scan)
	return c, notFound(err, "channel", id.String())
}

// Channel returns one. It needs ProjectView on its project.
func (tx *ReadTx) Channel(id ChannelID) (Channel, error) {
	c, err := tx.channel(id)
	if err != nil {
		return c, err
	}
	_, err = tx.Project(c.ProjectID)
	return c, err
}

// ChannelBy finds a project's channel by API id, name or slug.
func (tx *ReadTx) ChannelBy(project ProjectID, text string) (Channel, error) {
	n, _ := cutID(prefixChannel, text)
	c, err := scanChannel(tx.queryRow(`SELECT `+channelColumns+` FROM channel WHERE project_id = ? AND (id = ? OR name = ? OR slug = ?) ORDER BY name = ? DESC LIMIT 1`, int64(project), n, text, text, text).Scan)
	return c, notFound(err, "channel", text)
}

// DefaultChannel returns the project's default channel.
func (tx *ReadTx) DefaultChannel(project ProjectID) (Channel, error) {
	return scanChannel(tx.queryRow(`SELECT `+channelColumns+` FROM channel WHERE project_id = ? AND is_default = 1`, int64(project)).Scan)
}

// Channels lists a project's channels, or, for project 0, those of all projects that the actor
// may see.
func (tx *ReadTx) Channels(project ProjectID, o ListOptions) (Page[Channel], error) {
	var f filter
	if project != 0 {
		if _, err := tx.Project(project); err != nil {
			return Page[Channel]{}, err
		}
		f.add("project_id = ?", int64(project))
	}
	sight, err := tx.sight(access.ProjectView)
	if err != nil {
		return Page[Channel]{}, err
	}
	f.ids("id", prefixChannel, o.IDs)
	f.names("name", o)
	p, err := pageOf(tx, scanChannel, channelColumns, "channel", "name", "name, id", f, o)
	if err != nil {
		return p, err
	}
	all := len(p.Items)
	p.Items, err = seen(sight, p.Items, func(c Channel) (ProjectID, EnvironmentID) { return c.ProjectID, 0 })
	p.Total -= all - len(p.Items)
	return p, err
}
