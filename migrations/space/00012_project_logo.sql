-- +goose Up

-- A small picture of a project. Its digest stands with the project, so that pages know
-- without another question whether there is one.
ALTER TABLE project ADD COLUMN logo TEXT NOT NULL DEFAULT '';
CREATE TABLE project_logo (
  project_id INTEGER PRIMARY KEY CONSTRAINT project_logo_project REFERENCES project (id) ON DELETE CASCADE,
  kind       TEXT NOT NULL, -- media type
  bytes      BLOB NOT NULL
) STRICT;
