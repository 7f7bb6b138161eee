package spaces

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Subscription has events told to a web hook: one POST an event, in their order, each at
// least once. What it tells are all events of the space that its filter chooses, so whoever
// makes or changes one must be allowed to see all events.
type Subscription struct {
	ID         SubscriptionID
	Name       string
	IsDisabled bool // when it is, what happens is not told later either
	SubscriptionBody
	HasHeaderValue bool
	SentAt         *time.Time // when an event was last received
	Read           EventID    // the last event that it is done with
	Failing        string     // why the last try failed; "": it did not
	FailingSince   *time.Time
	UpdatedAt      time.Time
	UpdatedBy      string

	header SecretID
}

// SubscriptionBody is what of a subscription is stored as one document.
type SubscriptionBody struct {
	Filter           EventMatch    `json:"Filter"`
	WebhookURI       string        `json:"WebhookURI"`
	WebhookHeaderKey string        `json:"WebhookHeaderKey,omitempty"`
	WebhookTimeout   time.Duration `json:"WebhookTimeout"` // nanoseconds
}

// EventMatch chooses events. A list that is empty chooses all; what lists of different names
// choose must hold together, but for categories and groups, and for projects and project
// groups, which are united.
type EventMatch struct {
	EventCategories []string `json:"EventCategories"`
	EventGroups     []string `json:"EventGroups"`
	DocumentTypes   []string `json:"DocumentTypes"` // nouns, as "project"
	Users           []string `json:"Users"`
	Projects        []string `json:"Projects"`
	ProjectGroups   []string `json:"ProjectGroups"`
	Environments    []string `json:"Environments"`
}

// EventGroup is a name for some categories.
type EventGroup struct {
	ID, Name   string
	Categories []string
}

// EventGroups are those that filters know, named as Octopus does.
func EventGroups() []EventGroup {
	return []EventGroup{
		{"Document", "Documents", []string{"Created", "Modified", "Deleted"}},
		{"Deployment", "Deployments", []string{"DeploymentQueued", "DeploymentStarted", "DeploymentSucceeded", "DeploymentFailed", "DeploymentCanceled"}},
		{"DeploymentCritical", "Deployments that need somebody", []string{"DeploymentFailed", "InterruptionRaised"}},
		{"Machine", "Deployment targets", []string{"MachineHealthy", "MachineHasWarnings", "MachineUnhealthy", "MachineUnavailable"}},
		{"MachineCritical", "Deployment targets that need somebody", []string{"MachineUnhealthy", "MachineUnavailable"}},
		{"Promotion", "Promotions between zones", []string{"ReleasePromoted", "BundleReceived", "PackageReceived", "BundleAccepted", "BundleRejected", "ReleaseRecalled", "BundleRecalled", "ReceiptReceived"}},
	}
}

