package execution

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// message is a service message: what a script tells by printing a line.
type message struct {
	verb  string
	attrs map[string]string
}

var attribute = regexp.MustCompile(`([\w-]+)=(?:'([^']*)'|"([^"]*)")`)

// parseMessage reads ##octopus[verb name='base64' …], with either kind of quotes.
func parseMessage(line string) (message, bool) {
	line = strings.TrimSpace(line)
	body, ok := strings.CutPrefix(line, "##octopus[")
	if !ok || !strings.HasSuffix(body, "]") {
		return message{}, false
	}
	body = strings.TrimSuffix(body, "]")
	verb, rest, _ := strings.Cut(body, " ")
	m := message{verb: strings.ToLower(strings.TrimSpace(verb)), attrs: map[string]string{}}
	for _, a := range attribute.FindAllStringSubmatch(rest, -1) {
		text, err := base64.StdEncoding.DecodeString(a[2] + a[3])
		if err != nil {
			return message{}, false
		}
		m.attrs[strings.ToLower(a[1])] = string(text)
	}
	return m, true
}
