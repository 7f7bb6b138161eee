// Package targettest is the conformance suite of targets.Transport.
package targettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"octopuses.dev/octopuses/app/targets"
	"octopuses.dev/octopuses/spaces/errs"
	"octopuses.dev/octopuses/spaces/execution"
)

// Script makes a piece of work.
func Script(body string) execution.Spec {
	return execution.Spec{Format: 1, ID: ulid.Make().String(), Kind: "script", Script: &execution.Script{Syntax: "Bash", Body: body}}
}

// Finish watches work to its end and returns the log as one text.
func Finish(t testing.TB, tr targets.Transport, id string) (execution.Status, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var log strings.Builder
	var offset int64
	for {
		u, err := tr.Watch(ctx, id, offset, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range u.Entries {
			log.WriteString(e.Category + ": " + e.Text + "\n")
		}
		if offset = u.Next; u.Status.State.Final() || u.Status.State == execution.Absent {
			return u.Status, log.String()
		}
	}
}

// Run checks a transport to a real agent.
func Run(t *testing.T, tr targets.Transport) {
	ctx := context.Background()
	t.Run("hello", func(t *testing.T) {
		h, err := tr.Hello(ctx)
		if err != nil || !h.Bash || h.Version == "" || h.DiskFree == 0 {
			t.Errorf("%+v, %v", h, err)
		}
	})
	t.Run("script", func(t *testing.T) {
		s := Script("for i in 1 2 3; do echo line $i; sleep 0.02; done; set_octopusvariable A b")
		for range 2 {
			if _, err := tr.Start(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
		st, log := Finish(t, tr, s.ID)
		if st.State != execution.Succeeded || log != "Info: line 1\nInfo: line 2\nInfo: line 3\n" || len(st.Outputs) != 1 {
			t.Errorf("%+v\n%s", st, log)
		}
		if err := tr.Forget(ctx, s.ID); err != nil {
			t.Error(err)
		}
		if st, _ := Finish(t, tr, s.ID); st.State != execution.Absent {
			t.Errorf("forgotten work is %s", st.State)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		s := Script("sleep 30")
		if _, err := tr.Start(ctx, s); err != nil {
			t.Fatal(err)
		}
		if err := tr.Cancel(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		if st, _ := Finish(t, tr, s.ID); st.State != execution.Canceled {
			t.Errorf("%+v", st)
		}
	})
	t.Run("package", func(t *testing.T) {
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		sum := sha256.Sum256(content)
		digest := hex.EncodeToString(sum[:])
		sent, err := tr.Put(ctx, digest, int64(len(content)), bytes.NewReader(content))
		if err != nil || sent != int64(len(content)) {
			t.Errorf("sent %d, %v", sent, err)
		}
		if sent, err := tr.Put(ctx, digest, int64(len(content)), bytes.NewReader(content)); err != nil || sent != 0 {
			t.Errorf("sent %d again, %v", sent, err)
		}
		if _, err := tr.Put(ctx, strings.Repeat("0", 64), 3, strings.NewReader("abc")); !errors.Is(err, errs.Invalid) {
			t.Errorf("wrong bytes: %v", err)
		}
	})
	t.Run("package that is not there", func(t *testing.T) {
		digest := hex.EncodeToString(sha256.New().Sum(nil))
		if s, err := tr.Has(ctx, digest); err != nil || s.Have || s.Partial != 0 {
			t.Errorf("%+v, %v", s, err)
		}
		s := Script("")
		s.Kind, s.Package = "package", &execution.Package{ID: "p", Version: "1", Digest: digest, Extension: ".zip"}
		if _, err := tr.Start(ctx, s); !errors.Is(err, errs.NotFound) {
			t.Errorf("started without its package: %v", err)
		}
		if u, err := tr.Watch(ctx, s.ID, 0, 0); err != nil || u.Status.State != execution.Absent {
			t.Errorf("refused work is %s, %v", u.Status.State, err)
		}
		if _, err := tr.Put(ctx, digest, 0, strings.NewReader("")); err != nil {
			t.Errorf("an empty file: %v", err)
		}
		if s, err := tr.Has(ctx, digest); err != nil || !s.Have {
			t.Errorf("%+v, %v", s, err)
		}
	})
	t.Run("log by offset", func(t *testing.T) {
		s := Script("for i in $(seq 30000); do echo line number $i of a long log; done")
		if _, err := tr.Start(ctx, s); err != nil {
			t.Fatal(err)
		}
		st, log := Finish(t, tr, s.ID)
		if st.State != execution.Succeeded || strings.Count(log, "\n") != 30000 || !strings.HasSuffix(log, "line number 30000 of a long log\n") {
			t.Errorf("%+v, %d lines", st, strings.Count(log, "\n"))
		}
		u, err := tr.Watch(ctx, s.ID, 1<<40, 0)
		if err != nil || len(u.Entries) > 0 || u.Status.State != execution.Succeeded {
			t.Errorf("behind the end: %+v, %v", u, err)
		}
	})
	t.Run("waiting ends with its context", func(t *testing.T) {
		s := Script("sleep 20")
		if _, err := tr.Start(ctx, s); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		tr.Watch(short, s.ID, 0, 20*time.Second)
		if time.Since(began) > 5*time.Second {
			t.Error("it waited on")
		}
		if err := tr.Forget(ctx, s.ID); err != nil {
			t.Error(err)
		}
		if u, err := tr.Watch(ctx, s.ID, 0, 0); err != nil || u.Status.State != execution.Running {
			t.Errorf("running work was forgotten: %s, %v", u.Status.State, err)
		}
		if err := tr.Cancel(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		Finish(t, tr, s.ID)
	})
	t.Run("work that is not there", func(t *testing.T) {
		id := Script("").ID
		if u, err := tr.Watch(ctx, id, 0, time.Second); err != nil || u.Status.State != execution.Absent {
			t.Errorf("%+v, %v", u, err)
		}
		if err := tr.Cancel(ctx, id); !errors.Is(err, errs.NotFound) {
			t.Errorf("cancel: %v", err)
		}
		if err := tr.Forget(ctx, id); err != nil {
			t.Errorf("forget: %v", err)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		s := Script("true")
		s.Script.Syntax = "PowerShell"
		if _, err := tr.Start(ctx, s); !errors.Is(err, errs.Invalid) {
			t.Errorf("%v", err)
		}
		s = Script("true")
		s.ID = "../../etc/passwd"
		if _, err := tr.Start(ctx, s); err == nil {
			t.Error("a path was taken for an id")
		}
	})
}
