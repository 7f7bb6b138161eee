package zones_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
)

// set holds, queues or cancels the message of a promotion, as its page does.
func (z *zone) set(actor spaces.Actor, id spaces.PromotionID, state spaces.OutboxState) error {
	return spaces.Do(ctx, z.space, actor, func(tx *spaces.Tx) error {
		m, err := tx.MessageOf(id)
		if err != nil {
			return err
		}
		return tx.SetOutbox(m.ID, state)
	})
}

// message is where the message of a promotion stands.
func (z *zone) message(id spaces.PromotionID) spaces.OutboxItem {
	z.t.Helper()
	return view(z, func(tx *spaces.ReadTx) (spaces.OutboxItem, error) { return tx.MessageOf(id) })
}

// A message in the queue can be held back and let go, or canceled, until the other side
// has it. Meanwhile those behind it go their way.
func TestQueueIsHeldAndCanceled(t *testing.T) {
	for _, prodDials := range []bool{true, false} {
		dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
		l := wired(t, dev, prod, prodDials)
		dev.lifecycle(l)
		p := dev.shop()
		// Nothing leaves while the other side pauses the link, so that there is a queue.
		there := view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Dev") })
		pause := func(state spaces.LinkState) {
			update(prod, func(tx *spaces.Tx) (spaces.Link, error) { return tx.SetLinkState(there.ID, state, "", "") })
		}
		pause(spaces.LinkPaused)
		held := dev.promote(t, p, l, "1.0.0", []byte("one"), false)
		gone := dev.promote(t, p, l, "1.1.0", []byte("two"), false)
		last := dev.promote(t, p, l, "1.2.0", []byte("three"), false)
		eventually(t, "all are queued", func() bool { return dev.promotion(last.ID).State == spaces.PromotionQueued })
		manager := spacetest.Manager()
		if err := dev.set(spacetest.With(access.ReleaseView), held.ID, spaces.OutboxHeld); !errors.Is(err, errs.Denied) {
			t.Errorf("held without permission: %v", err)
		}
		if err := dev.set(manager, held.ID, spaces.OutboxAcked); !errors.Is(err, errs.Invalid) {
			t.Errorf("a person said that it arrived: %v", err)
		}
		for id, state := range map[spaces.PromotionID]spaces.OutboxState{held.ID: spaces.OutboxHeld, gone.ID: spaces.OutboxCanceled} {
			if err := dev.set(manager, id, state); err != nil {
				t.Fatal(err)
			}
		}
		if got := []string{dev.promotion(held.ID).State, dev.promotion(gone.ID).State}; got[0] != spaces.PromotionHeld || got[1] != spaces.PromotionCanceled {
			t.Errorf("%q", got)
		}
		if err := dev.set(manager, gone.ID, spaces.OutboxQueued); !errors.Is(err, errs.Blocked) {
			t.Errorf("a canceled message was queued again: %v", err)
		}
		pause(spaces.LinkActive)
		prod.inbox(t, "1.2.0")
		eventually(t, "the last one is delivered", func() bool { return dev.promotion(last.ID).State == spaces.PromotionDelivered })
		if err := dev.set(manager, last.ID, spaces.OutboxCanceled); !errors.Is(err, errs.Blocked) {
			t.Errorf("canceled after it was delivered: %v", err)
		}
		inbox := func() []spaces.Inbound {
			return view(prod, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10) })
		}
		if all := inbox(); len(all) != 1 {
			t.Errorf("what was held or canceled has left: %+v", all)
		}
		if err := dev.set(manager, held.ID, spaces.OutboxQueued); err != nil {
			t.Fatal(err)
		}
		prod.inbox(t, "1.0.0")
		eventually(t, "the held one is delivered", func() bool { return dev.promotion(held.ID).State == spaces.PromotionDelivered })
		if all := inbox(); len(all) != 2 || dev.promotion(gone.ID).State != spaces.PromotionCanceled {
			t.Errorf("%+v", all)
		}
	}
}

// A queued message can be taken out as a file and carried: the queue then knows that it
// has arrived, by wire or by the receipts in a file, also behind one that never left.
func TestQueuedMessageIsCarried(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	l := wired(t, dev, prod, true)
	dev.lifecycle(l)
	p := dev.shop()
	there := view(prod, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Dev") })
	update(prod, func(tx *spaces.Tx) (spaces.Link, error) {
		return tx.SetLinkState(there.ID, spaces.LinkPaused, "", "")
	})
	canceled := dev.promote(t, p, l, "1.0.0", []byte("one"), false)
	carried := dev.promote(t, p, l, "1.1.0", []byte("two"), false)
	file := dev.export(t, carried) // signs what is still in preparation
	if err := dev.set(spacetest.Manager(), canceled.ID, spaces.OutboxCanceled); err != nil {
		t.Fatal(err)
	}
	if m := dev.message(carried.ID); m.State != spaces.OutboxQueued || m.HandedOverAt == nil {
		t.Errorf("%s, handed over %v", m.State, m.HandedOverAt)
	}
	in := prod.take(t, file)
	if in.Version != "1.1.0" || in.State != spaces.InboundNeedsInput {
		t.Errorf("%+v", in)
	}
	back(t, prod, there.ID, dev)
	if m := dev.message(carried.ID); m.State != spaces.OutboxAcked || m.AckedAt == nil || dev.promotion(carried.ID).State != spaces.PromotionDelivered {
		t.Errorf("the queue has it as %s, the promotion is %s", m.State, dev.promotion(carried.ID).State)
	}
	if m := dev.message(canceled.ID); m.State != spaces.OutboxCanceled {
		t.Errorf("the canceled one is %s", m.State)
	}
	update(prod, func(tx *spaces.Tx) (spaces.Link, error) {
		return tx.SetLinkState(there.ID, spaces.LinkActive, "", "")
	})
	next := dev.promote(t, p, l, "1.2.0", []byte("three"), false)
	prod.inbox(t, "1.2.0")
	eventually(t, "the next goes by wire", func() bool { return dev.promotion(next.ID).State == spaces.PromotionDelivered })
	if n := len(view(prod, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10) })); n != 2 {
		t.Errorf("%d entries in the inbox", n)
	}
}

