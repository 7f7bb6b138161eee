package packages_test

import (
	"errors"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
	"octopuses.dev/octopuses/spaces/versions"
)

func TestParseFileName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, id, version, extension string }{
		{"Acme.Web.1.2.3-beta.zip", "Acme.Web", "1.2.3-beta", ".zip"},
		{"web.1.0.0.tar.gz", "web", "1.0.0", ".tar.gz"},
		{"web.1.0.0.tgz", "web", "1.0.0", ".tgz"},
		{"web.1.0.0.tar.bz2", "web", "1.0.0", ".tar.bz2"},
		{"web.1.0.0.tar", "web", "1.0.0", ".tar"},
		{"My-App_x.2.nupkg", "My-App_x", "2", ".nupkg"},
		{"a.1.2.3.4.jar", "a", "1.2.3.4", ".jar"},
		{"a.1.2.3-rc.1+build.5.war", "a", "1.2.3-rc.1+build.5", ".war"},
		{"upper.1.0.0.ZIP", "upper", "1.0.0", ".zip"},
		{"/uploads/by/hand/web.1.0.0.zip", "web", "1.0.0", ".zip"},
		{`C:\builds\web.1.0.0.zip`, "web", "1.0.0", ".zip"},
		{"lib2go.1.0.zip", "lib2go", "1.0", ".zip"},
	} {
		id, version, extension, err := packages.ParseFileName(c.name)
		if err != nil || id != c.id || version != c.version || extension != c.extension {
			t.Errorf("%s: %q %q %q %v", c.name, id, version, extension, err)
		}
		if err == nil && !strings.ContainsAny(c.name, `/\`) && !strings.EqualFold(packages.FormatFileName(id, version, extension), c.name) {
			t.Errorf("%s comes back as %s", c.name, packages.FormatFileName(id, version, extension))
		}
	}
}

func TestParseFileNameRefuses(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"":                      "no extension",
		"web.1.0.0":             "no extension",
		"web.1.0.0.exe":         "no extension",
		".zip":                  "no extension",
		"web.zip":               "no version",
		"1.0.0.zip":             "",
		"web.latest.zip":        "no version",
		"web.1.0.0-.zip":        "no version",
		"we b.1.0.0.zip":        "no version",
		"<script>.1.0.0.zip":    "no version",
		"..1.0.0.zip":           "no version",
		"web..1.0.0.zip":        "no version",
		"web\x00.1.0.0.zip":     "no version",
		"web.1.0.0.0.0.0-x.zip": "",
	} {
		_, _, _, err := packages.ParseFileName(name)
		if says == "" { // ambiguous names are taken as the rule says; they must only be consistent
			continue
		}
		if !errors.Is(err, errs.Invalid) || !strings.Contains(errs.TextOf(err), says) || !strings.Contains(errs.TextOf(err), "<id>.<version>.<extension>") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, _, _, err := packages.ParseFileName(strings.Repeat("a", 101) + ".1.0.0.zip"); !errors.Is(err, errs.Invalid) {
		t.Errorf("long id: %v", err)
	}
}

// FuzzParseFileName: what is accepted has a valid id and version and can be put
// together again to the same.
func FuzzParseFileName(f *testing.F) {
	for _, s := range []string{"Acme.Web.1.2.3-beta.zip", "a.1.tar.gz", "1.2.3.zip", `x\y.1.0.zip`, "a.1.0-..zip", "web.1.0.0+.jar"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		id, version, extension, err := packages.ParseFileName(name)
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if _, err := versions.Parse(version); err != nil || packages.CheckID(id) != nil {
			t.Fatalf("%q: id %q version %q", name, id, version)
		}
		id2, version2, extension2, err := packages.ParseFileName(packages.FormatFileName(id, version, extension))
		if err != nil || id2 != id || version2 != version || extension2 != extension {
			t.Fatalf("%q: %q %q %q %v", name, id2, version2, extension2, err)
		}
	})
}
