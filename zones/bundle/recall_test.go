package bundle

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func aRecall(t testing.TB, from party, to string) []byte {
	t.Helper()
	e, err := from.SignRecall(Recall{Promotion: promotionID, Release: releaseID, Core: strings.Repeat("c", 64), Reason: "It loses orders."}, header1(to))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRecallRoundTrip(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	e := aRecall(t, dev, prodSpace)
	if c, err := VerifyRecall(e, dev.card, prodSpace); err != nil || c.Release != releaseID || c.Reason != "It loses orders." || c.Link.From != devSpace {
		t.Errorf("%+v, %v", c, err)
	}
	_, err := VerifyRecall(e, prod.card, prodSpace)
	refused(t, "another sender", err, "another key")
	_, err = VerifyRecall(e, dev.card, otherSpace)
	refused(t, "another recipient", err, "another space")
	_, err = VerifyReceipt(e, dev.card, prodSpace)
	refused(t, "as a receipt", err, "no receipt")
	if r := receipt(t, dev, prodSpace, 1, Receipt{Kind: Recalled}); IsRecall(r) || !IsRecall(e) {
		t.Error("a receipt and a recall are mixed up")
	}
	for name, c := range map[string]struct {
		do  func(r *Recall)
		why string
	}{
		"no release":    {func(r *Recall) { r.Release = "" }, "ULID"},
		"no promotion":  {func(r *Recall) { r.Promotion = "" }, "ULID"},
		"no core":       {func(r *Recall) { r.Core = "" }, "no release"},
		"no reason":     {func(r *Recall) { r.Reason = "" }, "no reason"},
		"a long reason": {func(r *Recall) { r.Reason = strings.Repeat("x", maxReason+1) }, "no reason"},
		"another space": {func(r *Recall) { r.Link.From = otherSpace }, "another space"},
	} {
		h := header1(prodSpace)
		h.From, h.Schema, h.Critical = devSpace, Schema, []string{}
		r := Recall{Link: h, Promotion: promotionID, Release: releaseID, Core: strings.Repeat("c", 64), Reason: "x"}
		c.do(&r)
		payload, err := canonical(statement[Recall]{statementType, []Subject{subject("release/"+r.Release, r.Core)}, PredicateRecall, r})
		if err != nil {
			t.Fatal(err)
		}
		_, err = VerifyRecall(forged(t, dev, payload), dev.card, "")
		refused(t, name, err, c.why)
	}
}

func TestRecallIsShown(t *testing.T) {
	t.Parallel()
	dev := newParty(t, devSpace, "Dev")
	file := append(aRecall(t, dev, prodSpace), '\n')
	for _, cards := range [][]*Card{nil, {dev.card}} {
		r, err := Inspect(context.Background(), bytes.NewReader(file))
		if cards != nil {
			r, err = VerifyFile(context.Background(), bytes.NewReader(file), cards...)
		}
		if err != nil || r.Kind != "recall" || r.Verified != (cards != nil) {
			t.Fatalf("%+v, %v", r, err)
		}
		var out bytes.Buffer
		if err := r.Text(&out); err != nil || !strings.Contains(out.String(), "It loses orders.") || strings.Contains(out.String(), "genuine") != r.Verified {
			t.Errorf("%v\n%s", err, &out)
		}
	}
}
