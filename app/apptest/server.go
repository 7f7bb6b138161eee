// Package apptest gives tests a whole server in a temporary folder: people, spaces and
// the door for programs on a port of this machine.
package apptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/app/api"
	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/app/outbound"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/secrets"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/pin"
)

// Password is that of every person of these tests.
const Password = "correct horse battery"

// AdminKey is the API key of the administrator.
const AdminKey = "API-ADMINADMINADMINADMINADMIN1"

// Server is a running server with an administrator, who manages its default space.
type Server struct {
	URL      string
	Key      string // of the administrator
	Admin    instance.User
	Default  instance.Space
	Instance *instance.Instance
	Spaces   *spaces.Registry
	API      *api.Server
	t        testing.TB
}

// Start runs a server until the test ends. configure may fill in hooks before it listens.
func Start(t testing.TB, configure ...func(*api.Server)) *Server {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	masters := secrets.NewMasters(secrets.Master{Key: secrets.NewKey()})
	s := &Server{Key: AdminKey, t: t}
	var err error
	if s.Instance, err = instance.Open(ctx, filepath.Join(dir, "instance.db"), masters, instance.Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if s.Spaces, err = spaces.NewRegistry(spaces.Config{Root: filepath.Join(dir, "spaces"), Masters: masters, Logger: quiet, TaskNumbers: s.taskNumbers}); err != nil {
		t.Fatal(err)
	}
	if s.Admin, _, err = s.Instance.EnsureAdministrator(ctx, "admin", Password, AdminKey); err != nil {
		t.Fatal(err)
	}
	s.Default = s.NewSpace("Default", s.Admin)
	base, stop := context.WithCancel(ctx)
	identity, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	zone := &zones.Service{Identity: identity, Address: func() string { return "127.0.0.1:1" }, Log: quiet}
	s.API = &api.Server{Instance: s.Instance, Spaces: s.Spaces, Zones: zone, Feeds: feeds.New(outbound.Guard{Local: true}, nil), Version: "1.0.0", MaxPackage: 64 << 20, Keys: Keys{masters, s.Instance, s.Spaces}, Log: quiet, Base: base}
	for _, f := range configure {
		f(s.API)
	}
	app := fiber.New(fiber.Config{Immutable: true, StreamRequestBody: true, DisablePreParseMultipartForm: true, DisableStartupMessage: true, ErrorHandler: api.ErrorHandler, ReadTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second})
	s.API.Routes(app)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.URL = "http://" + listener.Addr().String()
	done := make(chan error, 1)
	go func() { done <- app.Listener(listener) }()
	t.Cleanup(func() {
		stop()
		http.DefaultClient.CloseIdleConnections()
		if err := app.ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := s.Spaces.Close(ctx); err != nil {
			t.Errorf("close spaces: %v", err)
		}
		if err := s.Instance.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *Server) taskNumbers(ctx context.Context, ref spaces.Ref, above int64) (first, last int64, err error) {
	about, err := s.Instance.SpaceBy(ctx, ref.ID)
	if err != nil {
		return 0, 0, err
	}
	return s.Instance.GiveTaskNumbers(ctx, about.Number, above)
}

// NewSpace makes a space with a manager.
func (s *Server) NewSpace(name string, manager instance.User) instance.Space {
	s.t.Helper()
	ctx := context.Background()
	made, err := s.Instance.CreateSpace(ctx, instance.System(), instance.SpaceInput{Name: name, Managers: []int64{manager.ID}}, func(name, slug string) (string, error) { return s.Spaces.Create(ctx, name, slug) })
	if err != nil {
		s.t.Fatal(err)
	}
	space := s.Space(made)
	defer space.Release()
	if err := spaces.Initialise(ctx, space); err != nil {
		s.t.Fatal(err)
	}
	return made
}

// NewUser makes a person and an API key.
func (s *Server) NewUser(name string) (instance.User, string) {
	s.t.Helper()
	ctx := context.Background()
	u, err := s.Instance.CreateUser(ctx, instance.System(), instance.UserInput{Username: name, Password: Password, IsActive: true})
	if err != nil {
		s.t.Fatal(err)
	}
	_, key, err := s.Instance.CreateAPIKey(ctx, instance.System(), u, "test", nil, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return u, key
}

// Space opens a space; the caller releases it.
func (s *Server) Space(about instance.Space) *spaces.Space {
	s.t.Helper()
	space, err := s.Spaces.Acquire(context.Background(), spaces.Ref{ID: about.ID(), Folder: about.Folder, Name: about.Name, Slug: about.Slug})
	if err != nil {
		s.t.Fatal(err)
	}
	return space
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Into decodes the body.
func (a Answer) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("decode %d %s: %v", a.Status, a.Body, err)
	}
}

// JSON is the body as a map.
func (a Answer) JSON(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	a.Into(t, &v)
	return v
}

// Do sends a request with a key ("": none). body is nil, bytes, a reader, or what is
// encoded as JSON.
func (s *Server) Do(key, method, path string, body any) Answer {
	s.t.Helper()
	a, err := s.Try(key, method, path, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// Try is Do for requests that may not be answered.
func (s *Server) Try(key, method, path string, body any) (Answer, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	case io.Reader:
		in = b
	default:
		data, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, s.URL+path, in)
	if err != nil {
		return Answer{}, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("X-Octopus-ApiKey", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, res.Header, data}, err
}

// Must is Do by the administrator, which must answer 200 or 201.
func (s *Server) Must(method, path string, body any) map[string]any {
	s.t.Helper()
	a := s.Do(s.Key, method, path, body)
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		s.t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
	}
	if bytes.HasPrefix(a.Body, []byte("[")) {
		return nil
	}
	return a.JSON(s.t)
}

// FinishTask plays the runner: it starts a queued task and ends it.
func (s *Server) FinishTask(about instance.Space, id string, state spaces.TaskState) {
	s.t.Helper()
	space := s.Space(about)
	defer space.Release()
	task, err := spaces.ParseTaskID(id)
	if err != nil {
		s.t.Fatal(err)
	}
	err = spaces.Do(context.Background(), space, spaces.Server(), func(tx *spaces.Tx) error {
		if _, ok, err := tx.StartTask(task); err != nil || !ok {
			return fmt.Errorf("start task: %v, %w", ok, err)
		}
		return tx.FinishTask(task, state, "", false)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}
