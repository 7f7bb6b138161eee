-- +goose Up

-- Keys of the space, each wrapped by the master key. version counts rotations. old_key is
-- there while values are left that were sealed with it. first_key is what the salts of
-- commitments are derived from, which must not change; NULL: wrapped_key.
ALTER TABLE space_meta ADD COLUMN key_version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE space_meta ADD COLUMN key_made_at TEXT NOT NULL DEFAULT '';
ALTER TABLE space_meta ADD COLUMN old_key BLOB;
ALTER TABLE space_meta ADD COLUMN first_key BLOB;
