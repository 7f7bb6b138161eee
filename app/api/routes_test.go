package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/apptest"
)

// concrete fills the parameters of a path with ids that nothing has.
func concrete(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, ":") {
			parts[i] = "Nothing-99"
		}
	}
	return strings.Join(parts, "/")
}

// addresses are the forms in which a row answers.
func addresses(row api.Row, space string) []string {
	path := concrete(row.Path)
	if row.Who != api.InSpace {
		return []string{"/api" + path}
	}
	out := []string{"/api/" + space + path}
	if path != "" {
		out = append(out, "/api/spaces/"+space+path, "/api"+path)
	}
	return out
}

// refused checks a status and that the answer is a refusal in the form of Octopus's.
func refused(t *testing.T, what string, a apptest.Answer, status int) {
	t.Helper()
	var body struct {
		ErrorMessage string
		Errors       *[]string
	}
	if a.Status != status {
		t.Errorf("%s: %d instead of %d: %.200s", what, a.Status, status, a.Body)
		return
	}
	if err := json.Unmarshal(a.Body, &body); err != nil || body.ErrorMessage == "" || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		t.Errorf("%s: not a refusal in JSON: %.200s", what, a.Body)
	}
	if status == http.StatusBadRequest && (body.Errors == nil || len(*body.Errors) == 0) {
		t.Errorf("%s: a 400 without Errors: %s", what, a.Body)
	}
	if status != http.StatusBadRequest && body.Errors != nil {
		t.Errorf("%s: Errors beside status %d: %s", what, status, a.Body)
	}
}

func writes(row api.Row) bool { return row.Method == http.MethodPost || row.Method == http.MethodPut }

// TestEveryRoute walks the table: no row may answer a stranger, a member of another
// space, a body that is too large or one that is broken.
func TestEveryRoute(t *testing.T) {
	s := apptest.Start(t, func(a *api.Server) { a.MaxPackage = 64 << 10 })
	other, key := s.NewUser("other")
	s.NewSpace("Other", other)
	large := bytes.Repeat([]byte(" "), 16<<20+1)
	rows := s.API.Table()
	if len(rows) < 200 {
		t.Fatalf("the table has only %d rows", len(rows))
	}
	for _, row := range rows {
		if row.Who == api.Public {
			continue
		}
		for _, path := range addresses(row, s.Default.ID()) {
			what := row.Method + " " + path
			refused(t, what+" by a stranger", s.Do("", row.Method, path, nil), http.StatusUnauthorized)
			refused(t, what+" with a wrong key", s.Do("API-WRONG", row.Method, path, nil), http.StatusUnauthorized)
			if row.Who == api.InSpace && !answeredByServer(rows, row, path) {
				refused(t, what+" by a member of another space", s.Do(key, row.Method, path, nil), http.StatusNotFound)
			}
		}
		if !writes(row) {
			continue
		}
		path := addresses(row, s.Default.ID())[0]
		what := row.Method + " " + path
		if row.Transfer() {
			continue // TestUploadLimits; files between zones have their own in zones/bundle
		}
		body := large[:row.Limit()+1]
		refused(t, what+" with a large body", s.Do(s.Key, row.Method, path, body), http.StatusRequestEntityTooLarge)
		refused(t, what+" with a large body in chunks", s.Do(s.Key, row.Method, path, io.MultiReader(bytes.NewReader(body))), http.StatusRequestEntityTooLarge)
		refused(t, what+" with half of JSON", s.Do(s.Key, row.Method, path, []byte(`{"Name": "x"`)), http.StatusBadRequest)
	}
}

// answeredByServer says that a path without a space belongs to a row of the server.
func answeredByServer(rows []api.Row, row api.Row, path string) bool {
	if path != "/api"+concrete(row.Path) {
		return false
	}
	for _, r := range rows {
		if r.Who != api.InSpace && r.Method == row.Method && r.Path == row.Path {
			return true
		}
	}
	return false
}

func TestUnknownRoutes(t *testing.T) {
	s := apptest.Start(t)
	for _, c := range []struct{ key, method, path string }{
		{s.Key, "GET", "/api/Spaces-1/nonsense/at/all"}, {"", "GET", "/api/nonsense/at/all"}, {s.Key, "DELETE", "/api/Spaces-1/environments"}, {s.Key, "PATCH", "/api"}, {s.Key, "GET", "/api/Spaces-77/environments"}, {s.Key, "GET", "/api/spaces/nobody/environments"},
	} {
		refused(t, c.method+" "+c.path, s.Do(c.key, c.method, c.path, nil), http.StatusNotFound)
	}
}

