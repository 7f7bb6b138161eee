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
	// Files are looked at often at first, when most work ends, and less often later; a
	// look takes some 20 µs.
	for looks := 0; ; looks++ {
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
		pause := time.NewTimer(min(time.Duration(1+looks/16)*time.Millisecond, 40*time.Millisecond))
		select {
		case <-ctx.Done():
			pause.Stop()
			return Update{Status: st, Next: next}, nil
		case <-gone:
			gone = nil
		case <-pause.C:
		}
		pause.Stop()
	}
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
