package app

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/zones/bundle"
)

func bundleSplitCommand() *command {
	var size, to string
	return &command{
		name: "split", args: "FILE", min: 1, max: 1,
		summary: "Write a file in numbered parts that fit a medium, beside it or into a folder",
		detail:  "The parts are FILE.001 and so on. Each says of which file it is; 'join' takes them in any order.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&size, "size", "4000M", "the most `bytes` of a part: a number, or one with K, M or G behind it (1000, a million, a billion)")
			f.StringVar(&to, "to", "", "`folder` for the parts (default: that of the file)")
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			limit, err := parseSize(size)
			if err != nil {
				return err
			}
			folder := to
			if folder == "" {
				folder = filepath.Dir(args[0])
			}
			parts, err := bundle.Split(ctx, args[0], folder, limit)
			if err != nil {
				return err
			}
			for _, p := range parts {
				if _, err := fmt.Fprintln(stdio.Out, p); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func bundleJoinCommand() *command {
	var to string
	return &command{
		name: "join", args: "PART...", min: 1, max: -1,
		summary: "Make the whole file out of its parts, in whatever order they are given",
		detail:  "The file is there only when all of it is what was split. Whose it is, 'verify' tells.",
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&to, "out", "o", "", "`file` to write (required)")
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			if to == "" {
				return &usageError{text: "--out is required: the file to write"}
			}
			p, err := bundle.Join(ctx, args, to)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(stdio.Out, "%s is %s, %d bytes, from %d parts.\n", to, p.Name, p.Size, p.Count)
			return err
		},
	}
}

// parseSize reads a number of bytes as people write it for media: 650M, 4G.
func parseSize(text string) (int64, error) {
	number, unit := strings.TrimRight(text, "kKmMgG"), int64(1)
	switch strings.ToUpper(text[len(number):]) {
	case "":
	case "K":
		unit = 1e3
	case "M":
		unit = 1e6
	case "G":
		unit = 1e9
	default:
		number = ""
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > 1<<62/unit {
		return 0, &usageError{text: fmt.Sprintf("--size %q is no number of bytes, as in 650M or 4G", text)}
	}
	return n * unit, nil
}
