package execution

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
)

func open(t testing.TB) *Workspace {
	t.Helper()
	w, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func bash(body string) Spec {
	return Spec{Format: Format, ID: ulid.Make().String(), Kind: "script", Script: &Script{Syntax: "Bash", Body: body}}
}

func await(t testing.TB, w *Workspace, id string) Status {
	t.Helper()
	var offset int64
	for range 30 {
		u, err := w.Watch(context.Background(), id, offset, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if offset = u.Next; u.Status.State.Final() {
			return u.Status
		}
	}
	t.Fatal("the work does not end")
	return Status{}
}

// Who looks at work holds its lock for an instant; begin must not take that for a shim.
func TestBeginsWhileOthersLook(t *testing.T) {
	w := open(t)
	var ids []string
	for range 8 {
		ids = append(ids, ulid.Make().String())
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, id := range ids {
					w.Status(id)
				}
			}
		})
	}
	for _, id := range ids {
		s := bash("true")
		s.ID = id
		if _, err := w.Start(s); err != nil {
			t.Fatal(err)
		}
		if st := await(t, w, id); st.State != Succeeded {
			t.Errorf("%+v", st)
		}
	}
	close(stop)
	group.Wait()
}

// Work whose process cannot be started has failed. It must not be begun hours later.
func TestWorkThatCannotBeginFails(t *testing.T) {
	for name, shim := range map[string][]string{"no program": {"/does/not/exist"}, "another program": {"/bin/sh", "-c", "echo out of order >&2; exit 7"}} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			right := w.shim
			w.shim = shim
			s := bash("true")
			if _, err := w.Start(s); err != nil {
				t.Fatal(err)
			}
			st := await(t, w, s.ID)
			if st.State != Failed || !strings.Contains(st.Message, "could not be begun") || name == "another program" && !strings.Contains(st.Message, "out of order") {
				t.Errorf("%+v", st)
			}
			w.shim = right
			if err := w.Resume(); err != nil {
				t.Fatal(err)
			}
			if st, err := w.Start(s); err != nil || st.State != Failed {
				t.Errorf("started again: %+v, %v", st, err)
			}
		})
	}
}

func TestResume(t *testing.T) {
	w := open(t)
	fresh, late, interruptedWork := bash("true"), bash("true"), bash("echo #{Password}")
	interruptedWork.Variables = map[string]Variable{"Password": {Value: "in-the-clear", Sensitive: true}}
	for _, s := range []Spec{fresh, late, interruptedWork} {
		dir, _ := w.dir(s.ID)
		if err := accept(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	work := filepath.Join(w.root, "work")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(work, late.ID, "spec.json"), past, past); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(work, interruptedWork.ID, "begun"), nil, 0o600)
	os.Mkdir(filepath.Join(work, ".new-1"), 0o700)
	os.Mkdir(filepath.Join(work, ".old-"+fresh.ID), 0o700)
	if err := w.Resume(); err != nil {
		t.Fatal(err)
	}
	if st := await(t, w, fresh.ID); st.State != Succeeded {
		t.Errorf("accepted a moment ago: %+v", st)
	}
	if st := await(t, w, late.ID); st.State != Failed || !strings.Contains(st.Message, "agent was down") {
		t.Errorf("accepted an hour ago: %+v", st)
	}
	if st := await(t, w, interruptedWork.ID); st.State != Unknown || st.Message != interrupted {
		t.Errorf("interrupted: %+v", st)
	}
	b, err := os.ReadFile(filepath.Join(work, interruptedWork.ID, "spec.json"))
	if err != nil || strings.Contains(string(b), "in-the-clear") {
		t.Errorf("%v; the secret is still in %s", err, b)
	}
	if names, _ := filepath.Glob(filepath.Join(work, ".*")); len(names) > 0 {
		t.Errorf("left over: %v", names)
	}
}

