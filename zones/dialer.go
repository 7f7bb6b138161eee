package zones

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/zones/bundle"
	"octopuses.dev/octopuses/zones/delta"
	"octopuses.dev/octopuses/zones/pin"
)

// client makes an HTTP client that talks to one server only, known by its pin.
func (z *Service) client(serverPin string) *http.Client {
	t := &http.Transport{TLSClientConfig: pin.ClientConfig(z.Identity, serverPin), ForceAttemptHTTP2: true, DisableCompression: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 2 * time.Minute,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Join links this space with the one that made an invitation. It needs LinkAdminister.
// role is what this space is in the link.
func (z *Service) Join(ctx context.Context, s *spaces.Space, actor spaces.Actor, invitation, name, role string) (spaces.Link, error) {
	if err := mayLink(actor); err != nil {
		return spaces.Link{}, err
	}
	i, err := ParseInvitation(invitation)
	if err != nil {
		return spaces.Link{}, err
	}
	if i.Space == s.ULID() {
		return spaces.Link{}, errs.New(errs.Invalid, "This invitation is of this space itself.")
	}
	ours, _, err := z.Card(ctx, s)
	if err != nil {
		return spaces.Link{}, err
	}
	// The proof needs the connection, so it is opened by hand and used for one request.
	cfg := pin.ClientConfig(z.Identity, i.Pin)
	cfg.NextProtos = []string{"http/1.1"}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: cfg}
	raw, err := d.DialContext(ctx, "tcp", i.Address)
	if err != nil {
		if errors.Is(err, pin.ErrPin) {
			return spaces.Link{}, errs.New(errs.Blocked, "The server at %s is not the one that made this invitation.", i.Address).WithHint("Its address is wrong, or somebody stands in between.")
		}
		return spaces.Link{}, errs.Wrap(errs.Unavailable, err, "The server at %s cannot be reached: %v.", i.Address, err).WithHint("Check its address and the firewall.")
	}
	defer raw.Close()
	state := raw.(*tls.Conn).ConnectionState()
	mine, err := proof(i.Secret, &state, "dialler", ours)
	if err != nil {
		return spaces.Link{}, err
	}
	body, err := json.Marshal(struct {
		peering
		Space string `json:"space"`
	}{peering{ID: i.ID, Card: ours, Proof: mine}, i.Space})
	if err != nil {
		return spaces.Link{}, err
	}
	used := false
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, errors.New("the connection was closed")
		}
		used = true
		return raw, nil
	}}}
	var answer peering
	if err := exchange(ctx, c, http.MethodPost, "https://"+i.Address+"/zone/v1/peerings", nil, bytes.NewReader(body), &answer); err != nil {
		if errors.Is(err, errs.NotFound) {
			return spaces.Link{}, errs.New(errs.Blocked, "The other server does not know this invitation: it was used, has expired, or was withdrawn.").WithHint("Ask for another one.")
		}
		return spaces.Link{}, err
	}
	theirs, err := proof(i.Secret, &state, "inviter", answer.Card)
	if err != nil || !hmac.Equal(theirs, answer.Proof) {
		return spaces.Link{}, errs.New(errs.Blocked, "The other server could not prove that it made the invitation.")
	}
	card, err := bundle.ParseCard(answer.Card)
	if err != nil {
		return spaces.Link{}, err
	}
	if card.Space != i.Space {
		return spaces.Link{}, errs.New(errs.Blocked, "The other server answered with the card of another space.")
	}
	in := spaces.LinkInput{LocalName: name, PeerSpace: card.Space, PeerIdentity: card.Fingerprint(), PeerName: card.Name, Card: answer.Card, CardNumber: card.Number, Mode: spaces.ModeWeDial, Address: i.Address, ServerPin: i.Pin,
		State: spaces.LinkActive, ConfirmedHow: "by invitation " + i.ID}
	if in.LocalName == "" {
		in.LocalName = card.Name
	}
	if err := setRole(&in, role); err != nil {
		return spaces.Link{}, err
	}
	l, err := spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Link, error) { return tx.CreateLink(in) })
	if err != nil {
		return l, err
	}
	return l, nil
}

// exchange does one request and reads its JSON answer.
func exchange(ctx context.Context, c *http.Client, method, address string, head http.Header, body io.Reader, out any) error {
	res, err := send(ctx, c, method, address, head, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := readAll(res.Body, maxMessage*2)
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "The other server broke off.")
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return errs.New(errs.Unavailable, "The other server's answer is not understood.")
	}
	return nil
}

