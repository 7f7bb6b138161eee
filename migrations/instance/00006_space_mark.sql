-- +goose Up

-- What a space has to do without being asked, so that a starting server opens only those:
-- "work", "links", and "agent/" with the thumbprint of a polling agent.
CREATE TABLE space_mark (
  mark     TEXT NOT NULL,
  space_id INTEGER NOT NULL CONSTRAINT space_mark_space REFERENCES space (id) ON DELETE CASCADE,
  PRIMARY KEY (mark, space_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX space_mark_by_space ON space_mark (space_id);

-- Of what is there nothing is known: each is opened once, which puts its marks right.
INSERT INTO space_mark (mark, space_id) SELECT 'work', id FROM space;
