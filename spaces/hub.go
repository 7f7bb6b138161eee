package spaces

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
)

// Hub tells listeners that something changed. A topic is a text such as
// "task/12" or "dashboard"; a message is only "changed", never data: the listener
// reads again. It is safe for concurrent use.
type Hub struct {
	boot string // tells marks of this hub from those of another
	mu   sync.Mutex
	subs map[string]map[*subscription]struct{}

	// Each publication has a number. last is that of the newest one of a topic; a topic
	// that is not in it has had none after floor.
	n, floor uint64
	last     map[string]uint64
}

// remembered is how many topics a hub knows the last change of.
const remembered = 4096

type subscription struct {
	c      chan struct{} // length 1: many changes before a read are one; never closed
	topics []string
}

// NewHub makes a hub without listeners.
func NewHub() *Hub {
	return &Hub{boot: rand.Text(), subs: map[string]map[*subscription]struct{}{}, last: map[string]uint64{}}
}

// Mark is now, for [Hub.ChangedSince]. Whoever reads first and subscribes later takes it
// before reading, so that nothing is missed in between.
func (h *Hub) Mark() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.boot + "." + strconv.FormatUint(h.n, 10)
}

// ChangedSince reports whether one of the topics may have changed after a mark. It is
// true when that cannot be told, such as for a mark of an earlier hub.
func (h *Hub) ChangedSince(mark string, topics ...string) bool {
	boot, number, _ := strings.Cut(mark, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil || boot != h.boot || n < h.floor {
		return true
	}
	for _, t := range topics {
		if h.last[t] > n {
			return true
		}
	}
	return false
}

// Subscribe returns a channel that gets a value after any of the topics changed,
// and a function that ends the subscription. The topic "" hears everything.
func (h *Hub) Subscribe(topics ...string) (<-chan struct{}, func()) {
	s := &subscription{c: make(chan struct{}, 1), topics: topics}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range topics {
		if h.subs[t] == nil {
			h.subs[t] = map[*subscription]struct{}{}
		}
		h.subs[t][s] = struct{}{}
	}
	return s.c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, t := range s.topics {
			delete(h.subs[t], s)
			if len(h.subs[t]) == 0 {
				delete(h.subs, t)
			}
		}
	}
}

// Publish tells the listeners of the topics. It never blocks.
func (h *Hub) Publish(topics ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	if len(h.last)+len(topics) > remembered {
		clear(h.last)
		h.floor = h.n
	}
	for _, t := range topics {
		h.last[t] = h.n
		h.tell(t)
	}
	h.tell("")
}

func (h *Hub) tell(topic string) {
	for s := range h.subs[topic] {
		select {
		case s.c <- struct{}{}:
		default:
		}
	}
}

// Listeners is how many subscriptions there are to a topic.
func (h *Hub) Listeners(topic string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs[topic])
}
