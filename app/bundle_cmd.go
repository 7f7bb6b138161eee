package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/bundle"
)

func bundleCommand() *command {
	return &command{
		name: "bundle", summary: "Inspect, verify and compare bundles, receipts and cards from the files alone",
		detail: "These commands need no server, no network and no data folder.",
		sub:    []*command{bundleInspectCommand(), bundleVerifyCommand(), bundleDiffCommand()},
	}
}

func bundleInspectCommand() *command {
	return &command{
		name: "inspect", args: "FILE", min: 1, max: 1,
		summary: "Print what a bundle (.octb), a file of receipts (.octr) or a card (.octid) says, without checking who says it",
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			switch filepath.Ext(args[0]) {
			case ".octid":
				return inspectCard(stdio.Out, f)
			case ".octr":
				from, to, envelopes, err := bundle.ReadReceipts(f)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%d receipts from space %s for space %s\n'octopuses bundle verify --card' checks and lists them.\n", len(envelopes), from, to)
				return err
			}
			v, packages, err := readBundle(ctx, f, func(m *bundle.Message) (*bundle.Verified, error) { return m.Own() })
			if err != nil {
				return err
			}
			fmt.Fprintln(stdio.Out, "not checked   the signature; 'octopuses bundle verify' does that")
			return printBundle(stdio.Out, v, packages)
		},
	}
}

func bundleVerifyCommand() *command {
	var card string
	return &command{
		name: "verify", args: "FILE", min: 1, max: 1,
		summary: "Check every signature and digest of a bundle or a file of receipts",
		detail:  "It ends with status 0 only when all of it is genuine. Compare the card's words with those\nthat its people read out: whoever can exchange the bundle may have exchanged the card.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&card, "card", "", "`file` .octid of the space that is said to have made it (required)")
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			if card == "" {
				return &usageError{text: "--card is required: without the sender's card nothing can be checked"}
			}
			b, err := os.ReadFile(card)
			if err != nil {
				return err
			}
			sender, err := bundle.ParseCard(b)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if filepath.Ext(args[0]) == ".octr" {
				return verifyReceipts(stdio.Out, f, sender)
			}
			v, packages, err := readBundle(ctx, f, func(m *bundle.Message) (*bundle.Verified, error) { return m.Verify(sender, "") })
			if err != nil {
				return err
			}
			fmt.Fprintf(stdio.Out, "signed by     %s (%s)\n", sender.Name, strings.Join(sender.Words(), " "))
			if err := printBundle(stdio.Out, v, packages); err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdio.Out, "verdict       genuine; not checked: whether it is newer than what the target has (needs the server)")
			return err
		},
	}
}

// readBundle reads a bundle file to its end, by which every package in it is checked
// against its signed digest.
func readBundle(ctx context.Context, r io.Reader, choose func(*bundle.Message) (*bundle.Verified, error)) (*bundle.Verified, []bundle.Package, error) {
	v, _, packages, err := bundle.Read(ctx, r, choose, func(bundle.Package) (io.WriteCloser, error) { return discard{}, nil })
	return v, packages, err
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

func printBundle(w io.Writer, v *bundle.Verified, packages []bundle.Package) error {
	p := v.Promotion
	sensitive := 0
	for _, one := range v.Variables {
		if one.Sensitive {
			sensitive++
		}
	}
	fmt.Fprintf(w, "release       %s %s, made %s by %s\n", p.Project.Name, p.Release.Version, p.Release.Created, p.Release.By)
	fmt.Fprintf(w, "core          %s\n", p.Core)
	fmt.Fprintf(w, "from, for     space %s, for space %s, message %d\n", p.Link.From, p.Link.To, p.Link.Seq)
	for _, e := range v.Evidence {
		fmt.Fprintf(w, "evidence      %s: %s %s %s\n", e.SpaceName, e.Environment, e.State, e.Ended)
	}
	for _, one := range p.Packages {
		where := "not in this file"
		if slices.ContainsFunc(packages, func(had bundle.Package) bool { return had.Digest == one.Digest }) {
			where = "in this file, digest right"
		}
		fmt.Fprintf(w, "package       %s %s, %d bytes, sha256 %s: %s\n", one.ID, one.Version, one.Size, one.Digest, where)
	}
	_, err := fmt.Fprintf(w, "variables     %d, of which %d are sealed to the target\n", len(v.Variables), sensitive)
	for _, t := range v.Templates {
		fmt.Fprintf(w, "asks for      %s\n", t.Name)
	}
	return err
}

func inspectCard(w io.Writer, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, bundle.MaxEnvelope+1))
	if err != nil {
		return err
	}
	c, err := bundle.ParseCard(b)
	if err != nil {
		return err
	}
	address := c.Address
	if address == "" {
		address = "none; files are carried by hand"
	}
	_, err = fmt.Fprintf(w, "card of       %s, space %s, number %d\naddress       %s\nshort code    %s\nwords         %s\n",
		c.Name, c.Space, c.Number, address, c.ShortCode(), strings.Join(c.Words(), " "))
	return err
}

