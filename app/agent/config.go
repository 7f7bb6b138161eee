package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/zones/pin"
)

// Config is what stands in agent.json in the agent's folder.
type Config struct {
	Name   string `json:"name"`
	Server string `json:"server"`           // pin of the server's machine key
	Listen string `json:"listen,omitempty"` // host:port of a listening agent
	Poll   string `json:"poll,omitempty"`   // host:port that a polling agent dials
}

// Options are the surroundings of an agent.
type Options struct {
	Root    string // folder of configuration, key and work
	Version string
	Logger  *slog.Logger // nil: slog.Default()
	// Ready, if not nil, is called when a listening agent listens and each time the
	// server has taken a polling one.
	Ready func(address string)
}

// Open reads the configuration that [Register] wrote. Errors: [errs.NotFound] when the
// folder holds no agent, [errs.Invalid] for a configuration that cannot be meant.
func Open(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	b, err := os.ReadFile(filepath.Join(o.Root, "agent.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "There is no agent in %s.", o.Root).WithHint("Register one first: octopuses agent register TOKEN --root %s", o.Root)
	}
	if err != nil {
		return nil, fmt.Errorf("open agent: %w", err)
	}
	a := &Agent{root: o.Root, version: o.Version, log: o.Logger, ready: o.Ready}
	if a.ready == nil {
		a.ready = func(string) {}
	}
	if err := json.Unmarshal(b, &a.cfg); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "agent.json in %s cannot be read: %v.", o.Root, err)
	}
	if len(a.cfg.Server) != 64 || (a.cfg.Listen == "") == (a.cfg.Poll == "") {
		return nil, errs.New(errs.Invalid, "agent.json in %s must name the pin of the server, and either where to listen or where to poll.", o.Root)
	}
	if a.id, err = loadIdentity(o.Root, false); err != nil {
		return nil, err
	}
	if a.work, err = execution.Open(o.Root); err != nil {
		return nil, err
	}
	a.work.Version = o.Version
	return a, nil
}

func loadIdentity(root string, create bool) (pin.Identity, error) {
	path := filepath.Join(root, "agent.key")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		id, err := pin.New()
		if err != nil {
			return id, err
		}
		text, err := id.Marshal()
		if err != nil {
			return id, err
		}
		return id, writeFile(path, text)
	}
	if err != nil {
		return pin.Identity{}, fmt.Errorf("read key of agent: %w", err)
	}
	return pin.Parse(b)
}

// writeFile makes a file that only this user reads, whole or not at all.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".part", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// claim makes sure that one agent serves a folder: two would take each other's
// connection to the server, and start work side by side.
func claim(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, "agent.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim folder of agent: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, errs.New(errs.Busy, "Another agent already runs in %s.", root).WithHint("Stop it first, or give this one a folder of its own with --root.")
	}
	return f, nil
}
