package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// client drives a server through its REST API, as a CI system would.
type client struct {
	base, key, space string
}

type object = map[string]any

// call does one request in the client's space and reads the answer into out.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body, kind = v, "application/octet-stream"
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	return c.send(ctx, method, path, kind, body, out)
}

func (c *client) send(ctx context.Context, method, path, kind string, body io.Reader, out any) error {
	prefix := "/api"
	if c.space != "" {
		prefix += "/" + c.space
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+prefix+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("X-Octopus-ApiKey", c.key)
	req.Header.Set("Content-Type", kind)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		var e struct {
			ErrorMessage string
			Errors       []string
		}
		b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if json.Unmarshal(b, &e) == nil && (e.ErrorMessage != "" || len(e.Errors) > 0) {
			return fmt.Errorf("%s %s: %s", method, path, strings.TrimSpace(strings.Join(e.Errors, " ")+" "+e.ErrorMessage))
		}
		return fmt.Errorf("%s %s: status %d", method, path, res.StatusCode)
	}
	switch v := out.(type) {
	case nil:
		return nil
	case io.Writer:
		_, err = io.Copy(v, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// push uploads a package file.
func (c *client) push(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		part, err := form.CreateFormFile("file", filepath.Base(path))
		if err == nil {
			_, err = io.Copy(part, f)
		}
		w.CloseWithError(errors.Join(err, form.Close()))
	}()
	return c.send(ctx, http.MethodPost, "/packages/raw?overwriteMode=IgnoreIfExists", form.FormDataContentType(), r, nil)
}

// until asks again and again, and gives up with ctx or after limit.
func until(ctx context.Context, limit time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s", what, limit)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

type task struct {
	IsCompleted, FinishedSuccessfully bool
	State, ErrorMessage               string
}

// deploy deploys a release and waits for its end; a failure shows the end of the log.
func (c *client) deploy(ctx context.Context, project, version, environment string) error {
	var out struct {
		DeploymentServerTasks []struct{ ServerTaskId string }
	}
	err := c.call(ctx, http.MethodPost, "/deployments/create/untenanted/v1", object{"projectName": project, "releaseVersion": version, "environmentNames": []string{environment}}, &out)
	if err != nil {
		return err
	}
	id := out.DeploymentServerTasks[0].ServerTaskId
	var t task
	err = until(ctx, 2*time.Minute, "deployment to "+environment, func() (bool, error) {
		return t.IsCompleted, c.call(ctx, http.MethodGet, "/tasks/"+id, nil, &t)
	})
	if err != nil {
		return err
	}
	if !t.FinishedSuccessfully {
		var log strings.Builder
		if err := c.call(ctx, http.MethodGet, "/tasks/"+id+"/raw", nil, &log); err != nil {
			return err
		}
		return fmt.Errorf("the deployment to %s is %s: %s\n%s", environment, t.State, t.ErrorMessage, log.String())
	}
	return nil
}
