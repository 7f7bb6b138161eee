// Package variables is about the values that deployments use: the documents in which
// people write them ([Set]), which value wins for an environment, a target and a
// step ([Resolve]), and the language #{…} in which values refer to each other
// ([Dictionary]).
//
// The language is that of Octopus's Octostache, so that existing values work
// unchanged; docs/variables.md is its reference. Names are case-insensitive. Whether
// a result is sensitive follows from where it came from, never from how it looks: a
// text that reaches a sensitive value is sensitive.
//
// The package is pure: no I/O; the clock is a field of the dictionary.
package variables
