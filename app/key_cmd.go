package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

func adminRotateCommand() *command {
	s := newSettings()
	return &command{
		name: "rotate-master-key", summary: "Exchange the master key while the server is stopped",
		detail: "A new key is made, and all that the present one protects is protected with it. The\n" +
			"present one stays beside it as master.key.old-ID: backups that were made before need it.\n" +
			"Keep it with them, and delete it here. It may be interrupted; the next start goes on.\n\n" +
			"A server that runs does it on its page of keys, without a stop.",
		flags: func(f *pflag.FlagSet) { s.registerOnly(f, "data", "master-key-file") },
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			return alone(ctx, s, func(data *dataFolder, i *instance.Instance, registry *spaces.Registry) error {
				id, left, err := rotateMasterKey(ctx, data.keyFile, data.masters, i, registry, instance.System())
				if err != nil {
					return err
				}
				for _, name := range left {
					fmt.Fprintf(stdio.Err, "Not opened, and to be done when it is: %s\n", name)
				}
				_, err = fmt.Fprintf(stdio.Out, "The master key is %s now. Make a copy of %s, elsewhere.\nBackups of before need the old one: %v.\n", id, data.keyFile, oldMasterKeys(data.keyFile))
				return err
			})
		},
	}
}

func spaceKeyCommand() *command {
	s := newSettings()
	return &command{
		name: "rotate-key", args: "SPACE", min: 1, max: 1,
		summary: "Exchange the key of a space and seal all its values with the new one",
		detail:  "The server may run and the space may be used meanwhile. What is interrupted goes on\nwhen the space is opened.",
		flags:   func(f *pflag.FlagSet) { s.registerOnly(f, "data", "master-key-file") },
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return onSpace(ctx, s, args[0], func(_ *instance.Instance, space *spaces.Space) error {
				actor := spaces.Server()
				actor.Via = "command"
				if err := space.RotateKey(ctx, actor); err != nil {
					return err
				}
				k, err := spaces.View(ctx, space, actor, (*spaces.ReadTx).KeyState)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s has its key number %d now, and everything in it is sealed with that.\n", space.Name(), k.Version)
				return err
			})
		},
	}
}

// alone opens a data folder that no server serves, for a command that must be alone with
// it.
func alone(ctx context.Context, s *settings, do func(*dataFolder, *instance.Instance, *spaces.Registry) error) (err error) {
	c, err := s.load(os.LookupEnv)
	if err != nil {
		return err
	}
	if _, err := openExistingData(&c); err != nil {
		return err
	}
	data, err := openData(&c)
	if err != nil {
		if errs.KindOf(err) == errs.Busy {
			return errs.New(errs.Busy, "%s", errs.TextOf(err)).WithHint("A server that runs does this itself: Administration, Keys; or POST /api/server/keys/rotate.")
		}
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	i, err := instance.Open(ctx, data.instanceFile(), data.masters, instance.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	registry, err := spaces.NewRegistry(spaces.Config{Root: data.spacesFolder(), Masters: data.masters, Logger: slog.New(slog.DiscardHandler), Marks: spaceMarks{instance: i}, TaskNumbers: spaceMarks{instance: i}.taskNumbers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close(context.WithoutCancel(ctx))) }()
	return do(data, i, registry)
}
