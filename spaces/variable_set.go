package spaces

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/access"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/deploy"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/variables"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// VariableSet is a project's variables with their version, as clients edit them.
// Sensitive values are never in it.
type VariableSet struct {
	variables.Set
	ProjectID ProjectID
	Version   int64
	UpdatedAt time.Time
	UpdatedBy string
}

// VariableSetID is the API id of a project's variables.
func VariableSetID(p ProjectID) string { return "variableset-" + p.String() }

// mayTouchVariable checks a permission for the environments to which a value is
// scoped; a value without one needs the permission for unscoped values too.
func (tx *ReadTx) mayTouchVariable(p Project, permission, unscoped access.Permission, v variables.Variable) bool {
	environments := v.Scope[variables.Environment]
	if len(environments) == 0 {
		return tx.Can(permission, p.scope()) && tx.Can(unscoped, p.scope())
	}
	return !slices.ContainsFunc(environments, func(e string) bool {
		scope := p.scope()
		scope.Environment = e
		return !tx.Can(permission, scope)
	})
}

// Variables returns the variables of a project, as far as the actor may see them.
// It needs VariableView. Those of a remote project are the local values.
func (tx *ReadTx) Variables(project ProjectID) (VariableSet, error) {
	p, err := tx.Project(project)
	if err != nil {
		return VariableSet{}, err
	}
	if err := tx.require(access.VariableView, p.scope()); err != nil {
		return VariableSet{}, err
	}
	stored, doc, err := documentAs[variables.Set](tx, p.variables)
	if err != nil {
		return VariableSet{}, err
	}
	out := VariableSet{ProjectID: project, Version: doc.Version, UpdatedAt: doc.UpdatedAt, UpdatedBy: doc.UpdatedBy}
	out.Variables = []variables.Variable{}
	for _, v := range stored.Variables {
		if tx.mayTouchVariable(p, access.VariableView, access.VariableViewUnscoped, v) {
			v.Secret = 0
			out.Variables = append(out.Variables, v)
		}
	}
	return out, nil
}

// SaveVariables stores the whole set. version is the one that the editor saw. A
// sensitive value that is sent as null keeps what it is. Values that the actor may
// not see stay as they are. It needs VariableEdit for each value that changes.
// Errors: [errs.Invalid] with fields such as Variables[3].Name, [errs.Stale].
func (tx *Tx) SaveVariables(project ProjectID, version int64, in variables.Set) (VariableSet, error) {
	p, err := tx.Project(project)
	if err != nil {
		return VariableSet{}, err
	}
	if err := tx.require(access.VariableEdit, p.scope()); err != nil {
		return VariableSet{}, err
	}
	old, _, err := documentAs[variables.Set](tx.ReadTx, p.variables)
	if err != nil {
		return VariableSet{}, err
	}
	in = variables.Set{Variables: slices.Clone(in.Variables)}
	for i := range in.Variables {
		in.Variables[i].Secret = 0 // a client cannot name a secret
	}
	in.Normalize(tx.phaseID())
	if err := in.Validate(); err != nil {
		return VariableSet{}, err
	}
	byID := map[string]variables.Variable{}
	for _, v := range old.Variables {
		byID[v.ID] = v
	}
	kept := map[string]bool{}
	var what []Change
	for i := range in.Variables {
		v := &in.Variables[i]
		before, had := byID[v.ID]
		kept[v.ID] = had
		if had && !tx.mayTouchVariable(p, access.VariableView, access.VariableViewUnscoped, before) {
			return VariableSet{}, access.Missing(access.VariableView)
		}
		replaced := false
		if v.IsSensitive {
			switch {
			case v.Value != nil && (*v.Value != "" || !had):
				id, err := tx.putSecret(*v.Value)
				if err != nil {
					return VariableSet{}, err
				}
				v.Secret, replaced = int64(id), true
			case had && before.IsSensitive:
				v.Secret = before.Secret
			case had && before.Value != nil:
				id, err := tx.putSecret(*before.Value) // a plain value becomes sensitive
				if err != nil {
					return VariableSet{}, err
				}
				v.Secret, replaced = int64(id), true
			}
			v.Value = nil
		}
		if had && !replaced && sameVariable(before, *v) {
			continue
		}
		if !tx.mayTouchVariable(p, access.VariableEdit, access.VariableEditUnscoped, *v) || had && !tx.mayTouchVariable(p, access.VariableEdit, access.VariableEditUnscoped, before) {
			return VariableSet{}, access.Missing(access.VariableEdit)
		}
		what = append(what, variableChanges(before, *v, had, replaced)...)
	}
	for _, v := range old.Variables {
		if kept[v.ID] {
			continue
		}
		if !tx.mayTouchVariable(p, access.VariableView, access.VariableViewUnscoped, v) {
			in.Variables = append(in.Variables, v) // unseen by the editor, so not deleted by it
			continue
		}
		if !tx.mayTouchVariable(p, access.VariableEdit, access.VariableEditUnscoped, v) {
			return VariableSet{}, access.Missing(access.VariableEdit)
		}
		what = append(what, Change{Field: variableField(v), Before: plainValue(v), Secret: v.IsSensitive})
	}
	if err := in.CheckCycles(); err != nil {
		return VariableSet{}, err
	}
	refs, err := tx.variableRefs(&in)
	if err != nil {
		return VariableSet{}, err
	}
	if _, err := tx.saveDocument(p.variables, kindVariables, version, in, refs); err != nil {
		return VariableSet{}, err
	}
	tx.record(Event{Category: "Modified", Entity: "variables", EntityID: VariableSetID(project), ProjectID: project, Message: fmt.Sprintf("Variables of %s were changed", p.Name), Changes: what})
	tx.changed("project/" + project.String())
	if p.IsRemote() {
		if err := tx.valuesChanged(p); err != nil {
			return VariableSet{}, err
		}
	}
	return tx.Variables(project)
}

