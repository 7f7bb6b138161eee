package api

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

// statuses is the one table from kinds of errors to statuses. A taken name and a refused
// state are 400, as in Octopus: its Go client shows the texts of Errors only there.
var statuses = map[errs.Kind]int{
	errs.Invalid:         fiber.StatusBadRequest,
	errs.Exists:          fiber.StatusBadRequest,
	errs.Blocked:         fiber.StatusBadRequest,
	errs.Unauthenticated: fiber.StatusUnauthorized,
	errs.Denied:          fiber.StatusForbidden,
	errs.NotFound:        fiber.StatusNotFound,
	errs.Stale:           fiber.StatusConflict,
	errs.TooLarge:        fiber.StatusRequestEntityTooLarge,
	errs.Busy:            fiber.StatusServiceUnavailable,
	errs.Unavailable:     fiber.StatusServiceUnavailable,
	errs.Internal:        fiber.StatusInternalServerError,
}

// failure is the body of every refusal. The Go client's older half shows Errors and
// drops ErrorMessage when both are there, and takes an empty list for "[]": so a 400
// carries its texts in Errors, and all others have none.
type failure struct {
	ErrorMessage    string   `json:"ErrorMessage"`
	Errors          []string `json:"Errors,omitempty"`
	FullException   *string  `json:"FullException"`
	HelpLink        *string  `json:"HelpLink"`
	HelpText        *string  `json:"HelpText"`
	ParsedHelpLinks []string `json:"ParsedHelpLinks"`
}

func failureOf(status int, err error) failure {
	f := failure{ErrorMessage: errs.TextOf(err), ParsedHelpLinks: []string{}}
	var e *errs.Error
	if !errors.As(err, &e) || status == fiber.StatusInternalServerError {
		return f
	}
	if e.Hint != "" {
		f.HelpText = &e.Hint
	}
	if status == fiber.StatusBadRequest {
		f.ErrorMessage = "There was a problem with your request."
		f.Errors = sentences(e)
	}
	return f
}

// sentences are the message and the complaints one by one; the hint goes with the last.
func sentences(e *errs.Error) []string {
	var out []string
	if e.Message != "" {
		out = append(out, e.Message)
	}
	for _, field := range e.Fields {
		out = append(out, field.Message)
	}
	if len(out) == 0 {
		out = append(out, e.Text())
	} else if e.Hint != "" {
		out[len(out)-1] += " " + e.Hint
	}
	return out
}

// fail answers an error. One without a kind is ours: the client gets a number to name,
// the log gets the rest.
func (r *request) fail(err error) error {
	var f *fiber.Error
	if errors.As(err, &f) {
		return r.respond(f.Code, failure{ErrorMessage: f.Message, ParsedHelpLinks: []string{}})
	}
	kind := errs.KindOf(err)
	if r.ctx.Err() != nil && kind == errs.Internal {
		kind, err = errs.Unavailable, errs.Wrap(errs.Unavailable, err, "This took too long, or the server is shutting down.")
	}
	status := statuses[kind]
	body := failureOf(status, err)
	switch kind {
	case errs.Internal:
		id := spaces.NewULID(r.now())
		body.ErrorMessage = "Something went wrong on the server. The log of the server tells more under " + id + "."
		r.s.Log.Error("api request failed", "request", id, "method", r.Method(), "path", r.Path(), "actor", r.actor.ID, "err", err)
	case errs.Busy, errs.Unavailable:
		r.Set(fiber.HeaderRetryAfter, "2")
	case errs.Unauthenticated:
		r.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="octopuses"`)
	}
	return r.respond(status, body)
}

// ErrorHandler answers what Fiber itself refuses, in the same form. It is for the
// application that mounts the door.
func ErrorHandler(c *fiber.Ctx, err error) error {
	status := fiber.StatusInternalServerError
	text := errs.TextOf(err)
	var f *fiber.Error
	if errors.As(err, &f) {
		status, text = f.Code, f.Message
	}
	return c.Status(status).JSON(failure{ErrorMessage: text, ParsedHelpLinks: []string{}})
}
