package execution

import (
	"fmt"
	"sort"
	"strings"

	"octopuses.dev/octopuses/spaces/variables"
)

// bashFunctions is the script API of Octopus for bash.
// https://octopus.com/docs/deployments/custom-scripts
const bashFunctions = `
__octopus_encode() { printf '%s' "$1" | base64 | tr -d '\n'; }
__octopus_at() { echo "##octopus[stdout-$1]"; shift; printf '%s\n' "$*"; echo "##octopus[stdout-default]"; }
set_octopusvariable() {
  local sensitive=""
  if [ "$3" = "-sensitive" ]; then sensitive=" sensitive='$(__octopus_encode True)'"; fi
  echo "##octopus[setVariable name='$(__octopus_encode "$1")' value='$(__octopus_encode "$2")'$sensitive]"
}
write_verbose() { __octopus_at verbose "$@"; }
write_highlight() { __octopus_at highlight "$@"; }
write_wait() { __octopus_at wait "$@"; }
write_warning() { __octopus_at warning "$@"; }
echo_warning() { write_warning "$@"; }
echo_error() { __octopus_at error "$@"; }
update_progress() { echo "##octopus[progress percentage='$(__octopus_encode "$1")' message='$(__octopus_encode "$2")']"; }
fail_step() {
  if [ -n "$1" ]; then echo "##octopus[resultMessage message='$(__octopus_encode "$1")']"; fi
  exit 1
}
fail_healthcheck() { fail_step "$@"; }
new_octopusartifact() { write_warning "Artifacts are not collected by this version: $1 stays on the target."; }
`

// quote makes a bash word that means exactly text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// bootstrap is what is read before a script: the functions, and the variables inside
// of one, so that they are in no environment and on no command line.
func bootstrap(values map[string]variables.Value) string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("get_octopusvariable() {\n  case \"${1,,}\" in\n")
	for _, name := range names {
		text := strings.ReplaceAll(values[name].Text, "\x00", "")
		pattern := quote(strings.ToLower(name))
		// In the C locale bash knows no other letters than these.
		if ascii := quote(lowerASCII(name)); ascii != pattern {
			pattern += "|" + ascii
		}
		fmt.Fprintf(&b, "    %s) printf '%%s' %s ;;\n", pattern, quote(text))
	}
	b.WriteString("    *) printf '' ;;\n  esac\n}\n")
	b.WriteString(bashFunctions)
	return b.String()
}

func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}
