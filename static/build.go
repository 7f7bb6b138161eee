//go:build ignore

// Build makes dist from src: esbuild bundles the script and the stylesheet, the
// icons become one sprite, names get a hash, and each file is compressed once.
// The same sources give the same bytes.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	log.SetFlags(0)
	must(os.RemoveAll("dist"))
	must(os.MkdirAll("dist", 0o755))
	manifest := map[string]string{}
	for _, name := range []string{"app.js", "app.css"} {
		r := api.Build(api.BuildOptions{
			EntryPoints: []string{"src/" + name}, Bundle: true, Outdir: "dist", Format: api.FormatIIFE,
			MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true, Target: api.ES2022, LegalComments: api.LegalCommentsNone,
		})
		if len(r.Errors) > 0 {
			log.Fatalf("%s: %v", name, r.Errors)
		}
		write(manifest, name, r.OutputFiles[0].Contents)
	}
	write(manifest, "icons.svg", sprite())
	icon, err := os.ReadFile("src/icon.svg")
	must(err)
	write(manifest, "icon.svg", icon)
	b, err := json.MarshalIndent(manifest, "", "  ")
	must(err)
	must(os.WriteFile("dist/manifest.json", append(b, '\n'), 0o644))
}

var outer = regexp.MustCompile(`(?s)<svg[^>]*>(.*)</svg>`)

func sprite() []byte {
	names, err := filepath.Glob("src/vendor/lucide/*.svg")
	must(err)
	var b bytes.Buffer
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg">`)
	for _, n := range names {
		s, err := os.ReadFile(n)
		must(err)
		m := outer.FindSubmatch(s)
		id := strings.TrimSuffix(filepath.Base(n), ".svg")
		b.WriteString(`<symbol id="` + id + `" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">`)
		b.WriteString(strings.Join(strings.Fields(string(m[1])), " "))
		b.WriteString(`</symbol>`)
	}
	b.WriteString(`</svg>`)
	return b.Bytes()
}

func write(manifest map[string]string, name string, body []byte) {
	sum := sha256.Sum256(body)
	ext := filepath.Ext(name)
	hashed := strings.TrimSuffix(name, ext) + "-" + hex.EncodeToString(sum[:5]) + ext
	manifest[name] = hashed
	must(os.WriteFile("dist/"+hashed, body, 0o644))
	var gz, br bytes.Buffer
	g, err := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	must(err)
	_, err = g.Write(body)
	must(err)
	must(g.Close())
	w := brotli.NewWriterLevel(&br, brotli.BestCompression)
	_, err = w.Write(body)
	must(err)
	must(w.Close())
	must(os.WriteFile("dist/"+hashed+".gz", gz.Bytes(), 0o644))
	must(os.WriteFile("dist/"+hashed+".br", br.Bytes(), 0o644))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
