// Package demo is what the demonstration deploys and how it tells of it: an application
// called Storefront, its packages, the process that deploys it, and the narration.
//
// The application's program is the octopuses binary itself under another name, since
// whoever runs a downloaded release has no compiler: [Serve] is what it does there.
// Three versions differ in a few small files ([BuildPackage]), as those of real programs
// do, so that the promotion of the second has little to carry.
//
// The package knows no server: it imports nothing of ours but version numbers.
package demo
