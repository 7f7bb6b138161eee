package app

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newCrashZone is a server with a space, alone.
func newCrashZone(t *testing.T) *crashZone {
	t.Helper()
	ports := freePorts(t, 3)
	z := &crashZone{name: "shop", data: filepath.Join(t.TempDir(), "data"), key: "API-" + strings.ToUpper(rand.Text()), web: ports[0], agents: ports[1], zones: ports[2]}
	t.Cleanup(func() {
		z.kill()
		if t.Failed() && z.running != nil {
			t.Log(z.running.said())
		}
	})
	if err := z.run("", ""); err != nil {
		t.Fatal(err)
	}
	var made struct{ Id string }
	if err := z.call(http.MethodPost, "/api/spaces", object{"Name": "Shop", "SpaceManagersTeamMembers": []string{"Users-1"}}, &made); err != nil {
		t.Fatal(err)
	}
	z.space = made.Id
	folders := z.folders(t)
	if len(folders) != 1 {
		t.Fatalf("folders of spaces: %v", folders)
	}
	z.folder = folders[0]
	return z
}

func (z *crashZone) folders(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(z.data, "spaces"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// crash kills the server, which is back when this returns.
func (z *crashZone) crash(t *testing.T) {
	t.Helper()
	z.mu.Lock()
	running := z.running
	z.mu.Unlock()
	running.kill()
	err := patiently("the server is back", func() (bool, error) {
		return z.call(http.MethodGet, "/api/spaces", nil, nil) == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// upload sends the first half of a package, and returns when the server has begun to
// store it. The rest is never sent.
func (z *crashZone) upload(t *testing.T, name string) {
	t.Helper()
	kind, body, err := crashPackage(name, "true")
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+z.web+"/api/"+z.space+"/packages/raw", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Octopus-ApiKey", z.key)
	req.Header.Set("Content-Type", kind)
	go func() {
		if res, err := crashClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	go func() { _, _ = w.Write(body[:len(body)/2]) }()
	err = patiently("the upload arrives", func() (bool, error) { return len(z.incoming()) == 1, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// incoming are the files on their way into the space.
func (z *crashZone) incoming() []string {
	files, _ := filepath.Glob(filepath.Join(z.data, "spaces", z.folder, "packages", "incoming", "*"))
	return files
}

// A server killed while a package comes in serves again, has nothing of it, and takes it
// when it is sent again.
func TestCrashDuringUpload(t *testing.T) {
	t.Parallel()
	z := newCrashZone(t)
	z.upload(t, "Shop.1.0.0.zip")
	z.crash(t)
	if err := patiently("what came in is removed", func() (bool, error) { return len(z.incoming()) == 0, nil }); err != nil {
		t.Errorf("%v: %v", err, z.incoming())
	}
	var page struct{ TotalResults int }
	if err := z.in(http.MethodGet, "/packages", nil, &page); err != nil || page.TotalResults != 0 {
		t.Errorf("%d packages, %v", page.TotalResults, err)
	}
	kind, body, err := crashPackage("Shop.1.0.0.zip", "true")
	if err != nil {
		t.Fatal(err)
	}
	if err := z.send(http.MethodPost, "/api/"+z.space+"/packages/raw", kind, body, nil); err != nil {
		t.Error(err)
	}
}

// A server killed between the deletion of a space and that of its folder removes the
// folder when it is started again, and nothing else.
func TestCrashDuringSpaceDelete(t *testing.T) {
	t.Parallel()
	z := newCrashZone(t)
	if err := z.call(http.MethodPost, "/api/spaces", object{"Name": "Other", "SpaceManagersTeamMembers": []string{"Users-1"}}, nil); err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := z.call(http.MethodGet, "/api/spaces/"+z.space, nil, &s); err != nil {
		t.Fatal(err)
	}
	s["TaskQueueStopped"] = true
	if err := z.call(http.MethodPut, "/api/spaces/"+z.space, s, nil); err != nil {
		t.Fatal(err)
	}
	z.upload(t, "Shop.1.0.0.zip") // the folder is in use, so that it does not go at once
	answered := make(chan error, 1)
	go func() { answered <- z.call(http.MethodDelete, "/api/spaces/"+z.space, nil, nil) }()
	err := patiently("the space is gone for people", func() (bool, error) {
		var all []struct{ Id string }
		if err := z.call(http.MethodGet, "/api/spaces/all", nil, &all); err != nil {
			return false, err
		}
		return len(all) == 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(z.folders(t)); n != 2 {
		t.Fatalf("%d folders before the crash: it comes too late", n)
	}
	z.crash(t)
	if err := <-answered; !errors.Is(err, errNoAnswer) {
		t.Errorf("the deletion was answered before the crash: %v", err)
	}
	err = patiently("the folder is gone", func() (bool, error) { return len(z.folders(t)) == 1, nil })
	if err != nil {
		t.Errorf("%v: %v", err, z.folders(t))
	}
	var all []struct{ Id, Name string }
	if err := z.call(http.MethodGet, "/api/spaces/all", nil, &all); err != nil || len(all) != 1 || all[0].Name != "Other" {
		t.Fatalf("%+v, %v", all, err)
	}
	var lifecycles json.RawMessage
	if err := z.call(http.MethodGet, "/api/"+all[0].Id+"/lifecycles/all", nil, &lifecycles); err != nil || !strings.Contains(string(lifecycles), "Default Lifecycle") {
		t.Errorf("the other space: %s, %v", lifecycles, err)
	}
}
