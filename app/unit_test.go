package app

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The unit that README tells people to install is one that systemd understands, and the
// command in it is one that we understand.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile(filepath.Join("..", "docs", "install", "octopuses.service"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ExecStart=(\S+) serve (.*)$`).FindSubmatch(unit)
	if line == nil {
		t.Fatal("the unit does not start 'octopuses serve'")
	}
	s := newSettings()
	f := flagSet(&command{name: "serve", flags: s.register})
	if err := f.Parse(strings.Fields(string(line[2]))); err != nil {
		t.Errorf("its command line: %v", err)
	}
	if c, err := s.load(func(string) (string, bool) { return "", false }); err != nil || !c.secure() {
		t.Errorf("its settings: TLS %v, %v", c.secure(), err)
	}
	if !bytes.Contains(unit, []byte("Type=notify")) || !bytes.Contains(unit, []byte("WatchdogSec=")) {
		t.Error("the unit uses neither notification nor watchdog")
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed; the unit was not verified by systemd")
	}
	path := filepath.Join(t.TempDir(), "octopuses.service")
	// The program is not installed here; everything else is as in the file.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(unit, line[1], []byte(self)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--recursive-errors=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), "octopuses.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
