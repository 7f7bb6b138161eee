package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/agent"
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
	do := calls(t, url)
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

// calls are requests to the API of a server as its administrator. They must succeed.
func calls(t *testing.T, url string) func(method, path, body string) string {
	return func(method, path, body string) string {
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
}

// A polling agent that comes late, or back, is found healthy then, not at the next check.
func TestAgentThatComesIsAsked(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := free.Addr().String()
	free.Close()
	c := Config{Data: t.TempDir(), Listen: "127.0.0.1:0", Agents: door, AgentsAddress: door, Zones: "off", Stop: time.Minute, TaskCap: 5, HealthEvery: time.Hour, AdminUsername: "ada", AdminPassword: "correct-horse-battery", AdminAPIKey: diskKey}
	s, err := openServer(t.Context(), c, slog.New(slog.DiscardHandler), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	url, stop := s.start(t)
	defer stop()
	do := calls(t, url)
	do("POST", "/api/spaces", `{"Name": "Shop", "SpaceManagersTeamMembers": ["Users-1"]}`)
	do("POST", "/api/Spaces-1/environments", `{"Name": "Test"}`)
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(do("POST", "/api/Spaces-1/machines/registration", `{"EnvironmentIds": ["Environments-1"], "Roles": ["web"]}`)), &token); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "late")
	if _, err := agent.Register(t.Context(), agent.RegisterOptions{Root: root, Token: token.Token, Name: "late"}); err != nil {
		t.Fatal(err)
	}
	until := func(health string) {
		t.Helper()
		for range 400 {
			if strings.Contains(do("GET", "/api/Spaces-1/machines", ""), `"HealthStatus":"`+health+`"`) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("the target is not %s: %s", health, do("GET", "/api/Spaces-1/tasks", ""))
	}
	until("Unavailable")
	a, err := agent.Open(agent.Options{Root: root, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	until("Healthy")
}
