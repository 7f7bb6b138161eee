package execution

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// longestLog is how much of what scripts print is kept, in bytes of the log file: a
// script that prints for ever must not fill the disk of the target.
const longestLog = 64 << 20

// logger writes the log of one execution, masked, one JSON line an entry.
type logger struct {
	mask *Masker
	now  func() time.Time

	mu       sync.Mutex // guards all below
	file     *os.File
	buf      *bufio.Writer
	line     []byte // of the entry that is being written
	size     int    // bytes written
	full     bool
	outputs  []Output
	result   string // of resultMessage
	warnings int
	skipRest bool
}

func newLogger(file *os.File, mask *Masker) *logger {
	return &logger{mask: mask, now: time.Now, file: file, buf: bufio.NewWriterSize(file, 64<<10)}
}

// flushEvery makes what was logged visible to watchers while the work runs.
func (l *logger) flushEvery(d time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			l.mu.Lock()
			l.buf.Flush()
			l.mu.Unlock()
		}
	}
}

func (l *logger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size == 0 {
		return nil
	}
	if err := l.buf.Flush(); err != nil {
		return err
	}
	return l.file.Sync()
}

// say logs a sentence of ours.
func (l *logger) say(category, text string) { l.entry(LogEntry{Category: category, Text: text}) }

// print logs what a script printed, as long as there is room.
func (l *logger) print(e LogEntry) {
	l.mu.Lock()
	over, told := l.size >= longestLog, l.full
	l.full = over
	l.mu.Unlock()
	switch {
	case !over:
		l.entry(e)
	case !told:
		l.say("Warning", fmt.Sprintf("The log is longer than %d MB; what the script prints from here on is left out.", longestLog>>20))
	}
}

func (l *logger) entry(e LogEntry) {
	e.Time = l.now().UTC()
	e.Text = l.mask.Text(strings.ToValidUTF8(e.Text, "\uFFFD"))
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Category == "Warning" || e.Category == "Error" {
		l.warnings++
	}
	l.line = appendEntry(l.line[:0], e)
	l.buf.Write(l.line)
	l.size += len(l.line)
}

// appendEntry adds a line of the log. It is what json.Marshal makes of an entry, and
// takes a fraction of the time for the plain text that most lines are.
func appendEntry(b []byte, e LogEntry) []byte {
	plain := e.Percent == nil
	for i := 0; i < len(e.Text) && plain; i++ {
		c := e.Text[i]
		plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	if !plain {
		whole, err := json.Marshal(e)
		if err != nil {
			return b // no entry has what JSON has not
		}
		return append(append(b, whole...), '\n')
	}
	b = e.Time.AppendFormat(append(b, `{"t":"`...), time.RFC3339Nano)
	b = append(append(b, `","c":"`...), e.Category...)
	b = append(append(b, `","m":"`...), e.Text...)
	return append(b, "\"}\n"...)
}

// tell does what a service message asks for that is no matter of a stream.
func (l *logger) tell(m message) {
	switch m.verb {
	case "setvariable":
		o := Output{Name: m.attrs["name"], Value: m.attrs["value"], Sensitive: strings.EqualFold(m.attrs["sensitive"], "true")}
		if o.Sensitive {
			l.mask.Add(o.Value)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if strings.EqualFold(o.Name, "Octopus.Action.SkipRemainingConventions") {
			l.skipRest = strings.EqualFold(o.Value, "true")
		}
		l.outputs = append(l.outputs, o)
	case "mask":
		l.mask.Add(m.attrs["value"])
	case "resultmessage":
		text := l.mask.Text(m.attrs["message"])
		l.mu.Lock()
		defer l.mu.Unlock()
		l.result = text
	case "progress":
		n := 0
		for _, r := range m.attrs["percentage"] {
			if r < '0' || r > '9' {
				return
			}
			n = min(n*10+int(r-'0'), 100)
		}
		l.print(LogEntry{Category: "Info", Text: m.attrs["message"], Percent: &n})
	}
}

func (l *logger) skip() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skipRest
}
