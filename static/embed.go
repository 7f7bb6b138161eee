// Package static holds what browsers load: one stylesheet, one script and one
// sprite of icons, built from src into dist by build.go and committed. Names
// carry a hash of the content, so every file may be cached for ever.
package static

//go:generate go run build.go

import (
	"embed"
	"encoding/json"
	"mime"
	"path"
	"strings"
	"sync"
)

// Prefix is the path under which the files are served.
const Prefix = "/static/"

//go:embed dist
var files embed.FS

var manifest = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	if b, err := files.ReadFile("dist/manifest.json"); err == nil {
		_ = json.Unmarshal(b, &m) // written by build.go and checked by the tests
	}
	return m
})

// URL is the path of a file by its plain name ("app.css", "app.js",
// "icons.svg"). A name that was not built comes back unhashed and is a 404.
func URL(name string) string {
	if h, ok := manifest()[name]; ok {
		return Prefix + h
	}
	return Prefix + name
}

// File is one built file, as it goes over the wire.
type File struct {
	Body     []byte
	Type     string // of the content, with its charset
	Encoding string // "br", "gzip", or "" for the bytes as they are
}

// Open finds a file by its hashed name, without [Prefix], in the best encoding
// that acceptEncoding names. Send it with "Cache-Control: public,
// max-age=31536000, immutable" and "Vary: Accept-Encoding".
func Open(name, acceptEncoding string) (File, bool) {
	if strings.Contains(name, "/") || name == "manifest.json" || path.Ext(name) == ".gz" || path.Ext(name) == ".br" {
		return File{}, false
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if path.Ext(name) == ".js" {
		kind = "text/javascript; charset=utf-8" // the host's table may say otherwise
	}
	for _, e := range [...]struct{ token, ext string }{{"br", ".br"}, {"gzip", ".gz"}, {"", ""}} {
		if !strings.Contains(acceptEncoding, e.token) {
			continue
		}
		if b, err := files.ReadFile("dist/" + name + e.ext); err == nil {
			return File{Body: b, Type: kind, Encoding: e.token}, true
		}
	}
	return File{}, false
}
