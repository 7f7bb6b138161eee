set -euo pipefail
cd "$(get_octopusvariable "Octopus.Action[Deploy Storefront].Output.Package.InstallationDirectoryPath")"
if ! answer=$(./storefront demo-storefront --config appsettings.json --check 10s); then
  fail_step "Storefront does not serve the version that was deployed"
fi
echo "$answer"
environment=$(get_octopusvariable "Octopus.Environment.Name")
if [[ "$answer" != *"\"Environment\":\"$environment\""* ]]; then
  fail_step "Storefront does not know that it is in $environment"
fi
