-- +goose Up

-- Places outside from which packages are fetched into the built-in feed.
CREATE TABLE feed (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL COLLATE NOCASE CONSTRAINT feed_name UNIQUE,
  uri        TEXT NOT NULL,                  -- of a NuGet v3 service index
  username   TEXT NOT NULL DEFAULT '',
  password   INTEGER CONSTRAINT feed_secret REFERENCES secret (id),
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  updated_by TEXT NOT NULL
) STRICT;
