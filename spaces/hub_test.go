package spaces_test

import (
	"fmt"
	"testing"

	"octopuses.dev/octopuses/spaces"
)

// What changes between reading and subscribing is not missed, and what did not change is
// not told.
func TestHubTellsWhatWasMissed(t *testing.T) {
	t.Parallel()
	h := spaces.NewHub()
	h.Publish("tasks")
	mark := h.Mark()
	if h.ChangedSince(mark, "tasks", "inbox") {
		t.Error("nothing changed after the mark")
	}
	h.Publish("task/1", "inbox")
	for _, c := range []struct {
		topics []string
		want   bool
	}{{[]string{"tasks"}, false}, {[]string{"tasks", "inbox"}, true}, {[]string{"task/1"}, true}, {nil, false}} {
		if got := h.ChangedSince(mark, c.topics...); got != c.want {
			t.Errorf("%v changed: %v, want %v", c.topics, got, c.want)
		}
	}
	for _, foreign := range []string{"", "x", "x.9", spaces.NewHub().Mark()} {
		if !h.ChangedSince(foreign, "never") {
			t.Errorf("of the mark %q it cannot be told", foreign)
		}
	}
	// A hub does not remember for ever; then it says that it may have.
	for i := range 10_000 {
		h.Publish(fmt.Sprint("task/", i))
	}
	if !h.ChangedSince(mark, "tasks") {
		t.Error("it forgot, and says that nothing changed")
	}
	if now := h.Mark(); h.ChangedSince(now, "task/9999") {
		t.Error("nothing changed after the last mark")
	}
}
