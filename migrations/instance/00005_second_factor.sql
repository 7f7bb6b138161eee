-- +goose Up

-- The secret of an authenticator app (RFC 6238). It counts once it was confirmed.
CREATE TABLE totp (
  user_id      INTEGER PRIMARY KEY CONSTRAINT totp_user REFERENCES user (id) ON DELETE CASCADE,
  secret       BLOB NOT NULL,             -- sealed with the master key
  confirmed_at TEXT,
  last_step    INTEGER NOT NULL DEFAULT 0, -- of the last code that was taken: none is taken twice
  created_at   TEXT NOT NULL
) STRICT;

CREATE TABLE recovery_code (
  user_id INTEGER NOT NULL CONSTRAINT recovery_code_user REFERENCES user (id) ON DELETE CASCADE,
  hash    TEXT NOT NULL,                  -- hex SHA-256
  used_at TEXT,
  PRIMARY KEY (user_id, hash)
) STRICT, WITHOUT ROWID;

-- Keys of authenticators (WebAuthn).
CREATE TABLE passkey (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id       INTEGER NOT NULL CONSTRAINT passkey_user REFERENCES user (id) ON DELETE CASCADE,
  credential_id BLOB NOT NULL CONSTRAINT passkey_credential UNIQUE,
  credential    TEXT NOT NULL,            -- JSON: public key, flags, count of signatures
  name          TEXT NOT NULL,
  created_at    TEXT NOT NULL,
  used_at       TEXT
) STRICT;
CREATE INDEX passkey_by_user ON passkey (user_id);

-- A sign-in whose password was right and whose second factor is awaited, or a challenge
-- that a passkey has to answer.
CREATE TABLE pending_sign_in (
  hash       TEXT PRIMARY KEY,            -- hex SHA-256 of the ticket
  user_id    INTEGER CONSTRAINT pending_sign_in_user REFERENCES user (id) ON DELETE CASCADE,
  challenge  TEXT NOT NULL DEFAULT '',    -- JSON of the ceremony
  expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
