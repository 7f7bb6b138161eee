package bundle

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	t.Parallel()
	dev := newParty(t, devSpace, "Dev")
	renamed, err := dev.Identity.Card("Renamed", "", "", incarnation, 2, at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCard(renamed)
	if err != nil {
		t.Fatal(err)
	}
	words := c.Words()
	if !slices.Equal(words, dev.card.Words()) || len(words) != 12 || c.ShortCode() != dev.card.ShortCode() || c.Fingerprint() != dev.card.Fingerprint() {
		t.Error("they moved although the identity is the same")
	}
	if slices.Equal(words, newParty(t, devSpace, "Dev").card.Words()) {
		t.Error("two identities have the same words")
	}
	last := strings.Join(words[9:], " ")
	for typed, want := range map[string]bool{last: true, "  " + strings.ToUpper(strings.Join(words[9:], "\t ")) + "\n": true, strings.Join(words[8:11], " "): false, "": false, words[11]: false, strings.Join(words, " "): false} {
		if c.CheckWords(typed) != want {
			t.Errorf("%q: not %t", typed, want)
		}
	}
}

// A typing mistake in a short code shows in its own group.
func TestShortCodeFindsMistakes(t *testing.T) {
	t.Parallel()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	code := newParty(t, devSpace, "Dev").card.ShortCode()
	groups := strings.Split(code, "-")
	if len(groups) != 4 {
		t.Fatal(code)
	}
	for _, g := range groups {
		if len(g) != 5 || g[4] != checkCharacter(g[:4]) {
			t.Fatalf("group %s of %s", g, code)
		}
		for i := range 4 {
			for _, r := range []byte(alphabet) {
				if other := g[:i] + string(r) + g[i+1:4]; r != g[i] && checkCharacter(other) == g[4] {
					t.Errorf("%s passes for %s", other, g[:4])
				}
			}
		}
	}
}

// Whoever holds a key can sign any card with it; what a card says must still be possible.
func TestHostileCards(t *testing.T) {
	t.Parallel()
	dev := newParty(t, devSpace, "Dev")
	for name, c := range map[string]struct {
		do  func(c *Card)
		why string
	}{
		"no space":               {func(c *Card) { c.Space = "dev" }, "ULID"},
		"a space in small":       {func(c *Card) { c.Space = strings.ToLower(c.Space) }, "ULID"},
		"no name":                {func(c *Card) { c.Name = "  " }, "no name"},
		"a long name":            {func(c *Card) { c.Name = strings.Repeat("é", 51) }, "50 characters"},
		"a name right to left":   {func(c *Card) { c.Name = "Prod\u202e" }, "invisible"},
		"a name that clears":     {func(c *Card) { c.Name = "\x1b[2JProd" }, "invisible"},
		"no number":              {func(c *Card) { c.Number = 0 }, "number"},
		"no date":                {func(c *Card) { c.Issued = "" }, "time"},
		"no incarnation":         {func(c *Card) { c.Incarnation = "" }, "ULID"},
		"a pin that is none":     {func(c *Card) { c.ServerPin = "AB" }, "pin"},
		"an address with a path": {func(c *Card) { c.Address = "host:1/../x" }, "host:port"},
		"an address of a user":   {func(c *Card) { c.Address = "me@host:1" }, "host:port"},
		"an address without":     {func(c *Card) { c.Address = "host" }, "host:port"},
		"port 0":                 {func(c *Card) { c.Address = "host:0" }, "host:port"},
		"another major version":  {func(c *Card) { c.Schema = []string{"2.0"} }, "formats 2.0"},
		"a critical feature":     {func(c *Card) { c.Critical = []string{"rotation"} }, "rotation"},
		"another sealing key":    {func(c *Card) { c.Recipient = strings.ToUpper(c.Recipient) }, "sealing key"},
		"no sealing key":         {func(c *Card) { c.Recipient = "" }, "sealing key"},
		"another key":            {func(c *Card) { c.Key = newParty(t, devSpace, "Dev").card.Key }, "another key"},
		"no key":                 {func(c *Card) { c.Key = "AAAA" }, "no key"},
	} {
		x := *dev.card
		c.do(&x)
		payload, err := canonical(x)
		if err != nil {
			t.Fatal(err)
		}
		file, err := sign(dev.sign, TypeCard, payload)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseCard(append(file, '\n'))
		refused(t, name, err, c.why)
	}
	for name, file := range map[string][]byte{"no line end": bytes.TrimSpace(dev.file), "two": append(bytes.Clone(dev.file), dev.file...), "CRLF": append(bytes.TrimSpace(dev.file), "\r\n"...), "empty": nil, "a line end": []byte("\n")} {
		if _, err := ParseCard(file); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, ok := range []string{"host:1", "10.0.0.1:8443", "[::1]:65535", ""} {
		x := *dev.card
		x.Address = ok
		payload, _ := canonical(x)
		file, _ := sign(dev.sign, TypeCard, payload)
		if _, err := ParseCard(append(file, '\n')); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
}

// Cards are given away; nothing private may be in one.
func TestCardTellsNoKey(t *testing.T) {
	t.Parallel()
	dev := newParty(t, devSpace, "Dev")
	payload, _, err := peek(bytes.TrimSpace(dev.file), MaxReceipt, "card")
	if err != nil {
		t.Fatal(err)
	}
	j, _ := json.Marshal(dev.card)
	for _, b := range [][]byte{payload, j} {
		if bytes.Contains(b, []byte("AGE-SECRET")) || bytes.Contains(b, dev.sign.Seed()) {
			t.Error("a private key is in the card")
		}
	}
}
