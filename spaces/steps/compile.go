package steps

import (
	"fmt"
	"strconv"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
)

// Job is an action to be compiled for one target.
type Job struct {
	Step    *Step
	Action  *Action
	Package *execution.Package // the version that the release chose; nil for a script
	// Evaluate resolves variable expressions with the variables of the action on
	// its target.
	Evaluate func(text string) (string, error)
	// KeepVersions is the retention of the lifecycle, for a step that says
	// nothing itself; 0 keeps all.
	KeepVersions int
}

// Compile fills in what a target has to do: kind, script, package, files and
// limits. What the server must understand (paths, globs, numbers) is evaluated
// here; scripts go as they are written, and the target evaluates them with the
// same variables, so that no secret is written into a script here.
func (j Job) Compile(spec *execution.Spec) error {
	a := j.Action
	minutes, err := j.number(timeoutProperty)
	if err != nil {
		return err
	}
	spec.TimeoutSeconds = minutes * 60
	switch {
	case strings.EqualFold(a.ActionType, ScriptType):
		spec.Kind = "script"
		spec.Script = &execution.Script{Syntax: "Bash", Body: a.Properties.Get(scriptBodyProperty)}
		return nil
	case strings.EqualFold(a.ActionType, PackageType):
		return j.compilePackage(spec)
	}
	return errs.New(errs.Blocked, "This server has no step type '%s', which step '%s' needs.", a.ActionType, a.Name)
}

func (j Job) compilePackage(spec *execution.Spec) error {
	a := j.Action
	if j.Package == nil {
		return errs.New(errs.Blocked, "The release has no version of the package for step '%s'.", a.Name)
	}
	spec.Kind, spec.Package = "package", j.Package
	f := &spec.Files
	f.RunPackageScripts = !strings.EqualFold(a.Properties.Get(runScriptsProperty), "false")
	var err error
	if a.Enabled(substituteFeature) {
		if f.SubstituteIn, err = j.lines(substituteProperty); err != nil {
			return err
		}
	}
	if a.Enabled(jsonFeature) {
		if f.StructuredConfig, err = j.lines(jsonProperty); err != nil {
			return err
		}
	}
	if a.Enabled(customScriptsFeature) {
		f.Custom = map[string]string{}
		for _, name := range conventionScripts {
			if body := a.Properties.Get(customScriptsPrefix + name + ".sh"); strings.TrimSpace(body) != "" {
				f.Custom[name] = body
			}
		}
	}
	if a.Enabled(directoryFeature) {
		if f.InstallTo, err = j.text(directoryProperty); err != nil {
			return err
		}
		f.InstallTo = strings.TrimSpace(f.InstallTo)
		// Evaluated now, so a variable can no longer make it relative or the
		// root, which purging would empty.
		if !strings.HasPrefix(f.InstallTo, "/") || strings.Trim(f.InstallTo, "/") == "" {
			return errs.New(errs.Blocked, "The installation directory of step '%s' is '%s', but must be an absolute path.", a.Name, f.InstallTo)
		}
		f.Purge = a.Properties.Bool(purgeProperty)
	}
	if spec.KeepVersions, err = j.number(keepProperty); err == nil && spec.KeepVersions == 0 {
		spec.KeepVersions = j.KeepVersions
	}
	return err
}

func (j Job) text(property string) (string, error) {
	text := j.Action.Properties.Get(property)
	if j.Evaluate == nil || !strings.Contains(text, "#{") {
		return text, nil
	}
	out, err := j.Evaluate(text)
	if err != nil {
		return "", errs.Wrap(errs.Blocked, err, "'%s' of step '%s' cannot be evaluated: %v.", label(j.Step, property), j.Action.Name, err)
	}
	return out, nil
}

func (j Job) lines(property string) ([]string, error) {
	text, err := j.text(property)
	return splitList(text, "\n"), err
}

func (j Job) number(property string) (int, error) {
	text, err := j.text(property)
	if text = strings.TrimSpace(text); err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, errs.New(errs.Blocked, "'%s' of step '%s' is '%s', but must be a number.", label(j.Step, property), j.Action.Name, text)
	}
	return n, nil
}

// Variables are the properties of the action as variables, without scripts:
// those travel as what they are. open gives the text of a sealed value.
func (a *Action) Variables(open func(secret int64) (string, error)) (map[string]execution.Variable, error) {
	out := make(map[string]execution.Variable, len(a.Properties))
	for name, v := range a.Properties {
		switch {
		case name == scriptBodyProperty || strings.HasPrefix(name, customScriptsPrefix):
		case !v.IsSensitive:
			out[name] = execution.Variable{Value: v.Value}
		case v.HasValue && open != nil:
			text, err := open(v.Secret)
			if err != nil {
				return nil, fmt.Errorf("open %s of %s: %w", name, a.Name, err)
			}
			out[name] = execution.Variable{Value: text, Sensitive: true}
		}
	}
	return out, nil
}
