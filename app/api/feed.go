package api

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/app/feeds"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/versions"
)

func feedRoutes() []Row {
	return []Row{
		get("/feeds", InSpace, access.FeedView, listFeeds),
		get("/feeds/all", InSpace, access.FeedView, allFeeds),
		get("/feeds/stats", InSpace, access.FeedView, feedStats),
		get("/feeds/:id", InSpace, access.FeedView, showFeed),
		get("/feeds/:id/packages/search", InSpace, access.FeedView, searchPackages),
		get("/feeds/:id/packages/versions", InSpace, access.FeedView, searchVersions),
		post("/feeds", InSpace, access.FeedEdit, createFeed),
		put("/feeds/:id", InSpace, access.FeedEdit, updateFeed),
		del("/feeds/:id", InSpace, access.FeedEdit, deleteFeed),
		fetching(post("/feeds/:id/packages/fetch", InSpace, access.BuiltInFeedPush, fetchPackage)),
	}
}

// timeText is a time for fields that clients read as text.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

type feedResource struct {
	ID                                   string    `json:"Id"`
	SpaceID                              string    `json:"SpaceId"`
	Name                                 string    `json:"Name"`
	Slug                                 string    `json:"Slug"`
	FeedType                             string    `json:"FeedType"`
	FeedURI                              string    `json:"FeedUri,omitempty"`
	Username                             string    `json:"Username,omitempty"`
	Password                             sensitive `json:"Password"`
	DownloadAttempts                     int       `json:"DownloadAttempts"`
	DownloadRetryBackoffSeconds          int       `json:"DownloadRetryBackoffSeconds"`
	DeleteUnreleasedPackagesAfterDays    *int      `json:"DeleteUnreleasedPackagesAfterDays"`
	DeletePackagesAssociatedWithReleases bool      `json:"DeletePackagesAssociatedWithReleases"`
	IsBuiltInRepoSyncEnabled             bool      `json:"IsBuiltInRepoSyncEnabled"`
	PackageAcquisitionLocationOptions    []string  `json:"PackageAcquisitionLocationOptions"`
	Links                                links     `json:"Links"`
}

// feeds are the built-in one and those outside.
func (r *request) feeds() ([]feedResource, error) {
	all, err := view(r, func(tx *spaces.ReadTx) (spaces.Page[spaces.Feed], error) { return tx.Feeds(spaces.All) })
	if err != nil {
		return nil, err
	}
	found := []feedResource{r.builtIn()}
	for _, f := range all.Items {
		found = append(found, r.feedResource(f))
	}
	kind := r.query("feedType")
	return slices.DeleteFunc(found, func(f feedResource) bool {
		return kind != "" && !strings.EqualFold(kind, f.FeedType) || !r.matches(f.Name) || !r.asked(f.ID)
	}), nil
}

func (r *request) builtIn() feedResource {
	return r.searched(feedResource{ID: spaces.BuiltInFeed, Name: spaces.BuiltInFeedName, Slug: "octopus-server-built-in", FeedType: "BuiltIn", PackageAcquisitionLocationOptions: []string{"Server", "NotAcquired"}})
}

func (r *request) feedResource(f spaces.Feed) feedResource {
	return r.searched(feedResource{ID: f.ID.String(), Name: f.Name, Slug: strings.ToLower(f.ID.String()), FeedType: "NuGet", FeedURI: f.URI, Username: f.Username, Password: sensitive{HasValue: f.HasPassword}, PackageAcquisitionLocationOptions: []string{}})
}

func (r *request) searched(f feedResource) feedResource {
	self := r.in("feeds", f.ID)
	f.SpaceID, f.DownloadAttempts, f.DownloadRetryBackoffSeconds = r.about.ID(), 5, 10
	f.Links = links{"Self": self, "SearchPackagesTemplate": self + "/packages/search{?term,take,skip}",
		"SearchPackageVersionsTemplate": self + "/packages/versions{?packageId,take,skip,includePreRelease,versionRange,preReleaseTag,filter,includeReleaseNotes}"}
	return f
}

func allFeeds(r *request) error {
	all, err := r.feeds()
	if err != nil {
		return err
	}
	return r.ok(all)
}

func listFeeds(r *request) error {
	all, err := r.feeds()
	if err != nil {
		return err
	}
	return r.ok(pageOf(r, "Feed", slice(r, all), same))
}

func (r *request) isBuiltIn() bool {
	id := r.param("id")
	return strings.EqualFold(id, spaces.BuiltInFeed) || strings.EqualFold(id, spaces.BuiltInFeedName)
}

// feed is the one outside that the path names.
func (r *request) feed() (spaces.Feed, error) {
	return view(r, func(tx *spaces.ReadTx) (spaces.Feed, error) { return tx.FeedBy(r.param("id")) })
}