func send(ctx context.Context, c *http.Client, method, address string, head http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{}), method, address, body)
	if err != nil {
		return nil, err
	}
	for k, v := range head {
		req.Header[k] = v
	}
	res, err := c.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		if errors.Is(err, pin.ErrPin) {
			return nil, errs.Wrap(errs.Unavailable, err, "The server there has another key than the one that was linked.").WithHint("Its address is wrong, or somebody stands in between.")
		}
		return nil, errs.Wrap(errs.Unavailable, err, "The other server cannot be reached: %v.", err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	var p problem
	b, _ := readAll(res.Body, 1<<20)
	// Whoever is overloaded is asked again, whatever else it says.
	full := res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500
	if json.Unmarshal(b, &p) != nil || p.Type == "" {
		err := errs.New(errs.Unavailable, "The other server answered with status %d.", res.StatusCode)
		return nil, notBefore(res, err)
	}
	kind := errs.Unavailable
	if p.Retry == "no" && !full {
		kind = map[int]errs.Kind{404: errs.NotFound, 409: errs.Blocked, 413: errs.TooLarge, 422: errs.Invalid}[res.StatusCode]
		if kind == "" {
			kind = errs.Blocked
		}
	}
	return nil, notBefore(res, errs.New(kind, "%.500s", p.Detail))
}

// conversation is a running exchange with the peer of one link.
type conversation struct {
	z      *Service
	s      *spaces.Space
	link   spaces.Link
	client *http.Client
	had    map[string]int64 // bytes of files that were there at the last attempt, by digest
	moved  bool             // a file has more bytes than at the last attempt
	spoke  bool             // the peer answered in this turn
	anew   bool             // the last turn failed: a short one shows whether the peer is back
	told   []byte           // our card as the peer knows it
	toldAt time.Time
}

// progress notes how much of a file is there. A transfer that breaks again and again but
// moves on is not pushed off further and further.
func (c *conversation) progress(w wanted) {
	if c.had == nil {
		c.had = map[string]int64{}
	}
	c.moved = c.moved || w.Offset > c.had[w.Digest]
	c.had[w.Digest] = w.Offset
}

// exchange is [exchange] with the peer.
func (c *conversation) exchange(ctx context.Context, method, address string, head http.Header, body io.Reader, out any) error {
	err := exchange(ctx, c.client, method, address, head, body, out)
	c.spoke = c.spoke || err == nil
	return err
}

func (c *conversation) url(path string, query url.Values) string {
	if query == nil {
		query = url.Values{}
	}
	query.Set("from", c.s.ULID())
	return "https://" + c.link.Address + "/zone/v1/spaces/" + c.link.PeerSpace + path + "?" + query.Encode()
}

