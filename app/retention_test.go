package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces/execution"
)

// Releases that a policy does not keep go without anybody asking the server to, and the
// task says which and why. A space that keeps all gets no task.
func TestRetentionIsApplied(t *testing.T) {
	t.Parallel()
	c := Config{Data: t.TempDir(), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute, TaskCap: 5, RetentionEvery: time.Second, AdminUsername: "ada", AdminPassword: "correct-horse-battery", AdminAPIKey: diskKey}
	s, err := openServer(t.Context(), c, slog.New(slog.DiscardHandler), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	url, stop := s.start(t)
	defer stop()
	do := func(method, path, body string, into any) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Octopus-ApiKey", diskKey)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, b, err)
		}
		if into != nil {
			if err := json.Unmarshal(b, into); err != nil {
				t.Fatal(err)
			}
		}
		return string(b)
	}
	var list struct{ Items []struct{ Id string } }
	for n, name := range []string{"Shop", "Archive"} {
		space := fmt.Sprintf("/api/Spaces-%d", n+1)
		do("POST", "/api/spaces", `{"Name": "`+name+`", "SpaceManagersTeamMembers": ["Users-1"]}`, nil)
		do("GET", space+"/projectgroups", "", &list)
		group := list.Items[0].Id
		do("GET", space+"/lifecycles", "", &list)
		lifecycle := list.Items[0].Id
		if name == "Shop" {
			do("PUT", space+"/lifecycles/"+lifecycle, `{"Id": "`+lifecycle+`", "Name": "Default", "Phases": [], "ReleaseRetentionPolicy": {"Unit": "Items", "QuantityToKeep": 1, "ShouldKeepForever": false}}`, nil)
		}
		do("POST", space+"/projects", `{"Name": "Web", "ProjectGroupId": "`+group+`", "LifecycleId": "`+lifecycle+`"}`, nil)
		for _, v := range []string{"1.0.0", "1.0.1", "1.0.2"} {
			do("POST", space+"/releases", `{"ProjectId": "Projects-1", "ChannelId": "Channels-1", "Version": "`+v+`"}`, nil)
		}
	}
	var releases struct {
		Items []struct{ Version string }
	}
	for range 200 {
		if do("GET", "/api/Spaces-1/projects/Projects-1/releases", "", &releases); len(releases.Items) == 1 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(releases.Items) != 1 || releases.Items[0].Version != "1.0.2" {
		t.Fatalf("left are %+v", releases.Items)
	}
	do("GET", "/api/Spaces-1/tasks?name=Retention", "", &list)
	if len(list.Items) == 0 {
		t.Fatal("there is no task")
	}
	first := list.Items[len(list.Items)-1].Id
	text := do("GET", "/api/Spaces-1/tasks/"+first+"/raw", "", nil)
	for _, line := range []string{"Web 1.0.0 was deleted: it was never deployed", "Web 1.0.1 was deleted", "2 releases are over the limit, 1 are kept by a policy"} {
		if !strings.Contains(text, line) {
			t.Errorf("the log does not say %q:\n%s", line, text)
		}
	}
	if do("GET", "/api/Spaces-2/tasks", "", &list); len(list.Items) > 0 {
		t.Errorf("a space that keeps all has tasks: %+v", list.Items)
	}
	if do("GET", "/api/Spaces-2/projects/Projects-1/releases", "", &releases); len(releases.Items) != 3 {
		t.Errorf("of a project that keeps all are left %+v", releases.Items)
	}
}
