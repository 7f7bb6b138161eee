package api

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

func subscriptionRoutes() []Row {
	read := func(tx *spaces.ReadTx, o spaces.ListOptions) (spaces.Page[spaces.Subscription], error) {
		return tx.Subscriptions(o)
	}
	return []Row{
		get("/subscriptions", InSpace, access.SubscriptionView, func(r *request) error { return listed(r, "Subscription", read, r.subscriptionResource) }),
		get("/subscriptions/all", InSpace, access.SubscriptionView, func(r *request) error { return all(r, read, r.subscriptionResource) }),
		post("/subscriptions", InSpace, access.SubscriptionCreate, createSubscription),
		get("/subscriptions/:id", InSpace, access.SubscriptionView, showSubscription),
		put("/subscriptions/:id", InSpace, access.SubscriptionEdit, updateSubscription),
		del("/subscriptions/:id", InSpace, access.SubscriptionDelete, deleteSubscription),
	}
}

// subscriptionResource is a subscription as Octopus has it. What is sent by e-mail or to
// Slack is empty: this server has web hooks alone.
type subscriptionResource struct {
	ID                            string               `json:"Id"`
	SpaceID                       string               `json:"SpaceId"`
	Name                          string               `json:"Name"`
	Type                          string               `json:"Type"`
	IsDisabled                    bool                 `json:"IsDisabled"`
	EventNotificationSubscription notificationResource `json:"EventNotificationSubscription"`
	Links                         links                `json:"Links"`
}

type notificationResource struct {
	Filter                          filterResource `json:"Filter"`
	WebhookURI                      string         `json:"WebhookURI"`
	WebhookHeaderKey                string         `json:"WebhookHeaderKey"`
	WebhookHeaderValue              string         `json:"WebhookHeaderValue"` // only taken
	HasWebhookHeaderValue           bool           `json:"HasWebhookHeaderValue"`
	WebhookTimeout                  string         `json:"WebhookTimeout"` // hh:mm:ss
	WebhookTeams                    []string       `json:"WebhookTeams"`
	WebhookLastProcessed            *time.Time     `json:"WebhookLastProcessed"`
	WebhookLastProcessedEventAutoID int64          `json:"WebhookLastProcessedEventAutoId"`
	WebhookFailing                  string         `json:"WebhookFailing,omitempty"`
	EmailTeams                      []string       `json:"EmailTeams"`
	EmailFrequencyPeriod            string         `json:"EmailFrequencyPeriod"`
	EmailPriority                   string         `json:"EmailPriority"`
	EmailShowDatesInTimeZoneID      string         `json:"EmailShowDatesInTimeZoneId"`
	SlackChannelIDs                 []string       `json:"SlackChannelIds"`
	SlackChannelNames               []string       `json:"SlackChannelNames"`
	SlackDigestFormat               string         `json:"SlackDigestFormat"`
	SlackFrequencyPeriod            string         `json:"SlackFrequencyPeriod"`
}

type filterResource struct {
	spaces.EventMatch
	Tenants     []string `json:"Tenants"`
	Tags        []string `json:"Tags"`
	EventAgents []string `json:"EventAgents"`
}

func (r *request) subscriptionResource(s spaces.Subscription) subscriptionResource {
	return subscriptionOf(s, r.about.ID())
}

func subscriptionOf(s spaces.Subscription, space string) subscriptionResource {
	return subscriptionResource{ID: s.ID.String(), SpaceID: space, Name: s.Name, Type: "Event", IsDisabled: s.IsDisabled, Links: links{"Self": "/api/" + space + "/subscriptions/" + s.ID.String()},
		EventNotificationSubscription: notificationResource{Filter: filterResource{EventMatch: s.Filter, Tenants: []string{}, Tags: []string{}, EventAgents: []string{}}, WebhookURI: s.WebhookURI, WebhookHeaderKey: s.WebhookHeaderKey, HasWebhookHeaderValue: s.HasHeaderValue,
			WebhookTimeout: clockText(s.WebhookTimeout), WebhookTeams: []string{}, WebhookLastProcessed: s.SentAt, WebhookLastProcessedEventAutoID: int64(s.Read), WebhookFailing: s.Failing,
			EmailTeams: []string{}, EmailFrequencyPeriod: "01:00:00", EmailPriority: "Normal", EmailShowDatesInTimeZoneID: "UTC", SlackChannelIDs: []string{}, SlackChannelNames: []string{}, SlackDigestFormat: "Summary", SlackFrequencyPeriod: "01:00:00"}}
}

