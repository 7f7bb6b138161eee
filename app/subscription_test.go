package app

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/execution"
)

// Web hooks get one POST an event, in order, with their header; one that is down gets what
// it missed when it is back, also by another process, and holds up no other.
func TestSubscriptionsAreTold(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const secret, token = "canary-of-the-hook-4711", "canary-of-the-url-4712"
	var mu sync.Mutex
	var told []string
	var wrong []string
	up := true
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !up {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		var in struct {
			EventType string
			Payload   struct {
				ServerUri, ServerAuditUri string
				TotalEventsInBatch        int
				EventNumberInBatch        int
				Subscription              struct{ Name, Id string }
				Event                     struct{ Id, Category, Message, SpaceId string }
			}
		}
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(b, &in)
		}
		if err != nil || r.Header.Get("X-Key") != secret || in.EventType != "SubscriptionPayload" || in.Payload.Subscription.Name != "Stages" || in.Payload.EventNumberInBatch < 1 || !strings.HasSuffix(in.Payload.ServerAuditUri, "/audit") || strings.Contains(string(b), secret) {
			wrong = append(wrong, r.Header.Get("X-Key")+" "+string(b))
		}
		told = append(told, in.Payload.Event.Message)
	}))
	defer hook.Close()
	dead := httptest.NewServer(nil)
	dead.Close()

	log := &lockedBuffer{}
	c := Config{Data: dataWith(t, 2), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute, OutboundLocal: true}
	open := func() (*server, func()) {
		t.Helper()
		s, err := openServer(ctx, c, slog.New(slog.NewTextHandler(log, nil)), new(execution.Masker))
		if err != nil {
			t.Fatal(err)
		}
		_, stop := s.start(t)
		return s, stop
	}
	do := func(s *server, f func(tx *spaces.Tx) error) {
		t.Helper()
		x, err := s.instance.SpaceBy(ctx, "Spaces-1")
		if err == nil {
			err = s.within(ctx, refOf(x), func(space *spaces.Space) error { return spaces.Do(ctx, space, spaces.Server(), f) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stage := func(s *server, name string) {
		t.Helper()
		do(s, func(tx *spaces.Tx) error {
			_, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: name})
			return err
		})
	}
	hears := func(want ...string) {
		t.Helper()
		for range 400 {
			mu.Lock()
			ok := slices.Equal(slices.Compact(slices.Clone(told)), want) // the last may come twice
			mu.Unlock()
			if ok {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("told is %q, want %q", told, want)
	}
	s, stop := open()
	stage(s, "Before")
	value := secret
	var gone spaces.Subscription
	do(s, func(tx *spaces.Tx) error {
		_, err := tx.CreateSubscription(spaces.SubscriptionInput{Name: "Stages", HeaderValue: &value, SubscriptionBody: spaces.SubscriptionBody{WebhookURI: hook.URL + "/x?token=" + token, WebhookHeaderKey: "X-Key", Filter: spaces.EventMatch{EventGroups: []string{"Document"}, DocumentTypes: []string{"environment"}}}})
		if err == nil {
			gone, err = tx.CreateSubscription(spaces.SubscriptionInput{Name: "Nobody there", SubscriptionBody: spaces.SubscriptionBody{WebhookURI: dead.URL}})
		}
		return err
	})
	stage(s, "A")
	stage(s, "B")
	do(s, func(tx *spaces.Tx) error {
		_, err := tx.CreateProjectGroup(spaces.ProjectGroupInput{Name: "No stage"})
		return err
	})
	hears("Environment A was created", "Environment B was created")

	mu.Lock()
	up = false
	mu.Unlock()
	stage(s, "C")
	failing := func() (text string) {
		do(s, func(tx *spaces.Tx) error {
			all, err := tx.Subscriptions(spaces.All)
			for _, x := range all.Items {
				if x.Name == "Stages" {
					text = x.Failing
				}
			}
			return err
		})
		return text
	}
	for i := 0; i < 200 && failing() == ""; i++ {
		time.Sleep(20 * time.Millisecond)
	}
	if why := failing(); !strings.Contains(why, "502") {
		t.Errorf("the subscription says %q", why)
	}
	stage(s, "D")
	stop()
	mu.Lock()
	up = true
	mu.Unlock()
	s, stop = open()
	defer func() { stop() }()
	hears("Environment A was created", "Environment B was created", "Environment C was created", "Environment D was created")
	if why := failing(); why != "" {
		t.Errorf("the subscription still says %q", why)
	}
	if len(wrong) > 0 {
		t.Errorf("wrong: %s", wrong)
	}
	if text := log.String(); strings.Contains(text, secret) || strings.Contains(text, token) {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	if marked, err := s.marked(ctx, spaces.MarkSubscriptions); err != nil || len(marked) != 1 || marked[0].ID != "Spaces-1" {
		t.Errorf("with a dead hook %v are marked, %v", marked, err)
	}
	do(s, func(tx *spaces.Tx) error { return tx.DeleteSubscription(gone.ID) })
	marked := []spaces.Ref{{}}
	for i := 0; i < 200 && len(marked) > 0; i++ {
		var err error
		if marked, err = s.marked(ctx, spaces.MarkSubscriptions); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if len(marked) > 0 {
		t.Error("with all told the space is still marked")
	}
}
