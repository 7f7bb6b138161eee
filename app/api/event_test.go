package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/events"

	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/app/instance"
)

// The official client reads what an edit changed from what to what.
func TestEventsTellChanges(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	c := connect(t, s, s.Key, "")
	id := s.Must("POST", "/api/environments", map[string]any{"Name": "One"})["Id"].(string)
	s.Must("PUT", "/api/environments/"+id, map[string]any{"Name": "Uno", "Description": "the first"})
	page, err := c.Events.Get(events.EventsQuery{Regarding: id, EventCategories: []string{"Modified"}})
	if err != nil || len(page.Items) != 1 || page.Items[0].ChangeDetails == nil {
		t.Fatalf("%v, %+v", err, page)
	}
	got, err := json.Marshal(page.Items[0].ChangeDetails.Differences)
	if want := `[{"op":"add","path":"/Description","value":"the first"},{"oldValue":"One","op":"replace","path":"/Name","value":"Uno"}]`; err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}

// The collector of the audit is set up and changed; its token goes in and never out, and is
// not sent on to another address.
func TestAuditStream(t *testing.T) {
	t.Parallel()
	s := apptest.Start(t)
	const path = "/api/configuration/audit-stream/values"
	if a := s.Do(s.Key, "GET", path, nil); a.Status != 200 || !strings.Contains(string(a.Body), `"Kind":""`) {
		t.Errorf("without a collector: %d %s", a.Status, a.Body)
	}
	if a := s.Do(s.Key, "PUT", path, map[string]any{"Kind": "https", "Address": "http://logs.example.com"}); a.Status != 400 || !strings.Contains(string(a.Body), "https://logs.example.com/audit") {
		t.Errorf("without TLS: %d %s", a.Status, a.Body)
	}
	s.Must("PUT", path, map[string]any{"Kind": "https", "Address": "https://logs.example.com/in", "IsEnabled": true, "Token": map[string]any{"NewValue": "t0p-secret"}})
	paused := s.Must("PUT", path, map[string]any{"IsEnabled": false})
	if token := paused["Token"].(map[string]any); paused["IsEnabled"] != false || paused["Address"] != "https://logs.example.com/in" || token["HasValue"] != true || token["NewValue"] != nil {
		t.Errorf("%+v", paused)
	}
	if a := s.Do(s.Key, "PUT", path, map[string]any{"Address": "https://elsewhere.example.com/in"}); a.Status != 400 || !strings.Contains(string(a.Body), "asked for again") {
		t.Errorf("another address: %d %s", a.Status, a.Body)
	}
	if c, set, err := s.Instance.Collector(t.Context()); err != nil || !set || c.Token != "t0p-secret" || c.Address != "https://logs.example.com/in" {
		t.Errorf("%+v, %t, %v", c, set, err)
	}
	all, err := s.Instance.Events(t.Context(), instance.EventFilter{Text: "collector"})
	if b, _ := json.Marshal(all); err != nil || len(all) != 2 || strings.Contains(string(b), "t0p-secret") || !strings.Contains(string(b), `"field":"Token","secret":true`) {
		t.Errorf("the audit has %s, %v", b, err)
	}
	s.Must("DELETE", path, nil)
	if _, set, err := s.Instance.Collector(t.Context()); set || err != nil {
		t.Error("it is still there", err)
	}
}
