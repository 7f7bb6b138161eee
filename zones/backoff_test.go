package zones

import (
	"testing"
	"time"
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
