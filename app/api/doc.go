// Package api is the door for programs: the HTTP surface that Octopus Deploy's
// clients use, and what ours adds to it.
//
// A row of the table in routes.go is a method, a path, a permission and a handler. A
// handler reads a body, runs one transaction of a space and answers a resource; rules
// live in spaces and app/instance. Every path of a space answers in three forms:
// /api/{space}/…, /api/spaces/{space}/… and, for the default space, /api/….
//
// Invariants. Every answer under /api is JSON, refusals too. A request is somebody's
// (an API key, or a session with the token against forgery), and a space in which that
// person has no permission does not exist. No body is read beyond its limit, and a
// package never stands in memory. A resource that was created and the same one read
// later are equal, links included.
//
// What differs from Octopus's server is listed in docs/api-divergences.md.
package api
