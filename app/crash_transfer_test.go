package app

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A package file on its way, of which both servers are killed again and again, goes on
// where it was: nothing that had arrived is thrown away, and it comes whole.
func TestCrashDuringTransfer(t *testing.T) {
	t.Parallel()
	const size, version, most = 64 << 20, "2.0.0", 4
	p, err := newPair(t, t.TempDir())
	if err == nil {
		err = p.fresh("pull", crashCase{})
	}
	if err != nil {
		t.Fatal(err)
	}
	kind, body, err := crashPackageOf("Shop."+version+".zip", "true", size)
	if err == nil {
		err = inOrder(p.serves(p.source), p.serves(p.target),
			func() error {
				return p.source.send(http.MethodPost, "/api/"+p.source.space+"/packages/raw", kind, body, nil)
			},
			func() error {
				return p.source.in(http.MethodPost, "/releases/create/v1", object{"projectName": "Shop", "releaseVersion": version, "packageVersion": version}, nil)
			},
			p.promote(version, false))
	}
	if err != nil {
		t.Fatal(err)
	}
	// arrived is how much of the file is there, and whether it is whole.
	arrived := func() (int64, bool) {
		parts, _ := filepath.Glob(filepath.Join(p.target.data, "spaces", p.target.folder, "packages", "incoming", "part-*"))
		if len(parts) == 0 {
			whole, err := p.target.rows(`SELECT count(*) FROM inbound WHERE state = 'verified'`)
			return 0, err == nil && whole == "1"
		}
		info, err := os.Stat(parts[0])
		if err != nil {
			return 0, false
		}
		return info.Size(), false
	}
	var had []int64
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Microsecond) {
		n, whole := arrived()
		if whole {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not there within a minute, only %d bytes of it\n%s", n, p.account())
		}
		before := int64(0)
		if len(had) > 0 {
			before = had[len(had)-1]
		}
		if n < before+size/16 || len(had) == most {
			continue
		}
		p.source.mu.Lock()
		source := p.source.running
		p.source.mu.Unlock()
		p.target.mu.Lock()
		target := p.target.running
		p.target.mu.Unlock()
		target.kill()
		source.kill()
		after, whole := arrived()
		if !whole && after < n {
			t.Fatalf("of %d bytes %d are left", n, after)
		}
		had = append(had, after)
		if err := inOrder(p.serves(p.source), p.serves(p.target)); err != nil {
			t.Fatal(err)
		}
		if again, whole := arrived(); !whole && again < after {
			t.Fatalf("of %d bytes %d are left after the start", after, again)
		}
	}
	if len(had) == 0 {
		t.Error("it came so quickly that nobody was killed")
	}
	t.Logf("killed at %d of %d bytes", had, int64(size))
	if err := p.target.await("the file is in the store", `SELECT count(*) FROM zone_blob_want WHERE state = 'here'`); err != nil {
		t.Error(err)
	}
}
