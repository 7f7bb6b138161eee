package bundle

import (
	"slices"
	"strings"

	"octopuses.dev/octopuses/spaces/errs"
)

// Kinds of receipts.
const (
	Received            = "received"
	NeedsInput          = "needs-input"
	Refused             = "refused" // by the program
	Accepted            = "accepted"
	Rejected            = "rejected" // by a person
	Superseded          = "superseded"
	Recalled            = "recalled"
	DeploymentQueued    = "deployment-queued"
	DeploymentStarted   = "deployment-started"
	DeploymentSucceeded = "deployment-succeeded"
	DeploymentFailed    = "deployment-failed"
	DeploymentCanceled  = "deployment-canceled"
)

// kinds are in the order in which things happen; see [Fold].
func kinds() []string {
	return []string{Received, NeedsInput, Refused, Accepted, Rejected, Superseded, Recalled, DeploymentQueued, DeploymentStarted, DeploymentSucceeded, DeploymentFailed, DeploymentCanceled}
}

// isDeployment reports whether a kind of receipt tells of one deployment.
func isDeployment(kind string) bool { return strings.HasPrefix(kind, "deployment-") }

// Receipt is the predicate of a receipt: a signed fact about a release that came in a
// bundle. At level state Steps is empty. It never holds a value of a variable.
type Receipt struct {
	Link        Header       `json:"link"`
	Kind        string       `json:"kind"`
	Promotion   string       `json:"promotion"` // ULID of what it answers, "" where that is not known
	Release     string       `json:"release"`   // ULID
	Core        string       `json:"core"`
	Reason      string       `json:"reason,omitempty"` // at most 4000 bytes
	Environment *Environment `json:"environment,omitempty"`
	Deployment  string       `json:"deployment,omitempty"` // ULID there
	Attempt     int          `json:"attempt,omitempty"`
	Started     string       `json:"started,omitempty"` // RFC 3339, UTC
	Ended       string       `json:"ended,omitempty"`
	Steps       []Step       `json:"steps,omitempty"`
}

// Environment is where a deployment went, as its space shows it to others.
type Environment struct {
	Ref   string `json:"ref"` // ULID
	Shown string `json:"shown"`
	Order int    `json:"order"`
}

// Step is a step of a deployment at level summary.
type Step struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Targets int    `json:"targets"`
	Seconds int    `json:"seconds"`
}

const (
	maxReason = 4_000 // bytes
	maxSteps  = 1_000
)

// SignReceipt signs a receipt; the bytes are its envelope. Texts that the other side would
// refuse are cut to what it takes, since a fact must not be lost over its wording; what
// else it would refuse is an error here.
func (id *Identity) SignReceipt(r Receipt, h Header) ([]byte, error) {
	h.From, h.Schema, h.Critical = id.Space, Schema, orEmpty(h.Critical)
	r.Link = h
	r.trim()
	if err := checkHeader(h, nil, "", "receipt"); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	payload, err := canonical(statement[Receipt]{statementType, []Subject{subject("release/"+r.Release, r.Core)}, PredicateReceipt, r})
	if err != nil {
		return nil, err
	}
	env, err := sign(id.sign, TypeStatement, payload)
	if err == nil && len(env) > MaxReceipt {
		err = errs.New(errs.TooLarge, "The receipt is larger than %d bytes.", MaxReceipt)
	}
	return env, err
}

// VerifyReceipt checks a receipt against the card of its sender and against who we are.
func VerifyReceipt(envelope []byte, from *Card, to string) (Receipt, error) {
	payload, err := open(envelope, MaxReceipt, from.key, TypeStatement, "receipt")
	if err != nil {
		return Receipt{}, err
	}
	return decodeReceipt(payload, from, to)
}

// peekReceipt reads a receipt without checking whose it is; only for a look at a file.
func peekReceipt(envelope []byte) (Receipt, error) {
	payload, _, err := peek(envelope, MaxReceipt, "receipt")
	if err != nil {
		return Receipt{}, err
	}
	return decodeReceipt(payload, nil, "")
}

func decodeReceipt(payload []byte, from *Card, to string) (Receipt, error) {
	const what = "receipt"
	st, err := decodeStatement[Receipt](payload, MaxReceipt, PredicateReceipt, what)
	if err != nil {
		return Receipt{}, err
	}
	r := st.Predicate
	if err := checkHeader(r.Link, from, to, what); err != nil {
		return Receipt{}, err
	}
	if err := r.check(); err != nil {
		return Receipt{}, err
	}
	if len(st.Subject) != 1 || !st.Subject[0].is("release/"+r.Release, r.Core) {
		return Receipt{}, refuse("The subject of the receipt is not its release.")
	}
	return r, nil
}

func (r *Receipt) trim() {
	r.Reason = cut(r.Reason, maxReason)
	if r.Environment != nil {
		e := *r.Environment
		e.Shown = cut(visible(e.Shown), maxName)
		r.Environment = &e
	}
	r.Steps = slices.Clone(r.Steps[:min(len(r.Steps), maxSteps)])
	size := 0
	for i := range r.Steps {
		s := &r.Steps[i]
		s.Name, s.State = cut(visible(s.Name), maxName), visible(s.State)
		size += len(s.Name) + len(s.State) + 60
	}
	if size > MaxReceipt/2 { // the rest is base64 and the other members
		r.Steps = nil
	}
}

func (r *Receipt) check() error {
	t := texts{what: "receipt"}
	if !slices.Contains(kinds(), r.Kind) {
		return refuse("The receipt is of an unknown kind (%s).", clip(r.Kind))
	}
	t.ulid("release", r.Release)
	if r.Promotion != "" {
		t.ulid("promotion", r.Promotion)
	}
	if isDeployment(r.Kind) != (r.Environment != nil) || isDeployment(r.Kind) != (r.Deployment != "") {
		return refuse("The receipt tells of a deployment without saying which, or names one without telling of it.")
	}
	if r.Environment != nil {
		t.ulid("environment", r.Environment.Ref)
		t.required("environment's name", r.Environment.Shown)
		t.ulid("deployment", r.Deployment)
	}
	for _, at := range []string{r.Started, r.Ended} {
		if at != "" {
			t.time("time", at)
		}
	}
	for _, s := range r.Steps {
		t.required("step's name", s.Name)
		t.name("step's state", s.State)
		if s.Targets < 0 || s.Seconds < 0 {
			return refuse("The receipt counts less than nothing.")
		}
	}
	switch {
	case t.err != nil:
		return t.err
	case !isDigest(r.Core):
		return refuse("The receipt names no release.")
	case len(r.Reason) > maxReason:
		return refuse("The reason in the receipt is longer than %d bytes.", maxReason)
	case len(r.Steps) > maxSteps:
		return tooMany("steps in the receipt", maxSteps)
	case r.Attempt < 0:
		return refuse("The receipt counts less than nothing.")
	}
	return nil
}