// RunLinks keeps the links of a space that this side dials, until ctx ends.
func (z *Service) RunLinks(ctx context.Context, s *spaces.Space) error {
	running := map[spaces.LinkID]context.CancelFunc{}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	news, stop := s.Hub().Subscribe("links", spaces.TopicLinks)
	defer stop()
	for {
		if err := z.Resume(ctx, s); err != nil && ctx.Err() == nil {
			z.log().Error("resume promotions", "space", s.ID(), "err", err)
		}
		links, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, l := range links {
			dial := l.Mode == spaces.ModeWeDial && l.State == spaces.LinkActive
			if stop, on := running[l.ID]; on && !dial {
				stop()
				delete(running, l.ID)
			} else if !on && dial {
				sub, cancel := context.WithCancel(ctx)
				running[l.ID] = cancel
				go z.keep(sub, s, l.ID)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-news:
		case <-time.After(time.Minute):
		}
	}
}

// keep talks with a link's peer: one loop delivers what we have, the other waits for what
// the peer has. Both back off together when it is out of reach.
func (z *Service) keep(ctx context.Context, s *spaces.Space, id spaces.LinkID) {
	pull, push, asked := make(chan struct{}, 1), make(chan struct{}, 1), &atomic.Bool{}
	go z.loop(ctx, s, id, pull, push, asked, (*conversation).pull, true)
	z.loop(ctx, s, id, push, pull, asked, (*conversation).push, false)
}

// loop takes turns. A sign of life that one loop gets wakes the other, through alive of
// one that is wakes of the other. asked says that one of them rests because the peer asked
// for it: what the other hears then does not end that. The turns of one that waits by itself, as for news of
// the peer, follow at once.
func (z *Service) loop(ctx context.Context, s *spaces.Space, id spaces.LinkID, alive <-chan struct{}, wakes chan<- struct{}, asked *atomic.Bool, turn func(*conversation, context.Context) error, waits bool) {
	attempt, resting := 0, false
	var c *conversation
	news, stop := s.Hub().Subscribe(spaces.TopicLinks, "events")
	defer stop()
	for ctx.Err() == nil {
		l, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(id) })
		if err != nil {
			return
		}
		address, serverPin := l.Address, l.ServerPin
		// Where it was it does not answer: perhaps it is where its newest card says.
		if attempt%2 == 1 {
			if a, p, ok := elsewhere(l); ok {
				l.Address, l.ServerPin = a, p
			}
		}
		if c == nil || c.link.Address != l.Address || c.link.ServerPin != l.ServerPin {
			c = &conversation{z: z, s: s, client: z.client(l.ServerPin)}
		}
		c.link, c.spoke, c.anew = l, false, attempt > 0
		err = turn(c, ctx)
		if ctx.Err() != nil {
			return
		}
		if resting {
			resting = false
			asked.Store(false)
		}
		if err == nil && c.spoke && (l.Address != address || l.ServerPin != serverPin) {
			err = spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error { return tx.MoveLink(id, l.Address, l.ServerPin) })
		}
		if err == nil {
			// A turn with nothing to say tells nothing of the peer.
			if c.spoke && (attempt > 0 || l.LastError != "" || l.LastContactAt == nil || time.Since(*l.LastContactAt) > 5*time.Second) {
				note := (*spaces.Tx).LinkContact
				if asked.Load() {
					note = (*spaces.Tx).LinkAlive
				}
				if err := spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error { return note(tx, id) }); err != nil {
					z.log().Warn("note contact", "link", id.String(), "err", err)
				}
			}
			attempt = 0
			if c.spoke {
				select {
				case wakes <- struct{}{}:
				default:
				}
			}
			if waits {
				continue
			}
			select {
			case <-ctx.Done():
			case <-news:
			case <-alive:
			case <-time.After(time.Minute):
			}
			continue
		}
		if attempt++; c.moved {
			attempt, c.moved = 1, false
		}
		pause, heard := z.pause(attempt), alive
		if after := askedFor(err); after > 0 {
			// It is alive and says when to come back: only a person makes us come earlier. Those
			// who were told the same do not come together.
			pause, heard, resting = max(pause, after+z.pause(1)), nil, true
			asked.Store(true)
		}
		ferr := spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error { return tx.LinkFailure(id, errs.TextOf(err), tx.Now.Add(pause)) })
		if ferr != nil && ctx.Err() == nil {
			z.log().Error("note failure of link", "link", id.String(), "err", ferr)
		}
		z.log().Debug("link", "link", id.String(), "err", err, "again_in", pause)
		z.rest(ctx, s, id, pause, heard, news)
	}
}

// rest is the pause after a failure. It ends early with a sign of life from the peer, and
// when somebody asks to try again now, which takes the time of the next attempt off.
func (z *Service) rest(ctx context.Context, s *spaces.Space, id spaces.LinkID, pause time.Duration, alive <-chan struct{}, news <-chan struct{}) {
	over := time.After(pause)
	select { // one from before the failure tells nothing
	case <-alive:
	default:
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-alive:
			return
		case <-news:
			l, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(id) })
			if err != nil || l.NextAt == nil {
				return
			}
		}
	}
}

