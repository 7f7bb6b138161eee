package zones

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/bundle"
	"octopuses.dev/octopuses/zones/pin"
)

// Service promotes for all spaces of a server. It is safe for concurrent use.
type Service struct {
	Identity pin.Identity  // of this server, for links
	Address  func() string // host:port of this server's zone door; "" when it has none
	Log      *slog.Logger
	Timeout  time.Duration // of one exchange over a link; 0: 30 s

	// BackOff is how long to wait after the attempt-th failure of a link in a row; nil:
	// from 50 ms to at most 2 s, doubling to 15 minutes, at random.
	BackOff func(attempt int) time.Duration
}

func (z *Service) log() *slog.Logger {
	if z.Log == nil {
		return slog.Default()
	}
	return z.Log
}

// identity returns the keys of a space, made at first use.
func (z *Service) identity(ctx context.Context, s *spaces.Space) (*bundle.Identity, error) {
	b, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]byte, error) { return tx.Identity() })
	if err != nil {
		return nil, err
	}
	if b == nil {
		id, err := bundle.NewIdentity(s.ULID())
		if err != nil {
			return nil, err
		}
		private, err := id.Marshal()
		if err != nil {
			return nil, err
		}
		// Of two that come at once one stores its keys; both then read those.
		b, err = spaces.Update(ctx, s, spaces.Server(), func(tx *spaces.Tx) ([]byte, error) {
			if have, err := tx.Identity(); err != nil || have != nil {
				return have, err
			}
			return private, tx.SetIdentity(private)
		})
		if err != nil {
			return nil, err
		}
	}
	return bundle.ParseIdentity(b)
}

// Card returns the space's card, the same until its name, its server or its address
// changes. Everybody in the space may have it: it is made to be given away.
func (z *Service) Card(ctx context.Context, s *spaces.Space) ([]byte, *bundle.Card, error) {
	id, err := z.identity(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	address := ""
	if z.Address != nil {
		address = z.Address()
	}
	// As a rule it has not changed, and reading is enough to see that.
	current := func(tx *spaces.ReadTx) (file []byte, number int64, err error) {
		have, number, err := tx.Card()
		if err != nil || have == nil {
			return nil, number, err
		}
		incarnation, err := tx.Incarnation()
		if err != nil {
			return nil, number, err
		}
		c, err := bundle.ParseCard(have)
		if err == nil && c.Name == s.Name() && c.Address == address && c.ServerPin == z.Identity.Pin && c.Incarnation == incarnation {
			return have, number, nil
		}
		return nil, number, nil
	}
	file, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) ([]byte, error) {
		have, _, err := current(tx)
		return have, err
	})
	if err != nil {
		return nil, nil, err
	}
	if file != nil {
		c, err := bundle.ParseCard(file)
		return file, c, err
	}
	file, err = spaces.Update(ctx, s, spaces.Server(), func(tx *spaces.Tx) ([]byte, error) {
		have, number, err := current(tx.ReadTx)
		if err != nil || have != nil {
			return have, err
		}
		incarnation, err := tx.Incarnation()
		if err != nil {
			return nil, err
		}
		file, err := id.Card(s.Name(), address, z.Identity.Pin, incarnation, number+1, tx.Now)
		if err != nil {
			return nil, err
		}
		return file, tx.SetCard(file, number+1)
	})
	if err != nil {
		return nil, nil, err
	}
	c, err := bundle.ParseCard(file)
	return file, c, err
}

// TrustInput says how a card was brought here and compared.
type TrustInput struct {
	Card     []byte
	Name     string // local name of the peer; "": what it calls itself
	Words    string // the last three words of the peer, as its people read them out
	Compared string // instead of Words: how they were compared in person
	Role     string // source: we send it releases; target: we take its releases; both
}