func TestCancelBeforeItBegins(t *testing.T) {
	w := open(t)
	mark := filepath.Join(t.TempDir(), "mark")
	s := bash("touch " + mark)
	dir, _ := w.dir(s.ID)
	if err := accept(dir, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Cancel(s.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Start(s); err != nil {
		t.Fatal(err)
	}
	if st := await(t, w, s.ID); st.State != Canceled {
		t.Errorf("%+v", st)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("cancelled work was done")
	}
}

func TestSweepForgetsWhatEndedLongAgo(t *testing.T) {
	w := open(t)
	s, running := bash("true"), bash("sleep 20")
	for _, s := range []Spec{s, running} {
		if _, err := w.Start(s); err != nil {
			t.Fatal(err)
		}
	}
	await(t, w, s.ID)
	if n, err := w.Sweep(time.Now().Add(-time.Minute)); n != 0 || err != nil {
		t.Errorf("%d forgotten that ended just now, %v", n, err)
	}
	if n, err := w.Sweep(time.Now().Add(time.Minute)); n != 1 || err != nil {
		t.Errorf("%d forgotten, %v", n, err)
	}
	if st, _ := w.Status(running.ID); st.State != Running {
		t.Errorf("running work is %s", st.State)
	}
	w.Cancel(running.ID)
	await(t, w, running.ID)
}

func TestEvictRemovesLeastRecentlyUsed(t *testing.T) {
	w := open(t)
	ctx := context.Background()
	var digests []string
	for i, text := range []string{"oldest", "older", "used by work", "new"} {
		b, err := w.Packages().Put(ctx, strings.NewReader(text), 100)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, b.Digest)
		at := time.Now().Add(time.Duration(i-4) * 24 * time.Hour)
		if text == "new" {
			at = time.Now()
		}
		if err := os.Chtimes(w.Packages().Path(b.Digest), at, at); err != nil {
			t.Fatal(err)
		}
	}
	s := bash("true")
	s.Kind, s.Package = "package", &Package{ID: "p", Version: "1", Digest: digests[2]}
	dir, _ := w.dir(s.ID)
	if err := accept(dir, s); err != nil {
		t.Fatal(err)
	}
	removed, err := w.evict(time.Now().Add(-recently), func() (bool, error) { return false, nil })
	if err != nil || removed == 0 {
		t.Fatal(removed, err)
	}
	for i, want := range []bool{false, false, true, true} {
		if w.Packages().Has(digests[i]) != want {
			t.Errorf("file %d: there is %v, want %v", i, !want, want)
		}
	}
}

// What may be known to others, its command line and environment, holds no variable.
func TestVariablesAreForTheScriptOnly(t *testing.T) {
	t.Setenv("OCTOPUSES_MASTER_KEY", "key-of-the-server")
	w := open(t)
	s := bash(`
tr '\0' '\n' < /proc/self/environ | grep -c -e Password -e s3cr3t-value -e OCTOPUSES_
tr '\0' ' ' < /proc/$$/cmdline | grep -c s3cr3t-value
stat -c '%a' "$(tr '\0' '\n' < /proc/$$/cmdline | grep bootstrap.sh)"
stat -c '%a' "$(dirname "$(tr '\0' '\n' < /proc/$$/cmdline | grep bootstrap.sh)")"
true`)
	s.Variables = map[string]Variable{"Password": {Value: "s3cr3t-value", Sensitive: true}}
	if _, err := w.Start(s); err != nil {
		t.Fatal(err)
	}
	st := await(t, w, s.ID)
	u, err := w.Watch(context.Background(), s.ID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range u.Entries {
		got = append(got, e.Text)
	}
	if strings.Join(got, " ") != "0 0 600 700" {
		t.Errorf("%v, %+v", got, st)
	}
}

// One process does work after work, and nothing of one is there for the next: neither
// its folder, nor its values, nor its faults.
func TestShimDoesOnePieceAfterTheOther(t *testing.T) {
	w := open(t)
	var pids, folders []string
	for n := range 4 {
		s := bash(`set_octopusvariable pid "$PPID"; set_octopusvariable folder "$PWD"; echo '#{Password}'; exit ` + []string{"0", "3", "0", "0"}[n])
		if n == 0 {
			s.Variables = map[string]Variable{"Password": {Value: "of-the-first", Sensitive: true}}
		}
		if n == 2 {
			s.Variables = map[string]Variable{"Password": {Value: "of-the-first"}}
		}
		if _, err := w.Start(s); err != nil {
			t.Fatal(err)
		}
		if st := await(t, w, s.ID); (st.State == Succeeded) != (n != 1) {
			t.Errorf("%d: %+v", n, st)
		} else {
			pids, folders = append(pids, st.Outputs[0].Value), append(folders, st.Outputs[1].Value)
		}
		log, err := os.ReadFile(filepath.Join(w.root, "work", s.ID, "log.jsonl"))
		if want := n == 2; err != nil || strings.Contains(string(log), "of-the-first") != want {
			t.Errorf("%d logs %s, %v", n, log, err)
		}
		for rests := false; !rests; time.Sleep(time.Millisecond) { // the end is seen a moment before
			w.shims.mu.Lock()
			rests = len(w.shims.free) > 0
			w.shims.mu.Unlock()
		}
		if alive(filepath.Join(w.root, "work", s.ID)) {
			t.Errorf("%d: ended work is locked", n)
		}
		if err := w.Forget(s.ID); err != nil {
			t.Error(err)
		}
	}
	if slices.Sort(folders); len(slices.Compact(folders)) != 4 {
		t.Errorf("the folders are %q", folders)
	}
	if len(slices.Compact(pids)) != 1 || pids[0] == "" {
		t.Errorf("the processes are %q", pids)
	}
}

// A shim that was killed while it rested costs nothing; one that rests long, or whose
// workspace is gone, ends.
func TestShimsEnd(t *testing.T) {
	w := open(t)
	pid := func() int {
		s := bash(`set_octopusvariable pid "$PPID"`)
		if _, err := w.Start(s); err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(await(t, w, s.ID).Outputs[0].Value)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := pid()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := pid()
	if second == first {
		t.Fatal("it was not killed")
	}
	for range 500 { // the end of work is seen before its shim rests
		w.shims.mu.Lock()
		for _, s := range w.shims.free {
			s.rest.Reset(0)
		}
		w.shims.mu.Unlock()
		if syscall.Kill(second, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a shim without work stays")
}
