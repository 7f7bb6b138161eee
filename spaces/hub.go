package spaces

import "sync"

// Hub tells listeners that something changed. A topic is a text such as
// "task/12" or "dashboard"; a message is only "changed", never data: the listener
// reads again. It is safe for concurrent use.
type Hub struct {
	mu   sync.Mutex
	subs map[string]map[*subscription]struct{}
}

type subscription struct {
	c      chan struct{} // length 1: many changes before a read are one; never closed
	topics []string
}

// NewHub makes a hub without listeners.
func NewHub() *Hub { return &Hub{subs: map[string]map[*subscription]struct{}{}} }

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
	for _, t := range topics {
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
