package zones

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/zones/bundle"
	"octopuses.dev/octopuses/zones/delta"
	"octopuses.dev/octopuses/zones/pin"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// Door is the server's side of the wire. Resolve leases the space with a ULID; the
// caller gives it back.
type Door struct {
	Service *Service
	Resolve func(ctx context.Context, ulid string) (*spaces.Space, error)

	mu    sync.Mutex
	calls map[string]int // requests that run, by link; mu guards it
}

// maxCalls are the requests that one link may have running. A peer needs two: one that
// waits for news and one that sends. Those of a connection that broke may hang for a while.
const maxCalls = 16

// enter counts a request of a link. leave counts it off; nil: there are too many.
func (d *Door) enter(l spaces.Link) (leave func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.calls[l.ULID] >= maxCalls {
		return nil
	}
	if d.calls == nil {
		d.calls = map[string]int{}
	}
	d.calls[l.ULID]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.calls[l.ULID]--; d.calls[l.ULID] == 0 {
			delete(d.calls, l.ULID)
		}
	}
}

// Handler serves peers. It expects mutual TLS that accepts any certificate: the key is
// compared with that of the link which a request names, before its body is read.
func (d *Door) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /zone/v1/peerings", d.peer)
	mux.HandleFunc("POST /zone/v1/spaces/{to}/messages", d.linked(d.takeMessage))
	mux.HandleFunc("GET /zone/v1/spaces/{to}/messages", d.linked(d.giveMessages))
	mux.HandleFunc("POST /zone/v1/spaces/{to}/acks", d.linked(d.takeAcks))
	mux.HandleFunc("POST /zone/v1/spaces/{to}/card", d.linked(d.takeCard))
	mux.HandleFunc("GET /zone/v1/spaces/{to}/wants", d.linked(d.giveWants))
	mux.HandleFunc("PATCH /zone/v1/spaces/{to}/blobs/{digest}", d.linked(d.takeBlob))
	mux.HandleFunc("GET /zone/v1/spaces/{to}/blobs/{digest}", d.linked(d.giveBlob))
	return mux
}

// linked finds the space and the link of a request by its path, its sender and the key
// of the connection. Whatever does not fit is the same "unknown link".
func (d *Door) linked(f func(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := func() error {
			unknown := errs.Missing("link", "")
			s, err := d.Resolve(r.Context(), r.PathValue("to"))
			if err != nil {
				return unknown
			}
			defer s.Release()
			l, err := spaces.View(r.Context(), s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Link, error) {
				return tx.LinkByPeer(r.URL.Query().Get("from"))
			})
			if err != nil || r.TLS == nil || l.ServerPin == "" || subtle.ConstantTimeCompare([]byte(pin.PeerPin(*r.TLS)), []byte(l.ServerPin)) != 1 || l.State == spaces.LinkRevoked {
				return unknown
			}
			if err := l.Usable(); err != nil {
				return errs.New(errs.Unavailable, "paused") // for the peer: try later
			}
			leave := d.enter(l)
			if leave == nil {
				return errs.New(errs.Busy, "There are %d requests of this link already.", maxCalls)
			}
			defer leave()
			return f(w, r, s, l)
		}()
		if err != nil {
			writeProblem(w, err)
		}
	}
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = packages.TooLarge(limit)
	}
	return b, err
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// peer links a space of the caller by invitation.
func (d *Door) peer(w http.ResponseWriter, r *http.Request) {
	err := func() error {
		b, err := readAll(r.Body, bundle.MaxReceipt*2)
		if err != nil {
			return err
		}
		var p struct {
			peering
			Space string `json:"space"` // that invited
		}
		if err := json.Unmarshal(b, &p); err != nil {
			return errs.New(errs.Invalid, "This is no request to link.")
		}
		s, err := d.Resolve(r.Context(), p.Space)
		if err != nil {
			return errs.Missing("invitation", "")
		}
		defer s.Release()
		return d.join(w, r, s, p.peering)
	}()
	if err != nil {
		writeProblem(w, err)
	}
}

