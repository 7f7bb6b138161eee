package deploy

import (
	"crypto/sha256"
	"strconv"

	"github.com/oklog/ulid/v2"
)

// Status is how far a deployment is.
type Status string

// The statuses of a deployment. The last three are final.
const (
	StatusNew       Status = "" // nothing has happened yet; the zero State
	StatusRunning   Status = "Running"
	StatusCanceling Status = "Canceling"
	StatusSucceeded Status = "Succeeded"
	StatusFailed    Status = "Failed"
	StatusCanceled  Status = "Canceled"
)

// Final reports whether nothing more will happen.
func (s Status) Final() bool {
	return s == StatusSucceeded || s == StatusFailed || s == StatusCanceled
}

// WorkState is how far a step, a target of a step or one piece of work is.
type WorkState string

// The states of steps, runs and works.
const (
	Waiting  WorkState = ""         // not begun
	Starting WorkState = "Starting" // decided and stored; the target may or may not know
	Working  WorkState = "Running"  // the target has it
	Asking   WorkState = "Asking"   // a person must say how it goes on
	Done     WorkState = "Succeeded"
	Broken   WorkState = "Failed"
	Skipped  WorkState = "Skipped"
	Canceled WorkState = "Canceled"
	Excluded WorkState = "Excluded" // a person took the target out of the deployment
)

func (w WorkState) final() bool {
	switch w {
	case Waiting, Starting, Working, Asking:
		return false
	}
	return true
}

// State is all that a running deployment remembers; the zero value is a
// deployment that has not begun. It is stored as JSON, sealed, because outputs
// may be sensitive. States are values: Next never changes the one it is given.
type State struct {
	Format   int         `json:"Format"` // 1
	Status   Status      `json:"Status"`
	Failed   bool        `json:"Failed,omitempty"` // some step has failed
	Error    string      `json:"Error,omitempty"`  // the first failure, a sentence
	Block    int         `json:"Block"`            // the block that runs now
	Before   bool        `json:"Before,omitempty"` // Failed as it was when this block began
	Steps    []StepState `json:"Steps,omitempty"`  // parallel to Plan.Steps
	Outputs  []Output    `json:"Outputs,omitempty"`
	Excluded []string    `json:"Excluded,omitempty"` // targets taken out by a person
	Guided   bool        `json:"Guided,omitempty"`   // a person decided at some failure
}

// StepState is how far a step is; Why is a sentence for a skipped one.
type StepState struct {
	State WorkState `json:"State"`
	Why   string    `json:"Why,omitempty"`
	Runs  []Run     `json:"Runs,omitempty"`
}

// Run is a step on one target: its actions in order.
type Run struct {
	Target string    `json:"Target"`
	State  WorkState `json:"State"`
	Failed bool      `json:"Failed,omitempty"` // an action failed; later ones look at it
	Why    string    `json:"Why,omitempty"`
	Works  []Work    `json:"Works,omitempty"` // one for each attempt at an action, in order
}

// Work is one attempt at an action on a target.
type Work struct {
	Action       int       `json:"Action"`                 // index in PlannedStep.Actions
	Attempt      int       `json:"Attempt,omitempty"`      // from 1; only people cause a second
	Execution    string    `json:"Execution,omitempty"`    // ULID; empty for a skipped action
	State        WorkState `json:"State"`                  //
	Message      string    `json:"Message,omitempty"`      // a sentence
	Kind         string    `json:"Kind,omitempty"`         // of the interruption
	Interruption string    `json:"Interruption,omitempty"` // the question that a person has to answer, or answered
	Answer       string    `json:"Answer,omitempty"`
}

// Output is an output variable that an action set on a target.
type Output struct {
	Action    string `json:"Action"` // name
	Target    string `json:"Target"` // id
	Machine   string `json:"Machine"`
	Name      string `json:"Name"`
	Value     string `json:"Value"`
	Sensitive bool   `json:"Sensitive,omitempty"`
}

// Event is something that happened to a deployment.
type Event interface{ event() }

