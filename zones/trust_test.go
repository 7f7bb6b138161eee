package zones_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/spacetest"
	"octopuses.dev/octopuses/zones"
	"octopuses.dev/octopuses/zones/bundle"
	"octopuses.dev/octopuses/zones/pin"
)

// view reads from a zone's space as its manager.
func view[T any](z *zone, f func(tx *spaces.ReadTx) (T, error)) T {
	z.t.Helper()
	v, err := spaces.View(ctx, z.space, spacetest.Manager(), f)
	if err != nil {
		z.t.Fatal(err)
	}
	return v
}

// card is a zone's card, and what it says.
func (z *zone) card() ([]byte, *bundle.Card) {
	z.t.Helper()
	file, c, err := z.service.Card(ctx, z.space)
	if err != nil {
		z.t.Fatal(err)
	}
	return file, c
}

func lastWords(c *bundle.Card) string { return strings.Join(c.Words()[9:], " ") }

// A space is who it is wherever its folder goes; the server that carries it is another.
func TestIdentityStaysWithTheSpace(t *testing.T) {
	dev := newZone(t, "Dev", "Test")
	_, before := dev.card()
	if bytes.Contains(files(t, dev.space.Dir()), []byte("AGE-SECRET-KEY")) {
		t.Error("a private key lies open in the folder of the space")
	}
	other, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	moved := &zones.Service{Identity: other, Address: func() string { return "elsewhere.example:8443" }}
	_, after, err := moved.Card(ctx, dev.space)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before.Words(), after.Words()) || before.Fingerprint() != after.Fingerprint() {
		t.Error("the words changed with the server")
	}
	if before.ServerPin == after.ServerPin || after.Number != before.Number+1 || after.Address != "elsewhere.example:8443" {
		t.Errorf("the card does not tell of the new server: %+v", after)
	}
}

// Nothing is taken from a space before somebody compared its words.
func TestNothingBeforeConfirmation(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	manager := spacetest.Manager()
	devCard, _ := dev.card()
	prodCard, prodSays := prod.card()
	toProd, _, err := dev.service.Trust(ctx, dev.space, manager, zones.TrustInput{Card: prodCard, Words: lastWords(prodSays), Role: "source"})
	if err != nil {
		t.Fatal(err)
	}
	toDev, _, err := prod.service.Trust(ctx, prod.space, manager, zones.TrustInput{Card: devCard, Role: "target"})
	if err != nil || toDev.State != spaces.LinkAwaiting {
		t.Fatalf("%s, %v", toDev.State, err)
	}
	file := dev.bundleOf(t, toProd, "1.0.0", []byte("package one"))
	if _, err := prod.service.Import(ctx, prod.space, manager, bytes.NewReader(file)); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "awaiting confirmation") {
		t.Errorf("imported over an unconfirmed link: %v", err)
	}
	if n := len(view(prod, func(tx *spaces.ReadTx) ([]spaces.Inbound, error) { return tx.Inbox(10) })); n != 0 {
		t.Errorf("%d entries in the inbox", n)
	}
	_, devSays := dev.card()
	for _, c := range []struct{ words, compared string }{{lastWords(prodSays), ""}, {"", " "}, {"", ""}} {
		if _, err := prod.service.Confirm(ctx, prod.space, manager, toDev.ID, c.words, c.compared); !errors.Is(err, errs.Invalid) {
			t.Errorf("confirmed by %+v: %v", c, err)
		}
	}
	if _, err := prod.service.Confirm(ctx, prod.space, spacetest.With(access.ReleaseView), toDev.ID, lastWords(devSays), ""); !errors.Is(err, errs.Denied) {
		t.Errorf("confirmed without permission: %v", err)
	}
	l, err := prod.service.Confirm(ctx, prod.space, manager, toDev.ID, "", "Ada and Bob read them out in room 4")
	if err != nil || l.State != spaces.LinkActive || !strings.Contains(l.ConfirmedHow, "room 4") {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, err := prod.service.Import(ctx, prod.space, manager, bytes.NewReader(file)); err != nil {
		t.Errorf("imported over a confirmed link: %v", err)
	}
}

