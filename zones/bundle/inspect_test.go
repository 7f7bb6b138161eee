package bundle

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files are told apart by their content, and refused with a reason.
func TestLook(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dev, prod, other := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod"), newParty(t, otherSpace, "Other")
	b, _ := file(t, dev, prod, []byte("the package"))
	changed := bytes.Clone(b)
	changed[bytes.Index(changed, []byte("the package"))] ^= 1
	for _, c := range []struct {
		name  string
		file  []byte
		cards []*Card // nil: inspect
		in    string
		wrong string
	}{
		{"junk", []byte("hello"), nil, "", "neither a card"},
		{"cut off", b[:len(b)-1], nil, "", "cut off"},
		{"inspected", b, nil, "nobody's signature was checked", ""},
		{"verified", b, []*Card{dev.card}, "genuine", ""},
		{"wrong card", b, []*Card{other.card}, "", "no card of that space"},
		{"among cards", b, []*Card{other.card, dev.card}, "signed by   Dev", ""},
		{"changed package", changed, []*Card{dev.card}, "", "Package Shop 1.4.2"},
	} {
		var r *Report
		var err error
		if c.cards == nil {
			r, err = Inspect(ctx, bytes.NewReader(c.file))
		} else {
			r, err = VerifyFile(ctx, bytes.NewReader(c.file), c.cards...)
		}
		if err != nil {
			if c.wrong == "" || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var out bytes.Buffer
		if err := r.Text(&out); err != nil || c.wrong != "" || !strings.Contains(out.String(), c.in) {
			t.Errorf("%s: %v\n%s", c.name, err, &out)
		}
	}
}

// Nothing is extracted from a file that is refused, and names from it stay in the folder.
func TestExtract(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	one, two := []byte("package one"), []byte("package two")
	c := content(one)
	c.Packages[0].ID = "../../@scope/Shop"
	c.Packages = append(c.Packages, Package{ID: "..", Version: ".", Extension: "/../x", Digest: Digest(two), Size: int64(len(two))})
	b := pack(t, message(t, c, dev, prod), one, two)
	dir := t.TempDir()
	to := filepath.Join(dir, "out")
	if _, err := Extract(context.Background(), bytes.NewReader(append(bytes.Clone(b), 0)), to, dev.card); err == nil || !strings.Contains(err.Error(), "canonical") {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("a refused file left %v", entries)
	}
	if r, err := Extract(context.Background(), bytes.NewReader(b), to, dev.card); err != nil || !r.Verified {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("beside the folder there is %v", entries)
	}
	packages, _ := os.ReadDir(filepath.Join(to, "packages"))
	got := map[string]bool{}
	for _, p := range packages {
		content, _ := os.ReadFile(filepath.Join(to, "packages", p.Name()))
		got[string(content)] = true
	}
	if len(packages) != 2 || !got["package one"] || !got["package two"] {
		t.Errorf("%v", packages)
	}
	for _, name := range []string{"envelope.json", "statement.json", "process.json", "variables.json", "templates.json", "evidence.json", "sealed-" + prodSpace + ".age"} {
		content, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || len(content) == 0 || bytes.Contains(content, []byte(canary)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Extract(context.Background(), bytes.NewReader(b), to, dev.card); err == nil || !strings.Contains(err.Error(), "already something") {
		t.Error(err)
	}
}

// Texts from a file cannot move the cursor of whoever looks at it.
func TestTerminalIsSafe(t *testing.T) {
	t.Parallel()
	dev, prod := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod")
	c := content([]byte("p"))
	c.Release.Notes, c.Variables[0].Value = "a\x1b[2Jb", "x"
	v, err := message(t, c, dev, prod).Own()
	if err != nil {
		t.Fatal(err)
	}
	c.Release.Notes, c.Variables[0].Value = "one\n\x1b[2Jtwo\n\u202ethree", "\x1b]0;title\a"
	w, err := message(t, c, dev, prod).Own()
	if err != nil {
		t.Fatal(err)
	}
	changes, err := Diff(v, w)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := changes.Text(&out); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a\u202e") || !strings.Contains(out.String(), `\u001b[2Jtwo`) {
		t.Errorf("%q", &out)
	}
}

func TestDiffOfSteps(t *testing.T) {
	t.Parallel()
	steps := func(names ...string) []step {
		var out []step
		for _, n := range names {
			out = append(out, step{name: n})
		}
		return out
	}
	for _, c := range []struct{ before, after, want string }{
		{"a b c", "a b c", ""}, {"a b c", "b c a", "moved a"}, {"a b c", "c a b", "moved c"}, {"a b", "a x b", "added x"}, {"a b c", "a c", "removed b"}, {"a b", "b x", "added x,removed a"},
	} {
		var got []string
		for _, x := range compareSteps(steps(strings.Fields(c.before)...), steps(strings.Fields(c.after)...)) {
			got = append(got, x.Kind+" "+x.Name)
		}
		if strings.Join(got, ",") != c.want {
			t.Errorf("%s → %s: %v", c.before, c.after, got)
		}
	}
}
