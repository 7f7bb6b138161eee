package zones

import (
	"strings"
	"testing"
	"time"
)

// A message from tomorrow is told, one from last year is not: it may have been carried.
func TestClocksThatDiffer(t *testing.T) {
	came := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	for ahead, want := range map[time.Duration]string{-400 * 24 * time.Hour: "", 0: "", 2 * time.Minute: "", 3 * time.Minute: "sent 3m0s after it came", 400 * 24 * time.Hour: "sent 9600h0m0s after"} {
		got := clocks("Dev", came.Add(ahead), came)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s ahead: %q", ahead, got)
		}
	}
}
