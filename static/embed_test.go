package static

import (
	"strings"
	"testing"
)

// What pages link to must be there, in each encoding, under a hashed name.
func TestOpen(t *testing.T) {
	for _, name := range []string{"app.css", "app.js", "icons.svg"} {
		u := strings.TrimPrefix(URL(name), Prefix)
		if u == name {
			t.Fatalf("%s was not built", name)
		}
		for _, enc := range []string{"br", "gzip", ""} {
			if f, ok := Open(u, enc); !ok || f.Encoding != enc || f.Type == "" {
				t.Errorf("%s in %q: %v %q %q", name, enc, ok, f.Encoding, f.Type)
			}
		}
	}
	for _, name := range []string{"manifest.json", "../embed.go", "nothing.css"} {
		if _, ok := Open(name, "br"); ok {
			t.Errorf("%s is served", name)
		}
	}
}
