package bundle

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReceiptRoundTrip(t *testing.T) {
	t.Parallel()
	dev, prod, other := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod"), newParty(t, otherSpace, "Other")
	want := Receipt{Kind: DeploymentSucceeded, Attempt: 1, Started: "2026-11-23T13:58:40Z", Ended: "2026-11-23T14:02:10Z", Steps: []Step{{"Deploy web", "succeeded", 4, 61}}}
	e := receipt(t, prod, devSpace, 41, want)
	got, err := VerifyReceipt(e, prod.card, devSpace)
	if err != nil || got.Kind != want.Kind || !reflect.DeepEqual(got.Steps, want.Steps) || got.Link.From != prodSpace || got.Link.Seq != 41 || got.Environment.Shown != "Production" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = VerifyReceipt(e, dev.card, devSpace)
	refused(t, "another sender", err, "another key")
	_, err = VerifyReceipt(e, prod.card, other.Space)
	refused(t, "another recipient", err, "another space")
}

// A fact is not lost over its wording: what a reader would refuse is cut when signing.
func TestReceiptsAreTrimmed(t *testing.T) {
	t.Parallel()
	prod := newParty(t, prodSpace, "Prod")
	steps := slices.Repeat([]Step{{Name: "step\u202e " + strings.Repeat("x", 90)}}, 2*maxSteps)
	r := Receipt{Kind: DeploymentFailed, Reason: strings.Repeat("é", maxReason), Steps: steps, Environment: &Environment{Ref: "01HE0000000000000000000000", Shown: "Pro\u200bd"}, Deployment: "01JE0000000000000000000000"}
	e := receipt(t, prod, devSpace, 1, r)
	got, err := VerifyReceipt(e, prod.card, devSpace)
	if err != nil || len(got.Reason) > maxReason || !utf8.ValidString(got.Reason) || got.Environment.Shown != "Prod" {
		t.Errorf("%v", err)
	}
	if steps[0].Name[:6] == "step x" || r.Environment.Shown != "Pro\u200bd" {
		t.Error("the caller's own receipt was changed")
	}
}

func TestHostileReceipts(t *testing.T) {
	t.Parallel()
	prod := newParty(t, prodSpace, "Prod")
	for name, c := range map[string]struct {
		do  func(r *Receipt)
		why string
	}{
		"an unknown kind":           {func(r *Receipt) { r.Kind = "celebrated" }, "unknown kind"},
		"no release":                {func(r *Receipt) { r.Release = "" }, "ULID"},
		"no core":                   {func(r *Receipt) { r.Core = "" }, "no release"},
		"no deployment":             {func(r *Receipt) { r.Deployment = "" }, "without saying which"},
		"no environment":            {func(r *Receipt) { r.Environment = nil }, "without saying which"},
		"a deployment out of place": {func(r *Receipt) { r.Kind = Accepted }, "without telling of it"},
		"a hidden environment":      {func(r *Receipt) { r.Environment.Shown = "Pro\u202ed" }, "invisible"},
		"a long reason":             {func(r *Receipt) { r.Reason = strings.Repeat("x", maxReason+1) }, "longer"},
		"many steps":                {func(r *Receipt) { r.Steps = slices.Repeat([]Step{{Name: "x"}}, maxSteps+1) }, "more than"},
		"negative time":             {func(r *Receipt) { r.Steps = []Step{{Name: "x", Seconds: -1}} }, "less than nothing"},
		"another time":              {func(r *Receipt) { r.Ended = "soon" }, "no time"},
		"another space":             {func(r *Receipt) { r.Link.From = otherSpace }, "another space"},
		"to itself":                 {func(r *Receipt) { r.Link.To = prodSpace }, "from and for the same"},
		"a critical feature":        {func(r *Receipt) { r.Link.Critical = []string{"x"} }, "needs 'x'"},
	} {
		h := header1(devSpace)
		h.From, h.Schema, h.Critical = prodSpace, Schema, []string{}
		r := Receipt{Link: h, Kind: DeploymentFailed, Release: releaseID, Core: strings.Repeat("c", 64), Environment: &Environment{Ref: "01HE0000000000000000000000", Shown: "Prod"}, Deployment: "01JE0000000000000000000000"}
		c.do(&r)
		payload, err := canonical(statement[Receipt]{statementType, []Subject{subject("release/"+r.Release, r.Core)}, PredicateReceipt, r})
		if err != nil {
			t.Fatal(err)
		}
		_, err = VerifyReceipt(forged(t, prod, payload), prod.card, "")
		refused(t, name, err, c.why)
	}
	good := receipt(t, prod, devSpace, 1, Receipt{Kind: Accepted})
	payload, _, _ := peek(good, MaxReceipt, "receipt")
	_, err := VerifyReceipt(forged(t, prod, bytes.Replace(payload, []byte(`"name":"release/`), []byte(`"name":"elease/r`), 1)), prod.card, devSpace)
	refused(t, "another subject", err, "subject")
}

