package execution

import (
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// Format is the format of specs that this program writes and understands.
const Format = 1

// Spec says what is to be done. It is self-contained: a machine needs nothing else but
// the package file.
type Spec struct {
	Format         int                 `json:"format"`
	ID             string              `json:"id"` // ULID
	Task           string              `json:"task"`
	Deployment     string              `json:"deployment,omitempty"`
	Step           string              `json:"step,omitempty"`
	Action         string              `json:"action,omitempty"`
	Target         string              `json:"target,omitempty"`
	Kind           string              `json:"kind"` // script, package, health
	Variables      map[string]Variable `json:"variables,omitempty"`
	Script         *Script             `json:"script,omitempty"`
	Package        *Package            `json:"package,omitempty"`
	Files          FileOptions         `json:"files"`
	Space          string              `json:"space,omitempty"`
	Project        string              `json:"project,omitempty"`
	Environment    string              `json:"environment,omitempty"`
	Tenant         string              `json:"tenant,omitempty"`
	StepName       string              `json:"stepName,omitempty"`
	KeepVersions   int                 `json:"keepVersions,omitempty"`   // installed versions besides the current one; 0: all
	TimeoutSeconds int                 `json:"timeoutSeconds,omitempty"` // 0: none
}

// Variable is a value that may still hold #{…}.
type Variable struct {
	Value     string `json:"value"`
	Sensitive bool   `json:"sensitive,omitempty"`
}

// Script is a script in one language; Bash is the one that is understood.
type Script struct {
	Syntax string `json:"syntax"`
	Body   string `json:"body"`
}

// Package is the package file to install. The machine has it by digest before the work
// is started.
type Package struct {
	ID        string `json:"id"`
	Version   string `json:"version"`
	Digest    string `json:"digest"` // lower-case hex SHA-256
	Size      int64  `json:"size"`   // bytes
	Extension string `json:"extension"`
}

// FileOptions are what is done with the files of a package.
type FileOptions struct {
	SubstituteIn      []string          `json:"substituteIn,omitempty"`     // globs relative to the installation
	StructuredConfig  []string          `json:"structuredConfig,omitempty"` // globs of JSON files
	Custom            map[string]string `json:"custom,omitempty"`           // PreDeploy, Deploy, PostDeploy, DeployFailed → bash
	RunPackageScripts bool              `json:"runPackageScripts,omitempty"`
	InstallTo         string            `json:"installTo,omitempty"` // absolute; "" keeps the files where they were extracted
	Purge             bool              `json:"purge,omitempty"`     // empties InstallTo first
}

// Check refuses a spec that this program does not understand.
func (s *Spec) Check() error {
	switch {
	case s.Format != Format:
		return errs.New(errs.Invalid, "The agent understands work of format %d, not %d.", Format, s.Format).WithHint("Upgrade the agent and the server to the same version.")
	case len(s.ID) != 26 || strings.Trim(s.ID, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "":
		return errs.New(errs.Invalid, "'%.60s' is no id of an execution.", s.ID)
	case s.Kind == "script" && (s.Script == nil || s.Script.Syntax != "Bash"):
		return errs.New(errs.Invalid, "The agent runs scripts in Bash only.")
	case s.Kind == "package" && s.Package == nil:
		return errs.New(errs.Invalid, "The package of the work is missing.")
	case s.Kind != "script" && s.Kind != "package" && s.Kind != "health":
		return errs.New(errs.Invalid, "The agent does not know work of kind '%.60s'.", s.Kind)
	}
	return nil
}

// State is how far a piece of work is.
type State string

// The states of a piece of work. Succeeded, Failed, Canceled and Unknown are final;
// Absent says that the machine has never heard of it.
const (
	Accepted  State = "accepted"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
	Unknown   State = "unknown"
	Absent    State = "absent"
)

// Final reports whether nothing more will happen.
func (s State) Final() bool {
	return s == Succeeded || s == Failed || s == Canceled || s == Unknown
}

// Status is how a piece of work is going, or how it ended.
type Status struct {
	ID       string     `json:"id"`
	State    State      `json:"state"`
	ExitCode int        `json:"exitCode,omitempty"`
	Message  string     `json:"message,omitempty"` // a sentence
	Outputs  []Output   `json:"outputs,omitempty"`
	Warnings int        `json:"warnings,omitempty"`
	Started  *time.Time `json:"started,omitempty"`
	Ended    *time.Time `json:"ended,omitempty"`
}

// Output is a variable that a script set.
type Output struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	Sensitive bool   `json:"sensitive,omitempty"`
}

// LogEntry is a line of a log. Categories are those of Octopus: Verbose, Info,
// Highlight, Wait, Warning, Error.
type LogEntry struct {
	Time     time.Time `json:"t"`
	Category string    `json:"c"`
	Text     string    `json:"m"`
	Percent  *int      `json:"p,omitempty"` // progress
}

// Update is what a watcher gets: the state, and the log from an offset on.
type Update struct {
	Status  Status     `json:"status"`
	Entries []LogEntry `json:"entries,omitempty"`
	Next    int64      `json:"next"` // offset in bytes for the next call
}
