-- +goose Up

-- Names of the variable templates of the release that have no default, a JSON array, and
-- how many of them had no value in this space when that was last worked out.
ALTER TABLE inbound ADD COLUMN asks TEXT NOT NULL DEFAULT '[]';
ALTER TABLE inbound ADD COLUMN lacks INTEGER NOT NULL DEFAULT 0;
-- Who brought it as a file, as an actor's id; '' when it came over the link.
ALTER TABLE inbound ADD COLUMN imported_by TEXT NOT NULL DEFAULT '';

-- How many people must have approved a release from there before another accepts it.
ALTER TABLE zone_link ADD COLUMN approvals INTEGER NOT NULL DEFAULT 0;

CREATE TABLE inbound_approval (
  inbound_id  INTEGER NOT NULL CONSTRAINT approval_inbound REFERENCES inbound (id) ON DELETE CASCADE,
  actor_id    TEXT NOT NULL,
  name        TEXT NOT NULL,
  core_digest TEXT NOT NULL,
  message     TEXT NOT NULL,                 -- digest of the message that was looked at
  comment     TEXT NOT NULL,
  at          TEXT NOT NULL,
  PRIMARY KEY (inbound_id, actor_id)
) STRICT, WITHOUT ROWID;

-- Releases that the space of a link has withdrawn. Allowed ones may be deployed here all
-- the same.
CREATE TABLE zone_recall (
  link_id      INTEGER NOT NULL CONSTRAINT recall_link REFERENCES zone_link (id),
  release_ulid TEXT NOT NULL,
  core_digest  TEXT NOT NULL,
  reason       TEXT NOT NULL,
  at           TEXT NOT NULL,
  allowed_at   TEXT,
  allowed_by   TEXT NOT NULL DEFAULT '',
  allowed_why  TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (link_id, release_ulid)
) STRICT, WITHOUT ROWID;
CREATE INDEX recall_release ON zone_recall (release_ulid);

-- Our own recalls: why, when and by whom.
ALTER TABLE promotion ADD COLUMN recall_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE promotion ADD COLUMN recalled_at TEXT;
ALTER TABLE promotion ADD COLUMN recalled_by TEXT NOT NULL DEFAULT '';
