-- +goose Up

-- Roles that people made; the built-in ones are in the program. Permissions are JSON
-- lists of names. A name that this program does not know gives nothing.
CREATE TABLE user_role (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  name               TEXT NOT NULL COLLATE NOCASE CONSTRAINT user_role_name UNIQUE,
  description        TEXT NOT NULL DEFAULT '',
  system_permissions TEXT NOT NULL DEFAULT '[]',
  space_permissions  TEXT NOT NULL DEFAULT '[]',
  created_at         TEXT NOT NULL,
  updated_at         TEXT NOT NULL
) STRICT;

-- Groups of an identity provider whose people are in a team while they are in the group.
CREATE TABLE team_external_group (
  team_id      INTEGER NOT NULL CONSTRAINT team_external_group_team REFERENCES team (id) ON DELETE CASCADE,
  group_id     TEXT NOT NULL,             -- as the provider's claim names it
  display_name TEXT NOT NULL,
  PRIMARY KEY (team_id, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX team_external_group_by_group ON team_external_group (group_id);

-- What the provider said of a person at the last sign-in.
CREATE TABLE user_external_group (
  user_id  INTEGER NOT NULL CONSTRAINT user_external_group_user REFERENCES user (id) ON DELETE CASCADE,
  group_id TEXT NOT NULL,
  PRIMARY KEY (user_id, group_id)
) STRICT, WITHOUT ROWID;
