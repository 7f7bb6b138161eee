-- +goose Up

-- The archive looks for the end of a day, and what is streamed for its beginning.
CREATE INDEX event_by_time ON event (at);

-- Days of the ledger that stand in files audit/events-YYYY-MM-DD.jsonl of the space's folder.
CREATE TABLE event_archive (
  day        TEXT PRIMARY KEY,            -- YYYY-MM-DD in UTC
  last_id    INTEGER NOT NULL,            -- of the newest event in the file
  events     INTEGER NOT NULL,
  size       INTEGER NOT NULL,            -- bytes
  sha256     TEXT NOT NULL,               -- of the file, hex
  created_at TEXT NOT NULL,               -- when something was last added
  deleted_at TEXT                         -- the file is gone; NULL: it is there
) STRICT, WITHOUT ROWID;

-- Events up to here are in files and may be deleted from the ledger; no others ever.
CREATE TABLE event_horizon (
  id      INTEGER PRIMARY KEY CONSTRAINT event_horizon_one CHECK (id = 1),
  through INTEGER NOT NULL
) STRICT;
INSERT INTO event_horizon (id, through) VALUES (1, 0);

DROP TRIGGER event_no_delete;
-- +goose StatementBegin
CREATE TRIGGER event_no_delete BEFORE DELETE ON event WHEN OLD.id > (SELECT through FROM event_horizon WHERE id = 1)
BEGIN SELECT RAISE(ABORT, 'event is append-only: only what is archived may go'); END;
-- +goose StatementEnd
-- INSERT OR REPLACE would delete without asking the trigger above.
-- +goose StatementBegin
CREATE TRIGGER event_no_replace BEFORE INSERT ON event WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER event_horizon_rises BEFORE UPDATE ON event_horizon WHEN NEW.through < OLD.through OR NOT EXISTS (SELECT 1 FROM event_archive WHERE last_id = NEW.through)
BEGIN SELECT RAISE(ABORT, 'the horizon only rises, to the end of an archive'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER event_horizon_stays BEFORE DELETE ON event_horizon
BEGIN SELECT RAISE(ABORT, 'the horizon stays'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER event_horizon_no_replace BEFORE INSERT ON event_horizon WHEN EXISTS (SELECT 1 FROM event_horizon)
BEGIN SELECT RAISE(ABORT, 'there is one horizon'); END;
-- +goose StatementEnd
