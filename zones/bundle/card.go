package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"filippo.io/age"
)

// Card is what a space tells others of itself: the file .octid, signed by its own key.
type Card struct {
	Space       string   `json:"space"`       // ULID
	Name        string   `json:"name"`        // what it calls itself; at most 50 characters
	Key         string   `json:"key"`         // Ed25519 public key, base64
	Recipient   string   `json:"recipient"`   // age recipient (ML-KEM-768 with X25519)
	Address     string   `json:"address"`     // host:port of its server's zone door, or ""
	ServerPin   string   `json:"serverPin"`   // of that server, or ""
	Schema      []string `json:"schema"`      // versions of the formats that it reads
	Incarnation string   `json:"incarnation"` // ULID
	Number      int64    `json:"number"`      // from 1; the highest counts
	Issued      string   `json:"issued"`      // RFC 3339, UTC
	Critical    []string `json:"critical"`    // features that a reader must know

	key       ed25519.PublicKey
	recipient *age.HybridRecipient
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
	key, err := decodeBase64(c.Key)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, refuse("The card has no key.")
	}
	c.key = key
	if _, err := open(b, MaxReceipt, c.key, TypeCard, what); err != nil {
		return nil, err
	}
	if c.recipient, err = age.ParseHybridRecipient(c.Recipient); err != nil || c.recipient.String() != c.Recipient {
		return nil, refuse("The card has no sealing key.")
	}
	return &c, c.check()
}

func (c *Card) check() error {
	if !supports(c.Schema) {
		return refuse("The card is of formats %s; this program reads %s.", clip(strings.Join(c.Schema, ", ")), Schema).WithHint("Upgrade this server.")
	}
	if err := checkCritical(c.Critical, "card"); err != nil {
		return err
	}
	t := texts{what: "card"}
	t.ulid("space", c.Space)
	t.required("name", c.Name)
	t.ulid("incarnation", c.Incarnation)
	t.time("date", c.Issued)
	switch {
	case t.err != nil:
		return t.err
	case len([]rune(c.Name)) > 50:
		return refuse("The name of the card is longer than 50 characters.")
	case c.Number < 1:
		return refuse("The card has no number.")
	case c.ServerPin != "" && !isDigest(c.ServerPin):
		return refuse("The card names a server without a proper pin.")
	case c.Address != "" && !isAddress(c.Address):
		return refuse("The card names a server by an address that is not host:port.")
	}
	return nil
}

func isAddress(s string) bool {
	i := strings.LastIndexByte(s, ':')
	if i < 1 || len(s) > 300 || strings.ContainsAny(s, " /@?#") || strings.ContainsFunc(s, hidden) {
		return false
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	return err == nil && port > 0
}

// Fingerprint is the space's identity, in hex: SHA-256 of "octopuses-id-v1" and its key.
func (c *Card) Fingerprint() string { return hex.EncodeToString(c.digest()) }

func (c *Card) digest() []byte {
	sum := sha256.Sum256(append([]byte("octopuses-id-v1"), c.key...))
	return sum[:]
}

// Words are 12 words of 11 bits each that belong to this identity alone (BIP-39's list,
// without its checksum): the first 132 bits of the fingerprint. Two people compare them
// on another channel. They cover the signing key; the rest of the card stands under that
// key's signature.
func (c *Card) Words() []string {
	n := new(big.Int).Rsh(new(big.Int).SetBytes(c.digest()), 256-132)
	out := make([]string, 12)
	for i := 11; i >= 0; i-- {
		out[i] = words()[new(big.Int).And(n, big.NewInt(2047)).Int64()]
		n.Rsh(n, 11)
	}
	return out
}

// ShortCode is the identity in four groups of five characters, for lists and for the
// outside of a parcel: four of the fingerprint in base32 and one that checks them. It is
// no proof; only the words are.
func (c *Card) ShortCode() string {
	s := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(c.digest()[:10])
	groups := make([]string, 4)
	for i := range groups {
		g := s[i*4 : i*4+4]
		groups[i] = g + string(checkCharacter(g))
	}
	return strings.Join(groups, "-")
}

// checkCharacter is Luhn's algorithm modulo 32, which finds any one wrong character and
// nearly any two exchanged neighbours.
func checkCharacter(s string) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	sum := 0
	for i := range len(s) {
		n := strings.IndexByte(alphabet, s[i])
		if (len(s)-i)%2 == 1 {
			n *= 2
		}
		sum += n/32 + n%32
	}
	return alphabet[(32-sum%32)%32]
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

// decodeBase64 reads the one encoding of bytes. Go's decoder skips line ends, even the
// strict one, so that the same bytes would have many texts.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err == nil && len(s) != base64.StdEncoding.EncodedLen(len(b)) {
		err = base64.CorruptInputError(len(s))
	}
	return b, err
}
