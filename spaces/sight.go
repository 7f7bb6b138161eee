package spaces

import (
	"errors"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/errs"
)

// sight tells for what of a list the actor has a permission. It asks once for each
// project, not for each row. A project or environment of 0 is none.
type sight struct {
	tx     *ReadTx
	p      access.Permission
	all    bool
	groups map[ProjectID]string // ids of the groups that projects are in
}

// sight needs the permission for something.
func (tx *ReadTx) sight(p access.Permission) (*sight, error) {
	if err := tx.require(p, access.Scope{}); err != nil {
		return nil, err
	}
	return &sight{tx: tx, p: p, all: tx.Actor.System || tx.Actor.Permissions.Everywhere(p), groups: map[ProjectID]string{}}, nil
}

func (s *sight) of(project ProjectID, environment EnvironmentID) (bool, error) {
	if s.all {
		return true, nil
	}
	scope := access.Scope{Project: project.String(), Environment: environment.String()}
	if project != 0 {
		var err error
		if scope.ProjectGroup, err = s.group(project); err != nil {
			return false, err
		}
	}
	return s.tx.Can(s.p, scope), nil
}

// group is the id of the group that a project is in; "" of one that is gone.
func (s *sight) group(project ProjectID) (string, error) {
	group, known := s.groups[project]
	if !known {
		p, err := s.tx.project(project)
		if err != nil && errs.KindOf(err) != errs.NotFound {
			return "", err
		}
		if err == nil {
			group = p.GroupID.String()
		}
		s.groups[project] = group
	}
	return group, nil
}

// seen keeps the rows of a list that are in sight.
func seen[T any](s *sight, rows []T, where func(T) (ProjectID, EnvironmentID)) ([]T, error) {
	kept := rows[:0]
	var faults []error
	for _, r := range rows {
		ok, err := s.of(where(r))
		if ok {
			kept = append(kept, r)
		}
		faults = append(faults, err)
	}
	return kept, errors.Join(faults...)
}