// EventCategories are those that people ask for.
func EventCategories() []string {
	out := []string{"Denied", "TaskCanceled", "InterruptionAnswered"}
	for _, g := range EventGroups() {
		out = append(out, g.Categories...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// EventEntities are the nouns that events are about.
func EventEntities() []string {
	return []string{"channel", "deployment", "deployment target", "environment", "feed", "inbound", "lifecycle", "link", "package", "process", "project", "project group", "release", "space", "subscription", "task", "variables"}
}

// SubscriptionInput is what a person or a client says of one. HeaderValue nil keeps what is
// stored; it must be said again when the address changes.
type SubscriptionInput struct {
	Name        string
	IsDisabled  bool
	HeaderValue *string
	SubscriptionBody
}

// MaxSubscriptions is how many a space has at most.
const MaxSubscriptions = 100

const subscriptionColumns = `id, name, is_disabled, body, COALESCE(header_secret, 0), sent_at, failing, failing_since, updated_at, updated_by, COALESCE((SELECT position FROM cursor WHERE cursor.name = 'subscription/' || subscription.id), 0)`

func scanSubscription(scan func(...any) error) (Subscription, error) {
	var s Subscription
	var body, at string
	var sent, failing nullText
	if err := scan(&s.ID, &s.Name, &s.IsDisabled, &body, &s.header, &sent, &s.Failing, &failing, &at, &s.UpdatedBy, &s.Read); err != nil {
		return s, err
	}
	s.HasHeaderValue, s.UpdatedAt, s.SentAt, s.FailingSince = s.header != 0, parseTime(at), parseTimePtr(sent), parseTimePtr(failing)
	if err := json.Unmarshal([]byte(body), &s.SubscriptionBody); err != nil {
		return s, fmt.Errorf("decode subscription %d: %w", s.ID, err)
	}
	return s, nil
}

func (id SubscriptionID) cursor() EventReader {
	return EventReader{Name: "subscription/" + itoa(int64(id))}
}

func (in *SubscriptionInput) check() error {
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	u, err := url.Parse(in.WebhookURI)
	c.Require(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && len(in.WebhookURI) <= 2000, "WebhookURI", "A web hook is at a URL such as https://hooks.example.com/deployments, without a name and password.")
	key := http.CanonicalHeaderKey(in.WebhookHeaderKey)
	c.Require(in.WebhookHeaderKey == "" || httpguts.ValidHeaderFieldName(in.WebhookHeaderKey) && len(key) <= 200 && !slices.Contains([]string{"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection"}, key), "WebhookHeaderKey", "This is no name that a header can have here.")
	if in.HeaderValue != nil {
		c.Require(httpguts.ValidHeaderFieldValue(*in.HeaderValue) && len(*in.HeaderValue) <= 4000, "WebhookHeaderValue", "The value of a header has no line breaks and up to 4,000 characters.")
		c.Require(*in.HeaderValue == "" || in.WebhookHeaderKey != "", "WebhookHeaderKey", "A value needs the name of its header.")
	}
	if in.WebhookTimeout == 0 {
		in.WebhookTimeout = 10 * time.Second
	}
	c.Require(in.WebhookTimeout >= time.Second && in.WebhookTimeout <= time.Minute, "WebhookTimeout", "A web hook has between 1 and 60 seconds to answer.")
	f := &in.Filter
	for _, l := range []*[]string{&f.EventCategories, &f.EventGroups, &f.DocumentTypes, &f.Users, &f.Projects, &f.ProjectGroups, &f.Environments} {
		if *l == nil {
			*l = []string{}
		}
		c.Require(len(*l) <= 1000, "Filter", "A filter has up to 1,000 values of a sort.")
	}
	for _, g := range f.EventGroups {
		c.Require(slices.ContainsFunc(EventGroups(), func(known EventGroup) bool { return known.ID == g }), "EventGroups", "There is no group of events '%.100s'.", g)
	}
	return c.Err()
}

// CreateSubscription needs SubscriptionCreate, and EventView without a limit.
func (tx *Tx) CreateSubscription(in SubscriptionInput) (Subscription, error) {
	if err := tx.maySubscribe(access.SubscriptionCreate); err != nil {
		return Subscription{}, err
	}
	if err := in.check(); err != nil {
		return Subscription{}, err
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM subscription`); err != nil {
		return Subscription{}, err
	} else if n >= MaxSubscriptions {
		return Subscription{}, errs.New(errs.Blocked, "A space has up to %d subscriptions.", MaxSubscriptions)
	}
	body, err := json.Marshal(in.SubscriptionBody)
	if err != nil {
		return Subscription{}, fmt.Errorf("encode subscription: %w", err)
	}
	header, err := tx.headerSecret(0, in.HeaderValue)
	if err != nil {
		return Subscription{}, err
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO subscription (name, is_disabled, body, header_secret, created_at, updated_at, updated_by) VALUES (?, ?, ?, NULLIF(?, 0), ?, ?, ?)`, in.Name, in.IsDisabled, string(body), int64(header), now, now, tx.Actor.Name)
	if err != nil {
		return Subscription{}, taken(err, "Name", "A subscription named '%s' already exists.", in.Name)
	}
	id := SubscriptionID(n)
	if _, err := tx.exec(`INSERT INTO cursor (name, position) SELECT ?, coalesce(max(id), 0) FROM event`, id.cursor().Name); err != nil {
		return Subscription{}, err
	}
	made, err := tx.subscription(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Created", Entity: "subscription", EntityID: id.String(), Message: fmt.Sprintf("Subscription %s was created", in.Name), Changes: subscriptionChanges(nil, made.audited(), in.HeaderValue)})
	tx.changed("subscriptions")
	return made, nil
}

func (tx *ReadTx) maySubscribe(p access.Permission) error {
	for _, p := range []access.Permission{p, access.EventView} {
		if !tx.Actor.System && !tx.Actor.Permissions.Everywhere(p) {
			return access.Missing(p)
		}
	}
	return nil
}

// headerSecret seals the value of a header; nil keeps the old one, "" means none.
func (tx *Tx) headerSecret(old SecretID, value *string) (SecretID, error) {
	switch {
	case value == nil:
		return old, nil
	case *value == "":
		return 0, nil
	}
	return tx.putSecret(*value)
}

func (s Subscription) audited() map[string]any {
	return map[string]any{"Name": s.Name, "IsDisabled": s.IsDisabled, "Filter": s.Filter, "WebhookURI": s.WebhookURI, "WebhookHeaderKey": s.WebhookHeaderKey, "WebhookTimeout": s.WebhookTimeout.String()}
}

func subscriptionChanges(before, after any, header *string) []Change {
	what := audit.Compare("", before, after)
	if header != nil {
		what = append(what, Change{Field: "WebhookHeaderValue", Secret: true})
	}
	return what
}

// UpdateSubscription needs SubscriptionEdit, and EventView without a limit. One that is
// switched on again begins with what happens from then on.
func (tx *Tx) UpdateSubscription(id SubscriptionID, in SubscriptionInput) (Subscription, error) {
	if err := tx.maySubscribe(access.SubscriptionEdit); err != nil {
		return Subscription{}, err
	}
	old, err := tx.subscription(id)
	if err != nil {
		return old, err
	}
	if err := in.check(); err != nil {
		return old, err
	}
	if old.HasHeaderValue && in.HeaderValue == nil && (in.WebhookURI != old.WebhookURI || !strings.EqualFold(in.WebhookHeaderKey, old.WebhookHeaderKey)) {
		return old, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "WebhookHeaderValue", Message: "The value of the header is asked for again when the address or the header changes: it was given for the other one."}}}
	}
	body, err := json.Marshal(in.SubscriptionBody)
	if err != nil {
		return old, fmt.Errorf("encode subscription: %w", err)
	}
	header, err := tx.headerSecret(old.header, in.HeaderValue)
	if err != nil {
		return old, err
	}
	err = tx.update(`UPDATE subscription SET name = ?, is_disabled = ?, body = ?, header_secret = NULLIF(?, 0), failing = '', failing_since = NULL, updated_at = ?, updated_by = ? WHERE id = ?`, in.Name, in.IsDisabled, string(body), int64(header), formatTime(tx.Now), tx.Actor.Name, int64(id))
	if err != nil {
		return old, taken(err, "Name", "A subscription named '%s' already exists.", in.Name)
	}
	if old.IsDisabled && !in.IsDisabled {
		if _, err := tx.exec(`UPDATE cursor SET position = (SELECT coalesce(max(id), 0) FROM event) WHERE name = ?`, id.cursor().Name); err != nil {
			return old, err
		}
	}
	made, err := tx.subscription(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Modified", Entity: "subscription", EntityID: id.String(), Message: fmt.Sprintf("Subscription %s was changed", in.Name), Changes: subscriptionChanges(old.audited(), made.audited(), in.HeaderValue)})
	tx.changed("subscriptions")
	return made, nil
}

// DeleteSubscription needs SubscriptionDelete.
func (tx *Tx) DeleteSubscription(id SubscriptionID) error {
	if err := tx.require(access.SubscriptionDelete, access.Scope{}); err != nil {
		return err
	}
	s, err := tx.subscription(id)
	if err != nil {
		return err
	}
	if err := tx.update(`DELETE FROM subscription WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM cursor WHERE name = ?`, id.cursor().Name); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "subscription", EntityID: id.String(), Message: fmt.Sprintf("Subscription %s was deleted", s.Name)})
	tx.changed("subscriptions")
	return nil
}

func (tx *ReadTx) subscription(id SubscriptionID) (Subscription, error) {
	s, err := scanSubscription(tx.queryRow(`SELECT `+subscriptionColumns+` FROM subscription WHERE id = ?`, int64(id)).Scan)
	return s, notFound(err, "subscription", id.String())
}

// Subscription returns one. It needs SubscriptionView.
func (tx *ReadTx) Subscription(id SubscriptionID) (Subscription, error) {
	if err := tx.require(access.SubscriptionView, access.Scope{}); err != nil {
		return Subscription{}, err
	}
	return tx.subscription(id)
}

// Subscriptions lists them by name. It needs SubscriptionView.
func (tx *ReadTx) Subscriptions(o ListOptions) (Page[Subscription], error) {
	if err := tx.require(access.SubscriptionView, access.Scope{}); err != nil {
		return Page[Subscription]{}, err
	}
	var f filter
	f.ids("id", prefixSubscription, o.IDs)
	f.names("name", o)
	return pageOf(tx, scanSubscription, subscriptionColumns, "subscription", "name", "name, id", f, o)
}
