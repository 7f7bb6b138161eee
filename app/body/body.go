// Package body reads the bodies of requests, for both doors.
//
// Bodies are streamed from the connection. Fiber enforces no limit then, and fasthttp
// (1.51) does not skip what a handler leaves unread: it takes the rest for the next
// request on the connection, which may be another person's where a proxy shares one. So
// all reading goes through [Body], and whoever answers calls [Body.Finish] at the end.
package body

import (
	"bytes"
	"io"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces/errs"
)

const (
	drain     = 1 << 20   // bytes read off at the end, so that the client sees the answer and not a reset
	drainOurs = 256 << 20 // the same, of a body that somebody sends who may
)

// Body is the body of one request. It is used by the request's goroutine alone.
type Body struct {
	Ours  bool          // somebody sends it who may: more of it is read off at the end
	Pause time.Duration // how long one read may take; 0: the server's limit for whole requests

	in   io.Reader
	conn net.Conn
	done bool  // the end was seen; reading on would eat the next request
	err  error // of the transfer; the connection is of no use any more
}

type key struct{}

// Of is the body of a request, the same at each call.
func Of(c *fiber.Ctx) *Body {
	if b, ok := c.Locals(key{}).(*Body); ok {
		return b
	}
	b := &Body{in: c.Context().RequestBodyStream(), conn: c.Context().Conn()}
	if b.in == nil { // there is none, or the server has read it
		b.in = bytes.NewReader(c.Request().Body())
	}
	c.Locals(key{}, b)
	return b
}

// Read reads on. After the end and after an error it touches the connection no more.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.done {
		return 0, io.EOF
	}
	if b.Pause > 0 && b.conn != nil {
		_ = b.conn.SetReadDeadline(time.Now().Add(b.Pause))
	}
	n, err := b.in.Read(p)
	switch {
	case err == io.EOF:
		b.done = true
	case err != nil:
		b.err = err
	}
	return n, err
}

// All reads the whole body, at most max bytes. Errors: [errs.TooLarge], [errs.Invalid].
func (b *Body) All(max int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(b, int64(max)+1))
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The body of the request could not be read.")
	}
	if len(data) > max {
		return nil, errs.New(errs.TooLarge, "The body is larger than the %d KiB that fit here.", max>>10)
	}
	return data, nil
}

// Finish reads a little of what is left, and closes the connection after the answer if
// there is more.
func (b *Body) Finish(c *fiber.Ctx) {
	if b.done {
		return
	}
	spare := int64(drain)
	if b.Ours {
		spare = drainOurs
	}
	_, _ = io.CopyN(io.Discard, b, spare+1)
	if !b.done {
		c.Context().SetConnectionClose()
	}
}

// Guard finishes the bodies of requests that no door takes.
func Guard(c *fiber.Ctx) error {
	defer Of(c).Finish(c)
	return c.Next()
}
