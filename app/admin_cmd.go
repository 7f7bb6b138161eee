package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces/errs"
)

func adminCommand() *command {
	return &command{
		name: "admin", summary: "Create an administrator, reset a password or a second factor, create an API key",
		detail: "These commands work on the data folder itself, whether the server runs or not.\nWhoever may read that folder may call them.",
		sub:    []*command{adminCreateCommand(), adminPasswordCommand(), adminFactorsCommand(), adminKeyCommand(), adminRotateCommand(), adminLostKeyCommand()},
	}
}

// onInstance opens instance.db for a command and closes it again.
func onInstance(ctx context.Context, s *settings, do func(*instance.Instance) error) (err error) {
	c, err := s.load(os.LookupEnv)
	if err != nil {
		return err
	}
	data, err := openExistingData(&c)
	if err != nil {
		return err
	}
	i, err := instance.Open(ctx, data.instanceFile(), data.masters, instance.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	return do(i)
}

func adminCreateCommand() *command {
	s := newSettings()
	var email string
	return &command{
		name: "create", args: "USERNAME", min: 1, max: 1,
		summary: "Create the first administrator",
		detail:  "The password is asked for, or read as one line from standard input.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&email, "email", "", "`address` of the administrator")
			s.registerOnly(f, "data", "master-key-file")
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return onInstance(ctx, s, func(i *instance.Instance) error {
				password, err := readPassword(stdio)
				if err != nil {
					return err
				}
				u, err := i.CreateFirstAdministrator(ctx, instance.System(), "", instance.UserInput{Username: args[0], Email: email, Password: password, IsActive: true})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s administers this server now.\n", u.Username)
				return err
			})
		},
	}
}

func adminPasswordCommand() *command {
	s := newSettings()
	return &command{
		name: "password", args: "USERNAME", min: 1, max: 1,
		summary: "Set a new password, end all sessions of that user, and let a deactivated one in again",
		detail:  "The password is asked for, or read as one line from standard input.",
		flags:   func(f *pflag.FlagSet) { s.registerOnly(f, "data", "master-key-file") },
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return onInstance(ctx, s, func(i *instance.Instance) error {
				password, err := readPassword(stdio)
				if err != nil {
					return err
				}
				if err := i.SetPassword(ctx, args[0], password); err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s has a new password; all sessions were ended.\n", args[0])
				return err
			})
		},
	}
}

func adminFactorsCommand() *command {
	s := newSettings()
	return &command{
		name: "remove-factors", args: "USERNAME", min: 1, max: 1,
		summary: "Remove authenticator app, passkeys and recovery codes of a user, and end all sessions",
		detail:  "For somebody who lost them. The password alone lets that user in afterwards.",
		flags:   func(f *pflag.FlagSet) { s.registerOnly(f, "data", "master-key-file") },
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return onInstance(ctx, s, func(i *instance.Instance) error {
				u, err := i.UserBy(ctx, args[0])
				if err != nil {
					return err
				}
				if err := i.RemoveSecondFactors(ctx, instance.System(), u); err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s signs in with the password alone now; all sessions were ended.\n", u.Username)
				return err
			})
		},
	}
}

func adminKeyCommand() *command {
	s := newSettings()
	var purpose string
	return &command{
		name: "key", args: "USERNAME", min: 1, max: 1,
		summary: "Create an API key of a user and print it, this once",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&purpose, "purpose", "Made at the console", "what the key is for, as `text`")
			s.registerOnly(f, "data", "master-key-file")
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return onInstance(ctx, s, func(i *instance.Instance) error {
				u, err := i.UserBy(ctx, args[0])
				if err != nil {
					return err
				}
				_, key, err := i.CreateAPIKey(ctx, instance.System(), u, purpose, nil, "")
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(stdio.Out, key)
				return err
			})
		},
	}
}

// readPassword asks on a terminal, twice and without showing it, and reads one line
// otherwise.
func readPassword(stdio Stdio) (string, error) {
	f, ok := stdio.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(stdio.In, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errs.New(errs.Invalid, "There is no password on standard input.")
		}
		return line, nil
	}
	ask := func(text string) (string, error) {
		fmt.Fprint(stdio.Err, text)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(stdio.Err)
		return string(b), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask("Once more: ")
	if err == nil && first != second {
		err = errs.New(errs.Invalid, "The two passwords differ.")
	}
	return first, err
}