// clockText writes "00:00:10".
func clockText(d time.Duration) string {
	n := int(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", n/3600, n/60%60, n%60)
}

// clock reads it; what is none is 0.
func clock(text string) time.Duration {
	parts := strings.Split(text, ":")
	var n int
	for _, p := range parts {
		x, err := strconv.Atoi(p)
		if err != nil || x < 0 || x > 99 || len(parts) != 3 {
			return 0
		}
		n = n*60 + x
	}
	return time.Duration(n) * time.Second
}

// subscriptionInput checks what a client says. A header without a value keeps the stored one;
// without a name there is none.
func (in subscriptionResource) input() (spaces.SubscriptionInput, error) {
	n := in.EventNotificationSubscription
	var c errs.Check
	c.Require(len(n.EmailTeams) == 0, "EmailTeams", "This server sends no e-mail.")
	c.Require(len(n.SlackChannelIDs)+len(n.SlackChannelNames) == 0, "SlackChannelIds", "This server sends nothing to Slack.")
	c.Require(len(n.Filter.Tenants)+len(n.Filter.Tags)+len(n.Filter.EventAgents) == 0, "Filter", "This server has no tenants, and cannot choose events by agents.")
	c.Require(n.WebhookTimeout == "" || clock(n.WebhookTimeout) > 0, "WebhookTimeout", "A time is written as 00:00:10.")
	out := spaces.SubscriptionInput{Name: in.Name, IsDisabled: in.IsDisabled, SubscriptionBody: spaces.SubscriptionBody{Filter: n.Filter.EventMatch, WebhookURI: n.WebhookURI, WebhookHeaderKey: n.WebhookHeaderKey, WebhookTimeout: clock(n.WebhookTimeout)}}
	if n.WebhookHeaderValue != "" || n.WebhookHeaderKey == "" {
		out.HeaderValue = &n.WebhookHeaderValue
	}
	return out, c.Err()
}

func createSubscription(r *request) error {
	in, err := readJSON[subscriptionResource](r)
	if err != nil {
		return err
	}
	input, err := in.input()
	if err != nil {
		return err
	}
	s, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Subscription, error) { return tx.CreateSubscription(input) })
	if err != nil {
		return err
	}
	return r.created(r.subscriptionResource(s))
}

func (r *request) subscription() (spaces.Subscription, error) {
	id, err := spaces.ParseSubscriptionID(r.param("id"))
	if err != nil {
		return spaces.Subscription{}, err
	}
	return view(r, func(tx *spaces.ReadTx) (spaces.Subscription, error) { return tx.Subscription(id) })
}

func showSubscription(r *request) error {
	s, err := r.subscription()
	if err != nil {
		return err
	}
	return r.ok(r.subscriptionResource(s))
}

func updateSubscription(r *request) error {
	s, err := r.subscription()
	if err != nil {
		return err
	}
	in, err := readOver[subscriptionResource](r, r.subscriptionResource(s))
	if err != nil {
		return err
	}
	input, err := in.input()
	if err != nil {
		return err
	}
	if s, err = spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Subscription, error) { return tx.UpdateSubscription(s.ID, input) }); err != nil {
		return err
	}
	return r.ok(r.subscriptionResource(s))
}

func deleteSubscription(r *request) error {
	id, err := spaces.ParseSubscriptionID(r.param("id"))
	if err != nil {
		return err
	}
	if err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteSubscription(id) }); err != nil {
		return err
	}
	return r.gone()
}

// SubscriptionPayload is the body of a web hook in Octopus's form: one event for one
// subscription of a space, whose address is below server.
func SubscriptionPayload(space, slug, server string, n spaces.Notification, batch string, began time.Time) ([]byte, error) {
	return json.Marshal(map[string]any{"Timestamp": time.Now().UTC(), "EventType": "SubscriptionPayload", "Payload": map[string]any{
		"ServerUri": server, "ServerAuditUri": server + "/spaces/" + slug + "/audit", "BatchProcessingDate": began.UTC(), "BatchId": batch, "TotalEventsInBatch": n.Of, "EventNumberInBatch": n.Number,
		"Subscription": subscriptionOf(n.Subscription, space), "Event": eventOf(n.Event, space),
	}})
}
