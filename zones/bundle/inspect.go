package bundle

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"

	"octopuses.dev/octopuses/spaces/errs"
)

// Report is what a file says, and who says it. Exactly one of Card, Bundle, Receipts and
// Recall is there. It is made to be printed, as text or JSON, and never acted on.
type Report struct {
	Kind     string          `json:"kind"`     // card, bundle, receipts, recall
	Verified bool            `json:"verified"` // by a card that was given; a card only vouches for itself
	SignedBy *Signer         `json:"signedBy,omitempty"`
	Card     *Card           `json:"card,omitempty"`
	Bundle   *BundleReport   `json:"bundle,omitempty"`
	Receipts *ReceiptsReport `json:"receipts,omitempty"`
	Recall   *Recall         `json:"recall,omitempty"`
}

// Signer is the space whose card a file was checked with.
type Signer struct {
	Space       string   `json:"space"`
	Name        string   `json:"name"`
	Fingerprint string   `json:"fingerprint"`
	Words       []string `json:"words"`
	ShortCode   string   `json:"shortCode"`
}

// BundleReport is a bundle with what is in its file.
type BundleReport struct {
	Digest    string          `json:"digest"` // of the envelope
	Statement Promotion       `json:"statement"`
	Process   json.RawMessage `json:"process"`
	Variables []Variable      `json:"variables"`
	Templates []Template      `json:"templates"`
	Evidence  []Evidence      `json:"evidence"`
	Present   []string        `json:"present"` // digests of the packages in the file, all checked
}

// ReceiptsReport is a file of receipts with what they tell together.
type ReceiptsReport struct {
	From     string    `json:"from"`
	To       string    `json:"to"`
	Receipts []Receipt `json:"receipts"`
	State    State     `json:"state"`
}

func signer(c *Card) *Signer {
	return &Signer{c.Space, c.Name, c.Fingerprint(), c.Words(), c.ShortCode()}
}

// Inspect reads a card, a bundle or a file of receipts and checks all but whose it is. It
// tells them apart by their first bytes.
func Inspect(ctx context.Context, r io.Reader) (*Report, error) {
	return look(ctx, r, func(string) (*Card, error) { return nil, nil })
}

// VerifyFile is [Inspect] with the signatures checked against the cards of those who may
// have signed. A card is verified by itself alone: compare its words.
func VerifyFile(ctx context.Context, r io.Reader, cards ...*Card) (*Report, error) {
	return look(ctx, r, func(space string) (*Card, error) {
		return among(cards, space)
	})
}

func among(cards []*Card, space string) (*Card, error) {
	i := slices.IndexFunc(cards, func(c *Card) bool { return c.Space == space })
	if i < 0 {
		return nil, refuse("The file says that it is of space %s, and no card of that space was given.", clip(space)).WithHint("Give the sender's card, whose words you have compared.")
	}
	return cards[i], nil
}

// look reads any of the files. card gives the card of a space, or nil where nobody's
// signature is to be checked.
func look(ctx context.Context, r io.Reader, card func(space string) (*Card, error)) (*Report, error) {
	in := bufio.NewReaderSize(r, copyBuffer)
	first, err := in.Peek(len("oci-layout\x00"))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.Equal(first, []byte("oci-layout\x00")):
		return lookBundle(ctx, in, card)
	case bytes.HasPrefix(first, []byte(`{"format"`)):
		return lookReceipts(in, card)
	case bytes.HasPrefix(first, []byte(`{"payload`)):
		return lookEnvelope(in, card)
	}
	return nil, refuse("This is neither a card (.octid) nor a bundle (.octb) nor a file of receipts (.octr) nor a recall (.octrecall).")
}

// lookEnvelope reads a card or a recall.
func lookEnvelope(r io.Reader, card func(string) (*Card, error)) (*Report, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxReceipt+2))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxReceipt+1 {
		return nil, errs.New(errs.TooLarge, "The card is larger than %d bytes.", MaxReceipt)
	}
	if e, ok := bytes.CutSuffix(b, []byte("\n")); ok && IsRecall(e) {
		return lookRecall(e, card)
	}
	c, err := ParseCard(b)
	if err != nil {
		return nil, err
	}
	return &Report{Kind: "card", SignedBy: signer(c), Card: c}, nil
}

func lookRecall(envelope []byte, card func(string) (*Card, error)) (*Report, error) {
	from, _, err := From(envelope)
	if err != nil {
		return nil, err
	}
	c, err := card(from)
	if err != nil {
		return nil, err
	}
	if c == nil {
		x, err := peekRecall(envelope)
		return &Report{Kind: "recall", Recall: &x}, err
	}
	x, err := VerifyRecall(envelope, c, "")
	return &Report{Kind: "recall", Verified: true, SignedBy: signer(c), Recall: &x}, err
}

func lookBundle(ctx context.Context, r io.Reader, card func(string) (*Card, error)) (*Report, error) {
	v, _, from, present, err := readWith(ctx, r, card, nil)
	if err != nil {
		return nil, err
	}
	return report(v, from, present), nil
}

func report(v *Verified, from *Card, present []Package) *Report {
	b := &BundleReport{Digest: v.Digest, Statement: v.Promotion, Process: v.Process, Variables: v.Variables, Templates: v.Templates, Evidence: v.Evidence, Present: []string{}}
	for _, p := range present {
		b.Present = append(b.Present, p.Digest)
	}
	out := &Report{Kind: "bundle", Bundle: b}
	if from != nil {
		out.Verified, out.SignedBy = true, signer(from)
	}
	return out
}

// readWith reads a bundle file and checks it with the card of whom it says to be; from is
// nil when there was none to check with.
func readWith(ctx context.Context, r io.Reader, card func(string) (*Card, error), sink func(Package) (io.WriteCloser, error)) (v *Verified, m *Message, from *Card, present []Package, err error) {
	v, m, present, err = Read(ctx, r, func(m *Message) (*Verified, error) {
		space, _, err := From(m.Envelope)
		if err != nil {
			return nil, err
		}
		if from, err = card(space); err != nil {
			return nil, err
		}
		if from == nil {
			return m.Own()
		}
		return m.Verify(from, "")
	}, sink)
	return v, m, from, present, err
}

func lookReceipts(r io.Reader, card func(string) (*Card, error)) (*Report, error) {
	from, to, envelopes, err := ReadReceipts(r)
	if err != nil {
		return nil, err
	}
	c, err := card(from)
	if err != nil {
		return nil, err
	}
	rr := &ReceiptsReport{From: from, To: to, Receipts: []Receipt{}}
	for _, e := range envelopes {
		var x Receipt
		if c == nil {
			x, err = peekReceipt(e)
		} else {
			x, err = VerifyReceipt(e, c, to)
		}
		if err != nil {
			return nil, err
		}
		rr.Receipts = append(rr.Receipts, x)
	}
	rr.State = Fold(rr.Receipts)
	out := &Report{Kind: "receipts", Receipts: rr}
	if c != nil {
		out.Verified, out.SignedBy = true, signer(c)
	}
	return out, nil
}
