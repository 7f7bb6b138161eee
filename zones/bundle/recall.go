package bundle

import "octopuses.dev/octopuses/spaces/errs"

// PredicateRecall is the predicate type of a recall.
const PredicateRecall = "https://octopuses.dev/zone/recall/v1"

// Recall is the predicate of a recall: the sender of a release withdraws it. See
// docs/formats/recall.md.
type Recall struct {
	Link      Header `json:"link"`
	Promotion string `json:"promotion"` // ULID of what is withdrawn
	Release   string `json:"release"`   // ULID
	Core      string `json:"core"`
	Reason    string `json:"reason"` // for people, at most 4000 bytes
}

// SignRecall signs a recall; the bytes are its envelope.
func (id *Identity) SignRecall(r Recall, h Header) ([]byte, error) {
	h.From, h.Schema, h.Critical = id.Space, Schema, orEmpty(h.Critical)
	r.Link, r.Reason = h, cut(r.Reason, maxReason)
	if err := checkHeader(h, nil, "", "recall"); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	payload, err := canonical(statement[Recall]{statementType, []Subject{subject("release/"+r.Release, r.Core)}, PredicateRecall, r})
	if err != nil {
		return nil, err
	}
	env, err := sign(id.sign, TypeStatement, payload)
	if err == nil && len(env) > MaxReceipt {
		err = errs.New(errs.TooLarge, "The recall is larger than %d bytes.", MaxReceipt)
	}
	return env, err
}

// IsRecall reports whether an envelope claims to be a recall, before anything is checked.
func IsRecall(envelope []byte) bool {
	payload, _, err := peek(envelope, MaxReceipt, "message")
	return err == nil && predicateOf(payload) == PredicateRecall
}

// VerifyRecall checks a recall against the card of its sender and against who we are.
func VerifyRecall(envelope []byte, from *Card, to string) (Recall, error) {
	payload, err := open(envelope, MaxReceipt, from.key, TypeStatement, "recall")
	if err != nil {
		return Recall{}, err
	}
	return decodeRecall(payload, from, to)
}

// peekRecall reads a recall without checking whose it is; only for a look at a file.
func peekRecall(envelope []byte) (Recall, error) {
	payload, _, err := peek(envelope, MaxReceipt, "recall")
	if err != nil {
		return Recall{}, err
	}
	return decodeRecall(payload, nil, "")
}

func decodeRecall(payload []byte, from *Card, to string) (Recall, error) {
	const what = "recall"
	st, err := decodeStatement[Recall](payload, MaxReceipt, PredicateRecall, what)
	if err != nil {
		return Recall{}, err
	}
	r := st.Predicate
	if err := checkHeader(r.Link, from, to, what); err != nil {
		return Recall{}, err
	}
	if err := r.check(); err != nil {
		return Recall{}, err
	}
	if len(st.Subject) != 1 || !st.Subject[0].is("release/"+r.Release, r.Core) {
		return Recall{}, refuse("The subject of the recall is not its release.")
	}
	return r, nil
}

func (r *Recall) check() error {
	t := texts{what: "recall"}
	t.ulid("release", r.Release)
	t.ulid("promotion", r.Promotion)
	switch {
	case t.err != nil:
		return t.err
	case !isDigest(r.Core):
		return refuse("The recall names no release.")
	case r.Reason == "" || len(r.Reason) > maxReason:
		return refuse("The recall has no reason, or one longer than %d bytes.", maxReason)
	}
	return nil
}
