set -euo pipefail
folder=$(get_octopusvariable "Octopus.Action[Deploy Storefront].Output.Package.InstallationDirectoryPath")
state=$(get_octopusvariable "Storefront.State")
pidfile="$state/storefront.pid"
mkdir -p "$state"
cd "$folder"
chmod +x storefront

# The number of a process may have gone to another program since it was written down.
is_ours() { [[ "$(ps -o command= -p "$1" 2>/dev/null)" == *demo-storefront* ]]; }

if [[ -s "$pidfile" ]] && old=$(<"$pidfile") && is_ours "$old"; then
  echo "Stopping process $old"
  kill "$old" 2>/dev/null || true
  for _ in {1..50}; do is_ours "$old" || break; sleep 0.1; done
  if is_ours "$old"; then
    write_warning "Process $old did not stop within 5 seconds; killing it"
    kill -9 "$old" 2>/dev/null || true
  fi
fi

# In a session of its own, or it would end with this script.
detach=nohup
if command -v setsid >/dev/null; then detach=setsid; fi
$detach ./storefront demo-storefront --config appsettings.json >"$state/storefront.log" 2>&1 </dev/null &
echo $! >"$pidfile"

if ! ./storefront demo-storefront --config appsettings.json --check 20s >/dev/null; then
  echo_error "The new version does not serve. The end of its log:"
  tail -n 20 "$state/storefront.log" >&2
  fail_step "Storefront did not start"
fi
write_highlight "Storefront runs as process $(<"$pidfile")"
