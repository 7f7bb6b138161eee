package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/execution"
)

func serveCommand() *command {
	s := newSettings()
	return &command{
		name: "serve", summary: "Run the server; what octopuses does when it is called without a command",
		detail: "Everything that lasts is in the folder of --data. A new one is made with a master\n" +
			"key in keys/master.key: keep a copy of that key elsewhere.\n\n" +
			"Every flag can stand in the environment (OCTOPUSES_LISTEN for --listen) and in the\n" +
			"configuration file; 'octopuses config' prints what counts. Only in the environment or\n" +
			"the file: OCTOPUSES_MASTER_KEY, and ADMIN_USERNAME, ADMIN_PASSWORD and ADMIN_API_KEY,\n" +
			"which make the first administrator without a browser.",
		flags: func(f *pflag.FlagSet) { s.register(f) },
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			c, err := s.load(os.LookupEnv)
			if err != nil {
				return err
			}
			return serve(ctx, c, stdio)
		},
	}
}

// server is everything a running server is made of. It is put together by [openServer]
// and works in [server.run].
type server struct {
	cfg      Config
	version  string
	log      *slog.Logger
	masker   *execution.Masker // secrets that no log line may show; Add is safe at any time
	notify   *notifier
	data     *dataFolder
	instance *instance.Instance
	spaces   *spaces.Registry
	began    time.Time
	rooms
}

// serve opens the server, runs it until ctx ends, and closes it.
func serve(ctx context.Context, c Config, stdio Stdio) error {
	masker := new(execution.Masker)
	for _, secret := range c.secrets() {
		masker.Add(secret)
	}
	log := newLogger(stdio.Err, c.LogFormat, c.LogLevel, masker)
	s, err := openServer(ctx, c, log, masker)
	if err != nil {
		return err
	}
	return errors.Join(s.run(ctx, stdio), s.close())
}

// openServer opens what lasts: the folder, the master key, instance.db with its
// migrations, the registry of spaces, and the administrator of the environment. It starts
// nothing.
func openServer(ctx context.Context, c Config, log *slog.Logger, masker *execution.Masker) (*server, error) {
	s := &server{cfg: c, version: Version(), log: log, masker: masker, notify: newNotifier(os.LookupEnv, log), began: time.Now(), rooms: rooms{auditWake: make(chan struct{}, 1), hooks: make(chan spaces.Ref, 256)}}
	var err error
	if s.data, err = openData(&c); err != nil {
		return nil, err
	}
	if s.instance, err = instance.Open(ctx, s.data.instanceFile(), s.data.masters, instance.Options{Logger: log, SessionIdle: s.cfg.SessionIdle, SessionMax: s.cfg.SessionMax, Recorded: s.auditRecorded}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.spaces, err = spaces.NewRegistry(spaces.Config{Root: s.data.spacesFolder(), Masters: s.data.masters, Logger: log, Wake: s.wake, Marks: spaceMarks{s.instance, s.linked, s.auditRecorded}, Audited: streamedTo(s.instance), Notify: s.eventsFor, TaskNumbers: spaceMarks{instance: s.instance}.taskNumbers, Committed: c.committed}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.finishKeys(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.furnish(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if c.AdminUsername != "" {
		_, made, err := s.instance.EnsureAdministrator(ctx, c.AdminUsername, c.AdminPassword, c.AdminAPIKey)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the administrator of the environment: %w", err), s.close())
		}
		if made {
			log.Info("first administrator made", "actor", c.AdminUsername)
		}
	}
	return s, nil
}

// run starts the loops, in the order in which they need each other, and returns when
// ctx has ended and all have stopped: doors first, then what does the work, then the
// files.
func (s *server) run(ctx context.Context, stdio Stdio) error {
	life := newLifetime(s.log)
	share := s.cfg.Stop / 4

	files := life.stage("spaces", share)
	life.loop(files, "idle spaces", s.spaces.Run)
	life.loop(files, "watchdog", func(ctx context.Context) error { return s.notify.run(ctx, s.healthy) })

	work := life.stage("work", share)
	s.startWork(life, work)

	machines := life.stage("doors for machines", share)
	if err := s.openMachineDoors(life, machines); err != nil {
		return errors.Join(err, life.stop(nil))
	}
	people := life.stage("door for people", share)
	url, err := s.openPeopleDoor(ctx, life, people)
	if err != nil {
		return errors.Join(err, life.stop(nil))
	}
	s.log.Info("serving", "url", url, "data", s.data.path, "version", s.version, "elapsed_ms", time.Since(s.began).Milliseconds())
	s.notify.ready("serving " + url)
	if err := s.welcome(ctx, stdio, url); err != nil {
		return errors.Join(err, life.stop(nil))
	}
	context.AfterFunc(ctx, func() {
		s.log.Info("stopping")
		s.notify.stopping(s.cfg.Stop)
	})
	return life.wait(ctx)
}

// close gives back what openServer opened, in reverse. It may be called on a server that
// was opened in part.
func (s *server) close() error {
	var all []error
	if s.spaces != nil {
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Stop/4)
		defer cancel()
		all = append(all, s.spaces.Close(ctx))
	}
	if s.instance != nil {
		all = append(all, s.instance.Close())
	}
	if s.data != nil {
		all = append(all, s.data.Close())
	}
	return errors.Join(all...)
}

// healthy says whether the server can do its work: its own file answers.
func (s *server) healthy(ctx context.Context) error {
	_, err := s.instance.HasPeople(ctx)
	return err
}
