// Package instance is the server itself: who its people are, how they sign in, what
// their teams may do, which spaces there are, and the server's own identity. It owns
// instance.db.
//
// Nothing of a space's content is here, and no role of the system gives rights inside
// a space: a person enters a space only through a team with a role in it. Marks say of a space what
// it has to do without being asked, so that it need not be opened to find out.
//
// Passwords are kept as argon2id, API keys and sessions as SHA-256 of random secrets;
// none of the three can be read back.
package instance
