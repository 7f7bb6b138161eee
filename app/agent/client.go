package agent

import (
	"bytes"
	"context"
	"encoding/json"
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

func (c *Client) do(ctx context.Context, method, path string, header http.Header, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errs.Wrap(errs.Unavailable, err, "The agent cannot be reached: %v.", unwrapURL(err))
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		var p Problem
		if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&p) != nil || p.Kind == "" {
			return errs.New(errs.Unavailable, "The agent answered with status %d.", res.StatusCode)
		}
		return errs.New(errs.Kind(p.Kind), "%s", p.Message)
	}
	return json.NewDecoder(io.LimitReader(res.Body, 64<<20)).Decode(out)
}

// unwrapURL leaves out the method and address that url.Error puts in front.
func unwrapURL(err error) error {
	if u, ok := err.(*url.Error); ok {
		return u.Err
	}
	return err
}

// Hello asks what the agent is.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	var h Hello
	return h, c.do(ctx, http.MethodGet, pathHello, nil, nil, &h)
}

// Has asks what the agent has of a package file.
func (c *Client) Has(ctx context.Context, digest string) (PackageState, error) {
	var s PackageState
	return s, c.do(ctx, http.MethodGet, pathPackages+digest, nil, nil, &s)
}

// Put brings a package file to the agent, from where an earlier transfer broke off. It
// returns how many bytes were sent.
func (c *Client) Put(ctx context.Context, digest string, size int64, file io.ReadSeeker) (sent int64, err error) {
	s, err := c.Has(ctx, digest)
	if err != nil || s.Have {
		return 0, err
	}
	if s.Partial > size {
		s.Partial = 0
	}
	if _, err := file.Seek(s.Partial, io.SeekStart); err != nil {
		return 0, err
	}
	header := http.Header{"Upload-Offset": {strconv.FormatInt(s.Partial, 10)}, "Upload-Length": {strconv.FormatInt(size, 10)}, "Content-Type": {"application/octet-stream"}}
	if err := c.do(ctx, http.MethodPatch, pathPackages+digest, header, file, &s); err != nil {
		return 0, err
	}
	if !s.Have {
		return 0, errs.New(errs.Unavailable, "The agent has only %d of %d bytes of the package.", s.Partial, size)
	}
	return size, nil
}

// Start starts work; starting an id twice is starting it once.
func (c *Client) Start(ctx context.Context, spec execution.Spec) (execution.Status, error) {
	var st execution.Status
	b, err := json.Marshal(spec)
	if err != nil {
		return st, fmt.Errorf("encode work: %w", err)
	}
	return st, c.do(ctx, http.MethodPut, pathWork+spec.ID, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(b), &st)
}

// Watch waits for news of work.
func (c *Client) Watch(ctx context.Context, id string, offset int64, wait time.Duration) (execution.Update, error) {
	var u execution.Update
	return u, c.do(ctx, http.MethodGet, fmt.Sprintf("%s%s?offset=%d&wait=%d", pathWork, id, offset, wait.Milliseconds()), nil, nil, &u)
}

// Cancel asks work to stop.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, pathWork+id+"/cancel", nil, nil, &struct{}{})
}

// Forget lets the agent remove what it kept of ended work.
func (c *Client) Forget(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, pathWork+id, nil, nil, &struct{}{})
}
