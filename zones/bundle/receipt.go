package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
)

// Kinds of receipts.
const (
	Received            = "received"
	Refused             = "refused"
	Accepted            = "accepted"
	Rejected            = "rejected"
	DeploymentQueued    = "deployment-queued"
	DeploymentStarted   = "deployment-started"
	DeploymentSucceeded = "deployment-succeeded"
	DeploymentFailed    = "deployment-failed"
	DeploymentCanceled  = "deployment-canceled"
)

var receiptKinds = []string{Received, Refused, Accepted, Rejected, DeploymentQueued, DeploymentStarted, DeploymentSucceeded, DeploymentFailed, DeploymentCanceled}

// Receipt is the predicate of a receipt: a signed fact about a release that came in a
// bundle. At level state Steps is empty. It never holds a value of a variable.
type Receipt struct {
	Link        Header       `json:"link"`
	Kind        string       `json:"kind"`
	Promotion   string       `json:"promotion"` // ULID of what it answers
	Release     string       `json:"release"`   // ULID
	Core        string       `json:"core"`
	Reason      string       `json:"reason,omitempty"`
	Environment *Environment `json:"environment,omitempty"`
	Deployment  string       `json:"deployment,omitempty"` // ULID there
	Attempt     int          `json:"attempt,omitempty"`
	Started     string       `json:"started,omitempty"`
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

// SignReceipt signs a receipt; the bytes are its envelope.
func (id *Identity) SignReceipt(r Receipt, h Header) ([]byte, error) {
	h.From, h.Schema, h.Critical = id.Space, Schema, orEmpty(h.Critical)
	r.Link = h
	payload, err := canonical(statement[Receipt]{statementType, []Subject{{"release/" + r.Release, map[string]string{"sha256": r.Core}}}, PredicateReceipt, r})
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
	const what = "receipt"
	payload, err := open(envelope, MaxReceipt, from.key, TypeStatement, what)
	if err != nil {
		return Receipt{}, err
	}
	var st statement[Receipt]
	if err := decodeCanonical(payload, MaxReceipt, what, &st); err != nil {
		return Receipt{}, err
	}
	r := st.Predicate
	if st.Type != statementType || st.PredicateType != PredicateReceipt {
		return r, refuse("This is no receipt but a %s.", clip(st.PredicateType))
	}
	if err := checkHeader(r.Link, from, to, what); err != nil {
		return r, err
	}
	if !slices.Contains(receiptKinds, r.Kind) {
		return r, refuse("The receipt is of an unknown kind (%s).", clip(r.Kind))
	}
	if len(st.Subject) != 1 || st.Subject[0].Name != "release/"+r.Release || st.Subject[0].Digest["sha256"] != r.Core || !isDigest(r.Core) {
		return r, refuse("The subject of the receipt is not its release.")
	}
	if strings.HasPrefix(r.Kind, "deployment-") && (r.Environment == nil || r.Environment.Ref == "" || r.Deployment == "") {
		return r, refuse("The receipt tells of a deployment without saying which.")
	}
	if len(r.Reason) > 4000 {
		return r, refuse("The reason in the receipt is too long.")
	}
	return r, nil
}

// receiptsFile is the first line of a file .octr.
type receiptsFile struct {
	Format string `json:"format"`
	From   string `json:"from"`
	To     string `json:"to"`
	Count  int    `json:"count"`
}

const receiptsFormat = "octopuses-receipts/1"

// WriteReceipts writes a file .octr: a line that says what it is, then one envelope a
// line, in the order of their numbers.
func WriteReceipts(w io.Writer, from, to string, envelopes [][]byte) error {
	if len(envelopes) > MaxReceipts {
		return errs.New(errs.TooLarge, "A file holds at most %d receipts.", MaxReceipts)
	}
	head, err := json.Marshal(receiptsFile{receiptsFormat, from, to, len(envelopes)})
	if err != nil {
		return fmt.Errorf("write receipts: %w", err)
	}
	for _, line := range append([][]byte{head}, envelopes...) {
		if _, err := w.Write(append(slices.Clip(line), '\n')); err != nil {
			return fmt.Errorf("write receipts: %w", err)
		}
	}
	return nil
}

// ReadReceipts reads a file .octr into its envelopes, none of which is verified yet.
func ReadReceipts(r io.Reader) (from, to string, envelopes [][]byte, err error) {
	const limit = MaxReceipts*(MaxReceipt+1) + 1024
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return "", "", nil, err
	}
	if len(b) > limit {
		return "", "", nil, errs.New(errs.TooLarge, "The file of receipts is larger than %d bytes.", limit)
	}
	lines := bytes.Split(b, []byte("\n"))
	var head receiptsFile
	if len(lines) < 2 || len(lines[len(lines)-1]) != 0 || exact(lines[0], &head) != nil || head.Format != receiptsFormat {
		return "", "", nil, refuse("This is no file of receipts, or it was changed.").WithHint("Files of receipts end in .octr.")
	}
	envelopes = lines[1 : len(lines)-1]
	if len(envelopes) != head.Count {
		return "", "", nil, refuse("The file should hold %d receipts and holds %d.", head.Count, len(envelopes)).WithHint("It was cut off; copy it again.")
	}
	for _, e := range envelopes {
		if len(e) > MaxReceipt {
			return "", "", nil, errs.New(errs.TooLarge, "A receipt is larger than %d bytes.", MaxReceipt)
		}
	}
	return head.From, head.To, envelopes, nil
}

// IssuedAt is when a statement was made, by its maker's clock.
func (h Header) IssuedAt() time.Time {
	t, _ := time.Parse(time.RFC3339, h.Issued)
	return t
}
