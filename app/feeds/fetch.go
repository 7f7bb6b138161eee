package feeds

import (
	"context"
	"io"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
)

// Of opens what is needed to call a feed of a space. It needs FeedView.
func Of(ctx context.Context, s *spaces.Space, actor spaces.Actor, feed string) (Feed, error) {
	return spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (Feed, error) {
		f, err := tx.FeedBy(feed)
		if err != nil {
			return Feed{}, err
		}
		password, err := tx.FeedPassword(f)
		return Feed{f.Name, f.URI, f.Username, password}, err
	})
}

// Fetch brings a package of a feed into the built-in one, with at most limit bytes. It
// needs FeedView and BuiltInFeedPush. Errors: those of [Client.Open], [errs.Exists] when
// this version is there with other bytes, [errs.TooLarge].
func (c *Client) Fetch(ctx context.Context, s *spaces.Space, actor spaces.Actor, feed, id, version string, limit int64) (spaces.Package, error) {
	_, err := spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (struct{}, error) { return struct{}{}, tx.MayPush(spaces.FailIfExists) })
	if err != nil {
		return spaces.Package{}, err
	}
	f, err := Of(ctx, s, actor, feed)
	if err != nil {
		return spaces.Package{}, err
	}
	file, err := c.Open(ctx, f, id, version)
	if err != nil {
		return spaces.Package{}, err
	}
	defer func() { _ = file.Close() }()
	blob, err := s.Packages().Put(ctx, fromFeed{f, file}, limit)
	if err != nil {
		return spaces.Package{}, err
	}
	return spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Package, error) {
		p, _, err := tx.AddPackage(id, version, ".nupkg", blob, spaces.IgnoreIfExists)
		if err == nil && p.Digest != blob.Digest {
			err = errs.New(errs.Exists, "%s %s is in the built-in feed already, with other bytes than %s has.", id, version, f.Name)
		}
		return p, err
	})
}

// File is [Client.Open] for a feed of a space.
func (c *Client) File(ctx context.Context, s *spaces.Space, actor spaces.Actor, feed, id, version string) (io.ReadCloser, error) {
	f, err := Of(ctx, s, actor, feed)
	if err != nil {
		return nil, err
	}
	file, err := c.Open(ctx, f, id, version)
	if err != nil {
		return nil, err
	}
	return fromFeed{f, file}, nil
}

// fromFeed is a file whose broken transfer is the feed's fault, not ours.
type fromFeed struct {
	feed Feed
	file io.ReadCloser
}

func (f fromFeed) Close() error { return f.file.Close() }

func (f fromFeed) Read(b []byte) (int, error) {
	n, err := f.file.Read(b)
	if err != nil && err != io.EOF {
		err = unreachable(f.feed, err)
	}
	return n, err
}
