package app

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker when a release is built: -X octopuses.dev/octopuses/app.version=1.2.3
var version string

// Version is the version of this program: of a release as it was named, of another
// build made of the commit that it came from.
func Version() string {
	if version != "" {
		return version
	}
	commit, changed := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				commit = s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = ".changed"
			}
		}
	}
	return "0.0.0-dev+" + commit + changed
}

func versionCommand() *command {
	return &command{
		name: "version", summary: "Print the version",
		run: func(_ context.Context, stdio Stdio, _ []string) error {
			_, err := fmt.Fprintf(stdio.Out, "octopuses %s %s/%s %s\n", Version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}
