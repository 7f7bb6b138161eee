package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The files in testdata are the worked example of docs/formats and the promise of
// compatibility: what was written once must be read for ever, and be written again byte
// for byte. They change only together with the major version, by -update on purpose. The
// keys are of two spaces that exist nowhere else.
var update = flag.Bool("update", false, "write the golden files anew (keys are kept)")

func golden(name string) string { return filepath.Join("testdata", name) }

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(golden(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// compareGolden compares with a file, or writes it.
func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden(name), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := readGolden(t, name); !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes that differ from the %d stored ones", name, len(got), len(want))
		if len(got) < 20_000 && !bytes.Contains(got, []byte{0}) {
			t.Logf("%s", got)
		}
	}
}

// goldenParty is a space whose keys are kept in testdata.
func goldenParty(t testing.TB, name, space string) party {
	t.Helper()
	path := golden(strings.ToLower(name) + ".identity.json")
	if _, err := os.Stat(path); *update && os.IsNotExist(err) {
		id, err := NewIdentity(space)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := id.Marshal()
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	id, err := ParseIdentity(readGolden(t, strings.ToLower(name)+".identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	return partyOf(t, id, name)
}

const shopPackage = "This is the package Shop 1.4.2.\n"

func shop() Content {
	c := content([]byte(shopPackage))
	c.Process = json.RawMessage(`{"Steps":[{"Name":"Back up","Actions":[{"Name":"Back up","ActionType":"Octopus.Script","Properties":{"Octopus.Action.Script.ScriptBody":"set -e\ncp -a /srv/shop /srv/shop.old\necho done"}}]},
		{"Name":"Install","Actions":[{"Name":"Install","ActionType":"Octopus.TentaclePackage"}]}]}`)
	c.Requires = []string{"Octopus.Script", "Octopus.TentaclePackage"}
	return c
}

// nextShop is the release after it: a step added, one moved, a script and a value changed.
func nextShop() Content {
	c := shop()
	c.Release.ID, c.Release.Version, c.Promotion = "01JD0000000000000000000001", "1.5.0", "01JP0000000000000000000001"
	c.Process = json.RawMessage(`{"Steps":[{"Name":"Install","Actions":[{"Name":"Install","ActionType":"Octopus.TentaclePackage"}]},
		{"Name":"Back up","Actions":[{"Name":"Back up","ActionType":"Octopus.Script","Properties":{"Octopus.Action.Script.ScriptBody":"set -eu\ncp -a /srv/shop /srv/shop.old\necho done"}}]},
		{"Name":"Tell","Actions":[{"Name":"Tell","ActionType":"Octopus.Script"}]}]}`)
	c.Variables = append(c.Variables, Variable{Name: "Size", Value: "9", Scope: map[string][]string{"Role": {"web"}}})
	c.Variables[0].Value = "red"
	c.Templates = nil
	c.Packages[0].Version = "1.5.0"
	return c
}

// writeGolden makes the two bundles, whose sealed parts are new each time.
func writeGolden(t *testing.T, dev, prod party) {
	m := message(t, shop(), dev, prod)
	files := map[string][]byte{"dev.octid": dev.file, "prod.octid": prod.file, "shop-1.4.2.octb": pack(t, m, []byte(shopPackage))}
	p, err := dev.Prepare(nextShop(), prod.card)
	if err != nil {
		t.Fatal(err)
	}
	h := header1(prodSpace)
	h.Seq, h.Prev, h.Issued = 2, m.Digest(), at.Add(time.Hour).Format(time.RFC3339)
	next, err := dev.Sign(p, h)
	if err != nil {
		t.Fatal(err)
	}
	files["shop-1.5.0.octb"] = pack(t, next)
	for name, b := range files {
		if err := os.WriteFile(golden(name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoldenFiles(t *testing.T) {
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dev, prod := goldenParty(t, "Dev", devSpace), goldenParty(t, "Prod", prodSpace)
	if *update {
		writeGolden(t, dev, prod)
	}
	compareGolden(t, "dev.octid", dev.file)
	compareGolden(t, "prod.octid", prod.file)

	b := readGolden(t, "shop-1.4.2.octb")
	v, m, present, err := Read(context.Background(), bytes.NewReader(b), func(m *Message) (*Verified, error) { return m.Verify(dev.card, prodSpace) }, nil)
	if err != nil || len(present) != 1 {
		t.Fatal(err)
	}
	compareGolden(t, "shop-1.4.2.octb", pack(t, m, []byte(shopPackage)))
	payload, _, err := peek(m.Envelope, MaxEnvelope, "bundle")
	if err != nil || !bytes.Equal(forged(t, dev, payload), m.Envelope) {
		t.Errorf("signed again it is another envelope (%v)", err)
	}
	if secrets, err := v.Open(prod.Identity); err != nil || secrets["variable/Password"] != canary {
		t.Errorf("%v, %v", secrets, err)
	}

	var receipts [][]byte
	core, prev := v.Promotion.Core, ""
	for i, r := range []Receipt{{Kind: Received}, {Kind: Accepted}, {Kind: DeploymentStarted, Attempt: 1, Started: "2026-11-23T13:58:40Z"},
		{Kind: DeploymentSucceeded, Attempt: 1, Started: "2026-11-23T13:58:40Z", Ended: "2026-11-23T14:02:10Z", Steps: []Step{{"Back up", "succeeded", 2, 9}, {"Install", "succeeded", 4, 61}}}} {
		r.Promotion, r.Release, r.Core = promotionID, releaseID, core
		if isDeployment(r.Kind) {
			r.Environment, r.Deployment = &Environment{Ref: "01HE0000000000000000000000", Shown: "Production", Order: 1}, "01JE0000000000000000000000"
		}
		e, err := prod.SignReceipt(r, Header{To: devSpace, Incarnation: incarnation, Seq: int64(i + 1), Prev: prev, Seen: Seen{incarnation, 1}, Issued: at.Format(time.RFC3339)})
		if err != nil {
			t.Fatal(err)
		}
		prev = Digest(e)
		receipts = append(receipts, e)
	}
	var octr bytes.Buffer
	if err := WriteReceipts(&octr, prodSpace, devSpace, receipts); err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "prod.octr", octr.Bytes())
}

// What a person and a program read about the golden files.
func TestGoldenReports(t *testing.T) {
	dev, prod := goldenParty(t, "Dev", devSpace), goldenParty(t, "Prod", prodSpace)
	ctx := context.Background()
	open := func(name string) *bytes.Reader { return bytes.NewReader(readGolden(t, name)) }
	inspect := func(name string) (any, error) { return Inspect(ctx, open(name)) }
	verify := func(name string, cards ...*Card) (any, error) { return VerifyFile(ctx, open(name), cards...) }
	diff := func(a, b string) (any, error) {
		var both [2]*Verified
		for i, name := range []string{a, b} {
			v, _, _, err := Read(ctx, open(name), (*Message).Own, nil)
			if err != nil {
				return nil, err
			}
			both[i] = v
		}
		return Diff(both[0], both[1])
	}
	for name, make := range map[string]func() (any, error){
		"inspect-card.txt":     func() (any, error) { return inspect("dev.octid") },
		"inspect-bundle.txt":   func() (any, error) { return inspect("shop-1.5.0.octb") },
		"inspect-receipts.txt": func() (any, error) { return inspect("prod.octr") },
		"inspect-bundle.json":  func() (any, error) { return inspect("shop-1.4.2.octb") },
		"verify-bundle.txt":    func() (any, error) { return verify("shop-1.4.2.octb", dev.card) },
		"verify-receipts.txt":  func() (any, error) { return verify("prod.octr", dev.card, prod.card) },
		"verify-receipts.json": func() (any, error) { return verify("prod.octr", prod.card) },
		"diff.txt":             func() (any, error) { return diff("shop-1.4.2.octb", "shop-1.5.0.octb") },
		"diff.json":            func() (any, error) { return diff("shop-1.4.2.octb", "shop-1.5.0.octb") },
	} {
		v, err := make()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var out bytes.Buffer
		if filepath.Ext(name) == ".json" {
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			err = e.Encode(v)
		} else {
			err = v.(interface{ Text(io.Writer) error }).Text(&out)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		compareGolden(t, name, out.Bytes())
	}
}
