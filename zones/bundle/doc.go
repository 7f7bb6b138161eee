// Package bundle is the formats in which a release leaves a space and the news of it
// comes back: cards (.octid), bundles (.octb) and receipts (.octr). Normative pages are
// in docs/formats.
//
// Everything is signed with the space's key (DSSE over in-toto statements), names its
// recipient, and has exactly one encoding: a reader refuses whatever a writer would not
// have written byte for byte. Sensitive values are sealed to the recipient (age, hybrid
// post-quantum); outside of the seal stands only a commitment.
//
// The order of checks is: size, syntax, key, signature, type, recipient, schema, blobs
// by digest, meaning. The package knows no database and no network; an offline verifier
// is this package and a file.
package bundle
