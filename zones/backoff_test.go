package zones

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

// Pauses lie between 50 ms and a bound that doubles from 2 s to 15 minutes, and are
// spread over all of it, so that a thousand links do not come back together.
func TestBackOff(t *testing.T) {
	least := func(int64) int64 { return 0 }
	most := func(n int64) int64 { return n - 1 }
	for attempt, bound := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 3: 8 * time.Second, 8: 256 * time.Second, 9: 512 * time.Second, 10: 15 * time.Minute, 11: 15 * time.Minute, 1000: 15 * time.Minute} {
		if got := backOff(attempt, least); got != 50*time.Millisecond {
			t.Errorf("attempt %d waits at least %s", attempt, got)
		}
		if got := backOff(attempt, most); got != bound+50*time.Millisecond-1 {
			t.Errorf("attempt %d waits at most %s", attempt, got)
		}
	}
	z := &Service{}
	tenths := map[time.Duration]int{}
	for range 1000 {
		tenths[z.pause(5)/(32*time.Second/10)]++
	}
	for n := range time.Duration(10) {
		if tenths[n] < 50 {
			t.Errorf("only %d of 1000 pauses are in tenth %d", tenths[n], n)
		}
	}
}

// Retry-After is in seconds, or a date by the clock of whoever sends it; what it says is
// bounded, and anything else is nothing.
func TestRetryAfter(t *testing.T) {
	const now = "Tue, 24 Nov 2026 10:00:00 GMT"
	for _, c := range []struct {
		text, date string
		want       time.Duration
	}{
		{"0", now, 0}, {"7", now, 7 * time.Second}, {"7", "", 7 * time.Second}, {"3601", now, time.Hour}, {"9223372036854775807", now, time.Hour}, {"99999999999999999999", now, 0},
		{"-5", now, 0}, {"1.5", now, 0}, {"soon", now, 0}, {"", now, 0},
		{"Tue, 24 Nov 2026 10:00:30 GMT", now, 30 * time.Second}, {"Tue, 24 Nov 2026 09:00:00 GMT", now, 0}, {"Wed, 25 Nov 2026 10:00:00 GMT", now, time.Hour},
		{"Tue, 24 Nov 2026 10:00:30 GMT", "", 0}, // by whose clock?
	} {
		if got := retryAfter(http.Header{"Retry-After": {c.text}, "Date": {c.date}}); got != c.want {
			t.Errorf("%q at %q: %s, want %s", c.text, c.date, got, c.want)
		}
	}
}

// A link has so many requests at a time; the next one is told to come later, and another
// link is not in its way.
func TestBusyLink(t *testing.T) {
	d := &Door{}
	var leave func()
	for i := range maxCalls {
		if leave = d.enter(spaces.Link{ULID: "one"}); leave == nil {
			t.Fatalf("request %d is too many", i+1)
		}
	}
	if d.enter(spaces.Link{ULID: "one"}) != nil {
		t.Errorf("there are more than %d", maxCalls)
	}
	if d.enter(spaces.Link{ULID: "two"}) == nil {
		t.Error("one link is in the way of another")
	}
	leave()
	if d.enter(spaces.Link{ULID: "one"}) == nil {
		t.Error("a request that ended makes no room")
	}
}

// Who is told to come later is told when.
func TestRefusalsSayWhen(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		after  string
	}{
		{errs.New(errs.Busy, "There are many already."), http.StatusTooManyRequests, "5"},
		{errs.Wrap(errs.Internal, &os.PathError{Op: "write", Path: "/srv/shop", Err: syscall.ENOSPC}, "write"), http.StatusServiceUnavailable, "60"},
		{errs.New(errs.Unavailable, "paused"), http.StatusServiceUnavailable, ""},
		{errs.New(errs.Invalid, "no"), http.StatusUnprocessableEntity, ""},
	} {
		w := httptest.NewRecorder()
		writeProblem(w, c.err)
		if got := w.Header().Get("Retry-After"); w.Code != c.status || got != c.after {
			t.Errorf("%v: %d, Retry-After %q", c.err, w.Code, got)
		}
		if strings.Contains(w.Body.String(), "/srv") {
			t.Errorf("it tells where it is: %s", w.Body)
		}
	}
}
