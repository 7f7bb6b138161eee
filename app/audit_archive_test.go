package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/audit"
	"octopuses.dev/octopuses/spaces/execution"
)

// What is beyond the retention goes into files, of the server and of the spaces that have
// something; a space whose oldest event is younger is not opened: its file is no database.
func TestAuditIsArchived(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := Config{Data: dataWith(t, 2), Listen: "127.0.0.1:0", Agents: "off", Zones: "off", Stop: time.Minute, AdminUsername: "ada", AdminPassword: "correct-horse-battery", AdminAPIKey: diskKey}
	s, err := openServer(ctx, c, quiet(), new(execution.Masker))
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.instance.Spaces(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var want int
	err = s.within(ctx, refOf(all[0]), func(space *spaces.Space) error {
		list, err := spaces.View(ctx, space, spaces.Server(), func(tx *spaces.ReadTx) ([]spaces.Event, error) { return tx.Events(spaces.EventFilter{Take: 1000}) })
		want = len(list)
		return err
	})
	if err != nil || want == 0 {
		t.Fatal(want, err)
	}
	own, err := s.instance.Events(ctx, instance.EventFilter{Take: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{spaces.ArchiveMark(""), spaces.ArchiveMark(time.Now().UTC().Format(time.DateOnly))} {
		if err := s.instance.Mark(ctx, all[1].Number, nil, []string{m}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.instance.Mark(ctx, all[1].Number, []string{spaces.ArchiveMark(time.Now().AddDate(0, 0, 20).Format(time.DateOnly))}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Data, "spaces", all[1].Folder, spaces.FileName), []byte("this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.instance.SetRetention(ctx, instance.System(), 7); err != nil {
		t.Fatal(err)
	}
	if err := s.archiveOnce(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	if list, err := s.instance.Archives(ctx); err != nil || len(list) != 0 {
		t.Errorf("young events are in %+v, %v", list, err)
	}
	if err := s.archiveOnce(ctx, time.Now().AddDate(0, 0, 8)); err != nil {
		t.Fatal(err)
	}
	url, stop := s.start(t)
	defer stop()
	get := func(method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Octopus-ApiKey", diskKey)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	day := time.Now().UTC().Format(time.DateOnly)
	if status, body := get("GET", "/api/Spaces-1/events/archives"); status != 200 || !strings.Contains(body, `"FileName":"`+audit.FileName(day)+`"`) {
		t.Errorf("the list: %d %s", status, body)
	}
	if status, body := get("GET", "/api/Spaces-1/events/archives/"+audit.FileName(day)); status != 200 || strings.Count(body, "\n") < want {
		t.Errorf("the file: %d %.300s", status, body)
	}
	if status, body := get("DELETE", "/api/Spaces-1/events/archives/"+audit.FileName(day)); status != 400 || !strings.Contains(body, "can be deleted from") {
		t.Errorf("its deletion: %d %s", status, body)
	}
	for what, of := range map[string]struct {
		folder string
		events int
	}{"server": {s.data.auditFolder(), len(own)}, "space": {filepath.Join(c.Data, "spaces", all[0].Folder, "audit"), want}} {
		b, err := os.ReadFile(filepath.Join(of.folder, audit.FileName(day)))
		lines := bytes.Count(b, []byte("\n"))
		if err != nil || lines < of.events || !strings.HasPrefix(string(b), `{"Id":"Events-1"`) {
			t.Errorf("%s: %d lines of at least %d, %v", what, lines, of.events, err)
		}
		for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
			var x audit.Line
			if err := json.Unmarshal(line, &x); err != nil {
				t.Errorf("%s: %v in %s", what, err, line)
			}
		}
	}
	if left, err := s.instance.Events(ctx, instance.EventFilter{Until: time.Now().Add(-time.Hour)}); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if err := s.instance.DeleteArchive(ctx, instance.System(), s.data.auditFolder(), day); err == nil || !strings.Contains(err.Error(), "can be deleted from") {
		t.Errorf("a young archive: %v", err)
	}
	if status, body := get("GET", "/api/configuration/event-retention/values"); status != 200 || body != fmt.Sprintf(`{"EventRetentionDays":%d}`, 7) {
		t.Errorf("%d %s", status, body)
	}
}