// variableField names a value in the audit: its variable and where it holds.
func variableField(v variables.Variable) string {
	return strings.TrimSpace(v.Name + " " + v.Scope.String())
}

// variableChanges is what the audit tells of a value that was added, or edited if there
// was one before. replaced says that a secret was.
func variableChanges(before, after variables.Variable, had, replaced bool) []Change {
	field := variableField(after)
	var out []Change
	switch x, y := plainValue(before), plainValue(after); {
	case !had || before.IsSensitive != after.IsSensitive || replaced:
		if before.IsSensitive || after.IsSensitive {
			out = append(out, Change{Field: field, Secret: true})
		} else {
			out = append(out, Change{Field: field, After: y})
		}
	case x != y:
		out = append(out, Change{Field: field, Before: x, After: y})
	}
	if had {
		rest := func(v variables.Variable) map[string]any {
			return map[string]any{"Name": v.Name, "Description": v.Description, "Type": v.Type, "IsEditable": v.IsEditable, "Scope": v.Scope, "Prompt": v.Prompt}
		}
		out = append(out, audit.Compare(field, rest(before), rest(after))...)
	}
	return out
}

func plainValue(v variables.Variable) string {
	if v.Value == nil || v.IsSensitive {
		return ""
	}
	return *v.Value
}

func sameVariable(a, b variables.Variable) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func (tx *ReadTx) variableRefs(in *variables.Set) ([]docRef, error) {
	var c errs.Check
	var out []docRef
	for _, r := range in.Refs() {
		ref := docRef{path: r.Path}
		ok := true
		switch r.Dimension {
		case variables.Environment:
			var n int64
			n, ok = cutID(prefixEnvironment, r.ID)
			ref.environment = EnvironmentID(n)
		case variables.Machine:
			var n int64
			n, ok = cutID(prefixTarget, r.ID)
			ref.target = TargetID(n)
		case variables.Channel:
			var n int64
			n, ok = cutID(prefixChannel, r.ID)
			ref.channel = ChannelID(n)
		default:
			continue
		}
		c.Require(ok, r.Path, "'%s' is nothing of this space.", r.ID)
		out = append(out, ref)
	}
	return out, c.Err()
}

// TemplateValue is a variable template and where its value for an environment
// comes from.
type TemplateValue struct {
	Template VariableTemplate
	Set      bool   // a value is set for this environment
	Value    string // "" for a sensitive one
}

// Missing reports whether a deployment needs a value that is not set.
func (v TemplateValue) Missing() bool { return !v.Set && v.Template.IsMandatory() }

// TemplateValues lists the templates of a release and what is set for them in an
// environment.
func (tx *ReadTx) TemplateValues(p Project, r Release, e EnvironmentID) ([]TemplateValue, error) {
	if len(r.Templates) == 0 {
		return nil, nil
	}
	sources, err := tx.variableSources(p, r)
	if err != nil {
		return nil, err
	}
	resolved := variables.Resolve(sources, variables.Context{Environment: e.String(), Channel: r.ChannelID.String()})
	out := make([]TemplateValue, 0, len(r.Templates))
	for _, t := range r.Templates {
		v := TemplateValue{Template: t}
		if w, ok := resolved.Winner(t.Name); ok {
			v.Set = true
			v.Value = plainValue(w)
		}
		out = append(out, v)
	}
	return out, nil
}

