package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/bundle"
)

func zoneCommand() *command {
	return &command{
		name: "zone", summary: "Link a space with one of another zone, and carry bundles and receipts by hand",
		detail: "These commands work on the data folder itself, whether the server runs or not.",
		sub:    []*command{zoneCardCommand(), zoneVerifyCommand(), zoneTrustCommand(), zoneInviteCommand(), zoneJoinCommand(), zoneLinksCommand(), zonePromoteCommand(), zoneImportCommand(), zonePackagesCommand(), zoneReceiptsCommand(), zoneReceiveCommand()},
	}
}

// zoneFlags are those of every zone command.
type zoneFlags struct {
	*settings
	space string
}

func newZoneFlags() *zoneFlags { return &zoneFlags{settings: newSettings()} }

func (z *zoneFlags) register(f *pflag.FlagSet) {
	f.StringVar(&z.space, "space", "", "`name` of the space here; by default the default space")
	z.registerOnly(f, "data", "master-key-file", "listen", "zones", "zones-address")
}

// on runs a zone command on its space. Commands act as the server itself: whoever reads
// the master key is beyond permissions.
func (z *zoneFlags) on(ctx context.Context, do func(*zones.Service, *spaces.Space) error) error {
	return onSpace(ctx, z.settings, z.space, func(i *instance.Instance, s *spaces.Space) error {
		id, err := machineIdentity(ctx, i)
		if err != nil {
			return err
		}
		c := z.config
		return do(&zones.Service{Identity: id, Address: func() string { return c.ZonesAddress }}, s)
	})
}

func zoneCardCommand() *command {
	z := newZoneFlags()
	return &command{
		name: "card", summary: "Write the space's card to standard output, for the people of another zone",
		flags: z.register,
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				file, card, err := service.Card(ctx, s)
				if err != nil {
					return err
				}
				if _, err := stdio.Out.Write(file); err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Err, "\nThe card of %s, short code %s. Its words, to read out to whoever gets it:\n    %s\n", card.Name, card.ShortCode(), strings.Join(card.Words(), " "))
				return err
			})
		},
	}
}

func zoneTrustCommand() *command {
	z := newZoneFlags()
	in := zones.TrustInput{}
	return &command{
		name: "trust", args: "CARD", min: 1, max: 1,
		summary: "Link the space with another one by its card (.octid)",
		detail:  "It prints twelve words and asks for the last three, which the people of the other\nspace read out to you. Somebody who exchanged the card on its way has other words.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&in.Name, "name", "", "`name` of the other space here; by default what it calls itself")
			f.StringVar(&in.Role, "role", "both", "source: we send it releases; target: we take its releases; both")
			f.StringVar(&in.Words, "words", "", "the last three `words`, instead of being asked for them")
			z.register(f)
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			card, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			in.Card = card
			if in.Words == "" {
				fmt.Fprintf(stdio.Err, "The last three words that the people of %s read out: ", filepath.Base(args[0]))
				line, err := bufio.NewReader(io.LimitReader(stdio.In, 4096)).ReadString('\n')
				if err != nil && !errors.Is(err, io.EOF) {
					return err
				}
				in.Words = strings.TrimSpace(line)
			}
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				link, peer, err := service.Trust(ctx, s, spaces.Server(), in)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s is linked with %s (%s): %s\n", s.Name(), link.LocalName, peer.ShortCode(), link.State)
				return err
			})
		},
	}
}

func zoneInviteCommand() *command {
	z := newZoneFlags()
	var role string
	var confirm bool
	var lasts time.Duration
	return &command{
		name: "invite", args: "NAME", min: 1, max: 1,
		summary: "Print a one-time text with which another server links a space of its own",
		detail:  "NAME is what the other space is called here. The server takes links while it runs with\n--zones; the other side enters the text in its browser or with 'octopuses zone join'.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&role, "role", "source", "source: we send it releases; target: we take its releases; both")
			f.BoolVar(&confirm, "confirm", false, "let nothing flow before somebody here compared the words")
			f.DurationVar(&lasts, "lasts", time.Hour, "how long it counts, at most 24h")
			z.register(f)
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				i, err := service.Invite(ctx, s, spaces.Server(), args[0], role, confirm, lasts)
				if err != nil {
					return err
				}
				fmt.Fprintf(stdio.Err, "An invitation to link with %s at %s. It counts once, for %s:\n", s.Name(), i.Address, lasts)
				_, err = fmt.Fprintln(stdio.Out, i)
				return err
			})
		},
	}
}

func zoneJoinCommand() *command {
	z := newZoneFlags()
	var name, role string
	return &command{
		name: "join", args: "INVITATION", min: 1, max: 1,
		summary: "Link the space with the one that made an invitation",
		detail:  "This server connects to the other one, so no port has to be open here. A server that\nruns takes the link up within a minute.",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&name, "name", "", "`name` of the other space here; by default what it calls itself")
			f.StringVar(&role, "role", "target", "source: we send it releases; target: we take its releases; both")
			z.register(f)
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				l, err := service.Join(ctx, s, spaces.Server(), args[0], name, role)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s is linked with %s: %s\nIts words: %s\n", s.Name(), l.LocalName, l.State, strings.Join(zones.Words(l), " "))
				return err
			})
		},
	}
}