func (d *Door) join(w http.ResponseWriter, r *http.Request, s *spaces.Space, p peering) error {
	invite, err := spaces.View(r.Context(), s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Invite, error) { return tx.Invite(p.ID) })
	if err != nil {
		return err
	}
	want, err := proof(invite.Secret, r.TLS, "dialler", p.Card)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, p.Proof) {
		return errs.Missing("invitation", "")
	}
	card, err := bundle.ParseCard(p.Card)
	if err != nil {
		return err
	}
	ours, _, err := d.Service.Card(r.Context(), s)
	if err != nil {
		return err
	}
	back, err := proof(invite.Secret, r.TLS, "inviter", ours)
	if err != nil {
		return err
	}
	in := spaces.LinkInput{LocalName: invite.LocalName, PeerSpace: card.Space, PeerIdentity: card.Fingerprint(), PeerName: card.Name, Card: p.Card, CardNumber: card.Number, Mode: spaces.ModeTheyDial, Address: card.Address,
		ServerPin: pin.PeerPin(*r.TLS), State: spaces.LinkActive, ConfirmedHow: "by invitation " + invite.SecretID}
	if invite.Confirm {
		in.State = spaces.LinkAwaiting
	}
	if err := setRole(&in, invite.Role); err != nil {
		return err
	}
	actor := spaces.Server()
	actor.Name, actor.Via, actor.Address = "invitation of "+invite.CreatedBy, "link", r.RemoteAddr
	err = spaces.Do(r.Context(), s, actor, func(tx *spaces.Tx) error {
		if _, err := tx.CreateLink(in); err != nil {
			return err
		}
		return tx.UseInvite(invite.ID, card.Name)
	})
	if err != nil {
		return err
	}
	return writeJSON(w, peering{Card: ours, Proof: back})
}

func (d *Door) takeMessage(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error {
	b, err := readAll(r.Body, maxMessage)
	if err != nil {
		return err
	}
	digest, err := d.Service.ReceiveMessage(r.Context(), s, l, b)
	if err != nil {
		return err
	}
	d.contact(r.Context(), s, l)
	return writeJSON(w, taken{Digest: digest})
}

// contact notes a sign of life.
func (d *Door) contact(ctx context.Context, s *spaces.Space, l spaces.Link) {
	if l.LastContactAt != nil && time.Since(*l.LastContactAt) < 5*time.Second && l.LastError == "" {
		return
	}
	if err := spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error { return tx.LinkContact(l.ID) }); err != nil {
		d.Service.log().Warn("note contact", "link", l.ID.String(), "err", err)
	}
}

// giveMessages answers with what waits for the caller, or waits for something.
func (d *Door) giveMessages(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error {
	var wait int
	fmt.Sscan(r.URL.Query().Get("wait"), &wait)
	d.contact(r.Context(), s, l)
	timeout := time.After(time.Duration(min(max(wait, 0), 30)) * time.Second)
	news, stop := s.Hub().Subscribe(spaces.TopicLinks, "events")
	defer stop()
	for {
		if err := d.Service.Resume(r.Context(), s); err != nil {
			return err
		}
		if err := d.Service.MakeReceipts(r.Context(), s); err != nil {
			return err
		}
		items, err := spaces.View(r.Context(), s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.OutboxItem, error) { return tx.Deliverable(l.ID) })
		if err != nil {
			return err
		}
		if len(items) > 0 {
			out := make([]queuedMessage, 0, len(items))
			total := 0
			for _, i := range items {
				if total += len(i.Message); total > maxMessage && len(out) > 0 {
					break
				}
				out = append(out, queuedMessage{i.Digest, i.Message})
			}
			return writeJSON(w, out)
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-timeout:
			return writeJSON(w, []queuedMessage{})
		case <-news:
		}
	}
}

