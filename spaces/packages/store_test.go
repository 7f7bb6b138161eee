package packages_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/packages"
)

func newStore(t testing.TB) (*packages.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := packages.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func digestOf(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// files lists what lies in a store, as paths in it.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	for _, f := range tree(t, dir) {
		if !strings.HasSuffix(f, "/") {
			out = append(out, strings.Fields(f)[0])
		}
	}
	return out
}

func TestStorePutsByContent(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	want := packages.Blob{Digest: digestOf("hello"), Size: 5}
	for range 2 { // twice is once
		if got, err := s.Put(t.Context(), strings.NewReader("hello"), 5); err != nil || got != want {
			t.Fatalf("%+v %v", got, err)
		}
	}
	if got := files(t, dir); len(got) != 1 || got[0] != want.Digest[:2]+"/"+want.Digest {
		t.Errorf("files: %q", got)
	}
	f, err := s.Open(want.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, _ := io.ReadAll(f); string(b) != "hello" || !s.Has(want.Digest) {
		t.Errorf("%q", b)
	}
	if all, err := s.Digests(); err != nil || len(all) != 1 || all[0] != want.Digest {
		t.Errorf("%q %v", all, err)
	}
	if err := s.Remove(want.Digest); err != nil || s.Has(want.Digest) {
		t.Error(err)
	}
	if err := s.Remove(want.Digest); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if _, err := s.Open(want.Digest); !errors.Is(err, errs.NotFound) {
		t.Error(err)
	}
	if b, err := s.Put(t.Context(), strings.NewReader("without a limit"), math.MaxInt64); err != nil || b.Size != 15 {
		t.Errorf("%+v %v", b, err)
	}
}

// Digests become paths, so nothing else may.
func TestStoreRefusesDigests(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	for _, d := range []string{"", "ab", "../../../etc/passwd", strings.ToUpper(digestOf("x")), digestOf("x") + "0", strings.Repeat("/", 64), strings.Repeat(".", 64)} {
		if _, err := s.Append(t.Context(), d, 0, 1, strings.NewReader("x")); !errors.Is(err, errs.Invalid) {
			t.Errorf("append %q: %v", d, err)
		}
		if err := s.Finish(t.Context(), d, 1); !errors.Is(err, errs.Invalid) {
			t.Errorf("finish %q: %v", d, err)
		}
		if err := s.Remove(d); !errors.Is(err, errs.Invalid) {
			t.Errorf("remove %q: %v", d, err)
		}
		if s.Has(d) || filepath.Dir(s.Path(d)) != dir {
			t.Errorf("path of %q: %s", d, s.Path(d))
		}
	}
}

// A failure leaves nothing in the store.
func TestStorePutFails(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	broken := errors.New("cable cut")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		name string
		ctx  context.Context
		r    io.Reader
		want error
	}{
		{"too large", t.Context(), strings.NewReader("123456"), errs.TooLarge},
		{"broken", t.Context(), io.MultiReader(strings.NewReader("12"), iotest.ErrReader(broken)), broken},
		{"canceled", canceled, strings.NewReader("12"), context.Canceled},
		{"full disk", t.Context(), iotest.ErrReader(&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), errs.Unavailable},
	}
	for _, c := range cases {
		if _, err := s.Put(c.ctx, c.r, 5); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := files(t, dir); len(got) != 0 {
			t.Errorf("%s left %q", c.name, got)
		}
	}
	if err := s.PutExpected(t.Context(), strings.NewReader("other"), digestOf("hello"), 5); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), digestOf("other")) {
		t.Errorf("other bytes: %v", err)
	}
	if err := s.PutExpected(t.Context(), strings.NewReader("hello you"), digestOf("hello"), 5); !errors.Is(err, errs.TooLarge) {
		t.Errorf("more bytes: %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left %q", got)
	}
	if err := s.PutExpected(t.Context(), strings.NewReader("hello"), digestOf("hello"), 5); err != nil || !s.Has(digestOf("hello")) {
		t.Error(err)
	}
}

func TestStoreVerify(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	b, err := s.Put(t.Context(), strings.NewReader("hello"), 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), b.Digest); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(s.Path(b.Digest), []byte("hellp"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), b.Digest); !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), b.Digest) || !strings.Contains(err.Error(), digestOf("hellp")) {
		t.Errorf("a flipped bit: %v", err)
	}
	if err := s.Verify(t.Context(), digestOf("nobody")); !errors.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

