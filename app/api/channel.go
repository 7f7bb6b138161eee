package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
)

func channelRoutes() []Row {
	read := func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Channel], error) {
		return tx.Channels(0, o)
	}
	return []Row{
		get("/channels", InSpace, access.ProjectView, func(r *request) error { return listed(r, "Channel", read, r.channelResource) }),
		get("/channels/all", InSpace, access.ProjectView, func(r *request) error { return all(r, read, r.channelResource) }),
		post("/channels", InSpace, access.ProjectEdit, createChannel),
		get("/channels/:id", InSpace, access.ProjectView, showChannel),
		put("/channels/:id", InSpace, access.ProjectEdit, updateChannel),
		del("/channels/:id", InSpace, access.ProjectEdit, deleteChannel),
		get("/channels/:id/releases", InSpace, access.ReleaseView, channelReleases),
		get("/projects/:id/channels", InSpace, access.ProjectView, projectChannels),
		post("/projects/:id/channels", InSpace, access.ProjectEdit, createChannel),
		get("/projects/:id/channels/all", InSpace, access.ProjectView, allProjectChannels),
		get("/projects/:id/channels/:channel", InSpace, access.ProjectView, showProjectChannel),
		put("/projects/:id/channels/:channel", InSpace, access.ProjectEdit, updateChannel),
		del("/projects/:id/channels/:channel", InSpace, access.ProjectEdit, deleteChannel),
		get("/projects/:id/channels/:channel/releases", InSpace, access.ReleaseView, channelReleases),
	}
}

type channelResource struct {
	ID                     string               `json:"Id"`
	SpaceID                string               `json:"SpaceId"`
	ProjectID              string               `json:"ProjectId"`
	Name                   string               `json:"Name"`
	Slug                   string               `json:"Slug"`
	Description            string               `json:"Description"`
	LifecycleID            *string              `json:"LifecycleId"`
	IsDefault              bool                 `json:"IsDefault"`
	Rules                  []spaces.ChannelRule `json:"Rules"`
	TenantTags             []string             `json:"TenantTags"`
	GitReferenceRules      []string             `json:"GitReferenceRules"`
	GitResourceRules       []struct{}           `json:"GitResourceRules"`
	CustomFieldDefinitions []struct{}           `json:"CustomFieldDefinitions"`
	Type                   string               `json:"Type"`
	LastModifiedOn         *time.Time           `json:"LastModifiedOn"`
	LastModifiedBy         string               `json:"LastModifiedBy"`
	Links                  links                `json:"Links"`
}

func (r *request) channelResource(c spaces.Channel) channelResource {
	project := r.in("projects", c.ProjectID.String())
	out := channelResource{ID: c.ID.String(), SpaceID: r.about.ID(), ProjectID: c.ProjectID.String(), Name: c.Name, Slug: c.Slug, Description: c.Description, IsDefault: c.IsDefault, Rules: orEmpty(c.Rules),
		TenantTags: []string{}, GitReferenceRules: []string{}, GitResourceRules: []struct{}{}, CustomFieldDefinitions: []struct{}{}, Type: "Lifecycle", LastModifiedOn: timeOrNil(c.UpdatedAt), LastModifiedBy: c.UpdatedBy,
		Links: links{"Self": r.in("channels", c.ID.String()), "Releases": project + "/channels/" + c.ID.String() + "/releases{?skip,take,searchByVersion}", "Projects": project, "Project": project}}
	if c.LifecycleID != 0 {
		id := c.LifecycleID.String()
		out.LifecycleID = &id
	}
	return out
}

type channelInput struct {
	ProjectID   string `json:"ProjectId"`
	Name        string
	Slug        string
	Description string
	LifecycleID *string `json:"LifecycleId"`
	IsDefault   bool
	Rules       []spaces.ChannelRule
}

func (in channelInput) input(tx *spaces.ReadTx) (spaces.ChannelInput, error) {
	out := spaces.ChannelInput{Name: in.Name, Slug: in.Slug, Description: in.Description, IsDefault: in.IsDefault, Rules: in.Rules}
	if in.LifecycleID != nil && *in.LifecycleID != "" {
		l, err := tx.LifecycleBy(*in.LifecycleID)
		if err != nil {
			return out, wrongReference(err, "LifecycleId", "lifecycle", *in.LifecycleID)
		}
		out.LifecycleID = l.ID
	}
	return out, nil
}

func createChannel(r *request) error {
	in, err := readJSON[channelInput](r)
	if err != nil {
		return err
	}
	if id := r.param("id"); id != "" {
		in.ProjectID = id
	}
	return save(r, fiber.StatusCreated, func(tx *spaces.Tx) (channelResource, error) {
		p, err := tx.ProjectBy(in.ProjectID)
		if err != nil {
			return channelResource{}, wrongReference(err, "ProjectId", "project", in.ProjectID)
		}
		what, err := in.input(tx.ReadTx)
		if err != nil {
			return channelResource{}, err
		}
		c, err := tx.CreateChannel(p.ID, what)
		return r.channelResource(c), err
	})
}

// channel is the one of the path, alone or below its project.
func (r *request) channel(tx *spaces.ReadTx) (spaces.Channel, error) {
	text := r.param("channel")
	if text == "" {
		id, err := spaces.ParseChannelID(r.param("id"))
		if err != nil {
			return spaces.Channel{}, err
		}
		return tx.Channel(id)
	}
	p, err := tx.ProjectBy(r.param("id"))
	if err != nil {
		return spaces.Channel{}, err
	}
	return tx.ChannelBy(p.ID, text)
}

func showChannel(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (channelResource, error) {
		c, err := r.channel(tx)
		return r.channelResource(c), err
	})
}

func showProjectChannel(r *request) error { return showChannel(r) }

func updateChannel(r *request) error {
	stored, err := view(r, r.channel)
	if err != nil {
		return err
	}
	in, err := readOver[channelInput](r, r.channelResource(stored))
	if err != nil {
		return err
	}
	return save(r, fiber.StatusOK, func(tx *spaces.Tx) (channelResource, error) {
		what, err := in.input(tx.ReadTx)
		if err != nil {
			return channelResource{}, err
		}
		c, err := tx.UpdateChannel(stored.ID, what)
		return r.channelResource(c), err
	})
}

func deleteChannel(r *request) error {
	return remove(r, func(tx *spaces.Tx) error {
		c, err := r.channel(tx.ReadTx)
		if err != nil {
			return err
		}
		return tx.DeleteChannel(c.ID)
	})
}

func (r *request) channelsOfProject(o spaces.ListOptions) (spaces.Page[spaces.Channel], error) {
	return view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Channel], error) {
		p, err := tx.ProjectBy(r.param("id"))
		if err != nil {
			return spaces.Page[spaces.Channel]{}, err
		}
		return tx.Channels(p.ID, o)
	})
}

func projectChannels(r *request) error {
	p, err := r.channelsOfProject(r.options())
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Channel", p, r.channelResource))
}

func allProjectChannels(r *request) error {
	p, err := r.channelsOfProject(r.everything())
	if err != nil {
		return err
	}
	return r.ok(each(p.Items, r.channelResource))
}