// SetTemplateValues sets the values of templates for one environment, as the form of
// a review does. Empty texts leave what is set. It needs VariableEdit there.
func (tx *Tx) SetTemplateValues(project ProjectID, e EnvironmentID, templates []VariableTemplate, values map[string]string) error {
	p, err := tx.Project(project)
	if err != nil {
		return err
	}
	stored, doc, err := documentAs[variables.Set](tx.ReadTx, p.variables)
	if err != nil {
		return err
	}
	set := variables.Set{Variables: slices.Clone(stored.Variables)}
	for _, t := range templates {
		value, given := values[t.Name]
		if !given || value == "" {
			continue
		}
		v := variables.Variable{Name: t.Name, Description: t.HelpText, IsSensitive: t.IsSensitive(), Scope: variables.Scope{variables.Environment: {e.String()}}, Value: &value}
		i := slices.IndexFunc(set.Variables, func(o variables.Variable) bool {
			return strings.EqualFold(o.Name, t.Name) && o.Scope.String() == v.Scope.String()
		})
		if i >= 0 {
			v.ID = set.Variables[i].ID
			set.Variables[i] = v
		} else {
			set.Variables = append(set.Variables, v)
		}
	}
	_, err = tx.SaveVariables(project, doc.Version, set)
	return err
}

// variableSources are the documents of a release in the order of their ranks: for a
// remote project the values that came with it, and above them the local ones, which
// stand for templates and for what the source marked as overridable.
func (tx *ReadTx) variableSources(p Project, r Release) ([]variables.Source, error) {
	frozen, err := tx.ReleaseVariables(r)
	if err != nil {
		return nil, err
	}
	defaults := variables.Set{}
	for _, t := range r.Templates {
		if t.DefaultValue != "" {
			value := t.DefaultValue
			defaults.Variables = append(defaults.Variables, variables.Variable{Name: t.Name, Value: &value, Type: "String"})
		}
	}
	sources := []variables.Source{{Name: "Template default", Rank: 0, Set: defaults}}
	if !p.IsRemote() {
		return append(sources, variables.Source{Name: "Project", Rank: 2, Set: frozen}), nil
	}
	local, _, err := documentAs[variables.Set](tx, p.variables)
	if err != nil {
		return nil, err
	}
	free := map[string]bool{}
	for _, t := range r.Templates {
		free[strings.ToLower(t.Name)] = true
	}
	bundled := map[string]bool{}
	for _, v := range frozen.Variables {
		name := strings.ToLower(v.Name)
		bundled[name] = true
		free[name] = free[name] || v.Overridable
	}
	var above variables.Set
	for _, v := range local.Variables {
		if name := strings.ToLower(v.Name); bundled[name] && !free[name] {
			continue // the bundled value wins, whatever the scope (Z99)
		}
		above.Variables = append(above.Variables, v)
	}
	return append(sources, variables.Source{Name: "Bundle", Rank: 1, Set: frozen}, variables.Source{Name: "Local", Rank: 2, Set: above}), nil
}

// deploymentDictionary holds the values of a release in an environment, for what is
// decided before a target is known. Secrets are not opened: nothing of a plan may
// depend on one.
func (tx *ReadTx) deploymentDictionary(p Project, r Release, e Environment) (*variables.Dictionary, error) {
	sources, err := tx.variableSources(p, r)
	if err != nil {
		return nil, err
	}
	d := variables.NewDictionary()
	d.Now = func() time.Time { return tx.Now }
	err = variables.Resolve(sources, variables.Context{Environment: e.ID.String(), Channel: r.ChannelID.String()}).Fill(d, func(int64) (string, error) { return "", nil })
	d.Set("Octopus.Environment.Name", e.Name, false)
	d.Set("Octopus.Project.Name", p.Name, false)
	d.Set("Octopus.Release.Number", r.Version, false)
	return d, err
}