func verifyReceipts(w io.Writer, r io.Reader, sender *bundle.Card) error {
	_, to, envelopes, err := bundle.ReadReceipts(r)
	if err != nil {
		return err
	}
	for n, e := range envelopes {
		receipt, err := bundle.VerifyReceipt(e, sender, to)
		if err != nil {
			return fmt.Errorf("receipt %d of %d: %w", n+1, len(envelopes), err)
		}
		where := ""
		if receipt.Environment != nil {
			where = " in " + receipt.Environment.Shown
		}
		fmt.Fprintf(w, "receipt %-5d %s%s, core %s\n", n+1, receipt.Kind, where, receipt.Core)
	}
	_, err = fmt.Fprintf(w, "verdict       genuine: %d receipts, signed by %s\n", len(envelopes), sender.Name)
	return err
}

func bundleDiffCommand() *command {
	return &command{
		name: "diff", args: "FILE FILE", min: 2, max: 2,
		summary: "Print what differs between two bundles; status 1 if anything does",
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			var both [2]*bundle.Verified
			for i, path := range args {
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				both[i], _, err = readBundle(ctx, f, func(m *bundle.Message) (*bundle.Verified, error) { return m.Own() })
				if err = errors.Join(err, f.Close()); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			if both[0].Promotion.Project.ID != both[1].Promotion.Project.ID {
				return errs.New(errs.Invalid, "These are bundles of two projects, %s and %s.", both[0].Promotion.Project.Name, both[1].Promotion.Project.Name)
			}
			changes := bundleChanges(both[0], both[1])
			for _, c := range changes {
				fmt.Fprintln(stdio.Out, c)
			}
			if len(changes) > 0 {
				return errQuiet
			}
			_, err := fmt.Fprintln(stdio.Out, "no difference")
			return err
		},
	}
}

// bundleChanges says line by line what is other in b than in a. A sealed value is
// compared by its commitment, which is new in each release.
func bundleChanges(a, b *bundle.Verified) []string {
	var out []string
	add := func(what, name, before, after string) {
		switch {
		case before == after:
		case before == "":
			out = append(out, fmt.Sprintf("+ %s %s: %s", what, name, after))
		case after == "":
			out = append(out, fmt.Sprintf("- %s %s: %s", what, name, before))
		default:
			out = append(out, fmt.Sprintf("~ %s %s: %s → %s", what, name, before, after))
		}
	}
	add("release", "version", a.Promotion.Release.Version, b.Promotion.Release.Version)
	add("process", "digest", a.Promotion.Process.Digest, b.Promotion.Process.Digest)
	compare := func(what string, before, after map[string]string) {
		var names []string
		for n := range before {
			names = append(names, n)
		}
		for n := range after {
			if _, ok := before[n]; !ok {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		for _, n := range names {
			add(what, n, before[n], after[n])
		}
	}
	compare("package", packageTexts(a), packageTexts(b))
	compare("variable", variableTexts(a), variableTexts(b))
	return out
}

func packageTexts(v *bundle.Verified) map[string]string {
	out := map[string]string{}
	for _, p := range v.Promotion.Packages {
		out[strings.Trim(p.Action+"/"+p.Reference, "/")+" "+p.ID] = p.Version + " sha256 " + p.Digest
	}
	return out
}

func variableTexts(v *bundle.Verified) map[string]string {
	out := map[string]string{}
	for _, one := range v.Variables {
		value := fmt.Sprintf("%q", one.Value)
		if one.Sensitive {
			value = "sealed " + one.Commitment[:min(8, len(one.Commitment))]
		}
		name := one.Name
		if len(one.Scope) > 0 {
			name += fmt.Sprintf(" %v", one.Scope) // maps print sorted by key
		}
		out[name] = value
	}
	return out
}
