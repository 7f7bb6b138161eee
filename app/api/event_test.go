package api_test

import (
	"encoding/json"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/events"

	"octopuses.dev/octopuses/app/apptest"
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
