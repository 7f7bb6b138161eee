package zones

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/zones/bundle"
)

// The wire is HTTP/2 over mutual TLS 1.3 between two servers. A link is a pair of
// mailboxes: whoever dials delivers his messages, takes the other's, and moves the
// package files that either side wants. docs/formats/link.md is normative.

const (
	headerOffset = "Upload-Offset"
	headerLength = "Upload-Length"
	headerRecipe = "Octopuses-Recipe"
	maxMessage   = bundle.MaxBlob*5 + 1<<20
)

// problem is the body of a refusal (RFC 9457). Type is stable; a peer hears no names and
// no paths.
type problem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
	Retry  string `json:"retry"` // no, yes
}

func writeProblem(w http.ResponseWriter, err error) {
	p := problem{Type: "failed", Detail: "The other server could not do this now.", Retry: "yes"}
	status, after := http.StatusServiceUnavailable, time.Duration(0)
	switch errs.KindOf(err) {
	case errs.Invalid, errs.Exists:
		p, status = problem{"refused", errs.TextOf(err), "no"}, http.StatusUnprocessableEntity
	case errs.Blocked, errs.Stale:
		p, status = problem{"conflict", errs.TextOf(err), "no"}, http.StatusConflict
	case errs.NotFound, errs.Denied, errs.Unauthenticated:
		p, status = problem{"unknown-link", "There is no such link.", "no"}, http.StatusNotFound
	case errs.TooLarge:
		p, status = problem{"too-large", errs.TextOf(err), "no"}, http.StatusRequestEntityTooLarge
	case errs.Busy:
		p, status, after = problem{"busy", errs.TextOf(err), "yes"}, http.StatusTooManyRequests, afterBusy
	}
	if status == http.StatusServiceUnavailable && isFull(err) {
		p.Detail, after = "The other server has no room on its disk now.", afterFull
	}
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(after/time.Second)))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(p)
}

// Invitation is the one-time text with which another server links a space of its own.
type Invitation struct {
	Address string `json:"address"` // host:port
	Pin     string `json:"pin"`     // of the inviting server
	Space   string `json:"space"`   // ULID of the inviting space
	ID      string `json:"id"`
	Secret  []byte `json:"secret"`
}

const invitationPrefix = "octopuses-link:"

// String renders an invitation in one line.
func (i Invitation) String() string {
	b, _ := json.Marshal(i)
	return invitationPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseInvitation reads an invitation.
func ParseInvitation(text string) (Invitation, error) {
	var i Invitation
	bad := errs.New(errs.Invalid, "This is no invitation to link.").WithHint("Copy the whole text that begins with %s.", invitationPrefix)
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), invitationPrefix)
	if !ok {
		return i, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || json.Unmarshal(b, &i) != nil || i.Address == "" || len(i.Pin) != 64 || len(i.Secret) != 32 {
		return i, bad
	}
	return i, nil
}

// Invite makes an invitation. role is what this space will be in the link: source,
// target or both. With confirm a person compares the words before the link is active. It
// needs LinkAdminister.
func (z *Service) Invite(ctx context.Context, s *spaces.Space, actor spaces.Actor, name, role string, confirm bool, lasts time.Duration) (Invitation, error) {
	if z.Address == nil || z.Address() == "" {
		return Invitation{}, errs.New(errs.Blocked, "This server takes no links over the network.").WithHint("Start it with --zones and --zones-address, or link by cards.")
	}
	if _, _, err := z.Card(ctx, s); err != nil {
		return Invitation{}, err
	}
	i := Invitation{Address: z.Address(), Pin: z.Identity.Pin, Space: s.ULID(), ID: spaces.NewULID(time.Now()), Secret: randomBytes(32)}
	return i, spaces.Do(ctx, s, actor, func(tx *spaces.Tx) error {
		return tx.CreateInvite(i.ID, i.Secret, name, role, confirm, tx.Now.Add(lasts))
	})
}

// proof binds a secret to this very connection and to the card that is shown over it: a
// proof that somebody recorded is worth nothing elsewhere (RFC 9266).
func proof(secret []byte, state *tls.ConnectionState, who string, card []byte) ([]byte, error) {
	key, err := state.ExportKeyingMaterial("EXPORTER-octopuses-link-v1", nil, 32)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(card)
	m := hmac.New(sha256.New, secret)
	m.Write(key)
	m.Write([]byte(who))
	m.Write(sum[:])
	return m.Sum(nil), nil
}

// peering is the request and the answer of linking by invitation.
type peering struct {
	ID    string `json:"id,omitempty"`
	Card  []byte `json:"card"`
	Proof []byte `json:"proof"`
}

// wanted is a package file that a space lacks.
type wanted struct {
	Digest string   `json:"digest"`
	Size   int64    `json:"size"`
	Offset int64    `json:"offset"`          // bytes that are there
	Basis  []string `json:"basis,omitempty"` // files from this link that could help to rebuild it
	// Recipes is the newest version of recipes that the wanting side reads; a server that
	// does not say it reads version 1.
	Recipes int `json:"recipes,omitempty"`
}

// queuedMessage is a message that waits for the other side to take it.
type queuedMessage struct {
	Digest  string `json:"digest"`
	Message []byte `json:"message"`
}

// taken tells what became of a message that was taken.
type taken struct {
	Digest  string `json:"digest"`
	Refused string `json:"refused,omitempty"`
}

// final reports whether trying again is useless.
func final(err error) bool {
	return errors.Is(err, errs.Invalid) || errors.Is(err, errs.Blocked) || errors.Is(err, errs.Stale) || errors.Is(err, errs.TooLarge) || errors.Is(err, errs.NotFound) || errors.Is(err, errs.Exists)
}

func mayLink(actor spaces.Actor) error { return requireAny(actor, access.LinkAdminister) }
