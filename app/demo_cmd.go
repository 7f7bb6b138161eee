package app

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/demo"
)

func demoCommand() *command {
	var exit, keep bool
	return &command{
		name: "demo", summary: "See a release go from a Dev zone to a Prod zone, on this machine alone",
		detail: "Two servers with two agents each are started on loopback in a temporary folder. A real\n" +
			"application is deployed to Development and Test, promoted over the link between the\n" +
			"zones, accepted, and deployed to Staging and Production; a second version follows, of\n" +
			"which only the difference travels, and a third is carried as a file.",
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&exit, "exit", false, "end when the story is told; without it the servers run until Ctrl-C")
			f.BoolVar(&keep, "keep", false, "keep the temporary folder, to look at it afterwards")
		},
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			folder, err := os.MkdirTemp("", "octopuses-demo-")
			if err != nil {
				return err
			}
			if keep {
				fmt.Fprintln(stdio.Err, "Everything is in", folder)
			} else {
				defer os.RemoveAll(folder)
			}
			return demo.Run(ctx, demo.Options{Folder: folder, Exit: exit, Out: stdio.Out})
		},
	}
}
