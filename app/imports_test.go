package app

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "octopuses.dev/octopuses"

// edges says who of us may import whom: downwards only. A name stands for itself, name/*
// for what is below it. Packages that are not named in the first column are refused, so
// that a new one gets its place here. docs/decisions/0001-house-plan.md tells why.
var edges = []struct {
	from string
	to   string
}{
	{".", "app spaces/execution"},
	{"app", "app/agent app/api app/body app/collector app/feeds app/outbound app/demo app/instance app/runner app/targets app/web spaces spaces/* zones zones/* views"},
	// The story drives its servers from outside, as anybody would.
	{"app/demo", "spaces/versions"},
	{"app/apptest", "app app/* spaces spaces/* zones zones/pin"},
	// Doors: they translate, and never know each other.
	{"app/web", "app/body app/collector app/feeds app/instance spaces spaces/* zones zones/bundle static views views/*"},
	{"app/api", "app/agent app/body app/collector app/feeds app/instance spaces spaces/* zones zones/bundle"},
	{"app/body", "spaces/errs"},
	{"app/outbound", "spaces/errs"},
	{"app/collector", "app/outbound spaces/audit spaces/errs"},
	{"app/feeds", "app/outbound spaces spaces/errs spaces/versions"},
	{"app/runner", "app/targets spaces spaces/deploy spaces/errs spaces/execution spaces/packages"},
	{"app/instance", "migrations spaces/access spaces/audit spaces/errs spaces/secrets"},
	// A machine must not need a database.
	{"app/targets", "app/agent spaces/errs spaces/execution zones/pin"},
	{"app/targets/targettest", "app/targets spaces/errs spaces/execution"},
	{"app/agent", "spaces/errs spaces/execution zones/pin"},
	// Promotion.
	{"zones", "spaces spaces/* zones/bundle zones/delta zones/link zones/pin"},
	{"zones/link", "spaces/errs zones/bundle zones/delta zones/pin"},
	{"zones/bundle", "spaces/errs"},
	{"zones/delta", "spaces/errs zones/delta/deflate"},
	{"zones/delta/deflate", ""},
	{"zones/pin", ""},
	// One space, and the pure rooms beneath it.
	{"spaces", "migrations spaces/access spaces/audit spaces/deploy spaces/errs spaces/execution spaces/packages spaces/secrets spaces/steps spaces/variables spaces/versions"},
	{"spaces/spacetest", "migrations spaces spaces/access spaces/secrets"},
	{"spaces/deploy", "spaces/errs spaces/execution spaces/steps spaces/variables spaces/versions"},
	{"spaces/steps", "spaces/errs spaces/execution spaces/variables spaces/packages spaces/versions"},
	{"spaces/execution", "spaces/errs spaces/packages spaces/variables"},
	{"spaces/packages", "spaces/errs spaces/versions"},
	{"spaces/variables", "spaces/errs spaces/versions"},
	{"spaces/versions", "spaces/errs"},
	{"spaces/access", "spaces/errs"},
	{"spaces/audit", "spaces/errs"},
	{"spaces/secrets", ""},
	{"spaces/errs", ""},
	// Pages know the kit, each other's small parts, and value types.
	{"views", "static views/ui"},
	{"views/ui", "static"},
	{"views/gallery", "static views views/*"},
	{"views/gallery/cmd", "static views/gallery"},
	{"views/*", "views views/ui views/projects views/packages spaces/versions spaces/variables"},
	{"migrations", "spaces/errs"},
	{"migrations/schema", "migrations"},
	{"static", ""},
}

// only says which of us may import a package from outside, by the beginning of its path.
var only = []struct {
	outside string
	of      string
}{
	{"database/sql", "spaces app/instance migrations"},
	{"modernc.org/sqlite", "spaces app/instance migrations"},
	{"github.com/pressly/goose", "migrations"},
	{"github.com/gofiber/fiber", "app app/web app/api app/body app/apptest"}, // app makes the one Fiber application that the doors share
	{"github.com/a-h/templ", "app/web views views/*"},
	{"github.com/OctopusDeploy/", ""}, // tests alone
	{"github.com/chromedp/", ""},
	{"github.com/rogpeppe/", ""},
	{"testing", "app/targets/targettest spaces/spacetest app/apptest"},
}

