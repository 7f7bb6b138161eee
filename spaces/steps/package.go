package steps

import (
	"strconv"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Properties and features of a package step, as Octopus names them. The number
// of kept versions is ours: Octopus has it in the lifecycle only.
const (
	packageIDProperty   = "Octopus.Action.Package.PackageId"
	packageFeedProperty = "Octopus.Action.Package.FeedId"
	runScriptsProperty  = "Octopus.Action.Package.RunScripts"
	keepProperty        = "Octopuses.Action.Package.KeepVersions"

	substituteFeature    = "Octopus.Features.SubstituteInFiles"
	substituteProperty   = "Octopus.Action.SubstituteInFiles.TargetFiles"
	jsonFeature          = "Octopus.Features.JsonConfigurationVariables"
	jsonProperty         = "Octopus.Action.Package.JsonConfigurationVariablesTargets"
	customScriptsFeature = "Octopus.Features.CustomScripts"
	customScriptsPrefix  = "Octopus.Action.CustomScripts."
	directoryFeature     = "Octopus.Features.CustomDirectory"
	directoryProperty    = "Octopus.Action.Package.CustomInstallationDirectory"
	purgeProperty        = "Octopus.Action.Package.CustomInstallationDirectoryShouldBePurgedBeforeDeployment"
)

// conventionScripts are the moments at which a custom script may run.
var conventionScripts = [...]string{"PreDeploy", "Deploy", "PostDeploy", "DeployFailed"}

func packageType() *Type {
	inputs := append(stepInputs(),
		Input{Name: packageFeedProperty, Kind: KindFeed, Label: "Feed", Default: BuiltInFeed, Required: true},
		Input{Name: packageIDProperty, Kind: KindPackage, Label: "Package", Required: true, Help: "The version is chosen when a release is created."},
		Input{Name: runScriptsProperty, Kind: KindCheckbox, Label: "Run scripts in the package", Default: "True",
			Help: "PreDeploy.sh, Deploy.sh, PostDeploy.sh and DeployFailed.sh in the root of the package."},
		Input{Name: substituteFeature, Kind: KindFeature, Label: "Substitute variables in files", Help: "Replaces #{Name} in files of the package."},
		Input{Name: substituteProperty, Kind: KindLines, Label: "Files", Feature: substituteFeature, Required: true, Help: "One path or glob a line, as config/*.conf or **/*.env."},
		Input{Name: jsonFeature, Kind: KindFeature, Label: "Configuration files", Help: "Sets values in JSON and YAML files by variable names, as Database:Host."},
		Input{Name: jsonProperty, Kind: KindLines, Label: "Files", Feature: jsonFeature, Required: true, Help: "One path or glob a line, as appsettings.json."},
		Input{Name: customScriptsFeature, Kind: KindFeature, Label: "Custom scripts", Help: "Bash scripts that run before, during and after the deployment of the files."},
	)
	labels := map[string]string{"PreDeploy": "Before deployment", "Deploy": "Deployment", "PostDeploy": "After deployment", "DeployFailed": "When it failed"}
	for _, name := range conventionScripts {
		inputs = append(inputs, Input{Name: customScriptsPrefix + name + ".sh", Kind: KindCode, Label: labels[name], Feature: customScriptsFeature})
	}
	inputs = append(inputs,
		Input{Name: directoryFeature, Kind: KindFeature, Label: "Custom installation directory", Help: "Copies the files to a fixed place."},
		Input{Name: directoryProperty, Kind: KindText, Label: "Directory", Feature: directoryFeature, Required: true, Help: "An absolute path on the target; may hold variables."},
		Input{Name: purgeProperty, Kind: KindCheckbox, Label: "Empty the directory first", Feature: directoryFeature, Default: "False"},
		Input{Name: keepProperty, Kind: KindNumber, Label: "Versions to keep on a target", Help: "Older ones are removed after a deployment; the present and the one before it stay. Empty: as the lifecycle says."},
		timeoutInput(),
	)
	return &Type{ActionType: PackageType, Name: "Deploy a package", HasPackage: true, Inputs: inputs, check: checkPackage,
		Description: "Unpacks a package on each target, fills in its configuration and runs scripts."}
}

func checkPackage(_ *Step, a *Action, at field, c *errs.Check) {
	primary, ok := a.Primary()
	c.Require(ok, at.add("Packages"), "Please choose the package of step '%s'.", a.Name)
	if ok {
		c.Require(primary.PackageID != "", at.add("Packages[0].PackageId"), "Please choose the package of step '%s'.", a.Name)
		c.Require(!strings.Contains(primary.PackageID, "#{"), at.add("Packages[0].PackageId"), "The package of step '%s' cannot be named by a variable.", a.Name)
	}
	c.Require(len(a.Packages) <= 1, at.add("Packages"), "Step '%s' can deploy one package only.", a.Name)
	need := func(feature, property, what string) {
		c.Require(!a.Enabled(feature) || strings.TrimSpace(a.Properties.Get(property)) != "", at.property(property), "Please give %s of step '%s', or turn the feature off.", what, a.Name)
	}
	need(substituteFeature, substituteProperty, "the files for substitution")
	need(jsonFeature, jsonProperty, "the configuration files")
	need(directoryFeature, directoryProperty, "the installation directory")
	if dir := strings.TrimSpace(a.Properties.Get(directoryProperty)); a.Enabled(directoryFeature) && dir != "" {
		c.Require(strings.HasPrefix(dir, "/") || strings.HasPrefix(dir, "#{"), at.property(directoryProperty), "The installation directory of step '%s' must be an absolute path.", a.Name)
	}
	if keep := a.Properties.Get(keepProperty); keep != "" {
		n, err := strconv.Atoi(keep)
		c.Require(err == nil && n >= 1, at.property(keepProperty), "The number of versions to keep must be 1 or more.")
	}
	for _, name := range conventionScripts {
		property := customScriptsPrefix + name + ".sh"
		c.Require(len(a.Properties.Get(property)) <= maxScript, at.property(property), "The %s script of step '%s' is larger than 1 MiB.", name, a.Name)
	}
	for name, value := range a.Properties {
		for _, extension := range []string{".ps1", ".py", ".csx", ".fsx"} {
			if strings.HasPrefix(name, customScriptsPrefix) && strings.HasSuffix(name, extension) {
				c.Require(strings.TrimSpace(value.Value) == "", at.property(name), "This server runs Bash only; step '%s' has a custom script %s.", a.Name, strings.TrimPrefix(name, customScriptsPrefix))
			}
		}
	}
}
