package api

import (
	"slices"
	"strconv"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

func eventRoutes() []Row {
	return []Row{
		get("/events", InSpace, access.EventView, listEvents),
		get("/events/agents", InSpace, access.EventView, func(r *request) error { return r.ok([]named{}) }),
		get("/events/categories", InSpace, access.EventView, eventCategories),
		get("/events/documenttypes", InSpace, access.EventView, eventDocumentTypes),
		get("/events/groups", InSpace, access.EventView, eventGroups),
		get("/events/:id", InSpace, access.EventView, showEvent),
	}
}

type eventResource struct {
	ID                      string         `json:"Id"`
	SpaceID                 string         `json:"SpaceId"`
	Category                string         `json:"Category"`
	UserID                  string         `json:"UserId"`
	Username                string         `json:"Username"`
	IsService               bool           `json:"IsService"`
	IdentityEstablishedWith string         `json:"IdentityEstablishedWith"`
	IPAddress               string         `json:"IpAddress"`
	Occurred                time.Time      `json:"Occurred"`
	Message                 string         `json:"Message"`
	MessageReferences       []struct{}     `json:"MessageReferences"`
	RelatedDocumentIDs      []string       `json:"RelatedDocumentIds"`
	Comments                *string        `json:"Comments"`
	Details                 *string        `json:"Details"`
	ChangeDetails           *audit.Details `json:"ChangeDetails,omitempty"`
	Links                   links          `json:"Links"`
}

func (r *request) eventResource(e spaces.Event) eventResource { return eventOf(e, r.about.ID()) }

func eventOf(e spaces.Event, space string) eventResource {
	out := eventResource{ID: e.ID.String(), SpaceID: space, Category: e.Category, UserID: e.ActorID, Username: e.ActorName, IdentityEstablishedWith: e.Via, IPAddress: e.Address, Occurred: e.At, Message: e.Message,
		MessageReferences: []struct{}{}, RelatedDocumentIDs: []string{}, ChangeDetails: audit.DetailsOf(e.Changes), Links: links{"Self": "/api/" + space + "/events/" + e.ID.String()}}
	for _, id := range []string{e.EntityID, e.ProjectID.String(), e.EnvironmentID.String()} {
		if id != "" && !slices.Contains(out.RelatedDocumentIDs, id) {
			out.RelatedDocumentIDs = append(out.RelatedDocumentIDs, id)
		}
	}
	return out
}

// maxEvents is how far back a page may begin; the ledger itself is read by its ids.
const maxEvents = 1000

// listEvents pages from the newest. Before its end is reached, the total is only "more
// than so many": counting a ledger costs more than anybody learns from it.
func listEvents(r *request) error {
	take := r.number("take")
	if take == 0 {
		take = 30
	}
	skip := r.number("skip")
	take = min(take, maxEvents-1)
	if skip+take >= maxEvents {
		if skip >= maxEvents-1 {
			return errs.New(errs.Invalid, "Events beyond the newest %d are read with a time: from, to.", maxEvents)
		}
		take = maxEvents - 1 - skip
	}
	f := spaces.EventFilter{EntityID: r.query("regarding"), Actor: first(r.list("users"), r.query("user")), Category: first(r.list("eventCategories"), ""), Take: skip + take + 1}
	if t, err := time.Parse(time.RFC3339, r.query("from")); err == nil {
		f.From = t
	}
	if t, err := time.Parse(time.RFC3339, r.query("to")); err == nil {
		f.Until = t
	}
	list, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
		if text := first(r.list("projects"), ""); text != "" {
			p, err := tx.ProjectBy(text)
			if err != nil {
				return nil, err
			}
			f.Project = p.ID
		}
		return tx.Events(f)
	})
	if err != nil {
		return err
	}
	p := spaces.Page[spaces.Event]{Total: len(list), Skip: skip, Take: take}
	if skip < len(list) {
		p.Items = list[skip:min(len(list), skip+take)]
	}
	return r.ok(pageOf(r, "Event", p, r.eventResource))
}

func first(list []string, other string) string {
	if len(list) > 0 {
		return list[0]
	}
	return other
}

func showEvent(r *request) error {
	text := r.param("id")
	digits, ok := cutPrefix(text, "Events-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 {
		return errs.Missing("event", text)
	}
	list, err := view(r, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
		return tx.Events(spaces.EventFilter{Before: spaces.EventID(n + 1), Take: 1})
	})
	if err != nil {
		return err
	}
	if len(list) == 0 || int64(list[0].ID) != n {
		return errs.Missing("event", text)
	}
	return r.ok(r.eventResource(list[0]))
}

func eventCategories(r *request) error {
	return r.ok(each(spaces.EventCategories(), func(c string) named { return named{c, c} }))
}

func eventDocumentTypes(r *request) error {
	return r.ok(each(spaces.EventEntities(), func(e string) named { return named{e, e} }))
}

func eventGroups(r *request) error {
	type group struct {
		ID              string   `json:"Id"`
		Name            string   `json:"Name"`
		EventCategories []string `json:"EventCategories"`
	}
	return r.ok(each(spaces.EventGroups(), func(g spaces.EventGroup) group { return group{g.ID, g.Name, g.Categories} }))
}