func zoneLinksCommand() *command {
	z := newZoneFlags()
	return &command{
		name: "links", summary: "List the links of the space", flags: z.register,
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			return z.on(ctx, func(_ *zones.Service, s *spaces.Space) error {
				links, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
				if err != nil {
					return err
				}
				for _, l := range links {
					fmt.Fprintf(stdio.Out, "%s  %s  %s\n", l.LocalName, l.Mode, l.State)
				}
				return nil
			})
		},
	}
}

func zonePromoteCommand() *command {
	z := newZoneFlags()
	var link, out string
	var without bool
	return &command{
		name: "promote", args: "PROJECT VERSION", min: 2, max: 2,
		summary: "Write a release for another space to a bundle (.octb) that is carried there",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&link, "to", "", "`name` of the other space here (required)")
			f.StringVar(&out, "out", "", "`file` to write, which must not exist (required)")
			f.BoolVar(&without, "without-packages", false, "leave the package files out; they are carried in another way")
			z.register(f)
		},
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			if link == "" || out == "" {
				return &usageError{text: "--to and --out are required"}
			}
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				var release spaces.Release
				peer, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (l spaces.Link, err error) {
					project, err := tx.ProjectBy(args[0])
					if err != nil {
						return l, err
					}
					if release, err = tx.ReleaseBy(project.ID, args[1]); err != nil {
						return l, err
					}
					return tx.LinkBy(link)
				})
				if err != nil {
					return err
				}
				err = newFile(out, func(w io.Writer) error {
					p, err := service.Promote(ctx, s, spaces.Server(), release.ID, peer.ID, true)
					if err != nil {
						return err
					}
					return service.ExportBundle(ctx, s, spaces.Server(), p.ID, !without, w)
				})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%s %s for %s is in %s.\n", args[0], release.Version, peer.LocalName, out)
				return err
			})
		},
	}
}

func zoneImportCommand() *command {
	z := newZoneFlags()
	return &command{
		name: "import", args: "BUNDLE | PART...", min: 1, max: -1,
		summary: "Take a bundle (.octb) into the space's inbox, where a person reviews it", flags: z.register,
		detail: "A bundle that was split is taken from its parts, in any order.",
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			if len(args) > 1 || bundle.IsPart(args[0]) {
				return z.importParts(ctx, stdio, args)
			}
			return z.importFile(ctx, stdio, args[0], filepath.Base(args[0]))
		},
	}
}

func (z *zoneFlags) importFile(ctx context.Context, stdio Stdio, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
		if _, err := service.Import(ctx, s, spaces.Server(), f); err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdio.Out, "%s is in the inbox of %s.\n", name, s.Name())
		return err
	})
}

// importParts joins parts in the temporary folder (TMPDIR), which needs room for the whole.
func (z *zoneFlags) importParts(ctx context.Context, stdio Stdio, parts []string) error {
	folder, err := os.MkdirTemp("", "octopuses-join-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	whole := filepath.Join(folder, "bundle")
	p, err := bundle.Join(ctx, parts, whole)
	if err != nil {
		return err
	}
	return z.importFile(ctx, stdio, whole, p.Name)
}

func zoneReceiptsCommand() *command {
	z := newZoneFlags()
	var link, out string
	return &command{
		name: "receipts", summary: "Write the receipts for another space to a file (.octr) that is carried there",
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&link, "for", "", "`name` of the other space here (required)")
			f.StringVar(&out, "out", "", "`file` to write, which must not exist (required)")
			z.register(f)
		},
		run: func(ctx context.Context, stdio Stdio, _ []string) error {
			if link == "" || out == "" {
				return &usageError{text: "--for and --out are required"}
			}
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				peer, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy(link) })
				if err != nil {
					return err
				}
				if err := service.MakeReceipts(ctx, s); err != nil {
					return err
				}
				var n int
				err = newFile(out, func(w io.Writer) (err error) {
					n, err = service.ExportReceipts(ctx, s, spaces.Server(), peer.ID, w)
					return err
				})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%d receipts for %s are in %s.\n", n, peer.LocalName, out)
				return err
			})
		},
	}
}

func zoneReceiveCommand() *command {
	z := newZoneFlags()
	return &command{
		name: "receive", args: "RECEIPTS", min: 1, max: 1,
		summary: "Take a file of receipts (.octr) that another space sent back", flags: z.register,
		run: func(ctx context.Context, stdio Stdio, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return z.on(ctx, func(service *zones.Service, s *spaces.Space) error {
				added, err := service.ImportReceipts(ctx, s, spaces.Server(), f)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdio.Out, "%d new receipts.\n", added)
				return err
			})
		},
	}
}

// newFile writes a file that must not exist. A failure leaves none.
func newFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
