package api_test

import (
	"net/http"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/spaces"
)

// linkedSpaces are the first space of a server and another, to which its lifecycle leads.
func linkedSpaces(s *apptest.Server) (dev, prod string) {
	made := s.Must("POST", "/api/spaces", map[string]any{"Name": "Prod", "SpaceManagersTeamMembers": []string{"Users-1"}})
	dev, prod = "/api/"+s.Default.ID(), "/api/"+made["Id"].(string)
	card := func(of string) any { return s.Must("GET", of+"/zones/card", nil)["Card"] }
	s.Must("POST", dev+"/zones/links/trust", map[string]any{"Card": card(prod), "Name": "Prod", "Compared": "in one room", "Role": "source"})
	s.Must("POST", prod+"/zones/links/trust", map[string]any{"Card": card(dev), "Name": "Dev", "Compared": "in one room", "Role": "target"})
	lifecycle := s.Must("GET", dev+"/lifecycles/Lifecycles-1", nil)
	lifecycle["Phases"] = []any{map[string]any{"Name": "Production", "RemoteSpaces": []any{map[string]any{"Id": "Links-1"}}}}
	s.Must("PUT", dev+"/lifecycles/Lifecycles-1", lifecycle)
	return dev, prod
}

// remote promotes a release by file from one space of a server to another and accepts it
// there. It returns the address of the second space and the project in it.
func remote(t testing.TB, s *apptest.Server) (at string, project map[string]any) {
	t.Helper()
	dev, at := linkedSpaces(s)
	own := s.Must("POST", dev+"/projects", map[string]any{"Name": "Shop", "Templates": []any{map[string]any{"Name": "Url", "Label": "Public address"}}})
	release := s.Must("POST", dev+"/releases", map[string]any{"ProjectId": own["Id"], "Version": "1.0.0"})
	promotion := s.Must("POST", dev+"/zones/promotions", map[string]any{"ReleaseId": release["Id"], "Link": "Prod", "ByHand": true})
	file := s.Do(s.Key, "GET", dev+"/zones/promotions/"+promotion["Id"].(string)+"/bundle", nil)
	if file.Status != http.StatusOK {
		t.Fatalf("export: %d %s", file.Status, file.Body)
	}
	if a := s.Do(s.Key, "POST", at+"/zones/inbox", file.Body); a.Status != http.StatusCreated {
		t.Fatalf("import: %d %s", a.Status, a.Body)
	}
	accepted := s.Must("POST", at+"/zones/inbox/Inbound-1/accept", map[string]any{})
	return at, s.Must("GET", at+"/projects/"+accepted["ProjectId"].(string), nil)
}

// What its source owns of a remote project is refused by each route that would change it,
// with the name of the owner; what is local can be changed.
func TestRemoteProjectIsItsOwners(t *testing.T) {
	s := apptest.Start(t)
	at, p := remote(t, s)
	id, name := p["Id"].(string), p["Name"].(string)
	if name != "Dev: Shop" {
		t.Fatalf("the project is called %s", name)
	}
	channel := s.Must("GET", at+"/projects/"+id+"/channels", nil)["Items"].([]any)[0].(map[string]any)
	cid := channel["Id"].(string)
	with := func(of map[string]any, changes map[string]any) map[string]any {
		out := map[string]any{}
		for k, v := range of {
			out[k] = v
		}
		for k, v := range changes {
			out[k] = v
		}
		return out
	}
	process := s.Must("GET", at+"/projects/"+id+"/deploymentprocesses", nil)
	process = with(process, map[string]any{"Steps": []any{}})
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"PUT", "/deploymentprocesses/deploymentprocess-" + id, process},
		{"PUT", "/projects/" + id + "/deploymentprocesses", process},
		{"POST", "/channels", map[string]any{"Name": "More", "ProjectId": id}},
		{"POST", "/projects/" + id + "/channels", map[string]any{"Name": "More", "ProjectId": id}},
		{"PUT", "/channels/" + cid, with(channel, map[string]any{"Name": "Other"})},
		{"PUT", "/projects/" + id + "/channels/" + cid, with(channel, map[string]any{"Name": "Other"})},
		{"DELETE", "/channels/" + cid, nil},
		{"DELETE", "/projects/" + id + "/channels/" + cid, nil},
		{"POST", "/releases", map[string]any{"ProjectId": id, "Version": "9.9.9"}},
		{"POST", "/releases/create/v1", map[string]any{"projectName": name, "releaseVersion": "9.9.9"}},
		{"POST", "/projects?clone=" + id, map[string]any{"Name": "Mine"}},
		{"PUT", "/projects/" + id, with(p, map[string]any{"Name": "Mine"})},
		{"PUT", "/projects/" + id, with(p, map[string]any{"Description": "Mine"})},
		{"PUT", "/projects/" + id, with(p, map[string]any{"Templates": []any{map[string]any{"Name": "Mine", "Label": "Mine"}}})},
	} {
		a := s.Do(s.Key, c.method, at+c.path, c.body)
		if a.Status < 400 || a.Status >= 500 || !strings.Contains(string(a.Body), "owned by Dev") {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.Status, a.Body)
		}
	}
	group := s.Must("POST", at+"/projectgroups", map[string]any{"Name": "Shops"})
	lifecycle := s.Must("POST", at+"/lifecycles", map[string]any{"Name": "Local"})
	changed := s.Must("PUT", at+"/projects/"+id, with(p, map[string]any{"ProjectGroupId": group["Id"], "LifecycleId": lifecycle["Id"]}))
	if changed["ProjectGroupId"] != group["Id"] || changed["LifecycleId"] != lifecycle["Id"] || changed["Name"] != name {
		t.Errorf("%v", changed)
	}
	variables := s.Must("GET", at+"/projects/"+id+"/variables", nil)
	variables["Variables"] = append(variables["Variables"].([]any), map[string]any{"Name": "Own", "Value": "of Prod", "Scope": map[string]any{}})
	s.Must("PUT", at+"/projects/"+id+"/variables", variables)
	release := s.Must("GET", at+"/projects/"+id+"/releases", nil)["Items"].([]any)[0].(map[string]any)
	noted := s.Must("PUT", at+"/releases/"+release["Id"].(string), with(release, map[string]any{"ReleaseNotes": "Noted here."}))
	if noted["ReleaseNotes"] != "Noted here." {
		t.Errorf("%v", noted["ReleaseNotes"])
	}
}

// A promotion is held, let go and canceled by its route, and not by any other word.
func TestPromotionState(t *testing.T) {
	s := apptest.Start(t)
	remote(t, s)
	dev := "/api/" + s.Default.ID()
	again := s.Must("POST", dev+"/zones/promotions", map[string]any{"ReleaseId": "Releases-1", "Link": "Prod", "ByHand": true})
	at := dev + "/zones/promotions/" + again["Id"].(string)
	s.Do(s.Key, "GET", at+"/bundle", nil) // is signed then
	for _, c := range []struct {
		state  string
		status int
		is     spaces.PromotionState
	}{{"acked", 400, ""}, {"held", 200, spaces.PromotionHeld}, {"queued", 200, spaces.PromotionHandedOver}, {"canceled", 200, spaces.PromotionCanceled}, {"queued", 400, ""}} {
		a := s.Do(s.Key, "POST", at+"/state", map[string]any{"State": c.state})
		if a.Status != c.status && (c.status < 400 || a.Status < 400 || a.Status >= 500) {
			t.Errorf("%s: %d %s", c.state, a.Status, a.Body)
		}
		if c.status == 200 && a.JSON(t)["State"] != c.is {
			t.Errorf("%s: %s", c.state, a.Body)
		}
	}
}
