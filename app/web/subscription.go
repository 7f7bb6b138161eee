package web

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/account"
	"octopuses.dev/octopuses/views/ui"
)

func subscriptionRoutes() []route {
	const p = "/spaces/:space/subscriptions"
	return []route{
		get(p, inSpace, access.SubscriptionView, subscriptionList),
		get(p+"/new", inSpace, access.SubscriptionCreate, subscriptionPage), post(p+"/new", inSpace, access.SubscriptionCreate, saveSubscription),
		get(p+"/:subscription", inSpace, access.SubscriptionView, subscriptionPage), post(p+"/:subscription", inSpace, access.SubscriptionEdit, saveSubscription),
		post(p+"/:subscription/delete", inSpace, access.SubscriptionDelete, deleteSubscription),
	}
}

// whyNotSubscribe says what somebody lacks who may not make or change a subscription.
func (r *request) whyNotSubscribe(p access.Permission) string {
	for _, p := range []access.Permission{p, access.EventView} {
		if !r.actor.Permissions.Everywhere(p) {
			return errs.TextOf(access.Missing(p))
		}
	}
	return ""
}

func subscriptionList(r *request) error {
	all, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Page[spaces.Subscription], error) {
		return tx.Subscriptions(spaces.All)
	})
	if err != nil {
		return err
	}
	m := account.Subscriptions{Page: r.pageFor("Subscriptions", "Settings"), Why: r.whyNotSubscribe(access.SubscriptionCreate)}
	for _, s := range all.Items {
		m.Subscriptions = append(m.Subscriptions, subscriptionModel(s))
	}
	return r.render(fiber.StatusOK, account.ShowSubscriptions(m))
}

func subscriptionModel(s spaces.Subscription) account.Subscription {
	m := account.Subscription{ID: s.ID.String(), Name: s.Name, URI: s.WebhookURI, HeaderKey: s.WebhookHeaderKey, HasValue: s.HasHeaderValue, Enabled: !s.IsDisabled, Timeout: int(s.WebhookTimeout / time.Second), Failing: s.Failing}
	if s.ID == 0 {
		m.ID = ""
	}
	if s.SentAt != nil {
		m.Sent = *s.SentAt
	}
	if s.FailingSince != nil {
		m.FailingSince = *s.FailingSince
	}
	return m
}

// subscriptionForm is the form of a subscription with what can be chosen, as far as the
// person may see it. What was chosen and cannot be seen stays chosen.
func (r *request) subscriptionForm(s spaces.Subscription) (account.Subscription, error) {
	m := subscriptionModel(s)
	p := access.SubscriptionEdit
	if s.ID == 0 {
		p = access.SubscriptionCreate
	}
	m.Why, m.CanDelete = r.whyNotSubscribe(p), s.ID != 0 && r.actor.Can(access.SubscriptionDelete, access.Scope{})
	choose := func(values, labels, chosen []string) (out []ui.Option) {
		for i, v := range values {
			out = append(out, ui.Option{Value: v, Label: labels[i], Selected: slices.Contains(chosen, v)})
		}
		for _, v := range chosen {
			if !slices.Contains(values, v) {
				out = append(out, ui.Option{Value: v, Label: v, Selected: true})
			}
		}
		return out
	}
	var ids, names []string
	for _, g := range spaces.EventGroups() {
		ids, names = append(ids, g.ID), append(names, g.Name)
	}
	m.Groups = choose(ids, names, s.Filter.EventGroups)
	names = nil
	for _, c := range spaces.EventCategories() {
		names = append(names, spaced(c))
	}
	m.Categories = choose(spaces.EventCategories(), names, s.Filter.EventCategories)
	m.Entities = choose(spaces.EventEntities(), spaces.EventEntities(), s.Filter.DocumentTypes)
	_, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (struct{}, error) {
		var ids, names []string
		if tx.Can(access.ProjectView, access.Scope{}) {
			all, err := tx.Projects(0, spaces.All)
			if err != nil {
				return struct{}{}, err
			}
			for _, p := range all.Items {
				ids, names = append(ids, p.ID.String()), append(names, p.Name)
			}
		}
		m.Projects = choose(ids, names, s.Filter.Projects)
		ids, names = nil, nil
		if tx.Can(access.EnvironmentView, access.Scope{}) {
			all, err := tx.Environments(spaces.All)
			if err != nil {
				return struct{}{}, err
			}
			for _, e := range all.Items {
				ids, names = append(ids, e.ID.String()), append(names, e.Name)
			}
		}
		m.Environments = choose(ids, names, s.Filter.Environments)
		return struct{}{}, nil
	})
	title := s.Name
	if s.ID == 0 {
		title = "Add a subscription"
	}
	m.Page = r.pageFor(title, "Settings")
	return m, err
}

