package packages

import (
	"fmt"
	"strings"
	"time"

	"octopuses.dev/octopuses/views"
	"octopuses.dev/octopuses/views/ui"
)

// Fixtures are the pages of this package in their states.
func Fixtures() []views.Fixture {
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	page := func(title string) views.Page {
		p := views.SamplePage(title, "Library")
		if title != "Packages" {
			p.Crumbs = []ui.Crumb{{Label: "Packages", Href: "/p"}, {Label: title}}
		}
		return p
	}
	long := "Acme.Payments." + strings.Repeat("Settlement.", 7) + "Worker"
	digest := strings.Repeat("9f86d081884c7d65", 4)
	empty := List{Page: page("Packages"), Own: "/p", Base: "https://deploy.example.com", SpaceID: "Spaces-1", Limit: 5 << 30, CanUpload: true}
	usual, full, failed, forbidden := empty, empty, empty, empty
	for i, name := range []string{"storefront", "payments-api", "payments-worker"} {
		usual.Rows = append(usual.Rows, Row{ID: name, Version: fmt.Sprintf("1.4.%d", i), Href: "/p/1", Latest: "/p/1/v", By: "ci", Versions: 12 * (i + 1), Size: 34 << 20, Total: 400 << 20, At: at})
	}
	full.Query = "acme"
	for i := range 300 {
		k := Row{ID: fmt.Sprint("acme-service-", i), Version: "2026.11.20-beta.1+build.20261120.93012", Href: "/p/1", Latest: "/p/1/v", By: "build server of the web shop", Versions: i, Size: int64(i) << 18, At: at}
		if i == 1 {
			k.ID = long
		}
		full.Rows = append(full.Rows, k)
	}
	full.Pager = ui.PagerProps{Text: "1–300 of 812 packages", Next: "?skip=300"}
	failed.Rows = usual.Rows
	failed.Errors = []ui.FieldError{
		{Name: "files", Message: "The file name 'web.zip' has no version. Name the file <id>.<version>.<extension>, for example Acme.Web.1.2.3.zip."},
		{Name: "files", Message: "web.1.2.3.zip: The archive is damaged: zip: not a valid zip file. Make the package anew and push it again."},
	}
	failed.Page.Notice = &ui.NoticeProps{Tone: ui.Good, Text: "These went through: storefront 1.5.0."}
	forbidden.Rows, forbidden.CanUpload, forbidden.Why = usual.Rows, false, "You need BuiltInFeedPush; an administrator can grant it."
	some := Uses{Releases: []Use{{"Web shop 1.4.2", "/r"}, {"Web shop 1.4.1", "/r"}, {"Payments 2.0.0", "/r"}, {"Payments 1.9.9", "/r"}}, Hidden: 3}
	versions := Versions{Page: page("payments-api"), ID: "payments-api"}
	for i := range 50 {
		v := VersionRow{Version: fmt.Sprintf("1.4.%d", 50-i), Href: "/v", Digest: digest, By: "ci", Size: 34 << 20, At: at}
		if i%3 == 0 {
			v.Uses = some
		}
		versions.Rows = append(versions.Rows, v)
	}
	versions.Pager = ui.PagerProps{Text: "1–50 of 61 versions", Next: "?skip=50"}
	one := Package{Page: page("payments-api 1.4.2"), ID: "payments-api", Version: "1.4.2", File: "payments-api.1.4.2.zip", Digest: digest, By: "ci", Size: 34 << 20, At: at, CanDownload: true, CanDelete: true, Files: 3, Matching: 3, Unfolded: 90 << 20,
		Others:  []ui.Option{{Value: "1.4.3", Label: "1.4.3"}, {Value: "1.4.1", Label: "1.4.1", Selected: true}},
		Entries: []Entry{{Name: "bin/server", Size: 80 << 20, Executable: true}, {Name: "bin/current", Link: "server"}, {Name: "conf/" + strings.Repeat("a-long-folder-name/", 8) + "settings.json", Size: 812}}}
	many, damaged := one, one
	many.ID, many.Page, many.Uses, many.CanDelete, many.Why = long, page(long+" 1.4.2"), some, false, "7 releases use it; delete them first."
	many.Files, many.Matching, many.Entries = 9412, 9412, nil
	for i := range 300 {
		many.Entries = append(many.Entries, Entry{Name: fmt.Sprintf("wwwroot/assets/chunk-%04d.js", i), Size: int64(i * 977)})
	}
	damaged.Unreadable, damaged.Entries = "The archive is damaged: zip: not a valid zip file.", nil
	damaged.CanDownload, damaged.WhyNoDownload = false, "You need BuiltInFeedDownload; an administrator can grant it."
	damaged.Errors = []ui.FieldError{{Message: "The typed version is not '1.4.2'. Nothing was deleted."}}
	compare := Compare{Page: page("payments-api 1.4.2 and 1.4.1"), ID: "payments-api", Version: "1.4.2", With: "1.4.1", Swap: "/s", Size: 35 << 20, WithSize: 34 << 20, Added: 1, Removed: 1, Changed: 2, Files: []FileChange{
		{Name: "bin/server", Word: "changed", Tone: ui.Waiting, Size: 81 << 20, Was: 80 << 20},
		{Name: "conf/settings.json", Word: "changed", Tone: ui.Waiting, Size: 812, Was: 800, Lines: []ui.DiffLine{{Op: ' ', Old: 1, New: 1, Text: "{"}, {Op: '-', Old: 2, Text: `  "port": 80`}, {Op: '+', New: 2, Text: `  "port": 8080`}, {Op: ' ', Old: 3, New: 3, Text: "}"}}},
		{Name: "migrate.sh", Word: "added", Tone: ui.Good, Size: 120}, {Name: "old.sh", Word: "removed", Tone: ui.Bad, Size: 80}}}
	same, unlike := compare, compare
	same.Files = nil
	unlike.Files, unlike.Unreadable = nil, "One is a .zip and the other a .tar.gz; only archives of one kind are compared."
	feed := Feed{Page: page("Artifactory"), ID: "Feeds-1", Name: "Artifactory", URI: "https://artifactory.example.com/api/nuget/v3/releases/index.json", User: "robot", HasPassword: true}
	newFeed := Feed{Page: page("Add a feed")}
	badFeed, noFeed := feed, feed
	badFeed.PackageID, badFeed.Version, badFeed.FetchErrors = "Acme.Web", "9.9.9", []ui.FieldError{{Message: "The feed Artifactory has no Acme.Web 9.9.9."}}
	badFeed.Errors = []ui.FieldError{{Name: "uri", Message: "A password is sent over https alone."}}
	noFeed.Why, noFeed.WhyNoFetch = "You need FeedEdit; an administrator can grant it.", "You need BuiltInFeedPush; an administrator can grant it."
	fullFeeds := Feeds{Page: page("Feeds"), Feeds: []Feed{feed, {ID: "Feeds-2", Name: "nuget.org", URI: "https://api.nuget.org/v3/index.json"}, {ID: "Feeds-3", Name: long, URI: "https://" + strings.Repeat("long.", 20) + "example.com/v3/index.json"}}}
	return []views.Fixture{
		{Name: "feeds empty", Component: ShowFeeds(Feeds{Page: page("Feeds")})}, {Name: "feeds full", Component: ShowFeeds(fullFeeds)},
		{Name: "feed usual", Component: ShowFeed(feed)}, {Name: "feed new", Component: ShowFeed(newFeed)}, {Name: "feed failed", Component: ShowFeed(badFeed)}, {Name: "feed forbidden", Component: ShowFeed(noFeed)},
		{Name: "packages empty", Component: ShowList(empty)}, {Name: "packages usual", Component: ShowList(usual)}, {Name: "packages huge", Component: ShowList(full)},
		{Name: "packages failed", Component: ShowList(failed)}, {Name: "packages forbidden", Component: ShowList(forbidden)},
		{Name: "package versions", Component: ShowVersions(versions)},
		{Name: "package usual", Component: Show(one)}, {Name: "package huge", Component: Show(many)}, {Name: "package damaged", Component: Show(damaged)},
		{Name: "package compare", Component: ShowCompare(compare)}, {Name: "package compare same", Component: ShowCompare(same)}, {Name: "package compare unlike", Component: ShowCompare(unlike)},
	}
}