// TaskStarted begins the deployment. ServerRestarted is told once to every
// unfinished deployment after a restart: all commands that may have been lost
// are given again.
type (
	TaskStarted     struct{}
	ServerRestarted struct{}
	CancelRequested struct{}
)

// ExecutionStarted says that the target has accepted the work.
type ExecutionStarted struct{ Execution string }

// ExecutionFinished is the end of a piece of work as its target tells it. State
// is Done, Broken or Canceled. Action, Target and Machine of the outputs are
// filled in by the machine.
type ExecutionFinished struct {
	Execution string
	State     WorkState
	Message   string
	Outputs   []Output
}

// ExecutionUnknown says that nobody can tell how a piece of work ended: the
// target lost it, or is gone for good.
type ExecutionUnknown struct{ Execution, Message string }

// InterruptionAnswered is the answer of a person.
type InterruptionAnswered struct{ Interruption, Answer string }

func (TaskStarted) event()          {}
func (ServerRestarted) event()      {}
func (CancelRequested) event()      {}
func (ExecutionStarted) event()     {}
func (ExecutionFinished) event()    {}
func (ExecutionUnknown) event()     {}
func (InterruptionAnswered) event() {}

// Command is something that the caller does after it has stored the state.
// Every command may be given again after a restart and must then do no harm.
type Command interface{ command() }

// StartExecution starts a piece of work. Starting an execution twice is
// starting it once: the target knows it by its id.
type StartExecution struct {
	Execution string
	Step      int // index in Plan.Steps
	Action    int // index in PlannedStep.Actions
	Target    string
	Attempt   int // from 1
}

// WatchExecution takes up again the watch over work that its target accepted
// before a restart. It must not be started again: if the target does not know
// it any more, that is an ExecutionUnknown.
type WatchExecution struct {
	Execution    string
	Step, Action int
	Target       string
	Attempt      int
}

// CancelExecution asks a target to stop a piece of work. The end still comes as
// an event; if the target does not know the work, that is an ExecutionUnknown,
// which ends as canceled.
type CancelExecution struct{ Execution, Target string }

// Kinds of interruptions.
const (
	KindUnknown = "UnknownOutcome" // did it succeed? nobody can tell
	KindGuided  = "GuidedFailure"
)

// Answers to interruptions.
const (
	AnswerSucceeded = "Succeeded" // unknown: it has worked
	AnswerFailed    = "Failed"    // unknown: it has not
	AnswerRetry     = "Retry"     // both: do it again
	AnswerFail      = "Fail"      // guided: let the step fail
	AnswerIgnore    = "Ignore"    // guided: go on as if it had worked
	AnswerExclude   = "Exclude"   // guided: go on without this target
)

// Choice is one possible answer.
type Choice struct {
	Value string `json:"value"`
	Label string `json:"label"`
}

// OpenInterruption asks a person. ID is the same each time the same question is
// asked again.
type OpenInterruption struct {
	ID             string
	Kind           string
	Title, Message string
	Choices        []Choice
	Execution      string
}

// CloseInterruption takes a question back: the answer came by itself, or the
// deployment was canceled.
type CloseInterruption struct{ ID, Why string }

// Finish ends the deployment.
type Finish struct {
	Status Status
	Error  string // a sentence; empty unless failed
}

func (StartExecution) command()    {}
func (WatchExecution) command()    {}
func (CancelExecution) command()   {}
func (OpenInterruption) command()  {}
func (CloseInterruption) command() {}
func (Finish) command()            {}

// ExecutionID derives the ULID of an attempt at an action on a target from the
// ULID of the deployment. It is the same whenever it is asked, so a decision
// that is made again after a crash is the same decision.
func ExecutionID(deployment, action, target string, attempt int) string {
	h := sha256.New()
	for _, part := range []string{"octopuses execution 1", deployment, action, target, strconv.Itoa(attempt)} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	var id ulid.ULID
	if d, err := ulid.ParseStrict(deployment); err == nil {
		copy(id[:6], d[:6]) // the time of the deployment, so that ids sort with it
	}
	copy(id[6:], h.Sum(nil))
	return id.String()
}
