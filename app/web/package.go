package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/views"
	pages "octopuses.dev/octopuses/views/packages"
	"octopuses.dev/octopuses/views/ui"
)

func packageRoutes() []route {
	const p = "/spaces/:space/packages"
	upload := post(p, inSpace, access.BuiltInFeedPush, uploadPackages)
	upload.parts = true
	return []route{
		get(p, inSpace, access.FeedView, packageList), upload,
		get(p+"/:package", inSpace, access.FeedView, packageVersions),
		get(p+"/:package/:version", inSpace, access.FeedView, packagePage),
		get(p+"/:package/:version/download", inSpace, access.BuiltInFeedDownload, downloadPackage),
		post(p+"/:package/:version/delete", inSpace, access.BuiltInFeedAdminister, deletePackage),
		get(p+"/:package/:version/compare", inSpace, access.FeedView, comparePackageWith),
		get(p+"/:package/:version/compare/:with", inSpace, access.FeedView, comparePackages),
	}
}

const (
	packageRows = 50
	maxFiles    = 50               // files of one upload
	maxEntries  = 500              // rows of a list of contents
	listedTar   = 64 << 20         // bytes up to which a page unfolds a tar unasked: 0.5 s
	lookTime    = 20 * time.Second // for reading archives for a page
)

func packageList(r *request) error {
	m, err := r.packageList()
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(r.Query("uploaded")); err == nil && n > 0 && n <= maxFiles {
		m.Page.Notice = &ui.NoticeProps{Tone: ui.Good, Text: fmt.Sprintf("%d packages were uploaded.", n)}
	}
	return r.show(pages.ShowList(m), map[string]templ.Component{"packages": pages.Rows(m)})
}

func (r *request) packageList() (pages.List, error) {
	slug := r.about.Slug
	m := pages.List{Query: r.Query("q"), Own: r.OriginalURL(), Base: r.BaseURL(), SpaceID: r.about.ID(), Limit: r.s.MaxPackage}
	skip, _ := strconv.Atoi(r.Query("skip"))
	f := spaces.PackageFilter{Partial: m.Query, Skip: max(skip, 0), Take: packageRows}
	found, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Page[spaces.PackageSummary], error) {
		return tx.PackageSummaries(f)
	})
	if err != nil {
		return m, err
	}
	for _, s := range found.Items {
		k := s.Latest
		m.Rows = append(m.Rows, pages.Row{ID: k.PackageID, Version: k.Version, Href: views.PackageVersionsURL(slug, k.PackageID), Latest: views.PackageURL(slug, k.PackageID, k.Version), Versions: s.Versions, Size: k.Size, Total: s.Size, By: k.PublishedBy, At: k.PublishedAt})
	}
	m.Pager = pager(r, "packages", found.Skip, len(found.Items), found.Total, packageRows)
	m.CanUpload, m.Why = r.can(access.BuiltInFeedPush, access.Scope{})
	m.Page = r.pageFor("Packages", "Library", "packages")
	return m, nil
}

// pager pages a list by ?skip=; the other filters of the query stay.
func pager(r *request, noun string, skip, shown, total, take int) (p ui.PagerProps) {
	if total <= take && skip == 0 {
		return p
	}
	at := func(n int) string {
		to := "?skip=" + strconv.Itoa(n)
		if q := r.Query("q"); q != "" {
			to += "&q=" + url.QueryEscape(q)
		}
		return to
	}
	p.Text = fmt.Sprintf("%d–%d of %d %s", min(skip+1, total), skip+shown, total, noun)
	if skip > 0 {
		p.Prev = at(max(0, skip-take))
	}
	if skip+take < total {
		p.Next = at(skip + take)
	}
	return p
}

// uploadPackages stores each file of the form on its own: one that is refused does not
// keep the others out.
func uploadPackages(r *request) error {
	var stored []spaces.Package
	var refused []ui.FieldError
	status := fiber.StatusUnprocessableEntity
	for n := 0; ; {
		part, err := r.parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return brokenUpload(err)
		}
		if part.FileName() == "" {
			continue // the empty field of a form without a file
		}
		if n++; n > maxFiles {
			refused = append(refused, ui.FieldError{Name: "files", Message: fmt.Sprintf("One upload takes at most %d files; the others were not looked at.", maxFiles)})
			break
		}
		p, err := r.storePackage(part)
		if err == nil {
			stored = append(stored, p)
			continue
		}
		switch errs.KindOf(err) {
		case errs.Invalid, errs.Exists, errs.TooLarge, errs.Blocked:
		default:
			return err
		}
		text := errs.TextOf(err)
		if !strings.Contains(text, part.FileName()) {
			text = part.FileName() + ": " + text
		}
		refused = append(refused, ui.FieldError{Name: "files", Message: text})
		if errs.KindOf(err) == errs.TooLarge {
			// What is left of such a file may be anything long, so nothing behind it is read.
			status = fiber.StatusRequestEntityTooLarge
			break
		}
	}
	if len(stored) == 0 && len(refused) == 0 {
		refused = append(refused, ui.FieldError{Name: "files", Message: "Choose a file first."})
	}
	slug := r.about.Slug
	switch {
	case len(refused) > 0:
		m, err := r.packageList()
		if err != nil {
			return err
		}
		m.Errors = refused
		if len(stored) > 0 {
			var names []string
			for _, p := range stored {
				names = append(names, p.PackageID+" "+p.Version)
			}
			m.Page.Notice = &ui.NoticeProps{Tone: ui.Good, Text: "These went through: " + strings.Join(names, ", ") + "."}
		}
		return r.render(status, pages.ShowList(m))
	case len(stored) == 1:
		return r.see(views.PackageURL(slug, stored[0].PackageID, stored[0].Version))
	}
	return r.see(views.PackagesURL(slug) + "?uploaded=" + strconv.Itoa(len(stored)))
}

