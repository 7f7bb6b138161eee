package bundle

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func run(t *testing.T, args ...string) (exit int, out, complaints string) {
	t.Helper()
	var o, c bytes.Buffer
	exit = Command(context.Background(), args, &o, &c)
	return exit, o.String(), c.String()
}

func TestCommand(t *testing.T) {
	t.Parallel()
	dev, prod, other := newParty(t, devSpace, "Dev"), newParty(t, prodSpace, "Prod"), newParty(t, otherSpace, "Other")
	b, _ := file(t, dev, prod, []byte("the package"))
	dir := t.TempDir()
	put := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bundle, card, wrong := put("a.octb", b), put("dev.octid", dev.file), put("other.octid", other.file)
	changed := bytes.Clone(b)
	changed[bytes.Index(changed, []byte("the package"))] ^= 1
	cut, flipped, junk := put("cut.octb", b[:len(b)-1]), put("flipped.octb", changed), put("x.txt", []byte("hello"))
	for _, c := range []struct {
		args  string
		exit  int
		in    string // on stdout
		wrong string // on stderr
	}{
		{"", 0, "Usage:", ""}, {"--help", 0, "extract", ""}, {"verify --help", 0, "Exit status", ""},
		{"frobnicate", 2, "", `no command "frobnicate"`}, {"inspect", 2, "", "it needs FILE"}, {"inspect a b", 2, "", `too many arguments, from "b" on`}, {"verify x.octb", 2, "", "--card is required"},
		{"inspect --loud x", 2, "", "unknown flag"}, {"diff " + bundle, 2, "", "NEW.octb"}, {"extract --card " + card + " " + bundle, 2, "", "--to is required"},
		{"inspect " + dir + "/none.octb", 1, "", "no such file"}, {"inspect " + junk, 1, "", "neither a card"}, {"inspect " + cut, 1, "", "cut off"},
		{"inspect " + bundle, 0, "nobody's signature was checked", ""},
		{"verify --card " + card + " " + bundle, 0, "genuine", ""},
		{"verify --card " + wrong + " " + bundle, 1, "", "no card of that space"},
		{"verify --card " + wrong + " --card " + card + " " + bundle, 0, "signed by   Dev", ""},
		{"verify --card " + card + " " + flipped, 1, "", "Package Shop 1.4.2"},
		{"verify --card " + bundle + " " + bundle, 1, "", "canonical"},
		{"diff " + bundle + " " + bundle, 0, "no difference", ""},
		{"diff --json " + bundle + " " + bundle, 0, `"process": []`, ""},
	} {
		exit, out, complaints := run(t, strings.Fields(c.args)...)
		if exit != c.exit || !strings.Contains(out, c.in) || !strings.Contains(complaints, c.wrong) || exit == 2 && out != "" || exit == 0 && complaints != "" {
			t.Errorf("%s: %d\n%s%s", c.args, exit, out, complaints)
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
	card, good, bad := filepath.Join(dir, "dev.octid"), filepath.Join(dir, "a.octb"), filepath.Join(dir, "b.octb")
	for path, content := range map[string][]byte{card: dev.file, good: b, bad: append(bytes.Clone(b), 0)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(dir, "out")
	if exit, _, complaints := run(t, "extract", bad, "--card", card, "--to", to); exit != 1 || !strings.Contains(complaints, "canonical") {
		t.Errorf("%d, %s", exit, complaints)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("a refused file left %v", entries)
	}
	if exit, out, complaints := run(t, "extract", good, "--card", card, "--to", to); exit != 0 || !strings.Contains(out, "genuine") {
		t.Fatalf("%d, %s", exit, complaints)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 4 {
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
	if exit, _, complaints := run(t, "extract", good, "--card", card, "--to", to); exit != 1 || !strings.Contains(complaints, "already something") {
		t.Errorf("%d, %s", exit, complaints)
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
