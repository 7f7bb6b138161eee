-- +goose Up

-- When all targets were asked for their health last.
CREATE INDEX task_health_of_all ON task (id) WHERE kind = 'Health' AND target_id IS NULL;
