package web

import (
	"context"
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/views"
	pages "octopuses.dev/octopuses/views/packages"
	"octopuses.dev/octopuses/views/ui"
)

const (
	shownChanges = 500  // files of a comparison
	shownLines   = 2000 // lines of text of a comparison, of all its files
)

func comparePackageWith(r *request) error {
	return r.see(views.PackageCompareURL(r.about.Slug, r.param("package"), r.param("version"), r.Query("with")))
}

// comparePackages shows how a version differs from another one: files first, and the
// lines of those that are short texts.
func comparePackages(r *request) error {
	slug := r.about.Slug
	type pair struct{ new, old spaces.Package }
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (p pair, err error) {
		if p.new, err = tx.Package(r.param("package"), r.param("version")); err != nil {
			return p, err
		}
		p.old, err = tx.Package(p.new.PackageID, r.param("with"))
		return p, err
	})
	if err != nil {
		return err
	}
	id := p.new.PackageID
	m := pages.Compare{ID: id, Version: p.new.Version, With: p.old.Version, Size: p.new.Size, WithSize: p.old.Size,
		Swap: views.PackageCompareURL(slug, id, p.old.Version, p.new.Version)}
	switch {
	case p.new.Digest == p.old.Digest: // nothing to read
	case !strings.EqualFold(p.new.Extension, p.old.Extension):
		m.Unreadable = fmt.Sprintf("One is a %s and the other a %s; only archives of one kind are compared.", p.new.Extension, p.old.Extension)
	default:
		ctx, cancel := context.WithTimeout(r.ctx, lookTime)
		defer cancel()
		store := r.space.Packages()
		changes, err := packages.DiffContents(ctx, store.Path(p.old.Digest), store.Path(p.new.Digest), p.new.Extension, packages.Limits{})
		if err != nil {
			m.Unreadable = r.archiveText(err)
		}
		fileChanges(&m, changes)
	}
	m.Page = r.pageFor(id+" "+p.new.Version+" and "+p.old.Version, "Library", "packages")
	m.Page.Crumbs = r.libraryCrumbs(ui.Crumb{Label: id, Href: views.PackageVersionsURL(slug, id)}, ui.Crumb{Label: p.new.Version, Href: views.PackageURL(slug, id, p.new.Version)}, ui.Crumb{Label: "Compare"})
	return r.render(fiber.StatusOK, pages.ShowCompare(m))
}

func fileChanges(m *pages.Compare, changes []packages.Change) {
	lines := 0
	for _, c := range changes {
		x := pages.FileChange{Name: c.Name, Word: string(c.Kind)}
		switch c.Kind {
		case packages.Added:
			m.Added++
			x.Tone, x.Size = ui.Good, c.New.Size
		case packages.Removed:
			m.Removed++
			x.Tone, x.Size = ui.Bad, c.Old.Size
		case packages.Changed:
			m.Changed++
			x.Tone, x.Size, x.Was = ui.Waiting, c.New.Size, c.Old.Size
			switch {
			case c.Old.Link != c.New.Link:
				x.Note = fmt.Sprintf("leads to %q, before to %q", c.New.Link, c.Old.Link)
			case c.Old.Digest == c.New.Digest && c.New.Mode&0o111 != 0:
				x.Note = "may be executed now"
			case c.Old.Digest == c.New.Digest:
				x.Note = "may not be executed any more"
			}
		}
		if len(m.Files) == shownChanges {
			m.More++
			continue
		}
		if text := unifiedLines(c.Text); lines+len(text) <= shownLines {
			x.Lines = text
			lines += len(text)
		}
		m.Files = append(m.Files, x)
	}
}

// unifiedLines reads a unified difference. Line numbers start anew at each "@@".
func unifiedLines(text string) (out []ui.DiffLine) {
	if text == "" {
		return nil
	}
	var old, new int
	for l := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(l, "@@ ") {
			if _, err := fmt.Sscanf(l, "@@ -%d", &old); err != nil {
				return nil // not ours
			}
			if _, plus, ok := strings.Cut(l, "+"); ok {
				_, _ = fmt.Sscanf(plus, "%d", &new)
			}
			if len(out) > 0 {
				out = append(out, ui.DiffLine{Op: ' ', Text: "⋯"})
			}
			continue
		}
		if l == "" || l == "\\ No newline at end of file" {
			continue
		}
		d := ui.DiffLine{Op: l[0], Text: strings.TrimSuffix(l[1:], "\r")}
		switch d.Op {
		case '+':
			d.New = new
			new++
		case '-':
			d.Old = old
			old++
		default:
			d.Old, d.New = old, new
			old++
			new++
		}
		out = append(out, d)
	}
	return out
}
