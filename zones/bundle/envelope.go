package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"octopuses.dev/octopuses/spaces/errs"
)

// Payload types.
const (
	TypeCard      = "application/vnd.octopuses.card.v1+json"
	TypeStatement = "application/vnd.in-toto+json"
)

// envelope is a DSSE envelope (github.com/secure-systems-lab/dsse) with one signature.
// The struct's order is the order of its one encoding. A second signature would have to
// be covered by the first, or anybody could add one and so make another envelope that
// verifies; it waits for v2.
type envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// sign wraps a payload. The bytes are the envelope's one encoding.
func sign(key ed25519.PrivateKey, payloadType string, payload []byte) ([]byte, error) {
	sig := ed25519.Sign(key, dsse.PAE(payloadType, payload))
	e := envelope{payloadType, base64.StdEncoding.EncodeToString(payload), []signature{{keyID(key.Public().(ed25519.PublicKey)), base64.StdEncoding.EncodeToString(sig)}}}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return b, nil
}

// keyID names a key: the hex SHA-256 of its bytes. It is only a hint; which key checks a
// signature is decided by our own record of the sender.
func keyID(key ed25519.PublicKey) string { return Digest(key) }

// open checks an envelope against a key and returns the payload that was signed.
func open(b []byte, limit int, key ed25519.PublicKey, payloadType, what string) ([]byte, error) {
	payload, e, err := peek(b, limit, what)
	if err != nil {
		return nil, err
	}
	if e.Signatures[0].KeyID != keyID(key) {
		return nil, refuse("The %s is signed with another key than that of its sender.", what).WithHint("Compare the words of the sender on another channel.")
	}
	sig, err := decodeBase64(e.Signatures[0].Sig)
	if err != nil || !ed25519.Verify(key, dsse.PAE(e.PayloadType, payload), sig) {
		return nil, refuse("The signature of the %s does not hold.", what).WithHint("It was changed on the way. Ask for it again.")
	}
	// The type is under the signature, so that a card can never pass as a statement.
	if e.PayloadType != payloadType {
		return nil, refuse("The %s holds something else (%s).", what, clip(e.PayloadType))
	}
	return payload, nil
}

// peek reads an envelope without checking its signature.
func peek(b []byte, limit int, what string) ([]byte, envelope, error) {
	var e envelope
	if len(b) > limit {
		return nil, e, errs.New(errs.TooLarge, "The %s is larger than %d bytes.", what, limit)
	}
	if err := json.Unmarshal(b, &e); err != nil || len(e.Signatures) != 1 {
		return nil, e, refuse("The %s is no signed envelope.", what)
	}
	// This refuses spaces, another order, doubled, unknown and differently spelt members.
	if again, err := json.Marshal(e); err != nil || !bytes.Equal(again, b) {
		return nil, e, notCanonical(what)
	}
	payload, err := decodeBase64(e.Payload)
	if err != nil {
		return nil, e, notCanonical(what)
	}
	if sig, err := decodeBase64(e.Signatures[0].Sig); err != nil || len(sig) != ed25519.SignatureSize || !isDigest(e.Signatures[0].KeyID) {
		return nil, e, notCanonical(what)
	}
	return payload, e, nil
}
