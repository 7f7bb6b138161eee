package spacetest

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"octopuses.dev/octopuses/migrations"
	"octopuses.dev/octopuses/spaces"
)

// Size is how much [Fill] puts into a space. Deployments is a multiple of Projects times
// Environments.
type Size struct{ Projects, Environments, Deployments int }

// Fill makes projects, each with a release, and finished deployments of them to all
// environments, as the years would. Rows without rules go in by SQL: a million of them
// takes some 15 s.
func Fill(t testing.TB, s *spaces.Space, size Size) {
	t.Helper()
	ctx := context.Background()
	err := spaces.Do(ctx, s, spaces.Server(), func(tx *spaces.Tx) error {
		for i := range size.Environments {
			if _, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: fmt.Sprintf("Environment %02d", i)}); err != nil {
				return err
			}
		}
		for i := range size.Projects {
			p, err := tx.CreateProject(spaces.ProjectInput{Name: fmt.Sprintf("Project %04d", i)})
			if err != nil {
				return err
			}
			if _, err := tx.CreateRelease(spaces.ReleaseInput{Project: p.ID, Version: fmt.Sprintf("1.0.%d", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db, err := migrations.Open(filepath.Join(s.Dir(), spaces.FileName), false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	const at = `'2026-01-02T03:04:05.000Z'`
	for _, q := range []string{
		`PRAGMA synchronous = OFF`,
		`BEGIN`,
		`CREATE TEMP TABLE cell AS SELECT row_number() OVER () - 1 AS n, r.id AS release_id, r.project_id, r.channel_id, r.version, e.id AS environment_id FROM release r CROSS JOIN environment e`,
		`CREATE UNIQUE INDEX temp.cell_n ON cell (n)`,
		fmt.Sprintf(`WITH RECURSIVE i (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM i WHERE v < %d)
			INSERT INTO task (id, ulid, kind, description, state, project_id, environment_id, queue_at, started_at, completed_at, updated_at, created_at, created_by)
			SELECT v, printf('T%%025d', v), 'Deploy', 'Deploy', 'Success', c.project_id, c.environment_id, %[2]s, %[2]s, %[2]s, %[2]s, %[2]s, 'ada' FROM i JOIN cell c ON c.n = (v - 1) %% (SELECT count(*) FROM cell)`, size.Deployments, at),
		`INSERT INTO deployment (id, ulid, project_id, release_id, environment_id, channel_id, task_id, attempt, created_at, created_by, created_by_id)
			SELECT t.id, printf('D%025d', t.id), c.project_id, c.release_id, c.environment_id, c.channel_id, t.id, 1, t.created_at, 'ada', 'Users-1' FROM task t JOIN cell c ON c.n = (t.id - 1) % (SELECT count(*) FROM cell)`,
		`INSERT INTO current_deployment (project_id, environment_id, deployment_id, release_id, task_id, version, state, has_warnings, has_pending, created_at, completed_at, succeeded_deployment_id, succeeded_release_id, succeeded_version)
			SELECT c.project_id, c.environment_id, d.id, c.release_id, d.id, c.version, 'Success', 0, 0, d.created_at, d.created_at, d.id, c.release_id, c.version
			FROM cell c JOIN deployment d ON d.id = c.n + 1 + (SELECT max(id) FROM deployment) - (SELECT count(*) FROM cell)`,
		`DROP TABLE cell`,
		`COMMIT`,
		`PRAGMA wal_checkpoint(TRUNCATE)`,
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}
