// Package app is the composition root: the command line, the configuration, the log,
// and the order in which a server comes up and goes down.
//
// A command is a [command] in a tree; main runs it with [Main] and exits with what that
// returns: 0 done, 1 it failed (the reason is on standard error), 2 it was not called
// rightly. Nothing else in the program ends the process.
//
// The server is put together in serve_cmd.go. Only this package starts goroutines that
// outlive a call; every other one offers Run(ctx) error, which becomes a named loop in a
// stage of a [lifetime].
package app
