package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones"
)

func zonePackagesCommand() *command {
	z := newZoneFlags()
	return &command{
		name: "packages", args: "FILE | FOLDER...", min: 1, max: -1,
		summary: "Take package files that releases in the inbox lack, from files or folders", flags: z.register,
		detail: "Names do not matter: a file counts by its bytes. In a folder, what nobody waits for is\nleft alone; a file that is named must be awaited. Status 1 while something is lacking.",
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				return givePackages(ctx, stdio, service, s, args)
			})
		},
	}
}

func givePackages(ctx context.Context, stdio Stdio, service *zones.Service, s *spaces.Space, paths []string) error {
	awaited, err := service.Awaited(ctx, s, spaces.Server(), 0)
	if err != nil {
		return err
	}
	if len(awaited) == 0 {
		return errs.New(errs.Blocked, "No release in the inbox of %s lacks a package file.", s.Name())
	}
	give := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		a, err := service.GivePackage(ctx, s, spaces.Server(), awaited, path, f)
		if err != nil {
			return err
		}
		awaited = slices.DeleteFunc(awaited, func(o zones.Awaited) bool { return o.Digest == a.Digest })
		_, err = fmt.Fprintf(stdio.Out, "%s is %s %s of release %s of %s.\n", path, a.ID, a.Version, a.Inbound.Version, a.Inbound.ProjectName)
		return err
	}
	for _, path := range paths {
		about, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !about.IsDir() {
			if err := give(path); err != nil {
				return err
			}
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			about, err := e.Info()
			if err != nil || !about.Mode().IsRegular() || !slices.ContainsFunc(awaited, func(a zones.Awaited) bool { return a.Size == about.Size() }) {
				continue // by its size alone it is none of them
			}
			file := filepath.Join(path, e.Name())
			if err := give(file); errs.KindOf(err) == errs.Invalid {
				fmt.Fprintln(stdio.Err, errs.TextOf(err))
			} else if err != nil {
				return err
			}
		}
	}
	if len(awaited) == 0 {
		return nil
	}
	for _, a := range awaited {
		fmt.Fprintf(stdio.Err, "Still lacking for release %s of %s: %s\n", a.Inbound.Version, a.Inbound.ProjectName, a)
	}
	return errQuiet
}

func zoneVerifyCommand() *command {
	var words string
	return &command{
		name: "verify", args: "CARD", min: 1, max: 1,
		summary: "Check a card (.octid) and print its words, from the file alone",
		detail:  "The signature shows that the card is whole, and not whose it is: that is what the words\nare for, which its people read out. It needs no server, no network and no data folder.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&words, "words", "", "the last three `words` that they read out; status 1 if these are others")
		},
		run: func(_ context.Context, stdio Stdio, args []string) error {
			cards, err := readCards(args)
			if err != nil {
				return err
			}
			c := cards[0]
			if words != "" && !c.CheckWords(words) {
				return errs.New(errs.Invalid, "These are not the last three words of %s.", args[0]).WithHint("Ask again on another channel; if they stay different, somebody exchanged the card.")
			}
			_, err = fmt.Fprintf(stdio.Out, "The card of %s, short code %s. Its words:\n    %s\n", c.Name, c.ShortCode(), strings.Join(c.Words(), " "))
			return err
		},
	}
}
