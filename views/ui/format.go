// Package ui is the kit: the parts that every page is made of. It knows nothing
// of Octopus; a part takes a Props struct and gives HTML that works without a
// script, by keyboard, and under a policy without inline script or style.
package ui

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"octopuses.dev/octopuses/static"
)

// Tone is the meaning of a status; each has a colour that colour-blind people
// can tell apart, and never stands without an icon and a word.
type Tone string

const (
	Idle    Tone = "idle" // nothing happened, or unknown
	Good    Tone = "good"
	Bad     Tone = "bad"
	Running Tone = "run"
	Waiting Tone = "wait" // for a person, a time or another task; also warnings
)

func (t Tone) icon() string {
	switch t {
	case Good:
		return "circle-check"
	case Bad:
		return "circle-x"
	case Running:
		return "loader"
	case Waiting:
		return "triangle-alert"
	}
	return "circle-dashed"
}

func (t Tone) class() string {
	if t == "" {
		t = Idle
	}
	return "t-" + string(t)
}

func iconURL(name string) string { return static.URL("icons.svg") + "#" + name }

// FormatBytes writes a size in bytes with a unit of 1024, as "3.4 MiB".
func FormatBytes(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, units := float64(n), "KMGTPE"
	for i := 0; ; i++ {
		f /= 1024
		if f < 1023.95 || i == len(units)-1 {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i:i+1] + "iB"
		}
	}
}

// FormatDuration writes an elapsed time as "365 ms", "4.2 s" or "2 min 5 s".
func FormatDuration(d time.Duration) string {
	switch {
	case d < time.Second-time.Millisecond/2:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond)/time.Millisecond)
	case d < 9950*time.Millisecond:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
}

// stamp is the exact time for people who have no script: UTC, said so.
func stamp(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04") + " UTC" }

func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func initials(name string) string {
	var b strings.Builder
	for _, w := range strings.Fields(name) {
		r, _ := utf8.DecodeRuneInString(w)
		b.WriteRune(r)
		if b.Len() >= 2 {
			break
		}
	}
	return strings.ToUpper(b.String())
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
