-- +goose Up

-- With which token a target registered itself: whoever made the token watches for it.
ALTER TABLE target ADD COLUMN registration_id INTEGER CONSTRAINT target_registered_with REFERENCES target_registration (id) ON DELETE SET NULL;
CREATE INDEX target_by_registration ON target (registration_id) WHERE registration_id IS NOT NULL;
