package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/bundle"
)

func bundleCommand() *command {
	return &command{
		name: "bundle", summary: "Inspect, verify, compare and unpack bundles, receipts and cards from the files alone",
		detail: "These commands need no server, no network and no data folder.",
		sub:    []*command{bundleInspectCommand(), bundleVerifyCommand(), bundleDiffCommand(), bundleExtractCommand(), bundleSplitCommand(), bundleJoinCommand()},
	}
}

func bundleInspectCommand() *command {
	var asJSON bool
	return &command{
		name: "inspect", args: "FILE", min: 1, max: 1,
		summary: "Print what a bundle (.octb), a file of receipts (.octr) or a card (.octid) says, without checking who says it",
		flags:   func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			r, err := withFile(args[0], func(f io.Reader) (*bundle.Report, error) { return bundle.Inspect(ctx, f) })
			if err != nil {
				return err
			}
			return printReport(stdio.Out, r, asJSON)
		},
	}
}

func bundleVerifyCommand() *command {
	var asJSON bool
	var cards []string
	return &command{
		name: "verify", args: "FILE", min: 1, max: 1,
		summary: "Check every signature and digest of a bundle or a file of receipts",
		detail:  "It ends with status 0 only when all of it is genuine. Compare the card's words with those\nthat its people read out: whoever can exchange the bundle may have exchanged the card.",
		flags: func(f *pflag.FlagSet) {
			cardFlag(f, &cards)
			jsonFlag(f, &asJSON)
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			senders, err := readCards(cards)
			if err != nil {
				return err
			}
			r, err := withFile(args[0], func(f io.Reader) (*bundle.Report, error) { return bundle.VerifyFile(ctx, f, senders...) })
			if err != nil {
				return err
			}
			return printReport(stdio.Out, r, asJSON)
		},
	}
}

func bundleDiffCommand() *command {
	var asJSON bool
	return &command{
		name: "diff", args: "OLD NEW", min: 2, max: 2,
		summary: "Print what differs between two bundles; status 1 if anything does",
		detail:  "Signatures are not checked.",
		flags:   func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			var both [2]*bundle.Verified
			for i, path := range args {
				var err error
				both[i], err = withFile(path, func(f io.Reader) (*bundle.Verified, error) {
					v, _, _, err := bundle.Read(ctx, f, (*bundle.Message).Own, nil)
					return v, err
				})
				if err != nil {
					return err
				}
			}
			changes, err := bundle.Diff(both[0], both[1])
			if err != nil {
				return err
			}
			if err := printReport(stdio.Out, changes, asJSON); err != nil {
				return err
			}
			if !changes.Empty() {
				return errQuiet
			}
			return nil
		},
	}
}

func bundleExtractCommand() *command {
	var asJSON bool
	var cards []string
	var to string
	return &command{
		name: "extract", args: "FILE", min: 1, max: 1,
		summary: "Verify a bundle, then write its parts and packages into a new folder",
		detail:  "Values that are sealed stay sealed. A refused file leaves nothing on the disk.",
		flags: func(f *pflag.FlagSet) {
			cardFlag(f, &cards)
			f.StringVar(&to, "to", "", "new `folder` for what is in the bundle (required)")
			jsonFlag(f, &asJSON)
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			if to == "" {
				return &usageError{text: "--to is required: the new folder for what is in the bundle"}
			}
			senders, err := readCards(cards)
			if err != nil {
				return err
			}
			r, err := withFile(args[0], func(f io.Reader) (*bundle.Report, error) { return bundle.Extract(ctx, f, to, senders...) })
			if err != nil {
				return err
			}
			return printReport(stdio.Out, r, asJSON)
		},
	}
}

func jsonFlag(f *pflag.FlagSet, to *bool) {
	f.BoolVar(to, "json", false, "print JSON, for programs; it has the values that are no secrets")
}

func cardFlag(f *pflag.FlagSet, to *[]string) {
	f.StringArrayVar(to, "card", nil, "`file` .octid of a space that may have signed it (required; may be given several times)")
}

// printReport writes what was found, for people or for programs.
func printReport(w io.Writer, v interface{ Text(io.Writer) error }, asJSON bool) error {
	if !asJSON {
		return v.Text(w)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func readCards(paths []string) ([]*bundle.Card, error) {
	if len(paths) == 0 {
		return nil, &usageError{text: "--card is required: without the sender's card nothing can be checked"}
	}
	var out []*bundle.Card
	for _, path := range paths {
		card, err := withFile(path, func(f io.Reader) (*bundle.Card, error) {
			b, err := io.ReadAll(io.LimitReader(f, bundle.MaxReceipt+2))
			if err != nil {
				return nil, err
			}
			return bundle.ParseCard(b)
		})
		if err != nil {
			return nil, err
		}
		out = append(out, card)
	}
	return out, nil
}

// withFile opens a file for one reading; an error says which file it was.
func withFile[T any](path string, read func(io.Reader) (T, error)) (T, error) {
	var none T
	f, err := os.Open(path)
	if err != nil {
		return none, err
	}
	defer f.Close()
	v, err := read(f)
	var e *errs.Error
	switch {
	case err == nil:
		return v, nil
	case errors.As(err, &e):
		return none, &errs.Error{Kind: e.Kind, Message: path + ": " + e.Message, Hint: e.Hint, Fields: e.Fields, Err: e.Err}
	}
	return none, fmt.Errorf("%s: %w", path, err)
}
