package spaces

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/errs"
)

// Feed is a place outside from which packages are fetched: a NuGet v3 feed, as nuget.org,
// Artifactory, Nexus, ProGet and GitHub have it. A package that is fetched becomes one of
// the built-in feed, so that no deployment waits for what is elsewhere.
type Feed struct {
	ID          FeedID
	Name        string
	URI         string // of the service index, as https://api.nuget.org/v3/index.json
	Username    string
	HasPassword bool
	UpdatedAt   time.Time
	UpdatedBy   string

	password SecretID
}

// FeedInput is what a person or a client says of one. Password nil keeps what is stored; it
// must be said again when the address changes.
type FeedInput struct {
	Name, URI, Username string
	Password            *string
}

// MaxFeeds is how many a space has at most beside the built-in one.
const MaxFeeds = 50

const feedColumns = `id, name, uri, username, COALESCE(password, 0), updated_at, updated_by`

func scanFeed(scan func(...any) error) (Feed, error) {
	var f Feed
	var at string
	err := scan(&f.ID, &f.Name, &f.URI, &f.Username, &f.password, &at, &f.UpdatedBy)
	f.HasPassword, f.UpdatedAt = f.password != 0, parseTime(at)
	return f, err
}

func (in *FeedInput) check() error {
	var c errs.Check
	checkName(&c, "Name", in.Name, 200)
	c.Require(!strings.EqualFold(in.Name, BuiltInFeed) && !strings.EqualFold(in.Name, BuiltInFeedName), "Name", "This is the name of the built-in feed.")
	u, err := url.Parse(in.URI)
	c.Require(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && u.Fragment == "" && len(in.URI) <= 2000, "FeedUri", "A feed is at the URL of its service index, such as https://api.nuget.org/v3/index.json, without a name and password.")
	c.Require(len(in.Username) <= 200 && !strings.ContainsAny(in.Username, ":\r\n"), "Username", "A name has up to 200 characters, without a colon.")
	if in.Password != nil {
		c.Require(len(*in.Password) <= 4000, "Password", "A password has up to 4,000 characters.")
		c.Require(*in.Password == "" || in.Username != "", "Username", "A password needs a name.")
		c.Require(*in.Password == "" || err != nil || u.Scheme == "https", "FeedUri", "A password is sent over https alone.")
	}
	return c.Err()
}

func (f Feed) audited() map[string]any {
	return map[string]any{"Name": f.Name, "FeedUri": f.URI, "Username": f.Username}
}

func feedChanges(before, after any, password *string) []Change {
	what := audit.Compare("", before, after)
	if password != nil {
		what = append(what, Change{Field: "Password", Secret: true})
	}
	return what
}

// CreateFeed needs FeedEdit.
func (tx *Tx) CreateFeed(in FeedInput) (Feed, error) {
	if err := tx.require(access.FeedEdit, access.Scope{}); err != nil {
		return Feed{}, err
	}
	if err := in.check(); err != nil {
		return Feed{}, err
	}
	if n, err := one[int](tx.ReadTx, `SELECT count(*) FROM feed`); err != nil {
		return Feed{}, err
	} else if n >= MaxFeeds {
		return Feed{}, errs.New(errs.Blocked, "A space has up to %d feeds.", MaxFeeds)
	}
	password, err := tx.headerSecret(0, in.Password)
	if err != nil {
		return Feed{}, err
	}
	now := formatTime(tx.Now)
	n, err := tx.insert(`INSERT INTO feed (name, uri, username, password, created_at, updated_at, updated_by) VALUES (?, ?, ?, NULLIF(?, 0), ?, ?, ?)`, in.Name, in.URI, in.Username, int64(password), now, now, tx.Actor.Name)
	if err != nil {
		return Feed{}, taken(err, "Name", "A feed named '%s' already exists.", in.Name)
	}
	made, err := tx.feed(FeedID(n))
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Created", Entity: "feed", EntityID: made.ID.String(), Message: fmt.Sprintf("Feed %s was created", in.Name), Changes: feedChanges(nil, made.audited(), in.Password)})
	tx.changed("feeds")
	return made, nil
}

// UpdateFeed needs FeedEdit.
func (tx *Tx) UpdateFeed(id FeedID, in FeedInput) (Feed, error) {
	if err := tx.require(access.FeedEdit, access.Scope{}); err != nil {
		return Feed{}, err
	}
	old, err := tx.feed(id)
	if err != nil {
		return old, err
	}
	if err := in.check(); err != nil {
		return old, err
	}
	if old.HasPassword && in.Password == nil && (in.URI != old.URI || in.Username != old.Username) {
		return old, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Password", Message: "The password is asked for again when the address or the name changes: it was given for the other one."}}}
	}
	password, err := tx.headerSecret(old.password, in.Password)
	if err != nil {
		return old, err
	}
	if err := tx.update(`UPDATE feed SET name = ?, uri = ?, username = ?, password = NULLIF(?, 0), updated_at = ?, updated_by = ? WHERE id = ?`, in.Name, in.URI, in.Username, int64(password), formatTime(tx.Now), tx.Actor.Name, int64(id)); err != nil {
		return old, taken(err, "Name", "A feed named '%s' already exists.", in.Name)
	}
	made, err := tx.feed(id)
	if err != nil {
		return made, err
	}
	tx.record(Event{Category: "Modified", Entity: "feed", EntityID: id.String(), Message: fmt.Sprintf("Feed %s was changed", in.Name), Changes: feedChanges(old.audited(), made.audited(), in.Password)})
	tx.changed("feeds")
	return made, nil
}

// DeleteFeed needs FeedEdit. What was fetched from it stays.
func (tx *Tx) DeleteFeed(id FeedID) error {
	if err := tx.require(access.FeedEdit, access.Scope{}); err != nil {
		return err
	}
	f, err := tx.feed(id)
	if err != nil {
		return err
	}
	if err := tx.update(`DELETE FROM feed WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	tx.record(Event{Category: "Deleted", Entity: "feed", EntityID: id.String(), Message: fmt.Sprintf("Feed %s was deleted", f.Name)})
	tx.changed("feeds")
	return nil
}

func (tx *ReadTx) feed(id FeedID) (Feed, error) {
	f, err := scanFeed(tx.queryRow(`SELECT `+feedColumns+` FROM feed WHERE id = ?`, int64(id)).Scan)
	return f, notFound(err, "feed", id.String())
}

// FeedBy finds one by its identifier or its name. It needs FeedView.
func (tx *ReadTx) FeedBy(text string) (Feed, error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return Feed{}, err
	}
	if n, ok := cutID(prefixFeed, text); ok {
		return tx.feed(FeedID(n))
	}
	f, err := scanFeed(tx.queryRow(`SELECT `+feedColumns+` FROM feed WHERE name = ?`, text).Scan)
	return f, notFound(err, "feed", text)
}

// Feeds lists those outside by name. It needs FeedView.
func (tx *ReadTx) Feeds(o ListOptions) (Page[Feed], error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return Page[Feed]{}, err
	}
	var f filter
	f.ids("id", prefixFeed, o.IDs)
	f.names("name", o)
	return pageOf(tx, scanFeed, feedColumns, "feed", "name", "name, id", f, o)
}

// FeedPassword opens the password of a feed for a call to it; "" when it has none. It needs
// FeedView of whoever has the call made, and goes to the feed alone.
func (tx *ReadTx) FeedPassword(f Feed) (string, error) {
	if err := tx.require(access.FeedView, access.Scope{}); err != nil {
		return "", err
	}
	if f.password == 0 {
		return "", nil
	}
	return tx.secret(f.password)
}
