// Package audit is what an entry of an audit is, wherever it is kept: the change that it
// tells, the line of JSON by which it leaves the server, and the file of a day into which
// old entries go. The ledgers themselves are tables of a space and of the server.
//
// A secret never stands in any of it: of one it is only ever said that it changed.
package audit
