package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"octopuses.dev/octopuses/spaces/errs"
)

// Identity is the private keys of a space. It is made once and lives as long as the
// space. However it is printed, it tells nothing of the keys.
type Identity struct {
	Space string // ULID
	sign  ed25519.PrivateKey
	seal  *age.HybridIdentity
}

// NewIdentity makes fresh keys for a space.
func NewIdentity(space string) (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	seal, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return &Identity{space, key, seal}, nil
}

type identityJSON struct {
	Space string `json:"space"`
	Sign  []byte `json:"sign"` // seed of Ed25519, 32 bytes
	Seal  string `json:"seal"` // age identity, as `age -d -i` takes it
}

// Marshal renders the private keys; the caller keeps them sealed.
func (id *Identity) Marshal() ([]byte, error) {
	return json.Marshal(identityJSON{id.Space, id.sign.Seed(), id.seal.String()})
}

// ParseIdentity reads what Marshal wrote. Its errors hold nothing of the input.
func ParseIdentity(b []byte) (*Identity, error) {
	var j identityJSON
	if err := json.Unmarshal(b, &j); err != nil || len(j.Sign) != ed25519.SeedSize {
		return nil, fmt.Errorf("read identity: not an identity")
	}
	seal, err := age.ParseHybridIdentity(j.Seal)
	if err != nil {
		return nil, fmt.Errorf("read identity: not a sealing key")
	}
	return &Identity{j.Space, ed25519.NewKeyFromSeed(j.Sign), seal}, nil
}

// String tells whose identity it is.
func (id Identity) String() string { return "identity of space " + id.Space }

// Format keeps the keys out of every verb, %#v and %d too.
func (id Identity) Format(f fmt.State, _ rune) { io.WriteString(f, id.String()) }

func (id *Identity) public() ed25519.PublicKey { return id.sign.Public().(ed25519.PublicKey) }

// Card makes and signs a card. address is host:port of the server's zone door and
// serverPin its pin, "" when it has none; a card with a higher number replaces the ones
// before.
func (id *Identity) Card(name, address, serverPin, incarnation string, number int64, at time.Time) ([]byte, error) {
	c := Card{Space: id.Space, Name: name, Key: base64.StdEncoding.EncodeToString(id.public()), Recipient: id.seal.Recipient().String(),
		Address: address, ServerPin: serverPin, Schema: []string{Schema}, Incarnation: incarnation, Number: number, Issued: at.UTC().Format(time.RFC3339), Critical: []string{}}
	payload, err := canonical(c)
	if err != nil {
		return nil, err
	}
	b, err := sign(id.sign, TypeCard, payload)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// unseal decrypts what was sealed to this identity.
func (id *Identity) unseal(sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), id.seal)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The sealed values cannot be opened: they were sealed to another space.")
	}
	b, err := io.ReadAll(io.LimitReader(r, MaxBlob+1))
	if err != nil || len(b) > MaxBlob {
		return nil, refuse("The sealed values are damaged or too large.")
	}
	return b, nil
}
