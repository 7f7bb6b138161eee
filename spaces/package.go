package spaces

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/versions"
)

// BuiltInFeed is the id of the feed that every space has.
const BuiltInFeed = "feeds-builtin"

// BuiltInFeedName is what it is called.
const BuiltInFeedName = "Octopus Server (built-in)"

// Package is a version of a package in the built-in feed.
type Package struct {
	PackageID   string
	Version     string
	Extension   string // with its dot
	Digest      string // lower-case hex SHA-256 of the file
	Size        int64  // bytes
	PublishedAt time.Time
	PublishedBy string
}

// ID is the package's API id.
func (p Package) ID() string { return "packages-" + p.PackageID + "." + p.Version }

// FileName is the name under which the file is downloaded.
func (p Package) FileName() string {
	return packages.FormatFileName(p.PackageID, p.Version, p.Extension)
}

// OverwriteMode says what happens to a version that is there already.
type OverwriteMode string

// The names are those of Octopus's API.
const (
	FailIfExists      OverwriteMode = "FailIfExists"
	IgnoreIfExists    OverwriteMode = "IgnoreIfExists"
	OverwriteExisting OverwriteMode = "OverwriteExisting"
)

// ParseOverwriteMode reads a mode; "" is FailIfExists.
func ParseOverwriteMode(text string) (OverwriteMode, error) {
	for _, m := range []OverwriteMode{FailIfExists, IgnoreIfExists, OverwriteExisting} {
		if strings.EqualFold(text, string(m)) {
			return m, nil
		}
	}
	if text == "" {
		return FailIfExists, nil
	}
	return "", errs.New(errs.Invalid, "'%s' is no overwrite mode.", text).WithHint("Use FailIfExists, IgnoreIfExists or OverwriteExisting.")
}

const packageColumns = `package_id, version, extension, digest, size, published_at, published_by`

func scanPackage(scan func(...any) error) (Package, error) {
	var p Package
	var at string
	err := scan(&p.PackageID, &p.Version, &p.Extension, &p.Digest, &p.Size, &at, &p.PublishedBy)
	p.PublishedAt = parseTime(at)
	return p, err
}

// MayPush checks the permission to push before a body is read. It needs
// BuiltInFeedPush, and BuiltInFeedAdminister to overwrite.
func (tx *ReadTx) MayPush(mode OverwriteMode) error {
	if mode == OverwriteExisting {
		return tx.require(access.BuiltInFeedAdminister, access.Scope{})
	}
	return tx.require(access.BuiltInFeedPush, access.Scope{})
}

// AddPackage puts a stored file into the built-in feed. created is false when the
// version was there and was kept. Errors: [errs.Exists] for FailIfExists;
// [errs.Blocked] when a release uses the version that would be overwritten by
// other bytes.
func (tx *Tx) AddPackage(id, version, extension string, blob packages.Blob, mode OverwriteMode) (p Package, created bool, err error) {
	if err := tx.MayPush(mode); err != nil {
		return Package{}, false, err
	}
	v, err := versions.Parse(version)
	if err != nil {
		return Package{}, false, err
	}
	if !tx.Space.packages.Has(blob.Digest) {
		return Package{}, false, errs.New(errs.Busy, "The file of %s %s was removed while it was pushed.", id, version).WithHint("Push it again.")
	}
	if err := tx.BlobArrived(blob); err != nil { // a release in the inbox may wait for these bytes
		return Package{}, false, err
	}
	old, err := tx.packageRow(id, v.SortKey())
	switch {
	case err == nil && mode == IgnoreIfExists, err == nil && old.Digest == blob.Digest:
		if mode == FailIfExists {
			return Package{}, false, packageExists(old)
		}
		return old, false, nil
	case err == nil && mode == FailIfExists:
		return Package{}, false, packageExists(old)
	case err == nil:
		if used, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM release_package WHERE digest = ?)`, old.Digest); err != nil {
			return Package{}, false, err
		} else if used {
			return Package{}, false, errs.New(errs.Blocked, "Package %s %s is used by a release; its file cannot be replaced by another.", old.PackageID, old.Version).WithHint("Push the new file under a new version.")
		}
		err = tx.update(`UPDATE package SET digest = ?, size = ?, extension = ?, published_at = ?, published_by = ? WHERE package_id = ? AND version_sort = ?`,
			blob.Digest, blob.Size, extension, formatTime(tx.Now), tx.Actor.Name, id, v.SortKey())
	case errs.KindOf(err) == errs.NotFound:
		_, err = tx.insert(`INSERT INTO package (package_id, version, version_sort, extension, digest, size, published_at, published_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			id, version, v.SortKey(), extension, blob.Digest, blob.Size, formatTime(tx.Now), tx.Actor.Name)
	}
	if err != nil {
		return Package{}, false, err
	}
	tx.record(Event{Category: "Created", Entity: "package", EntityID: "packages-" + id + "." + version, Message: fmt.Sprintf("Package %s %s was pushed (sha256 %s)", id, version, blob.Digest)})
	tx.changed("packages")
	p, err = tx.packageRow(id, v.SortKey())
	return p, true, err
}

