// Package feeds fetches packages from feeds outside. It speaks NuGet v3: a service index
// names the resource PackageBaseAddress/3.0.0, below which each package has a list of its
// versions and its files
// (https://learn.microsoft.com/nuget/api/package-base-address-resource).
package feeds

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/versions"
)

const (
	answerTime = 30 * time.Second // for a document, or the beginning of a file
	fileTime   = 2 * time.Hour    // for a whole file
	maxJSON    = 8 << 20          // bytes of a document; nuget.org's longest list of versions has some 100 KB
	redirects  = 5
)

// Client calls feeds. What it calls is what people typed, so the guard decides where to.
type Client struct{ http *http.Client }

// New makes a client. Redirects are followed, as many feeds keep their files elsewhere, but
// never from https to http, and without the password when host or port change.
// config nil trusts the certificates of the system.
func New(guard outbound.Guard, config *tls.Config) *Client {
	c := guard.Client(fileTime, config)
	c.Transport.(*http.Transport).TLSHandshakeTimeout = answerTime
	c.Transport.(*http.Transport).ResponseHeaderTimeout = answerTime
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return guard.Dialer(answerTime).DialContext(ctx, network, address)
	}
	c.CheckRedirect = func(to *http.Request, via []*http.Request) error {
		if len(via) > redirects || via[0].URL.Scheme == "https" && to.URL.Scheme != "https" {
			return http.ErrUseLastResponse
		}
		if to.URL.Host != via[0].URL.Host { // net/http takes another port for the same host
			to.Header.Del("Authorization")
		}
		return nil
	}
	return &Client{c}
}

// Feed is where to call and as whom.
type Feed struct{ Name, URI, Username, Password string }

// Versions lists the versions of a package as the feed writes them, oldest first; none for
// a package that it does not have. Errors: [errs.Unavailable] when the feed cannot be
// reached or answers with something else, with its own words left out of the text.
func (c *Client) Versions(ctx context.Context, f Feed, id string) ([]string, error) {
	base, err := c.base(ctx, f)
	if err != nil {
		return nil, err
	}
	return c.versions(ctx, f, base, id)
}

// Open begins to read a package file (.nupkg). The caller closes it and counts its bytes.
// Errors: [errs.NotFound] when the feed does not have it; [errs.Unavailable].
func (c *Client) Open(ctx context.Context, f Feed, id, version string) (io.ReadCloser, error) {
	want, err := versions.Parse(version)
	if err != nil {
		return nil, err
	}
	base, err := c.base(ctx, f)
	if err != nil {
		return nil, err
	}
	all, err := c.versions(ctx, f, base, id)
	if err != nil {
		return nil, err
	}
	for _, text := range all {
		if v, err := versions.Parse(text); err != nil || versions.Compare(v, want) != 0 {
			continue
		}
		id, text := strings.ToLower(id), strings.ToLower(text)
		res, err := c.get(ctx, f, base.JoinPath(url.PathEscape(id), url.PathEscape(text), url.PathEscape(id+"."+text+".nupkg")).String())
		if err != nil {
			return nil, err
		}
		if res == nil {
			break
		}
		return res.Body, nil
	}
	return nil, errs.New(errs.NotFound, "The feed %s has no %s %s.", f.Name, id, version)
}

func (c *Client) base(ctx context.Context, f Feed) (*url.URL, error) {
	var index struct {
		Resources []struct {
			ID   string `json:"@id"`
			Type string `json:"@type"`
		} `json:"resources"`
	}
	found, err := c.document(ctx, f, f.URI, &index)
	if err != nil {
		return nil, err
	}
	own, err := url.Parse(f.URI)
	if err != nil {
		return nil, fmt.Errorf("address of feed: %w", err)
	}
	for _, r := range index.Resources {
		if r.Type != "PackageBaseAddress/3.0.0" {
			continue
		}
		u, err := own.Parse(r.ID)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || own.Scheme == "https" && u.Scheme != "https" || u.User != nil {
			return nil, odd(f, "it keeps its packages at an address that is not called")
		}
		return u, nil
	}
	if !found {
		return nil, odd(f, "there is nothing at its address")
	}
	return nil, odd(f, "it names no PackageBaseAddress/3.0.0")
}

func (c *Client) versions(ctx context.Context, f Feed, base *url.URL, id string) ([]string, error) {
	if id == "" || len(id) > 200 || strings.ContainsAny(id, "/\\?#%") || strings.Trim(id, ".") == "" {
		return nil, errs.New(errs.Invalid, "'%.200s' is no name of a package.", id)
	}
	var list struct {
		Versions []string `json:"versions"`
	}
	_, err := c.document(ctx, f, base.JoinPath(url.PathEscape(strings.ToLower(id)), "index.json").String(), &list)
	return list.Versions, err
}

// document reads a JSON document; found is false when there is none.
func (c *Client) document(ctx context.Context, f Feed, at string, into any) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	res, err := c.get(ctx, f, at)
	if err != nil || res == nil {
		return false, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxJSON+1))
	switch {
	case err != nil:
		return true, unreachable(f, err)
	case len(b) > maxJSON:
		return true, odd(f, "its answer is too long")
	}
	if err := json.Unmarshal(b, into); err != nil {
		return true, odd(f, "its answer is no JSON")
	}
	return true, nil
}

// get asks for an address; nil without an error when there is nothing.
func (c *Client) get(ctx context.Context, f Feed, at string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("ask feed: %w", err)
	}
	req.Header.Set("User-Agent", "Octopuses")
	// A feed may keep its files on another host, which is not to have the password.
	if own, err := url.Parse(f.URI); err == nil && f.Username != "" && own.Host == req.URL.Host && own.Scheme == req.URL.Scheme {
		req.SetBasicAuth(f.Username, f.Password)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(f, err)
	}
	switch res.StatusCode {
	case http.StatusOK:
		return res, nil
	case http.StatusNotFound:
		err = nil
	case http.StatusUnauthorized, http.StatusForbidden:
		err = odd(f, "it refuses the name and password")
	default:
		err = odd(f, "it answers "+res.Status)
	}
	_ = res.Body.Close()
	return nil, err
}

func unreachable(f Feed, err error) error {
	cause := outbound.Cause(err)
	var known *errs.Error
	if errors.As(cause, &known) {
		return known
	}
	return errs.Wrap(errs.Unavailable, cause, "The feed %s cannot be reached: %v.", f.Name, cause)
}

func odd(f Feed, why string) error {
	return errs.New(errs.Unavailable, "The feed %s cannot be used: %s.", f.Name, why).WithHint("Look at its address, which ends with index.json for most, and at its name and password.")
}
