-- +goose Up

-- Facts about the server: its sealed TLS identity, the setup token's hash, settings.
CREATE TABLE setting (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE user (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  username      TEXT NOT NULL COLLATE NOCASE CONSTRAINT user_username UNIQUE,
  display_name  TEXT NOT NULL,
  email         TEXT NOT NULL DEFAULT '',
  is_active     INTEGER NOT NULL DEFAULT 1,
  is_service    INTEGER NOT NULL DEFAULT 0,
  password_hash TEXT NOT NULL DEFAULT '',   -- argon2id, PHC string; empty: no password
  created_at    TEXT NOT NULL,
  updated_at    TEXT NOT NULL
) STRICT;

CREATE TABLE session (
  hash       TEXT PRIMARY KEY,              -- hex SHA-256 of the cookie's token
  user_id    INTEGER NOT NULL CONSTRAINT session_user REFERENCES user (id) ON DELETE CASCADE,
  created_at TEXT NOT NULL,
  seen_at    TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  address    TEXT NOT NULL,
  user_agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_user ON session (user_id);
CREATE INDEX session_by_expiry ON session (expires_at);

CREATE TABLE api_key (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id    INTEGER NOT NULL CONSTRAINT api_key_user REFERENCES user (id) ON DELETE CASCADE,
  hash       TEXT NOT NULL CONSTRAINT api_key_hash UNIQUE, -- hex SHA-256; the key itself is random enough not to need more
  hint       TEXT NOT NULL,                 -- its first characters
  purpose    TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT,
  used_at    TEXT
) STRICT;
CREATE INDEX api_key_by_user ON api_key (user_id);

CREATE TABLE space (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  name               TEXT NOT NULL COLLATE NOCASE CONSTRAINT space_name UNIQUE,
  slug               TEXT NOT NULL COLLATE NOCASE CONSTRAINT space_slug UNIQUE,
  description        TEXT NOT NULL DEFAULT '',
  folder             TEXT NOT NULL CONSTRAINT space_folder UNIQUE,
  is_default         INTEGER NOT NULL DEFAULT 0,
  task_queue_stopped INTEGER NOT NULL DEFAULT 0,
  created_at         TEXT NOT NULL,
  updated_at         TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX space_default ON space (is_default) WHERE is_default = 1;

CREATE TABLE team (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  word        TEXT CONSTRAINT team_word UNIQUE, -- built-in teams: everyone, administrators, managers, spacemanagers-N
  space_id    INTEGER CONSTRAINT team_space REFERENCES space (id) ON DELETE CASCADE, -- NULL: a team of the system
  name        TEXT NOT NULL COLLATE NOCASE,
  description TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL,
  CONSTRAINT team_name UNIQUE (space_id, name)
) STRICT;

CREATE TABLE team_member (
  team_id INTEGER NOT NULL CONSTRAINT team_member_team REFERENCES team (id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL CONSTRAINT team_member_user REFERENCES user (id) ON DELETE CASCADE,
  PRIMARY KEY (team_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_by_member ON team_member (user_id);

CREATE TABLE scoped_user_role (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  team_id        INTEGER NOT NULL CONSTRAINT scoped_user_role_team REFERENCES team (id) ON DELETE CASCADE,
  role           TEXT NOT NULL,             -- API id of a role
  space_id       INTEGER CONSTRAINT scoped_user_role_space REFERENCES space (id) ON DELETE CASCADE,
  projects       TEXT NOT NULL DEFAULT '[]',
  project_groups TEXT NOT NULL DEFAULT '[]',
  environments   TEXT NOT NULL DEFAULT '[]',
  tenants        TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE INDEX scoped_user_role_by_team ON scoped_user_role (team_id);

-- Failed sign-ins, by account and by address.
CREATE TABLE throttle (
  key        TEXT PRIMARY KEY,
  failures   INTEGER NOT NULL,
  since      TEXT NOT NULL,
  blocked_until TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  at         TEXT NOT NULL,
  actor_id   TEXT NOT NULL,
  actor_name TEXT NOT NULL,
  via        TEXT NOT NULL,
  address    TEXT NOT NULL,
  category   TEXT NOT NULL,
  entity     TEXT NOT NULL,
  entity_id  TEXT NOT NULL,
  message    TEXT NOT NULL,
  detail     TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX event_by_entity ON event (entity_id, id);

-- +goose StatementBegin
CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
-- +goose StatementEnd