// What a peer calls itself is shown and never a key.
func TestNamesOfPeersAreLocal(t *testing.T) {
	prod := newZone(t, "Prod", "Production")
	manager := spacetest.Manager()
	one, two := newZone(t, "Dev", "Test"), newZone(t, "Dev", "Test")
	for i, z := range []*zone{one, two} {
		file, c := z.card()
		l, _, err := prod.service.Trust(ctx, prod.space, manager, zones.TrustInput{Card: file, Words: lastWords(c), Role: "target"})
		if i == 0 && (err != nil || l.LocalName != "Dev") {
			t.Fatal(err)
		}
		if i == 1 {
			if !errors.Is(err, errs.Exists) {
				t.Fatalf("two peers have one name here: %v", err)
			}
			if l, _, err = prod.service.Trust(ctx, prod.space, manager, zones.TrustInput{Card: file, Words: lastWords(c), Role: "target", Name: "Other Dev"}); err != nil || l.PeerName != "Dev" {
				t.Fatalf("%+v, %v", l, err)
			}
		}
	}
	// The second one's card in the place of the first gets it nothing: it is another space.
	file, c := two.card()
	if _, _, err := prod.service.Trust(ctx, prod.space, manager, zones.TrustInput{Card: file, Words: lastWords(c), Role: "target", Name: "Dev"}); !errors.Is(err, errs.Exists) {
		t.Errorf("linked twice: %v", err)
	}
	// Nor does another name in a newer card: it is shown and noted, and the name here stays.
	keys := view(two, func(tx *spaces.ReadTx) ([]byte, error) { return tx.Identity() })
	id, err := bundle.ParseIdentity(keys)
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := id.Card("Dev of the other", "", "", c.Incarnation, c.Number+1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := prod.service.Trust(ctx, prod.space, spacetest.With(access.ReleaseView), zones.TrustInput{Card: renamed, Role: "target"}); !errors.Is(err, errs.Denied) {
		t.Errorf("a card was renewed without permission: %v", err)
	}
	for i := range 2 {
		l, _, err := prod.service.Trust(ctx, prod.space, manager, zones.TrustInput{Card: renamed, Name: "Dev", Role: "both"})
		if i == 0 && (err != nil || l.LocalName != "Other Dev" || l.PeerName != "Dev of the other" || l.SendBundles) {
			t.Errorf("renamed: %+v, %v", l, err)
		}
		if i == 1 && !errors.Is(err, errs.Exists) {
			t.Errorf("the same card again: %v", err)
		}
	}
	if _, _, err := prod.service.Trust(ctx, prod.space, manager, zones.TrustInput{Card: file, Words: lastWords(c), Role: "target", Name: "Back"}); !errors.Is(err, errs.Exists) {
		t.Errorf("an older card was taken: %v", err)
	}
	noted := view(prod, func(tx *spaces.ReadTx) ([]spaces.Event, error) {
		return tx.Events(spaces.EventFilter{Category: "LinkModified"})
	})
	if len(noted) != 1 || !strings.Contains(noted[0].Message, "now calls itself 'Dev of the other' (before: 'Dev'); its name here stays") {
		t.Errorf("nobody was told of the new name: %+v", noted)
	}
	links := view(prod, func(tx *spaces.ReadTx) ([]spaces.Link, error) { return tx.Links() })
	if len(links) != 2 || links[0].LocalName != "Dev" || links[0].PeerSpace != one.space.ULID() || links[1].PeerSpace != two.space.ULID() {
		t.Errorf("%+v", links)
	}
}

// An invitation counts once, for a while, for whoever knows its secret, and with confirm
// not before somebody compared the words.
func TestInvitations(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	manager := spacetest.Manager()
	if _, err := dev.service.Invite(ctx, dev.space, spacetest.With(access.ReleaseView), "Prod", "source", false, time.Hour); !errors.Is(err, errs.Denied) {
		t.Errorf("invited without permission: %v", err)
	}
	for _, lasts := range []time.Duration{0, -time.Hour, 25 * time.Hour} {
		if _, err := dev.service.Invite(ctx, dev.space, manager, "Prod", "source", false, lasts); !errors.Is(err, errs.Invalid) {
			t.Errorf("an invitation for %s: %v", lasts, err)
		}
	}
	short, err := dev.service.Invite(ctx, dev.space, manager, "Late", "source", false, 30*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(40 * time.Millisecond)
	if _, err := prod.service.Join(ctx, prod.space, manager, short.String(), "Dev", "target"); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("joined by an invitation that had expired: %v", err)
	}
	invite, err := dev.service.Invite(ctx, dev.space, manager, "Prod", "source", true, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dev.service.Join(ctx, dev.space, manager, invite.String(), "Me", "target"); !errors.Is(err, errs.Invalid) {
		t.Errorf("a space linked itself: %v", err)
	}
	other := invite
	other.Pin = strings.Repeat("0", 64)
	if _, err := prod.service.Join(ctx, prod.space, manager, other.String(), "Dev", "target"); !errors.Is(err, errs.Blocked) || !strings.Contains(err.Error(), "not the one that made this invitation") {
		t.Errorf("joined a server with another key: %v", err)
	}
	if _, err := prod.service.Join(ctx, prod.space, manager, invite.String(), "Dev", "target"); err != nil {
		t.Fatal(err)
	}
	l := view(dev, func(tx *spaces.ReadTx) (spaces.Link, error) { return tx.LinkBy("Prod") })
	if l.State != spaces.LinkAwaiting {
		t.Errorf("the link is %s before the words were compared", l.State)
	}
	_, says := prod.card()
	if _, err := dev.service.Confirm(ctx, dev.space, manager, l.ID, lastWords(says), ""); err != nil {
		t.Error(err)
	}
}

// Whoever has the number of a space and of a link, and not the key, is told the same as
// for a link that is nowhere.
func TestStrangersLearnNothing(t *testing.T) {
	dev, prod := newZone(t, "Dev", "Test"), newZone(t, "Prod", "Production")
	toProd := wired(t, dev, prod, true)
	stranger, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	get := func(id pin.Identity, path string) string {
		t.Helper()
		body, status := fetch(t, id, dev.service.Identity.Pin, "https://"+dev.service.Address()+path)
		if status == 200 {
			t.Errorf("%s is answered with %s", path, body)
		}
		return body
	}
	known := "/zone/v1/spaces/" + dev.space.ULID() + "/wants?from=" + prod.space.ULID()
	want := get(stranger, "/zone/v1/spaces/01HZZZZZZZZZZZZZZZZZZZZZZZ/wants?from="+prod.space.ULID())
	for _, got := range []string{get(stranger, known), get(prod.service.Identity, "/zone/v1/spaces/"+dev.space.ULID()+"/wants?from=01HZZZZZZZZZZZZZZZZZZZZZZZ")} {
		if got != want {
			t.Errorf("%s, and for what is nowhere %s", got, want)
		}
	}
	if body, status := fetch(t, prod.service.Identity, dev.service.Identity.Pin, "https://"+dev.service.Address()+known); status != 200 {
		t.Errorf("the linked server: %d %s", status, body)
	}
	update(dev, func(tx *spaces.Tx) (spaces.Link, error) {
		return tx.SetLinkState(toProd.ID, spaces.LinkRevoked, "", "")
	})
	if got := get(prod.service.Identity, known); got != want {
		t.Errorf("a revoked link: %s", got)
	}
}
