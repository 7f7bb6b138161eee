package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/secrets"
)

func spaceBackupCommand() *command {
	s := newSettings()
	return &command{
		name: "backup", args: "SPACE FOLDER", min: 2, max: 2,
		summary: "Copy a space into a new folder while the server runs",
		detail: "SPACE is its name, address or id. The folder holds the space as of one moment: its file,\n" +
			"package files, task logs, and a manifest with the digest of each. Secrets stay sealed in\n" +
			"it; whoever restores them elsewhere needs this server's master key, which is not in it.",
		flags: func(f *pflag.FlagSet) { s.registerOnly(f, "data", "master-key-file") },
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return onSpace(ctx, s, args[0], func(_ *instance.Instance, space *spaces.Space) error {
				folder, err := filepath.Abs(args[1])
				if err != nil {
					return err
				}
				m, err := space.Backup(ctx, folder)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s is in %s: %d files, %d bytes.\nIts secrets open with master key %s, which is not in it: keep that somewhere else.\n", m.Name, folder, len(m.Files), m.Bytes(), m.MasterKey)
				return err
			})
		},
	}
}

// arrival is what restore and adopt are told.
type arrival struct {
	*settings
	name, manager, keyFile string
}

func (a *arrival) register(f *pflag.FlagSet) {
	f.StringVar(&a.name, "name", "", "`name` of the space here; by default the one that it had")
	f.StringVar(&a.manager, "manager", "", "`username` of who manages it here; by default the administrators")
	f.StringVar(&a.keyFile, "key-file", "", "`file` with the master key of the server that it comes from, if that is another")
	a.registerOnly(f, "data", "master-key-file")
}

const arrivalDetail = "It begins a new life: deployments that were not finished are not run again, its task queue\n" +
	"is stopped until somebody starts it, and linked zones see that it was copied. Do not let the\n" +
	"space that it was copied from go on beside it.\n" +
	"Agents trust the server that they were registered with: register them here anew."

func spaceRestoreCommand() *command {
	a := &arrival{settings: newSettings()}
	return &command{
		name: "restore", args: "FOLDER", min: 1, max: 1,
		summary: "Bring a space back from a backup, on this server or another one",
		detail:  "Every file is checked against the manifest first. " + arrivalDetail,
		flags:   a.register,
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			m, err := spaces.ReadBackup(ctx, args[0])
			if err != nil {
				return err
			}
			if a.name == "" {
				a.name = m.Name
			}
			return a.bring(ctx, stdio, args[0])
		},
	}
}

func spaceAdoptCommand() *command {
	a := &arrival{settings: newSettings()}
	return &command{
		name: "adopt", args: "FOLDER", min: 1, max: 1,
		summary: "Bring in a copied folder of a space of another server",
		detail:  "The folder is copied and stays as it is. Copy it while its server is stopped, or while the\nspace is idle. " + arrivalDetail,
		flags:   a.register,
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			about, err := spaces.LookAt(ctx, args[0])
			if err != nil {
				return err
			}
			if a.name == "" {
				a.name = about.Name
			}
			return a.bring(ctx, stdio, args[0])
		},
	}
}

func (a *arrival) bring(ctx context.Context, stdio Stdio, folder string) error {
	return onInstance(ctx, a.settings, func(i *instance.Instance) (err error) {
		c, err := a.load(os.LookupEnv)
		if err != nil {
			return err
		}
		data, err := openExistingData(&c)
		if err != nil {
			return err
		}
		was := data.masters.Current()
		if a.keyFile != "" {
			if was, err = secrets.LoadMaster(a.keyFile, false); err != nil {
				return errs.Wrap(errs.Invalid, err, "The master key in %s cannot be read.", a.keyFile)
			}
		}
		managers, err := a.managers(ctx, i)
		if err != nil {
			return err
		}
		registry, err := spaces.NewRegistry(spaces.Config{Root: data.spacesFolder(), Masters: data.masters, Marks: spaceMarks{instance: i}, Audited: streamedTo(i), TaskNumbers: spaceMarks{instance: i}.taskNumbers})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, registry.Close(context.WithoutCancel(ctx))) }()
		made := ""
		row, err := i.CreateSpace(ctx, instance.System(), instance.SpaceInput{Name: a.name, TaskQueueStopped: true, Managers: managers, Marks: []string{spaces.MarkWork}}, func(name, slug string) (string, error) {
			made, err = registry.Adopt(ctx, folder, slug, name, was)
			return made, err
		})
		if err != nil {
			if made != "" {
				err = errors.Join(err, registry.Forsake(made))
			}
			return err
		}
		space, err := registry.Acquire(ctx, refOf(row)) // puts its other marks right, for agents that call a running server
		if err != nil {
			return err
		}
		space.Release()
		_, err = fmt.Fprintf(stdio.Out, "%s is %s now, in %s.\nIts task queue is stopped; start it in its settings when its targets are registered here.\n", row.Name, row.ID(), filepath.Join(data.spacesFolder(), row.Folder))
		return err
	})
}

// managers are who enters the space first.
func (a *arrival) managers(ctx context.Context, i *instance.Instance) ([]int64, error) {
	if a.manager != "" {
		u, err := i.UserBy(ctx, a.manager)
		return []int64{u.ID}, err
	}
	t, err := i.TeamBy(ctx, "teams-administrators")
	if err != nil {
		return nil, err
	}
	if len(t.Members) == 0 {
		return nil, errs.New(errs.Invalid, "Nobody administers this server yet, so nobody could enter the space.").WithHint("Make an administrator first: octopuses admin create NAME.")
	}
	return t.Members, nil
}
