package spaces

import (
	"context"
	"slices"
	"strings"
	"time"
)

// A mark tells, outside of a space's file, that the space has something to do without
// being asked. A starting server opens the spaces with marks and no other; an agent that
// calls is let in by them. A mark is durable before the commit of what it stands for and
// goes after the commit of its end, so that a crash between the two files leaves a mark
// too many and never one too few. Opening a space puts its marks right.
const (
	MarkWork    = "work"    // tasks or promotions that are not finished
	MarkLinks   = "links"   // active links that this side dials
	MarkTargets = "targets" // deployment targets, whose health is asked for now and then
	// MarkRetention is for releases in a space with a policy that does not keep all.
	MarkRetention = "retention"
	MarkAudit     = "audit" // events that the collector of the audit has not got
	// MarkSubscriptions is for events that some subscription was not told of.
	MarkSubscriptions = "subscriptions"
	markAgent         = "agent/"
	markArchive       = "archive/"
)

// ArchiveMark is the mark of a space whose oldest event is of a day, "2006-01-02": it has
// something to archive once that day is beyond the retention, and is not opened before.
// ArchiveMark("") is before them all.
func ArchiveMark(day string) string { return markArchive + day }

// AgentMark is the mark of a space with a polling agent of this thumbprint.
func AgentMark(thumbprint string) string { return markAgent + strings.ToLower(thumbprint) }

// Marks keeps the marks of the spaces of a server. Calls for one space never overlap.
type Marks interface {
	// Marks lists those of a space, in any order.
	Marks(ctx context.Context, ref Ref) ([]string, error)
	// Mark adds and removes some. It is durable when it returns. Adding what is there and
	// removing what is not are no errors.
	Mark(ctx context.Context, ref Ref, add, remove []string) error
}

// topicAgents is changed when a target, and with it a polling agent, may have come or gone.
const topicAgents = "agents"

// standing are the marks that follow from the rows alone: all but [MarkWork], which the
// runner takes off when it has looked.
func (tx *ReadTx) standing() ([]string, error) {
	marks, err := list(tx, func(scan func(...any) error) (string, error) {
		var p string
		err := scan(&p)
		return AgentMark(p), err
	}, `SELECT thumbprint FROM target WHERE style = '`+StylePolling+`'`) // a literal, for the index of these alone
	if err != nil {
		return nil, err
	}
	dials, err := one[bool](tx, `SELECT EXISTS (SELECT 1 FROM zone_link WHERE mode = ? AND state = ?)`, ModeWeDial, string(LinkActive))
	if err != nil {
		return nil, err
	}
	if dials {
		marks = append(marks, MarkLinks)
	}
	targets, err := one[bool](tx, `SELECT EXISTS (SELECT 1 FROM target)`)
	if targets {
		marks = append(marks, MarkTargets)
	}
	if err != nil {
		return nil, err
	}
	retains, err := tx.retains()
	if retains {
		marks = append(marks, MarkRetention)
	}
	if err != nil {
		return nil, err
	}
	oldest, err := one[string](tx, `SELECT coalesce((SELECT at FROM event ORDER BY id LIMIT 1), '')`)
	if oldest != "" {
		marks = append(marks, ArchiveMark(oldest[:len(time.DateOnly)]))
	}
	if err != nil {
		return nil, err
	}
	unread, err := tx.unread()
	if unread {
		marks = append(marks, MarkAudit)
	}
	if err != nil {
		return nil, err
	}
	waiting, err := tx.Waiting()
	if len(waiting) > 0 {
		marks = append(marks, MarkSubscriptions)
	}
	return marks, err
}

// mark sets, before the commit, the marks that the transaction calls for. late reports
// that others have lost their reason, which [Space.unmark] looks after once it is durable.
func (tx *Tx) mark() (late bool, err error) {
	s := tx.Space
	if s.marks == nil {
		return false, nil
	}
	var add []string
	if tx.isChanged(TopicQueue) || tx.isChanged(TopicLinks) {
		add = append(add, MarkWork)
	}
	if tx.isChanged("releases") && !s.marks[MarkRetention] {
		retains, err := tx.retains()
		if err != nil {
			return false, err
		}
		if retains {
			add = append(add, MarkRetention)
		}
	}
	if len(tx.events) > 0 {
		if !s.dated {
			add = append(add, ArchiveMark(tx.Now.Format(time.DateOnly)))
		}
		if _, streamed := s.audited(); streamed {
			add = append(add, MarkAudit)
		}
		told, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM subscription WHERE is_disabled = 0)`)
		if err != nil {
			return false, err
		}
		if tx.notify = told; told {
			add = append(add, MarkSubscriptions)
		}
	}
	if tx.isChanged("links") || tx.isChanged(topicAgents) || tx.isChanged("lifecycles") {
		want, err := tx.standing()
		if err != nil {
			return false, err
		}
		add = append(add, want...)
		for m := range s.marks {
			late = late || m != MarkWork && !slices.Contains(want, m)
		}
	}
	return late, s.setMarks(tx.ctx, add, nil)
}

func (tx *Tx) isChanged(topic string) bool {
	_, ok := tx.topics[topic]
	return ok
}

// unmark takes off the marks whose reason is gone from the file. The file is locked
// against a change that would bring one back.
func (s *Space) unmark(ctx context.Context) error {
	return Do(ctx, s, Server(), func(tx *Tx) error {
		want, err := tx.standing()
		if err != nil {
			return err
		}
		var gone []string
		for m := range s.marks {
			if m != MarkWork && !slices.Contains(want, m) {
				gone = append(gone, m)
			}
		}
		return s.setMarks(ctx, want, gone)
	})
}

// setMarks changes marks where they differ from what is known.
func (s *Space) setMarks(ctx context.Context, add, remove []string) error {
	add = slices.DeleteFunc(add, func(m string) bool { return s.marks[m] })
	if len(add) == 0 && len(remove) == 0 {
		return nil
	}
	if err := s.store.Mark(ctx, s.ref, add, remove); err != nil {
		return err
	}
	for _, m := range remove {
		delete(s.marks, m)
		s.dated = s.dated && !strings.HasPrefix(m, markArchive)
	}
	for _, m := range add {
		s.marks[m] = true
		s.dated = s.dated || strings.HasPrefix(m, markArchive)
	}
	return nil
}

// checkMarks puts the marks right when the space is opened: the file may be a copy, or a
// crash may have come between it and them.
func (s *Space) checkMarks(ctx context.Context, store Marks) error {
	if store == nil {
		return nil
	}
	known, err := store.Marks(ctx, s.ref)
	if err != nil {
		return err
	}
	s.store, s.marks = store, map[string]bool{}
	for _, m := range known {
		s.marks[m] = true
		s.dated = s.dated || strings.HasPrefix(m, markArchive)
	}
	want, err := View(ctx, s, Server(), (*ReadTx).standing)
	if err != nil {
		return err
	}
	right := true
	for _, m := range want {
		right = right && s.marks[m]
	}
	for _, m := range known {
		right = right && (m == MarkWork || slices.Contains(want, m))
	}
	if right {
		return nil
	}
	return s.unmark(ctx)
}

// Idle takes [MarkWork] off if quiet still says so inside a writing transaction.
func (s *Space) Idle(ctx context.Context, quiet func(tx *Tx) (bool, error)) (bool, error) {
	return Update(ctx, s, Server(), func(tx *Tx) (bool, error) {
		ok, err := quiet(tx)
		if err != nil || !ok || !s.marks[MarkWork] {
			return ok && err == nil, err
		}
		return true, s.setMarks(tx.ctx, nil, []string{MarkWork})
	})
}
