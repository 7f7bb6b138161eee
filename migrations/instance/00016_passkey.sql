-- +goose Up

-- What authenticators know a user by: random, so that it tells nothing and two servers of
-- one name do not replace each other's passkeys. It stays when all passkeys are removed.
CREATE TABLE passkey_handle (
  user_id INTEGER PRIMARY KEY CONSTRAINT passkey_handle_user REFERENCES user (id) ON DELETE CASCADE,
  handle  BLOB NOT NULL CONSTRAINT passkey_handle_handle UNIQUE
) STRICT;

-- Challenges that were answered, well or badly, until they would have ended: none is
-- answered twice. Those that nobody answered are in no table.
CREATE TABLE used_challenge (
  hash       TEXT PRIMARY KEY,            -- hex SHA-256
  expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_challenge_by_expiry ON used_challenge (expires_at);
