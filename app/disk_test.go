package app

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// diskSize is that of the whole disk of the server under test.
const diskSize = 48 << 20

// TestFullDisk runs a server on a disk of its own (a tmpfs in a mount namespace) and
// fills it: by an upload that does not fit, and to the last byte under small writes. Each
// is refused with a reason, nothing is half done, and with space again all goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := serveOnSmallDisk(t)
	if status, body := s.do(t, http.MethodPost, "/api/spaces", "application/json", []byte(`{"Name": "Shop", "SpaceManagersTeamMembers": ["Users-1"]}`)); status != http.StatusCreated {
		t.Fatalf("space: %d %s", status, body)
	}

	before := s.used(t)
	kind, large := packageForm(t, "Shop.1.0.0.zip", diskSize+(8<<20))
	status, body := s.do(t, http.MethodPost, "/api/Spaces-1/packages/raw", kind, large)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "disk of the server is full") || !strings.Contains(body, "Free some space") {
		t.Errorf("an upload larger than the disk: %d %s", status, body)
	}
	if after := s.used(t); after > before+1<<20 {
		t.Errorf("the refused upload left %d bytes", after-before)
	}
	if status, body := s.do(t, http.MethodGet, "/api/Spaces-1/packages", "", nil); status != http.StatusOK || strings.Contains(body, "1.0.0") {
		t.Errorf("packages after it: %d %s", status, body)
	}

	s.fill(t)
	made, refused := 0, 0
	for i := 0; i < 400 && refused < 5; i++ {
		status, body := s.do(t, http.MethodPost, "/api/Spaces-1/environments", "application/json", fmt.Appendf(nil, `{"Name": "E%d", "Description": "%s"}`, i, strings.Repeat("long ", 800)))
		switch {
		case status == http.StatusCreated:
			made++
		case status == http.StatusServiceUnavailable && strings.Contains(body, "disk of the server is full"):
			refused++
		default:
			t.Fatalf("environment %d on a full disk: %d %s", i, status, body)
		}
	}
	t.Logf("%d fitted, then %d were refused", made, refused)
	if refused == 0 {
		t.Errorf("%d environments fitted on a full disk", made)
	}
	if status, body := s.do(t, http.MethodGet, "/healthz", "", nil); status != http.StatusOK {
		t.Errorf("health on a full disk: %d %s", status, body)
	}
	if status, _ := s.do(t, http.MethodGet, "/api/Spaces-1/environments/all", "", nil); status != http.StatusOK {
		t.Errorf("reading on a full disk: %d", status)
	}

	s.free(t)
	if status, body := s.do(t, http.MethodPost, "/api/Spaces-1/environments", "application/json", []byte(`{"Name": "Last"}`)); status != http.StatusCreated {
		t.Errorf("an environment with space again: %d %s", status, body)
	}
	kind, small := packageForm(t, "Shop.1.0.1.zip", 1<<20)
	if status, body := s.do(t, http.MethodPost, "/api/Spaces-1/packages/raw", kind, small); status != http.StatusCreated {
		t.Errorf("a package with space again: %d %s", status, body)
	}
	var all []struct{ Name string }
	_, body = s.do(t, http.MethodGet, "/api/Spaces-1/environments/all", "", nil)
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != made+1 {
		t.Errorf("%d environments are there, %d were made (%v)", len(all), made+1, err)
	}
}

type smallDisk struct {
	url  string
	disk string // as this process sees it
}

func serveOnSmallDisk(t *testing.T) smallDisk {
	t.Helper()
	unshare, err := exec.LookPath("unshare")
	if err != nil || exec.Command(unshare, "-rm", "mount", "-t", "tmpfs", "none", t.TempDir()).Run() != nil {
		t.Skip("SKIPPED: this machine lets nobody make a disk of one's own (unshare, mount)")
	}
	program, err := exec.LookPath("octopuses")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(unshare, "-rm", "sh", "-c", `mount -t tmpfs -o size=`+fmt.Sprint(diskSize)+` none "$1" && exec "$2" serve --data "$1/data" --listen 127.0.0.1:0 --agents off --zones off`, "sh", dir, program)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "ADMIN_USERNAME=ada", "ADMIN_PASSWORD=correct-horse-battery", "ADMIN_API_KEY="+diskKey)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if found := serving.FindStringSubmatch(lines.Text()); found != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return smallDisk{found[1], fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir)}
		}
	}
	t.Fatalf("the server does not serve:\n%s", &log)
	return smallDisk{}
}

const diskKey = "API-FULLDISKFULLDISKFULLDISK"

func (s smallDisk) do(t *testing.T, method, path, kind string, body []byte) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Octopus-ApiKey", diskKey)
	req.Header.Set("Content-Type", kind)
	client := http.Client{Timeout: time.Minute}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, string(b)
}

func (s smallDisk) used(t *testing.T) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(s.disk, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func (s smallDisk) filler() string { return filepath.Join(s.disk, "filler") }

func (s smallDisk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(s.filler())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10, 1} {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
}

func (s smallDisk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(s.filler()); err != nil {
		t.Fatal(err)
	}
}

// packageForm is an upload of a zip that cannot be made smaller.
func packageForm(t *testing.T, name string, size int) (kind string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	w, err := m.CreateFormFile("file", name)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(w)
	f, err := z.CreateHeader(&zip.FileHeader{Name: "data", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, int64(size)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return m.FormDataContentType(), b.Bytes()
}
