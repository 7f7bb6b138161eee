package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/views"
)

// BenchmarkDashboard asks a running server for dashboards. "page" is the browser's, its
// first 50 projects; "whole" is that of the API, with all of them. Budgets: 4 ms for the
// page of 50 projects by 6 environments; of 2,000 by 10, with a million deployments behind
// them, 50 ms for the page and 300 ms for the whole, and as long with 20,000 behind them.
func BenchmarkDashboard(b *testing.B) {
	for _, size := range []spacetest.Size{{Projects: 50, Environments: 6, Deployments: 3_000}, {Projects: 2_000, Environments: 10, Deployments: 20_000}, {Projects: 2_000, Environments: 10, Deployments: 1_000_000}} {
		b.Run(fmt.Sprintf("%dx%d/deployments=%d", size.Projects, size.Environments, size.Deployments), func(b *testing.B) {
			ctx := context.Background()
			c := Config{Data: dataWith(b, 1), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute}
			s, err := openServer(ctx, c, quiet(), new(execution.Masker))
			if err != nil {
				b.Fatal(err)
			}
			row, err := s.instance.DefaultSpace(ctx)
			if err != nil {
				b.Fatal(err)
			}
			space, err := s.spaces.Acquire(ctx, refOf(row))
			if err != nil {
				b.Fatal(err)
			}
			spacetest.Fill(b, space, size)
			space.Release()
			session, user, err := s.instance.SignIn(ctx, "ada", "correct-horse-battery", "127.0.0.1", "benchmark")
			if err != nil {
				b.Fatal(err)
			}
			_, key, err := s.instance.CreateAPIKey(ctx, instance.System(), user, "benchmark", nil, "")
			if err != nil {
				b.Fatal(err)
			}
			url, stop := s.start(b)
			defer stop()
			for _, want := range []struct{ name, path string }{{"page", views.DashboardURL(row.Slug)}, {"whole", "/api/" + row.ID() + "/dashboard"}} {
				b.Run(want.name, func(b *testing.B) {
					size := 0
					for b.Loop() {
						req, err := http.NewRequest("GET", url+want.path, nil)
						if err != nil {
							b.Fatal(err)
						}
						if want.name == "page" {
							req.AddCookie(&http.Cookie{Name: "octopuses_session", Value: session})
						} else {
							req.Header.Set("X-Octopus-ApiKey", key)
						}
						res, err := http.DefaultClient.Do(req)
						if err != nil {
							b.Fatal(err)
						}
						body, err := io.ReadAll(res.Body)
						if err != nil || res.StatusCode != http.StatusOK {
							b.Fatalf("%s, %v: %.300s", res.Status, err, body)
						}
						res.Body.Close()
						size = len(body)
					}
					b.ReportMetric(float64(size)/1024, "KiB")
				})
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}
