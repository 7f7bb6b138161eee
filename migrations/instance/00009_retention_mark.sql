-- +goose Up

-- A space with releases and a retention policy that does not keep all has the mark
-- "retention". Of what is there nothing is known: each is opened once, within the interval
-- of retention, which puts its marks right.
INSERT INTO space_mark (mark, space_id) SELECT 'retention', id FROM space;