func showFeed(r *request) error {
	if r.isBuiltIn() {
		return r.ok(r.builtIn())
	}
	f, err := r.feed()
	if err != nil {
		return err
	}
	return r.ok(r.feedResource(f))
}

func (in feedResource) input() (spaces.FeedInput, error) {
	var c errs.Check
	c.Require(strings.EqualFold(in.FeedType, "NuGet"), "FeedType", "This server fetches from NuGet feeds (version 3) alone, beside its built-in feed.")
	return spaces.FeedInput{Name: in.Name, URI: in.FeedURI, Username: in.Username, Password: in.Password.NewValue}, c.Err()
}

func createFeed(r *request) error {
	in, err := readJSON[feedResource](r)
	if err != nil {
		return err
	}
	input, err := in.input()
	if err != nil {
		return err
	}
	f, err := update(r, func(tx *spaces.Tx) (spaces.Feed, error) { return tx.CreateFeed(input) })
	if err != nil {
		return err
	}
	return r.created(r.feedResource(f))
}

func updateFeed(r *request) error {
	if r.isBuiltIn() {
		return errs.New(errs.Blocked, "The built-in feed cannot be changed.")
	}
	f, err := r.feed()
	if err != nil {
		return err
	}
	in, err := readOver[feedResource](r, r.feedResource(f))
	if err != nil {
		return err
	}
	input, err := in.input()
	if err != nil {
		return err
	}
	if f, err = update(r, func(tx *spaces.Tx) (spaces.Feed, error) { return tx.UpdateFeed(f.ID, input) }); err != nil {
		return err
	}
	return r.ok(r.feedResource(f))
}

func deleteFeed(r *request) error {
	if r.isBuiltIn() {
		return errs.New(errs.Blocked, "The built-in feed cannot be deleted.")
	}
	f, err := r.feed()
	if err != nil {
		return err
	}
	if err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteFeed(f.ID) }); err != nil {
		return err
	}
	return r.gone()
}

// fetchPackage brings a package from a feed outside into the built-in one.
func fetchPackage(r *request) error {
	if r.isBuiltIn() {
		return errs.New(errs.Invalid, "What is in the built-in feed need not be fetched.")
	}
	in, err := readJSON[struct{ PackageID, Version string }](r)
	if err != nil {
		return err
	}
	if r.s.Feeds == nil {
		return errs.New(errs.Unavailable, "This server calls no feeds.")
	}
	p, err := r.s.Feeds.Fetch(r.ctx, r.space, r.actor, r.param("id"), in.PackageID, in.Version, r.s.MaxPackage)
	if err != nil {
		return err
	}
	return r.created(r.packageResource(p))
}

// outside asks a feed for the versions of a package, newest first.
func (r *request) outside(id string) (spaces.Feed, []string, error) {
	f, err := r.feed()
	if err != nil || id == "" || r.s.Feeds == nil {
		return f, nil, err
	}
	at, err := feeds.Of(r.ctx, r.space, r.actor, f.ID.String())
	if err != nil {
		return f, nil, err
	}
	all, err := r.s.Feeds.Versions(r.ctx, at, id)
	slices.Reverse(all)
	return f, all, err
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
	type found struct {
		ID            string `json:"Id"`
		Name          string `json:"Name"`
		Description   string `json:"Description"`
		LatestVersion string `json:"LatestVersion"`
		Links         links  `json:"Links"`
	}
	if !r.isBuiltIn() {
		// A NuGet feed need not have a search; a package is found by its whole name.
		feed, all, err := r.outside(r.query("term"))
		if err != nil {
			return err
		}
		hits := []found{}
		if len(all) > 0 {
			id := r.query("term")
			hits = append(hits, found{ID: id, Name: id, LatestVersion: all[0], Links: links{"SearchPackageVersionsTemplate": r.in("feeds", feed.ID.String(), "packages", "versions") + "?packageId=" + escape(id)}})
		}
		return r.ok(pageOf(r, "Package", slice(r, hits), same))
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
	keep, err := versionFilter(r)
	if err != nil {
		return err
	}
	if !r.isBuiltIn() {
		feed, all, err := r.outside(r.query("packageId"))
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(text string) bool { v, err := versions.Parse(text); return err != nil || !keep(text, v) })
		id := r.query("packageId")
		return r.ok(pageOf(r, "PackageVersion", slice(r, all), func(text string) versionResource {
			return versionResource{ID: "packages-" + id + "." + text, PackageID: id, FeedID: feed.ID.String(), Title: id, Version: text, Published: timeText(time.Time{}), Links: links{}}
		}))
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
