package app

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"octopuses.dev/octopuses/spaces/execution"
)

// newLogger makes the server's log: text on a terminal, JSON lines otherwise. What
// masker knows as a secret is replaced in messages and attributes, before it is written
// in a form in which it could not be recognised any more.
func newLogger(w io.Writer, format, level string, masker *execution.Masker) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: least, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue(masker.Text(a.Value.String()))
		case slog.KindAny:
			// An error, a struct, bytes: only as text can it be looked at.
			text := fmt.Sprint(a.Value.Any())
			if b, ok := a.Value.Any().([]byte); ok {
				text = string(b)
			}
			if masked := masker.Text(text); masked != text {
				a.Value = slog.StringValue(masked)
			}
		}
		return a
	}}
	if format == "json" || format == "auto" && !isTerminal(w) {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
