package steps

import (
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Properties of a script, as Octopus names them.
const (
	scriptSourceProperty = "Octopus.Action.Script.ScriptSource"
	scriptSyntaxProperty = "Octopus.Action.Script.Syntax"
	scriptBodyProperty   = "Octopus.Action.Script.ScriptBody"
	timeoutProperty      = "Octopus.Action.ExecutionTimeout.Minutes"
)

// maxScript bounds a script in bytes: it travels in one message to each target.
const maxScript = 1 << 20

func timeoutInput() Input {
	return Input{Name: timeoutProperty, Kind: KindNumber, Label: "Time limit in minutes", Help: "The work is stopped and fails after this time. Empty: no limit."}
}

func scriptType() *Type {
	return &Type{
		ActionType: ScriptType, Name: "Run a script", Description: "Runs a Bash script on each target, in a fresh folder.",
		Inputs: append(stepInputs(),
			Input{Name: scriptBodyProperty, Kind: KindCode, Label: "Script", Required: true,
				Help: "Bash. Variables are read with get_octopusvariable \"Name\" or written as #{Name}."},
			Input{Name: scriptSourceProperty, Kind: KindChoice, Label: "Source", Default: "Inline", Choices: []Choice{{"Inline", "Written here"}}},
			Input{Name: scriptSyntaxProperty, Kind: KindChoice, Label: "Language", Default: "Bash", Choices: []Choice{{"Bash", "Bash"}}},
			timeoutInput(),
		),
		check: func(_ *Step, a *Action, at field, c *errs.Check) {
			source, syntax := a.Properties.Get(scriptSourceProperty), a.Properties.Get(scriptSyntaxProperty)
			c.Require(source == "" || strings.EqualFold(source, "Inline"), at.property(scriptSourceProperty),
				"Step '%s' takes its script from '%s'; this server runs scripts written in the step.", a.Name, source)
			c.Require(syntax == "" || strings.EqualFold(syntax, "Bash"), at.property(scriptSyntaxProperty),
				"Step '%s' is written in '%s'; this server runs Bash.", a.Name, syntax)
			body := a.Properties.Get(scriptBodyProperty)
			c.Require(strings.TrimSpace(body) != "", at.property(scriptBodyProperty), "Please write the script of step '%s'.", a.Name)
			c.Require(len(body) <= maxScript, at.property(scriptBodyProperty), "The script of step '%s' is larger than 1 MiB.", a.Name)
			c.Require(len(a.Packages) == 0, at.add("Packages"), "A script step cannot use packages on this server. Use 'Deploy a package' with a custom script.")
		},
	}
}
