package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

// health asks targets what they are and how they do.
func (t *run) health(ctx context.Context) error {
	list, err := spaces.View(ctx, t.space, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Target, error) {
		if t.task.TargetID != 0 {
			one, err := tx.Target(t.task.TargetID)
			return []spaces.Target{one}, err
		}
		page, err := tx.Targets(spaces.TargetFilter{ListOptions: spaces.All})
		return page.Items, err
	})
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	window := make(chan struct{}, 20)
	var mu sync.Mutex
	bad := 0
	for _, m := range list {
		if m.IsDisabled {
			continue
		}
		group.Go(func() {
			window <- struct{}{}
			defer func() { <-window }()
			health, summary, version, system := t.ask(ctx, m)
			category := "Info"
			if health != spaces.Healthy {
				category = "Warning"
				mu.Lock()
				bad++
				mu.Unlock()
			}
			t.log.target(0, m.Name, "", category, health+": "+summary)
			err := spaces.Do(ctx, t.space, spaces.Server(), func(tx *spaces.Tx) error { return tx.SetTargetHealth(m.ID, health, summary, version, system) })
			if err != nil && ctx.Err() == nil {
				t.r.cfg.Logger.Error("store health", "target", m.ID.String(), "err", err)
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return spaces.Do(ctx, t.space, spaces.Server(), func(tx *spaces.Tx) error {
		return tx.FinishTask(t.task.ID, spaces.TaskSuccess, "", bad > 0)
	})
}

func (t *run) ask(ctx context.Context, m spaces.Target) (health, summary, version, system string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tr, err := t.r.cfg.Transports.Transport(targets.Machine{Style: m.Style, URI: m.URI, Thumbprint: m.Thumbprint})
	if err != nil {
		return spaces.Unavailable, errs.TextOf(err), "", ""
	}
	h, err := tr.Hello(ctx)
	if err != nil {
		return spaces.Unavailable, errs.TextOf(err), "", ""
	}
	switch {
	case !h.Bash:
		return spaces.Unhealthy, "There is no bash on this machine.", h.Version, h.OperatingSystem
	case h.DiskFree < 500<<20:
		return spaces.HasWarnings, fmt.Sprintf("Only %s are free on its disk.", packages.Bytes(h.DiskFree)), h.Version, h.OperatingSystem
	}
	return spaces.Healthy, fmt.Sprintf("Agent %s on %s, %s free.", h.Version, h.Hostname, packages.Bytes(h.DiskFree)), h.Version, h.OperatingSystem
}
