package api

import (
	"time"

	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
)

type phaseResource struct {
	ID                                 string          `json:"Id"`
	Name                               string          `json:"Name"`
	Progress                           string          `json:"Progress"`
	Blocked                            bool            `json:"Blocked"`
	Deployments                        []phaseTask     `json:"Deployments"`
	AutomaticDeploymentTargets         []string        `json:"AutomaticDeploymentTargets"`
	OptionalDeploymentTargets          []string        `json:"OptionalDeploymentTargets"`
	MinimumEnvironmentsBeforePromotion int             `json:"MinimumEnvironmentsBeforePromotion"`
	IsOptionalPhase                    bool            `json:"IsOptionalPhase"`
	IsPriorityPhase                    bool            `json:"IsPriorityPhase"`
	Reason                             string          `json:"Reason,omitempty"`       // ours: why it is blocked, a sentence
	RemoteSpaces                       []spaceProgress `json:"RemoteSpaces,omitempty"` // ours
}

type phaseTask struct {
	Task       taskResource       `json:"Task"`
	Deployment deploymentResource `json:"Deployment"`
}

type spaceProgress struct {
	ID   string `json:"Id"`
	Name string `json:"Name"`
}

type lifecycleProgression struct {
	Phases                         []phaseResource `json:"Phases"`
	NextDeployments                []string        `json:"NextDeployments"`
	NextDeploymentsMinimumRequired int             `json:"NextDeploymentsMinimumRequired"`
	Links                          links           `json:"Links"`
}

// releaseProgression says for each phase how far the release is, and where it may go.
func releaseProgression(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (lifecycleProgression, error) {
		release, err := r.release(tx)
		if err != nil {
			return lifecycleProgression{}, err
		}
		progress, err := tx.Progress(release)
		if err != nil {
			return lifecycleProgression{}, err
		}
		past, err := tx.Deployments(spaces.DeploymentFilter{Release: release.ID, Take: spaces.MaxTake})
		if err != nil && errs.KindOf(err) != errs.Denied {
			return lifecycleProgression{}, err
		}
		out := lifecycleProgression{Phases: []phaseResource{}, NextDeployments: []string{}, Links: links{"Self": r.in("releases", release.ID.String(), "progression")}}
		for _, p := range progress.Phases {
			phase := phaseResource{ID: p.ID, Name: p.Name, Progress: string(p.State), Blocked: !p.Open && p.State != deploy.PhaseComplete, Reason: p.Why, IsOptionalPhase: p.Optional, IsPriorityPhase: p.Priority,
				Deployments: []phaseTask{}, AutomaticDeploymentTargets: []string{}, OptionalDeploymentTargets: []string{}}
			for _, e := range p.Environments {
				if e.Automatic {
					phase.AutomaticDeploymentTargets = append(phase.AutomaticDeploymentTargets, e.ID)
				} else {
					phase.OptionalDeploymentTargets = append(phase.OptionalDeploymentTargets, e.ID)
				}
				for _, d := range past.Items {
					if d.EnvironmentID.String() != e.ID {
						continue
					}
					t, err := tx.Task(d.TaskID)
					if err != nil {
						continue // not for the caller to see
					}
					phase.Deployments = append(phase.Deployments, phaseTask{r.taskResource(t), r.deploymentResource(tx, d)})
				}
			}
			for _, s := range p.Spaces {
				phase.RemoteSpaces = append(phase.RemoteSpaces, spaceProgress{s.ID, s.Name})
			}
			out.Phases = append(out.Phases, phase)
		}
		for _, e := range progress.Next() {
			out.NextDeployments = append(out.NextDeployments, e.ID)
		}
		return out, nil
	})
}

// dashboardItem is a deployment as dashboards and progressions show it.
type dashboardItem struct {
	ID                       string     `json:"Id"`
	ProjectID                string     `json:"ProjectId"`
	EnvironmentID            string     `json:"EnvironmentId"`
	ReleaseID                string     `json:"ReleaseId"`
	DeploymentID             string     `json:"DeploymentId"`
	TaskID                   string     `json:"TaskId"`
	TenantID                 *string    `json:"TenantId"`
	ChannelID                string     `json:"ChannelId"`
	ReleaseVersion           string     `json:"ReleaseVersion"`
	Created                  time.Time  `json:"Created"`
	QueueTime                *time.Time `json:"QueueTime"`
	StartTime                *time.Time `json:"StartTime"`
	CompletedTime            *time.Time `json:"CompletedTime"`
	State                    string     `json:"State"`
	Duration                 string     `json:"Duration"`
	ErrorMessage             string     `json:"ErrorMessage"`
	IsCurrent                bool       `json:"IsCurrent"`
	IsPrevious               bool       `json:"IsPrevious"`
	IsCompleted              bool       `json:"IsCompleted"`
	HasPendingInterruptions  bool       `json:"HasPendingInterruptions"`
	HasWarningsOrErrors      bool       `json:"HasWarningsOrErrors"`
	HasPendingPreconditions  bool       `json:"HasPendingPreconditions"`
	PendingInterruptionTypes []string   `json:"PendingInterruptionTypes"`
	PendingPreconditionTypes []string   `json:"PendingPreconditionTypes"`
	Links                    links      `json:"Links"`
}

func (r *request) dashboardLinks(d spaces.DeploymentID, release spaces.ReleaseID, task spaces.TaskID) links {
	return links{"Self": r.in("deployments", d.String()), "Release": r.in("releases", release.String()), "Task": r.in("tasks", task.String())}
}

