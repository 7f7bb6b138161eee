package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
)

func spaceCommand() *command {
	return &command{
		name: "space", summary: "List the spaces of this server, back one up, bring one in",
		sub: []*command{spaceListCommand(), spaceKeyCommand(), spaceBackupCommand(), spaceRestoreCommand(), spaceAdoptCommand()},
	}
}

func spaceListCommand() *command {
	s := newSettings()
	return &command{
		name: "list", summary: "List the spaces and the folder of each",
		flags: func(f *pflag.FlagSet) { s.registerOnly(f, "data", "master-key-file") },
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			return onInstance(ctx, s, func(i *instance.Instance) error {
				all, err := i.Spaces(ctx)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(stdio.Out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "SPACE\tNAME\tFOLDER\tTASK QUEUE")
				for _, one := range all {
					queue := "runs"
					if one.TaskQueueStopped {
						queue = "stopped"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", one.ID(), one.Name, filepath.Join(s.config.Data, "spaces", one.Folder), queue)
				}
				return w.Flush()
			})
		},
	}
}

// refOf names a registered space to the registry of open ones.
func refOf(s instance.Space) spaces.Ref {
	return spaces.Ref{ID: s.ID(), Folder: s.Folder, Name: s.Name, Slug: s.Slug}
}

// onSpace opens a space of a data folder for a command, beside a server that may be
// running: both use the file as any two programs use SQLite. name is an id, a name or a
// slug; "" is the default space.
func onSpace(ctx context.Context, s *settings, name string, do func(*instance.Instance, *spaces.Space) error) error {
	c, err := s.load(os.LookupEnv)
	if err != nil {
		return err
	}
	data, err := openExistingData(&c)
	if err != nil {
		return err
	}
	return onInstance(ctx, s, func(i *instance.Instance) (err error) {
		var row instance.Space
		if name == "" {
			row, err = i.DefaultSpace(ctx)
		} else {
			row, err = i.SpaceBy(ctx, name)
		}
		if err != nil {
			return err
		}
		registry, err := spaces.NewRegistry(spaces.Config{Root: data.spacesFolder(), Masters: data.masters, Marks: spaceMarks{instance: i}, Audited: streamedTo(i), TaskNumbers: spaceMarks{instance: i}.taskNumbers})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, registry.Close(context.WithoutCancel(ctx))) }()
		space, err := registry.Acquire(ctx, refOf(row))
		if err != nil {
			return err
		}
		defer space.Release()
		return do(i, space)
	})
}