// After failures the queue rests, for long in the end. It wakes at once when somebody asks
// for it, and with the first sign of life all that waits for the peer goes on.
func TestRetryNow(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	var away atomic.Bool
	prod.around(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if away.Load() {
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	})
	dev.service.BackOff = func(int) time.Duration { return time.Hour }
	l := wired(t, dev, prod, false)
	dev.lifecycle(l)
	p := dev.shop()
	first := dev.promote(t, p, l, "1.0.0", []byte("one"), false)
	in := prod.inbox(t, "1.0.0")
	eventually(t, "the first is delivered", func() bool { return dev.promotion(first.ID).State == spaces.PromotionDelivered })
	away.Store(true)
	prod.accept(t, in) // whoever waits for news there gets an answer, asks again and fails
	second := dev.promote(t, p, l, "1.1.0", []byte("two"), false)
	link := func() spaces.Link {
		return view(dev, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(l.ID) })
	}
	eventually(t, "sending and asking have failed", func() bool { return link().Attempts >= 2 && link().NextAt != nil })
	away.Store(false)
	if m := dev.message(second.ID); m.State != spaces.OutboxQueued {
		t.Fatalf("the message is %s", m.State)
	}
	if err := dev.set(spacetest.Manager(), second.ID, spaces.OutboxQueued); err != nil {
		t.Fatal(err)
	}
	prod.inbox(t, "1.1.0")
	eventually(t, "the second is delivered", func() bool { return dev.promotion(second.ID).State == spaces.PromotionDelivered })
	eventually(t, "what Prod has to tell is heard as well", func() bool { return dev.promotion(first.ID).State == spaces.PromotionAccepted })
}

// A peer that says when to come back is left alone until then, although other requests
// are answered meanwhile, and although it calls that a refusal. A person may ask earlier.
func TestRetryAfterIsHeeded(t *testing.T) {
	for status, retry := range map[int]string{http.StatusTooManyRequests: "no", http.StatusServiceUnavailable: "yes"} {
		dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
		var full atomic.Bool
		var sent, asked atomic.Int64
		prod.around(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/messages") {
					asked.Add(1)
					q := r.URL.Query()
					q.Set("wait", "0") // as if there were news all the time
					r.URL.RawQuery = q.Encode()
					time.Sleep(5 * time.Millisecond)
				}
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/messages") {
					sent.Add(1)
					if full.Load() {
						w.Header().Set("Retry-After", "1800")
						w.WriteHeader(status)
						fmt.Fprintf(w, `{"type":"busy","detail":"Come later.","retry":%q}`, retry)
						return
					}
				}
				h.ServeHTTP(w, r)
			})
		})
		l := wired(t, dev, prod, false)
		dev.lifecycle(l)
		p := dev.shop()
		full.Store(true)
		pr := dev.promote(t, p, l, "1.0.0", []byte("one"), false)
		link := func() spaces.Link {
			return view(dev, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(l.ID) })
		}
		eventually(t, "it was told to come later", func() bool { return link().NextAt != nil })
		first, before := sent.Load(), asked.Load()
		dev.release(p, "1.0.1", []byte("two")) // wakes whoever waits for events
		eventually(t, "other requests are answered", func() bool { return asked.Load() > before+50 })
		got := link()
		if sent.Load() != first || got.NextAt == nil || time.Until(*got.NextAt) < 29*time.Minute || got.LastError != "Come later." {
			t.Errorf("status %d: sent %d times after %d, next at %v, %q", status, sent.Load(), first, got.NextAt, got.LastError)
		}
		if m := dev.message(pr.ID); m.State != spaces.OutboxQueued {
			t.Errorf("status %d: the message is %s", status, m.State)
		}
		full.Store(false)
		if err := dev.set(spacetest.Manager(), pr.ID, spaces.OutboxQueued); err != nil {
			t.Fatal(err)
		}
		prod.inbox(t, "1.0.0")
		eventually(t, "the failure is forgotten", func() bool { return link().LastError == "" && link().NextAt == nil })
	}
}
