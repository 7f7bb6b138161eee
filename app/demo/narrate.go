package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Narrator tells a person at the terminal what happens: numbered steps with progress
// and duration. On anything but a terminal it writes plain lines without bars.
type Narrator struct {
	w      io.Writer
	live   bool // a terminal: colours, and a line that is drawn again
	now    func() time.Time
	began  time.Time
	number int
}

// NewNarrator tells to w.
func NewNarrator(w io.Writer) *Narrator {
	f, ok := w.(*os.File)
	live := ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &Narrator{w: w, live: live, now: time.Now, began: time.Now()}
}

// Colours of a terminal (ECMA-48, SGR).
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (n *Narrator) paint(colour, text string) string {
	if !n.live {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// Chapter begins a part of the story.
func (n *Narrator) Chapter(title string) {
	fmt.Fprintf(n.w, "\n%s\n", n.paint(bold, title))
}

// Say writes a line between steps.
func (n *Narrator) Say(format string, args ...any) {
	fmt.Fprintf(n.w, "   %s\n", fmt.Sprintf(format, args...))
}

// Step does a piece of the story and tells how it went and how long it took. do may
// report its progress. The error comes back with the number and title of the step, so
// that whoever prints it has said which and why.
func (n *Narrator) Step(title string, do func(p *Progress) error) error {
	n.number++
	p := &Progress{n: n, title: title, began: n.now(), number: n.number}
	if n.live {
		p.draw()
	}
	err := do(p)
	took := duration(n.now().Sub(p.began))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	note := ""
	if p.note != "" {
		note = " · " + p.note
	}
	if err != nil {
		fmt.Fprintf(n.w, "%s%2d %s %s %s\n", p.clear(), p.number, n.paint(red, "✗"), title, n.paint(faint, took))
		for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
			fmt.Fprintf(n.w, "     %s\n", n.paint(red, line))
		}
		return fmt.Errorf("step %d, %s: %w", p.number, title, err)
	}
	fmt.Fprintf(n.w, "%s%2d %s %s%s %s\n", p.clear(), p.number, n.paint(green, "✓"), title, n.paint(cyan, note), n.paint(faint, took))
	return nil
}

// Elapsed is how long the story has taken so far.
func (n *Narrator) Elapsed() string { return duration(n.now().Sub(n.began)) }

// Progress is the line of a step that goes on. It is safe for concurrent use.
type Progress struct {
	n      *Narrator
	title  string
	number int
	began  time.Time

	mu          sync.Mutex
	done, total int64
	note        string
	drawn       time.Time
	ended       bool
}

// Note says something of the step, as "12.4 MB"; it stays when the step has ended.
func (p *Progress) Note(format string, args ...any) {
	p.mu.Lock()
	p.note = fmt.Sprintf(format, args...)
	p.mu.Unlock()
	p.draw()
}

// Of says how much of a total is done, in any unit. It may be called often.
func (p *Progress) Of(done, total int64) {
	p.mu.Lock()
	p.done, p.total = done, total
	p.mu.Unlock()
	p.draw()
}

const barWidth = 24

// draw draws the line again, at most twenty times a second.
func (p *Progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.n.now()
	if !p.n.live || p.ended || now.Sub(p.drawn) < 50*time.Millisecond {
		return
	}
	p.drawn = now
	line := fmt.Sprintf("%2d %s %s", p.number, p.n.paint(cyan, "…"), p.title)
	if p.total > 0 {
		line += " " + bar(p.done, p.total)
	}
	if p.note != "" {
		line += " " + p.n.paint(faint, p.note)
	}
	fmt.Fprint(p.n.w, p.clear(), line)
}

// bar draws a share as blocks and per cent.
func bar(done, total int64) string {
	share := min(max(float64(done)/float64(total), 0), 1)
	full := int(share * barWidth)
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full) + fmt.Sprintf(" %3.0f %%", share*100)
}

// clear goes back to the start of an empty line.
func (p *Progress) clear() string {
	if !p.n.live {
		return ""
	}
	return "\r\x1b[2K"
}

// duration is for people: 80 ms, 2.4 s, 1 min 12 s.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}