// Trust links a space by its card, by hand. Trust begins only when the words were typed
// or compared. A newer card of a space that is linked already renews what is known of it;
// its name here and what may flow stay. It needs LinkAdminister.
func (z *Service) Trust(ctx context.Context, s *spaces.Space, actor spaces.Actor, in TrustInput) (spaces.Link, *bundle.Card, error) {
	c, err := bundle.ParseCard(in.Card)
	if err != nil {
		return spaces.Link{}, nil, err
	}
	how := ""
	switch {
	case in.Words != "":
		if !c.CheckWords(in.Words) {
			return spaces.Link{}, c, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Words", Message: "These are not the last three words of this card."}},
				Hint: "Ask the other side to read its words out. If they differ from those shown here, the card was exchanged on its way."}
		}
		how = "the last three words were typed"
	case strings.TrimSpace(in.Compared) != "":
		how = "compared in person: " + in.Compared
	}
	input := spaces.LinkInput{LocalName: in.Name, PeerSpace: c.Space, PeerIdentity: c.Fingerprint(), PeerName: c.Name, Card: in.Card, CardNumber: c.Number, Mode: spaces.ModeByHand, State: spaces.LinkAwaiting, ConfirmedHow: how}
	if input.LocalName == "" {
		input.LocalName = c.Name
	}
	if how != "" {
		input.State = spaces.LinkActive
	}
	if err := setRole(&input, in.Role); err != nil {
		return spaces.Link{}, c, err
	}
	l, err := spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Link, error) {
		// A newer card of a space that is trusted already is signed with the same key: it
		// tells a new address or name, and asks for no words.
		if old, err := tx.LinkByPeer(c.Space); err == nil && old.Trusted() == nil && old.PeerIdentity == input.PeerIdentity && c.Number > old.CardNumber {
			if err := mayLink(actor); err != nil {
				return old, err
			}
			if err := tx.RenewCard(old.ID, in.Card, c.Number, c.Name, c.Address, c.ServerPin); err != nil {
				return old, err
			}
			return tx.Link(old.ID)
		}
		return tx.CreateLink(input)
	})
	return l, c, err
}

// setRole sets what may flow: nothing but what the chosen picture needs.
func setRole(in *spaces.LinkInput, role string) error {
	source, target := role == "source" || role == "both", role == "target" || role == "both"
	if !source && !target {
		return errs.New(errs.Invalid, "Say what this space is in the link: source (it sends releases), target (it takes releases) or both.")
	}
	in.SendBundles, in.AcceptReceipts = source, source
	in.AcceptBundles, in.SendReceipts = target, "none"
	if target {
		in.SendReceipts = "summary"
	}
	return nil
}

// Confirm makes a link that awaits it active, by the peer's last three words.
func (z *Service) Confirm(ctx context.Context, s *spaces.Space, actor spaces.Actor, link spaces.LinkID, words, compared string) (spaces.Link, error) {
	l, err := spaces.View(ctx, s, actor, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.Link(link) })
	if err != nil {
		return l, err
	}
	c, err := bundle.ParseCard(l.Card)
	if err != nil {
		return l, err
	}
	how := "compared in person: " + compared
	if words != "" {
		if !c.CheckWords(words) {
			return l, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Words", Message: "These are not the last three words of this space."}}}
		}
		how = "the last three words were typed"
	} else if strings.TrimSpace(compared) == "" {
		return l, &errs.Error{Kind: errs.Invalid, Fields: []errs.Field{{Name: "Words", Message: "Type the last three words of the other side, or say how they were compared."}}}
	}
	return spaces.Update(ctx, s, actor, func(tx *spaces.Tx) (spaces.Link, error) {
		return tx.SetLinkState(link, spaces.LinkActive, "", how)
	})
}

// linkOf finds the active link whose card may have signed an envelope, before its
// signature is checked against that card.
func (z *Service) linkOf(ctx context.Context, s *spaces.Space, envelope []byte) (spaces.Link, *bundle.Card, error) {
	from, to, err := bundle.From(envelope)
	if err != nil {
		return spaces.Link{}, nil, err
	}
	if to != s.ULID() {
		return spaces.Link{}, nil, errs.New(errs.Invalid, "This is for another space.").WithHint("It was made for the space with the id %.40s; bring it there.", to)
	}
	l, err := spaces.View(ctx, s, spaces.Server(), func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkByPeer(from) })
	if err != nil {
		return l, nil, errs.New(errs.Blocked, "This is from a space that is not linked here (%.40s).", from).WithHint("Link it first: exchange cards or an invitation.")
	}
	if err := l.Trusted(); err != nil {
		return l, nil, err
	}
	c, err := bundle.ParseCard(l.Card)
	return l, c, err
}

// header makes the header of a new message.
func header(p spaces.Place, to string, at time.Time) bundle.Header {
	return bundle.Header{To: to, Incarnation: p.Incarnation, Seq: p.Seq, Prev: p.Prev, Seen: bundle.Seen{Incarnation: p.SeenIncarnation, UpTo: p.SeenUpTo}, Issued: at.UTC().Format(time.RFC3339)}
}

// Words are the words of a link's peer, for showing.
func Words(l spaces.Link) []string {
	c, err := bundle.ParseCard(l.Card)
	if err != nil {
		return nil
	}
	return c.Words()
}

func requireAny(actor spaces.Actor, permissions ...access.Permission) error {
	if slices.ContainsFunc(permissions, func(p access.Permission) bool { return actor.Can(p, access.Scope{}) }) {
		return nil
	}
	return access.Missing(permissions[0])
}
