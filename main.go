// Octopuses is a deployment server in one program: the server, the agent on its
// targets, the command line and the offline verifier of bundles.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"octopuses.dev/octopuses/app"
	"octopuses.dev/octopuses/spaces/execution"
)

func main() {
	// An agent starts this same program for each piece of work, in a session of its own.
	if execution.MaybeShim(os.Args) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default handling is back: a second one ends us at once.
	context.AfterFunc(ctx, stop)
	os.Exit(app.Main(ctx, os.Args[1:], app.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
