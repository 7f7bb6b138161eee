-- +goose Up

-- Where people may sign in instead of with a password (OpenID Connect).
CREATE TABLE identity_provider (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  name          TEXT NOT NULL COLLATE NOCASE CONSTRAINT identity_provider_name UNIQUE,
  issuer        TEXT NOT NULL,
  client_id     TEXT NOT NULL,
  client_secret BLOB NOT NULL,             -- sealed with the master key
  scopes        TEXT NOT NULL,             -- parted by blanks
  groups_claim  TEXT NOT NULL DEFAULT '',  -- empty: the tokens name no groups
  match_email   INTEGER NOT NULL DEFAULT 0,
  create_users  INTEGER NOT NULL DEFAULT 0,
  is_enabled    INTEGER NOT NULL DEFAULT 1,
  created_at    TEXT NOT NULL,
  updated_at    TEXT NOT NULL
) STRICT;

-- Who a user is to an issuer: by subject, which is never given to another person.
CREATE TABLE user_identity (
  issuer     TEXT NOT NULL,
  subject    TEXT NOT NULL,
  user_id    INTEGER NOT NULL CONSTRAINT user_identity_user REFERENCES user (id) ON DELETE CASCADE,
  created_at TEXT NOT NULL,
  used_at    TEXT NOT NULL,
  PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX user_identity_by_user ON user_identity (user_id);
