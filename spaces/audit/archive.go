package audit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Archive is the file of a day.
type Archive struct {
	Day       string // 2006-01-02, UTC
	LastID    int64  // of the newest entry in it
	Events    int64
	Size      int64  // bytes
	SHA256    string // of the file, hex
	CreatedAt time.Time
}

// FileName is the name of the file of a day in its folder.
func FileName(day string) string { return "events-" + day + ".jsonl" }

var dayForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)

// DayOf is the day of a file's name, or of the day itself as people type it.
func DayOf(name string) (string, bool) {
	day := strings.TrimSuffix(strings.TrimPrefix(name, "events-"), ".jsonl")
	_, err := time.Parse(time.DateOnly, day)
	return day, err == nil && dayForm.MatchString(day)
}

// Ledger is a table of entries, numbered upwards, the oldest of which go into files. Each
// call is a transaction of its own; none holds while a file is written.
type Ledger interface {
	// Sweep deletes some entries that are in files, and reports whether there are more.
	Sweep(ctx context.Context) (more bool, err error)
	// Next is the oldest entry that is in no file and may go into one; ok is false for none.
	// horizon is the last entry that is in a file.
	Next(ctx context.Context) (at time.Time, horizon int64, ok bool, err error)
	// End is the last of the entries that follow the horizon and are of a day, without a gap.
	End(ctx context.Context, horizon int64, day string) (last int64, err error)
	// Lines are at most take entries after one and up to another, oldest first.
	Lines(ctx context.Context, after, through int64, take int) ([]Line, error)
	// Archived moves the horizon to the end of a file, which is durable.
	Archived(ctx context.Context, a Archive) error
}

// batch is how many entries are in memory at once.
const batch = 1000

// Put moves entries before a time, the beginning of a day, from a ledger into files of a
// folder, and returns how many. It can be killed anywhere and called again: an entry is
// deleted only after the horizon passed it, the horizon passes it only after its file is
// durable, and what a file has beyond the horizon is written anew. It is not called twice at
// once for one ledger.
func Put(ctx context.Context, l Ledger, folder string, before time.Time) (n int64, err error) {
	for ctx.Err() == nil {
		for more := true; more && ctx.Err() == nil; {
			if more, err = l.Sweep(ctx); err != nil {
				return n, err
			}
		}
		at, horizon, ok, err := l.Next(ctx)
		if err != nil || !ok || !at.Before(before) {
			return n, err
		}
		day := at.UTC().Format(time.DateOnly)
		last, err := l.End(ctx, horizon, day)
		if err != nil {
			return n, err
		}
		a, fresh, err := writeDay(ctx, l, folder, day, horizon, last)
		if err != nil {
			return n, fmt.Errorf("archive the audit of %s: %w", day, err)
		}
		if err := l.Archived(ctx, a); err != nil {
			return n, err
		}
		n += fresh
	}
	return n, ctx.Err()
}

// writeDay writes the file of a day: what it has up to the horizon (the clock may have gone
// back to that day), then the entries from there to last.
func writeDay(ctx context.Context, l Ledger, folder, day string, horizon, last int64) (a Archive, fresh int64, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return a, 0, err
	}
	path := filepath.Join(folder, FileName(day))
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return a, 0, err
	}
	w := &dayWriter{w: bufio.NewWriterSize(f, 1<<16), sum: sha256.New(), a: Archive{Day: day, LastID: last}}
	err = w.keep(path, horizon)
	for after := horizon; err == nil && after < last; {
		var lines []Line
		if lines, err = l.Lines(ctx, after, last, batch); err != nil {
			break
		}
		if len(lines) == 0 {
			break
		}
		for _, line := range lines {
			var b []byte
			if b, err = json.Marshal(line); err == nil {
				err = w.line(append(b, '\n'))
			}
			if err != nil {
				break
			}
			fresh++
		}
		after = number(lines[len(lines)-1].ID)
	}
	if err == nil {
		err = w.w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return a, 0, err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return a, 0, err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return a, 0, err
	}
	a = w.a
	a.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	return a, fresh, errors.Join(dir.Sync(), dir.Close())
}

type dayWriter struct {
	w   *bufio.Writer
	sum hash.Hash
	a   Archive
}

func (w *dayWriter) line(b []byte) error {
	w.a.Events++
	w.a.Size += int64(len(b))
	w.sum.Write(b)
	_, err := w.w.Write(b)
	return err
}

// keep copies the lines of an earlier file that are not beyond the horizon.
func (w *dayWriter) keep(path string, horizon int64) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<16)
	for {
		b, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // a line without an end was never durable
		}
		if err != nil {
			return err
		}
		var x struct {
			ID string `json:"Id"`
		}
		if err := json.Unmarshal(b, &x); err != nil {
			return fmt.Errorf("a line of the file that is there: %w", err)
		}
		if id := number(x.ID); id > 0 && id <= horizon {
			if err := w.line(b); err != nil {
				return err
			}
		}
	}
}

// number is that of "Events-42".
func number(id string) int64 {
	n, _ := strconv.ParseInt(strings.TrimPrefix(id, "Events-"), 10, 64)
	return n
}
