-- +goose Up

-- Ids of tasks, by the space that they were given to.
CREATE TABLE task_number (
  first    INTEGER PRIMARY KEY,
  last     INTEGER NOT NULL,
  space_id INTEGER NOT NULL
) STRICT;