// storePackage takes a file from the connection to the disk and into the feed. The same
// file again is no mistake; other bytes for a version that is there are refused, and so
// is an archive that no target could unfold. What is refused is not stored.
func (r *request) storePackage(part *multipart.Part) (spaces.Package, error) {
	id, version, extension, err := packages.ParseFileName(part.FileName())
	if err != nil {
		return spaces.Package{}, err
	}
	var same *spaces.Package
	blob, err := r.space.Packages().PutChecked(r.ctx, filePart{part}, r.s.MaxPackage, func(file string, b packages.Blob) error {
		old, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Package, error) { return tx.Package(id, version) })
		switch kind := errs.KindOf(err); {
		case err == nil && old.Digest == b.Digest:
			same = &old
			return nil
		case err == nil:
			return errs.New(errs.Exists, "%s %s is here already, with other content.", old.PackageID, old.Version).WithHint("A version never changes: give the new file a new version.")
		case kind != errs.NotFound && kind != errs.Denied: // who may push and not look is told by AddPackage
			return err
		}
		return packages.Check(r.ctx, file, extension, packages.Limits{})
	})
	if err != nil {
		return spaces.Package{}, err
	}
	if same != nil {
		return *same, nil
	}
	return spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Package, error) {
		p, _, err := tx.AddPackage(id, version, extension, blob, spaces.FailIfExists)
		return p, err
	})
}

func (r *request) libraryCrumbs(more ...ui.Crumb) []ui.Crumb {
	return append([]ui.Crumb{{Label: "Packages", Href: views.PackagesURL(r.about.Slug)}}, more...)
}

func packageVersions(r *request) error {
	slug, id := r.about.Slug, r.param("package")
	m := pages.Versions{}
	skip, _ := strconv.Atoi(r.Query("skip"))
	found, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) {
		found, err := tx.Packages(spaces.PackageFilter{PackageID: id, Skip: max(skip, 0), Take: packageRows})
		if err != nil {
			return found, err
		}
		uses, err := tx.UsesOfPackages(found.Items)
		if err != nil {
			return found, err
		}
		for _, k := range found.Items {
			m.Rows = append(m.Rows, pages.VersionRow{Version: k.Version, Href: views.PackageURL(slug, k.PackageID, k.Version), Size: k.Size, Digest: k.Digest, By: k.PublishedBy, At: k.PublishedAt, Uses: r.packageUses(uses[k.Digest])})
		}
		return found, nil
	})
	if err != nil {
		return err
	}
	if found.Total == 0 {
		return errs.Missing("package", id)
	}
	if len(found.Items) > 0 {
		id = found.Items[0].PackageID // as it was pushed, whatever the case of the path
	}
	m.ID = id
	m.Pager = pager(r, "versions", found.Skip, len(found.Items), found.Total, packageRows)
	m.Page = r.pageFor(id, "Library", "packages")
	m.Page.Crumbs = r.libraryCrumbs(ui.Crumb{Label: id})
	return r.render(fiber.StatusOK, pages.ShowVersions(m))
}

func (r *request) packageUses(u spaces.PackageUses) (out pages.Uses) {
	for _, x := range u.Visible {
		out.Releases = append(out.Releases, pages.Use{Name: x.ProjectName + " " + x.Release, Href: views.ReleaseURL(r.about.Slug, x.ProjectSlug, x.Release)})
	}
	out.Hidden = u.Total - len(u.Visible)
	return out
}

func packagePage(r *request) error { return r.packageWith(nil) }

