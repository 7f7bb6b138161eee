// Package delta moves the next version of a package cheaply: a recipe rebuilds a file out
// of ranges of a file that the other side has, the basis, and of literals for the rest.
//
// Archives are looked into: of two zips (nupkg, jar) or gzip files the deflate streams
// that differ are unpacked, their contents compared, and packed again by the receiver.
// Package deflate does that bit by bit, so what a recipe gives hashes to the file's
// digest. The digest is checked by whoever takes it; a recipe is never trusted, only
// cheap.
//
// A side reads recipes of all versions up to [Version] and makes those that the other one
// reads. docs/formats/recipe.md is normative. The package knows no database and no
// network; what it unpacks lies in temporary files, bounded by the sizes of the files.
package delta
