package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells systemd how we are (sd_notify(3), sd_watchdog_enabled(3)). Without
// systemd it does nothing.
type notifier struct {
	socket   string        // $NOTIFY_SOCKET
	watchdog time.Duration // we are restarted when silent for so long; 0: never
	log      *slog.Logger
}

func newNotifier(lookup func(string) (string, bool), log *slog.Logger) *notifier {
	n := &notifier{log: log}
	n.socket, _ = lookup("NOTIFY_SOCKET")
	if pid, ok := lookup("WATCHDOG_PID"); ok && pid != strconv.Itoa(os.Getpid()) {
		return n
	}
	if text, ok := lookup("WATCHDOG_USEC"); ok {
		if us, err := strconv.ParseInt(text, 10, 64); err == nil && us > 0 {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	return n
}

// send tells one state, as "READY=1". A failure is logged: the server is not worse for it.
func (n *notifier) send(state string) {
	if n.socket == "" {
		return
	}
	// A leading @ is an abstract socket; net translates it.
	c, err := net.Dial("unixgram", n.socket)
	if err == nil {
		_, err = c.Write([]byte(state))
		c.Close()
	}
	if err != nil {
		n.log.Warn("systemd was not told", "state", state, "err", err)
	}
}

func (n *notifier) ready(status string) { n.send("READY=1\nSTATUS=" + status) }

// stopping tells how long a shutdown may take before systemd should lose patience.
func (n *notifier) stopping(budget time.Duration) {
	n.send(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", budget.Microseconds()))
}

// run tells the watchdog that we live, as long as healthy says so, until ctx ends.
func (n *notifier) run(ctx context.Context, healthy func(context.Context) error) error {
	if n.socket == "" || n.watchdog == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(n.watchdog / 3)
	defer tick.Stop()
	for {
		look, cancel := context.WithTimeout(ctx, n.watchdog/3)
		err := healthy(look)
		cancel()
		if err == nil {
			n.send("WATCHDOG=1")
		} else if ctx.Err() == nil {
			n.log.Error("the server is not healthy; systemd restarts it if that lasts", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