// without are pure rooms: they reach neither database nor network, not even by others.
var without = []string{"spaces/access", "spaces/deploy", "spaces/errs", "spaces/secrets", "spaces/steps", "spaces/variables", "spaces/versions", "zones/bundle", "zones/delta", "zones/delta/deflate"}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	CgoFiles   []string
	Standard   bool
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,CgoFiles,Standard"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// ours is the name of one of our packages below the module, "." for its root.
func ours(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// among reports whether a package is named in a list. An exact name is preferred by
// callers; name/* means what is right below name.
func among(names, p string) bool {
	return slices.ContainsFunc(strings.Fields(names), func(n string) bool {
		prefix, any := strings.CutSuffix(n, "*")
		return n == p || any && strings.HasPrefix(p, prefix) && !strings.Contains(p[len(prefix):], "/")
	})
}

func allowed(p string) (string, bool) {
	for _, exact := range []bool{true, false} {
		for _, e := range edges {
			if exact && e.from == p || !exact && among(e.from, p) {
				return e.to, true
			}
		}
	}
	return "", false
}

func TestImportsGoDownwards(t *testing.T) {
	t.Parallel()
	for _, pkg := range list(t, "./...") {
		p, ok := ours(pkg.ImportPath)
		if !ok {
			continue
		}
		to, known := allowed(p)
		if !known {
			t.Errorf("%s has no place in the table of edges", p)
			continue
		}
		for _, i := range pkg.Imports {
			if q, ok := ours(i); ok && !among(to, q) {
				t.Errorf("%s must not import %s", p, q)
			}
			for _, o := range only {
				if i == o.outside || strings.HasPrefix(i, strings.TrimSuffix(o.outside, "/")+"/") {
					if !among(o.of, p) {
						t.Errorf("%s must not import %s", p, i)
					}
				}
			}
		}
		if slices.Contains(without, p) {
			for _, d := range pkg.Deps {
				if d == "database/sql" || d == "net/http" || d == "octopuses.dev/octopuses/spaces" {
					t.Errorf("%s is a pure room and must not reach %s", p, d)
				}
			}
		}
	}
}

func TestNoCgo(t *testing.T) {
	t.Parallel()
	for _, pkg := range list(t, "-deps", ".") {
		if !pkg.Standard && len(pkg.CgoFiles) > 0 {
			t.Errorf("%s needs a C compiler: %v", pkg.ImportPath, pkg.CgoFiles)
		}
	}
}

// The table itself: what it must refuse.
func TestTableOfEdges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"spaces/deploy", "spaces", false}, {"app/web", "app/api", false}, {"app/agent", "spaces", false}, {"views/projects", "spaces", false},
		{"views/new", "views/ui", true}, {"zones", "spaces", true}, {"zones/bundle", "spaces", false}, {"spaces", "zones", false},
	} {
		to, known := allowed(c.from)
		if got := known && among(to, c.to); got != c.want {
			t.Errorf("may %s import %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

// Every module that we import by name, tests too, has its reason in docs/dependencies.md.
func TestDependenciesAreExplained(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-test", "-f", `{{range .Imports}}{{.}} {{end}}`, "./...")
	cmd.Dir = ".."
	imports, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("go", "list", "-m", "all")
	cmd.Dir = ".."
	modules, err := cmd.Output()
	if err != nil {
		t.Skip("the list of modules cannot be had: ", err)
	}
	imported := strings.Fields(string(imports))
	for line := range strings.Lines(string(modules)) {
		m, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		used := slices.ContainsFunc(imported, func(i string) bool { return i == m || strings.HasPrefix(i, m+"/") })
		// In the document a module may stand without its host and its major version.
		short := regexp.MustCompile(`/v\d+$`).ReplaceAllString(m, "")
		short = short[strings.LastIndex(short, "/")+1:]
		if used && m != module && !strings.Contains(string(doc), m) && !strings.Contains(string(doc), short) {
			t.Errorf("docs/dependencies.md does not say why we use %s", m)
		}
	}
}