// subscription is the one of the path; of a new one what it begins with.
func (r *request) subscription() (spaces.Subscription, error) {
	text := r.param("subscription")
	if text == "" {
		return spaces.Subscription{SubscriptionBody: spaces.SubscriptionBody{WebhookTimeout: 10 * time.Second}}, nil
	}
	id, err := spaces.ParseSubscriptionID(text)
	if err != nil {
		return spaces.Subscription{}, err
	}
	return spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Subscription, error) { return tx.Subscription(id) })
}

func subscriptionPage(r *request) error {
	s, err := r.subscription()
	if err != nil {
		return err
	}
	m, err := r.subscriptionForm(s)
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, account.ShowSubscription(m))
}

func saveSubscription(r *request) error {
	s, err := r.subscription()
	if err != nil {
		return err
	}
	seconds, _ := strconv.Atoi(r.value("timeout"))
	if seconds <= 0 || seconds > 3600 {
		seconds = 3600 // refused below, as everything beyond a minute
	}
	in := spaces.SubscriptionInput{Name: r.value("name"), IsDisabled: !r.checked("enabled"), SubscriptionBody: spaces.SubscriptionBody{WebhookURI: r.value("uri"), WebhookHeaderKey: r.value("headerKey"), WebhookTimeout: time.Duration(seconds) * time.Second,
		Filter: spaces.EventMatch{EventGroups: r.form["groups"], EventCategories: r.form["categories"], DocumentTypes: r.form["entities"], Projects: r.form["projects"], Environments: r.form["environments"], Users: s.Filter.Users, ProjectGroups: s.Filter.ProjectGroups}}}
	if v := strings.TrimSpace(r.form.Get("headerValue")); v != "" || in.WebhookHeaderKey == "" {
		in.HeaderValue = &v
	}
	made, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Subscription, error) {
		if s.ID == 0 {
			return tx.CreateSubscription(in)
		}
		return tx.UpdateSubscription(s.ID, in)
	})
	if err != nil {
		s.Name, s.IsDisabled, s.SubscriptionBody = in.Name, in.IsDisabled, in.SubscriptionBody
		m, ferr := r.subscriptionForm(s)
		if ferr != nil {
			return ferr
		}
		if s.Name == "" {
			m.Page.Title = "Subscription"
		}
		return r.again(err, map[string]string{"WebhookURI": "uri", "WebhookHeaderKey": "headerKey", "WebhookHeaderValue": "headerValue", "WebhookTimeout": "timeout", "EventGroups": "groups"}, func(e []ui.FieldError) templ.Component {
			m.Errors = e
			return account.ShowSubscription(m)
		})
	}
	return r.see(views.SubscriptionURL(r.about.Slug, made.ID.String()))
}

func deleteSubscription(r *request) error {
	id, err := spaces.ParseSubscriptionID(r.param("subscription"))
	if err != nil {
		return err
	}
	if err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteSubscription(id) }); err != nil {
		return err
	}
	return r.see(views.SubscriptionsURL(r.about.Slug))
}
