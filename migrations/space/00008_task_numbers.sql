-- +goose Up

-- Ids of tasks that this space was given by its server and has not used yet: from
-- task_next to task_last. Tasks are asked for without their space, so no two spaces of a
-- server may give the same id.
ALTER TABLE space_meta ADD COLUMN task_next INTEGER NOT NULL DEFAULT 1;
ALTER TABLE space_meta ADD COLUMN task_last INTEGER NOT NULL DEFAULT 0;