// push delivers our messages in their order, then the package files that the peer lacks.
func (c *conversation) push(ctx context.Context) error {
	if err := c.z.MakeReceipts(ctx, c.s); err != nil {
		return err
	}
	items, err := spaces.View(ctx, c.s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.OutboxItem, error) { return tx.Deliverable(c.link.ID) })
	if err != nil {
		return err
	}
	for _, o := range items {
		ack := taken{Digest: o.Digest}
		err := c.exchange(ctx, http.MethodPost, c.url("/messages", nil), http.Header{"Content-Type": {"application/octet-stream"}}, bytes.NewReader(o.Message), &ack)
		if err != nil {
			if !final(err) {
				return err
			}
			ack.Refused = errs.TextOf(err)
		}
		ack.Digest = o.Digest
		if err := spaces.Do(ctx, c.s, spaces.Server(), func(tx *spaces.Tx) error { return acknowledge(tx, c.link, []taken{ack}) }); err != nil {
			return err
		}
	}
	if err := c.cards(ctx); err != nil {
		return err
	}
	if !c.link.SendBundles {
		return nil
	}
	var wants []wanted
	if err := c.exchange(ctx, http.MethodGet, c.url("/wants", nil), nil, nil, &wants); err != nil {
		return err
	}
	for _, w := range wants {
		if err := c.pushBlob(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (c *conversation) pushBlob(ctx context.Context, w wanted) error {
	c.progress(w)
	offer, err := spaces.View(ctx, c.s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Offer, error) { return tx.Offered(c.link.ID, w.Digest) })
	if errors.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	file, err := c.s.Packages().Open(w.Digest)
	if err != nil {
		return err
	}
	defer file.Close()
	address := c.url("/blobs/"+w.Digest, nil)
	if w.Offset == 0 {
		for _, b := range w.Basis {
			recipe, err := c.z.recipe(ctx, c.s, file, offer.Size, b, w.Recipes)
			if err != nil {
				continue
			}
			counted := &counter{w: io.Discard}
			err = c.exchange(ctx, http.MethodPatch, address, http.Header{headerRecipe: {b}}, io.TeeReader(recipe, counted), nil)
			recipe.Close()
			if err == nil {
				return c.sent(ctx, w.Digest, counted.n)
			}
			if !final(err) {
				return err
			}
			break // what was rebuilt there is another file: send it as it is
		}
	}
	if _, err := file.Seek(w.Offset, io.SeekStart); err != nil {
		return err
	}
	err = c.exchange(ctx, http.MethodPatch, address, http.Header{headerOffset: {strconv.FormatInt(w.Offset, 10)}, headerLength: {strconv.FormatInt(w.Size, 10)}}, file, nil)
	if err != nil {
		return err
	}
	return c.sent(ctx, w.Digest, w.Size-w.Offset)
}

func (c *conversation) sent(ctx context.Context, digest string, n int64) error {
	return spaces.Do(ctx, c.s, spaces.Server(), func(tx *spaces.Tx) error { return tx.BlobSent(c.link.ID, digest, n) })
}

// recipe makes a recipe in a temporary file, in a version that the peer reads; the error
// says that it is not worth it.
func (z *Service) recipe(ctx context.Context, s *spaces.Space, file io.ReaderAt, size int64, basis string, version int) (io.ReadCloser, error) {
	base, err := s.Packages().Open(basis)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp("", "recipe-")
	if err != nil {
		return nil, err
	}
	os.Remove(temp.Name()) // gone as soon as it is closed
	if _, err = delta.Make(ctx, file, size, base, info.Size(), basis, version, temp); err == nil {
		var n int64
		if n, err = temp.Seek(0, io.SeekCurrent); err == nil && n > size*7/10 {
			err = errors.New("the recipe is hardly smaller than the file")
		}
	}
	if err == nil {
		_, err = temp.Seek(0, io.SeekStart)
	}
	if err != nil {
		temp.Close()
		return nil, err
	}
	return temp, nil
}

// pull takes what the peer has for us, waiting a while for something, and fetches the
// package files that our inbox lacks.
func (c *conversation) pull(ctx context.Context) error {
	if err := c.fetch(ctx); err != nil {
		return err
	}
	var messages []queuedMessage
	wait := "20"
	if c.anew {
		wait = "0"
	}
	if err := c.exchange(ctx, http.MethodGet, c.url("/messages", url.Values{"wait": {wait}}), nil, nil, &messages); err != nil {
		return err
	}
	if len(messages) == 0 {
		return nil
	}
	var acks []taken
	for _, m := range messages {
		a := taken{Digest: m.Digest}
		if _, err := c.z.ReceiveMessage(ctx, c.s, c.link, m.Message); err != nil {
			if !final(err) {
				return err // not acknowledged, so it comes again
			}
			a.Refused = errs.TextOf(err)
		}
		acks = append(acks, a)
	}
	b, err := json.Marshal(acks)
	if err != nil {
		return err
	}
	if err := c.exchange(ctx, http.MethodPost, c.url("/acks", nil), http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(b), nil); err != nil {
		return err
	}
	return c.fetch(ctx)
}

func (c *conversation) fetch(ctx context.Context) error {
	wants, err := c.z.wants(ctx, c.s, c.link)
	if err != nil {
		return err
	}
	for _, w := range wants {
		if err := c.fetchBlob(ctx, w); err != nil {
			if errors.Is(err, errs.NotFound) {
				continue // the peer does not have it; it may come as a file
			}
			return err
		}
		if err := spaces.Do(ctx, c.s, spaces.Server(), func(tx *spaces.Tx) error { return tx.BlobArrived(packages.Blob{Digest: w.Digest, Size: w.Size}) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *conversation) fetchBlob(ctx context.Context, w wanted) error {
	c.progress(w)
	if c.s.Packages().Has(w.Digest) {
		return nil
	}
	want := spaces.Wanted{Digest: w.Digest, Size: w.Size}
	res, err := send(ctx, c.client, http.MethodGet, c.url("/blobs/"+w.Digest, url.Values{"offset": {fmt.Sprint(w.Offset)}, "basis": {strings.Join(w.Basis, ",")}, "recipes": {fmt.Sprint(delta.Version)}}), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.Header.Get(headerRecipe) != "" {
		err := c.z.rebuild(ctx, c.s, c.link, want, res.Body)
		if final(err) && len(w.Basis) > 0 { // a recipe that fails here: take the file as it is
			w.Basis = nil
			return c.fetchBlob(ctx, w)
		}
		return err
	}
	return appendBlob(ctx, c.s.Packages(), want, w.Offset, res.Body)
}
