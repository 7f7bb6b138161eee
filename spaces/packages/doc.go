// Package packages keeps package files by their content and reads the archives in
// them.
//
// A [Store] is a folder of blobs, each named by the SHA-256 of its bytes: what is
// stored cannot change, and storing twice is storing once. Archives are hostile
// until proven otherwise: [Extract] writes through os.Root, so that no name and no
// link leads out of the destination, and it is bounded in bytes, entries and ratio.
//
// The package knows no database. Files without a row somewhere are its caller's to
// sweep away.
package packages
