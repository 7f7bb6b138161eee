package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
)

// Client speaks the protocol from the server's side, over any HTTP client that reaches
// the agent. It is safe for concurrent use.
type Client struct {
	HTTP *http.Client
	Base string // https://host:port, without a slash at the end
}

// do sends a request and decodes the answer. [errs.Unavailable] says that it is not
// known whether the agent got it.
func (c *Client) do(ctx context.Context, method, path string, header http.Header, body io.Reader, length int64, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.ContentLength = length
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return lost(ctx, unwrapURL(err))
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		var p Problem
		if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&p) != nil || p.Kind == "" {
			return errs.New(errs.Unavailable, "The agent answered with status %d.", res.StatusCode)
		}
		return errs.New(errs.Kind(p.Kind), "%s", p.Message)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return lost(ctx, err) // it was cut off, which must not look like a refusal
	}
	return nil
}

// maxAnswer is the largest answer that is read, in bytes.
const maxAnswer = 64 << 20

func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errs.Wrap(errs.Unavailable, err, "The agent cannot be reached: %v.", err)
}

// unwrapURL leaves out the method and address that url.Error puts in front.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Hello asks what the agent is.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	var h Hello
	return h, c.do(ctx, http.MethodGet, pathHello, nil, nil, 0, &h)
}

// Has asks what the agent has of a package file.
func (c *Client) Has(ctx context.Context, digest string) (PackageState, error) {
	var s PackageState
	return s, c.do(ctx, http.MethodGet, pathPackages+digest, nil, nil, 0, &s)
}

// Put brings a package file to the agent, from where an earlier transfer broke off. It
// returns how many bytes were sent now. Errors: [errs.Invalid] when the bytes do not
// hash to digest, [errs.Busy] when the agent is receiving this file already.
func (c *Client) Put(ctx context.Context, digest string, size int64, file io.ReadSeeker) (sent int64, err error) {
	for again := true; ; again = false {
		s, err := c.Has(ctx, digest)
		if err != nil || s.Have {
			return sent, err
		}
		from := min(s.Partial, size)
		if _, err := file.Seek(from, io.SeekStart); err != nil {
			return sent, fmt.Errorf("read package: %w", err)
		}
		header := http.Header{"Upload-Offset": {strconv.FormatInt(from, 10)}, "Upload-Length": {strconv.FormatInt(size, 10)}, "Content-Type": {"application/octet-stream"}}
		// As a plain reader, since the HTTP client closes what it can close.
		body := struct{ io.Reader }{io.LimitReader(file, size-from)}
		err = c.do(ctx, http.MethodPatch, pathPackages+digest, header, body, size-from, &s)
		switch {
		case err == nil && s.Have:
			return sent + size - from, nil
		case err == nil:
			return sent, errs.New(errs.Unavailable, "The agent has only %d of %d bytes of the package.", s.Partial, size)
		case again && errors.Is(err, errs.Stale): // another transfer came further in between
		default:
			return sent, err
		}
	}
}

// Start starts work; starting an id twice is starting it once.
func (c *Client) Start(ctx context.Context, spec execution.Spec) (execution.Status, error) {
	var st execution.Status
	b, err := json.Marshal(spec)
	if err != nil {
		return st, fmt.Errorf("encode work: %w", err)
	}
	return st, c.do(ctx, http.MethodPut, pathWork+spec.ID, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(b), int64(len(b)), &st)
}

// Watch waits for news of work.
func (c *Client) Watch(ctx context.Context, id string, offset int64, wait time.Duration) (execution.Update, error) {
	var u execution.Update
	return u, c.do(ctx, http.MethodGet, fmt.Sprintf("%s%s?offset=%d&wait=%d", pathWork, id, offset, wait.Milliseconds()), nil, nil, 0, &u)
}

// Cancel asks work to stop.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, pathWork+id+"/cancel", nil, nil, 0, &struct{}{})
}

// Forget lets the agent remove what it kept of ended work.
func (c *Client) Forget(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, pathWork+id, nil, nil, 0, &struct{}{})
}