func (d *Door) takeAcks(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error {
	b, err := readAll(r.Body, 1<<20)
	if err != nil {
		return err
	}
	var acks []taken
	if err := json.Unmarshal(b, &acks); err != nil {
		return errs.New(errs.Invalid, "These are no acknowledgements.")
	}
	err = spaces.Do(r.Context(), s, spaces.Server(), func(tx *spaces.Tx) error { return acknowledge(tx, l, acks) })
	if err != nil {
		return err
	}
	return writeJSON(w, struct{}{})
}

// acknowledge takes the peer's word for messages of this link, and of no other.
func acknowledge(tx *spaces.Tx, l spaces.Link, acks []taken) error {
	open, err := tx.Deliverable(l.ID)
	if err != nil {
		return err
	}
	for _, a := range acks {
		if !slices.ContainsFunc(open, func(o spaces.OutboxItem) bool { return o.Digest == a.Digest }) {
			continue
		}
		if a.Refused != "" {
			err = tx.MessageRefused(a.Digest, a.Refused)
		} else {
			err = tx.Acknowledge(a.Digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wants lists the package files that a link's releases lack here.
func (z *Service) wants(ctx context.Context, s *spaces.Space, l spaces.Link) ([]wanted, error) {
	type lists struct {
		want  []spaces.Wanted
		basis []string
	}
	x, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (lists, error) {
		var x lists
		var err error
		if x.want, err = tx.Wants(l.ID); err != nil {
			return x, err
		}
		x.basis, err = tx.RecentBlobs(l.ID, 8)
		return x, err
	})
	if err != nil {
		return nil, err
	}
	out := make([]wanted, 0, len(x.want))
	for _, w := range x.want {
		out = append(out, wanted{w.Digest, w.Size, s.Packages().Partial(w.Digest), x.basis, delta.Version})
	}
	return out, nil
}

func (d *Door) giveWants(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error {
	out, err := d.Service.wants(r.Context(), s, l)
	if err != nil {
		return err
	}
	return writeJSON(w, out)
}

// takeBlob takes a package file, or a part of it, or a recipe for it: only one that this
// link's releases want.
func (d *Door) takeBlob(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error {
	digest := r.PathValue("digest")
	list, err := spaces.View(r.Context(), s, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Wanted, error) { return tx.Wants(l.ID) })
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(x spaces.Wanted) bool { return x.Digest == digest })
	if i < 0 {
		return errs.New(errs.Invalid, "This file is not wanted here.")
	}
	if r.Header.Get(headerRecipe) != "" {
		err = d.Service.rebuild(r.Context(), s, l, list[i], r.Body)
	} else {
		var offset int64
		if _, err := fmt.Sscan(r.Header.Get(headerOffset), &offset); err != nil {
			return errs.New(errs.Invalid, "%s is missing.", headerOffset)
		}
		err = appendBlob(r.Context(), s.Packages(), list[i], offset, r.Body)
	}
	if err != nil {
		return err
	}
	if err := spaces.Do(r.Context(), s, spaces.Server(), func(tx *spaces.Tx) error { return tx.BlobArrived(packages.Blob{Digest: digest, Size: list[i].Size}) }); err != nil {
		return err
	}
	return writeJSON(w, struct{}{})
}

// appendBlob adds bytes to an unfinished file and settles it when it is whole.
func appendBlob(ctx context.Context, store *packages.Store, w spaces.Wanted, offset int64, r io.Reader) error {
	total, err := store.Append(ctx, w.Digest, offset, w.Size, r)
	if err != nil {
		return err
	}
	if total < w.Size {
		return errs.New(errs.Unavailable, "the transfer broke off")
	}
	return store.Finish(ctx, w.Digest, w.Size)
}

// rebuild makes a file out of a recipe and a file that came over the same link before.
func (z *Service) rebuild(ctx context.Context, s *spaces.Space, l spaces.Link, w spaces.Wanted, recipe io.Reader) error {
	allowed, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]string, error) { return tx.RecentBlobs(l.ID, 8) })
	if err != nil {
		return err
	}
	r, out := io.Pipe()
	go func() {
		out.CloseWithError(delta.Apply(ctx, recipe, w.Size, func(digest string) (io.ReaderAt, int64, error) {
			if !slices.Contains(allowed, digest) {
				return nil, 0, errs.New(errs.Invalid, "The recipe needs a file that this link never brought.")
			}
			f, err := s.Packages().Open(digest)
			if err != nil {
				return nil, 0, err
			}
			info, err := f.Stat()
			if err != nil {
				return nil, 0, err
			}
			context.AfterFunc(ctx, func() { f.Close() })
			return f, info.Size(), nil
		}, out))
	}()
	defer r.Close()
	return s.Packages().PutExpected(ctx, r, w.Digest, w.Size)
}

// giveBlob gives a package file of a release that was promoted over this link, from an
// offset on, or as a recipe when the caller names a basis that helps.
func (d *Door) giveBlob(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error {
	digest := r.PathValue("digest")
	offered, err := spaces.View(r.Context(), s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Offer, error) { return tx.Offered(l.ID, digest) })
	if err != nil {
		return err // the same answer as for a file that is nowhere
	}
	var offset int64
	fmt.Sscan(r.URL.Query().Get("offset"), &offset)
	file, err := s.Packages().Open(digest)
	if err != nil {
		return err
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	counted := &counter{w: w}
	done := func(err error) error {
		if err != nil {
			return nil // the body has begun: the caller sees it cut off
		}
		return spaces.Do(r.Context(), s, spaces.Server(), func(tx *spaces.Tx) error {
			return tx.BlobSent(l.ID, digest, counted.n)
		})
	}
	if basis := r.URL.Query().Get("basis"); basis != "" && offset == 0 {
		version, _ := strconv.Atoi(r.URL.Query().Get("recipes"))
		for _, b := range strings.Split(basis, ",") {
			if !slices.Contains(offered.Basis, b) {
				continue
			}
			if err := d.Service.sendRecipe(r.Context(), s, file, offered.Size, b, version, w, counted); err == nil {
				return done(nil)
			} else if counted.n > 0 {
				return done(err)
			}
		}
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	w.Header().Set(headerLength, fmt.Sprint(offered.Size))
	_, err = io.Copy(counted, file)
	return done(err)
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// sendRecipe writes a recipe if it is worth it; an error before anything was written
// says that it is not.
func (z *Service) sendRecipe(ctx context.Context, s *spaces.Space, file io.ReaderAt, size int64, basis string, version int, w http.ResponseWriter, out io.Writer) error {
	recipe, err := z.recipe(ctx, s, file, size, basis, version)
	if err != nil {
		return err
	}
	defer recipe.Close()
	w.Header().Set(headerRecipe, basis)
	_, err = io.Copy(out, recipe)
	return err
}
