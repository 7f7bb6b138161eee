// Package agent is the program on a deployment target: it takes work from one server,
// and from nobody else.
//
// Two ways lead to it. A listening agent opens a port and accepts the server's key; a
// polling agent dials the server and then serves the same protocol on the connection
// that it opened, so that no port of the target need be open. Either way it is
// HTTP/2 over mutual TLS 1.3 with pinned keys; docs/formats/agent.md is the protocol.
package agent

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Paths of the protocol, version 1.
const (
	pathHello    = "/agent/v1/hello"
	pathPackages = "/agent/v1/packages/"   // + digest
	pathWork     = "/agent/v1/executions/" // + id
)

// Hello is what an agent says of itself.
type Hello struct {
	Version         string `json:"version"`
	OperatingSystem string `json:"operatingSystem"`
	Hostname        string `json:"hostname"`
	Bash            bool   `json:"bash"`
	DiskFree        int64  `json:"diskFree"` // bytes
	Formats         []int  `json:"formats"`  // of specs that it understands
}

// PackageState is what an agent has of a package file.
type PackageState struct {
	Have    bool  `json:"have"`
	Partial int64 `json:"partial"` // bytes of an unfinished transfer
}

// Problem is the body of a refusal.
type Problem struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// Token is what a person copies from the server to the target to register an agent.
type Token struct {
	URL    string `json:"url"`            // of the server's browser door
	Pin    string `json:"pin"`            // of the server's TLS key at that door; "" for plain HTTP on loopback
	Secret string `json:"secret"`         // used up by registering
	Server string `json:"server"`         // pin of the server's machine key, which alone may give work
	Poll   string `json:"poll,omitempty"` // host:port for polling agents
	Space  string `json:"space"`          // for people
}

const tokenPrefix = "octopuses-agent:"

// String renders a token in one line.
func (t Token) String() string {
	b, _ := json.Marshal(t)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads a token; white space around it is ignored.
func ParseToken(text string) (Token, error) {
	var t Token
	bad := errs.New(errs.Invalid, "This is no registration token.").WithHint("Copy the whole text that begins with %s from the page of the server.", tokenPrefix)
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok {
		return t, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || json.Unmarshal(b, &t) != nil || t.URL == "" || t.Secret == "" || len(t.Server) != 64 {
		return t, bad
	}
	return t, nil
}

// Registration is what a registering agent sends to POST /api/agents/register.
type Registration struct {
	Secret          string
	Name            string
	Thumbprint      string // pin of the agent's key
	Mode            string // listening, polling
	Address         string // https://host:port/ of a listening agent
	Version         string
	OperatingSystem string
}

// Registered is the answer.
type Registered struct {
	MachineID string `json:"MachineId"`
	Space     string
	Name      string
}
