package zones

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/bundle"
)

// Over a link both sides tell when their card has changed. A newer card that the key of
// the link signed is taken; it changes nothing of what may flow, not the name here, and
// not at once where we dial: a server that tells a wrong address would be lost.

// cardMessage is the request and the answer of telling a card.
type cardMessage struct {
	Card []byte `json:"card"`
}

// cardsAgain is how often the dialling side asks for the card of the other one, besides
// each start and each change of its own card.
const cardsAgain = 10 * time.Minute

// takeCard stores a newer card of a link's peer; an older one, or the same, changes
// nothing.
func (z *Service) takeCard(ctx context.Context, s *spaces.Space, l spaces.Link, file []byte) error {
	if bytes.Equal(file, l.Card) {
		return nil
	}
	c, err := bundle.ParseCard(file)
	if err != nil {
		return err
	}
	if c.Space != l.PeerSpace || c.Fingerprint() != l.PeerIdentity {
		return errs.New(errs.Invalid, "This card is of another space, or signed with another key, than that of the link.")
	}
	address := c.Address // where we do not dial it is for people to read
	if l.Mode == spaces.ModeWeDial {
		address = ""
	}
	return spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error {
		return tx.RenewCard(l.ID, file, c.Number, c.Name, address, "")
	})
}

func (d *Door) takeCard(w http.ResponseWriter, r *http.Request, s *spaces.Space, l spaces.Link) error {
	b, err := readAll(r.Body, bundle.MaxReceipt*2)
	if err != nil {
		return err
	}
	var m cardMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return errs.New(errs.Invalid, "This is no card.")
	}
	if err := d.Service.takeCard(r.Context(), s, l, m.Card); err != nil {
		return err
	}
	ours, _, err := d.Service.Card(r.Context(), s)
	if err != nil {
		return err
	}
	return writeJSON(w, cardMessage{ours})
}

// cards tells our card and takes that of the other side, when it is time. A server of
// before this refuses; that is no failure of the link.
func (c *conversation) cards(ctx context.Context) error {
	ours, _, err := c.z.Card(ctx, c.s)
	if err != nil || bytes.Equal(ours, c.told) && time.Since(c.toldAt) < cardsAgain {
		return err
	}
	b, err := json.Marshal(cardMessage{ours})
	if err != nil {
		return err
	}
	c.told, c.toldAt = ours, time.Now()
	var theirs cardMessage
	err = c.exchange(ctx, http.MethodPost, c.url("/card", nil), http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(b), &theirs)
	if err == nil {
		err = c.z.takeCard(ctx, c.s, c.link, theirs.Card)
	}
	if err != nil {
		c.z.log().Debug("cards", "link", c.link.ID.String(), "err", err)
	}
	return ctx.Err()
}

// elsewhere is where a peer's newest card says that it is reached, if that is another
// place or key than the link has.
func elsewhere(l spaces.Link) (address, pin string, ok bool) {
	c, err := bundle.ParseCard(l.Card)
	if err != nil || c.Address == "" || c.ServerPin == "" || c.Address == l.Address && c.ServerPin == l.ServerPin {
		return "", "", false
	}
	return c.Address, c.ServerPin, true
}
