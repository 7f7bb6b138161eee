package execution

import (
	"bytes"
	"fmt"
	"strings"
)

// How much of a line is held, in bytes, before it is logged in parts; and of a service
// message, which is never logged, since it may carry a secret in base64.
const (
	longestLine    = 64 << 10
	longestMessage = 4 << 20
)

const messagePrefix = "##octopus["

// stream takes what a script prints on one of its two outputs. One goroutine writes.
type stream struct {
	log      *logger
	category string // what plain lines are logged as
	standard string // what "default" means
	ignore   bool
	rest     []byte // of a line that has not ended
	swallow  bool   // the rest of the line is that of a message that is too long
}

// Write splits into lines. A line that does not end is cut only where no secret is
// torn.
func (s *stream) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.more(p)
			break
		}
		if len(s.rest) == 0 && !s.swallow && i <= longestLine {
			s.line(p[:i])
		} else {
			s.more(p[:i])
			s.end()
		}
		p = p[i+1:]
	}
	return n, nil
}

// more takes a part of a line.
func (s *stream) more(p []byte) {
	if s.swallow {
		return
	}
	s.rest = append(s.rest, p...)
	if bytes.HasPrefix(bytes.TrimLeft(s.rest, " \t"), []byte(messagePrefix)) {
		if len(s.rest) > longestMessage {
			s.log.say("Warning", fmt.Sprintf("A message of the script is longer than %d MB and was ignored.", longestMessage>>20))
			s.rest, s.swallow = nil, true
		}
		return
	}
	for hold := s.log.mask.hold(longestLine); len(s.rest) > hold; {
		cut := s.log.mask.Cut(string(s.rest))
		if cut == 0 {
			if len(s.rest) < longestMessage {
				return
			}
			cut = len(s.rest) // megabytes of nothing but overlapping secrets
		}
		s.plain(string(s.rest[:cut]))
		s.rest = append(s.rest[:0], s.rest[cut:]...)
	}
}

// end ends a line.
func (s *stream) end() {
	if len(s.rest) > 0 {
		s.line(s.rest)
	}
	s.rest, s.swallow = s.rest[:0], false
}

func (s *stream) line(b []byte) {
	text := string(bytes.TrimSuffix(b, []byte("\r")))
	if strings.HasPrefix(strings.TrimSpace(text), messagePrefix) {
		if m, ok := parseMessage(text); ok {
			s.message(m)
			return
		}
	}
	s.plain(text)
}

func (s *stream) plain(text string) {
	if !s.ignore {
		s.log.print(LogEntry{Category: s.category, Text: text})
	}
}

func (s *stream) message(m message) {
	switch m.verb {
	case "stdout-default", "stderr-default":
		s.category, s.ignore = s.standard, false
	case "stdout-ignore", "stderr-ignore":
		s.ignore = true
	case "stdout-error", "stderr-error":
		s.category, s.ignore = "Error", false
	case "stdout-warning":
		s.category, s.ignore = "Warning", false
	case "stdout-verbose", "stderr-progress":
		s.category, s.ignore = "Verbose", false
	case "stdout-wait":
		s.category, s.ignore = "Wait", false
	case "stdout-highlight":
		s.category, s.ignore = "Highlight", false
	default:
		s.log.tell(m)
	}
}