func TestReceiptsFile(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	var all [][]byte
	for i, kind := range []string{Received, Accepted, DeploymentStarted, DeploymentSucceeded} {
		all = append(all, receipt(t, prod, devSpace, int64(i+1), Receipt{Kind: kind}))
	}
	write := func(envelopes ...[]byte) []byte {
		var b bytes.Buffer
		if err := WriteReceipts(&b, prodSpace, devSpace, envelopes); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	whole := write(all...)
	if again := write(all[2], all[0], all[3], all[1], all[0]); !bytes.Equal(again, whole) {
		t.Error("order and repetitions change the file")
	}
	from, to, back, err := ReadReceipts(bytes.NewReader(whole))
	if err != nil || len(back) != 4 || from != prodSpace || to != devSpace {
		t.Fatal(err)
	}
	for i, e := range back {
		if r, err := VerifyReceipt(e, prod.card, to); err != nil || r.Link.Seq != int64(i+1) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, _, none, err := ReadReceipts(bytes.NewReader(write())); err != nil || len(none) != 0 {
		t.Errorf("an empty file: %v", err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	join := func(l ...[]byte) []byte { return bytes.Join(l, nil) }
	for name, c := range map[string]struct {
		b   []byte
		why string
	}{
		"another order":   {join(lines[0], lines[2], lines[1], lines[3], lines[4]), "canonical"},
		"one twice":       {join(lines[0], lines[1], lines[1], lines[2], lines[3]), "canonical"},
		"one less":        {join(lines[0], lines[1], lines[2], lines[3]), "cut off"},
		"one more":        {join(lines[0], lines[1], lines[2], lines[3], lines[4], lines[4]), "more than"},
		"no head":         {join(lines[1:]...), "no file of receipts"},
		"another sender":  {bytes.Replace(whole, []byte(prodSpace), []byte(otherSpace), 1), "canonical"},
		"a foreign one":   {join(lines[0], receipt(t, dev, prodSpace, 1, Receipt{Kind: Accepted}), []byte("\n"), lines[2], lines[3], lines[4]), "canonical"},
		"CRLF":            {bytes.ReplaceAll(whole, []byte("\n"), []byte("\r\n")), "no file of receipts"},
		"an empty line":   {join(lines[0], []byte("\n"), lines[1], lines[2], lines[3]), "no signed envelope"},
		"a negative size": {bytes.Replace(whole, []byte(`"count":4`), []byte(`"count":-4`), 1), "no file of receipts"},
	} {
		_, _, _, err := ReadReceipts(bytes.NewReader(c.b))
		refused(t, name, err, c.why)
	}
	if err := WriteReceipts(&bytes.Buffer{}, otherSpace, devSpace, all); err == nil {
		t.Error("receipts of another were written")
	}
}

// history is ten receipts about two releases and three attempts.
func history() []Receipt {
	at := func(seq int64, kind, release, deployment string, attempt int) Receipt {
		r := Receipt{Kind: kind, Release: release, Core: strings.Repeat("c", 64), Deployment: deployment, Attempt: attempt, Link: Header{From: prodSpace, To: devSpace, Incarnation: incarnation, Seq: seq, Issued: "2026-11-23T14:02:11Z"}}
		if deployment != "" {
			r.Environment = &Environment{Ref: "01HE0000000000000000000000", Shown: "Production"}
		}
		return r
	}
	const one, two = "01JD0000000000000000000001", "01JD0000000000000000000002"
	all := []Receipt{
		at(1, Received, one, "", 0), at(2, Accepted, one, "", 0), at(3, DeploymentQueued, one, "d1", 1), at(4, DeploymentStarted, one, "d1", 1), at(5, DeploymentFailed, one, "d1", 1),
		at(6, DeploymentStarted, one, "d1", 2), at(7, DeploymentSucceeded, one, "d1", 2), at(8, Received, two, "", 0), at(9, Rejected, two, "", 0), at(12, DeploymentStarted, one, "d2", 1),
	}
	all[8].Reason = "not on a Friday"
	return all
}

// Order and repetitions change nothing (Z79, F8).
func TestFold(t *testing.T) {
	t.Parallel()
	all := history()
	want := Fold(all)
	d := want.Releases[0].Deployments
	if len(want.Releases) != 2 || want.Releases[0].Decision != Accepted || want.Releases[1].Decision != Rejected || want.Releases[1].Reason != "not on a Friday" || len(d) != 3 {
		t.Fatalf("%+v", want)
	}
	if d[0].Kind != DeploymentFailed || d[1].Kind != DeploymentSucceeded || d[1].Attempt != 2 || d[2].Kind != DeploymentStarted {
		t.Errorf("%+v", d)
	}
	if !slices.Equal(want.Gaps, []Gap{{prodSpace, incarnation, 10, 11}}) || len(want.Forks) != 0 {
		t.Errorf("gaps %+v, forks %+v", want.Gaps, want.Forks)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		shuffled := slices.Clone(all)
		for range random.IntN(10) {
			shuffled = append(shuffled, all[random.IntN(len(all))])
		}
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := Fold(shuffled); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order tells another story:\n%+v\n%+v", got, want)
		}
	}
	if empty, _ := json.Marshal(Fold(nil)); string(empty) != `{"releases":[],"gaps":[],"forks":[]}` {
		t.Errorf("%s", empty)
	}
}

func TestFoldSeesForks(t *testing.T) {
	t.Parallel()
	all := history()
	other := all[6]
	other.Kind = DeploymentFailed
	a, b := Fold(append(slices.Clone(all), other)), Fold(append([]Receipt{other}, all...))
	if !reflect.DeepEqual(a, b) || !slices.Equal(a.Forks, []Fork{{prodSpace, incarnation, 7}}) {
		t.Errorf("%+v", a.Forks)
	}
	// The same number in another life of the space is no fork.
	other.Link.Incarnation = "01JC0000000000000000000001"
	if s := Fold(append(slices.Clone(all), other)); len(s.Forks) != 0 || s.Releases[0].Deployments[1].Kind != DeploymentFailed {
		t.Errorf("%+v", s)
	}
}
