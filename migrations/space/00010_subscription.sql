-- +goose Up

-- Events that people asked to be told of. How far a subscription is stands in cursor, as
-- "subscription/" and its id.
CREATE TABLE subscription (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  name          TEXT NOT NULL COLLATE NOCASE CONSTRAINT subscription_name UNIQUE,
  is_disabled   INTEGER NOT NULL DEFAULT 0,
  body          TEXT NOT NULL,               -- JSON: filter and web hook
  header_secret INTEGER CONSTRAINT subscription_secret REFERENCES secret (id), -- value of the header
  sent_at       TEXT,                        -- when an event was last received
  failing       TEXT NOT NULL DEFAULT '',    -- why the last try failed
  failing_since TEXT,
  created_at    TEXT NOT NULL,
  updated_at    TEXT NOT NULL,
  updated_by    TEXT NOT NULL
) STRICT;
