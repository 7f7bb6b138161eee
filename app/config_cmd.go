package app

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/pflag"
)

func configCommand() *command {
	s := newSettings()
	return &command{
		name: "config", summary: "Print every setting and where its value came from",
		detail: "A flag counts more than an environment variable, that more than the configuration\n" +
			"file, and that more than the default. The file is TOML, its keys are the names in the\n" +
			"first column. Secrets are not shown; they have no flag, since other users of a\n" +
			"machine can read command lines.",
		flags: func(f *pflag.FlagSet) { s.register(f) },
		run: func(_ context.Context, stdio Stdio, _ []string) error {
			if _, err := s.load(os.LookupEnv); err != nil {
				return err
			}
			w := tabwriter.NewWriter(stdio.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SETTING\tVALUE\tFROM\tENVIRONMENT")
			for _, one := range s.list {
				value := one.shown()
				if value == "" {
					value = "–"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", one.flag.Name, value, one.from, one.env)
			}
			return w.Flush()
		},
	}
}
