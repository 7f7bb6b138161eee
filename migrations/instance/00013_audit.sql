-- +goose Up

CREATE INDEX event_by_time ON event (at);
CREATE INDEX event_by_category ON event (category, id);

-- How far readers of the server's own events have come.
CREATE TABLE cursor (
  name     TEXT PRIMARY KEY,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- As in the file of a space: the server's own events in files of the data folder.
CREATE TABLE event_archive (
  day        TEXT PRIMARY KEY,
  last_id    INTEGER NOT NULL,
  events     INTEGER NOT NULL,
  size       INTEGER NOT NULL,
  sha256     TEXT NOT NULL,
  created_at TEXT NOT NULL,
  deleted_at TEXT
) STRICT, WITHOUT ROWID;

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

-- A space with events has the mark "archive/" with the day of the oldest. Of what is there
-- nothing is known: each is opened once by the archive, which puts its marks right.
INSERT INTO space_mark (mark, space_id) SELECT 'archive/', id FROM space;
