package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// What was added last stops first, and the next only when it has stopped.
func TestStagesStopInReverse(t *testing.T) {
	t.Parallel()
	life := newLifetime(quiet())
	var mu sync.Mutex
	var order []string
	for _, name := range []string{"files", "work", "doors"} {
		stage := life.stage(name, time.Minute)
		life.loop(stage, name, func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(5 * time.Millisecond) // the others would overtake it
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			return ctx.Err()
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := life.wait(ctx); err != nil {
		t.Errorf("an orderly end is no error: %v", err)
	}
	if want := []string{"doors", "work", "files"}; !slices.Equal(order, want) {
		t.Errorf("stopped in the order %v, want %v", order, want)
	}
}

func TestFailedLoopEndsEverything(t *testing.T) {
	t.Parallel()
	cause := errors.New("the port is gone")
	for _, c := range []struct {
		name string
		end  error
		want string
	}{{"with an error", cause, "door: the port is gone"}, {"by itself", nil, "door: it ended by itself"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			life := newLifetime(quiet())
			other := life.stage("files", time.Minute)
			stopped := make(chan struct{})
			life.loop(other, "files", func(ctx context.Context) error { <-ctx.Done(); close(stopped); return nil })
			life.loop(life.stage("doors", time.Minute), "door", func(context.Context) error { return c.end })
			err := life.wait(context.Background())
			if err == nil || err.Error() != c.want || c.end != nil && !errors.Is(err, cause) {
				t.Errorf("the error is %v, want %q once", err, c.want)
			}
			select {
			case <-stopped:
			default:
				t.Error("the other loop was not stopped")
			}
		})
	}
}

// A loop that hangs is named, and does not keep the next stage from stopping.
func TestStageHasABudget(t *testing.T) {
	t.Parallel()
	life := newLifetime(quiet())
	release := make(chan struct{})
	defer close(release)
	files := make(chan struct{})
	life.loop(life.stage("files", time.Minute), "files", func(ctx context.Context) error { <-ctx.Done(); close(files); return nil })
	life.loop(life.stage("doors", time.Millisecond), "slow client", func(context.Context) error { <-release; return nil })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := life.wait(ctx); err == nil || !strings.Contains(err.Error(), "slow client") {
		t.Errorf("the error is %v, it should name what was waited for", err)
	}
	<-files
}

func TestNotifier(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	read := func() string {
		t.Helper()
		b := make([]byte, 1024)
		if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	env := map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000"}
	n := newNotifier(func(k string) (string, bool) { v, ok := env[k]; return v, ok }, quiet())
	n.ready("serving here")
	if got := read(); got != "READY=1\nSTATUS=serving here" {
		t.Errorf("ready says %q", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.run(ctx, func(context.Context) error { return nil }) }()
	for range 2 {
		if got := read(); got != "WATCHDOG=1" {
			t.Errorf("the watchdog is told %q", got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// Beats that were sent before the end may still lie in the socket.
	n.stopping(2 * time.Second)
	for got := read(); got != "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000"; got = read() {
		if got != "WATCHDOG=1" {
			t.Fatalf("stopping says %q", got)
		}
	}
	// A server that is not healthy is silent.
	sick := make(chan struct{}, 100)
	ctx, cancel = context.WithCancel(context.Background())
	go func() {
		ended <- n.run(ctx, func(context.Context) error { sick <- struct{}{}; return errors.New("no file") })
	}()
	<-sick
	<-sick
	cancel()
	<-ended
	n.send("LAST=1")
	if got := read(); got != "LAST=1" {
		t.Errorf("a sick server told the watchdog %q", got)
	}
}

// The watchdog of another process is not ours, and without systemd nothing is sent.
func TestNotifierIsForUs(t *testing.T) {
	t.Parallel()
	env := map[string]string{"WATCHDOG_USEC": "30000", "WATCHDOG_PID": strconv.Itoa(1)}
	n := newNotifier(func(k string) (string, bool) { v, ok := env[k]; return v, ok }, quiet())
	if n.watchdog != 0 {
		t.Error("it takes another process's watchdog for its own")
	}
	n.ready("nobody listens")
}
