package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

func adminLostKeyCommand() *command {
	s := newSettings()
	var sure bool
	return &command{
		name: "replace-lost-master-key", summary: "Start anew with another master key when the present one is lost for good",
		detail: "What only the lost key opens is forgotten, and named so that it can be entered again:\n" +
			"sensitive values, links between zones, authenticator apps, secrets of identity\n" +
			"providers. The server gets a new identity, so all agents have to be registered anew.\n" +
			"Everything else stays. If there is a copy of the key anywhere, put it back instead.\n\n" +
			"The server must be stopped. Make a copy of the data folder first.",
		flags: func(f *pflag.FlagSet) {
			s.registerOnly(f, "data", "master-key-file")
			f.BoolVar(&sure, "forget-secrets", false, "yes, forget them")
		},
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			c, err := s.load(os.LookupEnv)
			if err != nil {
				return err
			}
			return replaceLostKey(ctx, stdio, &c, sure)
		},
	}
}

func replaceLostKey(ctx context.Context, stdio Stdio, c *Config, sure bool) (err error) {
	path, err := filepath.Abs(c.Data)
	if err != nil {
		return err
	}
	d := &dataFolder{path: path}
	if _, err := os.Stat(d.instanceFile()); err != nil {
		return errs.Wrap(errs.NotFound, err, "There is no server's data in %s.", path).WithHint("Name the folder with --data.")
	}
	if d.lock, err = lockData(path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	masters, file, err := masterKeys(c, d, false)
	switch {
	case err == nil:
		i, err := instance.Open(ctx, d.instanceFile(), masters, instance.Options{})
		if err != nil {
			return err
		}
		opens, err := i.Opens(ctx)
		if err = errors.Join(err, i.Close()); err != nil {
			return err
		}
		if opens && !sure {
			return errs.New(errs.Blocked, "Master key %s opens what this server keeps secret: it is not lost.", masters.Current().ID()).
				WithHint("To exchange it: octopuses admin rotate-master-key. To go on with a replacement that was interrupted: --forget-secrets.")
		}
		if !opens && file != "" { // another key; the right one may turn up
			if !sure {
				break
			}
			if err := os.Rename(file, fmt.Sprintf("%s.wrong-%s", file, time.Now().UTC().Format("20060102-150405"))); err != nil {
				return err
			}
			masters = nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if !sure {
		return errs.New(errs.Blocked, "The master key is lost, and with it every sensitive value.").
			WithHint("Look for a copy of it first. If there is none: the same command with --forget-secrets.")
	}
	if masters == nil {
		m, err := secrets.LoadMaster(file, true)
		if err != nil {
			return fmt.Errorf("the new master key: %w", err)
		}
		masters = secrets.NewMasters(m)
	}
	return forgetSecrets(ctx, stdio, d, masters)
}

// forgetSecrets forgets and says what. Done again it goes on.
func forgetSecrets(ctx context.Context, stdio Stdio, d *dataFolder, masters *secrets.Masters) (err error) {
	i, err := instance.Open(ctx, d.instanceFile(), masters, instance.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	f, err := i.ForgetSecrets(ctx)
	if err != nil {
		return err
	}
	registry, err := spaces.NewRegistry(spaces.Config{Root: d.spacesFolder(), Masters: masters, Logger: slog.New(slog.DiscardHandler), Marks: spaceMarks{instance: i}, TaskNumbers: spaceMarks{instance: i}.taskNumbers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close(context.WithoutCancel(ctx))) }()
	all, err := i.Spaces(ctx)
	if err != nil {
		return err
	}
	out := &strings.Builder{}
	fmt.Fprintf(out, "The master key is %s now. Make a copy of it, elsewhere.\n\nThe server has a new identity: register all agents anew.\n", masters.Current().ID())
	section := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(out, "\n%s\n  %s\n", title, strings.Join(lines, "\n  "))
		}
	}
	section("Without an authenticator app now (they sign in with the password alone until they add one):", f.SecondFactors)
	section("Identity providers, disabled until somebody enters their client secret:", f.Providers)
	var failed []error
	for _, row := range all {
		lost, err := registry.ForgetSecrets(ctx, refOf(row))
		if err != nil {
			failed = append(failed, fmt.Errorf("space %s: %w", row.Name, err))
			continue
		}
		section("To be entered again in "+row.Name+":", lost.Values)
		section("To be linked again in "+row.Name+":", lost.Links)
		if lost.Tasks > 0 {
			section("Canceled in "+row.Name+":", []string{fmt.Sprintf("%d unfinished tasks", lost.Tasks)})
		}
	}
	if _, err := fmt.Fprint(stdio.Out, out.String()); err != nil {
		return err
	}
	return errors.Join(failed...)
}