// Compiler makes the work of a deployment for its targets. Every secret that it needs
// is opened now, so that it works outside of the transaction. It is for the runner.
func (tx *ReadTx) Compiler(w Work, serverURI string) (*deploy.Compiler, error) {
	sources, err := tx.variableSources(w.Project, w.Release)
	if err != nil {
		return nil, err
	}
	opened := map[int64]string{}
	open := func(ids []int64) error {
		for _, id := range ids {
			text, err := tx.OpenSecret(id)
			if err != nil {
				return err
			}
			opened[id] = text
		}
		return nil
	}
	for _, s := range sources {
		for _, v := range s.Set.Variables {
			if v.Secret == 0 {
				continue
			}
			if err := open([]int64{v.Secret}); errors.Is(err, errLost) {
				return nil, lostValue("'"+v.Name+"'", "the variables of '"+w.Project.Name+"'")
			} else if err != nil {
				return nil, err
			}
		}
	}
	for _, s := range w.Process.Secrets() {
		if err := open([]int64{s.Secret}); errors.Is(err, errLost) {
			return nil, lostValue("'"+s.Path+"'", "the process of '"+w.Project.Name+"'")
		} else if err != nil {
			return nil, err
		}
	}
	group, err := tx.projectGroup(w.Project.GroupID)
	if err != nil {
		return nil, err
	}
	base := "/spaces/" + tx.Space.Slug() + "/projects/" + w.Project.Slug
	facts := deploy.Facts{
		Space: deploy.Named{ID: tx.Space.ID(), Name: tx.Space.Name()}, ProjectGroup: deploy.Named{ID: group.ID.String(), Name: group.Name}, Project: deploy.Named{ID: w.Project.ID.String(), Name: w.Project.Name},
		Environment: deploy.Named{ID: w.Environment.ID.String(), Name: w.Environment.Name}, Channel: deploy.Named{ID: w.Channel.ID.String(), Name: w.Channel.Name}, Task: deploy.Named{ID: w.Task.ID.String(), Name: w.Task.Kind},
		EnvironmentSortOrder: w.Environment.SortOrder, Deployment: deploy.Named{ID: w.Deployment.ID.String(), Name: "Deploy to " + w.Environment.Name}, Comments: w.Deployment.Comments,
		Created: w.Deployment.CreatedAt, Queued: w.Task.QueueTime, CreatedBy: deploy.Person{ID: w.Deployment.CreatedByID, Username: w.Deployment.CreatedBy, DisplayName: w.Deployment.CreatedBy}, ServerURI: serverURI,
		ProjectPath: base, ReleasePath: base + "/releases/" + w.Release.Version, DeploymentPath: base + "/deployments/" + w.Deployment.ID.String(),
		SpecificMachines: w.Deployment.Options.SpecificMachineIDs, ExcludedMachines: w.Deployment.Options.ExcludedMachineIDs,
		Release: deploy.ReleaseFacts{ID: w.Release.ID.String(), Number: w.Release.Version, Notes: w.Release.Notes, Created: w.Release.AssembledAt},
	}
	return &deploy.Compiler{Plan: w.Plan, Process: &w.Process, Facts: facts, Sources: sources, Open: func(id int64) (string, error) {
		text, ok := opened[id]
		if !ok {
			return "", fmt.Errorf("secret %d was not opened", id)
		}
		return text, nil
	}}, nil
}

// OpenSecret opens a sealed value for the runner or for a promotion.
func (tx *ReadTx) OpenSecret(id int64) (string, error) {
	if !tx.Actor.System {
		return "", access.Missing(access.AdministerSystem)
	}
	return tx.secret(SecretID(id))
}

// PreviewVariables says what each name would be for an environment, a target and a
// step, and why. The text of a value is evaluated; sensitive ones are left out. It
// needs VariableView there.
func (tx *ReadTx) PreviewVariables(project ProjectID, ctx variables.Context) (*variables.Resolved, error) {
	set, err := tx.Variables(project)
	if err != nil {
		return nil, err
	}
	p, err := tx.project(project)
	if err != nil {
		return nil, err
	}
	if ctx.Environment != "" {
		scope := p.scope()
		scope.Environment = ctx.Environment
		if err := tx.require(access.VariableView, scope); err != nil {
			return nil, err
		}
	}
	if ctx.Machine != "" {
		id, err := ParseTargetID(ctx.Machine)
		if err != nil {
			return nil, err
		}
		t, err := tx.Target(id)
		if err != nil {
			return nil, err
		}
		ctx.Roles = t.Tags
	}
	return variables.Resolve([]variables.Source{{Name: "Project", Rank: 2, Set: set.Set}}, ctx), nil
}
