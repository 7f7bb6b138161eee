package spaces

import (
	"strings"

	"octopuses.dev/octopuses/spaces/access"
)

// PackageSummary is a package id: its highest version, and how many there are.
type PackageSummary struct {
	Latest   Package
	Versions int
	Size     int64 // bytes of all versions together
}

// PackageSummaries lists ids, each once. LatestOnly of the filter is implied. It needs
// FeedView.
func (tx *ReadTx) PackageSummaries(o PackageFilter) (Page[PackageSummary], error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return Page[PackageSummary]{}, err
	}
	var f filter
	f.add(`p.version_sort = (SELECT max(q.version_sort) FROM package q WHERE q.package_id = p.package_id)`)
	if o.PackageID != "" {
		f.add("p.package_id = ?", o.PackageID)
	}
	if o.Partial != "" {
		f.add(`p.package_id LIKE ? ESCAPE '\'`, like(o.Partial))
	}
	scan := func(scan func(...any) error) (PackageSummary, error) {
		var s PackageSummary
		var err error
		s.Latest, err = scanPackage(func(dest ...any) error { return scan(append(dest, &s.Versions, &s.Size)...) })
		return s, err
	}
	columns := packageColumns + `, (SELECT count(*) FROM package q WHERE q.package_id = p.package_id), (SELECT sum(q.size) FROM package q WHERE q.package_id = p.package_id)`
	return pageOf(tx, scan, columns, "package p", "p.package_id", "p.package_id", f, ListOptions{Skip: o.Skip, Take: o.Take})
}

// PackageUses are the releases that hold a file. Visible are those that the actor may
// see, newest first; Total counts all of them.
type PackageUses struct {
	Visible []PackageUse
	Total   int
}

// maxUses bounds what one read of uses brings back.
const maxUses = 2000

// UsesOfPackages tells of each file, by its digest, which releases hold it, in one read.
// It needs FeedView.
func (tx *ReadTx) UsesOfPackages(of []Package) (map[string]PackageUses, error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return nil, err
	}
	out := map[string]PackageUses{}
	if len(of) == 0 {
		return out, nil
	}
	args := make([]any, 0, len(of)+1)
	for _, p := range of {
		args = append(args, p.Digest)
	}
	type found struct {
		digest string
		group  ProjectGroupID
		PackageUse
	}
	all, err := list(tx, func(scan func(...any) error) (found, error) {
		var u found
		err := scan(&u.digest, &u.group, &u.ProjectID, &u.ProjectName, &u.ProjectSlug, &u.Release)
		return u, err
	}, `SELECT DISTINCT rp.digest, p.project_group_id, p.id, p.name, p.slug, r.version FROM release_package rp JOIN release r ON r.id = rp.release_id JOIN project p ON p.id = r.project_id
		WHERE rp.digest IN (?`+strings.Repeat(", ?", len(of)-1)+`) ORDER BY r.id DESC LIMIT ?`, append(args, maxUses)...)
	if err != nil {
		return nil, err
	}
	for _, u := range all {
		uses := out[u.digest]
		uses.Total++
		if tx.Can(access.ReleaseView, access.Scope{Project: u.ProjectID.String(), ProjectGroup: u.group.String()}) {
			uses.Visible = append(uses.Visible, u.PackageUse)
		}
		out[u.digest] = uses
	}
	return out, nil
}
