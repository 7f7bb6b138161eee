package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/subscriptions"

	"octopuses.dev/octopuses/app/apptest"
)

// The official client makes, reads, changes and deletes a subscription; the value of the
// header goes in and never out.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	c := connect(t, s, s.Key, "Spaces-1")
	in := subscriptions.NewSubscription("Stages")
	in.EventNotificationSubscription.WebhookURI = "https://hooks.example.com/x"
	in.EventNotificationSubscription.WebhookHeaderKey = "X-Key"
	in.EventNotificationSubscription.WebhookHeaderValue = "t0p-secret"
	in.EventNotificationSubscription.WebhookTimeout = "00:00:20"
	in.EventNotificationSubscription.Filter.EventGroups = []string{"Document"}
	made := must[*subscriptions.Subscription](t)(subscriptions.Add(c, "Spaces-1", in))
	n := made.EventNotificationSubscription
	if made.ID != "Subscriptions-1" || n.WebhookHeaderValue != "" || n.WebhookHeaderKey != "X-Key" || n.WebhookTimeout != "00:00:20" || len(n.Filter.EventGroups) != 1 {
		t.Errorf("%+v %+v", made, n)
	}
	made.IsDisabled = true // with the value left out
	changed := must[*subscriptions.Subscription](t)(subscriptions.Update(c, "Spaces-1", made))
	if !changed.IsDisabled {
		t.Error("it is not disabled")
	}
	got := must[*subscriptions.Subscription](t)(subscriptions.GetByID(c, "Spaces-1", made.ID))
	list := must[[]*subscriptions.Subscription](t)(subscriptions.GetAll(c, "Spaces-1"))
	if got.Name != "Stages" || len(list) != 1 {
		t.Errorf("%+v, %d", got, len(list))
	}
	got.EventNotificationSubscription.WebhookURI = "https://elsewhere.example.com"
	if _, err := subscriptions.Update(c, "Spaces-1", got); err == nil || !strings.Contains(err.Error(), "asked for again") {
		t.Errorf("another address takes the value with it: %v", err)
	}
	for field, bad := range map[string]map[string]any{
		"WebhookURI":       {"WebhookURI": "ftp://x"},
		"EmailTeams":       {"WebhookURI": "https://x", "EmailTeams": []string{"Teams-1"}},
		"WebhookHeaderKey": {"WebhookURI": "https://x", "WebhookHeaderKey": "a b"},
		"WebhookTimeout":   {"WebhookURI": "https://x", "WebhookTimeout": "01:00:00"},
		"EventGroups":      {"WebhookURI": "https://x", "Filter": map[string]any{"EventGroups": []string{"Nonsense"}}},
	} {
		if a := s.Do(s.Key, "POST", "/api/Spaces-1/subscriptions", map[string]any{"Name": "Bad", "EventNotificationSubscription": bad}); a.Status != 400 {
			t.Errorf("%s: %d %s", field, a.Status, a.Body)
		}
	}
	a := s.Do(s.Key, "GET", "/api/Spaces-1/events?regarding=Subscriptions-1", nil)
	if strings.Contains(string(a.Body), "t0p-secret") || !strings.Contains(string(a.Body), `"path":"/WebhookHeaderValue","secret":true`) {
		t.Errorf("the audit: %s", a.Body)
	}
	var groups []struct {
		ID              string `json:"Id"`
		EventCategories []string
	}
	if a := s.Do(s.Key, "GET", "/api/Spaces-1/events/groups", nil); json.Unmarshal(a.Body, &groups) != nil || len(groups) == 0 || len(groups[0].EventCategories) == 0 {
		t.Errorf("groups: %s", a.Body)
	}
	if err := subscriptions.DeleteByID(c, "Spaces-1", made.ID); err != nil {
		t.Error(err)
	}
	if left := must[[]*subscriptions.Subscription](t)(subscriptions.GetAll(c, "Spaces-1")); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}
