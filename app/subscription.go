package app

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces"
)

const (
	hookBatch   = 100              // events that are looked at at once
	hookSpaces  = 8                // spaces that are worked on at once
	hookLook    = 20 * time.Second // a command at the console wakes nobody
	hookRetry   = 15 * time.Minute // the longest pause after a failure
	hookTimeout = time.Minute      // the longest that a subscription can ask for
)

// eventsFor is spaces.Config.Notify. It never blocks: what finds no place is found by a look.
func (s *server) eventsFor(ref spaces.Ref) {
	select {
	case s.hooks <- ref:
	default:
	}
}

// tellSubscriptions posts events to the web hooks of subscriptions, in each space in their
// order, each at least once. A cursor for each subscription moves when its event was received;
// one that fails is tried again later and holds up no other.
func (s *server) tellSubscriptions(ctx context.Context) error {
	h := &hookRun{server: s, client: outbound.Guard{Local: s.cfg.OutboundLocal}.Client(hookTimeout, nil), pauses: map[string]*hookPause{}, later: map[string]time.Time{}}
	defer h.client.CloseIdleConnections()
	look := time.NewTicker(hookLook)
	defer look.Stop()
	woken := map[string]bool{}
	for {
		if err := h.pass(ctx, woken); err != nil && ctx.Err() == nil {
			s.log.Error("tell subscriptions", "err", err)
		}
		clear(woken)
		var due <-chan time.Time
		if at := h.next(); !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return nil
		case ref := <-s.hooks:
			woken[ref.Folder] = true
		case <-due:
		case <-look.C:
		}
		for more := true; more; { // what happened at once goes together
			select {
			case ref := <-s.hooks:
				woken[ref.Folder] = true
			default:
				more = false
			}
		}
	}
}

// hookRun is owned by the goroutine of tellSubscriptions, but for what mu guards.
type hookRun struct {
	*server
	client *http.Client

	mu     sync.Mutex
	pauses map[string]*hookPause // by folder and id, of subscriptions that fail
	later  map[string]time.Time  // by folder: nothing to do before, unless something happens
}

type hookPause struct {
	wait time.Duration
	at   time.Time // of the next try
}

// next is when the first of those that fail is tried again; zero: none fails.
func (h *hookRun) next() (at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.later {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	return at
}

// pass works on the marked spaces that are due or woken; others are not opened.
func (h *hookRun) pass(ctx context.Context, woken map[string]bool) error {
	refs, err := h.marked(ctx, spaces.MarkSubscriptions)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(hookSpaces)
	known := map[string]bool{}
	for _, ref := range refs {
		known[ref.Folder] = true
		h.mu.Lock()
		wait := !woken[ref.Folder] && time.Now().Before(h.later[ref.Folder])
		if !wait {
			delete(h.later, ref.Folder)
		}
		h.mu.Unlock()
		if wait {
			continue
		}
		group.Go(func() error {
			if err := h.within(ctx, ref, func(space *spaces.Space) error { return h.space(ctx, space, ref) }); err != nil && ctx.Err() == nil {
				h.log.Error("tell the subscriptions of a space", "space", ref.ID, "err", err)
				h.put(ref, time.Now().Add(hookRetry))
			}
			return nil
		})
	}
	_ = group.Wait() // all errors are in the log
	h.mu.Lock()
	defer h.mu.Unlock()
	for folder := range h.later {
		if !known[folder] {
			delete(h.later, folder)
		}
	}
	return nil
}

// put says when a space is due again; the earliest counts.
func (h *hookRun) put(ref spaces.Ref, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.later[ref.Folder]; !ok || at.Before(old) {
		h.later[ref.Folder] = at
	}
}

// space tells each subscription that is due what waits for it.
func (h *hookRun) space(ctx context.Context, space *spaces.Space, ref spaces.Ref) error {
	waiting, err := spaces.View(ctx, space, spaces.Server(), (*spaces.ReadTx).Waiting)
	if err != nil {
		return err
	}
	for _, id := range waiting {
		key := ref.Folder + "/" + id.String()
		h.mu.Lock()
		pause := h.pauses[key]
		h.mu.Unlock()
		if pause != nil && time.Now().Before(pause.at) {
			h.put(ref, pause.at)
			continue
		}
		failed, err := h.subscription(ctx, space, ref, id)
		if err != nil {
			return err
		}
		if failed == nil {
			h.mu.Lock()
			delete(h.pauses, key)
			h.mu.Unlock()
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if pause == nil {
			pause = &hookPause{wait: time.Second}
			h.log.Warn("a web hook does not take events; they are kept for it", "space", ref.ID, "subscription", id.String(), "err", failed)
		}
		pause.at = time.Now().Add(pause.wait/2 + rand.N(pause.wait))
		pause.wait = min(2*pause.wait, hookRetry)
		h.mu.Lock()
		h.pauses[key] = pause
		h.mu.Unlock()
		h.put(ref, pause.at)
		if err := spaces.Do(ctx, space, spaces.Server(), func(tx *spaces.Tx) error { return tx.NotNotified(id, failed.Error()) }); err != nil {
			return err
		}
	}
	_, err = space.AllNotified(ctx)
	return err
}

// subscription posts what waits, until nothing does or a try fails.
func (h *hookRun) subscription(ctx context.Context, space *spaces.Space, ref spaces.Ref, id spaces.SubscriptionID) (failed, err error) {
	for ctx.Err() == nil {
		var batch []spaces.Notification
		var through spaces.EventID
		_, err := spaces.View(ctx, space, spaces.Server(), func(tx *spaces.ReadTx) (struct{}, error) {
			var err error
			batch, through, err = tx.Notifications(id, hookBatch)
			return struct{}{}, err
		})
		if err != nil || through == 0 {
			return nil, err
		}
		batchID, began := spaces.NewULID(time.Now()), time.Now()
		for _, n := range batch {
			if failed := h.post(ctx, ref, n, batchID, began); failed != nil {
				return failed, nil
			}
			if err := spaces.Do(ctx, space, spaces.Server(), func(tx *spaces.Tx) error { return tx.Notified(id, n.Event.ID, true) }); err != nil {
				return nil, err
			}
		}
		if err := spaces.Do(ctx, space, spaces.Server(), func(tx *spaces.Tx) error { return tx.Notified(id, through, false) }); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// post tells one event. An answer of 2xx means that it was received.
func (h *hookRun) post(ctx context.Context, ref spaces.Ref, n spaces.Notification, batch string, began time.Time) error {
	body, err := api.SubscriptionPayload(ref.ID, ref.Slug, h.url, n, batch, began)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, n.Subscription.WebhookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.Subscription.WebhookURI, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "octopuses")
	if n.HeaderValue != "" {
		req.Header.Set(n.Subscription.WebhookHeaderKey, n.HeaderValue)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return outbound.Cause(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the web hook answers %s", res.Status)
	}
	return nil
}
