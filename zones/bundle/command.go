package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/spaces/errs"
)

// Exit statuses of [Command].
const (
	exitOK    = 0
	exitError = 1 // a file is refused, cannot be read, or, for diff, differs
	exitUsage = 2
)

const usage = `Look at cards (.octid), bundles (.octb) and files of receipts (.octr).
These commands need no server, no network and no data folder.

Usage:
  octopuses bundle inspect FILE [--json]
      Print what a file says. All is checked but whose it is.
  octopuses bundle verify FILE --card SENDER.octid [--json]
      Check every signature and digest as well. Compare the words that it prints with
      those that the sender's people read out: whoever can exchange a bundle on its way
      may have exchanged the card too. --card may be given several times.
  octopuses bundle diff OLD.octb NEW.octb [--json]
      Print what differs between two bundles. Signatures are not checked.
  octopuses bundle extract FILE.octb --card SENDER.octid --to FOLDER
      Verify, then write the parts and packages into a new folder. Values that are sealed
      stay sealed.

Exit status: 0 all right, or no difference; 1 refused, unreadable, or different;
2 called wrongly.
`

// usageError says that the command was not called rightly.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// Command runs "octopuses bundle ARGS": the offline look at files. Results go to stdout,
// what is wrong to stderr. A refused file leaves nothing on the disk.
func Command(ctx context.Context, args []string, stdout, stderr io.Writer) (exit int) {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		io.WriteString(stdout, usage)
		return exitOK
	}
	c := &command{out: stdout}
	f := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	run := c.verb(args[0], f)
	if run == nil {
		fmt.Fprintf(stderr, "octopuses bundle: there is no command %q\nTry 'octopuses bundle --help'.\n", args[0])
		return exitUsage
	}
	err := f.Parse(args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		io.WriteString(stdout, usage)
		return exitOK
	case err != nil:
		err = usageError{err.Error()}
	default:
		err = run(ctx, f.Args())
	}
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "octopuses bundle %s: %s\nTry 'octopuses bundle --help'.\n", args[0], wrong)
		return exitUsage
	case errors.Is(err, errDiffers):
		return exitError
	}
	fmt.Fprintf(stderr, "octopuses: %s\n", printable(text(err)))
	return exitError
}

var errDiffers = errors.New("the bundles differ")

// text is an error for whoever sits at the console.
func text(err error) string {
	var e *errs.Error
	if errors.As(err, &e) && e.Kind != errs.Internal {
		return e.Text()
	}
	return err.Error()
}

type command struct {
	out   io.Writer
	json  bool
	cards []string
	to    string
}

// verb defines the flags of a command and returns what it does, or nil.
func (c *command) verb(name string, f *pflag.FlagSet) func(ctx context.Context, args []string) error {
	card := func() { f.StringArrayVar(&c.cards, "card", nil, "") }
	asJSON := func() { f.BoolVar(&c.json, "json", false, "") }
	switch name {
	case "inspect":
		asJSON()
		return c.inspect
	case "verify":
		asJSON()
		card()
		return c.verify
	case "diff":
		asJSON()
		return c.diff
	case "extract":
		asJSON()
		card()
		f.StringVar(&c.to, "to", "", "")
		return c.extract
	}
	return nil
}

func count(args []string, names ...string) error {
	switch {
	case len(args) < len(names):
		return usageError{"it needs " + strings.Join(names, " ")}
	case len(args) > len(names):
		return usageError{fmt.Sprintf("too many arguments, from %q on", args[len(names)])}
	}
	return nil
}

func (c *command) inspect(ctx context.Context, args []string) error {
	if err := count(args, "FILE"); err != nil {
		return err
	}
	r, err := with(args[0], func(f io.Reader) (*Report, error) { return Inspect(ctx, f) })
	if err != nil {
		return err
	}
	return c.print(r)
}

func (c *command) verify(ctx context.Context, args []string) error {
	if err := count(args, "FILE"); err != nil {
		return err
	}
	cards, err := c.readCards()
	if err != nil {
		return err
	}
	r, err := with(args[0], func(f io.Reader) (*Report, error) { return VerifyFile(ctx, f, cards...) })
	if err != nil {
		return err
	}
	return c.print(r)
}

func (c *command) diff(ctx context.Context, args []string) error {
	if err := count(args, "OLD.octb", "NEW.octb"); err != nil {
		return err
	}
	var both [2]*Verified
	for i, path := range args {
		v, err := with(path, func(f io.Reader) (*Verified, error) {
			v, _, _, err := Read(ctx, f, (*Message).Own, nil)
			return v, err
		})
		if err != nil {
			return err
		}
		both[i] = v
	}
	changes, err := Diff(both[0], both[1])
	if err != nil {
		return err
	}
	if err := c.print(changes); err != nil {
		return err
	}
	if !changes.Empty() {
		return errDiffers
	}
	return nil
}

func (c *command) extract(ctx context.Context, args []string) error {
	if err := count(args, "FILE.octb"); err != nil {
		return err
	}
	if c.to == "" {
		return usageError{"--to is required: the new folder for what is in the bundle"}
	}
	cards, err := c.readCards()
	if err != nil {
		return err
	}
	r, err := with(args[0], func(f io.Reader) (*Report, error) { return Extract(ctx, f, c.to, cards...) })
	if err != nil {
		return err
	}
	return c.print(r)
}

func (c *command) readCards() ([]*Card, error) {
	if len(c.cards) == 0 {
		return nil, usageError{"--card is required: without the sender's card nothing can be checked"}
	}
	var out []*Card
	for _, path := range c.cards {
		card, err := with(path, func(f io.Reader) (*Card, error) {
			b, err := io.ReadAll(io.LimitReader(f, MaxReceipt+2))
			if err != nil {
				return nil, err
			}
			return ParseCard(b)
		})
		if err != nil {
			return nil, err
		}
		out = append(out, card)
	}
	return out, nil
}

// with opens a file for one reading.
func with[T any](path string, read func(io.Reader) (T, error)) (T, error) {
	var none T
	f, err := os.Open(path)
	if err != nil {
		return none, err
	}
	defer f.Close()
	v, err := read(f)
	if err != nil {
		var e *errs.Error
		if errors.As(err, &e) {
			return none, &errs.Error{Kind: e.Kind, Message: path + ": " + e.Message, Hint: e.Hint, Fields: e.Fields, Err: err}
		}
		return none, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func (c *command) print(v interface{ Text(io.Writer) error }) error {
	if !c.json {
		return v.Text(c.out)
	}
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
