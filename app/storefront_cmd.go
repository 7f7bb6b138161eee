package app

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/demo"
)

// storefrontCommand is the application that the demonstration deploys.
func storefrontCommand() *command {
	config, check := "appsettings.json", time.Duration(0)
	return &command{
		name: "demo-storefront", summary: "The application of the demonstration", hidden: true,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&config, "config", config, "`file` with the settings")
			f.DurationVar(&check, "check", 0, "do not serve, but wait so long for the application to answer, and print what it says")
		},
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			if check == 0 {
				return demo.Serve(ctx, config)
			}
			answer, err := demo.Check(ctx, config, check)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdio.Out, answer)
			return err
		},
	}
}
