package demo

import _ "embed"

// Names of the steps, in the order of the process.
const (
	DeployStep = "Deploy Storefront"
	StartStep  = "Start Storefront"
	SmokeStep  = "Smoke test"
)

// TargetTag selects the targets of all steps.
const TargetTag = "storefront-web"

// StartScript starts the new version in place of the one before. The old process of the
// environment is known by a file beside all installations.
//
//go:embed start.sh
var StartScript string

// SmokeScript asks the application whether it is the version that was deployed.
//
//go:embed smoke.sh
var SmokeScript string

// Variables that the process sets in appsettings.json (JSON configuration). Their names
// are the paths in the file.
const (
	ListenVariable   = "Storefront:Listen"
	GreetingVariable = "Storefront:Greeting"
	CurrencyVariable = "Storefront:Currency"
	OwnerVariable    = "Storefront:Owner"
	ProviderVariable = "Payments:Provider"
	KeyVariable      = "Payments:Key" // sensitive
	// StateVariable is a folder of the target where the file with the process id lies.
	StateVariable = "Storefront.State"
)

// Process is the deployment process as the REST API takes it: deploy the package with
// substitution in files and JSON configuration, start the program, look whether it serves.
func Process() map[string]any {
	return map[string]any{"Steps": []any{
		step(DeployStep, "Octopus.TentaclePackage", map[string]any{
			"Octopus.Action.Package.PackageId":                         PackageID,
			"Octopus.Action.Package.FeedId":                            "feeds-builtin",
			"Octopus.Action.Package.DownloadOnTentacle":                "False",
			"Octopus.Action.EnabledFeatures":                           "Octopus.Features.SubstituteInFiles,Octopus.Features.JsonConfigurationVariables",
			"Octopus.Action.SubstituteInFiles.TargetFiles":             "config/release.env",
			"Octopus.Action.Package.JsonConfigurationVariablesTargets": "appsettings.json",
		}, map[string]any{"Name": "", "PackageId": PackageID, "FeedId": "feeds-builtin", "AcquisitionLocation": "Server", "Properties": map[string]any{}}),
		step(StartStep, "Octopus.Script", scriptProperties(StartScript)),
		step(SmokeStep, "Octopus.Script", scriptProperties(SmokeScript)),
	}}
}

func scriptProperties(body string) map[string]any {
	return map[string]any{"Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": body}
}

func step(name, kind string, properties map[string]any, packages ...any) map[string]any {
	if packages == nil {
		packages = []any{}
	}
	return map[string]any{
		"Name": name, "Condition": "Success", "StartTrigger": "StartAfterPrevious", "PackageRequirement": "LetOctopusDecide",
		"Properties": map[string]any{"Octopus.Action.TargetRoles": TargetTag},
		"Actions": []any{map[string]any{
			"Name": name, "ActionType": kind, "IsDisabled": false, "IsRequired": false, "Packages": packages, "Properties": properties,
			"Environments": []any{}, "ExcludedEnvironments": []any{}, "Channels": []any{}, "TenantTags": []any{},
		}},
	}
}
