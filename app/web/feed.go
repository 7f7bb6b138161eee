package web

import (
	"context"
	"io"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/views"
	pages "octopuses.dev/octopuses/views/packages"
	"octopuses.dev/octopuses/views/ui"
)

func feedRoutes() []route {
	const p = "/spaces/:space/feeds"
	return []route{
		get(p, inSpace, access.FeedView, feedList),
		get(p+"/new", inSpace, access.FeedEdit, feedPage), post(p+"/new", inSpace, access.FeedEdit, saveFeed),
		get(p+"/:feed", inSpace, access.FeedView, feedPage), post(p+"/:feed", inSpace, access.FeedEdit, saveFeed),
		post(p+"/:feed/fetch", inSpace, access.BuiltInFeedPush, fetchFromFeed),
		post(p+"/:feed/delete", inSpace, access.FeedEdit, deleteFeed),
	}
}

func feedList(r *request) error {
	all, err := spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Page[spaces.Feed], error) { return tx.Feeds(spaces.All) })
	if err != nil {
		return err
	}
	m := pages.Feeds{Page: r.pageFor("Feeds", "Library")}
	_, m.Why = r.can(access.FeedEdit, access.Scope{})
	for _, f := range all.Items {
		m.Feeds = append(m.Feeds, pages.Feed{ID: f.ID.String(), Name: f.Name, URI: f.URI, User: f.Username})
	}
	return r.render(fiber.StatusOK, pages.ShowFeeds(m))
}

// feed is the one of the path; a new one is empty.
func (r *request) feed() (spaces.Feed, error) {
	text := r.param("feed")
	if text == "" {
		return spaces.Feed{}, nil
	}
	return spaces.View(r.ctx, r.space, r.actor, func(tx *spaces.ReadTx) (spaces.Feed, error) { return tx.FeedBy(text) })
}

func (r *request) feedForm(f spaces.Feed) pages.Feed {
	m := pages.Feed{Name: f.Name, URI: f.URI, User: f.Username, HasPassword: f.HasPassword}
	title := "Add a feed"
	if f.ID != 0 {
		m.ID, title = f.ID.String(), f.Name
	}
	_, m.Why = r.can(access.FeedEdit, access.Scope{})
	_, m.WhyNoFetch = r.can(access.BuiltInFeedPush, access.Scope{})
	m.Page = r.pageFor(title, "Library")
	m.Page.Crumbs = []ui.Crumb{{Label: "Feeds", Href: views.FeedsURL(r.about.Slug)}, {Label: title}}
	return m
}

func feedPage(r *request) error {
	f, err := r.feed()
	if err != nil {
		return err
	}
	return r.render(fiber.StatusOK, pages.ShowFeed(r.feedForm(f)))
}

func saveFeed(r *request) error {
	f, err := r.feed()
	if err != nil {
		return err
	}
	in := spaces.FeedInput{Name: r.value("name"), URI: r.value("uri"), Username: r.value("username")}
	if v := r.form.Get("password"); v != "" || in.Username == "" {
		in.Password = &v
	}
	made, err := spaces.Update(r.ctx, r.space, r.actor, func(tx *spaces.Tx) (spaces.Feed, error) {
		if f.ID == 0 {
			return tx.CreateFeed(in)
		}
		return tx.UpdateFeed(f.ID, in)
	})
	if err != nil {
		m := r.feedForm(f)
		m.Name, m.URI, m.User = in.Name, in.URI, in.Username
		return r.again(err, map[string]string{"FeedUri": "uri"}, func(e []ui.FieldError) templ.Component {
			m.Errors = e
			return pages.ShowFeed(m)
		})
	}
	return r.see(views.FeedURL(r.about.Slug, made.ID.String()))
}

func fetchFromFeed(r *request) error {
	f, err := r.feed()
	if err != nil {
		return err
	}
	if r.s.Feeds == nil {
		return errs.New(errs.Unavailable, "This server calls no feeds.")
	}
	id, version := r.value("packageID"), r.value("version")
	p, err := r.s.Feeds.Fetch(r.ctx, r.space, r.actor, f.ID.String(), id, version, r.s.MaxPackage)
	if err != nil {
		if errs.KindOf(err) == errs.NotFound {
			err = errs.New(errs.Invalid, "%s", errs.TextOf(err))
		}
		m := r.feedForm(f)
		m.PackageID, m.Version = id, version
		return r.again(err, nil, func(e []ui.FieldError) templ.Component {
			m.FetchErrors = e
			return pages.ShowFeed(m)
		})
	}
	return r.see(views.PackageURL(r.about.Slug, p.PackageID, p.Version))
}

func deleteFeed(r *request) error {
	f, err := r.feed()
	if err != nil {
		return err
	}
	if err := spaces.Do(r.ctx, r.space, r.actor, func(tx *spaces.Tx) error { return tx.DeleteFeed(f.ID) }); err != nil {
		return err
	}
	return r.see(views.FeedsURL(r.about.Slug))
}

// fetchInbound gets the package files that an inbound release lacks from a feed.
func fetchInbound(r *request) error {
	id, err := r.inboundID()
	if err != nil {
		return err
	}
	if r.s.Feeds == nil {
		return errs.New(errs.Unavailable, "This server calls no feeds.")
	}
	feed := r.value("feed")
	_, err = r.s.Zones.FetchPackages(r.ctx, r.space, r.actor, id, func(ctx context.Context, packageID, version string) (io.ReadCloser, error) {
		return r.s.Feeds.File(ctx, r.space, r.actor, feed, packageID, version)
	})
	if err != nil {
		if errs.KindOf(err) == errs.NotFound {
			err = errs.New(errs.Invalid, "%s", errs.TextOf(err))
		}
		return r.decisionFailed(err)
	}
	return r.see(views.InboundURL(r.about.Slug, id.String()))
}
