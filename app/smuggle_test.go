package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/static"
	"octopuses.dev/octopuses/views"
)

// A body that nobody reads is not taken for the next request on its connection: where a
// proxy shares connections, that request would be answered to somebody else.
func TestBodyIsNoRequest(t *testing.T) {
	t.Parallel()
	c := Config{Data: dataWith(t, 1), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute}
	s, err := openServer(t.Context(), c, quiet(), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	url, stop := s.start(t)
	t.Cleanup(stop)
	const inner = "GET /readyz HTTP/1.1\r\nHost: inside\r\n\r\n" // answered with "ready"
	for _, head := range []string{
		"POST /healthz", "GET /healthz", "GET " + static.Prefix + "none.css", "HEAD " + static.Prefix + "none.css",
		"GET " + views.SignInURL(), "POST " + views.SignInURL(), "DELETE " + views.SignInURL(), "POST /no/such/page", "GET /spaces/default",
		"GET /api", "GET /api/users/me", "POST /api/environments", "DELETE /api/environments/Environments-1", "POST /api/nothing", "PATCH /api/users/me",
	} {
		for _, size := range []int{len(inner), 100 << 10, 3 << 20} {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d chunked=%v", head, size, chunked), func(t *testing.T) {
					t.Parallel()
					got, err := conversation(strings.TrimPrefix(url, "http://"), head, strings.Repeat(inner, size/len(inner)), chunked)
					if err != nil {
						t.Fatal(err)
					}
					// One answer, and to the request behind the body another, or the connection closed.
					if len(got) == 0 && size < 1<<20 || len(got) > 2 || len(got) == 2 && got[1] != "ok\n" {
						t.Errorf("%d answers: %.200q", len(got), got)
					}
				})
			}
		}
	}
}

// conversation sends a request with a body, and a look at /healthz behind it, and returns
// the bodies of all answers.
func conversation(address, head, body string, chunked bool) (answers []string, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	framing := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	if chunked {
		half := len(body) / 2
		framing = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
	}
	go func() { // the server may stop listening in the middle
		_, _ = io.WriteString(conn, head+" HTTP/1.1\r\nHost: here\r\nContent-Type: text/plain\r\n"+framing+
			"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
	}()
	in := bufio.NewReader(conn)
	method, _, _ := strings.Cut(head, " ")
	for len(answers) < 100 {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		method = http.MethodGet
		if err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				return answers, err
			}
			return answers, nil // closed, or reset while we were still sending
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return answers, nil
		}
		answers = append(answers, string(b))
	}
	return answers, nil
}