func TestStoreReceivesInParts(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	d := digestOf("hello world")
	ctx := t.Context()
	// A connection that breaks keeps what arrived.
	n, err := s.Append(ctx, d, 0, 11, io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if n != 5 || !errors.Is(err, io.ErrUnexpectedEOF) || s.Partial(d) != 5 {
		t.Fatalf("%d %v", n, err)
	}
	if n, err := s.Append(ctx, d, 3, 11, strings.NewReader("lo world")); n != 5 || !errors.Is(err, errs.Stale) {
		t.Errorf("wrong offset: %d %v", n, err)
	}
	if n, err := s.Append(ctx, d, 5, 11, strings.NewReader(" world and more")); n != 5 || !errors.Is(err, errs.TooLarge) || s.Partial(d) != 5 {
		t.Errorf("too much: %d %v, %d kept", n, err, s.Partial(d))
	}
	if err := s.Finish(ctx, d, 11); !errors.Is(err, errs.Stale) || s.Partial(d) != 5 {
		t.Errorf("finished early: %v, %d kept", err, s.Partial(d))
	}
	again, err := packages.NewStore(dir) // after a restart
	if err != nil {
		t.Fatal(err)
	}
	if n, err := again.Append(ctx, d, again.Partial(d), 11, strings.NewReader(" world")); n != 11 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	for range 2 { // an answer that was lost is asked for again
		if err := again.Finish(ctx, d, 11); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Verify(ctx, d); err != nil || s.Partial(d) != 0 {
		t.Errorf("%v, %d kept", err, s.Partial(d))
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files: %q", got)
	}
}

func TestStoreDiscardsWrongParts(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	d := digestOf("hello")
	if _, err := s.Append(t.Context(), d, 0, 5, strings.NewReader("hellp")); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(t.Context(), d, 5); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), digestOf("hellp")) {
		t.Error(err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left %q", got)
	}
	if err := s.Finish(t.Context(), d, 5); !errors.Is(err, errs.Stale) {
		t.Errorf("nothing is here: %v", err)
	}
}

// Two senders of one blob: one is told to come back, and the blob is whole.
func TestStoreReceivesOnce(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	d := digestOf("hello")
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := s.Append(t.Context(), d, 0, 5, r)
		done <- err
	}()
	w.Write([]byte("hel")) // returns once the first sender holds the lock and reads
	if _, err := s.Append(t.Context(), d, 3, 5, strings.NewReader("p!")); !errors.Is(err, errs.Busy) {
		t.Errorf("second sender: %v", err)
	}
	if err := s.Finish(t.Context(), d, 5); !errors.Is(err, errs.Busy) {
		t.Errorf("finish meanwhile: %v", err)
	}
	w.Write([]byte("lo"))
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(t.Context(), d, 5); err != nil {
		t.Error(err)
	}
}

func TestStorePutsAtOnce(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Put(t.Context(), bytes.NewReader(body), 1<<20); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files: %q", got)
	}
}

func TestStoreSweep(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	for _, text := range []string{"old", "new"} {
		if _, err := s.Append(t.Context(), digestOf(text), 0, 9, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := s.Put(t.Context(), strings.NewReader("blob"), 9)
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-8 * 24 * time.Hour)
	for _, p := range []string{filepath.Join(dir, "incoming", "part-"+digestOf("old")), s.Path(kept.Digest)} {
		if err := os.Chtimes(p, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sweep(time.Now().Add(-7 * 24 * time.Hour)); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	if s.Partial(digestOf("old")) != 0 || s.Partial(digestOf("new")) != 3 || !s.Has(kept.Digest) {
		t.Error("swept the wrong ones")
	}
}

// Budget: at least 400 MB/s of 64 MiB on one core with SHA-NI, fsync included; no
// more than 1 MiB of memory whatever the size.
func BenchmarkPut(b *testing.B) {
	s, _ := newStore(b)
	body := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		body[0], body[1], body[2] = byte(i), byte(i>>8), byte(i>>16)
		blob, err := s.Put(b.Context(), bytes.NewReader(body), math.MaxInt64)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Remove(blob.Digest)
		b.StartTimer()
	}
}
