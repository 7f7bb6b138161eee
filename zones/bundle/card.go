package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/tyler-smith/go-bip39/wordlists"

	"octopuses.dev/octopuses/spaces/errs"
)

// Identity is the keys of a space. It is made once and lives as long as the space.
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
	Sign  []byte `json:"sign"`
	Seal  string `json:"seal"`
}

// Marshal renders the private keys; the caller keeps them sealed.
func (id *Identity) Marshal() ([]byte, error) {
	return json.Marshal(identityJSON{id.Space, id.sign.Seed(), id.seal.String()})
}

// ParseIdentity reads what Marshal wrote.
func ParseIdentity(b []byte) (*Identity, error) {
	var j identityJSON
	if err := json.Unmarshal(b, &j); err != nil || len(j.Sign) != ed25519.SeedSize {
		return nil, fmt.Errorf("read identity: not an identity")
	}
	seal, err := age.ParseHybridIdentity(j.Seal)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	return &Identity{j.Space, ed25519.NewKeyFromSeed(j.Sign), seal}, nil
}

// String tells nothing of the keys.
func (id *Identity) String() string { return "identity of space " + id.Space }

// Card is what a space tells others of itself: the file .octid, signed by its own key.
type Card struct {
	Space       string   `json:"space"` // ULID
	Name        string   `json:"name"`  // what it calls itself
	Key         string   `json:"key"`   // Ed25519 public key, base64
	Recipient   string   `json:"recipient"`
	Address     string   `json:"address"`   // host:port of its server's zone door, or ""
	ServerPin   string   `json:"serverPin"` // of that server, or ""
	Schema      []string `json:"schema"`    // versions of the formats that it reads
	Incarnation string   `json:"incarnation"`
	Number      int64    `json:"number"`
	Issued      string   `json:"issued"` // RFC 3339

	key       ed25519.PublicKey
	recipient *age.HybridRecipient
}

// Schema is the version of the formats that this program writes.
const Schema = "1.0"

// Card makes and signs a card.
func (id *Identity) Card(name, address, serverPin, incarnation string, number int64, at time.Time) ([]byte, error) {
	payload, err := canonical(Card{Space: id.Space, Name: name, Key: base64.StdEncoding.EncodeToString(id.sign.Public().(ed25519.PublicKey)), Recipient: id.seal.Recipient().String(),
		Address: address, ServerPin: serverPin, Schema: []string{Schema}, Incarnation: incarnation, Number: number, Issued: at.UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, err
	}
	b, err := sign(id.sign, TypeCard, payload)
	return append(b, '\n'), err
}

// ParseCard reads a card and checks that it is signed by the key that it names. Whether
// that key is the expected one is for people to compare, by [Card.Words].
func ParseCard(file []byte) (*Card, error) {
	const what = "card"
	b, ok := bytes.CutSuffix(file, []byte("\n"))
	if !ok {
		return nil, notCanonical(what)
	}
	payload, _, err := peek(b, MaxReceipt, what)
	if err != nil {
		return nil, err
	}
	var c Card
	if err := decodeCanonical(payload, MaxReceipt, what, &c); err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.Strict().DecodeString(c.Key)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, refuse("The card has no key.")
	}
	c.key = key
	if _, err := open(b, MaxReceipt, c.key, TypeCard, what); err != nil {
		return nil, err
	}
	if c.recipient, err = age.ParseHybridRecipient(c.Recipient); err != nil {
		return nil, refuse("The card has no sealing key.")
	}
	if !supports(c.Schema) {
		return nil, refuse("The card is of formats %s; this program reads %s.", strings.Join(c.Schema, ", "), Schema).WithHint("Upgrade this server.")
	}
	if len(c.Space) != 26 || c.Number < 1 || len([]rune(c.Name)) > 50 || strings.TrimSpace(c.Name) == "" {
		return nil, refuse("The card is incomplete.")
	}
	return &c, nil
}

func supports(schemas []string) bool {
	for _, s := range schemas {
		if major, _, _ := strings.Cut(s, "."); major == "1" {
			return true
		}
	}
	return false
}

// Fingerprint is the space's identity, in hex: SHA-256 of "octopuses-id-v1" and its key.
func (c *Card) Fingerprint() string { return hex.EncodeToString(c.digest()) }

func (c *Card) digest() []byte {
	sum := sha256.Sum256(append([]byte("octopuses-id-v1"), c.key...))
	return sum[:]
}

// Words are 12 words of 11 bits each that belong to this identity alone (BIP-39's list,
// without its checksum). Two people compare them on another channel.
func (c *Card) Words() []string {
	n := new(big.Int).Rsh(new(big.Int).SetBytes(c.digest()), 256-132)
	words := make([]string, 12)
	for i := 11; i >= 0; i-- {
		words[i] = wordlists.English[new(big.Int).And(n, big.NewInt(2047)).Int64()]
		n.Rsh(n, 11)
	}
	return words
}

// ShortCode is the identity in four groups of four characters, for lists.
func (c *Card) ShortCode() string {
	s := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(c.digest()[:10])
	return s[0:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:16]
}

// CheckWords compares the last three words as a person typed them, in any case.
func (c *Card) CheckWords(typed string) bool {
	return strings.Join(strings.Fields(strings.ToLower(typed)), " ") == strings.Join(c.Words()[9:], " ")
}

// SealTo encrypts bytes so that only the space of the card can read them.
func (c *Card) SealTo(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, c.recipient)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return out.Bytes(), nil
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
