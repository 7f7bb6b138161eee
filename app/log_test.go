package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"octopuses.dev/octopuses/spaces/execution"
)

// A secret with a quote and a backslash looks otherwise once it is written as JSON or as
// a quoted text; it has to be found before.
func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	secret := `p"a\ss wörd`
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			masker := new(execution.Masker)
			var b bytes.Buffer
			log := newLogger(&b, format, "debug", masker)
			masker.Add(secret) // known only after the log was made
			log.With("held", secret).WithGroup("g").Info("message with "+secret,
				"text", "a "+secret+" b", "err", errors.New("login with "+secret+" failed"), "bytes", []byte(secret),
				"struct", struct{ Password string }{secret}, slog.Group("inner", "value", secret))
			out := b.String()
			for _, part := range []string{`p"a`, `p\"a`, "wörd"} {
				if strings.Contains(out, part) {
					t.Errorf("the log shows %q: %s", part, out)
				}
			}
			if n := strings.Count(out, execution.Mask); n != 7 {
				t.Errorf("%d masks, want 7: %s", n, out)
			}
			if format == "json" && !json.Valid(b.Bytes()) {
				t.Errorf("not JSON: %s", out)
			}
		})
	}
}

func TestLogLevelAndFormat(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := newLogger(&b, "auto", "warn", new(execution.Masker))
	log.Info("hidden")
	log.Warn("shown", "count", 3)
	if out := b.String(); strings.Contains(out, "hidden") || !json.Valid(b.Bytes()) || !strings.Contains(out, `"count":3`) {
		t.Errorf("the log of something that is no terminal: %s", out)
	}
}