// itemOf is a deployment of a version. A task that the caller may not see leaves the
// state out.
func (r *request) itemOf(tx *spaces.ReadTx, d spaces.Deployment, version string) dashboardItem {
	out := dashboardItem{ID: d.ID.String(), ProjectID: d.ProjectID.String(), EnvironmentID: d.EnvironmentID.String(), ReleaseID: d.ReleaseID.String(), DeploymentID: d.ID.String(), TaskID: d.TaskID.String(), ChannelID: d.ChannelID.String(),
		ReleaseVersion: version, Created: d.CreatedAt, PendingInterruptionTypes: []string{}, PendingPreconditionTypes: []string{}, Links: r.dashboardLinks(d.ID, d.ReleaseID, d.TaskID)}
	t, err := tx.Task(d.TaskID)
	if err != nil {
		return out
	}
	out.QueueTime, out.StartTime, out.CompletedTime, out.State, out.Duration, out.ErrorMessage = timeOrNil(t.QueueTime), t.StartTime, t.CompletedTime, string(t.State), durationOf(t), t.ErrorMessage
	out.IsCompleted, out.HasPendingInterruptions, out.HasWarningsOrErrors = t.State.Finished(), t.HasPendingInterruptions, t.HasWarningsOrErrors
	return out
}

type releaseProgress struct {
	Release              releaseResource            `json:"Release"`
	Channel              channelResource            `json:"Channel"`
	Deployments          map[string][]dashboardItem `json:"Deployments"`
	NextDeployments      []string                   `json:"NextDeployments"`
	HasUnresolvedDefect  bool                       `json:"HasUnresolvedDefect"`
	ReleaseRetentionDays *int                       `json:"ReleaseRetentionPeriod"`
}

type progressionResource struct {
	Environments          []named            `json:"Environments"`
	LifecycleEnvironments map[string][]named `json:"LifecycleEnvironments"`
	ChannelEnvironments   map[string][]named `json:"ChannelEnvironments"`
	Releases              []releaseProgress  `json:"Releases"`
	Links                 links              `json:"Links"`
}

// projectProgression is the newest releases of a project with all their deployments.
func projectProgression(r *request) error {
	return show(r, func(tx *spaces.ReadTx) (progressionResource, error) {
		out := progressionResource{Environments: []named{}, LifecycleEnvironments: map[string][]named{}, ChannelEnvironments: map[string][]named{}, Releases: []releaseProgress{}}
		p, err := tx.ProjectBy(r.param("project"))
		if err != nil {
			return out, err
		}
		out.Links = links{"Self": r.in("projects", p.ID.String(), "progression")}
		environments, err := tx.Environments(spaces.All)
		if err != nil {
			return out, err
		}
		channels, err := tx.Channels(p.ID, spaces.All)
		if err != nil {
			return out, err
		}
		byChannel := map[spaces.ChannelID]channelResource{}
		seen := map[string]bool{}
		for _, c := range channels.Items {
			byChannel[c.ID] = r.channelResource(c)
			id := p.LifecycleID
			if c.LifecycleID != 0 {
				id = c.LifecycleID
			}
			way, err := wayOf(tx, id, environments.Items)
			if err != nil {
				return out, err
			}
			out.LifecycleEnvironments[id.String()], out.ChannelEnvironments[c.ID.String()] = way, way
			for _, e := range way {
				seen[e.ID] = true
			}
		}
		for _, e := range environments.Items {
			if seen[e.ID.String()] {
				out.Environments = append(out.Environments, named{e.ID.String(), e.Name})
			}
		}
		releases, err := tx.Releases(spaces.ReleaseFilter{Project: p.ID, Take: min(max(r.number("releaseHistoryCount"), 3), 100)})
		if err != nil {
			return out, err
		}
		if err := tx.FillPackages(releases.Items); err != nil {
			return out, err
		}
		for _, release := range releases.Items {
			one := releaseProgress{Release: r.releaseResource(release), Channel: byChannel[release.ChannelID], Deployments: map[string][]dashboardItem{}, NextDeployments: []string{}}
			progress, err := tx.Progress(release)
			if err != nil {
				return out, err
			}
			for _, e := range progress.Next() {
				one.NextDeployments = append(one.NextDeployments, e.ID)
			}
			past, err := tx.Deployments(spaces.DeploymentFilter{Release: release.ID, Take: spaces.MaxTake})
			if err != nil && errs.KindOf(err) != errs.Denied {
				return out, err
			}
			for _, d := range past.Items {
				item := r.itemOf(tx, d, release.Version)
				item.IsCurrent = len(one.Deployments[item.EnvironmentID]) == 0
				one.Deployments[item.EnvironmentID] = append(one.Deployments[item.EnvironmentID], item)
			}
			out.Releases = append(out.Releases, one)
		}
		return out, nil
	})
}

// wayOf lists the environments of a lifecycle in the order of its phases.
func wayOf(tx *spaces.ReadTx, id spaces.LifecycleID, all []spaces.Environment) ([]named, error) {
	l, err := tx.Lifecycle(id)
	out := []named{}
	if errs.KindOf(err) == errs.Denied {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	in := deploy.ProgressionInput{Lifecycle: &l.Lifecycle, SpaceNames: map[string]string{}}
	for _, e := range all {
		in.Environments = append(in.Environments, deploy.Environment{ID: e.ID.String(), Name: e.Name})
	}
	for _, phase := range deploy.Progression(in).Phases {
		for _, e := range phase.Environments {
			out = append(out, named{e.ID, e.Name})
		}
	}
	return out, nil
}
