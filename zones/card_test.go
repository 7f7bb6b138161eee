package zones_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/zones/bundle"
	"octopuses.dev/octopuses/zones/pin"
)

// Two linked servers tell each other when their cards change. Names here stay, and so
// does the address that works; when it does not any more, the one on the card is tried.
func TestCardsOverTheLink(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	way := func() (string, *cutter) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c := &cutter{Listener: l, to: dev.service.Address()}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String(), c
	}
	first, one := way()
	second, two := way()
	go one.run()
	go two.run()
	var devAt, prodAt atomic.Value
	devAt.Store(first)
	prodAt.Store("prod.example:8443")
	dev.service.Address = func() string { return devAt.Load().(string) }
	prod.service.Address = func() string { return prodAt.Load().(string) }
	l := wired(t, dev, prod, true)
	link := func(z *zone, name string) spaces.Link {
		return view(z, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy(name) })
	}
	wake := func(z *zone) { // any change in the space
		update(z, func(tx *spaces.Tx) (spaces.Environment, error) {
			return tx.CreateEnvironment(spaces.EnvironmentInput{Name: spaces.NewULID(tx.Now)})
		})
	}
	eventually(t, "they talk", func() bool { return link(prod, "Dev").LastContactAt != nil })
	before := link(prod, "Dev")

	devAt.Store(second)
	prodAt.Store("new.example:8443")
	dev.service.Card(ctx, dev.space)
	wake(prod)
	eventually(t, "Dev has the new card of Prod", func() bool { return link(dev, "Prod").Address == "new.example:8443" })
	eventually(t, "Prod has the new card of Dev", func() bool { return link(prod, "Dev").CardNumber > before.CardNumber })
	got := link(prod, "Dev")
	if c, err := bundle.ParseCard(got.Card); err != nil || c.Address != second {
		t.Errorf("the card says %+v, %v", c, err)
	}
	if got.Address != first || got.LocalName != "Dev" || got.ServerPin != before.ServerPin || got.SendBundles || link(dev, "Prod").ServerPin != l.ServerPin {
		t.Errorf("another thing than the card changed: %+v", got)
	}

	// A card of another space, or of this one signed by another, is refused.
	post := func(card []byte) int {
		body, _ := json.Marshal(map[string][]byte{"card": card})
		c := http.Client{Transport: &http.Transport{TLSClientConfig: pin.ClientConfig(prod.service.Identity, dev.service.Identity.Pin), ForceAttemptHTTP2: true}}
		res, err := c.Post("https://"+second+"/zone/v1/spaces/"+dev.space.ULID()+"/card?from="+prod.space.ULID(), "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	ours, says := prod.card()
	other, _ := newZone(t, "Other", "X").card()
	thief, err := bundle.NewIdentity(prod.space.ULID())
	if err != nil {
		t.Fatal(err)
	}
	forged, err := thief.Card("Prod", "evil.example:1", says.ServerPin, says.Incarnation, says.Number+5, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(ours)
	flipped[len(flipped)/2] ^= 1
	known := link(dev, "Prod")
	for what, card := range map[string][]byte{"of another space": other, "signed by another": forged, "changed": flipped, "nothing": nil} {
		if status := post(card); status != http.StatusUnprocessableEntity {
			t.Errorf("a card %s: %d", what, status)
		}
	}
	if now := link(dev, "Prod"); now.CardNumber != known.CardNumber || now.Address != known.Address || !bytes.Equal(now.Card, known.Card) {
		t.Errorf("a refused card changed the link: %+v", now)
	}
	if status := post(ours); status != http.StatusOK {
		t.Errorf("the same card again: %d", status)
	}

	// The first way is closed.
	one.shut()
	wake(prod)
	eventually(t, "the link has moved", func() bool { return link(prod, "Dev").Address == second })
	noted := view(prod, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
		return tx.Events(spaces.EventFilter{Category: "LinkModified"})
	})
	if len(noted) == 0 || !strings.Contains(noted[0].Message, "is reached at "+second+" now (before: "+first+")") {
		t.Errorf("nobody was told: %+v", noted)
	}
	dev.lifecycle(l)
	dev.promote(t, dev.shop(), l, "1.0.0", []byte("one"), false)
	prod.inbox(t, "1.0.0")
}
