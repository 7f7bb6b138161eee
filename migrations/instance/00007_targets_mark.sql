-- +goose Up

-- A space with targets has the mark "targets". Of what is there nothing is known: each
-- is opened once, within the interval of health checks, which puts its marks right.
INSERT INTO space_mark (mark, space_id) SELECT 'targets', id FROM space;
