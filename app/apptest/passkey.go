package apptest

import "github.com/descope/virtualwebauthn"

// fullKey is the length of a P-256 key as authenticators send it (RFC 9053 section 7.1.1).
const fullKey = 77

// NewCredential is a new key pair of an authenticator in software. virtualwebauthn (1.0.3)
// leaves out zero bytes that a coordinate begins with, one key of 128, which no
// authenticator does and which the server refuses: such keys are not used.
func NewCredential() virtualwebauthn.Credential {
	for {
		if c := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2); len(c.Key.AttestationData()) == fullKey {
			return c
		}
	}
}
