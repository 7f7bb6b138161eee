// Package execution is one piece of work on one machine: what is to be done ([Spec]),
// where it is done ([Workspace]), how it is going ([Status], [LogEntry]).
//
// A piece of work has an id that the server chose. Starting an id twice is starting it
// once. The work itself is done by a shim, a process of its own session that outlives
// whoever started it, does one piece at a time, and writes log, output and end into the
// execution's folder:
//
//	work/<id>/spec.json    what to do; its variables are removed at the end
//	work/<id>/lock         held by the shim as long as it is at it
//	work/<id>/begun        written before the first effect
//	work/<id>/log.jsonl    one LogEntry a line, already masked
//	work/<id>/status.json  the end, written last
//
// So after a crash it is known what happened: an end is an end; a held lock is running
// work; neither, but begun, is unknown, and is said to be so and never run again;
// neither and not begun is started (again), since nothing has happened.
//
// The package knows no network and no database.
package execution
