package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/spaces/errs"
)

// Stdio is what a command reads from and writes to. Out is for results, Err for what a
// person should know besides.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exit statuses of [Main].
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// command is a node in the tree of commands: it has either sub-commands or a run.
// A command is made for one call; flags bind into it.
type command struct {
	name    string
	args    string // how arguments are written in the usage, as "BUNDLE"
	min     int    // least number of arguments
	max     int    // greatest, -1: any
	summary string // one line, no full stop
	detail  string // paragraphs
	hidden  bool   // left out of help
	flags   func(f *pflag.FlagSet)
	run     func(ctx context.Context, io Stdio, args []string) error
	sub     []*command
	def     string // the sub-command that is meant when none is named; "": help
}

// usageError says that a command was not called rightly.
type usageError struct {
	path string // as "octopuses space list"
	text string
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%s: %s\nTry '%s --help'.", e.path, e.text, e.path)
}

// Main runs the command line args, without the program's name, and returns the exit
// status. It returns once ctx ends and what runs has stopped.
func Main(ctx context.Context, args []string, stdio Stdio) int {
	err := run(ctx, root(), "", args, stdio)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(stdio.Err, usage)
		return exitUsage
	case errors.Is(err, errQuiet):
		return exitError
	}
	fmt.Fprintln(stdio.Err, "octopuses:", textOf(err))
	return exitError
}

// errQuiet ends a command with status 1 when everything has been said already.
var errQuiet = errors.New("said already")

// textOf is an error for whoever sits at the console, who may also see the cause.
func textOf(err error) string {
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind == errs.Internal {
		return err.Error()
	}
	if e.Err == nil {
		return e.Text()
	}
	return fmt.Sprintf("%s\nThe cause: %v", e.Text(), e.Err)
}

func root() *command {
	return &command{
		name:    "octopuses",
		summary: "A deployment server: releases of your software, from development to production, across zones",
		detail: "Without a command it serves, with its data in ./octopuses-data, and prints where to\n" +
			"go with a browser.",
		def: "serve",
		sub: commands(),
	}
}

// run finds the command and runs it.
func run(ctx context.Context, c *command, parent string, args []string, stdio Stdio) error {
	path := strings.TrimSpace(parent + " " + c.name)
	if len(c.sub) > 0 {
		return runSub(ctx, c, path, args, stdio)
	}
	f := flagSet(c)
	if err := f.Parse(args); errors.Is(err, pflag.ErrHelp) {
		help(stdio.Out, c, path, f)
		return nil
	} else if err != nil {
		return &usageError{path, err.Error()}
	}
	switch rest := f.Args(); {
	case len(rest) < c.min:
		return &usageError{path, "it needs " + c.args}
	case c.max >= 0 && len(rest) > c.max:
		return &usageError{path, fmt.Sprintf("too many arguments, from %q on", rest[c.max])}
	default:
		err := c.run(ctx, stdio, rest)
		var usage *usageError
		if errors.As(err, &usage) && usage.path == "" {
			usage.path = path
		}
		return err
	}
}

func runSub(ctx context.Context, c *command, path string, args []string, stdio Stdio) error {
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	switch {
	case first == "--help" || first == "-h" || first == "help" && len(args) == 1 || first == "" && c.def == "":
		help(stdio.Out, c, path, nil)
		return nil
	case first == "help":
		return runSub(ctx, c, path, append(args[1:len(args):len(args)], "--help"), stdio)
	case first == "--version" && path == c.name:
		first, args = "version", []string{"version"}
	case c.def != "" && (first == "" || strings.HasPrefix(first, "-")):
		first, args = c.def, append([]string{c.def}, args...)
	}
	for _, s := range c.sub {
		if s.name == first {
			return run(ctx, s, path, args[1:], stdio)
		}
	}
	text := fmt.Sprintf("there is no command %q", first)
	if near := nearest(first, c.sub); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return &usageError{path, text}
}

func flagSet(c *command) *pflag.FlagSet {
	f := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SortFlags = false
	if c.flags != nil {
		c.flags(f)
	}
	return f
}

func help(w io.Writer, c *command, path string, f *pflag.FlagSet) {
	fmt.Fprintf(w, "%s.\n", c.summary)
	if c.detail != "" {
		fmt.Fprintf(w, "\n%s\n", c.detail)
	}
	fmt.Fprintf(w, "\nUsage:\n")
	if len(c.sub) > 0 {
		fmt.Fprintf(w, "  %s COMMAND [flags]\n\nCommands:\n", path)
		for _, s := range c.sub {
			if !s.hidden {
				fmt.Fprintf(w, "  %-10s %s\n", s.name, s.summary)
			}
		}
		fmt.Fprintf(w, "\n'%s COMMAND --help' says more about a command.\n", path)
		return
	}
	line := "  " + path
	if c.args != "" {
		line += " " + c.args
	}
	if f.HasAvailableFlags() {
		line += " [flags]"
	}
	fmt.Fprintln(w, line)
	if f.HasAvailableFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", f.FlagUsagesWrapped(100))
	}
}

// nearest is the visible command whose name is at most two letters away, or "".
func nearest(name string, among []*command) string {
	best, at := 3, ""
	for _, c := range among {
		if d := distance(name, c.name); !c.hidden && d < best && d < len(c.name) {
			best, at = d, c.name
		}
	}
	return at
}

// distance is the least number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}
