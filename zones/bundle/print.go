package bundle

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Rules of the text that a person reads on a terminal: one fact a line, the word for it
// in the first twelve columns, the verdict last. Whatever comes from a file is stripped of
// characters that could move the cursor or hide. Values of variables are not printed;
// JSON has those that are no secrets.

type printer struct{ bytes.Buffer }

func (p *printer) line(label, format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = printable(s)
		}
	}
	fmt.Fprintln(p, strings.TrimRight(fmt.Sprintf("%-12s", label)+fmt.Sprintf(format, args...), " "))
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	var p printer
	if r.SignedBy != nil {
		p.line("signed by", "%s, space %s", r.SignedBy.Name, r.SignedBy.Space)
		p.line("words", "%s", strings.Join(r.SignedBy.Words, " "))
		p.line("short code", "%s", r.SignedBy.ShortCode)
	}
	switch {
	case r.Card != nil:
		r.Card.print(&p)
	case r.Bundle != nil:
		if !r.Verified {
			p.line("says to be", "of space %s", r.Bundle.Statement.Link.From)
		}
		r.Bundle.print(&p)
	case r.Receipts != nil:
		r.Receipts.print(&p)
	case r.Recall != nil:
		r.Recall.print(&p)
	}
	switch {
	case r.Card != nil:
		p.line("verdict", "signed by its own key; whose key that is only the words tell: compare them")
	case !r.Verified:
		p.line("verdict", "whole, but nobody's signature was checked; 'verify' with the sender's card does that")
	case r.Bundle != nil:
		p.line("verdict", "genuine; not checked: newer than what its recipient has (needs the server)")
	default:
		p.line("verdict", "genuine")
	}
	_, err := p.WriteTo(w)
	return err
}

func (c *Recall) print(p *printer) {
	p.line("from", "space %s for space %s, message %d", c.Link.From, c.Link.To, c.Link.Seq)
	p.line("recalls", "release %s (core %s)", c.Release, c.Core)
	p.line("reason", "%s", c.Reason)
}

func (c *Card) print(p *printer) {
	address := "none; files are carried by hand"
	if c.Address != "" {
		address = c.Address
	}
	p.line("address", "%s", address)
	p.line("card", "number %d, issued %s, reads formats %s", c.Number, c.Issued, strings.Join(c.Schema, " "))
}

func (b *BundleReport) print(p *printer) {
	s := &b.Statement
	p.line("for", "space %s, message %d of %s", s.Link.To, s.Link.Seq, s.Link.Issued)
	p.line("release", "%s %s, made %s by %s", s.Project.Name, s.Release.Version, s.Release.Created, s.Release.By)
	if n := len(s.Project.Logo); n > 0 {
		p.line("logo", "%d bytes, sha256 %s", n, Digest(s.Project.Logo))
	}
	p.line("core", "%s", s.Core)
	if len(s.Path) > 1 {
		p.line("path", "%s", strings.Join(s.Path, " → "))
	}
	for _, e := range b.Evidence {
		p.line("evidence", "%s: %s %s %s (claimed by the sender)", e.SpaceName, e.Environment, e.State, e.Ended)
	}
	p.line("process", "%d bytes, sha256 %s", s.Process.Size, s.Process.Digest)
	sensitive := 0
	for _, v := range b.Variables {
		if v.Sensitive {
			sensitive++
		}
	}
	p.line("variables", "%d, of which %d sensitive", len(b.Variables), sensitive)
	for _, v := range b.Variables {
		about := ""
		for _, d := range slices.Sorted(maps.Keys(v.Scope)) {
			about += fmt.Sprintf(" [%s: %s]", d, strings.Join(v.Scope[d], ", "))
		}
		if v.Sensitive {
			about += " (sensitive)"
		}
		if v.Origin != "" {
			about += " from " + v.Origin
		}
		p.line("", "%s%s", v.Name, about)
	}
	p.line("secrets", "%d values, sealed to %d space(s)", len(s.Commitments), len(s.Sealed))
	for _, t := range b.Templates {
		p.line("asks for", "%s", t.Name)
	}
	if len(s.Requires) > 0 {
		p.line("needs", "%s", strings.Join(s.Requires, ", "))
	}
	all := map[string]bool{}
	for _, x := range s.Packages {
		where := "not in this file"
		if all[x.Digest] = true; slices.Contains(b.Present, x.Digest) {
			where = "present, digest right"
		}
		p.line("package", "%s %s%s, %d bytes, sha256 %s: %s", x.ID, x.Version, x.Extension, x.Size, x.Digest, where)
	}
	p.line("packages", "%d of %d present", len(b.Present), len(all))
}

func (r *ReceiptsReport) print(p *printer) {
	p.line("from", "space %s for space %s, %d receipts", r.From, r.To, len(r.Receipts))
	for _, x := range r.State.Releases {
		p.line("release", "%s, core %s", x.Release, x.Core)
		if x.Decision != "" {
			p.line("", "%s %s", x.Decision, x.Reason)
		}
		for _, d := range x.Deployments {
			p.line("", "%s in %s, attempt %d, as of %s", d.Kind, d.Environment.Shown, d.Attempt, d.Issued)
			for _, s := range d.Steps {
				p.line("", "  %s: %s, %d targets, %d s", s.Name, s.State, s.Targets, s.Seconds)
			}
		}
	}
	for _, g := range r.State.Gaps {
		p.line("gap", "messages %d to %d are not in this file", g.First, g.Last)
	}
	for _, f := range r.State.Forks {
		p.line("fork", "two different receipts have the number %d", f.Seq)
	}
}
