// Command cmd serves the gallery on loopback, for people who work on pages:
// go run ./views/gallery/cmd, then open the address it prints. ?theme=dark
// shows a page in the dark.
package main

import (
	"bytes"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"strings"

	"octopuses.dev/octopuses/static"
	"octopuses.dev/octopuses/views/gallery"
)

func main() {
	http.HandleFunc(static.Prefix, func(w http.ResponseWriter, r *http.Request) {
		f, ok := static.Open(strings.TrimPrefix(r.URL.Path, static.Prefix), "")
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", f.Type)
		_, _ = w.Write(f.Body)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		for _, f := range gallery.Pages() {
			if r.URL.Path == "/" {
				fmt.Fprintf(w, "<p><a href=\"/%s\">%s</a></p>", url.PathEscape(f.Name), f.Name)
			} else if r.URL.Path == "/"+f.Name {
				var b bytes.Buffer
				if err := f.Component.Render(r.Context(), &b); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				out := b.Bytes()
				if r.URL.Query().Get("theme") == "dark" {
					out = bytes.Replace(out, []byte(`<html lang="en"`), []byte(`<html lang="en" data-theme="dark"`), 1)
				}
				_, _ = w.Write(out)
			}
		}
	})
	log.Println("http://127.0.0.1:7070/")
	log.Fatal(http.ListenAndServe("127.0.0.1:7070", nil))
}