func packageExists(p Package) error {
	e := errs.New(errs.Exists, "Package %s %s is already in the built-in feed.", p.PackageID, p.Version)
	return e.WithHint("Push another version, or push with overwriteMode=IgnoreIfExists or OverwriteExisting.")
}

// addBlob notes a file of the store; files without a row may be swept away.
func (tx *Tx) addBlob(b packages.Blob) error {
	_, err := tx.exec(`INSERT INTO package_blob (digest, size, created_at) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING`, b.Digest, b.Size, formatTime(tx.Now))
	return err
}

func (tx *ReadTx) packageRow(id, sortKey string) (Package, error) {
	p, err := scanPackage(tx.queryRow(`SELECT `+packageColumns+` FROM package WHERE package_id = ? AND version_sort = ?`, id, sortKey).Scan)
	return p, notFound(err, "package", id)
}

// Package returns one version. It needs FeedView.
func (tx *ReadTx) Package(id, version string) (Package, error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return Package{}, err
	}
	v, err := versions.Parse(version)
	if err != nil {
		return Package{}, errs.Missing("package", id+" "+version)
	}
	return tx.packageRow(id, v.SortKey())
}

// PackageByID finds a version by its API id, "packages-Acme.Web.1.2.3".
func (tx *ReadTx) PackageByID(id string) (Package, error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return Package{}, err
	}
	name := strings.TrimPrefix(id, "packages-")
	p, err := scanPackage(tx.queryRow(`SELECT `+packageColumns+` FROM package WHERE package_id || '.' || version = ? COLLATE NOCASE LIMIT 1`, name).Scan)
	return p, notFound(err, "package", id)
}

// PackageFilter chooses packages; zero values choose all.
type PackageFilter struct {
	PackageID  string // exact, without case
	Partial    string // part of the id
	LatestOnly bool   // only the highest version of each
	Skip, Take int
}

// Packages lists by id, highest version first. It needs FeedView.
func (tx *ReadTx) Packages(o PackageFilter) (Page[Package], error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return Page[Package]{}, err
	}
	var f filter
	if o.PackageID != "" {
		f.add("p.package_id = ?", o.PackageID)
	}
	if o.Partial != "" {
		f.add(`p.package_id LIKE ? ESCAPE '\'`, like(o.Partial))
	}
	if o.LatestOnly {
		f.add(`p.version_sort = (SELECT max(q.version_sort) FROM package q WHERE q.package_id = p.package_id)`)
	}
	return pageOf(tx, scanPackage, packageColumns, "package p", "p.package_id", "p.package_id, p.version_sort DESC", f, ListOptions{Skip: o.Skip, Take: o.Take})
}

// DeletePackage needs BuiltInFeedAdminister. A version that a release uses stays.
func (tx *Tx) DeletePackage(p Package) error {
	if err := tx.require(access.BuiltInFeedAdminister, access.Scope{}); err != nil {
		return err
	}
	used, err := one[string](tx.ReadTx, `SELECT COALESCE((SELECT pr.name || ' ' || r.version FROM release_package rp JOIN release r ON r.id = rp.release_id JOIN project pr ON pr.id = r.project_id WHERE rp.digest = ? LIMIT 1), '')`, p.Digest)
	if err != nil {
		return err
	}
	if used != "" {
		return errs.New(errs.Blocked, "Package %s %s is used by release %s.", p.PackageID, p.Version, used).WithHint("Delete the release first.")
	}
	if err := tx.update(`DELETE FROM package WHERE package_id = ? AND version = ?`, p.PackageID, p.Version); err != nil {
		return notFound(err, "package", p.ID())
	}
	tx.record(Event{Category: "Deleted", Entity: "package", EntityID: p.ID(), Message: fmt.Sprintf("Package %s %s was deleted", p.PackageID, p.Version)})
	tx.changed("packages")
	return tx.dropUnusedBlob(p.Digest)
}

// dropUnusedBlob frees a package file that nothing names any more. It goes before the
// commit: a crash in between leaves a row that names no file and that nothing names, and
// whoever pushes the same bytes meanwhile waits for this transaction and sees them gone.
func (tx *Tx) dropUnusedBlob(digest string) error {
	used, err := one[bool](tx.ReadTx, `SELECT EXISTS (SELECT 1 FROM package WHERE digest = ?1) OR EXISTS (SELECT 1 FROM release_package WHERE digest = ?1) OR EXISTS (SELECT 1 FROM zone_blob_want WHERE digest = ?1)`, digest)
	if err != nil || used {
		return err
	}
	if _, err := tx.exec(`DELETE FROM zone_blob_known WHERE digest = ?`, digest); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM package_blob WHERE digest = ?`, digest); err != nil {
		return err
	}
	return tx.Space.packages.Remove(digest)
}

// PackageUse is a release that holds a package version.
type PackageUse struct {
	ProjectID   ProjectID
	ProjectName string
	ProjectSlug string
	Release     string
}
