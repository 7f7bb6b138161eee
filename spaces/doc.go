// Package spaces is one space: its folder, its SQLite file, its transactions and
// every entity in it.
//
// Terms. A [Space] is an open folder, taken from a [Registry] and given back. A
// [ReadTx] sees one consistent picture of it; a [Tx] also writes, and carries the
// time, the [Actor], the audit events and what is to be told after the commit.
// [View] and [Update] run them. Functions of a Tx are the rules of the product:
// each that changes something first requires a permission, then checks the input,
// then writes rows and audit events in the same transaction.
//
// Invariants. No function takes two spaces, and nothing in a space's file names
// another space's rows. A sensitive value is only ever in the table secret, sealed
// with the space's key. An audit event is written by the transaction that made the
// change, or the change did not happen. Nothing slow (network, hashing, rendering)
// happens inside a writing transaction.
//
// The package knows no HTTP, no users table and no zone protocol. It imports
// database/sql so that nobody above has to.
package spaces
