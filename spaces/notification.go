package spaces

import (
	"context"
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/access"
)

// Notification is an event that a subscription is to be told.
type Notification struct {
	Subscription Subscription
	HeaderValue  string // opened; for the request and for nothing else
	Event        Event
	Number, Of   int // within the batch, from 1
}

// Notifications are the next events for a subscription, at most take, oldest first; through
// is the last event that was looked at. Only the server reads them.
func (tx *ReadTx) Notifications(id SubscriptionID, take int) (out []Notification, through EventID, err error) {
	if !tx.Actor.System {
		return nil, 0, access.Missing(access.AdministerSystem)
	}
	s, err := tx.subscription(id)
	if err != nil || s.IsDisabled {
		return nil, 0, err
	}
	header := ""
	if s.header != 0 {
		if header, err = tx.secret(s.header); err != nil {
			return nil, 0, err
		}
	}
	events, err := tx.EventsFor(id.cursor(), take)
	if err != nil {
		return nil, 0, err
	}
	sight := &sight{tx: tx, p: access.EventView, groups: map[ProjectID]string{}}
	for _, e := range events {
		through = e.ID
		ok, err := s.Filter.takes(sight, e)
		if err != nil {
			return nil, 0, err
		}
		if ok {
			out = append(out, Notification{Subscription: s, HeaderValue: header, Event: e})
		}
	}
	for i := range out {
		out[i].Number, out[i].Of = i+1, len(out)
	}
	return out, through, nil
}

// takes reports whether the filter chooses an event.
func (f EventMatch) takes(s *sight, e Event) (bool, error) {
	has := func(list []string, text string) bool {
		return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, text) })
	}
	if len(f.EventCategories)+len(f.EventGroups) > 0 && !has(f.EventCategories, e.Category) && !slices.ContainsFunc(EventGroups(), func(g EventGroup) bool { return has(f.EventGroups, g.ID) && slices.Contains(g.Categories, e.Category) }) {
		return false, nil
	}
	for _, x := range []struct {
		list []string
		text string
	}{{f.DocumentTypes, e.Entity}, {f.Users, e.ActorID}, {f.Environments, e.EnvironmentID.String()}} {
		if len(x.list) > 0 && !has(x.list, x.text) {
			return false, nil
		}
	}
	if len(f.Projects)+len(f.ProjectGroups) == 0 || has(f.Projects, e.ProjectID.String()) {
		return true, nil
	}
	if len(f.ProjectGroups) == 0 || e.ProjectID == 0 {
		return false, nil
	}
	group, err := s.group(e.ProjectID)
	return has(f.ProjectGroups, group), err
}

// Notified says that a subscription is done with the events up to one, and whether the last
// of them was received (sent) or passed by.
func (tx *Tx) Notified(id SubscriptionID, through EventID, sent bool) error {
	if err := tx.EventsRead(id.cursor(), through); err != nil || !sent {
		return err
	}
	_, err := tx.exec(`UPDATE subscription SET sent_at = ?, failing = '', failing_since = NULL WHERE id = ?`, formatTime(tx.Now), int64(id))
	tx.changed("subscriptions")
	return err
}

// NotNotified says why a try failed.
func (tx *Tx) NotNotified(id SubscriptionID, why string) error {
	_, err := tx.exec(`UPDATE subscription SET failing = ?, failing_since = COALESCE(failing_since, ?) WHERE id = ?`, why, formatTime(tx.Now), int64(id))
	tx.changed("subscriptions")
	return err
}

// Waiting lists the subscriptions with events that were not looked at.
func (tx *ReadTx) Waiting() ([]SubscriptionID, error) {
	return list(tx, func(scan func(...any) error) (id SubscriptionID, err error) { return id, scan(&id) },
		`SELECT s.id FROM subscription s JOIN cursor c ON c.name = 'subscription/' || s.id WHERE s.is_disabled = 0 AND EXISTS (SELECT 1 FROM event e WHERE e.id > c.position) ORDER BY s.id`)
}

// AllNotified takes [MarkSubscriptions] off if nothing waits. The file is locked against an
// event in between.
func (s *Space) AllNotified(ctx context.Context) (bool, error) {
	return Update(ctx, s, Server(), func(tx *Tx) (bool, error) {
		waiting, err := tx.Waiting()
		if err != nil || len(waiting) > 0 || !s.marks[MarkSubscriptions] {
			return err == nil && len(waiting) == 0, err
		}
		return true, s.setMarks(tx.ctx, nil, []string{MarkSubscriptions})
	})
}
