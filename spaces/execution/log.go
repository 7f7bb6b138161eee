package execution

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"time"
)

// logger writes the log of one execution, masked, one JSON line an entry.
type logger struct {
	mask *Masker
	now  func() time.Time

	mu       sync.Mutex
	file     *os.File
	buf      *bufio.Writer
	outputs  []Output
	result   string // of resultMessage
	warnings int
	skipRest bool
}

func newLogger(file *os.File, mask *Masker) *logger {
	l := &logger{mask: mask, now: time.Now, file: file, buf: bufio.NewWriterSize(file, 64<<10)}
	return l
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
	if err := l.buf.Flush(); err != nil {
		return err
	}
	return l.file.Sync()
}

func (l *logger) say(category, text string) { l.entry(LogEntry{Category: category, Text: text}) }

func (l *logger) entry(e LogEntry) {
	e.Time = l.now().UTC()
	e.Text = l.mask.Text(strings.ToValidUTF8(e.Text, "\uFFFD"))
	b, err := json.Marshal(e)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Category == "Warning" || e.Category == "Error" {
		l.warnings++
	}
	l.buf.Write(b)
	l.buf.WriteByte('\n')
}

// stream takes what a script prints on one of its two outputs.
type stream struct {
	log      *logger
	category string // what plain lines are logged as
	standard string // what "default" means
	ignore   bool
	rest     []byte
}

// longestLine is how much of a line is held before it is logged in parts.
const longestLine = 64 << 10

// Write splits into lines. A line that does not end is cut only where no secret is
// torn.
func (s *stream) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		i := strings.IndexByte(string(s.rest), '\n')
		if i >= 0 {
			s.line(strings.TrimSuffix(string(s.rest[:i]), "\r"))
			s.rest = s.rest[i+1:]
			continue
		}
		if len(s.rest) <= longestLine {
			return len(p), nil
		}
		cut := s.log.mask.Cut(string(s.rest))
		if cut == 0 {
			cut = len(s.rest)
		}
		s.line(string(s.rest[:cut]))
		s.rest = s.rest[cut:]
	}
}

func (s *stream) end() {
	if len(s.rest) > 0 {
		s.line(string(s.rest))
		s.rest = nil
	}
}

func (s *stream) line(text string) {
	if strings.HasPrefix(strings.TrimSpace(text), "##octopus[") {
		if m, ok := parseMessage(text); ok {
			s.message(m)
			return
		}
	}
	if !s.ignore {
		s.log.say(s.category, text)
	}
}

var levels = map[string]string{"stdout-error": "Error", "stdout-warning": "Warning", "stdout-verbose": "Verbose", "stdout-wait": "Wait", "stdout-highlight": "Highlight", "stderr-error": "Error", "stderr-progress": "Verbose"}

func (s *stream) message(m message) {
	switch m.verb {
	case "stdout-default", "stderr-default":
		s.category, s.ignore = s.standard, false
	case "stdout-ignore", "stderr-ignore":
		s.ignore = true
	case "setvariable":
		o := Output{Name: m.attrs["name"], Value: m.attrs["value"], Sensitive: strings.EqualFold(m.attrs["sensitive"], "true")}
		if o.Sensitive {
			s.log.mask.Add(o.Value)
		}
		if strings.EqualFold(o.Name, "Octopus.Action.SkipRemainingConventions") {
			s.log.skipRest = strings.EqualFold(o.Value, "true")
		}
		s.log.mu.Lock()
		s.log.outputs = append(s.log.outputs, o)
		s.log.mu.Unlock()
	case "mask":
		s.log.mask.Add(m.attrs["value"])
	case "resultmessage":
		s.log.result = s.log.mask.Text(m.attrs["message"])
	case "progress":
		n := 0
		for _, r := range m.attrs["percentage"] {
			if r < '0' || r > '9' || n > 100 {
				return
			}
			n = n*10 + int(r-'0')
		}
		n = min(n, 100)
		s.log.entry(LogEntry{Category: "Info", Text: m.attrs["message"], Percent: &n})
	default:
		if c, ok := levels[m.verb]; ok {
			s.category, s.ignore = c, false
		}
	}
}
