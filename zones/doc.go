// Package zones promotes releases between spaces: trust, export, import and review,
// delivery, and receipts on the way back.
//
// A [Service] stands between a space's file (package spaces), the formats (zones/bundle)
// and the wire (zones/link). It holds no state of its own: whatever must survive is a row
// of a space, written in the transaction that it belongs to. Order of everything that
// comes in: size, syntax, whose it claims to be, signature, meaning, then one transaction.
package zones
