package app

import (
	"context"
	"math/rand/v2"
	"os"
	"reflect"
	"time"

	"octopuses.dev/octopuses/app/collector"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/audit"
)

const (
	streamBatch = 200              // entries that are sent at once
	streamPause = time.Second      // between two looks: what happens meanwhile goes together
	streamLook  = 20 * time.Second // a command at the console wakes nobody
	streamRetry = 5 * time.Minute  // the longest pause after a failure
)

// auditRecorded is told that there may be something for the collector. It never blocks.
func (s *server) auditRecorded() {
	select {
	case s.auditWake <- struct{}{}:
	default:
	}
}

// streamedTo is spaces.Config.Audited of every process that opens spaces: one that did not
// know of the collector would take marks off that are for it.
func streamedTo(i *instance.Instance) func() (spaces.EventReader, bool) {
	return func() (spaces.EventReader, bool) {
		name, since, ok := i.Streamed()
		return spaces.EventReader{Name: name, Since: since}, ok
	}
}

// streamAudit sends the server's own events and those of the spaces that are marked to the
// collector, each ledger in its order. A cursor beside each ledger moves when a batch was
// received, so nothing is lost while the collector or this server is down; the last batch
// may come twice. While the collector is down no space is opened or held.
func (s *server) streamAudit(ctx context.Context) error {
	st := &auditStream{server: s}
	defer st.close()
	look := time.NewTicker(streamLook)
	defer look.Stop()
	for {
		if err := st.pass(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("stream the audit", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(streamPause):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.auditWake:
		case <-look.C:
		}
	}
}

// auditStream is owned by the goroutine of streamAudit.
type auditStream struct {
	*server
	to     instance.Collector
	sender collector.Sender // nil: there is none
}

func (st *auditStream) close() {
	if st.sender != nil {
		st.sender.Close()
		st.sender = nil
	}
}

// current makes a sender for the collector as it is set up now, and reports whether there is
// one that wants something.
func (st *auditStream) current(ctx context.Context) (bool, error) {
	c, ok, err := st.instance.Collector(ctx)
	if err != nil {
		return false, err
	}
	if !ok || !c.IsEnabled {
		st.close()
		return false, nil
	}
	if st.sender != nil && reflect.DeepEqual(c, st.to) {
		return true, nil
	}
	st.close()
	host, _ := os.Hostname()
	st.sender, err = collector.New(collector.Config{Kind: c.Kind, Address: c.Address, Token: c.Token, Roots: c.Roots, Host: host}, outbound.Guard{Local: st.cfg.OutboundLocal})
	st.to = c
	return err == nil, err
}

// pass sends everything that there is.
func (st *auditStream) pass(ctx context.Context) error {
	if ok, err := st.current(ctx); !ok {
		return err
	}
	for {
		batch, err := st.instance.EventsFor(ctx, st.to, streamBatch)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			break
		}
		lines := make([]audit.Line, len(batch))
		for n, e := range batch {
			lines[n] = e.Line()
		}
		if ok, err := st.deliver(ctx, lines); !ok {
			return err
		}
		if err := st.instance.EventsRead(ctx, st.to, batch[len(batch)-1].ID); err != nil {
			return err
		}
	}
	refs, err := st.marked(ctx, spaces.MarkAudit)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		ok, err := st.space(ctx, ref)
		if err != nil && ctx.Err() == nil { // others are not to wait for a space that does not open
			st.log.Error("stream the audit of a space", "space", ref.ID, "err", err)
		} else if !ok {
			return nil
		}
	}
	return nil
}

// space sends what a space has, and takes its mark off. ok is false when the collector was
// changed meanwhile.
func (st *auditStream) space(ctx context.Context, ref spaces.Ref) (ok bool, err error) {
	reader, _ := streamedTo(st.instance)()
	for {
		var lines []audit.Line
		var last spaces.EventID
		err := st.within(ctx, ref, func(space *spaces.Space) error {
			batch, err := spaces.View(ctx, space, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Event, error) { return tx.EventsFor(reader, streamBatch) })
			for _, e := range batch {
				line := e.Line(ref.ID)
				line.SpaceName = ref.Name
				lines, last = append(lines, line), e.ID
			}
			if err == nil && len(batch) == 0 {
				_, err = space.AllRead(ctx)
			}
			return err
		})
		if err != nil || len(lines) == 0 {
			return err == nil, err
		}
		// Not within the lease: a collector that is down for days keeps no space open.
		if ok, err := st.deliver(ctx, lines); !ok {
			return false, err
		}
		err = st.within(ctx, ref, func(space *spaces.Space) error {
			return spaces.Do(ctx, space, spaces.Server(), func(tx *spaces.Tx) error { return tx.EventsRead(reader, last) })
		})
		if err != nil {
			return false, err
		}
	}
}

// deliver tries until the batch was received, with pauses that grow. It gives up when the
// server stops or the collector is changed: then ok is false.
func (st *auditStream) deliver(ctx context.Context, lines []audit.Line) (ok bool, err error) {
	for pause := time.Second; ; pause = min(2*pause, streamRetry) {
		err := st.sender.Send(ctx, lines)
		now := time.Now()
		if err == nil {
			st.gauge.Sent(len(lines), now)
			return true, nil
		}
		if ctx.Err() != nil {
			return false, nil
		}
		wait := pause/2 + rand.N(pause)
		if st.gauge.Status().Failing == "" {
			st.log.Warn("the collector of the audit does not take entries; they are kept for it", "err", err)
		}
		st.gauge.Failed(err, now, now.Add(wait))
		for until := now.Add(wait); time.Now().Before(until); {
			select {
			case <-ctx.Done():
				return false, nil
			case <-time.After(min(time.Second, time.Until(until))):
			}
			c, there, err := st.instance.Collector(ctx)
			if err != nil || !there || !reflect.DeepEqual(c, st.to) {
				return false, err
			}
		}
	}
}

// auditStatus is how streaming goes, for the doors.
func (s *server) auditStatus(ctx context.Context) (collector.Status, error) {
	out := s.gauge.Status()
	refs, err := s.marked(ctx, spaces.MarkAudit)
	out.Waiting = len(refs)
	return out, err
}
