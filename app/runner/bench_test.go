package runner_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"octopuses.dev/octopuses/app/runner"
	"octopuses.dev/octopuses/spaces"
)

// release makes a project with one script and a release of it.
func (b *bench) release(script string) spaces.Release {
	b.t.Helper()
	p := b.project(scriptStep("Step", script))
	return update(b, func(tx *spaces.Tx) (spaces.Release, error) {
		return tx.CreateRelease(spaces.ReleaseInput{Project: p.ID})
	})
}

func (b *bench) begin(r spaces.Release) spaces.TaskID {
	b.t.Helper()
	return update(b, func(tx *spaces.Tx) (spaces.Deployment, error) {
		return tx.CreateDeployment(spaces.DeploymentInput{Release: r.ID, Environment: b.env.ID})
	}).TaskID
}

// BenchmarkTrivialTask is a deployment whose script does nothing, one after the other,
// from its creation to its end. Budget: a median of 15 ms. Seen on 2026-11-23: 10.8 ms, of
// which 5.4 are spent without a disk.
func BenchmarkTrivialTask(b *testing.B) {
	be := newBench(b)
	r := be.release("true")
	var all []time.Duration
	for b.Loop() {
		began := time.Now()
		if task, log := be.await(be.begin(r), finished); task.State != spaces.TaskSuccess {
			b.Fatalf("%s\n%s", task.State, log)
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "median-ms")
}

// BenchmarkTasks is many such deployments of many projects at once, on a target that is
// on the same cores. Budget: 300 a second. Seen on 2026-11-23: 117 to 134, and 274 in
// memory: what is left is that some thirteen writes of each are made durable one by one,
// half of them by the target.
func BenchmarkTasks(b *testing.B) {
	be := newBench(b)
	releases := make(chan spaces.Release, 32)
	for range cap(releases) {
		releases <- be.release("true")
	}
	var todo sync.WaitGroup
	b.ResetTimer()
	for range b.N {
		r := <-releases
		todo.Go(func() {
			if task, log := be.await(be.begin(r), finished); task.State != spaces.TaskSuccess {
				b.Errorf("%s\n%s", task.State, log)
			}
			releases <- r
		})
	}
	todo.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkManyAtOnce has 200 deployments in their scripts at the same time. Budget: 512
// MiB for this process, server and agent together. What the scripts themselves take on
// their machine is counted apart.
func BenchmarkManyAtOnce(b *testing.B) {
	const count = 200
	be := newBench(b)
	be.stop()
	be.cap = count
	be.start()
	gate := filepath.Join(b.TempDir(), "gate")
	releases := make([]spaces.Release, count)
	for i := range releases {
		releases[i] = be.release(fmt.Sprintf("echo begun; while [ ! -e '%s' ]; do sleep 1; done", gate))
	}
	for b.Loop() {
		tasks := make([]spaces.TaskID, count)
		for i, r := range releases {
			tasks[i] = be.begin(r)
		}
		deadline := time.Now().Add(2 * time.Minute)
		for _, id := range tasks {
			for {
				var log bytes.Buffer
				if err := runner.Raw(be.space, id, &log); err != nil {
					b.Fatal(err)
				}
				if strings.Contains(log.String(), "begun") {
					break
				}
				if time.Now().After(deadline) {
					b.Fatalf("%s has not begun:\n%s", id, log.String())
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		b.ReportMetric(memory(b, os.Getpid(), "status", "VmRSS:"), "MiB")
		b.ReportMetric(children(b), "MiB-scripts")
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			b.Fatal(err)
		}
		for _, id := range tasks {
			if task, log := be.await(id, finished); task.State != spaces.TaskSuccess {
				b.Fatalf("%s\n%s", task.State, log)
			}
		}
		if err := os.Remove(gate); err != nil {
			b.Fatal(err)
		}
	}
}

// memory is a value of a file under /proc that is in kB, in MiB; 0 where there is no /proc
// or no such process.
func memory(b *testing.B, pid int, file, key string) float64 {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	return 0
}

// children is what the processes below this one take together, shared pages divided.
func children(b *testing.B) (mib float64) {
	b.Helper()
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			parents[parent] = append(parents[parent], pid)
		}
	}
	var walk func(pid int)
	walk = func(pid int) {
		for _, child := range parents[pid] {
			mib += memory(b, child, "smaps_rollup", "Pss:")
			walk(child)
		}
	}
	walk(os.Getpid())
	return mib
}
