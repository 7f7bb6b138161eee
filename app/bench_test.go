package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/instance"
	"octopuses.dev/octopuses/spaces"
	"octopuses.dev/octopuses/spaces/execution"
	"octopuses.dev/octopuses/views"
)

// dataWith makes the data folder of a server with an administrator and so many spaces.
func dataWith(b testing.TB, count int) string {
	b.Helper()
	ctx := context.Background()
	c := Config{Data: b.TempDir(), Stop: time.Minute, AdminUsername: "ada", AdminPassword: "correct-horse-battery"}
	s, err := openServer(ctx, c, quiet(), new(execution.Masker))
	if err != nil {
		b.Fatal(err)
	}
	for n := range count {
		row, err := s.instance.CreateSpace(ctx, instance.System(), instance.SpaceInput{Name: fmt.Sprintf("Space %d", n), IsDefault: n == 0, Managers: []int64{1}},
			func(name, slug string) (string, error) { return s.spaces.Create(ctx, name, slug) })
		if err != nil {
			b.Fatal(err)
		}
		space, err := s.spaces.Acquire(ctx, refOf(row))
		if err != nil {
			b.Fatal(err)
		}
		if err := spaces.Initialise(ctx, space); err != nil {
			b.Fatal(err)
		}
		space.Release()
	}
	if err := s.close(); err != nil {
		b.Fatal(err)
	}
	return c.Data
}

// BenchmarkColdStart starts a server that exists, as a process of its own, until its first
// page is answered. Budget: 20 ms (0.9 of PocketBase's 22 ms on two cores), and the same
// with 1,000 spaces; resident memory then at most 24 MiB (0.9 of 26), with 1,000 idle
// spaces 8 MiB more. The process here is the test's own binary, which takes some
// milliseconds and MiB more than the product to load.
func BenchmarkColdStart(b *testing.B) {
	for _, count := range []int{1, 1000} {
		b.Run(fmt.Sprintf("spaces=%d", count), func(b *testing.B) {
			data := dataWith(b, count)
			self, err := os.Executable()
			if err != nil {
				b.Fatal(err)
			}
			var memory float64
			for b.Loop() {
				cmd := &exec.Cmd{Path: self, Args: []string{"octopuses", "serve", "--data", data, "--listen", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--zones", "127.0.0.1:0"}}
				out, err := cmd.StdoutPipe()
				if err != nil {
					b.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = cmd.Process.Kill() }) // if we fail below
				line, err := bufio.NewReader(out).ReadString('\n')
				if err != nil {
					b.Fatal(err)
				}
				url := serving.FindStringSubmatch(line)
				if url == nil {
					b.Fatalf("the server says %q", line)
				}
				res, err := http.Get(url[1] + views.SignInURL())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
					b.Fatalf("the page: %s, %v", res.Status, err)
				}
				res.Body.Close()
				b.StopTimer()
				http.DefaultClient.CloseIdleConnections()
				if count > 1 {
					time.Sleep(500 * time.Millisecond) // what a start leaves for later is part of the memory
				}
				memory = resident(b, cmd.Process.Pid)
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					b.Fatal(err)
				}
				if err := cmd.Wait(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(memory, "MiB-resident")
		})
	}
}

// resident is the resident memory of a process, in MiB; 0 where there is no /proc.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	return 0
}
