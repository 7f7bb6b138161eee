package zones

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"syscall"

	"octopuses.dev/octopuses/spaces"
	"time"
)

// The pause after a failure: at random between shortest and a bound that doubles from
// firstBound to lastBound (full jitter), so that many links do not come back at once.
const (
	shortestPause = 50 * time.Millisecond
	firstBound    = 2 * time.Second
	lastBound     = 15 * time.Minute
)

// backOff is how long to wait after the attempt-th failure in a row, from 1. below
// returns a random number from 0 to less than its argument.
func backOff(attempt int, below func(int64) int64) time.Duration {
	bound := min(firstBound<<min(attempt-1, 10), lastBound)
	return shortestPause + time.Duration(below(int64(bound)))
}

func (z *Service) pause(attempt int) time.Duration {
	if z.BackOff != nil {
		return z.BackOff(attempt)
	}
	return backOff(attempt, rand.Int64N)
}

// longestAsked is what a peer can make us wait: a wrong clock or a joke must not silence
// a link for a year.
const longestAsked = time.Hour

// later is an answer that says when to come back.
type later struct {
	error
	after time.Duration
}

func (l *later) Unwrap() error { return l.error }

// notBefore adds what an overloaded server says in Retry-After to err.
func notBefore(res *http.Response, err error) error {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return err
	}
	if after := retryAfter(res.Header); after > 0 {
		return &later{err, after}
	}
	return err
}

// retryAfter reads Retry-After (RFC 9110, 10.2.3): seconds or a date, which is compared
// with the Date of the same answer and not with our clock. 0: nothing that counts.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	var after time.Duration
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		after = time.Duration(min(n, uint64(longestAsked/time.Second))) * time.Second
	} else if until, err := http.ParseTime(text); err == nil {
		if now, err := http.ParseTime(h.Get("Date")); err == nil {
			after = until.Sub(now)
		}
	}
	return min(max(after, 0), longestAsked)
}

// askedFor is how long the peer asked to be left alone; 0: it did not.
func askedFor(err error) time.Duration {
	var l *later
	if errors.As(err, &l) {
		return l.after
	}
	return 0
}

// When a peer may come back whom this server cannot serve now.
const (
	afterBusy = 5 * time.Second // its own requests end meanwhile
	afterFull = time.Minute     // somebody has to make room on the disk
)

// isFull reports whether a disk or its quota is used up.
func isFull(err error) bool {
	return spaces.DiskFull(err) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
