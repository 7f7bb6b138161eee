package execution

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Watch returns the state and the log from offset on, an offset in bytes that an
// earlier call returned, or 0. When there is nothing new and the work is not at its end
// it waits for up to wait. The log is read up to its end before a final state is told.
func (w *Workspace) Watch(ctx context.Context, id string, offset int64, wait time.Duration) (Update, error) {
	dir, err := w.dir(id)
	if err != nil {
		return Update{}, err
	}
	deadline := time.Now().Add(wait)
	w.mu.Lock()
	gone := w.ended[id] // nil, which blocks, for work of an earlier process
	w.mu.Unlock()
	// Files are looked at often at first, when most work ends, and less often later. A
	// look takes some 20 µs, a tenth of that while a shim of ours has written nothing.
	for looks := 0; ; looks++ {
		if gone != nil && time.Now().Before(deadline) && quiet(dir, offset) {
			if err := rest(ctx, looks, &gone); err != nil {
				return Update{Status: Status{ID: id, State: Running}, Next: offset}, nil
			}
			continue
		}
		st, err := status(id, dir)
		if err != nil {
			return Update{}, err
		}
		entries, next, more, err := readLog(dir, offset)
		if err != nil {
			return Update{}, err
		}
		if more {
			st = Status{ID: id, State: Running} // its end is told with the rest of the log
		}
		if len(entries) > 0 || st.State.Final() || st.State == Absent || !time.Now().Before(deadline) {
			return Update{Status: st, Entries: entries, Next: next}, nil
		}
		if err := rest(ctx, looks, &gone); err != nil {
			return Update{Status: st, Next: next}, nil
		}
	}
}

// rest waits for the next look. It sets gone to nil when the shim has gone; the error is
// that of ctx.
func rest(ctx context.Context, looks int, gone *chan struct{}) error {
	pause := time.NewTimer(min(time.Duration(1+looks/16)*time.Millisecond, 40*time.Millisecond))
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-*gone:
		*gone = nil
	case <-pause.C:
	}
	return nil
}

// quiet reports that work has neither ended nor written to its log behind offset.
func quiet(dir string, offset int64) bool {
	if _, err := os.Lstat(filepath.Join(dir, "status.json")); err == nil {
		return false
	}
	info, err := os.Lstat(filepath.Join(dir, "log.jsonl"))
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= offset
}

// logPart is how much of a log one call returns, in bytes.
const logPart = 1 << 20

func readLog(dir string, offset int64) (entries []LogEntry, next int64, more bool, err error) {
	f, err := os.Open(filepath.Join(dir, "log.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, offset, false, nil
	}
	if err != nil {
		return nil, offset, false, fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, offset, false, fmt.Errorf("read log: %w", err)
	}
	if info.Size() <= offset {
		return nil, offset, false, nil
	}
	buf := make([]byte, min(logPart, info.Size()-offset))
	n, err := f.ReadAt(buf, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, offset, false, fmt.Errorf("read log: %w", err)
	}
	buf = buf[:n]
	end := bytes.LastIndexByte(buf, '\n') + 1
	if end == 0 && n == logPart {
		// No line of ours is that long; what is there is skipped, or nobody would
		// ever come past it.
		return nil, offset + int64(n), true, nil
	}
	for line := range bytes.SplitSeq(buf[:end], []byte("\n")) {
		var e LogEntry
		if len(line) > 0 && json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
	return entries, offset + int64(end), n == logPart, nil
}