// packageWith draws a version of a package, with what went wrong with an action on it.
func (r *request) packageWith(cause error) error {
	slug := r.about.Slug
	m := pages.Package{Query: r.Query("q")}
	if cause != nil {
		m.Errors = complaints(cause, nil)
	}
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Package, error) {
		p, err := tx.Package(r.param("package"), r.param("version"))
		if err != nil {
			return p, err
		}
		uses, err := tx.UsesOfPackages([]spaces.Package{p})
		if err != nil {
			return p, err
		}
		m.Uses = r.packageUses(uses[p.Digest])
		others, err := tx.Packages(spaces.PackageFilter{PackageID: p.PackageID, Take: 100})
		if err != nil {
			return p, err
		}
		before := false
		for _, o := range others.Items {
			if o.Version == p.Version {
				before = true
				continue
			}
			// The one before is what a version is compared with most.
			m.Others = append(m.Others, ui.Option{Value: o.Version, Label: o.Version, Selected: before})
			before = false
		}
		return p, nil
	})
	if err != nil {
		return err
	}
	m.ID, m.Version, m.File, m.Digest, m.Size, m.By, m.At = p.PackageID, p.Version, p.FileName(), p.Digest, p.Size, p.PublishedBy, p.PublishedAt
	m.CanDownload, m.WhyNoDownload = r.can(access.BuiltInFeedDownload, access.Scope{})
	m.CanDelete, m.Why = r.can(access.BuiltInFeedAdminister, access.Scope{})
	if n := len(m.Uses.Releases) + m.Uses.Hidden; m.CanDelete && n > 0 {
		m.CanDelete = false
		if m.Why = fmt.Sprintf("%d releases use it; delete them first.", n); n == 1 {
			m.Why = "A release uses it; delete that first."
		}
	}
	r.contents(p, &m)
	m.Page = r.pageFor(p.PackageID+" "+p.Version, "Library", "packages")
	m.Page.Crumbs = r.libraryCrumbs(ui.Crumb{Label: p.PackageID, Href: views.PackageVersionsURL(slug, p.PackageID)}, ui.Crumb{Label: p.Version})
	if cause != nil {
		return r.render(statusOf(cause, true), pages.Show(m))
	}
	return r.render(fiber.StatusOK, pages.Show(m))
}

// contents lists what the archive holds. A zip has a directory; a tar has to be unfolded,
// so a large one is only listed when asked for.
func (r *request) contents(p spaces.Package, m *pages.Package) {
	if strings.Contains(p.Extension, "t") && p.Size > listedTar && r.Query("contents") == "" {
		m.Unlisted = true
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, lookTime)
	defer cancel()
	all, err := packages.List(ctx, r.space.Packages().Path(p.Digest), p.Extension, packages.Limits{})
	if err != nil {
		m.Unreadable = r.archiveText(err)
		return
	}
	for _, e := range all {
		if e.Mode.IsDir() {
			continue
		}
		m.Files++
		m.Unfolded += e.Size
		if !matches(m.Query, e.Name) {
			continue
		}
		if m.Matching++; len(m.Entries) < maxEntries {
			m.Entries = append(m.Entries, pages.Entry{Name: e.Name, Size: e.Size, Link: e.Link, Executable: e.Mode&0o111 != 0 && e.Link == ""})
		}
	}
}

// archiveText says why an archive cannot be looked into.
func (r *request) archiveText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "The archive is too large to be read for a page. Download it to look inside."
	}
	if errs.KindOf(err) == errs.Internal {
		r.s.Log.Error("read package", "request", r.id, "err", err)
	}
	return errs.TextOf(err)
}

func downloadPackage(r *request) error {
	p, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Package, error) {
		return tx.Package(r.param("package"), r.param("version"))
	})
	if err != nil {
		return err
	}
	if ok, _ := r.can(access.BuiltInFeedDownload, access.Scope{}); !ok {
		return access.Missing(access.BuiltInFeedDownload)
	}
	f, err := r.space.Packages().Open(p.Digest)
	if err != nil {
		return err
	}
	r.Set(fiber.HeaderContentType, "application/octet-stream")
	r.Set(fiber.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": p.FileName()}))
	r.Context().SetBodyStream(f, int(p.Size)) // closes f
	return nil
}

func deletePackage(r *request) error {
	var id string
	var left int
	err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error {
		p, err := tx.Package(r.param("package"), r.param("version"))
		if err != nil {
			return err
		}
		if r.form.Get("name") != p.Version {
			return errs.New(errs.Invalid, "The typed version is not '%s'.", p.Version).WithHint("Nothing was deleted.")
		}
		if err := tx.DeletePackage(p); err != nil {
			return err
		}
		rest, err := tx.Packages(spaces.PackageFilter{PackageID: p.PackageID, Take: 1})
		id, left = p.PackageID, rest.Total
		return err
	})
	if err != nil {
		switch errs.KindOf(err) {
		case errs.Blocked, errs.Invalid:
			return r.packageWith(err)
		}
		return err
	}
	if left == 0 {
		return r.see(views.PackagesURL(r.about.Slug))
	}
	return r.see(views.PackageVersionsURL(r.about.Slug, id))
}
