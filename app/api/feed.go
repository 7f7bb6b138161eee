package api

import (
	"regexp"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/versions"
)

func feedRoutes() []Row {
	return []Row{
		get("/feeds", InSpace, access.FeedView, listFeeds),
		get("/feeds/all", InSpace, access.FeedView, func(r *request) error { return r.ok(r.feeds()) }),
		get("/feeds/stats", InSpace, access.FeedView, feedStats),
		get("/feeds/:id", InSpace, access.FeedView, showFeed),
		get("/feeds/:id/packages/search", InSpace, access.FeedView, searchPackages),
		get("/feeds/:id/packages/versions", InSpace, access.FeedView, searchVersions),
		post("/feeds", InSpace, access.FeedEdit, unsupported("feeds", "Push packages to the built-in feed instead.")),
	}
}

const feedName = "Octopus Server (built-in)"

// timeText is a time for fields that clients read as text.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

type feedResource struct {
	ID                                   string   `json:"Id"`
	SpaceID                              string   `json:"SpaceId"`
	Name                                 string   `json:"Name"`
	Slug                                 string   `json:"Slug"`
	FeedType                             string   `json:"FeedType"`
	DownloadAttempts                     int      `json:"DownloadAttempts"`
	DownloadRetryBackoffSeconds          int      `json:"DownloadRetryBackoffSeconds"`
	DeleteUnreleasedPackagesAfterDays    *int     `json:"DeleteUnreleasedPackagesAfterDays"`
	DeletePackagesAssociatedWithReleases bool     `json:"DeletePackagesAssociatedWithReleases"`
	IsBuiltInRepoSyncEnabled             bool     `json:"IsBuiltInRepoSyncEnabled"`
	PackageAcquisitionLocationOptions    []string `json:"PackageAcquisitionLocationOptions"`
	Links                                links    `json:"Links"`
}

// feeds is the built-in feed, if it is asked for: every space has that one and no other.
func (r *request) feeds() []feedResource {
	if kind := r.query("feedType"); kind != "" && !strings.EqualFold(kind, "BuiltIn") || !r.matches(feedName) || !r.asked(spaces.BuiltInFeed) {
		return []feedResource{}
	}
	return []feedResource{r.feedResource()}
}

func (r *request) feedResource() feedResource {
	self := r.in("feeds", spaces.BuiltInFeed)
	return feedResource{ID: spaces.BuiltInFeed, SpaceID: r.about.ID(), Name: feedName, Slug: "octopus-server-built-in", FeedType: "BuiltIn", DownloadAttempts: 5, DownloadRetryBackoffSeconds: 10,
		PackageAcquisitionLocationOptions: []string{"Server", "NotAcquired"}, Links: links{"Self": self, "SearchPackagesTemplate": self + "/packages/search{?term,take,skip}",
			"SearchPackageVersionsTemplate": self + "/packages/versions{?packageId,take,skip,includePreRelease,versionRange,preReleaseTag,filter,includeReleaseNotes}"}}
}

func listFeeds(r *request) error {
	return r.ok(pageOf(r, "Feed", slice(r, r.feeds()), same))
}

func (r *request) feed() error {
	if id := r.param("id"); !strings.EqualFold(id, spaces.BuiltInFeed) && !strings.EqualFold(id, feedName) {
		return errs.Missing("feed", id)
	}
	return nil
}

func showFeed(r *request) error {
	if err := r.feed(); err != nil {
		return err
	}
	return r.ok(r.feedResource())
}

func feedStats(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (map[string]any, error) {
		p, err := tx.Packages(spaces.PackageFilter{Take: 1})
		total := p.Total
		if err == nil && len(p.Items) == 1 {
			// A full first page counts all rows.
			p, err = tx.Packages(spaces.PackageFilter{Take: 1, Skip: 1})
			total = p.Total
		}
		return map[string]any{"TotalPackages": total, "Links": links{"Self": r.in("feeds", "stats")}}, err
	})
}

func searchPackages(r *request) error {
	if err := r.feed(); err != nil {
		return err
	}
	type found struct {
		ID            string `json:"Id"`
		Name          string `json:"Name"`
		Description   string `json:"Description"`
		LatestVersion string `json:"LatestVersion"`
		Links         links  `json:"Links"`
	}
	f := spaces.PackageFilter{Partial: r.query("term"), LatestOnly: true, Skip: r.number("skip"), Take: r.number("take")}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) { return tx.Packages(f) })
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Package", p, func(p spaces.Package) found {
		return found{ID: p.PackageID, Name: p.PackageID, LatestVersion: p.Version, Links: links{"SearchPackageVersionsTemplate": r.in("feeds", spaces.BuiltInFeed, "packages", "versions") + "?packageId=" + escape(p.PackageID)}}
	}))
}

type versionResource struct {
	ID           string  `json:"Id"`
	PackageID    string  `json:"PackageId"`
	FeedID       string  `json:"FeedId"`
	Title        string  `json:"Title"`
	Version      string  `json:"Version"`
	Published    string  `json:"Published"`
	ReleaseNotes *string `json:"ReleaseNotes"`
	SizeBytes    int64   `json:"SizeBytes"`
	Links        links   `json:"Links"`
}

// searchVersions lists the versions of a package, highest first. Pre-releases are in it
// when they are asked for, by flag or by a tag that they must match.
func searchVersions(r *request) error {
	if err := r.feed(); err != nil {
		return err
	}
	keep, err := versionFilter(r)
	if err != nil {
		return err
	}
	p, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Package], error) {
		return tx.Packages(spaces.PackageFilter{PackageID: r.query("packageId"), Take: spaces.MaxTake})
	})
	if err != nil {
		return err
	}
	kept := p.Items[:0]
	for _, pkg := range p.Items {
		if v, err := versions.Parse(pkg.Version); err == nil && keep(pkg.Version, v) {
			kept = append(kept, pkg)
		}
	}
	return r.ok(pageOf(r, "PackageVersion", slice(r, kept), func(p spaces.Package) versionResource {
		return versionResource{ID: p.ID(), PackageID: p.PackageID, FeedID: spaces.BuiltInFeed, Title: p.PackageID, Version: p.Version, Published: timeText(p.PublishedAt), SizeBytes: p.Size, Links: links{"Self": r.in("packages", escape(p.ID()))}}
	}))
}

func versionFilter(r *request) (func(text string, v versions.Version) bool, error) {
	var within *versions.Range
	if text := r.query("versionRange"); text != "" {
		parsed, err := versions.ParseRange(text)
		if err != nil {
			return nil, err
		}
		within = &parsed
	}
	var tag *regexp.Regexp
	if text := r.query("preReleaseTag"); text != "" {
		var err error
		if tag, err = regexp.Compile(text); err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "'%s' is no regular expression.", text)
		}
	}
	pre, part := r.flag("includePreRelease"), strings.ToLower(r.query("filter"))
	return func(text string, v versions.Version) bool {
		switch {
		case within != nil && !within.Contains(v):
			return false
		case tag != nil && !tag.MatchString(v.Suffix()):
			return false
		case tag == nil && !pre && v.IsPrerelease():
			return false
		}
		return part == "" || strings.Contains(strings.ToLower(text), part)
	}, nil
}