// TestThreeForms asks for the same thing under the three forms of its path, in any case.
func TestThreeForms(t *testing.T) {
	s := apptest.Start(t)
	made := s.Must("POST", "/api/environments", map[string]any{"Name": "Test"})
	for _, path := range []string{"/api/environments/Environments-1", "/api/Spaces-1/environments/Environments-1", "/api/spaces/Spaces-1/environments/Environments-1", "/api/spaces-1/Environments/environments-1", "/api/Default/environments/test", "/api/Spaces-1/environments/Test/"} {
		if got := s.Must("GET", path, nil); got["Id"] != made["Id"] {
			t.Errorf("%s = %v", path, got)
		}
	}
}

// TestSpacesAreApart fills one space and reads another: no answer there mentions the
// first, whatever ids it asks for.
func TestSpacesAreApart(t *testing.T) {
	s := apptest.Start(t)
	const mark = "OnlyInTheFirst"
	fill(t, s, mark)
	other, key := s.NewUser("other")
	about := s.NewSpace("Other", other)
	for _, row := range s.API.Table() {
		if row.Who != api.InSpace || row.Method != http.MethodGet {
			continue
		}
		for _, id := range []string{"Projects-1", "Releases-1", "Environments-1", "Machines-1", "ServerTasks-1", "deploymentprocess-Projects-1", "variableset-Projects-1", "packages-" + mark + ".1.0.0", "Deployments-1", "Channels-1"} {
			path := "/api/" + about.ID() + strings.NewReplacer(":project", "Projects-1", ":id", id, ":version", "1.0.0", ":channel", "Channels-1", ":environment", "Environments-1", ":package", "web").Replace(row.Path)
			a := s.Do(key, "GET", path+"?ids="+id+"&projects=Projects-1&regarding=ServerTasks-1", nil)
			said := strings.ReplaceAll(string(a.Body), id, "") // what was asked for is only repeated
			if strings.Contains(said, mark) || a.Status >= 500 {
				t.Errorf("%s tells of the other space: %d %.300s", path, a.Status, said)
			}
		}
	}
	for _, path := range []string{"/api/tasks", "/api/tasks/ServerTasks-1", "/api/tasks/ServerTasks-1/details", "/api/teams/all", "/api/spaces/all", "/api/users/all"} {
		if a := s.Do(key, "GET", path, nil); bytes.Contains(a.Body, []byte(mark)) || strings.Contains(string(a.Body), `"Default"`) {
			t.Errorf("%s tells of the other space: %.300s", path, a.Body)
		}
	}
}

// fill makes one of everything in the default space, each with the mark in its name.
func fill(t testing.TB, s *apptest.Server, mark string) {
	t.Helper()
	env := s.Must("POST", "/api/environments", map[string]any{"Name": mark})
	s.Must("POST", "/api/projectgroups", map[string]any{"Name": mark})
	s.Must("POST", "/api/lifecycles", map[string]any{"Name": mark})
	s.Must("POST", "/api/machines", map[string]any{"Name": mark, "EnvironmentIds": []any{env["Id"]}, "Roles": []string{mark}, "Endpoint": map[string]any{"CommunicationStyle": "TentaclePassive", "Uri": "https://web-1:10933/", "Thumbprint": pin}})
	project := s.Must("POST", "/api/projects", map[string]any{"Name": mark})
	s.Must("POST", "/api/channels", map[string]any{"Name": mark, "ProjectId": project["Id"]})
	s.Must("PUT", "/api/deploymentprocesses/deploymentprocess-Projects-1", map[string]any{"Version": 0, "Steps": []any{map[string]any{"Name": mark, "Properties": map[string]any{"Octopus.Action.TargetRoles": mark}, "Actions": []any{map[string]any{
		"ActionType": "Octopus.TentaclePackage", "Properties": map[string]any{"Octopus.Action.Package.PackageId": mark, "Octopus.Action.Package.FeedId": "feeds-builtin"}, "Packages": []any{map[string]any{"PackageId": mark, "FeedId": "feeds-builtin"}}}}}}})
	s.Must("PUT", "/api/variables/variableset-Projects-1", map[string]any{"Version": 0, "Variables": []any{map[string]any{"Name": mark, "Value": "v"}, map[string]any{"Name": "Secret", "Value": "hunter2", "IsSensitive": true}}})
	if a := upload(t, s, s.Key, "file", mark+".1.0.0.zip", zipOf(t, "a", mark), ""); a.Status != http.StatusCreated {
		t.Fatalf("upload: %d %s", a.Status, a.Body)
	}
	release := s.Must("POST", "/api/releases", map[string]any{"ProjectId": mark, "Version": "1.0.0", "ReleaseNotes": mark})
	s.Must("POST", "/api/deployments", map[string]any{"ReleaseId": release["Id"], "EnvironmentId": env["Id"]})
}
