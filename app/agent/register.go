package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/pin"
)

// RegisterOptions say how an agent is registered.
type RegisterOptions struct {
	Root    string
	Token   string
	Name    string // "": the host's name
	Listen  string // host:port to listen on; "" makes a polling agent
	Address string // host:port under which the server reaches a listening agent; "": the host's name and the port
	Version string
}

// Register makes the agent's key, tells the server of it and writes agent.json.
// Registering a folder that has an agent already is refused.
func Register(ctx context.Context, o RegisterOptions) (Registered, error) {
	t, err := ParseToken(o.Token)
	if err != nil {
		return Registered{}, err
	}
	if _, err := os.Stat(filepath.Join(o.Root, "agent.json")); err == nil {
		return Registered{}, errs.New(errs.Exists, "There is already an agent in %s.", o.Root).WithHint("Use another folder with --root, or remove this one.")
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return Registered{}, fmt.Errorf("register agent: %w", err)
	}
	id, err := loadIdentity(o.Root, true)
	if err != nil {
		return Registered{}, err
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	reg := Registration{Secret: t.Secret, Name: o.Name, Thumbprint: id.Pin, Mode: "polling", Version: o.Version, OperatingSystem: runtime.GOOS + "/" + runtime.GOARCH}
	cfg := Config{Name: o.Name, Server: t.Server}
	if o.Listen != "" {
		_, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return Registered{}, errs.New(errs.Invalid, "'%s' is no address to listen on; write :10933 or host:port.", o.Listen)
		}
		if o.Address == "" {
			host, _ := os.Hostname()
			o.Address = net.JoinHostPort(host, port)
		}
		reg.Mode, reg.Address, cfg.Listen = "listening", "https://"+o.Address+"/", o.Listen
	} else {
		if t.Poll == "" {
			return Registered{}, errs.New(errs.Blocked, "This server takes no polling agents.").WithHint("Register a listening agent with --listen :10933.")
		}
		cfg.Poll = t.Poll
	}
	out, err := post(ctx, t, reg)
	if err != nil {
		return out, err
	}
	if out.Name != "" {
		cfg.Name = out.Name
	}
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return out, err
	}
	return out, writeFile(filepath.Join(o.Root, "agent.json"), append(b, '\n'))
}

func post(ctx context.Context, t Token, reg Registration) (Registered, error) {
	var out Registered
	u, err := url.Parse(t.URL)
	if err != nil {
		return out, errs.New(errs.Invalid, "The token names no address.")
	}
	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	switch {
	case u.Scheme == "https" && t.Pin != "":
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			if pin.PeerPin(s) != t.Pin {
				return pin.ErrPin
			}
			return nil
		}}}
	case u.Scheme == "https":
		roots, err := x509.SystemCertPool()
		if err != nil {
			return out, err
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	case u.Scheme == "http" && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()):
	default:
		return out, errs.New(errs.Blocked, "The server at %s has no TLS.", t.URL).WithHint("The secret of the token would be readable on the network. Start the server with TLS.")
	}
	body, err := json.Marshal(reg)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(t.URL, "/")+"/api/agents/register", bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return out, errs.Wrap(errs.Unavailable, err, "The server at %s cannot be reached: %v.", t.URL, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return out, err
	}
	if res.StatusCode >= 300 {
		var e struct {
			ErrorMessage string
			Errors       []string
		}
		if json.Unmarshal(b, &e) == nil && (e.ErrorMessage != "" || len(e.Errors) > 0) {
			return out, errs.New(errs.Invalid, "The server refused: %s", strings.Join(append(e.Errors, e.ErrorMessage), " "))
		}
		return out, errs.New(errs.Unavailable, "The server answered with status %d.", res.StatusCode)
	}
	return out, json.Unmarshal(b, &out)
}
