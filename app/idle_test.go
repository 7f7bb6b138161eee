package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/views"
)

// A start looks at no space that has nothing to do, however many there are: their files
// here are no databases, and nobody notices.
func TestStartOpensNoIdleSpace(t *testing.T) {
	t.Parallel()
	c := Config{Data: dataWith(t, 3), Listen: "127.0.0.1:0", Agents: "127.0.0.1:0", Zones: "127.0.0.1:0", Stop: time.Minute}
	files, err := filepath.Glob(filepath.Join(c.Data, "spaces", "*", spaces.FileName))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("this is no database"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := &lockedBuffer{}
	s, err := openServer(t.Context(), c, slog.New(slog.NewTextHandler(log, nil)), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.instance.Mark(t.Context(), 2, []string{spaces.MarkWork, spaces.MarkLinks}, nil); err != nil {
		t.Fatal(err)
	}
	url, stop := s.start(t)
	res, err := http.Get(url + views.SignInURL())
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	for i := 0; i < 500 && !(strings.Contains(log.String(), "task queue of a space") && strings.Contains(log.String(), "links of a space")); i++ {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	for _, m := range regexp.MustCompile(`space=(\S+) `).FindAllStringSubmatch(log.String(), -1) {
		if m[1] != "Spaces-2" {
			t.Errorf("%s was opened", m[1])
		}
	}
	if !strings.Contains(log.String(), "space=Spaces-2") {
		t.Errorf("the space with marks was not opened:\n%s", log)
	}
}

// start runs an open server, and returns its address and what stops and closes it.
func (s *server) start(t testing.TB) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	said, says := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, Stdio{Out: says, Err: io.Discard}) }()
	line, err := bufio.NewReader(said).ReadString('\n')
	found := serving.FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("the server says %q, %v", line, err)
	}
	return found[1], func() {
		cancel()
		if err := errors.Join(<-done, s.close()); err != nil {
			t.Error(err)
		}
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A space that comes from a backup is known by what it has to do before anybody visits it:
// its polling agents are let in, and the next start looks at its queue.
func TestRestoredSpaceIsMarked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	old, fresh := dataWith(t, 1), dataWith(t, 0)
	thumbprint := strings.Repeat("ab", 32)
	s := newSettings()
	s.config.Data = old
	saved := filepath.Join(t.TempDir(), "saved")
	err := onSpace(ctx, s, "", func(_ *instance.Instance, space *spaces.Space) error {
		err := spaces.Do(ctx, space, spaces.Server(), func(tx *spaces.Tx) error {
			env, err := tx.CreateEnvironment(spaces.EnvironmentInput{Name: "Polled"})
			if err != nil {
				return err
			}
			_, err = tx.CreateTarget(spaces.TargetInput{Name: "web-01", Style: spaces.StylePolling, Thumbprint: thumbprint, Environments: []spaces.EnvironmentID{env.ID}, Tags: []string{"web"}})
			return err
		})
		if err == nil {
			_, err = space.Backup(ctx, saved)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if code := Main(ctx, []string{"space", "restore", "--data", fresh, "--key-file", filepath.Join(old, "keys", "master.key"), saved}, Stdio{Out: io.Discard, Err: t.Output()}); code != 0 {
		t.Fatal("restore ends with", code)
	}
	srv, err := openServer(ctx, Config{Data: fresh, Stop: time.Minute}, quiet(), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.close()
	got, err := srv.instance.Marks(ctx, 1)
	slices.Sort(got)
	got = slices.DeleteFunc(got, func(m string) bool { return strings.HasPrefix(m, spaces.ArchiveMark("")) })
	if want := []string{spaces.AgentMark(thumbprint), spaces.MarkTargets, spaces.MarkWork}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the restored space has the marks %q, %v; want %q", got, err, want)
	}
}
