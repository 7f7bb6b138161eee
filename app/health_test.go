package app

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces/execution"
)

// Targets are asked for their health without anybody asking the server to.
func TestHealthIsChecked(t *testing.T) {
	t.Parallel()
	c := Config{Data: t.TempDir(), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute, TaskCap: 5, HealthEvery: time.Second, AdminUsername: "ada", AdminPassword: "correct-horse-battery", AdminAPIKey: diskKey}
	s, err := openServer(t.Context(), c, slog.New(slog.DiscardHandler), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	url, stop := s.start(t)
	defer stop()
	do := func(method, path, body string) string {
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
		return string(b)
	}
	do("POST", "/api/spaces", `{"Name": "Shop", "SpaceManagersTeamMembers": ["Users-1"]}`)
	do("POST", "/api/Spaces-1/environments", `{"Name": "Test"}`)
	do("POST", "/api/Spaces-1/machines", `{"Name": "gone", "EnvironmentIds": ["Environments-1"], "Roles": ["web"], "Endpoint": {"CommunicationStyle": "TentaclePassive", "Uri": "https://127.0.0.1:1/", "Thumbprint": "`+strings.Repeat("ab", 32)+`"}}`)
	for range 200 {
		if strings.Contains(do("GET", "/api/Spaces-1/machines", ""), `"HealthStatus":"Unavailable"`) {
			if tasks := do("GET", "/api/Spaces-1/tasks?name=Health", ""); !strings.Contains(tasks, "all deployment targets") {
				t.Errorf("tasks: %s", tasks)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("a target that is gone is not found out")
}
