package spaces

import (
	"maps"
	"slices"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/steps"
	"octopuses.dev/octopuses/spaces/variables"
)

// CloneProject makes a project with the settings, the channels, the process and the
// variables of another one, secrets included. What in leaves empty is taken over. It
// needs ProjectCreate, and to see all that is copied.
func (tx *Tx) CloneProject(source ProjectID, in ProjectInput) (Project, error) {
	from, err := tx.ownProject(source)
	if err != nil {
		return Project{}, err
	}
	for _, p := range []access.Permission{access.ProcessView, access.VariableView, access.VariableViewUnscoped} {
		if err := tx.require(p, from.scope()); err != nil {
			return Project{}, err
		}
	}
	if in.GroupID == 0 {
		in.GroupID = from.GroupID
	}
	if in.LifecycleID == 0 {
		in.LifecycleID = from.LifecycleID
	}
	in.Settings = from.Settings
	in.Settings.ClonedFromProjectID = from.ID.String()
	made, err := tx.CreateProject(in)
	if err != nil {
		return Project{}, err
	}
	channels, err := tx.cloneChannels(from, made)
	if err != nil {
		return Project{}, err
	}
	process, _, err := documentAs[steps.Process](tx.ReadTx, from.process)
	if err != nil {
		return Project{}, err
	}
	for i := range process.Steps {
		for j := range process.Steps[i].Actions {
			a := &process.Steps[i].Actions[j]
			a.Channels = renamed(a.Channels, channels)
		}
	}
	refs, err := tx.processRefs(&process)
	if err != nil {
		return Project{}, err
	}
	if _, err := tx.saveDocument(made.process, kindProcess, 0, process, refs); err != nil {
		return Project{}, err
	}
	vars, _, err := documentAs[variables.Set](tx.ReadTx, from.variables)
	if err != nil {
		return Project{}, err
	}
	for i := range vars.Variables {
		v := &vars.Variables[i]
		if !tx.mayTouchVariable(from, access.VariableView, access.VariableViewUnscoped, *v) {
			return Project{}, access.Missing(access.VariableView)
		}
		v.Scope = maps.Clone(v.Scope)
		if ids := v.Scope[variables.Channel]; len(ids) > 0 {
			v.Scope[variables.Channel] = renamed(ids, channels)
		}
	}
	vrefs, err := tx.variableRefs(&vars)
	if err != nil {
		return Project{}, err
	}
	if _, err := tx.saveDocument(made.variables, kindVariables, 0, vars, vrefs); err != nil {
		return Project{}, err
	}
	tx.record(Event{Category: "Modified", Entity: "project", EntityID: made.ID.String(), ProjectID: made.ID, Message: "Project " + made.Name + " was cloned from " + from.Name})
	return tx.project(made.ID)
}

// cloneChannels gives the new project the channels of the old one, and returns the new
// id of each.
func (tx *Tx) cloneChannels(from, to Project) (map[string]string, error) {
	out := map[string]string{}
	all, err := tx.Channels(from.ID, All)
	if err != nil {
		return nil, err
	}
	first, err := tx.DefaultChannel(to.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range all.Items {
		in := ChannelInput{Name: c.Name, Slug: c.Slug, Description: c.Description, LifecycleID: c.LifecycleID, IsDefault: c.IsDefault, Rules: slices.Clone(c.Rules)}
		var made Channel
		if c.IsDefault {
			made, err = tx.UpdateChannel(first.ID, in)
		} else {
			made, err = tx.createChannel(to.ID, in)
		}
		if err != nil {
			return nil, err
		}
		out[c.ID.String()] = made.ID.String()
	}
	return out, nil
}

func renamed(ids []string, to map[string]string) []string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		if n, ok := to[id]; ok {
			id = n
		}
		out = append(out, id)
	}
	return out
}
