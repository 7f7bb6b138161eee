package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces/audit"
)

// httpsSender posts a batch as lines of JSON. Whatever the collector answers with 2xx was
// received.
type httpsSender struct {
	config Config
	client *http.Client
}

func (s *httpsSender) Send(ctx context.Context, batch []audit.Line) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for _, line := range batch {
		if err := out.Encode(line); err != nil {
			return fmt.Errorf("encode entry %s: %w", line.ID, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.Address, &b)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/jsonl")
	req.Header.Set("User-Agent", "octopuses")
	if s.config.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.config.Token)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return outbound.Cause(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", res.Status)
	}
	return nil
}

func (s *httpsSender) Close() { s.client.CloseIdleConnections() }
