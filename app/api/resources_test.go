package api_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/apptest"
	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/spaces"
	keys "octopuses.dev/octopuses/zones/pin"
)

// TestCreatedIsRead makes one of each and reads it: by POST, by GET, in the list and
// under /all it is the same, links included.
func TestCreatedIsRead(t *testing.T) {
	s := apptest.Start(t)
	env := s.Must("POST", "/api/environments", map[string]any{"Name": "Test"})
	for _, c := range []struct {
		path string
		body map[string]any
		all  bool
	}{
		{"/environments", map[string]any{"Name": "Prod", "Slug": "", "UseGuidedFailure": true}, true},
		{"/lifecycles", map[string]any{"Name": "Way", "Phases": []any{map[string]any{"Name": "One", "OptionalDeploymentTargets": []any{env["Id"]}}}}, true},
		{"/projectgroups", map[string]any{"Name": "Shop"}, true},
		{"/projects", map[string]any{"Name": "My Web", "Templates": []any{map[string]any{"Name": "Host", "Label": "Host"}}, "VersioningStrategy": map[string]any{"Template": "1.0.i"}}, true},
		{"/channels", map[string]any{"Name": "Hotfix", "ProjectId": "Projects-1", "Rules": []any{map[string]any{"VersionRange": "[1.0,)", "Tag": "^$"}}}, true},
		{"/machines", map[string]any{"Name": "web-1", "EnvironmentIds": []any{env["Id"]}, "Roles": []string{"web"}, "Endpoint": map[string]any{"CommunicationStyle": "TentacleActive", "Thumbprint": pin}}, true},
		{"/releases", map[string]any{"ProjectId": "Projects-1", "Version": "1.0.0"}, false},
	} {
		made := s.Must("POST", "/api/Spaces-1"+c.path, c.body)
		self := made["Links"].(map[string]any)["Self"].(string)
		if read := s.Must("GET", self, nil); !reflect.DeepEqual(made, read) {
			t.Errorf("%s:\nmade %v\nread %v", c.path, made, read)
		}
		list := s.Must("GET", "/api/Spaces-1"+c.path+"?ids="+made["Id"].(string), nil)
		if items := list["Items"].([]any); len(items) != 1 || !reflect.DeepEqual(any(made), items[0]) {
			t.Errorf("%s:\nmade   %v\nlisted %v", c.path, made, items)
		}
		if c.all {
			var all []map[string]any
			s.Do(s.Key, "GET", "/api/Spaces-1"+c.path+"/all", nil).Into(t, &all)
			found := false
			for _, v := range all {
				found = found || reflect.DeepEqual(v, made)
			}
			if !found {
				t.Errorf("%s is not under /all: %v", c.path, all)
			}
		}
		// What a client sends back unchanged changes nothing.
		again := s.Must("PUT", self, made)
		for _, m := range []map[string]any{made, again} {
			delete(m, "LastModifiedOn")
		}
		if !reflect.DeepEqual(made, again) {
			t.Errorf("%s:\nmade  %v\nsaved %v", c.path, made, again)
		}
	}
}

// TestPartialUpdate sends only a name: all else stays.
func TestPartialUpdate(t *testing.T) {
	s := apptest.Start(t)
	made := s.Must("POST", "/api/projects", map[string]any{"Name": "Web", "Description": "The shop", "VersioningStrategy": map[string]any{"Template": "2.0.i"}, "DefaultGuidedFailureMode": "On"})
	saved := s.Must("PUT", "/api/projects/Web", map[string]any{"name": "Web 2"})
	if saved["Name"] != "Web 2" || saved["Description"] != "The shop" || saved["DefaultGuidedFailureMode"] != "On" || saved["LifecycleId"] != made["LifecycleId"] || saved["VersioningStrategy"].(map[string]any)["Template"] != "2.0.i" {
		t.Errorf("saved = %v", saved)
	}
	if byName := s.Must("GET", "/api/projects/Web%202", nil); byName["Id"] != made["Id"] {
		t.Errorf("by name = %v", byName)
	}
}

func TestPaging(t *testing.T) {
	s := apptest.Start(t)
	for _, name := range []string{"Alpha", "Alphabet", "Beta"} {
		s.Must("POST", "/api/environments", map[string]any{"Name": name})
	}
	type page struct {
		TotalResults, ItemsPerPage, NumberOfPages, LastPageNumber int
		Items                                                     []struct{ Id, Name string }
		Links                                                     map[string]string
	}
	read := func(path string) page {
		t.Helper()
		var p page
		a := s.Do(s.Key, "GET", path, nil)
		a.Into(t, &p)
		if p.Items == nil {
			t.Fatalf("%s: no Items: %s", path, a.Body)
		}
		return p
	}
	p := read("/api/Spaces-1/environments?take=1")
	if p.TotalResults != 3 || p.ItemsPerPage != 1 || p.NumberOfPages != 3 || p.LastPageNumber != 2 {
		t.Errorf("page = %+v", p)
	}
	var names []string
	for next := "/api/Spaces-1/environments?take=1"; next != ""; {
		p := read(next)
		for _, e := range p.Items {
			names = append(names, e.Name)
		}
		if next = p.Links["Page.Next"]; len(names) > 3 {
			t.Fatal("the pages never end")
		}
	}
	if strings.Join(names, " ") != "Alpha Alphabet Beta" {
		t.Errorf("names = %v", names)
	}
	for path, want := range map[string]string{
		"?ids=Environments-1%2CEnvironments-3":   "Alpha Beta",
		"?ids=Environments-1&ids=Environments-3": "Alpha Beta",
		"?IDs=environments-3":                    "Beta",
		"?partialName=alphabet&take=1":           "Alphabet",
		"?partialName=PHA":                       "Alpha Alphabet",
		"?partialName=alpha&take=1":              "Alpha",
		"?name=beta":                             "Beta",
		"?take=2147483647":                       "Alpha Alphabet Beta",
		"?skip=-5&take=nonsense":                 "Alpha Alphabet Beta",
		"?skip=2":                                "Beta",
		"?skip=99":                               "",
		"?partialName=%25":                       "",
		"/v2?type=Ephemeral":                     "",
		"/v2?type=Static":                        "Alpha Alphabet Beta",
	} {
		var got []string
		p := read("/api/Spaces-1/environments" + path)
		for _, e := range p.Items {
			got = append(got, e.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s = %v, want %s", path, got, want)
		}
		if p.Links["Page.Next"] != "" && !strings.Contains(path, "take=1") {
			t.Errorf("%s goes on at %s", path, p.Links["Page.Next"])
		}
	}
}

// TestRefusals checks what a person reads when something is refused.
func TestRefusals(t *testing.T) {
	s := apptest.Start(t)
	fill(t, s, "web")
	_, stranger := s.NewUser("stranger")
	for _, c := range []struct {
		what, key, method, path string
		body                    any
		status                  int
		says                    string
	}{
		{"a taken name", s.Key, "POST", "/api/environments", map[string]any{"Name": "WEB"}, 400, "already exists"},
		{"no name", s.Key, "POST", "/api/projects", map[string]any{}, 400, "A name is required"},
		{"a wrong type", s.Key, "POST", "/api/projects", map[string]any{"Name": 7}, 400, "Name"},
		{"a list for an object", s.Key, "POST", "/api/projects", []string{"Name"}, 400, "array"},
		{"an unknown group", s.Key, "POST", "/api/projects", map[string]any{"Name": "x", "ProjectGroupId": "ProjectGroups-99"}, 400, "There is no project group"},
		{"no such thing", s.Key, "GET", "/api/environments/Environments-99", nil, 404, "was not found"},
		{"an old version", s.Key, "PUT", "/api/deploymentprocesses/deploymentprocess-Projects-1", map[string]any{"Version": 0, "Steps": []any{}}, 409, "version 1 is stored"},
		{"a used environment", s.Key, "DELETE", "/api/environments/web", nil, 400, "deployment targets"},
		{"a taken version", s.Key, "POST", "/api/releases/create/v1", map[string]any{"projectName": "web", "releaseVersion": "1.0"}, 400, "already exists"},
		{"tenants", s.Key, "POST", "/api/tenants", map[string]any{"Name": "x"}, 400, "has no tenants"},
		{"no right on the server", stranger, "POST", "/api/users", map[string]any{"Username": "x"}, 403, "UserInvite"},
		{"another person", stranger, "GET", "/api/users/admin", nil, 404, "was not found"},
		{"an empty body", s.Key, "POST", "/api/environments", nil, 400, "no body"},
	} {
		a := s.Do(c.key, c.method, c.path, c.body)
		refused(t, c.what, a, c.status)
		if !strings.Contains(string(a.Body), c.says) {
			t.Errorf("%s: %s does not say %q", c.what, a.Body, c.says)
		}
	}
}

// TestSecretsStayInside reads everything that is known of a project with a secret.
func TestSecretsStayInside(t *testing.T) {
	s := apptest.Start(t)
	fill(t, s, "web")
	for _, row := range s.API.Table() {
		if row.Who != api.InSpace || row.Method != http.MethodGet {
			continue
		}
		for _, id := range []string{"Projects-1", "Releases-1", "variableset-Projects-1", "variableset-Releases-1", "deploymentprocess-Releases-1"} {
			path := "/api/Spaces-1" + strings.NewReplacer(":project", "Projects-1", ":id", id, ":version", "1.0.0", ":channel", "Channels-1", ":environment", "Environments-1").Replace(row.Path)
			if a := s.Do(s.Key, "GET", path+"?project=Projects-1", nil); strings.Contains(string(a.Body), "hunter2") {
				t.Errorf("%s tells the secret: %.300s", path, a.Body)
			}
		}
	}
	set := s.Must("GET", "/api/variables/variableset-releases-1", nil)
	if v := set["Variables"].([]any)[1].(map[string]any); v["Name"] != "Secret" || v["Value"] != nil || v["Secret"] != nil {
		t.Errorf("frozen secret = %v", v)
	}
}

func TestSessions(t *testing.T) {
	s := apptest.Start(t)
	token, _, err := s.Instance.SignIn(context.Background(), "admin", apptest.Password, "127.0.0.1", "test")
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Instance.SessionByToken(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, csrf string
		status       int
	}{{"GET", "", 200}, {"POST", "", 403}, {"POST", "wrong", 403}, {"POST", session.CSRF, 201}} {
		req, err := http.NewRequest(c.method, s.URL+"/api/Spaces-1/environments", strings.NewReader(`{"Name": "Test"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", "octopuses_session="+token)
		req.Header.Set("X-Csrf-Token", c.csrf)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s with %q: %d %s", c.method, c.csrf, res.StatusCode, body)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	s := apptest.Start(t)
	made := s.Must("POST", "/api/users/"+s.Admin.APIID()+"/apikeys", map[string]any{"Purpose": "ci"})
	key, ok := made["ApiKey"].(string)
	if !ok || !strings.HasPrefix(key, "API-") {
		t.Fatalf("made = %v", made)
	}
	read := s.Must("GET", made["Links"].(map[string]any)["Self"].(string), nil)
	if v, ok := read["ApiKey"].(map[string]any); !ok || v["HasValue"] != true || strings.Contains(key, "") && v["Hint"] == key {
		t.Errorf("read = %v", read)
	}
	for _, header := range []string{"X-Octopus-ApiKey", "x-octopus-apikey", "Authorization"} {
		req, err := http.NewRequest("GET", s.URL+"/api/users/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		value := key
		if header == "Authorization" {
			value = "bearer " + key
		}
		req.Header[header] = []string{value}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("%s: %d", header, res.StatusCode)
		}
	}
	if a := s.Do(s.Key, "DELETE", read["Links"].(map[string]any)["Self"].(string), nil); a.Status != 200 {
		t.Errorf("delete: %d", a.Status)
	}
	refused(t, "the revoked key", s.Do(key, "GET", "/api/users/me", nil), 401)
}

// TestRoot checks what clients insist on, and that each link of a list answers.
func TestRoot(t *testing.T) {
	s := apptest.Start(t, func(a *api.Server) { a.BaseURL = func() string { return "https://deploy.example/octo" } })
	var root struct {
		Application, Version, ApiVersion, InstallationId string
		Links                                            map[string]string
	}
	s.Do("", "GET", "/api/", nil).Into(t, &root)
	if root.Application == "" || root.ApiVersion == "" || len(root.InstallationId) != 36 || root.Version < "2022.3.5512" {
		t.Errorf("root = %+v", root)
	}
	for name, link := range root.Links {
		path, _, _ := strings.Cut(link, "{")
		path, under := strings.CutPrefix(path, "/octo")
		if !under {
			t.Errorf("link %s = %s is not under the path of the server", name, link)
			continue
		}
		if name == "Web" || name == "SpaceHome" || strings.HasPrefix(name, "Package") && strings.Contains(name, "Delta") || name == "PackagesBulk" || name == "PackageUpload" || strings.HasPrefix(name, "Sign") || strings.HasPrefix(name, "Discover") || name == "BuildInformationBulk" {
			continue // templates without a list, or not for GET
		}
		if name == "VariablePreview" || strings.HasSuffix(name, "SortOrder") || name == "WorkerPoolsSummary" {
			continue
		}
		if a := s.Do(s.Key, "GET", path, nil); a.Status != 200 {
			t.Errorf("link %s: %s answers %d", name, path, a.Status)
		}
	}
}

// TestInterruption answers a question of a task.
func TestInterruption(t *testing.T) {
	s := apptest.Start(t)
	fill(t, s, "web")
	space := s.Space(s.Default)
	defer space.Release()
	err := spaces.Do(context.Background(), space, spaces.Server(), func(tx *spaces.Tx) error {
		return tx.OpenInterruption(spaces.Interruption{TaskID: 1, Kind: "GuidedFailure", Reference: "step-1", Title: "It failed", Message: "What now?", Choices: []spaces.Choice{{Value: "Retry", Label: "Try again"}, {Value: "Fail", Label: "Fail"}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	list := s.Must("GET", "/api/interruptions?pendingOnly=true&regarding=ServerTasks-1", nil)
	i := list["Items"].([]any)[0].(map[string]any)
	if i["IsPending"] != true || i["HasResponsibility"] != true {
		t.Errorf("interruption = %v", i)
	}
	submit := i["Links"].(map[string]any)["Submit"].(string)
	refused(t, "no such answer", s.Do(s.Key, "POST", submit, map[string]any{"Guidance": "Dance"}), 400)
	if done := s.Must("POST", submit, map[string]any{"Guidance": "Retry", "Notes": "again"}); done["IsPending"] != false {
		t.Errorf("answered = %v", done)
	}
	refused(t, "a second answer", s.Do(s.Key, "POST", submit, map[string]any{"Guidance": "Fail"}), 409)
	if list := s.Must("GET", "/api/interruptions?pendingOnly=true", nil); list["TotalResults"] != 0.0 {
		t.Errorf("still pending: %v", list)
	}
}

// TestClone takes channels, process, variables and secrets over.
func TestClone(t *testing.T) {
	s := apptest.Start(t)
	fill(t, s, "web")
	made := s.Must("POST", "/api/projects?clone=Projects-1", map[string]any{"Name": "Copy"})
	id := made["Id"].(string)
	if made["ClonedFromProjectId"] != "Projects-1" {
		t.Errorf("clone = %v", made)
	}
	if process := s.Must("GET", "/api/deploymentprocesses/"+made["DeploymentProcessId"].(string), nil); len(process["Steps"].([]any)) != 1 {
		t.Errorf("process = %v", process)
	}
	if set := s.Must("GET", "/api/variables/"+made["VariableSetId"].(string), nil); len(set["Variables"].([]any)) != 2 {
		t.Errorf("variables = %v", set)
	}
	var names []string
	for _, c := range s.Must("GET", "/api/projects/"+id+"/channels", nil)["Items"].([]any) {
		names = append(names, c.(map[string]any)["Name"].(string))
	}
	if strings.Join(names, " ") != "Default web" {
		t.Errorf("channels = %v", names)
	}
}

// TestDashboard refuses names that a strict client would not know.
func TestDashboard(t *testing.T) {
	s := apptest.Start(t)
	fill(t, s, "web")
	a := s.Do(s.Key, "GET", "/api/Spaces-1/dashboard", nil)
	in := json.NewDecoder(strings.NewReader(string(a.Body)))
	in.DisallowUnknownFields()
	var d struct {
		Id                                                              string
		Items                                                           []map[string]any
		Projects, ProjectGroups, Environments, Tenants                  []map[string]any
		ProjectLimit, IsFiltered, Links, LastModifiedOn, LastModifiedBy any
	}
	if err := in.Decode(&d); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	if len(d.Items) != 1 || d.Items[0]["State"] != "Queued" || len(d.Projects) != 1 || len(d.Environments) != 1 || len(d.ProjectGroups) != 1 {
		t.Errorf("dashboard = %s", a.Body)
	}
	s.FinishTask(s.Default, "ServerTasks-1", spaces.TaskFailed)
	item := s.Must("GET", "/api/dashboard/dynamic?projects=Projects-1", nil)["Items"].([]any)[0].(map[string]any)
	if item["State"] != "Failed" || item["IsCompleted"] != true {
		t.Errorf("item = %v", item)
	}
	if task := s.Must("GET", "/api/tasks/ServerTasks-1", nil); task["FinishedSuccessfully"] != false || task["IsCompleted"] != true {
		t.Errorf("task = %v", task)
	}
}

// TestGuidedFailureOfADeployment is a choice of three: on, off, and what the project says.
func TestGuidedFailureOfADeployment(t *testing.T) {
	s := apptest.Start(t)
	fill(t, s, "web")
	first := s.Must("GET", "/api/deployments", nil)["Items"].([]any)[0].(map[string]any)
	release := s.Must("GET", first["Links"].(map[string]any)["Release"].(string), nil)
	for _, c := range []struct {
		mode string
		said any // nil: null
		want bool
	}{{"On", nil, true}, {"On", false, false}, {"On", true, true}, {"Off", nil, false}, {"Off", true, true}} {
		s.Must("PUT", "/api/projects/"+first["ProjectId"].(string), map[string]any{"DefaultGuidedFailureMode": c.mode})
		old := s.Must("POST", "/api/deployments", map[string]any{"ReleaseId": first["ReleaseId"], "EnvironmentId": first["EnvironmentId"], "UseGuidedFailure": c.said})
		if old["UseGuidedFailure"] != c.want {
			t.Errorf("POST deployments, default %s, said %v: %v", c.mode, c.said, old["UseGuidedFailure"])
		}
		made := s.Must("POST", "/api/Spaces-1/deployments/create/untenanted/v1", map[string]any{"projectName": first["ProjectId"], "releaseVersion": release["Version"], "environmentNames": []any{first["EnvironmentId"]}, "useGuidedFailure": c.said})
		id := made["DeploymentServerTasks"].([]any)[0].(map[string]any)["DeploymentId"].(string)
		if d := s.Must("GET", "/api/deployments/"+id, nil); d["UseGuidedFailure"] != c.want {
			t.Errorf("deployments/create, default %s, said %v: %v", c.mode, c.said, d["UseGuidedFailure"])
		}
	}
	without := s.Must("POST", "/api/deployments", map[string]any{"ReleaseId": first["ReleaseId"], "EnvironmentId": first["EnvironmentId"]})
	if without["UseGuidedFailure"] != false {
		t.Errorf("left out, default Off: %v", without["UseGuidedFailure"])
	}
}

// TestDiscover finds an agent by its address, says no more than its key, and needs the
// permission to add targets.
func TestDiscover(t *testing.T) {
	agent, err := keys.New()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", keys.ServerConfig(agent, func(string) bool { return false }))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); c.(*tls.Conn).Handshake() }()
		}
	}()
	page := httptest.NewTLSServer(http.NotFoundHandler())
	defer page.Close()
	server, _ := keys.New()
	s := apptest.Start(t, func(door *api.Server) { door.Agents = targets.NewDirectory(server, nil) })
	ask := func(key, address string) apptest.Answer {
		host, port, _ := net.SplitHostPort(address)
		return s.Do(key, "GET", "/api/Spaces-1/machines/discover?type=TentaclePassive&host="+host+"&port="+port, nil)
	}
	a := ask(s.Key, l.Addr().String())
	var found struct {
		Name, Thumbprint string
		Endpoint         struct{ CommunicationStyle, Uri, Thumbprint string }
	}
	if err := json.Unmarshal(a.Body, &found); err != nil || a.Status != 200 || found.Endpoint.Thumbprint != agent.Pin || found.Thumbprint != agent.Pin || found.Endpoint.Uri != "https://"+l.Addr().String()+"/" || found.Endpoint.CommunicationStyle != "TentaclePassive" {
		t.Errorf("found = %d %s", a.Status, a.Body)
	}
	refused(t, "a web server", ask(s.Key, page.Listener.Addr().String()), 503)
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	closed.Close()
	refused(t, "nobody", ask(s.Key, closed.Addr().String()), 503)
	_, stranger := s.NewUser("stranger")
	if a := ask(stranger, l.Addr().String()); a.Status != 403 && a.Status != 404 {
		t.Errorf("a stranger: %d %s", a.Status, a.Body)
	}
}

// TestAutomaticEnvironments: who creates a release is told where the lifecycle deploys it
// by itself, as far as they may see deployments there.
func TestAutomaticEnvironments(t *testing.T) {
	s := apptest.Start(t)
	fill(t, s, "web")
	environment := s.Must("GET", "/api/environments", nil)["Items"].([]any)[0].(map[string]any)
	lifecycle := s.Must("GET", "/api/projects/web", nil)["LifecycleId"].(string)
	s.Must("PUT", "/api/lifecycles/"+lifecycle, map[string]any{"Phases": []any{map[string]any{"Name": "First", "AutomaticDeploymentTargets": []any{environment["Id"]}}}})
	made := s.Must("POST", "/api/Spaces-1/releases/create/v1", map[string]any{"projectName": "web", "releaseVersion": "2.0.0"})
	if got := made["AutomaticallyDeployedEnvironments"]; got != "web" {
		t.Errorf("deployed by itself to %v", got)
	}
	all := s.Must("GET", "/api/releases/"+made["ReleaseId"].(string)+"/deployments", nil)["Items"].([]any)
	if len(all) != 1 || all[0].(map[string]any)["EnvironmentId"] != environment["Id"] {
		t.Errorf("deployments: %v", all)
	}
}

// TestTasksOfSpaces: a task is named without its space by clients, so no two spaces of a
// server give the same id, and each is found by it. Who may not enter its space gets
// nothing, and no other's instead.
func TestTasksOfSpaces(t *testing.T) {
	s := apptest.Start(t)
	other := s.NewSpace("Other", s.Admin)
	own, key := s.NewUser("bo")
	third := s.NewSpace("Third", own)
	seen := map[string]string{}
	for range 3 {
		for _, space := range []string{"Spaces-1", other.ID(), third.ID()} {
			by := s.Key
			if space == third.ID() {
				by = key
			}
			var task map[string]any
			s.Do(by, "POST", "/api/"+space+"/tasks", map[string]any{"Name": "Health", "Description": "in " + space}).Into(t, &task)
			id, _ := task["Id"].(string)
			if seen[id] != "" || id == "" {
				t.Fatalf("%s of %s is of %s already: %v", id, space, seen[id], task)
			}
			seen[id] = space
		}
	}
	for id, space := range seen {
		for by, may := range map[string]bool{s.Key: space != third.ID(), key: space == third.ID()} {
			a := s.Do(by, "GET", "/api/tasks/"+id+"/details", nil)
			if !may {
				if a.Status != http.StatusNotFound {
					t.Errorf("%s of %s: %d", id, space, a.Status)
				}
				continue
			}
			if got := a.JSON(t)["Task"].(map[string]any)["SpaceId"]; got != space {
				t.Errorf("%s is of %s, and %v is shown", id, space, got)
			}
		}
	}
}
